"""What was planted in the demo fleet, as docs/demo.md tells it, and which of it the shipped rules fire for.

Written from the stories, not from the rules: a firing that belongs to none of them is a false one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from monitoring.alerts.defaults import DEFAULTS
from monitoring.alerts.preview import Firing, rule_preview
from monitoring.models import Rule

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
AFTER = 2 * HOUR  # the last twelfth of a day, over which the slowest burn rate looks back
WEEK_DAYS = 7.0


@dataclass(frozen=True)
class Incident:
    """words; whose; from when to when before the anchor; the rule that must page for it, "" where none has to."""

    words: str
    label: str
    name: str
    begin: timedelta
    end: timedelta
    pages: str = ""

    def holds(self, firing: Firing, *, anchor: datetime) -> bool:
        if firing.labels.get(self.label) != self.name:
            return False
        return firing.start <= anchor - self.end + AFTER and firing.end >= anchor - self.begin


FAST = "slo-latency-fast"
INCIDENTS = (
    Incident("chat-70b: v3.2 doubles its prompts", "deployment", "chat-70b", 39 * MINUTE, 0 * MINUTE, FAST),
    Incident(
        "search-rerank: the sale, until it is scaled", "deployment", "search-rerank", 9 * DAY, 9 * DAY - 75 * MINUTE, "slo-latency-fast"
    ),
    Incident("tts-voice: 3 of 4 replicas lost", "deployment", "tts-voice", 3 * DAY, 3 * DAY - 26 * MINUTE, FAST),
    Incident("edge-node-06: loses its link most nights", "node", "edge-node-06", 28 * DAY, 0 * MINUTE),
    Incident("edge-node-07: silent for 14 minutes", "node", "edge-node-07", 14 * MINUTE, 0 * MINUTE),
)


@dataclass(frozen=True)
class Fired:
    rule: Rule
    firing: Firing
    incident: Incident | None

    def words(self, anchor: datetime) -> str:
        labels = self.firing.labels
        ago = (anchor - self.firing.start) / DAY
        name = labels.get("deployment") or labels.get("accelerator") or labels.get("node", "")
        return f"{self.rule.name} of {name}, {ago:.2f} days before, {self.firing.minutes:.0f} min"


@dataclass(frozen=True)
class Verdict:
    anchor: datetime
    days: float
    fired: tuple[Fired, ...]

    @property
    def strange(self) -> list[Fired]:
        return [one for one in self.fired if one.incident is None]

    @property
    def false_pages(self) -> list[Fired]:
        return [one for one in self.strange if one.rule.severity == "critical"]

    @property
    def missed(self) -> list[Incident]:
        paged = {(one.incident, one.rule.name) for one in self.fired}
        return [incident for incident in INCIDENTS if incident.pages and (incident, incident.pages) not in paged]

    @property
    def false_pages_a_week(self) -> float:
        return len(self.false_pages) * WEEK_DAYS / self.days


def anchor_of(now: datetime) -> datetime:
    return datetime.fromtimestamp((now.timestamp() - 30) // 60 * 60, tz=UTC)


def demo_judge(*, now: datetime, days: int) -> Verdict:
    """Every shipped rule played over the days of a demo fleet that was loaded at `now`."""
    anchor = anchor_of(now)
    fired = [
        Fired(rule, firing, incident_of(firing, INCIDENTS, anchor=anchor))
        for rule in (Rule(**fields) for fields in DEFAULTS)
        for firing in rule_preview(rule, now=now, days=days).firings
    ]
    return Verdict(anchor, days, tuple(fired))


def incident_of(firing: Firing, incidents: Sequence[Incident], *, anchor: datetime) -> Incident | None:
    return next((incident for incident in incidents if incident.holds(firing, anchor=anchor)), None)

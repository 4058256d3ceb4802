"""An agent as the pages read it: alive or not, how far behind, what it dropped, whether its clock is right."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from capacity.dashboards.words import count, digits, span
from monitoring.access import Actor, accelerators_for, sees_install
from monitoring.models import Agent, AgentQuerySet, AgentState

SKEW_SECONDS = 2.0
DROPPED_DAYS = 7
SYMBOLS = {AgentState.LIVE: "ok", AgentState.LATE: "slow", AgentState.SILENT: "silent"}  # words of the status tag

Calls = Mapping[str, str]  # NVML call -> why it gives nothing


def version_parts(text: str) -> tuple[int, ...]:
    """ "0.10.2" -> (0, 10, 2), so that versions compare as numbers; what is no number counts as 0."""
    return tuple(int(part) if part.isdigit() else 0 for part in text.split(".")[:4])


@dataclass(frozen=True)
class AgentRow:
    """One agent at `now`; `dropped` counts readings lost in the last days, from and until when."""

    agent: Agent
    now: datetime
    server_version: str
    dropped: int = 0
    dropped_from: datetime | None = None
    dropped_until: datetime | None = None

    @property
    def state(self) -> AgentState:
        return self.agent.state(now=self.now)

    @property
    def symbol(self) -> str:
        return SYMBOLS[self.state]

    @property
    def word(self) -> str:
        return str(self.state.label)

    @property
    def since(self) -> datetime:
        """When a late or silent one stopped: its newest reading, or its last word."""
        newest = self.agent.newest_sample_at
        return min(newest, self.agent.last_seen_at) if newest and self.state == "late" else self.agent.last_seen_at

    @property
    def tone(self) -> str:
        return "warn" if self.state != "live" or self.skewed or self.agent.trouble else ""

    @property
    def outdated(self) -> bool:
        return bool(self.agent.version) and version_parts(self.agent.version) < version_parts(self.server_version)

    @property
    def lag_seconds(self) -> float | None:
        newest = self.agent.newest_sample_at
        return max((self.now - newest).total_seconds(), 0.0) if newest else None

    @property
    def skewed(self) -> bool:
        return abs(self.agent.skew_seconds or 0.0) > SKEW_SECONDS

    @property
    def skew_text(self) -> str:
        """ "4.1 s ahead"; within half a second a clock is simply right."""
        skew = self.agent.skew_seconds
        if skew is None:
            return "not known"
        size = f"{digits(abs(skew), significant=2)} s" if abs(skew) < 120 else span(abs(skew))
        return "right" if abs(skew) < 0.5 else f"{size} {'ahead' if skew > 0 else 'behind'}"

    @property
    def skew_meaning(self) -> str:
        if not self.skewed:
            return ""
        move = "late" if (self.agent.skew_seconds or 0.0) > 0 else "early"
        return (
            f"The clock of this host is {self.skew_text} of the server's, so its readings are drawn that much too {move} "
            "beside those of others. Let the host keep time by NTP (chrony or systemd-timesyncd)."
        )

    @property
    def problem(self) -> bool:
        return bool(self.state != "live" or self.dropped or self.skewed or self.outdated or self.agent.trouble)

    @property
    def dropped_text(self) -> str:
        return f"{count(self.dropped, 'reading')} dropped in {DROPPED_DAYS} days" if self.dropped else ""


def agent_rows(agents: AgentQuerySet, *, now: datetime, server_version: str) -> list[AgentRow]:
    """One query; the large columns stay in the database."""
    found = agents.select_related("node__cluster", "key").defer("capabilities", "host")
    found = found.with_drops(since=now - timedelta(days=DROPPED_DAYS))
    return [row_of(row, now=now, server_version=server_version) for row in found]


def row_of(agent: Agent, *, now: datetime, server_version: str) -> AgentRow:
    drops = vars(agent)  # the annotations of with_drops
    return AgentRow(agent, now, server_version, drops["lost"] or 0, drops["lost_from"], drops["lost_until"])


def capabilities_seen(actor: Actor, agents: Iterable[Agent]) -> dict[int, dict[str, Calls]]:
    """Agent -> UUID -> calls that give nothing there. Of a team only its accelerators. At most two queries."""
    found = dict(Agent.objects.filter(pk__in=[agent.pk for agent in agents]).values_list("pk", "capabilities"))
    wanted = {uuid for table in found.values() for uuid in table}
    visible = wanted
    if wanted and not sees_install(actor):
        visible = set(accelerators_for(actor).filter(uuid__in=wanted).values_list("uuid", flat=True))
    return {pk: {uuid: calls for uuid, calls in table.items() if uuid in visible and calls} for pk, table in found.items()}


def gaps_words(table: Mapping[str, Calls]) -> str:
    """ "9 calls on 4 GPUs"; nothing when every call answers."""
    calls = {call for refused in table.values() for call in refused}
    return f"{count(len(calls), 'call')} on {count(len(table), 'GPU')}" if calls else ""


def versions_seen(rows: Sequence[AgentRow]) -> list[str]:
    return sorted({row.agent.version for row in rows if row.agent.version}, key=version_parts, reverse=True)

"""What a message says besides the alert itself: its limit in words, what else moved, what changed just before, what was lost.

Looked up once at the edge for all alerts together, in a number of queries that does not depend on theirs. A look-up that fails or
takes too long costs its sentence, never the message.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import connection, transaction

from monitoring.alerts.channels.base import span_words
from monitoring.alerts.signals import signal_find
from monitoring.catalog.columns import COLUMNS, RATIOS
from monitoring.catalog.records import Entity, Latency
from monitoring.models import Alert, Edge, Event, EventKind, Rule, Slo, SloCount
from monitoring.series import latency_totals, totals_load

WINDOWS = (300, 900, 3600)  # seconds compared with as many before: the next above the rule's own
LOOK_BACK = timedelta(hours=6)
EVENTS_MOST = 3
STATEMENT_MOST = "1500ms"
ALL_MOST = 4.0  # seconds, after which what is left is left out
MOVED_SHARE, MOVED_POINTS, MOVED_LEAST = 0.2, 0.02, 0.1  # what counts as moved: a fifth, two points of a ratio, more than next to nothing
WATCHED = ("requests_per_second", "error_ratio", "requests_waiting", "kv_cache_usage_ratio")
LABELS = {column.name: column.label for columns in COLUMNS.values() for column in columns} | {ratio.name: ratio.label for ratio in RATIOS}
UNITS = {"watts": "W", "celsius": "°C", "code": "", "replicas": "replicas"}
LATENCY_WORDS = {
    Latency.REQUEST_DURATION: "request duration",
    Latency.TIME_TO_FIRST_TOKEN: "time to first token",
    Latency.TIME_PER_OUTPUT_TOKEN: "time per output token",
    Latency.QUEUE_TIME: "time in the queue",
}
BEFORE_KINDS = (EventKind.DEPLOY, EventKind.SCALE, EventKind.RESTART, EventKind.INCIDENT, EventKind.LAUNCH)
Told = Sequence[tuple[Alert, str]]  # alert and edge
log = structlog.get_logger("headroom.alerts")


@dataclass
class Known:
    """What the look-ups share, and what they found: alert -> what its message says more."""

    told: Told
    now: datetime
    rules: Mapping[int, Rule] = field(default_factory=dict)
    slos: Mapping[int, Slo] = field(default_factory=dict)
    found: dict[int, dict[str, Any]] = field(default_factory=lambda: defaultdict(dict))

    def begun(self) -> list[Alert]:
        return [alert for alert, edge in self.told if edge != Edge.RESOLVE and alert.deployment_id is not None]

    def rule(self, alert: Alert) -> Rule | None:
        return self.rules.get(alert.rule_id or 0)


def contexts_of(told: Told, *, now: datetime) -> dict[int, dict[str, Any]]:
    """alert -> what is known besides; inside the caller's transaction."""
    known, began = Known(told, now), time.monotonic()
    for look_up in LOOK_UPS if told else ():
        if time.monotonic() - began > ALL_MOST:
            break
        try:
            with transaction.atomic(), quick_statements():
                look_up(known)
        except Exception:
            log.exception("a message goes out without its context", look_up=look_up.__name__)
    return dict(known.found)


@contextmanager
def quick_statements() -> Iterator[None]:
    """No statement takes longer; where one does, the savepoint gives back the limit from before."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('statement_timeout'), set_config('statement_timeout', %s, true)", [STATEMENT_MOST])
        before = cursor.fetchone()[0]
    yield
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [before])


def limits_find(known: Known) -> None:
    """Which limit, and the values in the unit of its signal."""
    known.rules = Rule.objects.in_bulk({alert.rule_id for alert, _ in known.told if alert.rule_id is not None})
    known.slos = {slo.deployment_id: slo for slo in Slo.objects.filter(deployment__in={alert.deployment_id for alert, _ in known.told})}
    for alert, _ in known.told:
        rule = known.rule(alert)
        signal = signal_find(rule.entity, rule.signal) if rule else None
        if rule is None or signal is None:
            continue
        known.found[alert.pk] |= {
            "unit": signal.unit,
            "limit": limit_words(rule, signal.unit, known.slos.get(alert.deployment_id or 0)),
            "value_text": value_words(alert.value, signal.unit),
            "worst_text": value_words(alert.worst_value, signal.unit),
        }


def limit_words(rule: Rule, unit: str, slo: Slo | None) -> str:
    """The promise or the limit, as a person would say it."""
    if rule.signal == "slo_latency_burn" and slo is not None and slo.latency is not None and slo.threshold_seconds is not None:
        what = f"p{100 * slo.percentile:g} of {LATENCY_WORDS[Latency(slo.latency)]} under {value_words(slo.threshold_seconds, 'seconds')}"
        return f"{what} in {100 * slo.objective_ratio:g} % of minutes; its allowance is spent {rule.threshold:g} times as fast"
    if rule.signal == "slo_error_burn" and slo is not None and slo.availability_ratio is not None:
        return f"{100 * slo.availability_ratio:g} % of requests without an error; its allowance is spent {rule.threshold:g} times as fast"
    name = LABELS.get(rule.signal) or rule.signal.replace("_", " ").capitalize()
    return f"{name} {rule.comparison} {value_words(rule.threshold, unit)} over {span_words(rule.window_seconds)}"


def value_words(value: float | None, unit: str) -> str:
    """Three digits and the unit; percent, ms and min as on the screens."""
    if value is None:
        return ""
    if not math.isfinite(value):
        return "beyond all bounds"
    if unit == "ratio":
        return f"{100 * value:.3g} %"
    if unit == "seconds":
        size = abs(value)
        return span_words(value) if size >= 600 else f"{value:.3g} s" if size >= 0.2 or not value else f"{1000 * value:.3g} ms"
    if unit.startswith("bytes"):
        return f"{value / 2**30:.3g} GiB{unit.removeprefix('bytes')}"
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{text} {UNITS.get(unit, unit)}".strip()


def events_find(known: Known) -> None:
    """What happened to the deployment in the hours before: a version, a scaling, a restart."""
    alerts = known.begun()
    if not alerts:
        return
    since = min(alert.started_at for alert in alerts) - LOOK_BACK
    rows = Event.objects.filter(deployment__in={alert.deployment_id for alert in alerts}, at__gt=since, at__lte=known.now)
    by_deployment = defaultdict[int | None, list[Event]](list)
    for event in rows.filter(kind__in=BEFORE_KINDS).order_by("-at"):
        by_deployment[event.deployment_id].append(event)
    for alert in alerts:
        events = [event for event in by_deployment[alert.deployment_id] if event.at > alert.started_at - LOOK_BACK]
        if events:
            known.found[alert.pk]["before"] = [event_words(event, alert.started_at) for event in events[:EVENTS_MOST]]


def event_words(event: Event, since: datetime) -> str:
    seconds = (since - event.at).total_seconds()
    when = f"{span_words(seconds)} before" if seconds >= 0 else f"{span_words(-seconds)} after it began"
    return f"{when}: {EventKind(event.kind).label.lower()} ({event.title})"


def lost_find(known: Known) -> None:
    """Minutes above the promised latency while it lasted, as they were judged."""
    ended = [alert for alert, edge in known.told if edge == Edge.RESOLVE and promised(known.slos.get(alert.deployment_id or 0))]
    if not ended:
        return
    since = min(alert.started_at for alert in ended)
    counts = SloCount.objects.filter(deployment__in={alert.deployment_id for alert in ended}, end_at__gt=since)
    rows = list(counts.values_list("deployment", "end_at", "broken"))
    bucket = timedelta(seconds=300)
    for alert in ended:
        until = (alert.resolved_at or known.now) + bucket
        lost = [broken for pk, end_at, broken in rows if pk == alert.deployment_id and alert.started_at < end_at < until]
        known.found[alert.pk]["slo_minutes_lost"] = sum(lost)


def promised(slo: Slo | None) -> bool:
    return slo is not None and slo.latency is not None and slo.threshold_seconds is not None


def moves_find(known: Known) -> None:
    """Traffic, latency, errors, queue and KV cache over the rule's window against as long before."""
    by_window = defaultdict[int, list[Alert]](list)
    for alert in known.begun():
        rule = known.rule(alert)
        asked = rule.window_seconds if rule else WINDOWS[1]
        by_window[next((window for window in WINDOWS if window >= asked), WINDOWS[-1])].append(alert)
    for window, alerts in by_window.items():
        halves = [halves_load(known, alerts, window=window, ago=ago) for ago in (0, window)]
        for alert in alerts:
            rule, pk = known.rule(alert), alert.deployment_id or 0
            own = rule.signal if rule else ""
            after, before = (half.get(pk, {}) for half in halves)
            known_names = [name for name in after if name in before and name != own]
            moved = [text for name in known_names if (text := move_words(name, before[name], after[name]))]
            if known_names:
                rest = f"nothing by a fifth in {span_words(window)}"
                known.found[alert.pk]["moved"] = [f"{text} in {span_words(window)}" for text in moved] or [rest]


def halves_load(known: Known, alerts: Sequence[Alert], *, window: int, ago: int) -> dict[int, dict[str, tuple[float, str]]]:
    """deployment -> label or column -> mean and unit."""
    ids = sorted({alert.deployment_id or 0 for alert in alerts})
    end = known.now - timedelta(seconds=ago)
    start = end - timedelta(seconds=window)
    units = {column.name: column.unit for column in COLUMNS[Entity.DEPLOYMENT]} | {ratio.name: ratio.unit for ratio in RATIOS}
    found = {
        pk: {name: (summary.mean, units[name]) for name, summary in own.items() if summary.count > 0 and math.isfinite(summary.mean)}
        for pk, own in totals_load(Entity.DEPLOYMENT, ids, WATCHED, start=start, end=end).items()
    }
    by_kind = defaultdict[Latency, dict[int, float]](dict)
    for pk in ids:
        slo = known.slos.get(pk)
        kind = Latency(slo.latency) if slo is not None and slo.latency is not None else Latency.REQUEST_DURATION
        by_kind[kind][pk] = slo.percentile if slo is not None else 0.95
    for kind, percentiles in by_kind.items():
        for pk, histogram in latency_totals(list(percentiles), kind, start=start, end=end).items():
            seconds = histogram.quantile(percentiles[pk]).seconds
            if histogram.count > 0 and math.isfinite(seconds):
                found[pk][f"p{100 * percentiles[pk]:g} of {LATENCY_WORDS[kind]}"] = (seconds, "seconds")
    return found


def move_words(name: str, before: tuple[float, str], after: tuple[float, str]) -> str:
    """Empty where it did not move."""
    (old, unit), (new, _) = before, after
    label, change = LABELS.get(name, name), new - old
    told = f"{label} from {value_words(old, unit)} to {value_words(new, unit)}"
    if unit == "ratio":
        return told if abs(change) >= MOVED_POINTS else ""
    if abs(change) < MOVED_SHARE * abs(old) or max(abs(old), abs(new)) < (0.001 if unit == "seconds" else MOVED_LEAST):
        return ""
    return f"{told} ({100 * change / old:+.0f} %)" if old else told


LOOK_UPS: tuple[Callable[[Known], None], ...] = (limits_find, events_find, lost_find, moves_find)

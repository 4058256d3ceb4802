"""Signals: what a rule compares with its threshold. First all windows that any rule needs are read, then values are picked out of them.

Columns and ratios of the catalogue are signals by their name: the mean over the rule's window. The named ones stand in NAMED.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitoring.alerts.burn import Counts, burn_rate, counts_load
from monitoring.alerts.subjects import Subject
from monitoring.catalog.columns import COLUMNS, RATIOS
from monitoring.catalog.records import Entity
from monitoring.models import Agent, Rule, RuleEntity, Slo, Source
from monitoring.series import Summary, totals_load

SHORT = 12  # the short window of a burn rate is the long one over this: it ends the alert soon after the burning ends


@dataclass(frozen=True)
class Window:
    """Seconds before now: from `start` to `end`."""

    entity: str
    start: int
    end: int = 0


@dataclass(frozen=True)
class Need:
    window: Window
    columns: tuple[str, ...]


@dataclass
class Readings:
    """Everything the signals of one round are taken from."""

    now: datetime
    resumed_at: datetime  # nobody is silent for longer than we have been listening
    summaries: dict[Window, dict[int, dict[str, Summary]]]
    slos: dict[int, Slo]
    counts: Counts
    agents: dict[int, Agent]
    sources: dict[int, Source]

    def summary(self, window: Window, pk: int, column: str) -> Summary | None:
        found = self.summaries.get(window, {}).get(pk, {}).get(column)
        return found if found is not None and found.count > 0 else None

    def mean(self, window: Window, pk: int, column: str) -> float | None:
        found = self.summary(window, pk, column)
        return found.mean if found is not None and math.isfinite(found.mean) else None

    def silent_seconds(self, heard: datetime) -> float:
        return (self.now - max(heard, self.resumed_at)).total_seconds()


Value = Callable[[Readings, Rule, Subject], float | None]


@dataclass(frozen=True)
class Signal:
    """name; the entity it is of; what it is, for people; what is read for it; its value, None where nothing can be said."""

    name: str
    entity: str
    unit: str
    meaning: str
    needs: Callable[[Rule], tuple[Need, ...]]
    value: Value


def nothing(rule: Rule) -> tuple[Need, ...]:
    return ()


def windows_both(rule: Rule) -> tuple[Window, Window]:
    return Window("deployment", rule.window_seconds), Window("deployment", rule.window_seconds // SHORT)


def burn_needs(rule: Rule) -> tuple[Need, ...]:
    return tuple(Need(window, ("requests_per_second", "error_ratio")) for window in windows_both(rule))


def latency_burn(readings: Readings, rule: Rule, subject: Subject) -> float | None:
    """The lower of the burn rates of both windows: above the threshold only where both are."""
    slo = readings.slos.get(subject.pk)
    if slo is None or slo.latency is None or slo.threshold_seconds is None:
        return None
    counted = readings.counts.get(subject.pk, {})
    rates = []
    for window in windows_both(rule):
        judged, broken = counted.get(window.start, (0, 0))
        if not judged and readings.mean(window, subject.pk, "requests_per_second") is None:
            return None
        rates.append(burn_rate(broken, judged, promised=slo.objective_ratio))  # measured, but no requests to judge: nothing burns
    return min(rates)


def error_burn(readings: Readings, rule: Rule, subject: Subject) -> float | None:
    slo = readings.slos.get(subject.pk)
    if slo is None or slo.availability_ratio is None:
        return None
    rates = []
    for window in windows_both(rule):
        ratio = readings.mean(window, subject.pk, "error_ratio")
        if ratio is None and readings.mean(window, subject.pk, "requests_per_second") != 0:
            return None
        rates.append(burn_rate(ratio or 0.0, 1.0, promised=slo.availability_ratio))
    return min(rates)


def halves(rule: Rule) -> tuple[Window, Window]:
    half = rule.window_seconds // 2
    return Window("deployment", half), Window("deployment", 2 * half, half)


def queue_growth(readings: Readings, rule: Rule, subject: Subject) -> float | None:
    new, old = (readings.mean(window, subject.pk, "requests_waiting") for window in halves(rule))
    return new - old if new is not None and old is not None else None


def changed(column: str) -> Value:
    """How much a counter or code changed within the window, at most."""

    def value(readings: Readings, rule: Rule, subject: Subject) -> float | None:
        found = readings.summary(Window(rule.entity, rule.window_seconds), subject.pk, column)
        return found.high - found.low if found is not None else None

    return value


def own_window(*columns: str) -> Callable[[Rule], tuple[Need, ...]]:
    return lambda rule: (Need(Window(rule.entity, rule.window_seconds), columns),)


def agent_silent(readings: Readings, rule: Rule, subject: Subject) -> float | None:
    agent = readings.agents.get(subject.pk)
    return readings.silent_seconds(agent.last_seen_at) if agent else None


def clock_skew(readings: Readings, rule: Rule, subject: Subject) -> float | None:
    agent = readings.agents.get(subject.pk)
    return abs(agent.skew_seconds) if agent and agent.skew_seconds is not None else None


def source_silent(readings: Readings, rule: Rule, subject: Subject) -> float | None:
    source = readings.sources.get(subject.pk)
    return readings.silent_seconds(source.watermark or source.created_at) if source else None


NAMED = {
    signal.name: signal
    for signal in (
        Signal(
            "slo_latency_burn",
            "deployment",
            "times",
            "Burn rate of the latency promise, over the window and its last twelfth, the lower of both.",
            burn_needs,
            latency_burn,
        ),
        Signal(
            "slo_error_burn",
            "deployment",
            "times",
            "Burn rate of the availability promise, over the window and its last twelfth, the lower of both.",
            burn_needs,
            error_burn,
        ),
        Signal(
            "queue_growth",
            "deployment",
            "requests",
            "Mean requests waiting in the second half of the window less that in its first half.",
            lambda rule: tuple(Need(window, ("requests_waiting",)) for window in halves(rule)),
            queue_growth,
        ),
        Signal(
            "ecc_errors_new",
            "accelerator",
            "errors",
            "Uncorrected memory errors that came in the window.",
            own_window("ecc_uncorrected_errors"),
            changed("ecc_uncorrected_errors"),
        ),
        Signal(
            "xid_changed",
            "accelerator",
            "code",
            "How much the last Xid code changed in the window.",
            own_window("xid_code"),
            changed("xid_code"),
        ),
        Signal("agent_silent_seconds", "agent", "seconds", "Since the agent was last heard.", nothing, agent_silent),
        Signal("clock_skew_seconds", "agent", "seconds", "How far the clock of the agent's host is off ours.", nothing, clock_skew),
        Signal("source_silent_seconds", "source", "seconds", "Since the newest moment read from the source.", nothing, source_silent),
    )
}


def signal_find(entity: str, name: str) -> Signal | None:
    """The named signal, or the mean of a column or ratio of the entity; None where there is no such thing."""
    if name in NAMED:
        return NAMED[name] if NAMED[name].entity == entity else None
    if entity in (RuleEntity.AGENT, RuleEntity.SOURCE):
        return None
    column = next((column for column in COLUMNS[Entity(entity)] if column.name == name), None)
    ratio = next((ratio for ratio in RATIOS if ratio.name == name and entity == RuleEntity.DEPLOYMENT), None)
    known = column or ratio
    if known is None:
        return None
    return Signal(
        name,
        entity,
        known.unit,
        known.meaning,
        own_window(name),
        lambda readings, rule, subject: readings.mean(Window(rule.entity, rule.window_seconds), subject.pk, name),
    )


def readings_load(
    rules: Iterable[Rule], subjects: Mapping[str, list[Subject]], *, now: datetime, resumed_at: datetime, slos: dict[int, Slo]
) -> Readings:
    """One read for each window that any rule needs, whatever the number of entities."""
    columns, windows = defaultdict[Window, set[str]](set), set[int]()
    for rule in rules:
        signal = signal_find(rule.entity, rule.signal)
        for need in signal.needs(rule) if signal else ():
            columns[need.window].update(need.columns)
        if rule.signal == "slo_latency_burn":
            windows.update(window.start for window in windows_both(rule))
    summaries = {
        window: totals_load(
            Entity(window.entity),
            [subject.pk for subject in subjects[window.entity]],
            sorted(names),
            start=now - timedelta(seconds=window.start),
            end=now - timedelta(seconds=window.end),
        )
        for window, names in columns.items()
    }
    return Readings(
        now,
        resumed_at,
        summaries,
        slos,
        counts_load(windows, now=now),
        {row.pk: row for row in Agent.objects.all()},
        {row.pk: row for row in Source.objects.filter(enabled=True)},
    )

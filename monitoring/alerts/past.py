"""What the signals of a preview are taken from: stored telemetry, on even moments of the last days.

A window reaches over whole steps, and over one at least.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from monitoring.alerts.burn import BUCKET, MIN_REQUESTS
from monitoring.alerts.readings import CREW_SEEN, NO_CREWS, RATIO_OF, REPLICA, Crews, Needs, Promises, crews_load, promises_of, quotient
from monitoring.alerts.signals import AVAILABILITY, LATENCY, Floats, Window
from monitoring.alerts.subjects import Subject
from monitoring.catalog.records import Entity, Latency
from monitoring.models import Agent, RuleEntity, Slo, SloCount
from monitoring.series import ALIGNED_SECONDS, StepColumn, Steps, latency_judged_many, steps_load

Ints = NDArray[np.int64]
PRESENCE = {  # columns whose rows show that somebody was there
    Entity.DEPLOYMENT: ("requests_per_second", "requests_running", "replicas_ready", "cpu_usage_cores"),
    Entity.NODE: ("cpu_utilization_ratio", "memory_used_bytes"),
}


@dataclass(frozen=True)
class Span:
    """The steps of each moment's window: from `first` to before `last`."""

    first: Ints
    last: Ints


@dataclass
class PastReadings:
    """One value a subject and moment."""

    moments: Floats
    subjects: Sequence[Subject]
    tracks: Mapping[str, Steps]  # by entity
    crews: Crews
    promises: Promises
    judged: "JudgedMinutes"
    means: dict[tuple[Window, str], Floats] = field(default_factory=dict)

    def mean(self, window: Window, name: str) -> Floats:
        if (window, name) not in self.means:
            track = self.tracks[window.entity]
            span = span_of(track.times, self.moments, window)
            parts = (RATIO_OF[name].numerator, RATIO_OF[name].denominator) if name in RATIO_OF else (name,)
            found = [rolling_mean(track.columns[part], span) for part in parts]
            self.means[window, name] = quotient(*found) if len(found) == 2 else found[0]
        return self.means[window, name]

    def change(self, window: Window, name: str) -> Floats:
        track = self.tracks[window.entity]
        span = span_of(track.times, self.moments, window)
        column = track.columns[name]
        return rolling_most(column.high, span) + rolling_most(-column.low, span)

    def crew(self, window: Window, name: str) -> Floats:
        return self.crews.spread(self.mean(window, name), len(self.subjects))

    def minutes(self, seconds: int) -> tuple[Floats, Floats]:
        first = np.searchsorted(self.judged.ends, self.moments - seconds, side="right")
        span = Span(first, np.searchsorted(self.judged.ends, self.moments, side="right"))
        return rolling_sum(self.judged.judged, span), rolling_sum(self.judged.broken, span)

    def promised(self, kind: str) -> Floats:
        return {LATENCY: self.promises.latency, AVAILABILITY: self.promises.availability}[kind][:, None]

    def silent(self, entity: str) -> Floats:
        """Since the last step with any row; NaN before the first, and where no rows are kept."""
        track = self.tracks.get(PRESENT_IN.get(entity, ""))
        if track is None:
            return self.unknown()
        present = np.logical_or.reduce([column.count > 0 for column in track.columns.values()])
        newest = np.maximum.accumulate(np.where(present, track.times, -np.inf), axis=1)
        at = np.searchsorted(track.times, self.moments, side="right") - 1
        silent = self.moments - np.where(at >= 0, newest[:, np.maximum(at, 0)], -np.inf)
        return np.where(np.isfinite(silent), silent, np.nan)

    def skew(self) -> Floats:
        return self.unknown()

    def unknown(self) -> Floats:
        return np.full((len(self.subjects), len(self.moments)), np.nan)


PRESENT_IN: dict[str, str] = {RuleEntity.DEPLOYMENT: Entity.DEPLOYMENT.value, RuleEntity.AGENT: Entity.NODE.value}


def span_of(times: Floats, moments: Floats, window: Window) -> Span:
    """As rounds cut it: a long window begins on a five-minute boundary."""
    start = moments - window.start
    if window.start - window.end >= ALIGNED_SECONDS:
        start = np.floor(start / BUCKET) * BUCKET
    first = np.searchsorted(times, start + 0.5, side="right")
    last = np.searchsorted(times, moments - window.end + 0.5, side="right")
    return Span(np.maximum(np.minimum(first, last - 1), 0), last)


def rolling_sum(values: Floats, span: Span) -> Floats:
    added = np.concatenate((np.zeros((len(values), 1)), np.cumsum(values, axis=1)), axis=1)
    return added[:, span.last] - added[:, span.first]


def rolling_mean(column: StepColumn, span: Span) -> Floats:
    count = rolling_sum(column.count, span)
    some = rolling_sum((column.total != 0).astype(np.float64), span)  # what rounding leaves of zeros is no zero
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0.5, np.where(some > 0, rolling_sum(column.total, span) / count, 0.0), np.nan)


def rolling_most(values: Floats, span: Span) -> Floats:
    """The greatest in each span, NaN where there is none; from greatest values of 1, 2, 4, ... steps."""
    width = span.last - span.first
    powers = np.floor(np.log2(np.maximum(width, 1))).astype(np.int64)
    out = np.full((len(values), len(width)), np.nan)
    table = values
    for power in range(int(powers.max(initial=0)) + 1):
        own = np.flatnonzero((powers == power) & (width > 0))
        out[:, own] = np.fmax(table[:, span.first[own]], table[:, span.last[own] - 2**power])
        if table.shape[1] > 2**power:
            table = np.concatenate((np.fmax(table[:, : -(2**power)], table[:, 2**power :]), table[:, -(2**power) :]), axis=1)
    return out


@dataclass(frozen=True)
class JudgedMinutes:
    """Minutes of the latency promise judged and broken in the five minutes up to each end: (deployments, ends)."""

    ends: Floats
    judged: Floats
    broken: Floats


def judged_load(slos: Mapping[int, Slo], deployments: Sequence[int], *, start: float, end: float) -> JudgedMinutes:
    """Minute by minute where rounds have judged the promise as it stands, else in five minutes at once."""
    ends = np.arange(start + BUCKET, end + 1, BUCKET)
    judged, broken = (np.zeros((len(deployments), len(ends))) for _ in range(2))
    places = {pk: place for place, pk in enumerate(deployments)}
    for kind in Latency:
        own = {pk: slos[pk] for pk in deployments if pk in slos and slos[pk].latency == kind and slos[pk].threshold_seconds is not None}
        percentiles = {pk: slo.percentile for pk, slo in own.items()}
        found = latency_judged_many(percentiles, kind, start=moment(start), end=moment(end), points=len(ends))
        for pk, track in found.items():
            at = np.searchsorted(ends, track.times - 0.5)
            inside = at < len(ends)
            enough = np.where(track.counts >= MIN_REQUESTS, BUCKET / 60.0, 0.0)
            judged[places[pk], at[inside]] = enough[inside]
            broken[places[pk], at[inside]] = (enough * (np.nan_to_num(track.seconds) > (own[pk].threshold_seconds or 0.0)))[inside]
    counts_overlay(slos, places, JudgedMinutes(ends, judged, broken))
    return JudgedMinutes(ends, judged, broken)


def counts_overlay(slos: Mapping[int, Slo], places: Mapping[int, int], minutes: JudgedMinutes) -> None:
    if not len(minutes.ends):
        return
    rows = SloCount.objects.filter(deployment__in=list(places), end_at__gte=moment(minutes.ends[0]), end_at__lte=moment(minutes.ends[-1]))
    for pk, end_at, judged, broken in rows.values_list("deployment_id", "end_at", "judged", "broken"):
        if pk in slos and end_at > slos[pk].updated_at:
            place = int(np.searchsorted(minutes.ends, end_at.timestamp() - 0.5))
            minutes.judged[places[pk], place], minutes.broken[places[pk], place] = judged, broken


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(float(seconds), tz=UTC)


@dataclass(frozen=True)
class Stretch:
    """What is judged: moments after `start` up to `end`, each `step`; windows may reach back by `lead`."""

    start: float
    end: float
    step: float
    lead: float


def past_load(needs: Needs, subjects: Sequence[Subject], *, entity: str, stretch: Stretch) -> PastReadings:
    """A few reads, whatever the number of subjects."""
    ids = [subject.pk for subject in subjects]
    begin = stretch.start - stretch.lead
    crews = crews_load(ids, seen_since=moment(stretch.start) - CREW_SEEN) if needs.has(REPLICA) else NO_CREWS
    tracks = {}
    for kind in sorted({window.entity for window in needs.columns}):
        columns = sorted({name for window, names in needs.columns.items() if window.entity == kind for name in names})
        own = list(crews.replicas) if kind == REPLICA else ids
        tracks[kind] = steps_load(Entity(kind), own, columns, start=begin, end=stretch.end, step=stretch.step)
    if not needs.columns and entity in PRESENT_IN:
        kind = PRESENT_IN[entity]
        own = nodes_of_agents(ids) if entity == RuleEntity.AGENT else ids
        tracks[kind] = steps_load(Entity(kind), own, PRESENCE[Entity(kind)], start=begin, end=stretch.end, step=stretch.step)
    slos = {slo.deployment_id: slo for slo in Slo.objects.filter(deployment__in=ids)} if entity == RuleEntity.DEPLOYMENT else {}
    if needs.minutes:
        judged = judged_load(slos, ids, start=begin // BUCKET * BUCKET, end=stretch.end)
    else:
        judged = JudgedMinutes(np.zeros(0), np.zeros((len(ids), 0)), np.zeros((len(ids), 0)))
    moments = np.arange(stretch.start, stretch.end, stretch.step) + stretch.step
    return PastReadings(moments, subjects, tracks, crews, promises_of(slos, ids), judged)


def nodes_of_agents(agents: Sequence[int]) -> list[int]:
    found = dict(Agent.objects.filter(pk__in=agents).values_list("pk", "node_id"))
    return [found[pk] for pk in agents]

"""What the signals of one round are taken from: all windows that any rule needs, read at once."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from monitoring.alerts.burn import Counts, counts_load
from monitoring.alerts.signals import AVAILABILITY, LATENCY, Floats, Window, signal_find, windows_both
from monitoring.alerts.subjects import Subject
from monitoring.catalog.columns import RATIOS
from monitoring.catalog.records import Entity
from monitoring.models import DeploymentState, Replica, Rule, Slo
from monitoring.series import Totals, windows_load

RATIO_OF = {ratio.name: ratio for ratio in RATIOS}
REPLICA = "replica"
CREW_SEEN = timedelta(hours=1)  # replicas not seen for longer are not of the crew
Subjects = Mapping[str, Sequence[Subject]]


@dataclass(frozen=True)
class Promises:
    """Of each deployment the shares that were promised, NaN where nothing is."""

    latency: Floats
    availability: Floats


@dataclass
class NowReadings:
    """One value a subject, in the order of `subjects`."""

    now: datetime
    resumed_at: datetime  # nobody is silent for longer than we have been listening
    subjects: Subjects
    totals: dict[Window, dict[str, Totals]]
    promises: Promises
    counts: Counts
    crews: "Crews"
    means: dict[tuple[Window, str], Floats] = field(default_factory=dict)  # asked by several rules

    def mean(self, window: Window, name: str) -> Floats:
        if (window, name) not in self.means:
            self.means[window, name] = self.mean_of(window, name)
        return self.means[window, name]

    def mean_of(self, window: Window, name: str) -> Floats:
        columns = self.totals.get(window, {})
        if not columns:  # no subjects at all
            return np.zeros(0)
        if name not in RATIO_OF:
            return columns[name].mean
        return quotient(columns[RATIO_OF[name].numerator].mean, columns[RATIO_OF[name].denominator].mean)

    def change(self, window: Window, name: str) -> Floats:
        columns = self.totals.get(window, {})
        return columns[name].high - columns[name].low if columns else np.zeros(0)

    def crew(self, window: Window, name: str) -> Floats:
        return self.crews.spread(self.mean(window, name), len(self.subjects["deployment"]))

    def minutes(self, seconds: int) -> tuple[Floats, Floats]:
        return self.counts[seconds]

    def promised(self, kind: str) -> Floats:
        return {LATENCY: self.promises.latency, AVAILABILITY: self.promises.availability}[kind]

    def silent(self, entity: str) -> Floats:
        heard = np.array([subject.heard for subject in self.subjects[entity]], dtype=np.float64)
        return self.now.timestamp() - np.maximum(heard, self.resumed_at.timestamp())

    def skew(self) -> Floats:
        return np.abs(np.array([subject.skew_seconds for subject in self.subjects["agent"]], dtype=np.float64))


def quotient(above: Floats, below: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 0, above / below, np.nan)


@dataclass(frozen=True)
class Crews:
    """Which replicas serve for which deployment: places in the lists of replicas and of deployments."""

    replicas: tuple[int, ...]  # primary keys
    rows: NDArray[np.int64]  # of the deployment
    columns: NDArray[np.int64]  # number within its crew

    def spread(self, values: Floats, deployments: int) -> Floats:
        """(replicas, ...) -> (deployments, replicas of the largest crew, ...), NaN beyond a smaller one's."""
        width = int(self.columns.max(initial=0)) + 1
        out = np.full((deployments, width, *values.shape[1:]), np.nan)
        if len(values):
            out[self.rows, self.columns] = values
        return out


NO_CREWS = Crews((), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))


def crews_load(deployments: Sequence[int], *, seen_since: datetime) -> Crews:
    places = {pk: place for place, pk in enumerate(deployments)}
    rows = Replica.objects.filter(last_seen_at__gte=seen_since, deployment__state=DeploymentState.ACTIVE)
    pairs = [(pk, places[owner]) for pk, owner in rows.order_by("pk").values_list("pk", "deployment_id") if owner in places]
    numbers = defaultdict[int, int](int)
    columns = []
    for _, place in pairs:
        columns.append(numbers[place])
        numbers[place] += 1
    owners = np.array([place for _, place in pairs], dtype=np.int64)
    return Crews(tuple(pk for pk, _ in pairs), owners, np.array(columns, dtype=np.int64))


def promises_of(slos: Mapping[int, Slo], deployments: Sequence[int]) -> Promises:
    def shares(name: str) -> Floats:
        return np.array([share_of(slos.get(pk), name) for pk in deployments], dtype=np.float64)

    return Promises(shares(LATENCY), shares(AVAILABILITY))


def share_of(slo: Slo | None, kind: str) -> float:
    if slo is None:
        return np.nan
    if kind == AVAILABILITY:
        return np.nan if slo.availability_ratio is None else slo.availability_ratio
    return np.nan if slo.latency is None or slo.threshold_seconds is None else slo.objective_ratio


@dataclass(frozen=True)
class Needs:
    """What rules ask for: stored columns by window, and seconds of judged minutes."""

    columns: Mapping[Window, tuple[str, ...]]
    minutes: frozenset[int]

    def has(self, entity: str) -> bool:
        return any(window.entity == entity for window in self.columns)


def needs_of(rules: Iterable[Rule]) -> Needs:
    columns, minutes = defaultdict[Window, set[str]](set), set[int]()
    for rule in rules:
        signal = signal_find(rule.entity, rule.signal)
        for need in signal.needs(rule) if signal else ():
            columns[need.window].update(part for name in need.columns for part in parts_of(name))
        if signal is not None and signal.judged:
            minutes.update(window.start for window in windows_both(rule))
    return Needs({window: tuple(sorted(names)) for window, names in columns.items()}, frozenset(minutes))


def parts_of(name: str) -> tuple[str, ...]:
    ratio = RATIO_OF.get(name)
    return (ratio.numerator, ratio.denominator) if ratio else (name,)


def readings_load(
    rules: Iterable[Rule], subjects: Subjects, *, now: datetime, resumed_at: datetime, slos: Mapping[int, Slo]
) -> NowReadings:
    """A few reads an entity, whatever the number of rules and subjects."""
    needs = needs_of(rules)
    deployments = [subject.pk for subject in subjects.get("deployment", ())]
    crews = crews_load(deployments, seen_since=now - CREW_SEEN) if needs.has(REPLICA) else NO_CREWS
    ids = {entity: [subject.pk for subject in own] for entity, own in subjects.items()} | {REPLICA: list(crews.replicas)}
    totals: dict[Window, dict[str, Totals]] = {}
    for entity in sorted({window.entity for window in needs.columns}):
        own = {window: names for window, names in needs.columns.items() if window.entity == entity}
        stretches = {window: (now.timestamp() - window.start, now.timestamp() - window.end) for window in own}
        found = windows_load(Entity(entity), ids[entity], {stretches[window]: names for window, names in own.items()})
        totals |= {window: found[stretches[window]] for window in own if found}
    counts = counts_load(deployments, needs.minutes, now=now)
    return NowReadings(now, resumed_at, subjects, totals, promises_of(slos, deployments), counts, crews)

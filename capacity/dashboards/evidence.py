"""All that one Deployment page rests on, loaded once: a fixed number of queries whatever the deployment."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
from django.db.models import Q

from capacity.dashboards.pages import Page
from monitoring.catalog.columns import COLUMNS, RATIOS
from monitoring.catalog.records import Entity, Fold, Latency
from monitoring.models import Accelerator, Deployment, Placement, Replica, Slo, Version
from monitoring.series import LatencyLines, Lines, latency_load_kinds, lines_load_many, lines_load_windows

Array = npt.NDArray[np.float64]
POINTS = 320  # about one in two pixels of a wide plot
USUAL_WEEKS = 4
USUAL_POINTS = 96
FOLDS = {column.name: column.fold for column in COLUMNS[Entity.ACCELERATOR]}
UNITS = {column.name: column.unit for columns in COLUMNS.values() for column in columns} | {ratio.name: ratio.unit for ratio in RATIOS}


@dataclass(frozen=True)
class Grid:
    """The steps of a set of lines: `first` is the end of the first one, in Unix seconds."""

    first: float
    step: float
    table: str
    as_of: float | None


@dataclass(frozen=True)
class Evidence:
    deployment: Deployment
    page: Page
    slo: Slo | None
    versions: Sequence[Version]  # all of the deployment, oldest first
    chosen: Sequence[Version]  # those the reader filtered for; empty = all
    lines: Lines
    latencies: Mapping[Latency, LatencyLines]
    kinds: Sequence[Latency]
    placements: Sequence[Placement]
    accelerators: Sequence[Accelerator]  # of the placements
    activity: Mapping[int, Lines]  # of the accelerators
    replicas: Sequence[Replica]
    skew: Mapping[int, Lines]  # of the replicas
    usual: tuple[Array, Array] | None = None
    breaches: Sequence[tuple[float, float]] = field(default=())
    lost_minutes: float | None = None
    live: Mapping[str, float] = field(default_factory=dict)  # means of the last minutes

    def column(self, name: str) -> Array:
        """The mean of a deployment's column in each step; all gaps when it was never measured."""
        line = self.lines.columns.get(name)
        return line.mean if line is not None else np.array([])

    def measured(self, name: str) -> bool:
        values = self.column(name)
        return bool(values.size and np.isfinite(values).any())

    def now_of(self, name: str) -> float | None:
        """The mean of the last minutes, as the tiles say it; else the last step, which may be hours long."""
        return self.live[name] if name in self.live else last(self.column(name))

    def folded(self, name: str) -> Array:
        """One column of all accelerators of the deployment together, by the fold of the catalogue."""
        arrays = [lines.columns[name].mean for lines in self.activity.values() if name in lines.columns]
        return fold(arrays, FOLDS.get(name, Fold.MEAN))

    @property
    def grid(self) -> Grid:
        return grid_of(self.lines)

    @property
    def as_of(self) -> datetime | None:
        """The newest sample of anything on the page."""
        found = [lines.as_of for lines in (self.lines, *self.activity.values()) if lines.as_of is not None]
        return datetime.fromtimestamp(max(found), UTC) if found else None

    @property
    def stale(self) -> bool:
        """A live view whose newest sample is older than three steps (and five minutes)."""
        limit = max(300.0, 3.0 * self.deployment.step_seconds)
        return self.page.range.live and (self.as_of is None or (self.page.now - self.as_of).total_seconds() > limit)

    @property
    def llm(self) -> bool:
        return is_llm(self.kinds, self.deployment)

    @property
    def marks(self) -> list[float]:
        """When each version but the first appeared."""
        return [version.first_seen_at.timestamp() for version in self.versions[1:]]


LLM_SYSTEMS = ("vllm", "sglang", "tgi")


def is_llm(kinds: Iterable[Latency], deployment: Deployment) -> bool:
    return deployment.system in LLM_SYSTEMS or Latency.TIME_TO_FIRST_TOKEN in kinds


def grid_of(lines: Lines) -> Grid:
    times = next((line.times for line in lines.columns.values() if line.times.size), np.array([0.0]))
    return Grid(float(times[0]), float(lines.step), str(lines.table), lines.as_of)


def last(values: Array) -> float | None:
    known = np.flatnonzero(np.isfinite(values))
    return float(values[known[-1]]) if known.size else None


def mean(values: Array) -> float | None:
    return float(np.nanmean(values)) if values.size and np.isfinite(values).any() else None


def fold(arrays: Sequence[Array], how: Fold) -> Array:
    """Columns of several entities as one; a step in which none was measured is a gap, a missing one does not make a gap."""
    if not arrays:
        return np.array([])
    stacked = np.vstack(arrays)
    seen = np.isfinite(stacked).any(axis=0)
    result = np.full(stacked.shape[1], np.nan)
    if seen.any():
        known = stacked[:, seen]
        result[seen] = folded(known, how)
    return result


def folded(values: Array, how: Fold) -> Array:
    if how is Fold.SUM:
        return np.asarray(np.nansum(values, axis=0))
    return np.asarray(np.nanmax(values, axis=0) if how is Fold.MAX else np.nanmean(values, axis=0))


def placements_held(deployment: Deployment, *, start: datetime, end: datetime) -> list[Placement]:
    """What the deployment's replicas lay on within the range; one query."""
    overlapping = Placement.objects.filter(
        Q(valid_to__isnull=True) | Q(valid_to__gt=start), valid_from__lt=end, replica__deployment=deployment
    )
    return list(overlapping.select_related("accelerator__node", "node"))


def accelerators_of(placements: Iterable[Placement]) -> list[Accelerator]:
    cards = {place.accelerator.pk: place.accelerator for place in placements if place.accelerator is not None}
    return [cards[pk] for pk in sorted(cards)]


def usual_range(deployment: Deployment, column: str, *, page: Page, points: Array) -> tuple[Array, Array] | None:
    """Lowest and highest of the same hours in the weeks before, at the moments of `points`; None under two weeks of history."""
    shifts = [timedelta(weeks=week) for week in range(1, USUAL_WEEKS + 1)]
    windows = [(page.range.start - shift, page.range.end - shift) for shift in shifts]
    several = lines_load_windows(Entity.DEPLOYMENT, deployment.pk, [column], windows, points=USUAL_POINTS)
    weeks = []
    for shift, lines in zip(shifts, several, strict=True):
        line = lines.columns.get(column)
        if line is not None and np.isfinite(line.mean).sum() >= 2:
            known = np.isfinite(line.mean)
            weeks.append(np.interp(points, line.times[known] + shift.total_seconds(), line.mean[known]))
    if len(weeks) < 2:
        return None
    stacked = np.vstack(weeks)
    return stacked.min(axis=0), stacked.max(axis=0)


def seconds_of(at: datetime) -> float:
    return at.astimezone(UTC).timestamp()


def latencies_load(
    deployment: Deployment, kinds: Iterable[Latency], *, page: Page, versions: Sequence[int] | None, points: int = POINTS
) -> dict[Latency, LatencyLines]:
    return latency_load_kinds(deployment.pk, list(kinds), start=page.range.start, end=page.range.end, points=points, versions=versions)


def activity_load(entity: Entity, ids: Sequence[int], columns: Sequence[str], *, page: Page) -> Mapping[int, Lines]:
    if not ids or not columns:
        return {}
    return lines_load_many(entity, ids, columns, start=page.range.start, end=page.range.end, points=POINTS)

"""What a plan reads of a deployment's past, through the read door: arrays on even grids, NaN for gaps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from capacity.engine.grid import DAY_SECONDS, HOUR_SECONDS, Floats, grid_times
from monitoring.catalog.records import Entity, Latency
from monitoring.models import Deployment, Replica
from monitoring.series import LatencyLines, latency_load, lines_load, steps_load

MINUTE_SECONDS, STEP_SECONDS = 60.0, 300.0
WEEK_SECONDS = 7 * DAY_SECONDS
LONG_DAYS = 53 * 7  # whole weeks: a year of trend
STEP_DAYS = 28
MINUTE_DAYS = 2
COLUMNS = (
    *("requests_per_second", "requests_running", "requests_waiting", "replicas_ready", "replicas_desired"),
    *("input_tokens_per_second", "output_tokens_per_second", "cache_hits_per_second", "cache_queries_per_second"),
    *("kv_cache_usage_ratio", "request_seconds_per_second"),
)


@dataclass(frozen=True)
class Hours:
    """Requests per second, mean of each hour; whole weeks back from the last full hour."""

    start: float
    values: Floats

    @property
    def end(self) -> float:
        return self.start + self.values.size * HOUR_SECONDS


@dataclass(frozen=True)
class Stretch:
    """Columns of a deployment on one grid: (n,) means of each step."""

    start: float
    step: float
    columns: dict[str, Floats]

    def __getitem__(self, name: str) -> Floats:
        return self.columns[name]

    @property
    def rates(self) -> Floats:
        return self.columns["requests_per_second"]

    @property
    def times(self) -> Floats:
        """Starts of the steps."""
        return grid_times(self.start, step_seconds=self.step, count=self.rates.size)

    @property
    def counts(self) -> Floats:
        return self.rates * self.step

    def with_replicas(self, replicas: Floats) -> "Stretch":
        return replace(self, columns={**self.columns, "replicas_ready": replicas})

    def since(self, time: float) -> "Stretch":
        first = max(0, round((time - self.start) / self.step))
        return Stretch(self.start + first * self.step, self.step, {name: values[first:] for name, values in self.columns.items()})

    def ratio(self, above: str, below: str) -> float | None:
        """Quotient of sums over the steps where both are known; None where that is nowhere."""
        top, bottom = self.columns[above], self.columns[below]
        known = np.isfinite(top) & np.isfinite(bottom)
        total = float(bottom[known].sum())
        return float(top[known].sum()) / total if total > 0 else None


@dataclass(frozen=True)
class Latencies:
    """Histograms of each five-minute step."""

    kind: Latency
    bounds: tuple[float, ...]
    counts: Floats  # (n, len(bounds) + 1)
    sums: Floats  # (n,) seconds, NaN where not known
    seconds: Floats  # (n,) the promised percentile

    @property
    def requests(self) -> Floats:
        """(n,)"""
        return np.asarray(self.counts.sum(axis=1))

    def totalled(self) -> "Latencies":
        """Without its buckets, once they were read: a fortieth of the memory."""
        return replace(self, bounds=(), counts=self.requests[:, None])

    def merged(self, chosen: np.ndarray) -> tuple[Floats, float]:
        """Counts by bucket of the chosen steps, and their seconds."""
        sums = self.sums[chosen]
        return self.counts[chosen].sum(axis=0), float(sums.sum())


def instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)


def hours_read(deployment: Deployment, *, now: float) -> Hours:
    """Up to a year. Two or three queries."""
    end = now // HOUR_SECONDS * HOUR_SECONDS
    start = end - LONG_DAYS * DAY_SECONDS
    lines = lines_load(
        Entity.DEPLOYMENT, deployment.pk, ("requests_per_second",), start=instant(start), end=instant(end), points=LONG_DAYS * 24
    )
    line = lines.columns["requests_per_second"]
    values = np.full(LONG_DAYS * 24, np.nan)
    # A deployment without rollups yet answers in other steps: each is put into its hour.
    places = np.floor((line.times - 1e-3 - start) / HOUR_SECONDS).astype(np.int64)
    known = np.isfinite(line.mean) & (places >= 0) & (places < values.size)
    size = np.bincount(places[known], minlength=values.size)
    total = np.bincount(places[known], weights=line.mean[known], minlength=values.size)
    values[size > 0] = total[size > 0] / size[size > 0]
    found = np.flatnonzero(np.isfinite(values))
    weeks = -(-(values.size - int(found[0])) // 168) if found.size else 1
    kept = min(weeks * 168, values.size)
    return Hours(end - kept * HOUR_SECONDS, values[values.size - kept :])


def stretch_read(deployment: Deployment, *, end: float, days: float, step: float, columns: Sequence[str] = COLUMNS) -> Stretch:
    """Two queries."""
    finish = end // step * step
    start = finish - days * DAY_SECONDS
    steps = steps_load(Entity.DEPLOYMENT, [deployment.pk], columns, start=start, end=finish, step=step)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = {name: np.where(found.count[0] > 0, found.total[0] / found.count[0], np.nan) for name, found in steps.columns.items()}
    return Stretch(start, step, means)


def replicas_seen(deployment: Deployment, *stretches: Stretch) -> list[Stretch]:
    """Where nobody tells how many replicas are ready: how many were seen, each from its first to its last sign. One query."""
    spans = list(Replica.objects.filter(deployment=deployment).values_list("first_seen_at", "last_seen_at"))
    first, last = (np.array([span[place].timestamp() for span in spans]) for place in (0, 1))
    found = []
    for stretch in stretches:
        ends = stretch.times[:, None] + stretch.step
        count = ((first <= ends) & (last >= ends - stretch.step)).sum(axis=1).astype(np.float64) if spans else np.zeros(stretch.rates.size)
        found.append(stretch.with_replicas(np.where(count > 0, count, np.nan)))
    return found


def latencies_read(deployment: Deployment, kind: Latency, *, grid: Stretch, percentile: float) -> Latencies | None:
    """On the steps of `grid`; None where there are none. Three queries."""
    end = grid.start + grid.rates.size * grid.step
    size = grid.rates.size
    lines = latency_load(deployment.pk, kind, start=instant(grid.start), end=instant(end), points=size)
    if not lines.counts.any():
        return None
    return latencies_of(lines, grid=grid, percentile=percentile)


def latencies_of(lines: LatencyLines, *, grid: Stretch, percentile: float) -> Latencies:
    """Longer steps than the grid's stand in the last step they cover, so that no request counts twice."""
    size = grid.rates.size
    places = np.round((lines.times - grid.start) / grid.step).astype(np.int64) - 1
    inside = (places >= 0) & (places < size)
    counts, sums, seconds = np.zeros((size, lines.counts.shape[1])), np.full(size, np.nan), np.full(size, np.nan)
    counts[places[inside]], sums[places[inside]] = lines.counts[inside], lines.sums[inside]
    seconds[places[inside]] = lines.quantile(percentile)[inside]
    return Latencies(lines.latency, lines.bounds, counts, sums, seconds)

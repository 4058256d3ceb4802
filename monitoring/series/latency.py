"""Latency over time and over windows: merged histograms, from which every percentile is taken."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from monitoring.catalog.records import Latency
from monitoring.series.grid import Grid, Instants, Ints, finer_wins, grid_of, groups_of, level_for, level_found, steps_of, unit_of
from monitoring.series.records import LatencyLines
from monitoring.store.copy import columns_fetch
from monitoring.store.histograms import FoldedHistograms, StoredHistograms, histograms_fold
from monitoring.store.layouts import Histogram, counts_spread, sure_range
from monitoring.store.read import latency_fetch_windows, pieces_chart, pieces_coarser, pieces_exact
from monitoring.store.records import Floats
from monitoring.store.schema import LATENCY, LEVELS, Level, table_name
from monitoring.store.watermarks import watermarks_load


def latency_load(
    deployment_id: int,
    latency: Latency,
    *,
    start: datetime,
    end: datetime,
    points: int = 500,
    versions: Sequence[int] | None = None,
) -> LatencyLines:
    """Three queries (how far the rollups are, the rows, the layouts), whatever the window."""
    return latency_load_kinds(deployment_id, [latency], start=start, end=end, points=points, versions=versions)[latency]


def latency_load_kinds(
    deployment_id: int,
    latencies: Sequence[Latency],
    *,
    start: datetime,
    end: datetime,
    points: int = 500,
    versions: Sequence[int] | None = None,
) -> dict[Latency, LatencyLines]:
    """Several kinds over one window; as many queries as for one."""
    if not latencies:
        return {}
    begin, finish = start.timestamp(), end.timestamp()
    level = level_for(begin, finish, points)
    pieces = [*pieces_chart(LATENCY, level, begin, finish, watermarks_load()), *pieces_coarser(level, begin, finish)]
    (stored,) = latency_fetch_windows([deployment_id], latencies, [pieces], versions)
    return {latency: latency_lines(latency, kind_taken(stored, latency), (begin, finish), level, points) for latency in latencies}


def kind_taken(stored: StoredHistograms, latency: Latency) -> StoredHistograms:
    own = np.flatnonzero(stored.latencies == latency)
    return stored if len(own) == len(stored) else rows_repeated(stored, own)


def latency_lines(latency: Latency, stored: StoredHistograms, window: tuple[float, float], level: Level, points: int) -> LatencyLines:
    table = level_found(stored.levels, level)
    raw = stored.levels == 0
    grid = grid_of(*window, points, unit_of(table, np.zeros(int(raw.sum()), dtype=np.int64), stored.times[raw]))
    as_of = float(min(stored.times.max(), window[1])) if len(stored) else None
    folded = folded_onto(grid, stored)
    counts, sums = np.zeros((grid.size, len(folded.bounds) + 1)), np.full(grid.size, np.nan)
    counts[folded.groups], sums[folded.groups] = folded.counts, folded.sums
    return LatencyLines(latency, grid.step, table.name, as_of, grid.times, folded.bounds, counts, sums, folded.sure)


def folded_onto(grid: Grid, stored: StoredHistograms) -> FoldedHistograms:
    """Histograms by step, all on one layout; a row longer than a step is shared out among the steps it covers."""
    kept = rows_finest(stored)
    rows, steps, shares = steps_of(grid, stored.times[kept], stored.levels[kept])
    spread = rows_repeated(stored, kept[rows])
    parts = histograms_fold(spread, steps, weights=shares)
    bounds = tuple(sorted({bound for part in parts for bound in part.bounds}))
    if not parts:
        return FoldedHistograms(np.zeros(0, dtype=np.int64), (), None, np.zeros((0, 1)), np.zeros(0))
    return FoldedHistograms(
        np.concatenate([part.groups for part in parts]),
        bounds,
        sure_range(part.sure for part in parts if part.sure),
        np.concatenate([counts_spread(part.counts, part.bounds, bounds) for part in parts]),
        np.concatenate([part.sums for part in parts]),
    )


def rows_finest(stored: StoredHistograms) -> Ints:
    """Row numbers without the coarse rows whose stretch finer rows of the same deployment touch."""
    numbers = np.arange(len(stored), dtype=np.float64)
    ones = np.ones(len(stored))
    order, _ = groups_of(stored.ids, stored.levels, stored.times)
    instants = Instants(stored.ids, stored.levels, stored.times, numbers, ones, numbers, numbers)
    return finer_wins(instants.taken(order)).totals.astype(np.int64)


def rows_repeated(stored: StoredHistograms, rows: Ints) -> StoredHistograms:
    layouts = stored.layouts[rows]
    counts = {}
    for number, block in stored.counts.items():
        own = np.flatnonzero(stored.layouts == number)
        counts[number] = block[np.searchsorted(own, rows[layouts == number])]
    keys = (stored.ids[rows], stored.versions[rows], stored.latencies[rows], stored.times[rows], stored.levels[rows], layouts)
    return StoredHistograms(*keys, stored.sums[rows], stored.bounds, counts)


def latency_totals(
    deployment_ids: Sequence[int],
    latency: Latency,
    *,
    start: datetime,
    end: datetime,
    versions: Sequence[int] | None = None,
) -> dict[int, Histogram]:
    """One merged histogram for each deployment that has any; three queries, however many deployments."""
    if not len(deployment_ids):
        return {}
    return latency_totals_windows(deployment_ids, [latency], [(start, end)], versions=versions)[0][latency]


def latency_totals_windows(
    deployment_ids: Sequence[int],
    latencies: Sequence[Latency],
    windows: Sequence[tuple[datetime, datetime]],
    *,
    versions: Sequence[int] | None = None,
) -> list[dict[Latency, dict[int, Histogram]]]:
    """Of each window (start, end) and each kind the merged histograms; as many queries as for one. No list may be empty."""
    marks = watermarks_load()
    pieces = [pieces_exact(LATENCY, start.timestamp(), end.timestamp(), marks) for start, end in windows]
    several = latency_fetch_windows(deployment_ids, latencies, pieces, versions)
    return [{kind: merged_by_id(kind_taken(stored, kind)) for kind in latencies} for stored in several]


def merged_by_id(stored: StoredHistograms) -> dict[int, Histogram]:
    known, groups = np.unique(stored.ids, return_inverse=True)
    return {
        int(known[group]): Histogram(part.bounds, counts, float(seconds), part.sure)
        for part in histograms_fold(stored, groups)
        for group, counts, seconds in zip(part.groups, part.counts, part.sums, strict=True)
    }


def latency_kinds(deployment_id: int) -> list[Latency]:
    """What latencies a deployment has histograms of, at any level. One query."""
    wanted = ", ".join(f"({int(kind)})" for kind in Latency)
    found = " OR ".join(
        f"EXISTS (SELECT 1 FROM {table_name(LATENCY, level)} WHERE deployment_id = {int(deployment_id)} AND latency = kind)"
        for level in LEVELS
    )
    got = columns_fetch(f"SELECT kind FROM (VALUES {wanted}) AS kinds(kind) WHERE {found} ORDER BY kind", {"kind": "integer"})
    return [Latency(int(kind)) for kind in got["kind"]]


def histogram_of(lines: LatencyLines) -> Histogram:
    """All steps of a chart as one histogram."""
    sums: Floats = lines.sums[lines.count > 0]
    return Histogram(lines.bounds, lines.counts.sum(axis=0), float(sums.sum()) if len(sums) else np.nan, lines.sure)

"""One percentile over time of many deployments at once: the small charts of a table."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from monitoring.catalog.records import Latency
from monitoring.series.grid import grid_of, level_for, level_found, steps_of, unit_of
from monitoring.series.latency import rows_finest, rows_repeated
from monitoring.series.lines import MANY_SLACK
from monitoring.store.histograms import histograms_fold
from monitoring.store.layouts import quantiles
from monitoring.store.read import latency_fetch, pieces_chart, pieces_coarser, pieces_exact
from monitoring.store.records import Floats
from monitoring.store.schema import LATENCY
from monitoring.store.watermarks import watermarks_load


@dataclass(frozen=True)
class Judged:
    """A percentile on one grid, and how many requests it was taken from: (m,) each; NaN and 0 = gap."""

    times: Floats
    seconds: Floats
    counts: Floats


def latency_quantiles_many(
    percentiles: Mapping[int, float], latency: Latency, *, start: datetime, end: datetime, points: int = 60
) -> dict[int, Floats]:
    """Deployment -> (m,) seconds on one grid, NaN = gap, of the percentile asked for it; three queries, however many deployments.

    Each step's histograms are merged first, so no percentile is averaged.
    """
    found = latency_judged_many(percentiles, latency, start=start, end=end, points=points)
    return {number: judged.seconds for number, judged in found.items()}


def latency_judged_many(
    percentiles: Mapping[int, float], latency: Latency, *, start: datetime, end: datetime, points: int = 60
) -> dict[int, Judged]:
    """As above, with the steps' ends and the number of requests in each."""
    if not percentiles:
        return {}
    begin, finish = start.timestamp(), end.timestamp()
    level = level_for(begin, finish, points, slack=MANY_SLACK)
    ids = sorted(percentiles)
    pieces = [*pieces_chart(LATENCY, level, begin, finish, watermarks_load()), *pieces_coarser(level, begin, finish)]
    stored = latency_fetch(ids, latency, pieces, None)
    raw = stored.levels == 0
    grid = grid_of(begin, finish, points, unit_of(level_found(stored.levels, level), stored.ids[raw], stored.times[raw]))
    kept = rows_finest(stored)
    rows, steps, shares = steps_of(grid, stored.times[kept], stored.levels[kept])
    spread = rows_repeated(stored, kept[rows])
    cells = np.searchsorted(ids, spread.ids) * grid.size + steps
    asked = np.repeat([percentiles[number] for number in ids], grid.size)
    values, counts = np.full(len(ids) * grid.size, np.nan), np.zeros(len(ids) * grid.size)
    for part in histograms_fold(spread, cells, weights=shares):
        counts[part.groups] = part.counts.sum(axis=1)
        for q in np.unique(asked[part.groups]):
            own = asked[part.groups] == q
            values[part.groups[own]] = quantiles(part.bounds, part.counts[own], float(q), sure=part.sure)[0]
    shape = (len(ids), grid.size)
    rows_of = zip(ids, values.reshape(shape), counts.reshape(shape), strict=True)
    return {number: Judged(grid.times, seconds, counted) for number, seconds, counted in rows_of}


def latency_window_many(
    percentiles: Mapping[int, float], latency: Latency, *, start: datetime, end: datetime
) -> dict[int, tuple[float, float]]:
    """Deployment -> (seconds of the percentile asked for it, how many requests) over one window, where there are any; three queries."""
    pieces = pieces_exact(LATENCY, start.timestamp(), end.timestamp(), watermarks_load()) if percentiles else []
    if not pieces:
        return {}
    stored = latency_fetch(sorted(percentiles), latency, pieces)
    known, groups = np.unique(stored.ids, return_inverse=True)
    asked = np.array([percentiles[int(number)] for number in known])
    found: dict[int, tuple[float, float]] = {}
    for part in histograms_fold(stored, groups):
        for q in np.unique(asked[part.groups]):
            own = np.flatnonzero(asked[part.groups] == q)
            seconds, counts = quantiles(part.bounds, part.counts[own], float(q), sure=part.sure)[0], part.counts[own].sum(axis=1)
            found |= dict(zip(known[part.groups[own]].tolist(), zip(seconds.tolist(), counts.tolist(), strict=True), strict=True))
    return found

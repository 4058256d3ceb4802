"""One percentile over time of many deployments at once: the small charts of a table."""

from collections.abc import Mapping
from datetime import datetime

import numpy as np

from monitoring.catalog.records import Latency
from monitoring.series.grid import grid_of, level_for, level_found, steps_of, unit_of
from monitoring.series.latency import rows_finest, rows_repeated
from monitoring.series.lines import MANY_SLACK
from monitoring.store.histograms import histograms_fold
from monitoring.store.layouts import quantiles
from monitoring.store.read import latency_fetch, pieces_chart, pieces_coarser
from monitoring.store.records import Floats
from monitoring.store.schema import LATENCY
from monitoring.store.watermarks import watermarks_load


def latency_quantiles_many(
    percentiles: Mapping[int, float], latency: Latency, *, start: datetime, end: datetime, points: int = 60
) -> dict[int, Floats]:
    """Deployment -> (m,) seconds on one grid, NaN = gap, of the percentile asked for it; three queries, however many deployments.

    Each step's histograms are merged first, so no percentile is averaged.
    """
    if not percentiles:
        return {}
    begin, finish = start.timestamp(), end.timestamp()
    level = level_for(begin, finish, points, slack=MANY_SLACK)
    ids = sorted(percentiles)
    pieces = [*pieces_chart(LATENCY, level, begin, finish, watermarks_load([LATENCY])), *pieces_coarser(level, begin, finish)]
    stored = latency_fetch(ids, latency, pieces, None)
    raw = stored.levels == 0
    grid = grid_of(begin, finish, points, unit_of(level_found(stored.levels, level), stored.ids[raw], stored.times[raw]))
    kept = rows_finest(stored)
    rows, steps, shares = steps_of(grid, stored.times[kept], stored.levels[kept])
    spread = rows_repeated(stored, kept[rows])
    cells = np.searchsorted(ids, spread.ids) * grid.size + steps
    asked = np.repeat([percentiles[number] for number in ids], grid.size)
    values = np.full(len(ids) * grid.size, np.nan)
    for part in histograms_fold(spread, cells, weights=shares):
        for q in np.unique(asked[part.groups]):
            own = asked[part.groups] == q
            values[part.groups[own]] = quantiles(part.bounds, part.counts[own], float(q), sure=part.sure)[0]
    return dict(zip(ids, values.reshape(len(ids), grid.size), strict=True))

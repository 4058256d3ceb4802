"""Columns of many entities on even steps, as sums and counts, so that any run of steps has an exact mean."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitoring.catalog.records import Entity
from monitoring.series.grid import Floats, Grid, Instants, finer_wins, steps_of
from monitoring.series.lines import Wanted
from monitoring.store.read import Piece, pieces_chart, quads_fetch
from monitoring.store.schema import FIVE_MINUTES, RAW
from monitoring.store.watermarks import watermarks_load


@dataclass(frozen=True)
class StepColumn:
    """(entities, steps) each, in the order of the ids asked for; least and greatest are NaN where nothing was measured."""

    count: Floats
    total: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Steps:
    times: Floats  # ends of the steps
    columns: dict[str, StepColumn]


def steps_load(entity: Entity, ids: Sequence[int], columns: Sequence[str], *, start: float, end: float, step: float) -> Steps:
    """Columns (no ratios) over Unix seconds that are multiples of `step`; two queries, however many entities.

    Steps shorter than five minutes come from raw rows, and where there are none from five-minute ones, which then stand in each step.
    """
    grid = Grid(start, step, round((end - start) / step))
    if not len(ids):
        empty = np.zeros((0, grid.size))
        return Steps(grid.times, {name: StepColumn(empty, empty, empty, empty) for name in columns})
    known = np.unique(np.asarray(ids, dtype=np.int64))
    level = RAW if step < FIVE_MINUTES.seconds else FIVE_MINUTES
    pieces = pieces_chart(entity, level, start, end, watermarks_load())
    if level is RAW:
        pieces = [*pieces, Piece(FIVE_MINUTES, start, end)]
    quads = quads_fetch(entity, known, columns, pieces)
    own = np.searchsorted(known, quads.ids)
    wanted, places = Wanted(entity, tuple(columns)), np.searchsorted(known, np.asarray(ids, dtype=np.int64))
    return Steps(grid.times, {name: column_of(wanted.instants(quads, name, own), grid, len(known), places) for name in columns})


def column_of(instants: Instants, grid: Grid, size: int, places: Sequence[int] | np.ndarray) -> StepColumn:
    chosen = finer_wins(instants)
    rows, steps, shares = steps_of(grid, chosen.times, chosen.levels)
    cells = chosen.places[rows] * grid.size + steps
    count, total = (np.bincount(cells, part[rows] * shares, size * grid.size) for part in (chosen.weights, chosen.totals))
    low, high = (np.full(size * grid.size, np.nan) for _ in range(2))
    np.fmin.at(low, cells, chosen.lows[rows])
    np.fmax.at(high, cells, chosen.highs[rows])
    return StepColumn(*(part.reshape(size, grid.size)[places].astype(np.float64) for part in (count, total, low, high)))

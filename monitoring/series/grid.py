"""Rows of several levels -> even steps. Pure numpy.

A step ends on a multiple of its length, so a chart that is refreshed keeps its steps. A row of a coarser level is used only where
the finer ones have nothing, and then stands in every step it covers.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.catalog.records import Fold
from monitoring.store.read import ADDED_UP, Quads
from monitoring.store.schema import LEVELS, RAW, Level

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Grid:
    """Steps that end at start + step, start + 2 step, ..."""

    start: float
    step: float
    size: int

    @property
    def times(self) -> Floats:
        ends = np.arange(1, self.size + 1, dtype=np.float64)
        return self.start + self.step * ends


@dataclass(frozen=True)
class Instants:
    """One row for each (entity, level, time); `weights` is 0 where nothing was measured.

    The mean of a step is sum(totals) / sum(weights): of a column its sums and counts, of a ratio numerator and denominator.
    """

    places: Ints  # position of the entity in the caller's list
    levels: Ints
    times: Floats
    totals: Floats
    weights: Floats
    lows: Floats
    highs: Floats

    def taken(self, chosen: Mask | Ints) -> "Instants":
        return Instants(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


def grid_of(start: float, end: float, points: int, unit: float) -> Grid:
    """The finest grid of multiples of `unit` with at most `points` steps over (start, end]."""
    if end <= start or points < 1:
        raise ValueError(f"a grid needs start < end and at least 1 point, got {end - start} s and {points} points")
    step = max(math.ceil((end - start) / points / unit), 1) * unit
    while (size := math.ceil(end / step) - math.floor(start / step)) > points and size > 1:
        step += unit
    return Grid(math.floor(start / step) * step, step, size)


def level_for(start: float, end: float, points: int, *, slack: float = 1.0) -> Level:
    """The coarsest level that still answers with `points` steps; slack 2.5 allows steps 2.5 times as long."""
    need = (end - start) / points * slack
    return max((level for level in LEVELS if level.seconds <= need), key=lambda level: level.seconds, default=RAW)


def level_found(levels: Ints, wanted: Level) -> Level:
    """`wanted` if it or a finer level answered, else the finest that did."""
    if not len(levels) or levels.min() <= wanted.seconds:
        return wanted
    return next(level for level in LEVELS if level.seconds == levels.min())


def unit_of(level: Level, places: Ints, times: Floats) -> float:
    """The length of one step of the level; raw rows tell theirs by the distances between them, of which most are one step."""
    if level is not RAW:
        return float(level.seconds)
    order = np.lexsort((times, places))
    gaps = np.diff(times[order])[np.diff(places[order]) == 0]
    gaps = gaps[gaps > 0]
    return max(float(np.round(np.quantile(gaps, 0.25, method="lower"))), 1.0) if len(gaps) else 60.0


def groups_of(*keys: NDArray[np.generic]) -> tuple[Ints, Ints]:
    """(order, starts): rows sorted by the keys, first key first, and where each group of equal keys begins."""
    order = np.lexsort(keys[::-1])
    if not len(order):
        return order, order
    changes = np.logical_or.reduce([np.diff(key[order].astype(np.float64)) != 0 for key in keys])
    return order, np.flatnonzero(np.concatenate(([True], changes)))


def instants_of(quads: Quads, column: str, fold: Fold, places: Ints) -> Instants:
    """Fold the versions of an entity at each instant; rows keep their place whichever column is asked."""
    count, total, low, high = quads.parts[column]
    if not quads.versions.any():  # nothing to fold
        return Instants(places, quads.levels, quads.times, np.where(np.isnan(total), 0.0, total), count, low, high)
    order, starts = groups_of(places, quads.levels, quads.times)
    first = order[starts]
    keys = (places[first], quads.levels[first], quads.times[first])
    count, total, low, high = count[order], np.nan_to_num(total[order]), low[order], high[order]
    if len(starts) == len(order):
        return Instants(*keys, total, count, low, high)
    if fold is Fold.SUM:
        return side_by_side(keys, starts, (count, total, low, high))
    weights = np.maximum.reduceat(count, starts)
    lows, highs = np.fmin.reduceat(low, starts), np.fmax.reduceat(high, starts)
    if fold is Fold.MAX:
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.fmax.reduceat(total / np.where(count > 0, count, np.nan), starts)
        return Instants(*keys, np.nan_to_num(means * weights), weights, lows, highs)
    return Instants(*keys, np.add.reduceat(total, starts), np.add.reduceat(count, starts), lows, highs)


def side_by_side(keys: tuple[Ints, Ints, Floats], starts: Ints, parts: tuple[Floats, Floats, Floats, Floats]) -> Instants:
    """Versions that serve together add up. Their samples may or may not have been at the same instants: within one rollup row
    there were at most as many instants as the fullest row of this entity and level shows."""
    count, total, low, high = parts
    summed, fullest = np.add.reduceat(count, starts), np.maximum.reduceat(count, starts)
    _, inverse = np.unique(np.stack((keys[0], keys[1])), axis=1, return_inverse=True)
    most = np.zeros(int(inverse.max()) + 1)
    np.maximum.at(most, inverse.ravel(), fullest)
    weights = np.minimum(summed, most[inverse.ravel()])
    together = np.minimum.reduceat(np.where(count > 0, count, np.inf), starts) >= weights
    lows = np.where(together, np.add.reduceat(np.nan_to_num(low), starts), np.fmin.reduceat(low, starts))
    highs = np.add.reduceat(np.nan_to_num(high), starts)
    measured = weights > 0
    return Instants(*keys, np.add.reduceat(total, starts), weights, np.where(measured, lows, np.nan), np.where(measured, highs, np.nan))


def instants_ratio(numerator: Instants, denominator: Instants) -> Instants:
    """Quotient of sums, over the instants where both were measured."""
    both = np.minimum(numerator.weights, denominator.weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        above, below = numerator.totals / numerator.weights * both, denominator.totals / denominator.weights * both
        quotient = np.where(below > 0, above / below, np.nan)
    usable = (both > 0) & (below > 0)
    return Instants(
        numerator.places,
        numerator.levels,
        numerator.times,
        np.where(usable, above, 0.0),
        np.where(usable, below, 0.0),
        quotient,
        quotient,
    )


def finer_wins(instants: Instants, *, step: float = 0.0, level: int = 0) -> Instants:
    """Leave out what was not measured, and coarse rows whose stretch finer rows of the same entity touch.

    step, level: the database has added rows of this level up to this step. They stand where nothing finer was asked for,
    and may reach over a coarser row's stretch by up to their length.
    """
    measured = instants.weights > 0
    if instants.levels.max(initial=0) <= ADDED_UP:  # nothing coarse
        return instants if measured.all() else instants.taken(measured)
    kept = measured.copy()
    for coarse in np.unique(instants.levels[instants.levels > ADDED_UP]):
        rows = np.flatnonzero(measured & (instants.levels == coarse))
        finer = measured & (instants.levels < coarse) & ((instants.levels != ADDED_UP) | (coarse > level))
        kept[rows] = ~touched(instants, np.flatnonzero(finer), rows, float(coarse), step if coarse > level else 0.0)
    return instants if kept.all() else instants.taken(kept)


def touched(instants: Instants, finer: Ints, coarse: Ints, width: float, finer_width: float) -> Mask:
    """For each coarse row: does a finer one of the same entity reach into (time - width, time]?"""
    if not len(finer) or not len(coarse):
        return np.zeros(len(coarse), dtype=bool)
    base = instants.times.min() - width
    stride = instants.times.max() - base + finer_width + 1.0
    reach = finer_width - 1e-3 if finer_width else 0.0
    reached = instants.places * stride + (instants.times - base)
    known, ends = np.sort(reached[finer]), reached[coarse]
    found: Mask = np.searchsorted(known, ends + reach, side="right") > np.searchsorted(known, ends - width, side="right")
    return found


def steps_of(grid: Grid, times: Floats, levels: Ints) -> tuple[Ints, Ints, Floats]:
    """(row, step, share): rows longer than a step stand in each step they cover, `share` being their part in it."""
    last = np.ceil((times - grid.start) / grid.step - 1e-9).astype(np.int64) - 1
    if levels.max(initial=0) <= grid.step:
        rows = np.flatnonzero((last >= 0) & (last < grid.size))
        return rows, last[rows], np.ones(len(rows))
    first = np.where(levels > grid.step, np.floor((times - levels - grid.start) / grid.step + 1e-9).astype(np.int64), last)
    lengths = np.maximum(last - first + 1, 1)
    rows = np.repeat(np.arange(len(times)), lengths)
    offsets = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    steps = np.repeat(first, lengths) + offsets
    inside = (steps >= 0) & (steps < grid.size)
    return rows[inside], steps[inside], 1.0 / np.repeat(lengths, lengths)[inside]


def instants_bin(instants: Instants, grid: Grid, entities: int, *, step: float = 0.0, level: int = 0) -> tuple[Floats, Floats, Floats]:
    """(mean, low, high), each (entities, grid.size), NaN where nothing was measured."""
    chosen = finer_wins(instants, step=step, level=level)
    rows, steps, _ = steps_of(grid, chosen.times, chosen.levels)
    cells = chosen.places[rows] * grid.size + steps
    size = entities * grid.size
    totals, weights = np.bincount(cells, chosen.totals[rows], size), np.bincount(cells, chosen.weights[rows], size)
    low, high = np.full(size, np.nan), np.full(size, np.nan)
    np.fmin.at(low, cells, chosen.lows[rows])
    np.fmax.at(high, cells, chosen.highs[rows])
    mean = np.divide(totals, weights, out=np.full(size, np.nan), where=weights > 0)
    shape = (entities, grid.size)
    return mean.reshape(shape), low.reshape(shape), high.reshape(shape)

"""Arithmetic on regular grids of steps that the methods share: phases, running medians, quantiles of rows.

A grid is a (n,) array, one value a step, oldest first, NaN = gap. An origin t is an index: what came before it is known, t itself is not.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DAY_SECONDS = 86400.0
HOUR_SECONDS = 3600.0


def grid_times(start_seconds: float, *, step_seconds: float, count: int) -> Floats:
    """(count,): Unix seconds of each step's start."""
    return np.asarray(start_seconds + np.arange(count) * step_seconds, dtype=np.float64)


def row_medians(rows: Floats) -> Floats:
    """Median of each row's finite values, NaN where there is none; (r, c) -> (r,). np.nanmedian takes ten times as long."""
    ordered = np.sort(rows, axis=-1)  # NaN sorts last
    known = np.isfinite(ordered).sum(axis=-1)
    low, high = np.maximum((known - 1) // 2, 0), np.minimum(known // 2, rows.shape[-1] - 1)
    at = [np.take_along_axis(ordered, place[..., None], axis=-1)[..., 0] for place in (low, high)]
    return np.where(known > 0, 0.5 * (at[0] + at[1]), np.nan)


def lags(values: Floats, *, period: int, depth: int) -> Floats:
    """(n, depth): column d holds the value d periods before, NaN where there is none."""
    columns = np.full((values.size, depth), np.nan)
    for d in range(depth):
        if d * period < values.size:
            columns[d * period :, d] = values[: values.size - d * period]
    return columns


def phase_medians(values: Floats, *, period: int, depth: int) -> Floats:
    """(n,): at each step the median of the value there and of the `depth` - 1 steps of the same phase before it."""
    return row_medians(lags(values, period=period, depth=depth))


def phase_means(values: Floats, *, period: int, weight: float) -> Floats:
    """(n,): at each step the exponentially decayed mean of its phase, newest with `weight`, start corrected."""
    known = np.isfinite(values)
    total, mass = np.where(known, values, 0.0), known.astype(np.float64)
    for first in range(period, values.size, period):
        last = min(first + period, values.size)
        before = slice(first - period, last - period)
        total[first:last] += (1.0 - weight) * total[before]
        mass[first:last] += (1.0 - weight) * mass[before]
    return np.asarray(np.divide(total, mass, out=np.full(values.size, np.nan), where=mass > 0))


def same_phase(values: Floats, *, origins: Ints, leads: Ints, period: int) -> Floats:
    """(k, h): for each origin and lead the value at the last step known there that has the phase of the target; NaN before the start."""
    back = period * (np.maximum(leads, 0) // period + 1)
    place = origins[:, None] + (leads - back)[None, :]
    return np.where(place >= 0, values[np.clip(place, 0, values.size - 1)], np.nan)


def smooth_phase(values: Floats, *, origins: Ints, leads: Ints, period: int, radius: int) -> Floats:
    """`same_phase` under a Hann window of `radius` neighbouring phases each side; what the origin does not know is not read."""
    if radius == 0:
        return same_phase(values, origins=origins, leads=leads, period=period)
    total = np.zeros((origins.size, leads.size))
    mass = np.zeros_like(total)
    for shift, weight in zip(range(-radius, radius + 1), np.hanning(2 * radius + 3)[1:-1], strict=True):
        found = same_phase(values, origins=origins, leads=leads + shift, period=period)
        known = np.isfinite(found)
        total += np.where(known, found, 0.0) * weight
        mass += known * weight
    return np.asarray(np.divide(total, mass, out=np.full(total.shape, np.nan), where=mass > 0))


def recent_medians(values: Floats, *, origins: Ints, length: int, stride: int = 1) -> Floats:
    """(k,): median of every `stride`-th of the `length` values before each origin."""
    place = origins[:, None] - 1 - np.arange(0, length, stride)[None, :]
    return row_medians(np.where(place >= 0, values[np.maximum(place, 0)], np.nan))


def recent_means(values: Floats, *, origins: Ints, length: int) -> Floats:
    """(k,): mean of the finite ones of the `length` values before each origin, 0 where there is none."""
    known = np.isfinite(values)
    totals = np.r_[0.0, np.cumsum(np.where(known, values, 0.0))]
    counts = np.r_[0, np.cumsum(known)]
    first = np.maximum(origins - length, 0)
    return np.asarray((totals[origins] - totals[first]) / np.maximum(counts[origins] - counts[first], 1))


def row_quantiles(values: Floats, *, weights: Floats, levels: Floats) -> Floats:
    """(levels, r): quantiles of each row of weighted atoms, each atom in the middle of its mass, linear between, flat outside.

    values, weights: (r, a); weights at least 0; an atom that is not finite or without weight is left out.
    """
    usable = np.isfinite(values) & (weights > 0)
    atoms = np.where(usable, values, np.inf)
    order = np.argsort(atoms, axis=1)
    atoms, mass = np.take_along_axis(atoms, order, axis=1), np.take_along_axis(np.where(usable, weights, 0.0), order, axis=1)
    result = np.full((levels.size, values.shape[0]), np.nan)
    for row, count in enumerate(usable.sum(axis=1)):
        if count:
            reached = np.cumsum(mass[row, :count])
            result[:, row] = np.interp(levels, (reached - 0.5 * mass[row, :count]) / reached[-1], atoms[row, :count])
    return result

"""Tables of broken minutes: made for any promise, fine in the rate, read minute by minute."""

import numpy as np
from numpy.typing import NDArray

from capacity.engine.sizing.broken import LEAST_RATE_RATIO, MIN_MINUTES, RATES, BrokenTable, Server, broken_curve
from capacity.engine.sizing.replicas import Promise

Floats = NDArray[np.float64]

BETWEEN = 8  # rows of a refined table to one of the replayed
LEVELS = 65  # shares at which sizes are interpolated between two rows


def minute_table(top_rate: float, *, server: Server, promise: Promise, rng: np.random.Generator, minutes: int = MIN_MINUTES) -> BrokenTable:
    """Share of minutes broken by steady rates up to `top_rate` (requests per second, above 0) and by replicas, refined.

    minutes: replayed at each rate, at least. The last column is what no number of replicas makes good: of the few requests of a
    quiet minute one may be late by its service time alone.
    """
    if not (top_rate > 0 and np.isfinite(top_rate)):
        raise ValueError(f"needed a top rate above 0 requests/s, got {top_rate}")
    rates = top_rate * np.geomspace(LEAST_RATE_RATIO, 1.0, RATES)
    curves = [broken_curve(rate, server=server, promise=promise, rng=rng, minutes=minutes) for rate in rates]
    return table_refined(table_stacked(rates, curves=curves))


def table_stacked(rates: Floats, *, curves: list[Floats]) -> BrokenTable:
    """One table of curves by replicas that end where more replicas change nothing."""
    width = max(curve.size for curve in curves)
    return rising(rates, broken=np.stack([np.pad(curve, (0, width - curve.size), mode="edge") for curve in curves]))


def rising(rates: Floats, *, broken: Floats) -> BrokenTable:
    """A longer replay would be smooth: noise must not make more load look better, apart from what no number of replicas makes good."""
    end = np.minimum(broken[:, -1:], 1.0 - 1e-9)
    way = np.maximum.accumulate((broken - end) / (1.0 - end), axis=0)
    return BrokenTable(rates=rates, broken=end + (1.0 - end) * way)


def avoidable(table: BrokenTable) -> Floats:
    """(r, n + 1) the share of minutes broken that more replicas would save, of those they can: 1 to 0 by replicas, rising with the rate."""
    end = np.minimum(table.broken[:, -1:], 1.0 - 1e-9)
    return np.asarray((table.broken - end) / (1.0 - end))


def table_refined(table: BrokenTable) -> BrokenTable:
    """The same table with eight times as many rates, without another replay.

    A promise breaks within a few per cent of a rate, and the replayed rates lie 40 % apart: a line between two shares would
    smear the break over all of that. Between two rows the sizes that break the same share are interpolated instead, since
    the size a share needs grows nearly in proportion to the rate.
    """
    if table.rates.size < 2:
        return table
    rates, rows = [table.rates[:1]], [table.broken[:1]]
    for low in range(table.rates.size - 1):
        pair = table.rates[low : low + 2]
        between = np.geomspace(pair[0], pair[1], BETWEEN + 1)[1:]
        parts = (between - pair[0]) / (pair[1] - pair[0])
        rates.append(between)
        rows.append(rows_between(table.broken[low], upper=table.broken[low + 1], parts=parts))
    return rising(np.concatenate(rates), broken=np.concatenate(rows))


def rows_between(lower: Floats, *, upper: Floats, parts: Floats) -> Floats:
    """(p, n + 1) shares by replicas at `parts` (0 to 1) of the way from one row to the next."""
    levels = np.linspace(1.0, 0.0, LEVELS)
    levels[0], levels[-1] = 1.0 - 1e-6, 1e-6  # the ends of the plateaus: the last size that breaks all, the first that breaks none
    ends = np.array([lower[-1], upper[-1]])
    sizes = [sizes_at(row, levels=levels) for row in (lower, upper)]
    columns = np.arange(lower.size)
    found = []
    for part in parts:
        if part >= 1.0 - 1e-12:
            found.append(upper)
            continue
        end = ends[0] + part * (ends[1] - ends[0])
        at = sizes[0] + part * (sizes[1] - sizes[0])
        found.append(end + (1.0 - end) * np.interp(columns, at, levels, left=1.0, right=0.0))
    return np.stack(found)


def sizes_at(row: Floats, *, levels: Floats) -> Floats:
    """Replicas (a fraction) at which a falling row reaches each level of the way down from 1 to its own end."""
    way = (row - row[-1]) / max(1.0 - row[-1], 1e-12)
    falling = way - 1e-9 * np.arange(row.size)  # plateaus get a slope, so that each level has one size
    return np.asarray(np.interp(-levels, -falling, np.arange(float(row.size))))


def broken_share(table: BrokenTable, *, rates: Floats, replicas: Floats) -> Floats:
    """(n,) share of each minute that breaks at its rate with its replicas; between two whole numbers on their line.

    rates: (n,) requests per second; replicas: (n,) 0 or more. NaN in either is NaN; no requests break nothing.
    """
    known = np.isfinite(rates) & np.isfinite(replicas)
    rows = np.maximum(table.rows(np.where(known, rates, 0.0)), 0.0)
    columns = np.clip(np.where(known, replicas, 0.0), 0, table.most)
    low, left = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
    high, right = np.minimum(low + 1, table.rates.size - 1), np.minimum(left + 1, table.most)
    down, across = rows - low, columns - left
    at_left = table.broken[low, left] * (1.0 - down) + table.broken[high, left] * down
    at_right = table.broken[low, right] * (1.0 - down) + table.broken[high, right] * down
    share = at_left * (1.0 - across) + at_right * across
    return np.where(known, np.where(rates > 0, share, 0.0), np.nan)

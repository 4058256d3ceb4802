"""The margin of a fixed plan, found on the deployment's own last days: plans made then, held against what came."""

import numpy as np
from numpy.typing import NDArray

from capacity.engine.answer import NoAnswer
from capacity.engine.sizing.broken import BrokenTable
from capacity.engine.sizing.paths import HOURS, MIN_DAYS, by_minute, days_of, paths_pooled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FACTORS = (1.0, 1.15, 1.3, 1.5, 1.75, 2.0, 2.5)
BACK_DAYS = 10
EVERY = 5  # minutes: finer changes nothing in a table of steady rates


def margin_found(counts: Floats, *, step_seconds: float, table: BrokenTable, minute_price: float) -> float:
    """The factor on all courses that would have made plans cheapest over the last ten days; 1 where there are too few days.

    Each day's plan is made from the days before it only. A day that broke costs its broken minutes at `minute_price`.
    """
    days = days_of(counts, step_seconds=step_seconds)
    first = max(MIN_DAYS + 1, len(days) - BACK_DAYS)
    bills = []
    for day in range(first, len(days)):
        rng = np.random.default_rng(day)
        courses = paths_pooled(None, counts=days[:day].ravel(), step_seconds=step_seconds, rng=rng)
        if not isinstance(courses, NoAnswer):
            came = hourly_costs(by_minute(days[day : day + 1] / step_seconds), table=table, minute_price=minute_price)
            bills.append([bill_of(hourly_costs(courses * factor, table=table, minute_price=minute_price), came) for factor in FACTORS])
    return FACTORS[int(np.argmin(np.mean(bills, axis=0)))] if bills else 1.0


def hourly_costs(courses: Floats, *, table: BrokenTable, minute_price: float) -> Floats:
    """(hours, n): expected cost of each hour with 1 to n replicas, in replica-hours."""
    rows = table.rows(courses[:, ::EVERY])
    below = np.maximum(rows, 0.0).astype(np.int64)
    above = np.minimum(below + 1, table.rates.size - 1)
    part = (np.maximum(rows, 0.0) - below)[..., None]
    share = np.where(rows[..., None] >= 0, table.broken[below] * (1.0 - part) + table.broken[above] * part, 0.0)
    by_hour = share.reshape(len(courses), HOURS, -1, table.most + 1).mean(axis=(0, 2))
    return np.asarray((np.arange(table.most + 1) + minute_price * 60.0 * by_hour)[:, 1:])


def bill_of(expected: Floats, came: Floats) -> float:
    """What a day cost whose numbers were chosen by `expected`."""
    return float(np.take_along_axis(came, expected.argmin(axis=1)[:, None], axis=1).sum())

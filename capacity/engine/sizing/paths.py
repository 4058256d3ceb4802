"""Possible courses of a day to come, from days that were: their shape, moved to today's level."""

import numpy as np
from numpy.typing import NDArray

from capacity.engine.answer import NoAnswer

Floats = NDArray[np.float64]

DAYS = 28  # days looked back at
MIN_DAYS = 3
SAME_WEEKDAY = 3  # a day of the same weekday counts as much as so many others
MOST_CHANGE = 3.0  # a day's level against the day before, at most this factor either way
MINUTES_PER_DAY = 1440


def paths_from_days(counts: Floats, *, step_seconds: float, rows: int = DAYS) -> Floats | NoAnswer:
    """Each past day as it would be at the level of the last 24 hours: (paths, 1440) requests per second by minute.

    counts: (n,) requests of each step, oldest first, ending where the day to come begins; NaN is a gap.
    A day is scaled by what the last 24 hours carried against the 24 hours before that day: how days follow each other is
    kept, weekends after Fridays among them. Days of the same weekday count `SAME_WEEKDAY` times.
    """
    per_day = int(round(MINUTES_PER_DAY * 60.0 / step_seconds))
    if not step_seconds > 0 or per_day * step_seconds != MINUTES_PER_DAY * 60.0:
        raise ValueError(f"needed a step that divides a day, got {step_seconds} s")
    counts = np.asarray(counts, dtype=np.float64)
    if counts.size and np.nanmin(np.append(counts, np.inf)) < 0:
        raise ValueError(f"counts of requests must be 0 or more, got {np.nanmin(counts):g}")
    days = counts[counts.size % per_day :].reshape(-1, per_day)
    days = days[np.isfinite(days).mean(axis=1) > 0.9]
    if len(days) < MIN_DAYS:
        return NoAnswer("too_short", have=len(days), need=MIN_DAYS)
    days = np.nan_to_num(days[-rows - 1 :])
    totals = np.maximum(days.sum(axis=1), 1e-9)
    change = np.clip(totals[-1] / totals[:-1], 1.0 / MOST_CHANGE, MOST_CHANGE)
    moved = days[1:] * change[:, None]
    age = np.arange(len(moved), 0, -1)  # days before the day to come
    return by_minute(np.repeat(moved, np.where(age % 7 == 0, SAME_WEEKDAY, 1), axis=0) / step_seconds)


def by_minute(rates: Floats) -> Floats:
    """(paths, steps of a day) to (paths, 1440), joined by lines from middle to middle of the steps."""
    steps = rates.shape[1]
    middles = (np.arange(steps) + 0.5) * MINUTES_PER_DAY / steps
    minutes = np.arange(MINUTES_PER_DAY) + 0.5
    return np.ascontiguousarray([np.interp(minutes, middles, row) for row in rates])

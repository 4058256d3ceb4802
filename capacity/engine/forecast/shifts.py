"""Levels that changed and stayed: history before one is moved to the new level, so that its daily shape still serves."""

import numpy as np

from capacity.engine.forecast.history import Season
from capacity.engine.grid import Floats

DAYS_BEFORE = 5
# The day after must lie outside what the days before knew: its 15 % quantile above their 97 % (or mirrored) by a further 90 % quantile of
# their deviations. Real outages of hours, weekends and growth stay under it.
INSIDE, OUTSIDE, MARGIN = 0.15, 0.97, 0.90
TINY = 1e-6


def shifts_find(values: Floats, *, season: Season) -> tuple[tuple[int, float], ...]:
    """Find lasting level shifts, oldest first.

    values: (n,) log scale, without gaps. Needs two days before and one day after each shift.
    Returns (index of the first step on the new level, change) pairs.
    """
    found: list[tuple[int, float]] = []
    current = values.copy()
    start, hop = 2 * season.day, max(1, 2 * season.hour)
    while start <= values.size - season.day:
        change = change_at(current, start=start, season=season)
        if change is None:
            start += hop
            continue
        current[:start] += change
        found.append((start, change))
        start += season.day
    return tuple(found)


def change_at(values: Floats, *, start: int, season: Season) -> float | None:
    """How much the day from `start` lies off the profile of the days before, where it lies clearly outside; else None."""
    days = min(DAYS_BEFORE, start // season.day)
    before = values[start - days * season.day : start].reshape(days, season.day)
    profile = np.median(before, axis=0)
    noise = (before - profile).ravel()
    moved = values[start : start + season.day] - profile
    margin = float(np.quantile(np.abs(noise), MARGIN)) + TINY
    # The cheap test first: nearly every start fails it.
    if abs(float(np.median(moved))) <= margin:
        return None
    rises = np.quantile(moved, INSIDE) > np.quantile(noise, OUTSIDE) + margin
    falls = np.quantile(moved, 1 - INSIDE) < np.quantile(noise, 1 - OUTSIDE) - margin
    return float(np.median(moved)) if rises or falls else None


def offsets_of(found: tuple[tuple[int, float], ...], *, size: int) -> Floats:
    """(n,): what must be added to each step to bring it to the level of the last one."""
    offsets = np.zeros(size)
    for place, change in found:
        offsets[: max(place, 0)] += change
    return offsets

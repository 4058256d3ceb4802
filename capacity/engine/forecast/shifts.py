"""Levels that changed and stayed: history before one is brought to the new level, so that its daily shape still serves."""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from capacity.engine.forecast.history import Season
from capacity.engine.forecast.scale import Scale
from capacity.engine.grid import Floats

DAYS_BEFORE = 5  # less than a week
# The day after must lie outside what the days before knew: its 15 % quantile above their 97 % (or mirrored) by a further 90 % quantile of
# their deviations. Real outages of hours, weekends and growth stay under it.
INSIDE, OUTSIDE, MARGIN = 0.15, 0.97, 0.90
TINY = 1e-6
DAYS_WITHOUT_WEEK = 3  # longer than a weekend
STARTS_AT_ONCE = 500
LARGEST = 1000.0  # a level may become so many times what it was, or its inverse


@dataclass(frozen=True)
class Move:
    """How values before a step become comparable with those from it on: value x factor + added."""

    place: int  # index of the first step on the new level
    factor: float
    added: float  # in the unit of the series


def shifts_find(values: Floats, *, scale: Scale, season: Season) -> tuple[Move, ...]:
    """Find lasting level shifts, oldest first. Each needs a week before it and a day after it, or two days before it and three after it.

    Otherwise a weekend would be one.

    values: (n,) unit of the series, without gaps.
    """
    found: list[Move] = []
    current, levels = values.copy(), scale.to_log(values)
    start, hop = 2 * season.day, max(1, 2 * season.hour)
    still = stillness(levels, hop=hop, season=season)
    while start <= values.size - season.day:
        if not still[start] and has_moved(levels, start=start, season=season):
            move = move_at(current, start=start, season=season)
            current[:start] = np.maximum(current[:start] * move.factor + move.added, 0.0)
            levels = scale.to_log(current)
            still = stillness(levels, hop=hop, season=season)
            found.append(move)
            start += season.day
        start += hop
    return tuple(found)


def stillness(levels: Floats, *, hop: int, season: Season) -> NDArray[np.bool_]:
    """(n + 1,) True where `has_moved` would fail its cheap test, as nearly all of a history does: the same test of many starts at once.

    Starts without a week before them are left to `has_moved`.
    """
    still = np.zeros(levels.size + 1, dtype=np.bool_)
    starts = np.arange(-(-season.week // hop) * hop, levels.size - season.day + 1, hop)
    if not starts.size:
        return still
    after = sliding_window_view(levels, season.day)
    for some in np.array_split(starts, max(1, starts.size // STARTS_AT_ONCE)):
        before = sliding_window_view(levels, DAYS_BEFORE * season.day)[some - DAYS_BEFORE * season.day].reshape(some.size, DAYS_BEFORE, -1)
        profile = np.median(before, axis=1)
        margin = np.quantile(np.abs(before - profile[:, None]), MARGIN, axis=(1, 2)) + TINY
        moved, in_week = np.median(after[some] - profile, axis=1), np.median(after[some] - after[some - season.week], axis=1)
        still[some] = np.minimum(np.abs(moved), np.abs(in_week)) <= margin
    return still


def days_before(values: Floats, *, start: int, season: Season) -> Floats:
    """(d, day): the last whole days before `start`."""
    days = min(DAYS_BEFORE, start // season.day)
    return values[start - days * season.day : start].reshape(days, season.day)


def has_moved(levels: Floats, *, start: int, season: Season) -> bool:
    """Whether what follows `start` lies outside the days before it, and a day of it off the same day of last week the same way."""
    before = days_before(levels, start=start, season=season)
    weekly = start >= season.week
    after = levels[start : start + season.day * (1 if weekly else DAYS_WITHOUT_WEEK)]
    if after.size % season.day:
        return False
    profile = np.median(before, axis=0)
    noise, moved = (before - profile).ravel(), after - np.tile(profile, after.size // season.day)
    margin = float(np.quantile(np.abs(noise), MARGIN)) + TINY
    in_week = float(np.median(after - levels[start - season.week : start - season.week + season.day] if weekly else moved))
    # The cheap test first: nearly every start fails it.
    if min(abs(float(np.median(moved))), abs(in_week)) <= margin:
        return False
    rises = in_week > 0 and np.quantile(moved, INSIDE) > np.quantile(noise, OUTSIDE) + margin
    falls = in_week < 0 and np.quantile(moved, 1 - INSIDE) < np.quantile(noise, 1 - OUTSIDE) - margin
    return bool(rises or falls)


def move_at(values: Floats, *, start: int, season: Season) -> Move:
    """By a factor or by an amount: whichever brings the day before closer to the day after."""
    profile = np.median(days_before(values, start=start, season=season), axis=0)
    after = values[start : start + season.day]
    added = float(np.median(after - profile))
    usual, now = float(np.median(profile)), float(np.median(after))
    if usual <= 0 or now <= 0 or not 1 / LARGEST <= now / usual <= LARGEST:
        return Move(start, 1.0, added)
    factor = now / usual
    by_factor, by_amount = (np.abs(after - path).mean() for path in (profile * factor, profile + added))
    return Move(start, factor, 0.0) if by_factor <= by_amount else Move(start, 1.0, added)


def moves_of(found: tuple[Move, ...], *, size: int) -> tuple[Floats, Floats]:
    """(n,) factor and (n,) amount that bring each step to the level of the last one."""
    factors, amounts = np.ones(size), np.zeros(size)
    for move in found:
        before = slice(0, max(move.place, 0))
        factors[before] *= move.factor
        amounts[before] = amounts[before] * move.factor + move.added
    return factors, amounts

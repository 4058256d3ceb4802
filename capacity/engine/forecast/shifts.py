"""Levels that changed and stayed: history before one is brought to the new level, so that its daily shape still serves."""

from dataclasses import dataclass

import numpy as np

from capacity.engine.forecast.history import Season
from capacity.engine.grid import Floats

DAYS_BEFORE = 5
# The day after must lie outside what the days before knew: its 15 % quantile above their 97 % (or mirrored) by a further 90 % quantile of
# their deviations. Real outages of hours, weekends and growth stay under it.
INSIDE, OUTSIDE, MARGIN = 0.15, 0.97, 0.90
TINY = 1e-6
LARGEST = 1000.0  # a level may become so many times what it was, or its inverse


@dataclass(frozen=True)
class Move:
    """How values before a step become comparable with those from it on: value x factor + added."""

    place: int  # index of the first step on the new level
    factor: float
    added: float  # in the unit of the series


def shifts_find(values: Floats, *, levels: Floats, season: Season) -> tuple[Move, ...]:
    """Find lasting level shifts, oldest first. Needs two days before and one day after each.

    values: (n,) unit of the series; levels: (n,) the same on the log scale; both without gaps.
    """
    found: list[Move] = []
    begin, start, hop = 0, 2 * season.day, max(1, 2 * season.hour)
    while start <= values.size - season.day:
        if start - begin >= 2 * season.day and has_moved(levels, start=start, begin=begin, season=season):
            found.append(move_at(values, start=start, begin=begin, season=season))
            begin = start
            start += season.day
        start += hop
    return tuple(found)


def days_before(values: Floats, *, start: int, begin: int, season: Season) -> Floats:
    """(d, day): the last whole days before `start` on the same level."""
    days = min(DAYS_BEFORE, (start - begin) // season.day)
    return values[start - days * season.day : start].reshape(days, season.day)


def has_moved(levels: Floats, *, start: int, begin: int, season: Season) -> bool:
    before = days_before(levels, start=start, begin=begin, season=season)
    profile = np.median(before, axis=0)
    noise = (before - profile).ravel()
    moved = levels[start : start + season.day] - profile
    margin = float(np.quantile(np.abs(noise), MARGIN)) + TINY
    # The cheap test first: nearly every start fails it.
    if abs(float(np.median(moved))) <= margin:
        return False
    rises = np.quantile(moved, INSIDE) > np.quantile(noise, OUTSIDE) + margin
    falls = np.quantile(moved, 1 - INSIDE) < np.quantile(noise, 1 - OUTSIDE) - margin
    return bool(rises or falls)


def move_at(values: Floats, *, start: int, begin: int, season: Season) -> Move:
    """By a factor or by an amount: whichever brings the day before closer to the day after."""
    profile = np.median(days_before(values, start=start, begin=begin, season=season), axis=0)
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

"""Possible courses of a day to come, from days that were: their shape, moved to today's level."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from capacity.engine.answer import NoAnswer

Floats = NDArray[np.float64]

DAYS = 28  # days looked back at
MIN_DAYS = 3
SAME_WEEKDAY = 3  # a day of the same weekday counts as much as so many others
MOST_CHANGE = 3.0  # a day's level against the day before, at most this factor either way
MINUTES_PER_DAY = 1440
HOURS = 24
LAST_HOURS = 2.0  # their level against that of the same hours before a past day
POOL = (32, 32, 32)  # courses from days, from the level, from the forecast: three opinions, none known to be better
DRAWS = 3  # courses a past day lends its shape to


@dataclass(frozen=True)
class Bands:
    """A forecast of the day to come, hour by hour."""

    levels: Floats  # (q,) ascending, in (0, 1)
    quantiles: Floats  # (q, 24) requests per second, mean of the hour; not falling from one level to the next

    def __post_init__(self) -> None:
        if self.quantiles.shape != (self.levels.size, HOURS) or not np.isfinite(self.quantiles).all() or (self.quantiles < 0).any():
            raise ValueError(f"needed {self.levels.size} x {HOURS} quantiles of 0 or more, got {self.quantiles.shape}")

    def at(self, ranks: Floats) -> Floats:
        """(paths, 24) ranks in (0, 1) to requests per second."""
        return np.stack([np.interp(ranks[:, hour], self.levels, self.quantiles[:, hour]) for hour in range(HOURS)], axis=1)


def paths_from_days(counts: Floats, *, step_seconds: float) -> Floats | NoAnswer:
    """Each past day as it would be at the level of the last 24 hours: (paths, 1440) requests per second by minute.

    counts: (n,) requests of each step, oldest first, ending where the day to come begins; NaN is a gap.
    A day is scaled by what the last 24 hours carried against the 24 hours before that day: how days follow each other is
    kept, weekends after Fridays among them. Days of the same weekday count `SAME_WEEKDAY` times.
    """
    days = days_of(counts, step_seconds=step_seconds)
    if len(days) < MIN_DAYS:
        return NoAnswer("too_short", have=len(days), need=MIN_DAYS)
    days = days[-DAYS - 1 :]
    totals = np.maximum(days.sum(axis=1), 1e-9)
    change = np.clip(totals[-1] / totals[:-1], 1.0 / MOST_CHANGE, MOST_CHANGE)
    moved = days[1:] * change[:, None]
    age = np.arange(len(moved), 0, -1)  # days before the day to come
    return by_minute(np.repeat(moved, np.where(age % 7 == 0, SAME_WEEKDAY, 1), axis=0) / step_seconds)


def paths_from_level(counts: Floats, *, step_seconds: float) -> Floats | NoAnswer:
    """Each past day shifted by how much the last hours lie above or below the hours before that day: a change that stays.

    Arguments and refusals as `paths_from_days`; a shifted rate is never below 0.
    """
    days = days_of(counts, step_seconds=step_seconds)
    if len(days) < MIN_DAYS:
        return NoAnswer("too_short", have=len(days), need=MIN_DAYS)
    days = days[-DAYS - 1 :]
    evening = days[:, -int(LAST_HOURS * days.shape[1] / HOURS) :].mean(axis=1)
    return by_minute(np.maximum(days[1:] + (evening[-1] - evening[:-1])[:, None], 0.0) / step_seconds)


def paths_pooled(bands: Bands | None, *, counts: Floats, step_seconds: float, rng: np.random.Generator) -> Floats | NoAnswer:
    """Courses of the forecast and of both ways in which days follow each other, in the shares of `POOL`.

    A forecast is right on average; what breaks a plan is the day it did not know of. Days as they followed each other before,
    and the last hours' level going on, are other opinions of such a day. Without a forecast they alone are used.
    """
    days, level = paths_from_days(counts, step_seconds=step_seconds), paths_from_level(counts, step_seconds=step_seconds)
    if isinstance(days, NoAnswer) or isinstance(level, NoAnswer):
        return days if isinstance(days, NoAnswer) else level
    opinions = [days, level]
    if bands is not None:
        foreseen = paths_from_bands(bands, counts=counts, step_seconds=step_seconds, rng=rng)
        if not isinstance(foreseen, NoAnswer):
            opinions.append(foreseen)
    return np.concatenate([drawn(paths, size=size, rng=rng) for paths, size in zip(opinions, POOL, strict=False)])


def drawn(paths: Floats, *, size: int, rng: np.random.Generator) -> Floats:
    """`size` of the paths, none twice before all were taken."""
    turns = np.concatenate([rng.permutation(len(paths)) for _ in range(-(-size // len(paths)))])
    return np.asarray(paths[turns[:size]])


def paths_from_bands(bands: Bands, *, counts: Floats, step_seconds: float, rng: np.random.Generator) -> Floats | NoAnswer:
    """Courses that have the forecast's quantiles hour by hour and hang together as past days did: (paths, 1440) requests per second.

    Each past day lends its ranks among the past days, hour by hour, and its course within each hour; the forecast's quantile
    of that rank is the hour's mean. Source: the Schaake shuffle, Clark et al. (2004), J. Hydrometeorology 5, 243-262.
    counts, step_seconds: as `paths_from_days`; a step must divide an hour.
    """
    days = days_of(counts, step_seconds=step_seconds)
    if len(days) < MIN_DAYS:
        return NoAnswer("too_short", have=len(days), need=MIN_DAYS)
    days = days[-DAYS:]
    steps = days.shape[1] // HOURS
    hourly = days.reshape(len(days), HOURS, steps)
    means = hourly.mean(axis=2)
    inner = np.where(means[..., None] > 0, hourly / np.maximum(means, 1e-12)[..., None], 1.0)
    order = np.argsort(np.argsort(means + 1e-9 * rng.random(means.shape), axis=0), axis=0)
    drawn = [bands.at((order + rng.random(order.shape)) / len(days))[..., None] * np.minimum(inner, MOST_CHANGE) for _ in range(DRAWS)]
    return by_minute(np.concatenate(drawn).reshape(len(days) * DRAWS, -1))


def days_of(counts: Floats, *, step_seconds: float) -> Floats:
    """Whole days that are at least nine tenths known, oldest first: (days, steps), ending with the series."""
    per_day = int(round(MINUTES_PER_DAY * 60.0 / step_seconds)) if step_seconds > 0 else 0
    if not step_seconds > 0 or per_day * step_seconds != MINUTES_PER_DAY * 60.0:
        raise ValueError(f"needed a step that divides a day, got {step_seconds} s")
    counts = np.asarray(counts, dtype=np.float64)
    if (counts < 0).any():
        raise ValueError(f"counts of requests must be 0 or more, got {np.nanmin(counts):g}")
    days = counts[counts.size % per_day :].reshape(-1, per_day)
    return np.asarray(np.nan_to_num(days[np.isfinite(days).mean(axis=1) > 0.9]))


def by_minute(rates: Floats) -> Floats:
    """(paths, steps of a day) to (paths, 1440), joined by lines from middle to middle of the steps."""
    steps = rates.shape[1]
    middles = (np.arange(steps) + 0.5) * MINUTES_PER_DAY / steps
    minutes = np.arange(MINUTES_PER_DAY) + 0.5
    return np.ascontiguousarray([np.interp(minutes, middles, row) for row in rates])

"""Possible courses of a day to come: four opinions of it, in the shares they have earned on the days before."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from capacity.engine.answer import NoAnswer
from capacity.engine.sizing.shares import log_density, shares_learned

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DAYS = 28  # days looked back at
LEARNED = 12  # and so many days on which opinions are judged
MIN_DAYS = 3
PRIOR = np.full(4, 0.25)  # shares of the opinions by weekday, level, past and forecast before they are judged
SAME_WEEKDAY = 2.0  # a past day of the same weekday counts as much as so many others
RECENT_DAYS = 7.0  # half-life of what a past day counts
MOST_CHANGE = 3.0  # of the busiest day; of an hour's mean within the hour
MOST_PEAK = 8.0  # of a day's mean
LITTLE, TINY = 0.02, 1e-9  # of the mean of the days: below that a change of level is noise
LEAST_LOAD = 0.05  # of the busiest step: below that loads are all the same
MINUTES_PER_DAY = 1440
STAIRS_MINUTES = 5
HOURS = 24
LAST_HOURS = 2.0  # their level against that of the same hours before a past day
POOL = 96  # courses
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


@dataclass(frozen=True)
class Opinion:
    """Courses a day may take, and how much each of them counts."""

    days: Floats  # (p, steps) requests per second
    say: Floats  # (p,) above 0

    def drawn(self, size: int, *, rng: np.random.Generator) -> Floats:
        """(size, steps) courses, each as often as it counts, to the nearest whole number of times."""
        ends = np.cumsum(self.say) / self.say.sum()
        places = (np.arange(size) + rng.random()) / size
        return np.asarray(self.days[np.minimum(np.searchsorted(ends, places), len(self.days) - 1)])


def opinion_weekday(days: Floats) -> Opinion:
    """Yesterday's level, changed as the level usually changes into this weekday; with the course of days of this weekday.

    days: (d, steps) requests per second of past days, the last one yesterday. The change lies around the weekday's mean
    (towards none by one day's worth) as changes of all days lay around theirs: each of them with each course.
    """
    days = days[-DAYS - 1 :]
    totals = days.mean(axis=1)
    logs = np.log(totals + LITTLE * totals.mean() + TINY)
    changes = np.diff(logs)
    weekday = np.arange(changes.size, 0, -1) % 7  # 0: the weekday of the day to come
    usual = np.array([changes[weekday == day].sum() / ((weekday == day).sum() + 1.0) for day in range(7)])
    shapes = days[1:][weekday == 0] if (weekday == 0).any() else days[1:]
    shapes = np.minimum(shapes / np.maximum(shapes.mean(axis=1, keepdims=True), TINY), MOST_PEAK)
    level = np.minimum(np.exp(logs[-1] + usual[0] + changes - usual[weekday]), MOST_CHANGE * totals.max() + TINY)
    level = np.repeat(np.sort(level), len(shapes))
    return Opinion(np.tile(shapes, (changes.size, 1)) * level[:, None], np.ones(level.size))


def opinion_level(days: Floats) -> Opinion:
    """Each past day shifted by how much the last hours lie above or below the hours before that day: a change that stays."""
    days = days[-DAYS - 1 :]
    evening = days[:, -int(LAST_HOURS * days.shape[1] / HOURS) :].mean(axis=1)
    return Opinion(np.maximum(days[1:] + (evening[-1] - evening[:-1])[:, None], 0.0), np.ones(len(days) - 1))


def opinion_past(days: Floats) -> Opinion:
    """Past days as they were, newer ones and those of the same weekday more: a change that goes back."""
    days = days[-DAYS:]
    age = np.arange(len(days), 0, -1)
    return Opinion(days, np.exp2(-age / RECENT_DAYS) * np.where(age % 7 == 0, SAME_WEEKDAY, 1.0))


def opinion_bands(bands: Bands, *, days: Floats, rng: np.random.Generator) -> Opinion:
    """Courses that have the forecast's quantiles hour by hour and hang together as past days did.

    Each past day lends its ranks among the past days, hour by hour, and its course within each hour; the forecast's quantile
    of that rank is the hour's mean. Source: the Schaake shuffle, Clark et al. (2004), J. Hydrometeorology 5, 243-262.
    """
    days = days[-DAYS:]
    hourly = days.reshape(len(days), HOURS, -1)
    means = hourly.mean(axis=2)
    inner = np.where(means[..., None] > 0, hourly / np.maximum(means, 1e-12)[..., None], 1.0)
    order = np.argsort(np.argsort(means + 1e-9 * rng.random(means.shape), axis=0), axis=0)
    drawn = [bands.at((order + rng.random(order.shape)) / len(days))[..., None] * np.minimum(inner, MOST_CHANGE) for _ in range(DRAWS)]
    return Opinion(np.concatenate(drawn).reshape(len(days) * DRAWS, -1), np.ones(len(days) * DRAWS))


def opinions_of(days: Floats, *, bands: Bands | None, rng: np.random.Generator) -> list[Opinion | None]:
    """Of the day after `days`: by weekday, level, past and forecast; None for the last without one."""
    foreseen = None if bands is None else opinion_bands(bands, days=days, rng=rng)
    return [opinion_weekday(days), opinion_level(days), opinion_past(days), foreseen]


def paths_pooled(
    bands: Bands | None, *, counts: Floats, step_seconds: float, rng: np.random.Generator, past_bands: Sequence[Bands | None] = ()
) -> Floats | NoAnswer:
    """(POOL, 1440) requests per second by minute: courses of the day to come by four opinions, in the shares they have earned.

    A forecast is right on average; what breaks a plan is the day it did not know of. Days as they follow each other by weekday,
    the last hours' level going on, and days as they were are other opinions of such a day. Each is asked again for the last
    `LEARNED` days, told only what came before them, and shares go by the probability it gave to what then came.

    bands: the forecast of the day to come, None where there is none. past_bands: those of past midnights, yesterday's first, as
    they were or would have been made then; without them the forecast keeps its prior share. counts: (n,) requests of each step,
    oldest first, ending where the day to come begins; NaN is a gap. A step must divide an hour.
    NoAnswer("too_short") below `MIN_DAYS` whole days.
    """
    days = days_of(counts, step_seconds=step_seconds)
    if len(days) < MIN_DAYS:
        return NoAnswer("too_short", have=len(days), need=MIN_DAYS)
    days = days / step_seconds
    opinions = opinions_of(days, bands=bands, rng=rng)
    shares = shares_learned(evidence_of(days, past_bands=past_bands, rng=rng), prior=PRIOR)
    weights = np.where([opinion is None for opinion in opinions], 0.0, shares)
    sizes = counts_of(weights / weights.sum(), size=POOL)
    drawn = [opinion.drawn(int(size), rng=rng) for opinion, size in zip(opinions, sizes, strict=True) if opinion is not None]
    return by_minute(np.concatenate(drawn))


def evidence_of(days: Floats, *, past_bands: Sequence[Bands | None], rng: np.random.Generator) -> Floats:
    """(k, opinions, 24) log density each opinion gave to the busiest step of each hour of the last days, newest first; NaN: no opinion."""
    learned = max(0, min(LEARNED, len(days) - MIN_DAYS - 1))
    floor = LEAST_LOAD * float(days.max()) + TINY
    logs = np.full((learned, PRIOR.size, HOURS), np.nan)
    for back in range(learned):
        known = days[: len(days) - 1 - back]
        said = past_bands[back] if back < len(past_bands) else None
        seen = peaks_log(days[len(known)][None, :], floor=floor)[0]
        for row, opinion in enumerate(opinions_of(known, bands=said, rng=rng)):
            if opinion is not None:
                logs[back, row] = log_density(seen, courses=peaks_log(opinion.days, floor=floor), say=opinion.say)
    return logs


def peaks_log(days: Floats, *, floor: float) -> Floats:
    """(p, 24) log of each hour's busiest step; what is far below `floor` is all the same."""
    return np.asarray(np.log(days.reshape(len(days), HOURS, -1).max(axis=2) + floor))


def counts_of(shares: Floats, *, size: int) -> Ints:
    """Whole numbers that add up to `size`, each within one of its share."""
    ends = np.round(np.cumsum(shares) * size).astype(np.int64)
    return np.diff(ends, prepend=0)


def paths_from_bands(bands: Bands, *, counts: Floats, step_seconds: float, rng: np.random.Generator) -> Floats | NoAnswer:
    """Courses by the forecast alone, see `opinion_bands`: (paths, 1440) requests per second. Arguments and refusals as `paths_pooled`."""
    days = days_of(counts, step_seconds=step_seconds)
    if len(days) < MIN_DAYS:
        return NoAnswer("too_short", have=len(days), need=MIN_DAYS)
    return by_minute(opinion_bands(bands, days=days / step_seconds, rng=rng).days)


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
    """(paths, steps of a day) to (paths, 1440): each minute at its step's rate, which keeps the counts and their jumps.

    Steps above `STAIRS_MINUTES` would be stairs nobody climbs: they are joined by lines from middle to middle.
    """
    steps = rates.shape[1]
    if MINUTES_PER_DAY % steps == 0 and MINUTES_PER_DAY // steps <= STAIRS_MINUTES:
        return np.repeat(rates, MINUTES_PER_DAY // steps, axis=1)
    middles = (np.arange(steps) + 0.5) * MINUTES_PER_DAY / steps
    minutes = np.arange(MINUTES_PER_DAY) + 0.5
    return np.ascontiguousarray([np.interp(minutes, middles, row) for row in rates])

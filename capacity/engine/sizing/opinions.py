"""Opinions of a day to come: each a set of courses it may take, told only what came before."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DAYS = 28  # days looked back at
SAME_WEEKDAY = 2.0  # a past day of the same weekday counts as much as so many others
NO_CHANGE = 0.5  # days without a change of level that each weekday has had before it is seen
RECENT_DAYS = 7.0  # half-life of what a past day counts
MOST_CHANGE = 3.0  # of the busiest day; of an hour's mean within the hour
MOST_PEAK = 8.0  # of a day's mean
LITTLE, TINY = 0.02, 1e-9  # of the mean of the days: below that a change of level is noise
LEAST_LOAD = 0.05  # of the busiest step, of the mean of a usual day: below that loads are all the same
HOURS = 24
LAST_HOURS = 2  # their level against that of the same hours before a past day, or against the usual one
DRAWS = 3  # courses a past day lends its shape to
ALIKE_WIDTH = 0.5  # standard deviations of the level within which hours count as alike
ALIKE_DAYS = 14.0  # half-life of what they count
ALIKE = 64  # courses that follow them


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
        """(size, steps) courses, each as often as it counts to the nearest whole number, in the order of their means."""
        order = np.argsort(self.days.mean(axis=1), kind="stable")
        ends = np.cumsum(self.say[order]) / self.say.sum()
        places = (np.arange(size) + rng.random()) / size
        return np.asarray(self.days[order[np.minimum(np.searchsorted(ends, places), len(order) - 1)]])


def opinion_weekday(days: Floats) -> Opinion:
    """Yesterday's level, changed as the level usually changes into this weekday; with the course of days of this weekday.

    days: (d, steps) requests per second of past days, the last one yesterday. The change lies around the weekday's mean
    (towards none by half a day's worth) as changes of all days lay around theirs: each of them with each course.
    """
    days = days[-DAYS - 1 :]
    totals = days.mean(axis=1)
    logs = np.log(totals + LITTLE * totals.mean() + TINY)
    changes = np.diff(logs)
    weekday = np.arange(changes.size, 0, -1) % 7  # 0: the weekday of the day to come
    usual = np.array([changes[weekday == day].sum() / ((weekday == day).sum() + NO_CHANGE) for day in range(7)])
    shapes = days[1:][weekday == 0] if (weekday == 0).any() else days[1:]
    shapes = np.minimum(shapes / np.maximum(shapes.mean(axis=1, keepdims=True), TINY), MOST_PEAK)
    level = np.minimum(np.exp(logs[-1] + usual[0] + changes - usual[weekday]), MOST_CHANGE * totals.max() + TINY)
    level = np.repeat(level, len(shapes))
    return Opinion(np.tile(shapes, (changes.size, 1)) * level[:, None], np.ones(level.size))


def opinion_level(days: Floats) -> Opinion:
    """Each past day shifted by how much the last hours lie above or below the hours before that day: a change that stays."""
    days = days[-DAYS - 1 :]
    evening = days[:, -(LAST_HOURS * days.shape[1] // HOURS) :].mean(axis=1)
    return Opinion(np.maximum(days[1:] + (evening[-1] - evening[:-1])[:, None], 0.0), np.ones(len(days) - 1))


def opinion_past(days: Floats) -> Opinion:
    """Past days as they were, newer ones and those of the same weekday more: a change that goes back."""
    days = days[-DAYS:]
    age = np.arange(len(days), 0, -1)
    return Opinion(days, np.exp2(-age / RECENT_DAYS) * np.where(age % 7 == 0, SAME_WEEKDAY, 1.0))


def opinion_alike(days: Floats) -> Opinion:
    """What followed hours like the last ones, at whatever time of day: a usual day, times the way the level then went.

    A burst that came in the evening mostly lasts into the night, or mostly does not: the series' own past says which.
    days: (d, steps) requests per second, d of 3 or more. Source: the nearest-neighbour bootstrap, Lall and Sharma (1996), Water
    Resources Research 32, 679-693; here with weights by a Gaussian kernel on the mean log level of the last hours.
    """
    days = days[-DAYS - 1 :]
    usual = usual_day(days)
    least = LEAST_LOAD * float(usual.mean()) + TINY
    away = np.log((days + least) / (usual + least)).ravel()
    steps = days.shape[1] // HOURS
    hourly = np.log((days.reshape(-1, HOURS, steps).mean(axis=2) + least) / (usual.reshape(HOURS, steps).mean(axis=1) + least)).ravel()
    levels = np.convolve(hourly, np.full(LAST_HOURS, 1.0 / LAST_HOURS), "valid")  # the last one is that of now
    starts = np.arange(LAST_HOURS, hourly.size - HOURS + 1)
    unlike = (levels[starts - LAST_HOURS] - levels[-1]) / (ALIKE_WIDTH * float(hourly.std()) + TINY)
    say = np.exp(-0.5 * unlike**2) * np.exp2(-(hourly.size - starts) / HOURS / ALIKE_DAYS) + TINY
    best = np.argsort(-say, kind="stable")[:ALIKE]
    after = np.stack([away[start * steps : (start + HOURS) * steps] for start in starts[best]])
    courses = np.maximum((usual + least) * np.exp(after) - least, 0.0)
    return Opinion(np.minimum(courses, MOST_CHANGE * float(days.max())), say[best])


def usual_day(days: Floats) -> Floats:
    """(steps,) requests per second at each time of day: newer days count more, an hour before and after counts in."""
    weights = np.exp2(-np.arange(len(days), 0, -1) / RECENT_DAYS)
    mean = weights @ days / weights.sum()
    reach = days.shape[1] // HOURS
    return np.convolve(np.concatenate([mean[-reach:], mean, mean[:reach]]), np.full(2 * reach + 1, 1.0 / (2 * reach + 1)), "valid")


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
    """Of the day after `days`: by weekday, level, past, hours alike and forecast; None for the last without one."""
    foreseen = None if bands is None else opinion_bands(bands, days=days, rng=rng)
    return [opinion_weekday(days), opinion_level(days), opinion_past(days), opinion_alike(days), foreseen]

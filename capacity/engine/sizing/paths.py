"""Possible courses of a day to come: five opinions of it, in the shares they have earned on the days before."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from capacity.engine.answer import NoAnswer
from capacity.engine.sizing.opinions import HOURS, LEAST_LOAD, TINY, Bands, opinion_bands, opinions_of
from capacity.engine.sizing.shares import log_density, shares_learned

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEARNED = 12  # days on which opinions are judged
MIN_DAYS = 3
PRIOR = np.full(5, 0.2)  # shares of the opinions by weekday, level, past, hours alike and forecast before they are judged
MINUTES_PER_DAY = 1440
STAIRS_MINUTES = 5
POOL = 96  # courses; those of a plan without an autoscaler cost little
POOL_FIXED = 384


def paths_pooled(
    bands: Bands | None,
    *,
    counts: Floats,
    step_seconds: float,
    rng: np.random.Generator,
    past_bands: Sequence[Bands | None] = (),
    size: int = POOL,
) -> Floats | NoAnswer:
    """(size, 1440) requests per second by minute: courses of the day to come by five opinions, in the shares they have earned.

    A forecast is right on average; what breaks a plan is the day it did not know of. Days as they follow each other by weekday,
    the last hours' level going on, days as they were, and what followed hours alike are other opinions of such a day. Each is
    asked again for the last `LEARNED` days, told only what came before them, and shares go by the probability it gave to what
    then came.

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
    sizes = counts_of(weights / weights.sum(), size=size)
    drawn = [opinion.drawn(int(own), rng=rng) for opinion, own in zip(opinions, sizes, strict=True) if opinion is not None]
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

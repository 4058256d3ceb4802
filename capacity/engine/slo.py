"""The arithmetic of an SLO: which steps broke it, what that cost of the budget, and what to promise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from capacity.engine.answer import NoAnswer

Floats = NDArray[np.float64]

MIN_REQUESTS = 5  # a percentile of fewer requests in a step says nothing: the step counts as unknown
MIN_WINDOWS = 288  # one day of five-minute windows before a threshold is suggested
DEFAULT_MARGIN = 0.2
SECONDS_PER_MINUTE = 60.0
MINUTES_PER_DAY = 1440
READABLE = np.array([1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0])


@dataclass(frozen=True)
class LostMinutes:
    """Minutes in which the promise broke, of the minutes that could be judged."""

    lost: float
    measured: float


@dataclass(frozen=True)
class Suggestion:
    """A threshold the deployment's own history would have held."""

    threshold_seconds: float
    percentile_seconds: float  # what the history measured
    held_ratio: float  # share of judged windows in which the threshold would have held
    windows: int


def breach_steps(quantile_seconds: Floats, *, counts: Floats, threshold_seconds: float, min_requests: int = MIN_REQUESTS) -> Floats:
    """Say of each step whether the percentile was above the threshold.

    quantile_seconds: (n,) seconds, the SLO's percentile of each step; NaN is a gap.
    counts: (n,) requests of each step; under `min_requests` the step is unknown.
    Returns (n,) with 1 = broken, 0 = held, NaN = unknown. A quantile equal to the threshold holds.
    ValueError when the threshold is not positive or the shapes differ.
    """
    if not threshold_seconds > 0:
        raise ValueError(f"threshold_seconds must be above 0, got {threshold_seconds}")
    if quantile_seconds.shape != counts.shape:
        raise ValueError(f"quantile_seconds and counts must have one shape, got {quantile_seconds.shape} and {counts.shape}")
    known = np.isfinite(quantile_seconds) & (np.nan_to_num(counts) >= min_requests)
    broken = np.where(known, quantile_seconds, 0.0) > threshold_seconds
    return np.where(known, broken.astype(np.float64), np.nan)


def minutes_lost(breaches: Floats, *, step_seconds: float) -> LostMinutes:
    """Add up broken and judged steps.

    breaches: (n,) of `breach_steps`, any shape; NaN counts neither as lost nor as measured.
    step_seconds: length of a step, above 0, else ValueError.
    """
    if not step_seconds > 0:
        raise ValueError(f"step_seconds must be above 0, got {step_seconds}")
    minutes = step_seconds / SECONDS_PER_MINUTE
    return LostMinutes(lost=float(np.nansum(breaches)) * minutes, measured=float(np.isfinite(breaches).sum()) * minutes)


def budget_minutes(objective_ratio: float, *, window_days: float) -> float:
    """Minutes that may be lost in the window: (1 - objective) x days x 1,440.

    objective_ratio: in (0, 1], the share of minutes that must hold; window_days above 0; else ValueError.
    0.995 over 28 days is 201.6 minutes.
    """
    if not 0 < objective_ratio <= 1 or not window_days > 0:
        raise ValueError(f"needed an objective in (0, 1] and days above 0, got {objective_ratio} and {window_days}")
    return (1.0 - objective_ratio) * window_days * MINUTES_PER_DAY


def breach_intervals(times: Floats, *, breaches: Floats, step_seconds: float, join_seconds: float = 0.0) -> list[tuple[float, float]]:
    """Turn broken steps into intervals (start, end) in Unix seconds, oldest first.

    times: (n,) Unix seconds, ascending, the END of each step; breaches: (n,) of `breach_steps`.
    Unknown steps end an interval, as held ones do; intervals at most `join_seconds` apart become one.
    """
    if times.shape != breaches.shape:
        raise ValueError(f"times and breaches must have one shape, got {times.shape} and {breaches.shape}")
    ends = times[breaches == 1.0]
    if ends.size == 0:
        return []
    starts = ends - step_seconds
    cuts = np.flatnonzero(starts[1:] - ends[:-1] > join_seconds + 1e-6)
    firsts, lasts = np.r_[0, cuts + 1], np.r_[cuts, ends.size - 1]
    return [(float(starts[a]), float(ends[b])) for a, b in zip(firsts, lasts, strict=True)]


def readable_ceiling(value: float) -> float:
    """The smallest number >= value of the form {1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8} x 10^k; ValueError unless value > 0.

    0.744 -> 0.8, 1.4 -> 1.5, 0.0312 -> 0.04.
    """
    if not value > 0 or not np.isfinite(value):
        raise ValueError(f"value must be a number above 0, got {value}")
    decade = 10.0 ** np.floor(np.log10(value))
    steps = READABLE * decade
    first = int(np.searchsorted(steps, value * (1 - 1e-9)))
    return float(f"{steps[min(first, steps.size - 1)]:.6g}")


def threshold_suggest(
    window_quantiles: Floats, *, percentile_seconds: float, margin: float = DEFAULT_MARGIN, min_windows: int = MIN_WINDOWS
) -> Suggestion | NoAnswer:
    """Suggest a threshold: the percentile of the whole history plus a margin, rounded up to a readable number.

    window_quantiles: (n,) seconds, the percentile of each five-minute window; NaN is a gap.
    percentile_seconds: the percentile of the merged histogram of the whole history, seconds.
    margin: share added, at least 0, else ValueError.
    Returns NoAnswer("too_short", have, need) under `min_windows` windows with traffic, "no_data" with none.
    """
    if margin < 0:
        raise ValueError(f"margin must be at least 0, got {margin}")
    known = window_quantiles[np.isfinite(window_quantiles)]
    if known.size == 0 or not np.isfinite(percentile_seconds) or percentile_seconds <= 0:
        return NoAnswer("no_data", have=int(known.size), need=min_windows)
    if known.size < min_windows:
        return NoAnswer("too_short", have=int(known.size), need=min_windows)
    threshold = readable_ceiling(percentile_seconds * (1.0 + margin))
    return Suggestion(
        threshold_seconds=threshold,
        percentile_seconds=percentile_seconds,
        held_ratio=float((known <= threshold).mean()),
        windows=int(known.size),
    )

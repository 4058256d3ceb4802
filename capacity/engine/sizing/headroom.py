"""Headroom: the request rate at which a deployment's promise breaks, read from its own latency at its own loads."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from capacity.engine.answer import NoAnswer

Floats = NDArray[np.float64]
Found = tuple[float, float, float]  # break rate, lower, upper
Method = Callable[[Floats, Floats, float], float]

MIN_STEPS = 100  # steps with traffic
MIN_VARIATION = 1.15  # p95 of the rate over its p5, below which the load never varied
MOST_REACH = 1.5  # an extrapolation goes at most so far beyond the highest rate seen, and no further than the load varied
RESAMPLES = 200
GROUPS = 100  # of neighbouring rates, whose share of broken steps is taken together
BLOCKS = 20  # neighbouring steps are alike: the history is redrawn in so many blocks
MOSTLY_HELD = 0.99  # share of steps within the threshold from which the highest rates count as held
BREAK_SHARE = 0.5  # the promise breaks where half of the steps at that rate break it
INTERVAL = (0.05, 0.95)


@dataclass(frozen=True)
class Headroom:
    """Where it breaks; rates in requests per second of the replicas that run now."""

    break_rate: float
    lower: float  # 90 % interval
    upper: float  # inf where the history does not bound it
    rate_now: float
    highest_seen: float
    basis: str  # "measured", "extrapolated" or "bound"

    @property
    def spare_ratio(self) -> float:
        """Break rate over the rate now, less 1."""
        return self.break_rate / self.rate_now - 1.0 if self.rate_now > 0 else float("inf")

    def sentence(self) -> str:
        words = {
            "measured": f"The promise breaks at {self.break_rate:.3g} requests/s ({self.lower:.3g} to {self.upper:.3g}), as seen.",
            "extrapolated": f"The promise would break at about {self.break_rate:.3g} requests/s ({self.lower:.3g} to {self.upper:.3g}); "
            f"the highest seen is {self.highest_seen:.3g}.",
            "bound": f"Held up to {self.break_rate:.3g} requests/s; where it breaks beyond that cannot be told.",
        }
        return words[self.basis]


@dataclass(frozen=True)
class LoadHistory:
    """Latency at load, step by step, oldest first; NaN is a gap."""

    rates: Floats  # (n,) requests per second, of all replicas
    replicas: Floats  # (n,) replicas serving
    latency_seconds: Floats  # (n,) the promise's percentile in the step


def headroom_find(history: LoadHistory, *, threshold_seconds: float, replicas_now: int, rng: np.random.Generator) -> Headroom | NoAnswer:
    """Find the break rate from steps that broke the promise, else from how latency rises, else say what was held.

    Latency is taken against the rate of one replica. Where it was broken: the rate at which a rising (isotonic) share of broken
    steps passes one half. Where it was not: 1 / latency falls in a line with the rate (a queue's latency is S / (1 - rate / capacity));
    trusted up to 1.5 times the highest rate seen, or as many times as the load varied where that is less, not below what was held,
    and only if its fall is beyond doubt.
    Returns NoAnswer: "too_short" under 100 steps, "no_variation" (in per cent) where the load never varied: cannot tell.
    ValueError for a negative rate, a threshold or a number of replicas not above 0.
    """
    if not threshold_seconds > 0 or replicas_now < 1:
        raise ValueError(f"needed a threshold above 0 s and 1 replica or more, got {threshold_seconds} s and {replicas_now}")
    if (history.rates < 0).any():
        raise ValueError(f"rates must be 0 or more requests/s, got {np.nanmin(history.rates):g}")
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(history.replicas > 0, history.rates / history.replicas, np.nan)
    known = np.isfinite(each) & np.isfinite(history.latency_seconds) & (each > 0) & (history.latency_seconds > 0)
    rates, latency = each[known], history.latency_seconds[known]
    if rates.size < MIN_STEPS:
        return NoAnswer("no_data" if rates.size == 0 else "too_short", have=int(rates.size), need=MIN_STEPS)
    low, high = np.quantile(rates, [0.05, 0.95])
    if high < MIN_VARIATION * low:
        return NoAnswer("no_variation", have=int(100 * high / low), need=round(100 * MIN_VARIATION))
    now = float(rates[-1]) * replicas_now
    measured = interval_of(rates, latency, threshold=threshold_seconds, method=break_measured, rng=rng)
    if measured is not None:
        return answer(measured, scale=replicas_now, now=now, highest=float(rates.max()), basis="measured")
    held = latency <= threshold_seconds
    seen = float(np.quantile(rates[held], 0.99)) if held.any() else 0.0
    reached = interval_of(rates, latency, threshold=threshold_seconds, method=break_extrapolated, rng=rng)
    # A line that breaks below what was held is no line this latency follows: coarse buckets bend it.
    contradicted = reached is not None and held.mean() >= MOSTLY_HELD and reached[0] < seen
    if reached is not None and not contradicted and reached[0] <= min(MOST_REACH, high / low) * rates.max():
        return answer(reached, scale=replicas_now, now=now, highest=float(rates.max()), basis="extrapolated")
    return answer((seen, seen, np.inf), scale=replicas_now, now=now, highest=float(rates.max()), basis="bound")


def answer(found: Found, *, scale: int, now: float, highest: float, basis: str) -> Headroom:
    middle, lower, upper = (value * scale for value in found)
    return Headroom(break_rate=middle, lower=lower, upper=upper, rate_now=now, highest_seen=highest * scale, basis=basis)


def break_measured(rates: Floats, latency: Floats, threshold: float) -> float:
    """The rate where the isotonic share of broken steps passes one half; NaN where it never does."""
    order = np.argsort(rates)
    groups = np.array_split(order, min(GROUPS, rates.size))
    shares = isotonic(np.array([(latency[group] > threshold).mean() for group in groups]))
    over = np.flatnonzero(shares >= BREAK_SHARE)
    return float(np.median(rates[groups[over[0]]])) if over.size else np.nan


def isotonic(values: Floats) -> Floats:
    """The rising sequence nearest to `values` in squares (pool adjacent violators)."""
    means: list[float] = []
    sizes: list[int] = []
    for value in values.tolist():
        means.append(value)
        sizes.append(1)
        while len(means) > 1 and means[-2] >= means[-1]:
            size = sizes[-2] + sizes[-1]
            means[-2:] = [(means[-2] * sizes[-2] + means[-1] * sizes[-1]) / size]
            sizes[-2:] = [size]
    return np.repeat(means, sizes)


def break_extrapolated(rates: Floats, latency: Floats, threshold: float) -> float:
    """Where the line of 1 / latency over the rate meets 1 / threshold; NaN where it does not fall."""
    slope, level = np.polyfit(rates, 1.0 / latency, 1)
    return float((1.0 / threshold - level) / slope) if slope < 0 and level > 1.0 / threshold else np.nan


def interval_of(rates: Floats, latency: Floats, *, threshold: float, method: Method, rng: np.random.Generator) -> Found | None:
    """The break rate with its 90 % interval over redrawn blocks; None where the history, or a tenth of the draws, has none."""
    middle = method(rates, latency, threshold)
    if not np.isfinite(middle):
        return None
    blocks = np.array_split(np.arange(rates.size), BLOCKS)
    found = []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([blocks[b] for b in rng.integers(0, BLOCKS, BLOCKS)])
        found.append(method(rates[drawn], latency[drawn], threshold))
    known = np.array(found)[np.isfinite(found)]
    if known.size < 0.9 * RESAMPLES:
        return None
    lower, upper = np.quantile(known, INTERVAL)
    return middle, float(min(lower, middle)), float(max(upper, middle))

"""How long requests take: from measured seconds, or from the latency histogram a metrics store keeps."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GRID_POINTS = 4000  # quantiles a distribution is kept as: p99 rests on 40 of them


@dataclass(frozen=True)
class ServiceTimes:
    """A distribution of service times, kept as equally likely values."""

    values: Floats  # (n,) seconds, ascending
    basis: str  # "measured" or "histogram"

    @property
    def mean_seconds(self) -> float:
        return float(self.values.mean())

    @property
    def scv(self) -> float:
        """Squared coefficient of variation."""
        return float(self.values.var() / max(self.values.mean(), 1e-12) ** 2)

    def quantile(self, q: float) -> float:
        return float(np.quantile(self.values, q))

    def draw(self, size: int, *, rng: np.random.Generator) -> Floats:
        """`size` service times, every part of the distribution in its share, in random order."""
        places = (rng.permutation(size) + rng.random(size)) / max(size, 1) * (self.values.size - 1)
        below = places.astype(np.int64)  # np.quantile with so many places takes ten times as long
        above = np.minimum(below + 1, self.values.size - 1)
        return np.asarray(self.values[below] + (places - below) * (self.values[above] - self.values[below]))

    def survival_integral(self, seconds: Floats) -> Floats:
        """Expected part of a service time that falls within its first `seconds`: mean of min(S, seconds)."""
        sums = np.concatenate([[0.0], np.cumsum(self.values)])
        below = np.searchsorted(self.values, seconds, side="right")
        n = self.values.size
        return np.asarray((sums[below] + (n - below) * seconds) / n, dtype=np.float64)


def service_measured(seconds: Floats) -> ServiceTimes:
    """seconds: (n,) measured service times in any order; NaN is skipped; ValueError when none is left or one is negative."""
    known = np.sort(np.asarray(seconds, dtype=np.float64)[np.isfinite(seconds)])
    if known.size == 0:
        raise ValueError(f"needed at least one measured service time, got {len(seconds)} values, all of them gaps")
    if known[0] < 0 or known[-1] == 0:
        raise ValueError(f"service times must be 0 or more and not all 0, got {known[0]:g} to {known[-1]:g} s")
    if known.size > GRID_POINTS:
        mean = known.mean()
        known = np.quantile(known, (np.arange(GRID_POINTS) + 0.5) / GRID_POINTS)
        known *= mean / known.mean()  # the grid misses part of the tail: the mean decides the load, so it is kept
    return ServiceTimes(values=known, basis="measured")


def service_histogram(bounds: Floats, *, counts: Floats, total_seconds: float | None = None) -> ServiceTimes:
    """Service times of a latency histogram: even within a bucket, then scaled within the buckets to the exact mean.

    bounds: (n,) seconds, ascending upper bounds, the last may be inf; counts: (n,) requests of each bucket (not cumulative).
    total_seconds: the histogram's `_sum`, which fixes the mean; None where a server has none.
    The open bucket ends at twice its lower bound. ValueError says what was wrong.
    """
    bounds, counts = np.asarray(bounds, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    if bounds.shape != counts.shape or (np.diff(bounds) <= 0).any():
        raise ValueError(f"needed ascending bounds, one for each count, got {bounds.size} bounds and {counts.size} counts")
    if not np.isfinite(counts).all() or (counts < 0).any() or counts.sum() <= 0:
        raise ValueError(f"bucket counts must be 0 or more with a sum above 0, got a sum of {np.nansum(counts):g}")
    lows = np.concatenate([[0.0], bounds[:-1]])
    highs = np.where(np.isfinite(bounds), bounds, 2.0 * np.maximum(lows, 1e-3))
    edges = np.concatenate([[0.0], np.cumsum(counts)]) / counts.sum()
    places = (np.arange(GRID_POINTS) + 0.5) / GRID_POINTS
    bucket = np.clip(np.searchsorted(edges, places, side="right") - 1, 0, bounds.size - 1)
    inside = (places - edges[bucket]) / np.maximum(edges[bucket + 1] - edges[bucket], 1e-12)
    mean = None if total_seconds is None else total_seconds / counts.sum()
    return ServiceTimes(values=tilted(inside, lows[bucket], highs[bucket], mean=mean), basis="histogram")


def tilted(inside: Floats, low: Floats, high: Floats, *, mean: float | None) -> Floats:
    """Values at the places `inside` (0 to 1) of their buckets, bent towards an end of the bucket until their mean is right.

    A mean that no bending reaches (buckets that contradict their sum) leaves the nearest that does.
    """

    def values(power: float) -> Floats:
        return np.asarray(low + (high - low) * inside**power, dtype=np.float64)

    if mean is None:
        return values(1.0)
    small, large = -5.0, 5.0  # of ln(power): the mean falls as the power grows
    for _ in range(40):
        middle = 0.5 * (small + large)
        small, large = (middle, large) if values(float(np.exp(middle))).mean() > mean else (small, middle)
    return np.sort(values(float(np.exp(0.5 * (small + large)))))

"""Bucket layouts and the arithmetic of histograms. Counts are per bucket, never cumulative; the last bucket is +Inf.

There is no stored percentile anywhere: a quantile is always taken from merged counts.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.models import BucketLayout
from monitoring.store.records import Floats

Bounds = tuple[float, ...]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Quantile:
    """seconds: NaN where nothing was counted. limited: the layout cannot say better (first or +Inf bucket)."""

    seconds: float
    limited: bool


@dataclass(frozen=True)
class Histogram:
    """Latencies of any window, any set of versions, as one set of counts; `bounds` are upper bounds in seconds.

    `sure` is the range of seconds that every merged layout resolves: from its first bound to its last.
    """

    bounds: Bounds
    counts: Floats  # (len(bounds) + 1,)
    sum_seconds: float  # NaN where a part of it is not known
    sure: tuple[float, float] | None = None  # None: of one layout, its first and last bound

    @property
    def count(self) -> float:
        return float(self.counts.sum())

    @property
    def mean(self) -> float:
        return self.sum_seconds / self.count if self.count else math.nan

    def quantile(self, q: float) -> Quantile:
        seconds, limited = quantiles(self.bounds, self.counts[None, :], q, sure=self.sure)
        return Quantile(float(seconds[0]), bool(limited[0]))


def quantiles(bounds: Bounds, counts: Floats, q: float, *, sure: tuple[float, float] | None = None) -> tuple[Floats, Mask]:
    """The quantile of each row of `counts` (m, b), linear within its bucket, and whether the layout limits it.

    In the first bucket the line starts at 0; in +Inf the answer is the highest bound: both are flagged. NaN for an empty row.
    """
    if not 0 <= q <= 1:
        raise ValueError(f"a quantile needs q from 0 to 1, got {q}")
    if counts.ndim != 2 or counts.shape[1] != len(bounds) + 1:
        raise ValueError(f"a quantile is taken from bucket counts (rows, {len(bounds) + 1}), got the shape {counts.shape}")
    if not bounds:
        return np.full(len(counts), np.nan), np.zeros(len(counts), dtype=bool)
    totals = counts.sum(axis=1)
    climbed = np.cumsum(counts, axis=1)
    rank = q * totals
    # The first bucket with something in it that reaches the rank; the slack is for sums of `real`.
    reached = (climbed >= rank[:, None] * (1 - 1e-9)) & (counts > 0)
    bucket = np.where(reached.any(axis=1), reached.argmax(axis=1), len(bounds))
    lows, highs = np.array([0.0, *bounds]), np.array([*bounds, bounds[-1]])
    rows = np.arange(len(counts))
    inside = counts[rows, bucket]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.clip((rank - (climbed[rows, bucket] - inside)) / inside, 0.0, 1.0)
    seconds = np.where(totals > 0, lows[bucket] + (highs[bucket] - lows[bucket]) * share, np.nan)
    first, last = sure or (bounds[0], bounds[-1])
    with np.errstate(invalid="ignore"):
        limited = (bucket == 0) | (bucket == len(bounds)) | (seconds < first) | (seconds > last)
    return seconds, limited & (totals > 0)


def sure_range(layouts: Iterable[Bounds]) -> tuple[float, float] | None:
    known = [layout for layout in layouts if layout]
    return (max(layout[0] for layout in known), min(layout[-1] for layout in known)) if known else None


def bounds_union(layouts: Iterable[Bounds]) -> Bounds:
    return tuple(sorted({bound for layout in layouts for bound in layout}))


def counts_spread(counts: Floats, bounds: Bounds, wider: Bounds) -> Floats:
    """Counts (m, b) on the finer bounds of a union, evenly by width within each bucket; totals stay exact.

    What lies in a bucket of the coarse layout is spread over its parts, so a quantile is right within that bucket's width.
    What lies in +Inf stays there: nobody knows how far beyond the last bound it was.
    """
    if bounds == wider:
        return counts
    edges, fine = np.array([0.0, *bounds]), np.array([0.0, *wider])
    climbed = np.concatenate((np.zeros((len(counts), 1)), np.cumsum(counts[:, :-1], axis=1)), axis=1)
    at_fine = np.stack([np.interp(fine, edges, row) for row in climbed]) if len(climbed) else np.zeros((0, len(fine)))
    spread = np.diff(at_fine, axis=1)
    return np.concatenate((spread, counts.sum(axis=1, keepdims=True) - at_fine[:, -1:]), axis=1)


def histograms_merge(histograms: Sequence[Histogram]) -> Histogram:
    """One histogram of all; layouts that differ meet on the union of their bounds."""
    bounds = bounds_union(histogram.bounds for histogram in histograms)
    counts = np.zeros(len(bounds) + 1)
    for histogram in histograms:
        counts = counts + counts_spread(histogram.counts[None, :], histogram.bounds, bounds)[0]
    sure = [histogram.sure or (histogram.bounds[0], histogram.bounds[-1]) for histogram in histograms if histogram.bounds]
    total = float(sum(histogram.sum_seconds for histogram in histograms))
    return Histogram(bounds, counts, total, sure_range(sure))


LAYOUTS: dict[int, Bounds] = {}  # seen by this process; a layout never changes and its number is never used again


def layouts_load(numbers: Iterable[int]) -> dict[int, Bounds]:
    wanted = set(numbers)
    unseen = wanted - LAYOUTS.keys()
    if unseen:
        found = BucketLayout.objects.filter(pk__in=unseen).values_list("pk", "bounds")
        LAYOUTS.update({pk: tuple(float(bound) for bound in bounds) for pk, bounds in found})
    return {number: LAYOUTS[number] for number in wanted if number in LAYOUTS}


def layout_id(bounds: Bounds) -> int:
    found, _ = BucketLayout.objects.get_or_create(bounds=list(bounds))
    return found.pk

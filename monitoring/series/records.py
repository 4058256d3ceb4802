"""What comes out of the read door. Times are Unix seconds at the END of the step; NaN = gap."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.catalog.records import Latency
from monitoring.store.layouts import quantiles

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Line:
    """One quantity over time: its mean, least and greatest within each step."""

    times: Floats
    mean: Floats
    low: Floats
    high: Floats
    unit: str


@dataclass(frozen=True)
class Lines:
    """Quantities of one entity on one grid. table: the level most of it was read from; as_of: the newest sample."""

    step: float
    table: str
    as_of: float | None
    columns: dict[str, Line]


@dataclass(frozen=True)
class Summary:
    mean: float
    low: float
    high: float
    count: float  # samples; 0 with NaN: nothing was measured


@dataclass(frozen=True)
class Latest:
    value: float
    time: float


@dataclass(frozen=True)
class LatencyLines:
    """Merged histograms over time; an empty step has counts of 0."""

    latency: Latency
    step: float
    table: str
    as_of: float | None
    times: Floats  # (m,)
    bounds: tuple[float, ...]
    counts: Floats  # (m, len(bounds) + 1), per bucket
    sums: Floats  # (m,) seconds, NaN where not known
    sure: tuple[float, float] | None  # the range of seconds that every merged layout resolves

    def quantile(self, q: float) -> Floats:
        """(m,) seconds, NaN where nothing was counted."""
        return quantiles(self.bounds, self.counts, q, sure=self.sure)[0]

    def limited(self, q: float) -> Mask:
        """(m,) True where the bucket layout, not the data, decides the quantile."""
        return quantiles(self.bounds, self.counts, q, sure=self.sure)[1]

    @property
    def count(self) -> Floats:
        total: Floats = self.counts.sum(axis=1)
        return total

    @property
    def mean(self) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.sums / np.where(self.count > 0, self.count, np.nan)

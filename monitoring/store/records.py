"""What goes into the store: arrays of one length, one element a row.

Times are Unix seconds and name the END of the step. NaN = not measured. All arrays of one record have the same length.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from monitoring.catalog.records import Entity, Latency

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """Raw samples of one kind of entity; `versions` only for deployments (0 = unknown)."""

    entity: Entity
    ids: Ints
    times: Floats
    values: Mapping[str, Floats]
    versions: Ints | None = None

    def taken(self, chosen: NDArray[np.bool_] | Ints) -> "Rows":
        return Rows(
            self.entity,
            self.ids[chosen],
            self.times[chosen],
            {name: value[chosen] for name, value in self.values.items()},
            None if self.versions is None else self.versions[chosen],
        )


@dataclass(frozen=True)
class RollupRows:
    """Five-minute rows of import and demo: per column how many samples, their sum, least and greatest."""

    entity: Entity
    ids: Ints
    times: Floats
    counts: Mapping[str, Floats]
    sums: Mapping[str, Floats]
    lows: Mapping[str, Floats]
    highs: Mapping[str, Floats]
    versions: Ints | None = None

    def taken(self, chosen: NDArray[np.bool_] | Ints) -> "RollupRows":
        counts, sums, lows, highs = (
            {name: value[chosen] for name, value in part.items()} for part in (self.counts, self.sums, self.lows, self.highs)
        )
        versions = None if self.versions is None else self.versions[chosen]
        return RollupRows(self.entity, self.ids[chosen], self.times[chosen], counts, sums, lows, highs, versions)


@dataclass(frozen=True)
class Histograms:
    """Latencies counted by bucket: `counts` is (n, len(bounds) + 1), NOT cumulative, the last bucket is +Inf."""

    latency: Latency
    ids: Ints
    versions: Ints
    times: Floats
    bounds: tuple[float, ...]
    counts: Floats
    sums: Floats  # seconds, NaN where the server does not say

    def taken(self, chosen: NDArray[np.bool_] | Ints) -> "Histograms":
        return Histograms(
            self.latency,
            self.ids[chosen],
            self.versions[chosen],
            self.times[chosen],
            self.bounds,
            self.counts[chosen],
            self.sums[chosen],
        )


@dataclass(frozen=True)
class Written:
    """What became of a batch, counted in samples (finite values; of histograms: in rows)."""

    written: int = 0
    unchanged: int = 0  # was there already, or an earlier value stands
    rejected: int = 0
    errors: tuple[str, ...] = field(default=())

    def __add__(self, other: "Written") -> "Written":
        return Written(
            self.written + other.written,
            self.unchanged + other.unchanged,
            self.rejected + other.rejected,
            (self.errors + other.errors)[:10],
        )

"""Rows of `le` buckets become histograms: bounds and counts that are not cumulative."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.prometheus.matrix import Matrix


@dataclass(frozen=True)
class Buckets:
    """One label set's histogram over time.

    bounds: finite upper bounds, ascending, in base units; counts: (m, len(bounds) + 1), the last one above all bounds,
    in the unit of the query (per second for a rate); NaN where the set had no sample.
    """

    labels: dict[str, str]
    bounds: tuple[float, ...]
    counts: NDArray[np.float64]


def buckets_split(matrix: Matrix, *, scale: float = 1.0) -> list[Buckets]:
    """The histograms of a `sum by (..., le)` answer; a set without its +Inf bucket is left out.

    Cumulative counts are made monotonic first: replicas scraped at slightly different times may cross.
    """
    rows: dict[tuple[tuple[str, str], ...], dict[float, int]] = {}
    for at, labels in enumerate(matrix.labels):
        key = tuple((name, value) for name, value in labels.items() if name != "le")
        rows.setdefault(key, {})[float(labels["le"])] = at
    return [one(matrix, dict(key), by_bound, scale=scale) for key, by_bound in rows.items() if np.inf in by_bound]


def one(matrix: Matrix, labels: dict[str, str], by_bound: dict[float, int], *, scale: float) -> Buckets:
    ordered = sorted(by_bound)
    cumulative = matrix.values[[by_bound[bound] for bound in ordered]].T
    known = np.isfinite(cumulative[:, -1])
    rising = np.maximum.accumulate(np.nan_to_num(cumulative), axis=1)
    counts = np.diff(rising, axis=1, prepend=0.0)
    counts[~known] = np.nan
    bounds = tuple(round_bound(bound * scale) for bound in ordered[:-1])
    return Buckets(labels, bounds, counts)


def round_bound(bound: float) -> float:
    """A scaled bound without the noise of the multiplication: 100 ms is 0.1 s, not 0.1 and a bit."""
    return float(f"{bound:.12g}")

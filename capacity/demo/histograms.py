"""Latency histograms as a server would count them: a lognormal cut into its buckets."""

import numpy as np

from capacity.demo.noise import Floats, uniform
from capacity.demo.signals import Z95

# The layouts of real servers; "fine" is what a team sets that wants to read its own thresholds.
LAYOUTS: dict[str, tuple[float, ...]] = {
    "vllm_first": (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560),
    "vllm_next": (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80),
    "vllm_duration": (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680),
    "sglang_first": (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 15, 20, 25, 30),
    "tensorflow": tuple(round(1e-5 * 1.8**power, 9) for power in range(20)),
    "fine": (
        *(0.005, 0.0075, 0.01, 0.0125, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.045, 0.05, 0.06, 0.075, 0.09, 0.1, 0.12, 0.15, 0.2),
        *(0.25, 0.3, 0.4, 0.5, 0.6, 0.75, 1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10, 20, 30),
    ),
}


def normal_share(deviations: Floats) -> Floats:
    """Share of a normal distribution below each number of deviations, within 2e-7 (Abramowitz and Stegun 7.1.26)."""
    size = np.abs(deviations) / np.sqrt(2.0)
    part = 1.0 / (1.0 + 0.3275911 * size)
    tail = part * (0.254829592 + part * (-0.284496736 + part * (1.421413741 + part * (-1.453152027 + part * 1.061405429))))
    below = 0.5 * tail * np.exp(-(size**2))
    return np.asarray(np.where(deviations < 0, below, 1.0 - below), dtype=np.float64)


def counts_make(p50: Floats, p95: Floats, *, requests: Floats, bounds: tuple[float, ...], stream: int, times: Floats) -> Floats:
    """(n, len(bounds) + 1) whole numbers, not cumulative: each row adds up to the requests of its step, give or take one.

    One draw per step shifts all cumulative counts alike (systematic sampling), so that small buckets are right on average.
    """
    sigma = np.log(p95 / p50) / Z95
    share = normal_share((np.log(np.array(bounds))[None, :] - np.log(p50)[:, None]) / sigma[:, None])
    cumulative = np.hstack([share, np.ones((p50.size, 1))]) * requests[:, None]
    draw = uniform(stream + 30, np.round(times).astype(np.int64))[:, None]
    return np.diff(np.floor(cumulative + draw), axis=1, prepend=0.0)

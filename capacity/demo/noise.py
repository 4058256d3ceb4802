"""Noise that is a function of (stream, time): any stretch can be made again, alone and in any order."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SEED = 20261121


def hashed(stream: int, index: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Mix stream and index to 64 even bits (splitmix64's finaliser)."""
    with np.errstate(over="ignore"):
        bits = index.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64((stream * 0xD1342543DE82EF95 + SEED) % 2**64)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(bits ^ (bits >> np.uint64(31)), dtype=np.uint64)


def uniform(stream: int, index: NDArray[np.int64]) -> Floats:
    """One number in [0, 1) for each index."""
    return (hashed(stream, index) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normal(stream: int, index: NDArray[np.int64]) -> Floats:
    """Near-normal, mean 0, deviation 1: the four 16-bit parts of the hash added up (Irwin-Hall)."""
    parts = hashed(stream, index).view(np.uint16).reshape(*index.shape, 4)
    return np.asarray((parts.sum(axis=-1, dtype=np.float64) / 65536.0 - 2.0) * np.sqrt(3.0))


def smooth(stream: int, times: Floats, period_seconds: float) -> Floats:
    """Continuous noise, deviation about 0.85, that changes over `period_seconds`."""
    position = times / period_seconds
    index = np.floor(position).astype(np.int64)
    part = position - index
    weight = part * part * (3.0 - 2.0 * part)
    return normal(stream, index) * (1.0 - weight) + normal(stream, index + 1) * weight


def wobble(stream: int, times: Floats, step_seconds: float, size: float = 0.05) -> Floats:
    """A factor around 1: slow, middle and fast noise, the fast part averaged over the step."""
    fast = normal(stream + 2, np.round(times).astype(np.int64)) * np.sqrt(60.0 / step_seconds)
    slow, middle = smooth(stream, times, 5400.0), smooth(stream + 1, times, 900.0)
    return np.asarray(1.0 + size * (0.7 * slow + 0.5 * middle + 0.35 * fast), dtype=np.float64)

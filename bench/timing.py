"""Timing one call many times."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np


@dataclass(frozen=True)
class Timing:
    """Milliseconds of several runs."""

    runs: tuple[float, ...]

    @property
    def median(self) -> float:
        return float(np.median(self.runs))

    @property
    def p95(self) -> float:
        return float(np.quantile(self.runs, 0.95, method="higher"))


def timed(*calls: Callable[[], object], runs: int, together: int = 1) -> list[Timing]:
    """The calls take turns, so that a noisy minute hits all of them; one run of each before, to warm up.

    together: so many runs of one call in a row, after one that is not counted: what the call before it left in the
    processor's caches, and its collector of garbage, is then not part of its time.
    """
    spent: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    for _ in range(runs // together):
        for times, call in zip(spent, calls, strict=True):
            if together > 1:
                call()
            times.extend(milliseconds(call) for _ in range(together))
    return [Timing(tuple(times)) for times in spent]


def milliseconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def progress(words: str) -> None:
    print(f"  {datetime.now(UTC):%H:%M:%S} {words} ...", file=sys.stderr, flush=True)

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


def timed(*calls: Callable[[], object], runs: int) -> list[Timing]:
    """The calls take turns, so that a noisy minute hits all of them; one run of each before, to warm up."""
    spent: list[list[float]] = [[] for _ in calls]
    for run in range(runs + 1):
        for times, call in zip(spent, calls, strict=True):
            began = time.perf_counter()
            call()
            if run:
                times.append((time.perf_counter() - began) * 1000)
    return [Timing(tuple(times)) for times in spent]


def progress(words: str) -> None:
    print(f"  {datetime.now(UTC):%H:%M:%S} {words} ...", file=sys.stderr, flush=True)

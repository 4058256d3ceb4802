"""What goes into a forecast and what comes out of it."""

from dataclasses import dataclass
from math import inf

import numpy as np

from capacity.engine.answer import NoAnswer
from capacity.engine.grid import DAY_SECONDS, HOUR_SECONDS, Floats

LEVELS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Event:
    """Something known that changes demand: a launch, a maintenance window, a holiday."""

    name: str
    start_seconds: float  # Unix time
    end_seconds: float = inf  # exclusive; inf = from then on
    factor: float | None = 1.0  # demand is multiplied by this; 0 = none; None = like the same hours of a Sunday
    added: float = 0.0  # then this is added, in the unit of the series a step

    def __post_init__(self) -> None:
        if not self.start_seconds < self.end_seconds:
            raise ValueError(f"event {self.name!r} must start before it ends, got {self.start_seconds:.0f} to {self.end_seconds:.0f}")
        if self.factor is not None and not 0 <= self.factor < inf:
            raise ValueError(f"event {self.name!r} needs a factor of at least 0, got {self.factor}")


@dataclass(frozen=True)
class Shift:
    """A level that changed and stayed."""

    time_seconds: float  # Unix time of the first step on the new level
    factor: float  # values before it are multiplied by this
    added: float  # then this is added, in the unit of the series


@dataclass(frozen=True)
class Actuals:
    """Forecasts of the last month beside what came: each made before its window began."""

    times: Floats  # (s,) Unix seconds of each step's start
    actual: Floats
    median: Floats
    lower: Floats  # 5 %
    upper: Floats  # 95 %


@dataclass(frozen=True)
class Backtest:
    """How the same method did at earlier moments of the same series, each judged by errors of another time."""

    origins: int  # forecasts made
    mase: float  # mean absolute error of the median / that of seasonal naive on the same steps; NaN = not known
    weighted_loss: float  # WQL: mean over 0.1, 0.5, 0.9, 0.99 of 2 x pinball loss / sum of actuals
    coverage_90: float  # share of steps between the 5 % and the 95 % quantile; should be 0.9
    above_99: float  # share of steps above the 99 % quantile; should be 0.01
    method_errors: tuple[tuple[str, float], ...]  # (method, its mean absolute error / the blend's)
    actuals: Actuals


@dataclass(frozen=True)
class Forecast:
    """Quantiles of each coming step, with how they were made and how well that worked."""

    start_seconds: float  # Unix time of the first step's start
    step_seconds: float
    levels: Floats  # (q,) ascending, each in (0, 1)
    quantiles: Floats  # (q, h), never negative, never falling from one level to the next
    method: str  # "blend", the one method chosen, or "trend"
    flags: tuple[str, ...]  # "thin", "trend", "shift", "events", "scenario"
    trained_from_seconds: float
    trained_until_seconds: float
    backtest: Backtest
    note: str  # a sentence when a flag needs one, else ""

    def at_level(self, level: float) -> Floats:
        """The (h,) forecast of one of the levels asked for, else ValueError."""
        for row, known in zip(self.quantiles, self.levels, strict=True):
            if abs(known - level) < 1e-9:
                return np.asarray(row)
        raise ValueError(f"level must be one of {self.levels.tolist()}, got {level}")


@dataclass(frozen=True)
class ShortHistory(NoAnswer):
    """Too little history for this horizon; have and need are hours."""

    horizon_seconds: float
    cycle: str  # "daily" or "weekly"

    def sentence(self) -> str:
        """`7-day forecast needs 2 weekly cycles (336 h), have 60 h.`"""
        hours = (DAY_SECONDS if self.cycle == "daily" else 7 * DAY_SECONDS) / HOUR_SECONDS
        cycles = self.need / hours
        needed = f"{cycles:g} {self.cycle} {plural('cycle', cycles)} ({self.need} h)"
        return f"{horizon_words(self.horizon_seconds)} forecast needs {needed}, have {self.have} h."


def plural(word: str, count: float) -> str:
    return word if count == 1 else f"{word}s"


def horizon_words(seconds: float) -> str:
    """`7-day`, `1-hour`, `24-hour`: hours up to a day, else days."""
    if seconds <= DAY_SECONDS:
        return f"{seconds / HOUR_SECONDS:g}-hour"
    return f"{seconds / DAY_SECONDS:.3g}-day"

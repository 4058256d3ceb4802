"""Stored series as forecasts need them: even steps that have ended, oldest first, NaN for a gap."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from monitoring.catalog.records import Entity
from monitoring.series import lines_load_many

Floats = NDArray[np.float64]
DEMAND = "requests_per_second"
HOUR_SECONDS, DAY_SECONDS = 3600.0, 86400.0
ARRIVAL_SECONDS = 90.0  # a step is over once its samples have come in
HOURS_LEAST = 18  # of a day, to name its busiest hour


@dataclass(frozen=True)
class Window:
    """Whole steps over (start, end], Unix seconds, both multiples of the step."""

    start: float
    end: float
    step: float

    @property
    def size(self) -> int:
        return round((self.end - self.start) / self.step)

    @property
    def times(self) -> Floats:
        """(n,): the start of each step."""
        return np.asarray(self.start + self.step * np.arange(self.size), dtype=np.float64)


def window_until(now: datetime, *, days: float, step: float) -> Window:
    """The last days up to the last step whose samples have come in."""
    end = (now.timestamp() - ARRIVAL_SECONDS) // step * step
    return Window(end - round(days * DAY_SECONDS / step) * step, end, step)


def window_of(start: datetime, end: datetime, *, step: float) -> Window:
    """The whole steps between two instants; ValueError where there is none."""
    first, last = -(-start.timestamp() // step) * step, end.timestamp() // step * step
    if last <= first:
        raise ValueError(f"a series needs a step of {step:g} s between {start:%Y-%m-%d %H:%M} and {end:%Y-%m-%d %H:%M} UTC, there is none")
    return Window(first, last, step)


def series_load(entity: Entity, ids: Sequence[int], quantities: Sequence[str], *, window: Window) -> dict[int, dict[str, Floats]]:
    """entity id -> quantity -> (n,) means of the steps. Two or three queries, however many entities."""
    start, end = (datetime.fromtimestamp(at, tz=UTC) for at in (window.start, window.end))
    found = lines_load_many(entity, ids, quantities, start=start, end=end, points=window.size)
    unknown = np.full(window.size, np.nan)
    # Where nothing as fine as the step is kept the lines come in longer steps: that is no series of this step.
    return {
        number: {
            name: line.mean if lines.step == window.step and line.mean.size == window.size else unknown
            for name, line in lines.columns.items()
        }
        for number, lines in found.items()
    }


def demand_series(
    deployment_id: int, *, start: datetime, end: datetime, step_seconds: float, quantity: str = DEMAND
) -> tuple[Floats, float]:
    """(n,) demand of each whole step between two instants, oldest first, NaN for a gap, and the Unix seconds at which the first begins.

    step_seconds: 300, 3600 or 86400 are stored; others must be a multiple of 300.
    """
    return demand_many([deployment_id], start=start, end=end, step_seconds=step_seconds, quantity=quantity)[deployment_id]


def demand_many(
    deployment_ids: Sequence[int], *, start: datetime, end: datetime, step_seconds: float, quantity: str = DEMAND
) -> dict[int, tuple[Floats, float]]:
    """As `demand_series`, of many; two or three queries."""
    window = window_of(start, end, step=step_seconds)
    found = series_load(Entity.DEPLOYMENT, deployment_ids, (quantity,), window=window)
    return {number: (columns[quantity], window.start) for number, columns in found.items()}


def busiest_hours(hourly: Floats, *, start_seconds: float) -> tuple[Floats, float]:
    """(d,) the greatest hour of each whole UTC day, NaN where less than 18 of its hours are known; and when the first day begins.

    hourly: (n,) hourly means, the first hour beginning at `start_seconds`.
    """
    first = -(-start_seconds // DAY_SECONDS) * DAY_SECONDS
    skipped = round((first - start_seconds) / HOUR_SECONDS)
    whole = hourly[skipped : skipped + max(hourly.size - skipped, 0) // 24 * 24].reshape(-1, 24)
    known = np.isfinite(whole).sum(axis=1)
    peaks = np.where(np.isfinite(whole), whole, -np.inf).max(axis=1, initial=-np.inf)
    return np.where(known >= HOURS_LEAST, peaks, np.nan), first

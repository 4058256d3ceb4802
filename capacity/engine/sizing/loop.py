"""The reactive autoscaler, minute by minute: what it orders, what serves, what breaks, with a floor under it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from capacity.engine.queueing.compiled import compiled
from capacity.engine.sizing.broken import BrokenTable, Server

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MINUTES_PER_HOUR = 60


@dataclass(frozen=True)
class Reactive:
    """Settings of an autoscaler that aims at a share of busy slots, as the HPA and KEDA do."""

    target_ratio: float = 0.7
    tolerance_ratio: float = 0.1
    stabilisation_minutes: int = 5  # it scales down to the highest wish of this window
    startup_minutes: int = 3  # from order to service
    step_replicas: int = 4  # a minute adds at most this many, or doubles

    def __post_init__(self) -> None:
        if not 0 < self.target_ratio <= 1 or self.startup_minutes < 0 or self.stabilisation_minutes < 1:
            raise ValueError(
                "needed a target in (0, 1], a start-up of 0 minutes or more and a window of 1 minute or more, "
                f"got {self.target_ratio}, {self.startup_minutes} and {self.stabilisation_minutes}"
            )


@dataclass(frozen=True)
class Demand:
    """Possible courses of the time to come, minute by minute, and what an autoscaler would measure of them."""

    rates: Floats  # (paths, minutes) requests per second
    measured: Floats  # (paths, minutes) the same with the scatter of counts

    @property
    def hours(self) -> int:
        return int(self.rates.shape[1]) // MINUTES_PER_HOUR


def demand_noisy(rates: Floats, *, burstiness: float, rng: np.random.Generator) -> Demand:
    """rates: (paths, minutes) requests per second, whole hours; a minute's count scatters by its burstiness."""
    if rates.ndim != 2 or rates.shape[1] == 0 or rates.shape[1] % MINUTES_PER_HOUR:
        raise ValueError(f"needed paths of whole hours in minutes, got {rates.shape}")
    if not np.isfinite(rates).all() or (rates < 0).any():
        raise ValueError("rates must be numbers of 0 or more without gaps")
    spread = np.sqrt(burstiness * rates / 60.0)
    return Demand(rates=rates, measured=np.maximum(rates + spread * rng.standard_normal(rates.shape), 0.0))


@compiled("void(float64[:,::1], float64[:,::1], float64[:,::1], int64[::1], float64[::1], float64[:,::1])")
def loop_run(rows: Floats, wishes: Floats, broken: Floats, floors: Ints, settings: Floats, result: Floats) -> None:
    """Add up, by hour, replica-minutes paid (result[0]) and minutes broken (result[1]) over all paths.

    rows: where each minute's rate lies in `broken`; wishes: replicas whose slots the measured load fills, fractional.
    settings: target, tolerance, window, start-up, step.
    """
    target, tolerance, window, startup, step = settings[0], settings[1], int(settings[2]), int(settings[3]), settings[4]
    minutes, most = rows.shape[1], broken.shape[1] - 1
    ordered = np.empty(minutes, dtype=np.int64)
    wanted = np.empty(minutes, dtype=np.int64)
    for path in range(rows.shape[0]):
        current = max(floors[0], int(np.ceil(wishes[path, 0] / target)), 1)
        for minute in range(minutes):
            hour = minute // 60
            if minute > 0:
                busy = wishes[path, minute - 1] / current
                wish = current if abs(busy / target - 1.0) <= tolerance else int(np.ceil(current * busy / target))
                wanted[minute] = max(wish, 1)
                if wish < current:
                    for past in range(max(1, minute - window + 1), minute + 1):
                        wish = max(wish, wanted[past])
                current = int(min(wish, max(current * 2, current + step)))
            current = max(current, floors[hour], 1)
            ordered[minute] = current
            serving = current
            for past in range(max(0, minute - startup), minute):
                serving = min(serving, ordered[past])
            serving = max(serving, floors[hour])  # a floor is known ahead: its replicas start in time
            result[0, hour] += current
            row = rows[path, minute]
            if row >= 0:
                column = min(serving, most)
                below = int(row)
                above = min(below + 1, broken.shape[0] - 1)
                result[1, hour] += broken[below, column] + (row - below) * (broken[above, column] - broken[below, column])


@dataclass(frozen=True)
class Course:
    """What a day costs and breaks on average, by hour."""

    replica_hours: Floats  # (hours,)
    broken_minutes: Floats  # (hours,)

    def cost(self, *, minute_price: float) -> Floats:
        """Replica-hours, each broken minute priced at `minute_price` of them."""
        return self.replica_hours + minute_price * self.broken_minutes


@dataclass(frozen=True)
class Trial:
    """Demand, server and promise, ready to try floors and settings on."""

    demand: Demand
    server: Server
    table: BrokenTable

    @cached_property
    def rows(self) -> Floats:
        """Where each minute's rate lies in the table."""
        return np.ascontiguousarray(self.table.rows(self.demand.rates))

    @cached_property
    def wishes(self) -> Floats:
        """Replicas whose slots each minute's measured load fills."""
        return np.ascontiguousarray(self.demand.measured / self.server.capacity_rate(1.0))

    def floored(self, floors: Ints, *, reactive: Reactive) -> Course:
        """The course of a day with this floor by hour under the autoscaler."""
        settings = np.array(
            [
                reactive.target_ratio,
                reactive.tolerance_ratio,
                reactive.stabilisation_minutes,
                reactive.startup_minutes,
                reactive.step_replicas,
            ],
            dtype=np.float64,
        )
        result = np.zeros((2, self.demand.hours))
        loop_run(self.rows, self.wishes, self.table.broken, floors, settings, result)
        paths = self.demand.rates.shape[0]
        return Course(replica_hours=result[0] / 60.0 / paths, broken_minutes=result[1] / paths)

    def fixed(self, replicas: int) -> Course:
        """The course of a day with so many replicas and no autoscaler."""
        column = self.table.broken[:, min(replicas, self.table.most)]
        share = np.where(self.rows >= 0, np.interp(self.rows, np.arange(column.size), column), 0.0)
        by_hour = share.reshape(share.shape[0], self.demand.hours, MINUTES_PER_HOUR).sum(axis=2).mean(axis=0)
        return Course(replica_hours=np.full(self.demand.hours, float(replicas)), broken_minutes=by_hour)

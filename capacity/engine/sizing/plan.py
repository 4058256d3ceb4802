"""A plan: the fewest replicas by hour under a reactive autoscaler, where a broken minute and a replica-hour are weighed in one coin."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from capacity.engine.sizing.broken import BrokenTable
from capacity.engine.sizing.loop import MINUTES_PER_HOUR, Course, Reactive, Trial

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Default price of a broken minute: one per cent of broken minutes weighs as much as ten per cent of the bill.
BILL_PER_BROKEN = 10.0
STARTUP_LADDER = (0, 1, 3, 8, 20, 60, 1440)  # minutes
TARGETS = (0.5, 0.6, 0.7, 0.8)
WINDOWS = (5, 10, 15)
ROUNDS = 1


@dataclass(frozen=True)
class Plan:
    """Minimum replicas by hour, the autoscaler's settings above them, and what that costs and breaks on average."""

    floors: Ints  # (hours,)
    reactive: Reactive | None  # None: the numbers are fixed, no autoscaler
    replica_hours: float
    broken_minutes: float
    minute_price: float  # replica-hours a broken minute was weighed at


def minute_price_default(table: BrokenTable, *, rates: Floats, share: float = 0.01) -> float:
    """Replica-hours of one broken minute such that 1 % of broken minutes weigh as much as 10 % of the usual bill.

    rates: (n,) requests per second, the busiest of each hour of many days or of all courses the day may take, gaps NaN; the usual
    bill is what these hours need. A minute is worth no less because a quiet day is expected, as long as a busy one is thought of.
    """
    known = rates[np.isfinite(rates)]
    if known.size == 0:
        raise ValueError("needed at least one hour with a known rate, got none")
    needs = [table.needed(float(rate), share=share) for rate in known]
    return BILL_PER_BROKEN * max(float(np.mean(needs)), 1.0) / MINUTES_PER_HOUR


def plan_fixed(trial: Trial, *, minute_price: float) -> Plan:
    """The number of replicas of each hour by itself, without an autoscaler: each hour's own cheapest."""
    check_price(minute_price)
    courses = [trial.fixed(n) for n in range(1, trial.table.most + 1)]
    best = cheapest(courses, minute_price=minute_price)
    hours = np.arange(trial.demand.hours)
    return Plan(
        floors=best + 1,
        reactive=None,
        replica_hours=float(best.sum() + best.size),
        broken_minutes=float(sum(courses[n].broken_minutes[hour] for n, hour in zip(best, hours, strict=True))),
        minute_price=minute_price,
    )


def plan_floor(trial: Trial, *, reactive: Reactive, minute_price: float) -> Plan:
    """The floor of each hour under the autoscaler.

    A replica that takes longer to start needs a floor at least as high: the floor is the highest over all start-up times
    up to the given one, so that noise between two of them never lowers it.
    """
    check_price(minute_price)
    rungs = next((n for n, minutes in enumerate(STARTUP_LADDER) if minutes >= reactive.startup_minutes), len(STARTUP_LADDER) - 1)
    floors = np.ones(trial.demand.hours, dtype=np.int64)
    for minutes in STARTUP_LADDER[: rungs + 1]:
        floors = np.maximum(floors, floors_found(trial, reactive=replace(reactive, startup_minutes=minutes), minute_price=minute_price))
    course = trial.floored(floors, reactive=reactive)
    return Plan(
        floors=floors,
        reactive=reactive,
        replica_hours=float(course.replica_hours.sum()),
        broken_minutes=float(course.broken_minutes.sum()),
        minute_price=minute_price,
    )


def floors_found(trial: Trial, *, reactive: Reactive, minute_price: float) -> Ints:
    """Each hour's cheapest floor if all hours had the same, then each hour again beside its real neighbours."""
    hours, most = trial.demand.hours, trial.table.most
    flat = [trial.floored(np.full(hours, n, dtype=np.int64), reactive=reactive) for n in range(1, most + 1)]
    floors = cheapest(flat, minute_price=minute_price) + 1
    for _ in range(ROUNDS):
        for hour in range(hours):
            tries = [n for n in (floors[hour] - 2, floors[hour] - 1, floors[hour], floors[hour] + 1, floors[hour] + 2) if 1 <= n <= most]
            costs = [
                trial.floored(with_floor(floors, hour=hour, replicas=n), reactive=reactive).cost(minute_price=minute_price).sum()
                for n in tries
            ]
            floors = with_floor(floors, hour=hour, replicas=tries[int(np.argmin(costs))])
    return floors


def with_floor(floors: Ints, *, hour: int, replicas: int) -> Ints:
    changed = floors.copy()
    changed[hour] = replicas
    return changed


def cheapest(courses: list[Course], *, minute_price: float) -> Ints:
    """By hour, the index of the course of least cost; the smaller size where two cost the same."""
    return np.asarray(np.argmin([course.cost(minute_price=minute_price) for course in courses], axis=0), dtype=np.int64)


def plan_tuned(trial: Trial, *, reactive: Reactive, minute_price: float) -> Plan:
    """The floor together with the target and the stabilisation window that make it cheapest."""
    plans = [
        plan_floor(trial, reactive=replace(reactive, target_ratio=target, stabilisation_minutes=window), minute_price=minute_price)
        for target in TARGETS
        for window in WINDOWS
    ]
    return min(plans, key=lambda plan: plan.replica_hours + minute_price * plan.broken_minutes)


def check_price(minute_price: float) -> None:
    if not minute_price >= 0 or not np.isfinite(minute_price):
        raise ValueError(f"needed a price of 0 or more replica-hours for a broken minute, got {minute_price}")

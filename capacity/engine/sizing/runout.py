"""When demand outgrows capacity, when to order, how many, and what waiting costs: from a forecast's quantiles and the capacity to come."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from capacity.engine.grid import DAY_SECONDS, HOUR_SECONDS, grid_times
from capacity.engine.sizing.broken import BrokenTable
from capacity.engine.sizing.hold import HeldCurve
from capacity.engine.sizing.tables import broken_share

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

WINDOW_DAYS = 7
SUSTAINED_DAYS = 2  # of the window: one busy day is weather, two are a climate
EARLY_LEVEL = 0.9
HOURS = 24
MONDAY = 4  # 1 January 1970 was a Thursday: days since then, less 4, start a week on Mondays
MIN_WEEKDAY_DAYS = 2  # of a weekday, below which all days lend it their shape
MINUTES_PER_HOUR = 60.0


@dataclass(frozen=True)
class Quantiles:
    """Demand to come, step by step (days or hours), oldest first."""

    times: Floats  # (n,) Unix seconds, start of each step, evenly apart
    levels: Floats  # (q,) ascending, in (0, 1)
    quantiles: Floats  # (q, n) requests per second, not falling from one level to the next

    def __post_init__(self) -> None:
        if self.times.size == 0 or self.levels.size == 0 or self.quantiles.shape != (self.levels.size, self.times.size):
            raise ValueError(f"needed {self.levels.size} levels x {self.times.size} steps, one or more, got {self.quantiles.shape}")
        if not np.isfinite(self.quantiles).all() or (self.quantiles < 0).any():
            raise ValueError("quantiles of demand must be numbers of 0 or more requests/s without gaps")
        if not (self.levels[0] > 0 and self.levels[-1] < 1 and (np.diff(self.levels) > 0).all() and (np.diff(self.times) > 0).all()):
            raise ValueError(f"needed ascending times and ascending levels between 0 and 1, got levels {self.levels.tolist()}")
        if (np.diff(self.quantiles, axis=0) < -1e-9).any():
            raise ValueError("quantiles cross: one level lies below the level before it; sort them by level first")

    def at(self, level: float) -> Floats:
        """(n,) the quantile of a level, between two given ones on their line, outside them the nearest."""
        return np.array([np.interp(level, self.levels, column) for column in self.quantiles.T])

    def masses(self) -> Floats:
        """(q,) probability each level stands for: half way to its neighbours, the outer ones to the ends."""
        middles = 0.5 * (self.levels[1:] + self.levels[:-1])
        return np.diff(np.concatenate([[0.0], middles, [1.0]]))


class DailyDemand(Quantiles):
    """The mean rate of each day's busiest hour."""


class HourlyDemand(Quantiles):
    """The mean rate of each hour."""


@dataclass(frozen=True)
class Supply:
    """Replicas from each moment on, those on order at their arrival."""

    times: Floats  # (k,) Unix seconds, ascending
    replicas: Floats  # (k,) 0 or more

    def __post_init__(self) -> None:
        if self.times.size == 0 or self.times.shape != self.replicas.shape or (np.diff(self.times) < 0).any():
            raise ValueError(f"needed a number of replicas for each of 1 or more ascending times, got {self.replicas.size}")
        if not np.isfinite(self.replicas).all() or (self.replicas < 0).any():
            raise ValueError("replicas must be numbers of 0 or more")

    def least(self, starts: Floats, *, length_seconds: float) -> Floats:
        """(n,) fewest replicas at any moment of each step: a replica that arrives at noon does not hold the morning."""
        found = self.replicas[np.clip(np.searchsorted(self.times, starts, side="right") - 1, 0, None)].copy()
        for time, replicas in zip(self.times, self.replicas, strict=True):
            within = (time > starts) & (time < starts + length_seconds)
            found[within] = np.minimum(found[within], replicas)
        return np.asarray(found)


@dataclass(frozen=True)
class RunOutDates:
    """Starts of the days on which demand outgrows capacity; None: not within the horizon."""

    median_time: float | None  # the middle of the forecast
    early_time: float | None  # its 90 % quantile
    replicas_to_order: int  # to hold the 90 % quantile until the end of the horizon, over what is there and on order
    by_event: bool  # the median's day (else the early one's) is a day of an event


def run_out(demand: DailyDemand, *, supply: Supply, curve: HeldCurve, event_days: Bools | None = None) -> RunOutDates:
    """Find the first day from which demand is more than what the replicas hold.

    A day counts if demand is over capacity then and on at least 2 of the 7 days that start with it, or if an event is on
    that day; at the end of the horizon the days that are left must do. curve: of the hourly table, since demand is an
    hour's mean. event_days: (n,) days of planned events that raise demand. For the date without events call it with the
    forecast without them.
    """
    days = demand.times.size
    events = np.zeros(days, dtype=bool) if event_days is None else np.asarray(event_days, dtype=bool)
    if events.size != days:
        raise ValueError(f"needed one mark for each of {days} days, got {events.size}")
    replicas = supply.least(demand.times, length_seconds=DAY_SECONDS)
    held = np.array([curve.rate(float(count)) for count in replicas])
    median = first_over(demand.at(0.5) > held, events=events)
    early = first_over(demand.at(EARLY_LEVEL) > held, events=events)
    day = median if median is not None else early
    return RunOutDates(
        median_time=None if median is None else float(demand.times[median]),
        early_time=None if early is None else float(demand.times[early]),
        replicas_to_order=0 if early is None else missing(demand.at(EARLY_LEVEL)[early:], replicas=replicas[early:], curve=curve),
        by_event=day is not None and bool(events[day]),
    )


def first_over(over: Bools, *, events: Bools) -> int | None:
    """The first day that is over for long enough, or over on an event's day."""
    for day in np.flatnonzero(over):
        window = over[day : day + WINDOW_DAYS]
        if events[day] or window.sum() >= min(SUSTAINED_DAYS, window.size):
            return int(day)
    return None


def missing(rates: Floats, *, replicas: Floats, curve: HeldCurve) -> int:
    """The most replicas that any of the days lacks."""
    needed = np.array([curve.replicas(float(rate)) for rate in rates])
    return int(max(0.0, np.ceil(np.max(needed - replicas) - 1e-9)))


@dataclass(frozen=True)
class OrderDate:
    """The latest moment to order; it may have passed."""

    time: float
    overdue_days: float  # 0 where there is time left
    days_left: float  # 0 where it is overdue

    def sentence(self) -> str:
        if self.overdue_days > 0:
            return f"The order is overdue by {days_words(self.overdue_days)}."
        return f"{days_words(self.days_left)} left to order." if self.days_left >= 1 else "Order today."


def order_date(early_time: float, *, lead_days: float, approval_days: float, now: float) -> OrderDate:
    """The early date less lead time and approval. ValueError for a negative time."""
    if not lead_days >= 0 or not approval_days >= 0:
        raise ValueError(f"needed a lead time and an approval of 0 days or more, got {lead_days} and {approval_days}")
    time = early_time - (lead_days + approval_days) * DAY_SECONDS
    left = (time - now) / DAY_SECONDS
    return OrderDate(time=time, overdue_days=max(0.0, -left), days_left=max(0.0, left))


def days_words(days: float) -> str:
    if days < 1:
        return "less than a day"
    whole = int(days)
    return "1 day" if whole == 1 else f"{whole} days"


def weekly_shape(hourly: Floats, *, start_seconds: float) -> Floats:
    """(7, 24), Monday first, UTC: each hour's rate over that of its day's busiest hour, median over the days of the weekday.

    hourly: (n,) requests per second of each hour, oldest first, NaN = gap; start_seconds: of the first, a full hour. A weekday
    with fewer than two known days takes the median of all days; without any known day every hour is as busy as the busiest.
    ValueError for a negative rate.
    """
    hourly = np.asarray(hourly, dtype=np.float64)
    if (hourly < 0).any():
        raise ValueError(f"rates must be 0 or more requests/s, got {np.nanmin(hourly):g}")
    skip = int(round((-start_seconds % DAY_SECONDS) / HOUR_SECONDS))
    days = hourly[skip : skip + (hourly.size - skip) // HOURS * HOURS].reshape(-1, HOURS) if hourly.size > skip else np.zeros((0, HOURS))
    weekdays = weekday(grid_times(start_seconds + skip * HOUR_SECONDS, step_seconds=DAY_SECONDS, count=len(days)))
    known = np.isfinite(days).all(axis=1) & (np.nan_to_num(days).max(axis=1) > 0)
    shapes, weekdays = days[known] / days[known].max(axis=1, keepdims=True), weekdays[known]
    if len(shapes) == 0:
        return np.ones((WINDOW_DAYS, HOURS))
    every = np.median(shapes, axis=0)
    return np.stack([np.median(shapes[weekdays == d], axis=0) if (weekdays == d).sum() >= MIN_WEEKDAY_DAYS else every for d in range(7)])


def weekday(times: Floats) -> Ints:
    """0 = Monday, by UTC."""
    return np.asarray((times // DAY_SECONDS - MONDAY) % WINDOW_DAYS, dtype=np.int64)


def hours_from_days(demand: DailyDemand, *, shape: Floats) -> HourlyDemand:
    """Every hour of the days to come: the busiest hour's quantile times the hour's share of it. shape: (7, 24) of `weekly_shape`."""
    if shape.shape != (WINDOW_DAYS, HOURS):
        raise ValueError(f"needed a shape of 7 x 24, got {shape.shape}")
    factors = shape[weekday(demand.times)]
    return HourlyDemand(
        times=(demand.times[:, None] + np.arange(HOURS) * HOUR_SECONDS).ravel(),
        levels=demand.levels,
        quantiles=(demand.quantiles[:, :, None] * factors[None, :, :]).reshape(demand.levels.size, -1),
    )


def risk_of_waiting(demand: HourlyDemand, *, supply: Supply, table: BrokenTable) -> Floats:
    """(n,) SLO minutes each hour is expected to lose if nothing but `supply` comes: 60 x the broken share, weighed over the quantiles.

    table: by the mean rate of an hour, `table_hourly`; rates above its top break as the top does.
    """
    replicas = supply.least(demand.times, length_seconds=HOUR_SECONDS)
    shares = [broken_share(table, rates=row, replicas=replicas) for row in demand.quantiles]
    return np.asarray(MINUTES_PER_HOUR * np.einsum("q,qn->n", demand.masses(), np.stack(shares)))

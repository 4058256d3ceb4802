"""What a plan costs, and what doing nothing risks."""

from dataclasses import dataclass

import numpy as np

from capacity.analysis.plan_assumed import Assumed
from capacity.analysis.plan_curve import MONTH_HOURS
from capacity.analysis.plan_floor import by_hour_needs
from capacity.analysis.plan_inputs import PlanInputs
from capacity.analysis.plan_records import Cost, Risk
from capacity.analysis.plan_sized import HIGH, Sized
from capacity.analysis.plan_texts import date_words, minutes_words, replicas_words
from capacity.engine.grid import DAY_SECONDS, HOUR_SECONDS, Floats
from capacity.engine.sizing.runout import DailyDemand, Supply, hours_from_days, risk_of_waiting, weekday, weekly_shape

SHAPE_HOURS = 28 * 24


@dataclass(frozen=True)
class Priced:
    """An hour of one replica."""

    rate: float | None
    currency: str
    certainty: str
    sentence: str


def priced_of(inputs: PlanInputs, *, assumed: Assumed) -> Priced:
    hour = inputs.price.hour
    if assumed.hourly_rate is not None:
        words = f"{assumed.hourly_rate:,.2f} {hour.currency} an hour of a replica, assumed in this scenario."
        return Priced(assumed.hourly_rate, hour.currency, "estimated", words)
    rate = None if hour.hourly_rate is None else float(hour.hourly_rate)
    return Priced(rate, hour.currency if rate is not None else "", hour.certainty.value, hour.sentence)


def shape_of(inputs: PlanInputs) -> Floats:
    """(7, 24) an hour over its day's busiest."""
    values = inputs.hours.values[-SHAPE_HOURS:]
    return weekly_shape(values, start_seconds=inputs.hours.end - values.size * HOUR_SECONDS)


def replicas_planned(sized: Sized) -> Floats:
    """(days, 24) replicas the plan runs: the fixed number, by hour what each hour needs, else as many as are there or are needed."""
    line, curve, days = sized.line, sized.model.curve, sized.line.times.size
    if sized.assumed.replicas is not None:
        return np.full((days, 24), float(sized.assumed.replicas))
    high = line.at(HIGH)
    if sized.assumed.by_hour:
        shape = shape_of(sized.inputs)[weekday(line.times)]
        rates = high[:, None] * shape
        return np.array([[max(1, curve.replicas(float(rate))) for rate in day] for day in rates], dtype=np.float64)
    needs = np.array([max(1, curve.replicas(float(rate))) for rate in high], dtype=np.float64)
    return np.repeat(np.maximum(np.maximum.accumulate(needs), sized.replicas)[:, None], 24, axis=1)


def replicas_at_peak(sized: Sized) -> float:
    """Mean over a week at the horizon's peak."""
    if sized.assumed.replicas is not None:
        return float(sized.assumed.replicas)
    if sized.assumed.by_hour:
        return float(by_hour_needs(sized, shape=shape_of(sized.inputs)).mean())
    return float(sized.answer.needed)


def cost_section(sized: Sized, *, priced: Priced) -> Cost:
    now, plan = float(sized.inputs.replicas_now or 0.0), replicas_at_peak(sized)
    hours = float(replicas_planned(sized).sum())
    rate, today = priced.rate, known_rate(sized.inputs)
    return Cost(
        currency=priced.currency,
        hourly_rate=rate,
        certainty=priced.certainty,
        sentence=priced.sentence,
        now_per_month=None if today is None else now * today * MONTH_HOURS,
        plan_per_month=None if rate is None else plan * rate * MONTH_HOURS,
        horizon_total=None if rate is None else hours * rate,
        now_replica_hours=now * MONTH_HOURS,
        plan_replica_hours=plan * MONTH_HOURS,
    )


def known_rate(inputs: PlanInputs) -> float | None:
    rate = inputs.price.hour.hourly_rate
    return None if rate is None else float(rate)


def cost_alone(inputs: PlanInputs, *, priced: Priced) -> Cost | None:
    """Where nothing can be sized: what runs now."""
    now, today = inputs.replicas_now, known_rate(inputs)
    if not now:
        return None
    return Cost(
        currency=priced.currency,
        hourly_rate=priced.rate,
        certainty=priced.certainty,
        sentence=priced.sentence,
        now_per_month=None if today is None else now * today * MONTH_HOURS,
        plan_per_month=None,
        horizon_total=None,
        now_replica_hours=now * MONTH_HOURS,
        plan_replica_hours=now * MONTH_HOURS,
    )


def risk_section(sized: Sized) -> Risk:
    """Expected over the forecast's quantiles, hour by hour, with the replicas of now or of the scenario."""
    line = sized.line
    demand = hours_from_days(DailyDemand(line.times, line.levels, line.quantiles), shape=shape_of(sized.inputs))
    supply = Supply(line.times[:1], np.array([sized.replicas]))
    if sized.assumed.by_hour:
        supply = Supply(demand.times, replicas_planned(sized).ravel())
    by_hour = risk_of_waiting(demand, supply=supply, table=sized.model.hourly)
    lost = float(by_hour.sum())
    budget = (1.0 - sized.promised.objective_ratio) * line.times.size * 1440.0
    words = risk_words(sized, lost=lost, budget=budget, by_hour=by_hour)
    if sized.assumed.by_hour or sized.assumed.replicas is not None:
        return Risk(lost, budget, None, words, lost)
    ahead = Supply(demand.times, replicas_planned(sized).ravel())
    return Risk(lost, budget, None, words, float(risk_of_waiting(demand, supply=ahead, table=sized.model.hourly).sum()))


def risk_words(sized: Sized, *, lost: float, budget: float, by_hour: Floats) -> str:
    """Until the end of the last day: today counts, so that the days are one more than the horizon."""
    times, now = sized.line.times, sized.inputs.now
    start = float(times[0])
    words = (
        f"{'At most ' if sized.bound_only else ''}{minutes_words(lost)} expected until the end of {date_words(float(times[-1]), now=now)} "
        f"with {replicas_words(sized.replicas)}; the SLO allows {budget:,.0f}."
    )
    reached = np.flatnonzero(np.cumsum(by_hour) > budget)
    if reached.size:
        words = f"{words} The budget is used up by {date_words(start + float(reached[0]) // 24 * DAY_SECONDS, now=now)}."
    return words

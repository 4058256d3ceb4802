"""A deployment sized for its horizon: what it has, what it needs, and when the one is less than the other."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from capacity.analysis.plan_assumed import APPROVAL_DAYS, LEAD_DAYS, Assumed, Known, Planned, chosen
from capacity.analysis.plan_demand import DemandLine, touches
from capacity.analysis.plan_inputs import PlanInputs, Promised
from capacity.analysis.plan_model import Question, ServerModel
from capacity.analysis.plan_server import ServerBase
from capacity.engine.grid import DAY_SECONDS
from capacity.engine.sizing.runout import DailyDemand, OrderDate, RunOutDates, Supply, order_date, run_out

HIGH = 0.9
EVENT_DAYS = 7
MOST_KEPT = 36  # a table of some 100 kB each


def kept_or(kept: dict[object, Any], key: object, make: Callable[[], Any]) -> Any:
    """What was made of this before, else made now and kept; the oldest go where many were asked."""
    found = kept.get(key)
    if found is None:
        found = kept[key] = make()
        while len(kept) > MOST_KEPT:
            kept.pop(next(iter(kept)), None)
    return found


@dataclass(frozen=True)
class Times:
    """Days from the order to the replicas."""

    lead: Known
    approval: Known


def times_of(inputs: PlanInputs, *, assumed: Assumed) -> Times:
    lead = chosen(scenario=assumed.lead_time_days, hand=inputs.hand.lead_time_days, default=LEAD_DAYS)
    approval = chosen(scenario=assumed.approval_days, hand=inputs.hand.approval_days, default=APPROVAL_DAYS)
    return Times(lead, approval)


@dataclass(frozen=True)
class Answer:
    """Demand against capacity."""

    supply: Supply
    dates: RunOutDates
    plain: RunOutDates  # without the planned events
    order: OrderDate | None
    times: Times
    needed: int  # holds the high demand of the horizon


def replicas_held(inputs: PlanInputs, *, assumed: Assumed) -> float:
    """Those of the scenario, else those of now."""
    return float(assumed.replicas) if assumed.replicas is not None else float(inputs.replicas_now or 0.0)


def answer_of(inputs: PlanInputs, line: DemandLine, *, model: ServerModel, assumed: Assumed) -> Answer:
    demand = DailyDemand(line.times, line.levels, line.quantiles)
    needed = max(1, model.curve.replicas(high_peak(line)))
    most = most_replicas(inputs, needed=needed, assumed=assumed)
    supply = Supply(line.times[:1], np.array([most]))
    raises = np.array([any(starts(event, day=float(day)) for event in line.coming) for day in line.times])
    dates = run_out(demand, supply=supply, curve=model.curve, event_days=raises)
    plain = run_out(DailyDemand(line.times, line.levels, line.plain), supply=supply, curve=model.curve)
    times = times_of(inputs, assumed=assumed)
    order = None
    if dates.early_time is not None:
        order = order_date(dates.early_time, lead_days=times.lead.value, approval_days=times.approval.value, now=inputs.now)
    return Answer(supply, dates, plain, order, times, needed)


def starts(event: Planned, *, day: float) -> bool:
    """The first week of an event that raises demand: what outgrows capacity then is its doing."""
    raises = (event.factor or 1.0) > 1.0 or event.added > 0
    return raises and touches(event, day) and day < event.start + EVENT_DAYS * DAY_SECONDS


def most_replicas(inputs: PlanInputs, *, needed: int, assumed: Assumed) -> float:
    """What can run: the fixed number, or by hour as many as the plan needs, within the limit set by hand."""
    if not assumed.by_hour:
        return replicas_held(inputs, assumed=assumed)
    return float(min(needed, inputs.hand.most_replicas or needed))


def high_peak(line: DemandLine) -> float:
    """The highest day of the 90 % quantile."""
    return float(line.at(HIGH).max())


@dataclass(frozen=True)
class Sized:
    """All that the sections of a plan are made from."""

    inputs: PlanInputs
    assumed: Assumed
    base: ServerBase
    promised: Promised
    model: ServerModel
    line: DemandLine
    answer: Answer
    hourly_rate: float | None  # of a replica
    question: Question  # what the model answers
    kept: dict[object, Any]  # what does not change from one what-if to the next, by what it rests on

    @property
    def replicas(self) -> float:
        """Those that may run."""
        return float(self.answer.supply.replicas[0])

    @property
    def high(self) -> float:
        return max(high_peak(self.line), 1e-9)

    @property
    def bound_only(self) -> bool:
        """Is the rate held only what is known to hold, while nothing says that it is the limit?"""
        return self.model.bound_only and not self.inputs.saturated

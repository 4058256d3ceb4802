"""A plan from its inputs: demand, capacity, run-out, curve, floor, replay, cost and risk, each with why it is not there."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np

from capacity.analysis.plan_assumed import Assumed, assumed_of
from capacity.analysis.plan_capacity import capacity_section, run_out_section
from capacity.analysis.plan_curve import curve_section
from capacity.analysis.plan_demand import DemandBase, DemandLine, demand_base, demand_line, demand_section
from capacity.analysis.plan_floor import floor_section
from capacity.analysis.plan_inputs import PlanInputs, inputs_load
from capacity.analysis.plan_model import Gap, ServerModel, model_make, promise_words, question_of
from capacity.analysis.plan_money import cost_alone, cost_section, priced_of, risk_section
from capacity.analysis.plan_records import Demand, PlanResult
from capacity.analysis.plan_replay import replay_section
from capacity.analysis.plan_server import ServerBase, promised_now, server_base
from capacity.analysis.plan_sized import HIGH, Sized, answer_of, kept_or, times_of
from capacity.analysis.plan_words import UNKNOWN, assumptions_of, headline_of, server_assumptions, verdict_of
from capacity.engine.answer import NoAnswer
from capacity.models import Scenario
from monitoring.models import Deployment

SIZED = ("capacity", "run_out", "curve", "floor", "replayed", "risk")


@dataclass(frozen=True)
class Ground:
    """What all plans of the same inputs share: made once, kept for what-ifs."""

    inputs: PlanInputs
    demand: DemandBase | None
    server: ServerBase | NoAnswer
    digest: str  # of all that was read
    refusal: str = ""  # why there is no demand
    kept: dict[object, Any] = field(default_factory=dict)


def plan_make(deployment: Deployment, *, scenario: Scenario | None = None, now: datetime) -> PlanResult:
    """Nothing is stored. A scenario not saved yet may be given; its events count once it is saved."""
    events = list(scenario.planned_events.all()) if scenario is not None and scenario.pk else []
    return plan_of(ground_make(inputs_load(deployment, now=now)), assumed=assumed_of(scenario, events=events))


def ground_make(inputs: PlanInputs) -> Ground:
    digest = inputs.digest
    if (inputs.hours.values < 0).any():
        least = np.nanmin(inputs.hours.values)
        return Ground(inputs, None, NoAnswer("no_data", have=0, need=1), digest, f"Rates must be 0 or more requests/s, got {least:g}.")
    if not np.isfinite(inputs.hours.values).any():
        words = "No requests per second are stored of it: connect a source that has them, or import history."
        return Ground(inputs, None, NoAnswer("no_data", have=0, need=1), digest, words)
    return Ground(inputs, demand_base(inputs.hours, told=inputs.told, now=inputs.now), server_base(inputs), digest)


def plan_of(ground: Ground, *, assumed: Assumed) -> PlanResult:
    inputs = ground.inputs
    line = demand_line(ground.demand, assumed=assumed, planned=inputs.planned) if ground.demand else None
    if line is None or isinstance(line, NoAnswer) or ground.demand is None:
        why = ground.refusal or (line.sentence() if isinstance(line, NoAnswer) else "")
        return without_demand(inputs, assumed=assumed, why=why)
    demand = demand_section(ground.demand, line, assumed=assumed)
    sized = sized_of(ground, line, assumed=assumed)
    if isinstance(sized, Gap):
        return without_size(inputs, demand, assumed=assumed, why=sized.sentence)
    return whole(sized, demand, base=ground.demand)


def sized_of(ground: Ground, line: DemandLine, *, assumed: Assumed) -> Sized | Gap:
    """The model of a replica and the answer, or why it cannot be sized."""
    inputs, server = ground.inputs, ground.server
    promised = promised_now(inputs, assumed=assumed)
    if isinstance(server, NoAnswer) or not line.quantiles.any():
        return Gap("No request came in the last four weeks: there is nothing to size.")
    if promised is None:
        return Gap(f"No latency SLO is set, so no number of replicas can be told to hold it. {inputs.suggestion}".strip())
    if not (inputs.replicas_now or assumed.replicas):
        return Gap("How many replicas run is not known: neither ready replicas nor any replica was seen.")
    question = question_of(inputs, promised=promised, assumed=assumed, high=float(line.at(HIGH).max()))
    model: ServerModel | Gap = kept_or(ground.kept, question, lambda: model_make(server, inputs, question=question))
    if isinstance(model, Gap):
        return model
    if not model.curve.rates[-1] > 0:
        return Gap(
            f"No number of replicas can hold the SLO, {promise_words(promised)}, at any rate: the threshold lies too near the time the "
            "work itself takes. A longer threshold would do, or a faster replica."
        )
    answer = answer_of(inputs, line, model=model, assumed=assumed)
    rate = priced_of(inputs, assumed=assumed).rate
    return Sized(inputs, assumed, server, promised, model, line, answer, rate, question, ground.kept)


def whole(sized: Sized, demand: Demand, *, base: DemandBase) -> PlanResult:
    inputs, assumed = sized.inputs, sized.assumed
    priced = priced_of(inputs, assumed=assumed)
    run_out = run_out_section(sized, growth=demand.growth_per_week)
    floor, replayed = floor_section(sized, base=base), replay_section(sized, base=base)
    gaps = {name: each.sentence for name, each in (("floor", floor), ("replayed", replayed)) if isinstance(each, Gap)}
    common = assumptions_of(inputs, demand, assumed=assumed, priced=priced, times=sized.answer.times)
    return PlanResult(
        made_at=inputs.now,
        as_of=inputs.as_of,
        horizon_days=assumed.horizon_days,
        headline=headline_of(sized, run_out),
        verdict=verdict_of(sized),
        demand=demand,
        capacity=capacity_section(sized),
        run_out=run_out,
        curve=curve_section(sized),
        floor=None if isinstance(floor, Gap) else floor,
        replayed=None if isinstance(replayed, Gap) else replayed,
        cost=cost_section(sized, priced=priced),
        risk=risk_section(sized),
        saturation=inputs.saturation,
        assumptions=(*common, *server_assumptions(inputs, sized.base, sized=sized)),
        gaps={**inputs.gaps, **gaps, **money_gaps(priced.rate, priced.sentence), **months_gap(sized)},
    )


def cost_gap(inputs: PlanInputs) -> dict[str, str]:
    return {} if inputs.replicas_now else {"cost": "How many replicas run is not known, so nothing can be priced."}


def money_gaps(rate: float | None, sentence: str) -> dict[str, str]:
    return {} if rate is not None else {"money": sentence}


def months_gap(sized: Sized) -> dict[str, str]:
    months = sized.line.sources[1]
    if not isinstance(months, NoAnswer):
        return {}
    days = sized.line.times.size
    ahead = "today" if days == 1 else f"{days} days ahead"
    return {"horizon": f"Only {ahead}: months need 4 weeks of history. {months.sentence()}"}


def without_size(inputs: PlanInputs, demand: Demand, *, assumed: Assumed, why: str) -> PlanResult:
    """Demand and cost stand; all that rests on a queue says why it is not there."""
    priced = priced_of(inputs, assumed=assumed)
    return PlanResult(
        made_at=inputs.now,
        as_of=inputs.as_of,
        horizon_days=assumed.horizon_days,
        headline=why,
        verdict=UNKNOWN,
        demand=demand,
        cost=cost_alone(inputs, priced=priced),
        saturation=inputs.saturation,
        assumptions=assumptions_of(inputs, demand, assumed=assumed, priced=priced, times=times_of(inputs, assumed=assumed)),
        gaps={**inputs.gaps, **dict.fromkeys(SIZED, why), **cost_gap(inputs), **money_gaps(priced.rate, priced.sentence)},
    )


def without_demand(inputs: PlanInputs, *, assumed: Assumed, why: str) -> PlanResult:
    priced = priced_of(inputs, assumed=assumed)
    made = PlanResult(
        made_at=inputs.now,
        as_of=inputs.as_of,
        horizon_days=assumed.horizon_days,
        headline=why,
        verdict=UNKNOWN,
        cost=cost_alone(inputs, priced=priced),
        saturation=inputs.saturation,
        assumptions=assumptions_of(inputs, None, assumed=assumed, priced=priced, times=times_of(inputs, assumed=assumed)),
    )
    return replace(
        made, gaps={**inputs.gaps, **dict.fromkeys(("demand", *SIZED), why), **cost_gap(inputs), **money_gaps(priced.rate, priced.sentence)}
    )

"""Plans of a group or a cluster: what its members need, in accelerators, against what is there and what arrives."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from capacity.analysis.plan_assumed import APPROVAL_DAYS, LEAD_DAYS, Assumed, assumed_of, chosen
from capacity.analysis.plan_capacity import GROWS
from capacity.analysis.plan_demand import demand_line
from capacity.analysis.plan_group_words import group_assumptions, group_headline, out_words
from capacity.analysis.plan_make import Ground, sized_of
from capacity.analysis.plan_model import Gap
from capacity.analysis.plan_money import cost_section, priced_of, risk_section
from capacity.analysis.plan_records import Capacity, Cost, Demand, Holding, PlanResult, Risk, RunOut, Step
from capacity.analysis.plan_sized import Sized, Times
from capacity.analysis.plan_stock import ModelStock, stock_load
from capacity.analysis.plan_texts import replicas_words
from capacity.analysis.plan_whatif import ground_kept
from capacity.engine.answer import NoAnswer
from capacity.engine.grid import DAY_SECONDS, Floats, grid_times
from capacity.engine.sizing.hold import HeldCurve
from capacity.engine.sizing.runout import DailyDemand, OrderDate, RunOutDates, Supply, order_date, run_out
from capacity.models import Scenario
from monitoring.models import Cluster, Deployment, DeploymentState, WorkloadKind

UNIT = "accelerators"
OF_MEMBERS = "A group has none of its own: see the plans of its members."


@dataclass(frozen=True)
class Member:
    """A deployment of the group, sized, or why it could not be."""

    deployment: Deployment
    ground: Ground
    sized: Sized | Gap

    @property
    def each(self) -> float:
        """Accelerators of a replica."""
        return self.ground.inputs.accelerators_each or 0.0

    @property
    def model(self) -> str:
        return self.ground.inputs.accelerator

    def needs(self) -> Floats:
        """(levels, days) accelerators."""
        assert isinstance(self.sized, Sized)
        curve = self.sized.model.curve
        needs = np.array([[max(1, curve.replicas(float(rate))) for rate in row] for row in self.sized.line.quantiles], dtype=np.float64)
        # Nothing shows that it needs more than it has: counted with what it has, and said so.
        most = self.sized.replicas if self.sized.bound_only else np.inf
        return np.asarray(np.minimum(needs, most) * self.each)

    @property
    def left_out(self) -> str:
        """Why it is not counted, or not wholly."""
        if isinstance(self.sized, Gap):
            return self.sized.sentence
        if self.sized.bound_only and self.sized.answer.dates.early_time is not None:
            return f"Where its {replicas_words(self.sized.replicas)} break is not known, so it counts with no more than these."
        return ""


@dataclass(frozen=True)
class ModelPlan:
    """One model of accelerators."""

    stock: ModelStock
    members: tuple[Member, ...]
    demand: DailyDemand
    supply: Supply
    dates: RunOutDates

    @property
    def fullness(self) -> float:
        """The high demand over what is there at the end."""
        return float(self.demand.at(0.9).max()) / max(float(self.supply.replicas[-1]), 1e-9)


def plan_group(deployments: Sequence[Deployment], *, scenario: Scenario | None = None, now: datetime) -> PlanResult:
    """Demand of each of its accelerator models is the sum of its members' needs; the result is of the model that runs out first."""
    events = list(scenario.planned_events.all()) if scenario is not None and scenario.pk else []
    assumed = replace(assumed_of(scenario, events=events), replicas=None, by_hour=False, slo_threshold_seconds=None, hourly_rate=None)
    members = [member_of(deployment, assumed=assumed, now=now) for deployment in deployments]
    plans = models_planned(members, assumed=assumed, now=now)
    if not plans:
        return nothing(members, assumed=assumed, now=now)
    first = min(plans, key=lambda plan: (plan.dates.early_time or np.inf, plan.dates.median_time or np.inf, -plan.fullness))
    return result_of(first, plans, members=members, assumed=assumed, now=now)


def plan_cluster(cluster: Cluster, *, scenario: Scenario | None = None, now: datetime) -> PlanResult:
    """All that serves in it."""
    serving = Deployment.objects.filter(cluster=cluster, state=DeploymentState.ACTIVE, workload_kind=WorkloadKind.SERVING)
    return plan_group(list(serving.select_related("cluster", "team")), scenario=scenario, now=now)


def plan_group_make(scenario: Scenario, *, now: datetime) -> PlanResult:
    return plan_group(list(scenario.members.select_related("cluster", "team")), scenario=scenario, now=now)


def plan_cluster_make(scenario: Scenario, *, now: datetime) -> PlanResult:
    if scenario.cluster is None:
        raise ValueError(f"needed a scenario of a cluster, got one of a {scenario.scope}")
    return plan_cluster(scenario.cluster, scenario=scenario, now=now)


def member_of(deployment: Deployment, *, assumed: Assumed, now: datetime) -> Member:
    ground = ground_kept(deployment, now=now)
    line = demand_line(ground.demand, assumed=assumed, planned=ground.inputs.planned) if ground.demand else None
    if line is None or isinstance(line, NoAnswer):
        return Member(deployment, ground, Gap(ground.refusal or (line.sentence() if line else "Its demand is not known.")))
    sized = sized_of(ground, line, assumed=assumed)
    if isinstance(sized, Sized) and not ground.inputs.accelerators_each:
        return Member(deployment, ground, Gap("It is not known to hold accelerators."))
    return Member(deployment, ground, sized)


def models_planned(members: Sequence[Member], *, assumed: Assumed, now: datetime) -> list[ModelPlan]:
    by_model: dict[str, list[Member]] = defaultdict(list)
    for member in members:
        if isinstance(member.sized, Sized):
            by_model[member.model].append(member)
    return [model_plan(name, tuple(own), assumed=assumed, now=now) for name, own in sorted(by_model.items())]


def model_plan(name: str, members: tuple[Member, ...], *, assumed: Assumed, now: datetime) -> ModelPlan:
    """Quantiles of the members are added level by level, as if all had their high days together: an upper bound, on the safe side."""
    days = min(member.needs().shape[1] for member in members)
    total = np.sum([member.needs()[:, :days] for member in members], axis=0)
    line = members[0].sized.line  # type: ignore[union-attr]  # models_planned takes the sized only
    stock = stock_load(name, [member.deployment for member in members], now=now)
    demand = DailyDemand(line.times[:days], line.levels, total)
    supply = Supply(np.array([step.time for step in stock.steps]), np.array([step.accelerators for step in stock.steps]))
    return ModelPlan(stock, members, demand, supply, run_out(demand, supply=supply, curve=identity(total, supply)))


def identity(total: Floats, supply: Supply) -> HeldCurve:
    """An accelerator holds an accelerator."""
    most = int(np.ceil(max(float(total.max()), float(supply.replicas.max()), 1.0))) + 1
    return HeldCurve(np.arange(most + 1.0))


def times_now(assumed: Assumed) -> Times:
    lead = chosen(scenario=assumed.lead_time_days, hand=None, default=LEAD_DAYS)
    return Times(lead, chosen(scenario=assumed.approval_days, hand=None, default=APPROVAL_DAYS))


def result_of(first: ModelPlan, plans: Sequence[ModelPlan], *, members: Sequence[Member], assumed: Assumed, now: datetime) -> PlanResult:
    times = times_now(assumed)
    seconds = now.timestamp()
    order = None
    if first.dates.early_time is not None:
        order = order_date(first.dates.early_time, lead_days=times.lead.value, approval_days=times.approval.value, now=seconds)
    out = run_out_of(first, order=order, times=times, now=seconds)
    return PlanResult(
        made_at=seconds,
        as_of=max((member.ground.inputs.as_of or 0.0 for member in members), default=None) or None,
        horizon_days=assumed.horizon_days,
        headline=group_headline(first.stock.model, out=out, days=first.demand.times.size - 1, now=seconds),
        verdict="holds" if first.dates.median_time is None else "breaks",
        demand=demand_of(first, now=seconds),
        capacity=capacity_of(first, now=seconds),
        run_out=out,
        cost=cost_of(members, assumed=assumed),
        risk=risk_of(members),
        assumptions=group_assumptions(plans, names=[member.deployment.name for member in members], times=times),
        gaps={**dict.fromkeys(("curve", "floor", "replayed"), OF_MEMBERS), **unsized(members)},
        unit=UNIT,
    )


def run_out_of(first: ModelPlan, *, order: OrderDate | None, times: Times, now: float) -> RunOut:
    dates = first.dates
    growth = growth_of(first)
    return RunOut(
        median_time=dates.median_time,
        early_time=dates.early_time,
        without_events_time=None,
        order_time=order.time if order else None,
        lead_time_days=times.lead.value,
        approval_days=times.approval.value,
        replicas_to_order=dates.replicas_to_order,
        cause="growth" if dates.early_time is not None and growth is not None and growth > GROWS else "",
        sentence=out_words(first.stock, dates=dates, now=now),
    )


def growth_of(first: ModelPlan) -> float | None:
    median = first.demand.at(0.5)
    weeks = median[: min(median.size, 28) // 7 * 7].reshape(-1, 7).mean(axis=1) if median.size >= 14 else np.zeros(0)
    return float((weeks[-1] / weeks[0]) ** (1.0 / (weeks.size - 1)) - 1.0) if weeks.size and weeks[0] > 0 else None


def demand_of(first: ModelPlan, *, now: float) -> Demand:
    """In accelerators: what members hold day by day, and what they need."""
    demand, median = first.demand, first.demand.at(0.5)
    place = int(np.argmax(median))
    times, held = held_past(first.members, now=now)
    return Demand(
        past_times=tuple(times.tolist()),
        past_rates=tuple(None if not np.isfinite(value) else float(value) for value in held),
        times=tuple(demand.times.tolist()),
        levels=tuple(demand.levels.tolist()),
        quantiles=tuple(tuple(row) for row in np.round(demand.quantiles, 3).tolist()),
        plain_median=tuple(np.round(median, 3).tolist()),
        growth_per_week=growth_of(first),
        peak_time=float(demand.times[place]),
        peak_low=float(demand.at(0.1)[place]),
        peak=float(median[place]),
        peak_high=float(demand.at(0.9)[place]),
        error_ratio=None,
        naive_error_ratio=None,
        coverage_80=None,
        history_days=float(max(member.ground.inputs.hours.values.size for member in first.members) / 24.0),
        method=(
            f"Accelerators ({first.stock.model}) that {len(first.members)} deployments need in the busiest hour of each day. Quantiles are "
            "added as if all had their high days together: an upper bound."
        ),
        flags=("sum",),
    )


def held_past(members: Sequence[Member], *, now: float) -> tuple[Floats, Floats]:
    """Accelerators held by the members each day of the last four weeks, at most; NaN where one is not known."""
    today = now // DAY_SECONDS * DAY_SECONDS
    times = grid_times(today - 28 * DAY_SECONDS, step_seconds=DAY_SECONDS, count=28)
    total = np.zeros(times.size)
    for member in members:
        steps = member.ground.inputs.steps
        day = np.floor((steps.times - times[0]) / DAY_SECONDS).astype(np.int64)
        replicas = steps["replicas_ready"]
        total += np.array([highest(replicas[day == each]) for each in range(times.size)]) * member.each
    return times, total


def highest(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.max()) if known.size else float("nan")


def capacity_of(first: ModelPlan, *, now: float) -> Capacity:
    stock = first.stock
    have = float(first.supply.replicas[0])
    steps = tuple(Step(step.time, step.accelerators, step.accelerators, step.label) for step in stock.steps)
    ordered, early = first.dates.replicas_to_order, first.dates.early_time
    planned: tuple[Step, ...] = ()
    if ordered and early is not None:
        total = float(first.supply.replicas[-1]) + ordered
        planned = (Step(max(early, now), total, total, f"{ordered} {UNIT} more"),)
    return Capacity(
        replicas_now=stock.held,
        now=Holding(have, have, None, None),
        past=(),
        steps=steps,
        basis="measured",
        sentence=stock.sentence,
        headroom_sentence="What a replica holds is told in the plan of each member.",
        planned=planned,
    )


def cost_of(members: Sequence[Member], *, assumed: Assumed) -> Cost | None:
    """The sum over members that could be sized and priced; those without a price are named and no sum is told."""
    sized = [member.sized for member in members if isinstance(member.sized, Sized)]
    costs = [cost_section(each, priced=priced_of(each.inputs, assumed=assumed)) for each in sized]
    if not costs:
        return None
    without = [each.inputs.name for each, cost in zip(sized, costs, strict=True) if cost.hourly_rate is None]
    known = not without
    words = f"The sum of {len(costs)} members." if known else f"No price is known of {', '.join(without)}: only replica-hours are told."
    return Cost(
        currency=costs[0].currency if known else "",
        hourly_rate=None,
        certainty="unknown" if not known else "estimated" if any(cost.certainty != "measured" for cost in costs) else "measured",
        sentence=words,
        now_per_month=sum(cost.now_per_month or 0.0 for cost in costs) if known else None,
        plan_per_month=sum(cost.plan_per_month or 0.0 for cost in costs) if known else None,
        horizon_total=sum(cost.horizon_total or 0.0 for cost in costs) if known else None,
        now_replica_hours=sum(cost.now_replica_hours for cost in costs),
        plan_replica_hours=sum(cost.plan_replica_hours for cost in costs),
    )


def risk_of(members: Sequence[Member]) -> Risk | None:
    risks = [risk_section(member.sized) for member in members if isinstance(member.sized, Sized)]
    if not risks:
        return None
    lost, budget = sum(risk.lost_minutes for risk in risks), sum(risk.budget_minutes or 0.0 for risk in risks)
    words = f"{lost:,.0f} SLO minutes expected over {len(risks)} members with the replicas of now; their SLOs allow {budget:,.0f}."
    return Risk(lost, budget, None, words)


def unsized(members: Sequence[Member]) -> dict[str, str]:
    """Those left out, with why."""
    left = {member.deployment.name: member.left_out for member in members if member.left_out}
    return {"members": " ".join(f"{name}: {why}" for name, why in left.items())} if left else {}


def nothing(members: Sequence[Member], *, assumed: Assumed, now: datetime) -> PlanResult:
    why = "None of its deployments could be sized in accelerators." if members else "There is no deployment in it that serves requests."
    names = ("demand", "capacity", "run_out", "curve", "floor", "replayed", "cost", "risk")
    return PlanResult(
        made_at=now.astimezone(UTC).timestamp(),
        as_of=None,
        horizon_days=assumed.horizon_days,
        headline=why,
        verdict="unknown",
        gaps={**dict.fromkeys(names, why), **unsized(members)},
        unit=UNIT,
    )

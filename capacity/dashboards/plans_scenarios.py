"""Scenarios side by side: doing nothing, the plan, what is saved, and what the address asks; the cheapest that holds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import isclose

from capacity.analysis.plan_curve import MONTH_HOURS
from capacity.analysis.plan_records import PlanResult
from capacity.dashboards.plans_assumed import Assumed
from capacity.dashboards.plans_load import result_of
from capacity.dashboards.plans_parts import Answer, point_of
from capacity.dashboards.plans_rows import base_run, plan_url
from capacity.dashboards.plans_words import (
    amount,
    day_words,
    days_words,
    money,
    per_month,
    percent_signed,
    rate,
    seconds_words,
    start_words,
    unit_of,
)
from capacity.models import Scenario

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class ScenarioRow:
    letter: str
    name: str
    note: str
    hardware: str
    cost: str
    cost_value: float | None
    unit: str
    holds: str
    runs_out: str
    lost: str
    over: bool
    state: str  # of the status shape
    word: str
    basis: str
    url: str = ""
    pk: int | None = None  # of a saved one
    chosen: bool = False
    current: bool = False


@dataclass(frozen=True)
class Figures:
    """What one scenario comes to, in plain values."""

    hardware: str
    cost: float | None
    hours: float | None  # replica-hours a month, where nothing has a price
    rate: float | None
    out: float | None  # Unix seconds; None: not within the horizon
    lost: float | None
    budget: float | None
    holds: bool | None  # None: nobody can tell


def do_nothing(result: PlanResult) -> Figures:
    """What runs now, until the end of the horizon."""
    capacity, out, risk, cost = result.capacity, result.run_out, result.risk, result.cost
    return Figures(
        hardware=f"{amount(capacity.now.replicas)} {unit_of(capacity.now.replicas, result.unit)}" if capacity else "",
        cost=cost.now_per_month if cost else None,
        hours=cost.now_replica_hours if cost else None,
        rate=capacity.now.rate if capacity else None,
        out=out.median_time if out else None,
        lost=risk.lost_minutes if risk else None,
        budget=risk.budget_minutes if risk else None,
        holds=out.median_time is None if out is not None and out.known else None,
    )


def the_plan(result: PlanResult) -> Figures | None:
    """The needed number, or by hour up to it with the mean of the bill; None where none could be found."""
    curve, cost, capacity, risk = result.curve, result.cost, result.capacity, result.risk
    if curve is None:
        return None
    needed = f"{curve.needed} {unit_of(curve.needed, result.unit)}"
    # Today's floor is no month of the peak: the number beside a bill is the one that was billed.
    mean = cost.plan_replica_hours / MONTH_HOURS if cost else float(curve.needed)
    point = point_of(curve.points, curve.needed)
    planned = capacity.planned[-1].rate if capacity and capacity.planned else None
    return Figures(
        hardware=needed if isclose(mean, curve.needed) else f"up to {needed}, {amount(mean)} on average",
        cost=cost.plan_per_month if cost else None,
        hours=cost.plan_replica_hours if cost else None,
        rate=planned,
        out=None,
        lost=risk.plan_lost_minutes if risk else None,
        budget=risk.budget_minutes if risk else None,
        holds=point.holds if point else None,
    )


def scenario_rows(assumed: Assumed, result: PlanResult, *, now: datetime) -> list[ScenarioRow]:
    """Of a deployment, with the plan of things as they are first; two queries."""
    deployment = assumed.subject.deployment
    if deployment is None:
        return []
    is_base = assumed.saved is None and not assumed.own
    run = None if is_base else base_run(deployment)
    base = result if is_base else result_of(run)
    days = result.horizon_days
    found: list[tuple[str, str, Figures, str, Scenario | None, bool, str]] = []
    if base is not None:
        home, over = plan_url(assumed.subject), over_words(base.horizon_days, days)
        found.append(("Do nothing", over.removeprefix(", "), do_nothing(base), home, None, False, base.verdict))
        if (planned := the_plan(base)) is not None:
            found.append(("The plan", f"as demand asks for it{over}", planned, home, None, is_base, base.verdict))
    for scenario in Scenario.objects.filter(deployment=deployment).select_related("plan"):
        figures = figures_of(scenario)
        current = assumed.saved is not None and scenario.pk == assumed.saved.pk and not assumed.own
        note = assumed_words(scenario) + over_words(scenario.horizon_days, days)
        found.append((scenario.name, note, figures, plan_url(assumed.subject, scenario), scenario, current, ""))
    if assumed.own:
        found.append(("This what-if", "not saved", figures_scenario(assumed.values, result), assumed.query, None, True, ""))
    basis = (base or result).capacity
    return [
        scenario_row(
            LETTERS[i % 26] * (1 + i // 26), each, unit=per_month(currency_of(base or result)), basis=basis.basis if basis else "", now=now
        )
        for i, each in enumerate(found)
    ]


def over_words(days: int, shown: int) -> str:
    """Minutes lost are those of a scenario's own horizon: said where it is another than the page's."""
    return f", over {days_words(days)}" if days != shown else ""


def figures_of(scenario: Scenario) -> Figures:
    result = result_of(getattr(scenario, "plan", None))
    return figures_scenario(scenario, result) if result is not None else Figures("", None, None, None, None, None, None, None)


def figures_scenario(scenario: Scenario, result: PlanResult) -> Figures:
    """Run-out, minutes lost and cost of what the scenario has: a fixed number, a floor by hour, or as many as run now."""
    figures = do_nothing(result)
    cost = result.cost
    if cost is not None and (scenario.by_hour or scenario.replicas is not None):
        figures = replace(figures, cost=cost.plan_per_month, hours=cost.plan_replica_hours)
    if scenario.by_hour and (planned := the_plan(result)) is not None:
        figures = replace(figures, hardware=planned.hardware)
    return replace(figures, hardware=hardware_words(figures.hardware, scenario))


def hardware_words(text: str, scenario: Scenario) -> str:
    return f"{text} on {scenario.hardware}" if scenario.hardware else text


def currency_of(result: PlanResult) -> str:
    return result.cost.currency if result.cost else ""


def scenario_row(
    letter: str, found: tuple[str, str, Figures, str, Scenario | None, bool, str], *, unit: str, basis: str, now: datetime
) -> ScenarioRow:
    name, note, figures, url, scenario, current, _ = found
    state, word = ("no_data", "Cannot tell") if figures.holds is None else ("ok", "Holds") if figures.holds else ("breaks", "Runs out")
    priced = not unit.startswith("replica")
    value = figures.cost if priced else figures.hours
    out = "" if figures.holds is None else "not in sight" if figures.out is None else day_words(figures.out, now=now)
    return ScenarioRow(
        letter=letter,
        name=name,
        note=note,
        hardware=figures.hardware,
        cost=money(value),
        cost_value=value,
        unit=unit,
        holds=rate(figures.rate),
        runs_out=out,
        lost=amount(figures.lost, whole=True),
        over=figures.lost is not None and figures.budget is not None and figures.lost > figures.budget,
        state=state,
        word=word,
        basis=basis if figures.holds is not None else "no plan yet" if scenario is not None else "",
        url=url,
        pk=scenario.pk if scenario is not None else None,
        chosen=scenario.chosen if scenario is not None else False,
        current=current,
    )


def scenarios_answer(rows: Sequence[ScenarioRow]) -> Answer:
    holding = [row for row in rows if row.state == "ok" and row.cost_value is not None]
    if not holding:
        return Answer("None yet.", "No scenario holds until the end of the horizon, or none could be computed.") if rows else Answer("", "")
    best = min(holding, key=lambda row: row.cost_value or 0.0)
    others = [row for row in holding if row is not best]
    second = min(others, key=lambda row: row.cost_value or 0.0) if others else None
    text = f"{best.name}, {best.hardware}." if best.hardware else f"{best.name}."
    saved = (second.cost_value or 0.0) - (best.cost_value or 0.0) if second is not None else 0.0
    if second is not None and saved > 0.005 * (best.cost_value or 0.0):
        text += f" It costs {money(saved)} {best.unit} less than {second.letter}."
    return Answer(f"{best.letter}:", text)


def assumed_words(scenario: Scenario) -> str:
    """What it assumes beside how things are, in one line."""
    parts = [
        f"growth {percent_signed(scenario.growth_per_month)} a month" if scenario.growth_per_month is not None else "",
        f"{scenario.replicas} fixed" if scenario.replicas is not None else "",
        "floor by hour" if scenario.by_hour else "",
        f"SLO {seconds_words(scenario.slo_threshold_seconds)}" if scenario.slo_threshold_seconds is not None else "",
        f"starts in {start_words(scenario.startup_seconds)}" if scenario.startup_seconds is not None else "",
        f"lead time {days_words(scenario.lead_time_days)}" if scenario.lead_time_days is not None else "",
        f"approval {days_words(scenario.approval_days)}" if scenario.approval_days is not None else "",
        f"{scenario.speed_ratio:g} times as fast" if scenario.speed_ratio != 1.0 else "",
        f"{scenario.hourly_rate.normalize():f} an hour" if scenario.hourly_rate is not None else "",
    ]
    return ", ".join(part for part in parts if part) or "as things are"

"""What a plan page shows beside its charts: tiles, answers under the questions, rows of the backtest, what is missing."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils.safestring import SafeString

from capacity.analysis.plan_records import CurvePoint, PlanResult, RunOut
from capacity.analysis.plan_store import needed_of
from capacity.dashboards.plans_words import (
    SOON_DAYS,
    amount,
    dash,
    day_words,
    days_until,
    days_words,
    money,
    per_month,
    percent_signed,
    percentile_words,
    rate,
    seconds_words,
    signed,
    unit_of,
    until_words,
    with_unit,
)
from capacity.dashboards.words import figure as shown

MONTH_DAYS = 30.0
LEAST_HOURS_HIGH = 10  # px of the bar of an hour without a floor


@dataclass(frozen=True)
class PlanTile:
    name: str
    value: SafeString
    note: str
    tone: str = ""
    title: str = ""
    url: str = ""


def plan_tiles(result: PlanResult, *, now: datetime) -> list[PlanTile]:
    """Six, always in this order; what is not known has a dash and says why."""
    return [
        run_out_tile(result, now=now),
        order_tile(result, now=now),
        peak_tile(result, now=now),
        needed_tile(result),
        cost_tile(result),
        error_tile(result),
    ]


def missing_tile(name: str, result: PlanResult, section: str, *, url: str = "") -> PlanTile:
    why = result.gaps.get(section, "not known yet")
    return PlanTile(name, dash(), "see above" if why == result.headline else why, title=why, url=url)


def run_out_tone(out: RunOut, *, now: datetime) -> str:
    """Red where it runs out before what is ordered now could come; amber within a month, or where the early date is."""
    if out.median_time is None:
        return "warn" if out.early_time is not None and days_until(out.early_time, now=now) <= MONTH_DAYS else ""
    lead = out.lead_time_days + out.approval_days + SOON_DAYS
    return "crit" if days_until(out.median_time, now=now) <= lead else "warn" if days_until(out.median_time, now=now) <= MONTH_DAYS else ""


def run_out_tile(result: PlanResult, *, now: datetime) -> PlanTile:
    out = result.run_out
    if out is None:
        return missing_tile("Runs out", result, "run_out")
    if not out.known:
        return PlanTile("Runs out", with_unit("–", "cannot be told"), "where these replicas break was never seen")
    if out.median_time is None:
        early = (
            f"p90: as early as {day_words(out.early_time, now=now)}" if out.early_time is not None else "nor for 9 in 10 courses of demand"
        )
        return PlanTile("Runs out", with_unit("not", f"in {days_words(result.horizon_days)}"), early, run_out_tone(out, now=now))
    value = with_unit(day_words(out.median_time, now=now), until_words(days_until(out.median_time, now=now)).removeprefix("in "))
    parts = [f"p90: {day_words(out.early_time, now=now)}"] if out.early_time is not None else []
    if out.without_events_time != out.median_time and has_events(result):
        plain = (
            f"not in {days_words(result.horizon_days)}" if out.without_events_time is None else day_words(out.without_events_time, now=now)
        )
        parts.append(f"without {out.cause or 'the events'}: {plain}")
    return PlanTile("Runs out", value, "; ".join(parts), run_out_tone(out, now=now))


def order_tile(result: PlanResult, *, now: datetime) -> PlanTile:
    out = result.run_out
    if out is None:
        return missing_tile("Order by", result, "run_out")
    lead = f"lead time {days_words(out.lead_time_days)}" + (f" and {days_words(out.approval_days)} to approve" if out.approval_days else "")
    if out.order_time is None:
        return PlanTile("Order by", with_unit("nothing", "to order"), lead)
    days = days_until(out.order_time, now=now)
    tone = "crit" if days < 0 else "warn" if days <= SOON_DAYS else ""
    value = with_unit(day_words(out.order_time, now=now), until_words(days).removeprefix("in "))
    return PlanTile("Order by", value, lead, tone)


def peak_tile(result: PlanResult, *, now: datetime) -> PlanTile:
    demand = result.demand
    if demand is None:
        return missing_tile("Peak demand", result, "demand")
    note = f"80 %: {rate(demand.peak_low)} to {rate(demand.peak_high)}"
    return PlanTile(f"Peak demand, {day_words(demand.peak_time, now=now)}", with_unit(rate(demand.peak), demand_unit(result)), note)


def needed_tile(result: PlanResult) -> PlanTile:
    curve, demand = result.curve, result.demand
    needed = needed_of(result)
    if curve is None and demand is not None and needed is not None:  # of a group: demand is counted in what is needed
        note = f"all high days (90 %) together; by the median {amount(math.ceil(demand.peak))}"
        return PlanTile("Needed at that peak", with_unit(amount(needed), unit_of(needed, result.unit)), note)
    if curve is None:
        return missing_tile("Needed at that peak", result, "curve")
    point = point_of(curve.points, curve.needed)
    word = percentile_words(curve.slo_percentile)
    note = f"{word} {seconds_words(point.promised)}, SLO {seconds_words(curve.slo_seconds)}" if point else ""
    title = f"At {rate(curve.peak_rate)} req/s, the highest 90 % quantile of the horizon."
    return PlanTile("Needed at that peak", with_unit(amount(curve.needed), unit_of(curve.needed, result.unit)), note, title=title)


def cost_tile(result: PlanResult) -> PlanTile:
    cost = result.cost
    if cost is None:
        return missing_tile("Cost of the plan", result, "cost")
    if cost.plan_per_month is None or not cost.currency:
        more = f"{change_on(cost.plan_replica_hours, cost.now_replica_hours)}; no price"
        return PlanTile("Size of the plan", with_unit(money(cost.plan_replica_hours), "replica-h/month"), more, title=cost.sentence)
    more = change_on(cost.plan_per_month, cost.now_per_month) if cost.now_per_month is not None else cost.sentence
    if cost.certainty == "estimated":
        more += ", list price"
    return PlanTile("Cost of the plan", with_unit(money(cost.plan_per_month), per_month(cost.currency)), more, title=cost.sentence)


def change_on(plan: float, now: float) -> str:
    return "as today" if abs(plan - now) < 0.5 else f"{signed(plan - now)} on today"


def error_tile(result: PlanResult) -> PlanTile:
    demand = result.demand
    if demand is not None and demand.error_ratio is None and result.unit != "replicas":
        return PlanTile("Forecast error", dash(), "told in the plan of each member")
    if demand is None or demand.error_ratio is None:
        return missing_tile("Forecast error", result, "demand" if demand is None else "forecast_error")
    naive = f"naive {shown(demand.naive_error_ratio, 'ratio')}" if demand.naive_error_ratio is not None else ""
    held = f"80 % band held {shown(demand.coverage_80, 'ratio')}" if demand.coverage_80 is not None else ""
    value = shown(demand.error_ratio, "ratio")
    return PlanTile("Forecast error", with_unit(value.number, value.unit), "; ".join(part for part in (naive, held) if part))


def has_events(result: PlanResult) -> bool:
    """Planned events change what is expected."""
    demand = result.demand
    if demand is None or not demand.levels:
        return False
    middle = min(range(len(demand.levels)), key=lambda i: abs(demand.levels[i] - 0.5))
    return demand.quantiles[middle] != demand.plain_median


def demand_unit(result: PlanResult) -> str:
    """Demand of a deployment is requests; of a group what these need."""
    return "req/s" if result.unit == "replicas" else result.unit


def point_of(points: Sequence[CurvePoint], replicas: int) -> CurvePoint | None:
    return next((point for point in points if point.replicas == replicas), None)


# --- Answers under the questions -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """The verdict in bold, and the rest of the sentence."""

    verdict: str
    text: str


def demand_answer(result: PlanResult, *, now: datetime) -> Answer:
    demand, out = result.demand, result.run_out
    if demand is None or out is None:
        return Answer("Cannot tell yet.", result.gaps.get("run_out") or result.gaps.get("demand", ""))
    growth = ""
    if demand.growth_per_week is not None and abs(demand.growth_per_week) >= 0.0005:
        grows = "grows" if demand.growth_per_week >= 0 else "shrinks"
        growth = f"Demand {grows} {percent_signed(abs(demand.growth_per_week))} a week by itself."
    if not out.known:
        return Answer("Cannot be told.", f"{out.sentence.removeprefix('Cannot be told: ')} {growth}".strip())
    if out.median_time is None:
        return Answer(f"Not within {days_words(result.horizon_days)}.", f"{out.sentence} {growth}".strip())
    return Answer(f"On {day_words(out.median_time, now=now)}.", f"{out.sentence} {growth}".strip())


def curve_answer(result: PlanResult) -> Answer:
    curve = result.curve
    if curve is None:
        return Answer("Cannot tell yet.", result.gaps.get("curve", ""))
    currency = result.cost.currency if result.cost else ""
    parts, needed = [], point_of(curve.points, curve.needed)
    if (less := point_of(curve.points, curve.needed - 1)) is not None and less.promised > curve.slo_seconds:
        parts.append(f"{less.replicas} {verb(less, 'miss')} the SLO by {seconds_words(less.promised - curve.slo_seconds)}")
    elif less is not None:
        parts.append(f"{less.replicas} {verb(less, 'lose')} {amount(less.lost_minutes_per_month)} SLO minutes a month")
    more = point_of(curve.points, curve.needed + 1)
    if more is not None and needed is not None:
        price = more.cost_per_month is not None and needed.cost_per_month is not None
        dear = f"cost {money((more.cost_per_month or 0) - (needed.cost_per_month or 0))} {currency} more and " if price else ""
        gained = needed.promised - more.promised
        parts.append(f"{more.replicas} {dear}gain {seconds_words(gained) if gained >= 0.01 * curve.slo_seconds else 'no time'}")
    return Answer(f"{curve.needed}.", "; ".join(parts) + "." if parts else "")


# --- The backtest ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PolicyRow:
    key: str
    label: str
    detail: str
    lost: str
    over: bool
    hours: str
    cost: str
    measured: bool
    width: float  # of the bar of minutes lost, percent of the most


def policy_rows(result: PlanResult) -> list[PolicyRow]:
    replayed = result.replayed
    if replayed is None:
        return []
    budget = replayed.budget_minutes
    most = max(*(each.lost_minutes for each in replayed.policies), 0.1 * (budget or 0.0), 1.0)  # nothing lost is no full bar
    return [
        PolicyRow(
            each.key,
            each.label,
            each.detail,
            amount(each.lost_minutes, whole=True),
            budget is not None and each.lost_minutes > budget,
            amount(each.replica_hours, whole=True),
            money(each.cost),
            each.measured,
            round(100 * each.lost_minutes / most, 1),
        )
        for each in replayed.policies
    ]


def replay_answer(result: PlanResult, *, now: datetime) -> Answer:
    """The plan against what ran, in minutes and money, until midnight: what breaks today is not in it."""
    replayed = result.replayed
    if replayed is None:
        return Answer("Cannot tell yet.", result.gaps.get("replayed", ""))
    by_key = {each.key: each for each in replayed.policies}
    plan, ran = by_key.get("plan"), by_key.get("ran")
    if plan is None or ran is None:
        return Answer("", replayed.sentence)
    lost, ran_lost = amount(plan.lost_minutes, whole=True), amount(ran.lost_minutes, whole=True)
    days = days_until(replayed.end, now=now)
    until = "today" if days == 0 else f"on {day_words(replayed.end, now=now)}"
    verdict = f"Until 00:00 UTC {until} the plan would have lost {lost} SLO minutes, what ran lost {ran_lost}."
    currency = result.cost.currency if result.cost else ""
    if plan.cost is not None and ran.cost is not None:
        return Answer(verdict, f"It would have cost {less_words(plan.cost - ran.cost, currency)} in {days_words(replayed.days)}.")
    return Answer(verdict, f"It would have taken {less_words(plan.replica_hours - ran.replica_hours, 'replica-hours')}.")


def verb(point: CurvePoint, word: str) -> str:
    """One misses, two miss."""
    return word if point.replicas != 1 else f"{word}es" if word.endswith("s") else f"{word}s"


def less_words(difference: float, unit: str) -> str:
    """ "1,307 USD less", "120 replica-hours more"."""
    if abs(difference) < 0.5:
        return "the same"
    return f"{money(abs(difference))} {unit} {'less' if difference < 0 else 'more'}"


# --- The list of assumptions -------------------------------------------------------------------------------------------------

ICONS: Mapping[str, str] = {
    "launch": "launch",
    "customer": "person",
    "maintenance": "mute",
    "holiday": "info",
    "growth": "grow",
    "price": "coin",
    "startup": "restart",
    "lead_time": "pend",
    "slo": "ok",
    "slots": "scale",
    "tokens": "note",
    "arrivals": "drift",
}


def icon_of(kind: str) -> str:
    return ICONS.get(kind, "info")

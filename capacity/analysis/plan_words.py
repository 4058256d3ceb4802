"""Headline, verdict and assumptions of a plan, in plain words."""

import numpy as np

from capacity.analysis.plan_assumed import ASSUMED, Assumed, Known, Planned
from capacity.analysis.plan_inputs import PlanInputs, Promised
from capacity.analysis.plan_money import Priced
from capacity.analysis.plan_records import Assumption, Demand, RunOut
from capacity.analysis.plan_server import ServerBase, startup_now
from capacity.analysis.plan_sized import Sized, Times
from capacity.analysis.plan_texts import date_words, days_words, holds_word, number_words, order_words, rate_words, replicas_words
from capacity.analysis.words import latency_words, seconds_words
from capacity.engine.grid import DAY_SECONDS
from capacity.engine.slo import breach_steps

HOLDS, BREAKS, UNKNOWN = "holds", "breaks", "unknown"
NOW_STEPS, BROKEN_STEPS = 6, 3  # of five minutes
CHANGED = 1.25  # tokens of the last hour over those of the weeks, from which the mix is another
LAST_DAY = 288


def broken_now(inputs: PlanInputs) -> bool:
    """Was the SLO broken in half of the last half hour's steps and in the newest known?"""
    own = inputs.promised_latencies
    if own is None or inputs.promised is None:
        return False
    counts = own.requests[-NOW_STEPS:]
    found = breach_steps(own.seconds[-NOW_STEPS:], counts=counts, threshold_seconds=inputs.promised.threshold_seconds)
    known = found[np.isfinite(found)]
    return bool(known.size and known[-1] == 1 and known.sum() >= BROKEN_STEPS)


def mix_change(inputs: PlanInputs) -> float | None:
    """Tokens of a request in the last half hour over those of the weeks before; None where tokens are not known."""
    usual = inputs.steps.ratio("input_tokens_per_second", "requests_per_second")
    recent = inputs.steps.since(inputs.now - NOW_STEPS * inputs.steps.step).ratio("input_tokens_per_second", "requests_per_second")
    return recent / usual if usual and recent else None


def verdict_of(sized: Sized) -> str:
    """Of the median demand; as things are also of the last half hour."""
    if not sized.assumed.is_scenario and broken_now(sized.inputs):
        return BREAKS
    if not sized.replicas > 0:
        return UNKNOWN
    if sized.answer.dates.median_time is None:
        return HOLDS
    return UNKNOWN if sized.bound_only else BREAKS


def headline_of(sized: Sized, run_out: RunOut) -> str:
    inputs = sized.inputs
    if not sized.assumed.is_scenario and broken_now(inputs):
        return broken_headline(sized)
    return run_out_headline(sized, run_out)


def broken_headline(sized: Sized) -> str:
    """The SLO breaks now: by load, or although the load is one that was held before."""
    inputs = sized.inputs
    rate = float(np.nanmean(np.r_[inputs.steps.rates[-NOW_STEPS:], np.nan])) if np.isfinite(inputs.steps.rates[-NOW_STEPS:]).any() else 0.0
    held, replicas = sized.model.curve.rate(sized.replicas), replicas_words(sized.replicas)
    if rate > held:
        return f"The SLO is broken now: {rate_words(rate)} come and {replicas} {holds_word(sized.replicas)} {rate_words(held)}."
    words = f"The SLO is broken now, at {rate_words(rate)}, which {replicas} held before."
    change = mix_change(inputs)
    if change is not None and change > CHANGED:
        words = f"{words} Prompts are {change:.1f} times as long as usual."
    latest = next((event for event in inputs.happened if event.time > inputs.now - DAY_SECONDS), None)
    return f"{words} Latest change: {latest.title}." if latest else words


def run_out_headline(sized: Sized, run_out: RunOut) -> str:
    days = sized.line.times.size - 1
    if sized.bound_only and sized.answer.dates.early_time is not None:
        held = rate_words(sized.model.curve.rate(sized.replicas))
        return f"Capacity holds what was seen, {held}. Whether it holds the demand of {days_words(days)} cannot be told."
    if run_out.early_time is None:
        return f"Capacity holds for {days_words(days)}.{spare_words(sized)}"
    day = run_out.median_time if run_out.median_time is not None else run_out.early_time
    because = f" when {run_out.cause} starts" if run_out.cause.startswith("the ") else " by growth" if run_out.cause == "growth" else ""
    may = "may run out" if run_out.median_time is None else "runs out"
    when = "now" if day <= sized.inputs.now else f"on {date_words(day, now=sized.inputs.now)}"
    words = f"Capacity {may} {when}{because}."
    if run_out.replicas_to_order and run_out.order_time is not None:
        words = f"{words} {order_words(replicas_words(run_out.replicas_to_order), run_out.order_time, now=sized.inputs.now)}"
    return words


def spare_words(sized: Sized) -> str:
    """Far too many replicas are worth a sentence as well, and a number needed that is more than those that hold."""
    spare = int(sized.replicas) - sized.answer.needed
    if spare < 0:
        return f" Single days may ask for {replicas_words(sized.answer.needed)}, with 10 %."
    if spare < 1:
        return ""
    return f" {sized.answer.needed} of {replicas_words(sized.replicas)} would hold the highest demand ahead."


def assumptions_of(inputs: PlanInputs, demand: Demand | None, *, assumed: Assumed, priced: Priced, times: Times) -> tuple[Assumption, ...]:
    """What does not need a sized deployment; `server_assumptions` adds what does."""
    rows = [event_row(event, now=inputs.now) for event in (*inputs.planned, *assumed.events) if event.end > inputs.now]
    rows += [growth_row(demand, assumed=assumed)] if demand else []
    rows += [Assumption("price", "Price of a replica", priced.sentence, price_value(priced))]
    return (*rows, *time_rows(times))


def event_row(event: Planned, *, now: float) -> Assumption:
    effect = []
    if event.factor is not None and event.factor != 1.0:
        effect.append(f"x{event.factor:g}")
    if event.added:
        effect.append(f"+{rate_words(event.added)}")
    if event.factor is None and not event.added:
        effect.append("learned from Sundays" if event.kind == "holiday" else "no change")
    until = f"until {date_words(event.end, now=now)}" if np.isfinite(event.end) else "from then on"
    begun = ", begun" if event.start < now else ""
    return Assumption(event.kind, event.name, f"from {date_words(event.start, now=now)}, {until}{begun}", ", ".join(effect), event.pk)


def growth_row(demand: Demand, *, assumed: Assumed) -> Assumption:
    if assumed.growth_per_month is not None:
        value = f"{assumed.growth_per_month:+.1%} a month".replace("%", " %")
        return Assumption("growth", "Growth", "assumed in this scenario, in place of the trend", value)
    value = "none found" if not demand.growth_per_week else f"{demand.growth_per_week:+.1%} a week".replace("%", " %")
    return Assumption("growth", "Growth", demand.method, value)


def price_value(priced: Priced) -> str:
    return "unknown" if priced.rate is None else f"{priced.rate:,.2f} {priced.currency}/h"


def time_rows(times: Times) -> list[Assumption]:
    lead, approval = times.lead, times.approval
    return [
        Assumption("lead_time", "Lead time", source_words(lead, default="the install's default"), days_words(lead.value)),
        Assumption("lead_time", "Approval", source_words(approval, default="the install's default"), days_words(approval.value)),
    ]


def source_words(known: Known, *, default: str) -> str:
    return f"{known.basis}: {default}" if known.basis == ASSUMED else known.basis


def slo_row(promised: Promised, *, assumed: Assumed) -> Assumption:
    detail = "assumed in this scenario" if assumed.slo_threshold_seconds is not None else "as promised"
    return Assumption("slo", latency_words(promised.kind, promised.percentile), detail, seconds_words(promised.threshold_seconds))


def server_assumptions(inputs: PlanInputs, base: ServerBase, *, sized: Sized) -> tuple[Assumption, ...]:
    startup, assumed = startup_now(base, assumed=sized.assumed), sized.assumed
    slots = sized.model.server.slots
    detail = base.slots.basis if slots == int(base.slots.value) else "the fewest with which it could have held what it was seen to hold"
    rows = [
        slo_row(sized.promised, assumed=assumed),
        Assumption("startup", "Start of a replica", source_words(startup, default="no start was seen"), seconds_words(startup.value)),
        Assumption("slots", "Requests at once in a replica", detail, f"{slots:,}"),
        Assumption("arrivals", "Arrivals", base.bursts.sentence(), f"{sized.model.server.burstiness:.2g}"),
    ]
    rows.append(Assumption("replicas", "Replicas", inputs.replicas_basis, replicas_words(inputs.replicas_now or 0.0)))
    rows += [tokens_row(inputs, sized=sized)] if inputs.steps.ratio("input_tokens_per_second", "requests_per_second") else []
    if assumed.speed_ratio != 1.0 or assumed.hardware:
        hardware = assumed.hardware or "Other hardware"
        rows.append(Assumption("hardware", hardware, "speed of a replica against today's, assumed", f"x{assumed.speed_ratio:g}"))
    return tuple(rows)


def tokens_row(inputs: PlanInputs, *, sized: Sized) -> Assumption:
    """Tokens of the weeks the plan rests on; where the last half hour's differ, what would be held with those."""
    usual = inputs.steps.ratio("input_tokens_per_second", "requests_per_second") or 0.0
    change = mix_change(inputs)
    detail = "mean of the last weeks"
    if change is not None and not 1.0 / CHANGED < change < CHANGED:
        held = sized.model.curve.rate(sized.replicas)
        detail = (
            f"mean of the last weeks; in the last half hour {usual * change:,.0f}. If a request is as much more work, "
            f"{replicas_words(sized.replicas)} {holds_word(sized.replicas)} {number_words(held / change)} instead of {rate_words(held)}"
        )
    return Assumption("tokens", "Tokens in a request", detail, f"{usual:,.0f} in")

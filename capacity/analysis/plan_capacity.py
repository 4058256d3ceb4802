"""Capacity over time, and the day on which demand outgrows it."""

import numpy as np

from capacity.analysis.plan_demand import DemandLine
from capacity.analysis.plan_model import ServerModel
from capacity.analysis.plan_records import Capacity, Holding, RunOut, Step
from capacity.analysis.plan_server import SEED
from capacity.analysis.plan_sized import Sized
from capacity.analysis.plan_texts import date_words, days_words, holds_word, rate_words, replicas_words
from capacity.engine.answer import NoAnswer
from capacity.engine.sizing.headroom import Headroom
from capacity.engine.sizing.hold import holding_find
from capacity.engine.sizing.runout import RunOutDates

MOST_PAST_STEPS = 60
SETTLED_STEPS = 12  # a number of replicas that stood for an hour
GROWS = 0.003  # a week, from which growth is a cause


def capacity_section(sized: Sized) -> Capacity:
    inputs, assumed, model, replicas = sized.inputs, sized.assumed, sized.model, sized.replicas
    rate = model.curve.rate(replicas)
    low, high = interval(model, replicas=replicas, rate=rate)
    label = f"{assumed.hardware}, speed x {assumed.speed_ratio:g}" if assumed.hardware or assumed.speed_ratio != 1.0 else ""
    steps = (Step(inputs.now, replicas, rate, label),)
    at_least = "at least " if sized.bound_only else ""
    return Capacity(
        replicas_now=float(inputs.replicas_now or 0.0),
        now=Holding(replicas, rate, low, high),
        past=past_steps(sized),
        steps=steps,
        basis=model.basis,
        sentence=f"{replicas_words(replicas)} {holds_word(replicas)} {at_least}{rate_words(rate)}: {BASIS_WORDS[model.basis]}",
        headroom_sentence=headroom_words(model.headroom),
        planned=planned_steps(sized),
    )


BASIS_WORDS = {
    "measured": "the rate at which the SLO broke before.",
    "extrapolated": "where latency meets the SLO if it rises on as it did.",
    "replayed": "replayed through a queue with the requests of the last days.",
    "formula": "by formula, as no latency histogram is stored. A rough guide only.",
    "tokens": "replayed through token servers fitted to its own speed.",
}


def interval(model: ServerModel, *, replicas: float, rate: float) -> tuple[float | None, float | None]:
    """90 %: of the measured break, else by what is not known of the burstiness."""
    found = model.headroom
    if isinstance(found, Headroom) and found.basis != "bound" and found.break_rate > 0:
        low, high = (rate * end / found.break_rate for end in (found.lower, found.upper))
        return low, high if np.isfinite(high) else None
    if replicas < 1 or model.curve_basis != "counts":
        return None, None
    rng = np.random.default_rng(SEED)
    held = holding_find(int(replicas), server=model.server, promise=model.promise, burst_error=model.burst_error, rng=rng)
    if not held.rate > 0:
        return None, None
    return rate * held.low / held.rate, rate * held.high / held.rate


def headroom_words(found: Headroom | NoAnswer | None) -> str:
    if isinstance(found, Headroom):
        return found.sentence()
    if found is None or found.reason == "no_data":
        return "Where it breaks by its own latency cannot be told: no latency of the promised kind is stored."
    if found.reason == "no_variation":
        return (
            f"Where it breaks by its own latency cannot be told: the busiest hours carried only {found.have / 100:.2f} times the quietest, "
            f"and {found.need / 100:g} times is needed."
        )
    return f"Where it breaks by its own latency cannot be told: {found.have} steps with traffic are known, {found.need} are needed."


def past_steps(sized: Sized) -> tuple[Step, ...]:
    """Changes that stood for an hour, of the last weeks."""
    steps, model = sized.inputs.steps, sized.model
    replicas = np.round(steps["replicas_ready"])
    runs: list[tuple[float, float]] = []
    known = np.flatnonzero(np.isfinite(replicas))
    for group in np.split(known, np.flatnonzero(np.diff(replicas[known]) != 0) + 1) if known.size else []:
        count = float(replicas[group[0]])
        if group.size >= SETTLED_STEPS and (not runs or runs[-1][1] != count):
            runs.append((float(steps.times[group[0]]), count))
    return tuple(Step(time, count, model.curve.rate(count)) for time, count in runs[-MOST_PAST_STEPS:])


def planned_steps(sized: Sized) -> tuple[Step, ...]:
    """From the early date on with what is to be ordered."""
    dates = sized.answer.dates
    ordered = dates.replicas_to_order
    if not ordered or dates.early_time is None or sized.bound_only:
        return ()
    replicas = sized.replicas + ordered
    return (Step(max(dates.early_time, sized.inputs.now), replicas, sized.model.curve.rate(replicas), f"{replicas_words(ordered)} more"),)


def run_out_section(sized: Sized, *, growth: float | None) -> RunOut:
    answer, dates, times = sized.answer, sized.answer.dates, sized.answer.times
    if sized.bound_only:
        return run_out_untold(sized)
    return RunOut(
        median_time=dates.median_time,
        early_time=dates.early_time,
        without_events_time=answer.plain.median_time,
        order_time=answer.order.time if answer.order else None,
        lead_time_days=times.lead.value,
        approval_days=times.approval.value,
        replicas_to_order=dates.replicas_to_order,
        cause=cause_of(sized.line, dates=dates, growth=growth),
        sentence=run_out_words(sized),
    )


def run_out_untold(sized: Sized) -> RunOut:
    """Where replicas break was never seen: no date, but the one from which demand is more than anything seen."""
    early, held = sized.answer.dates.early_time, rate_words(sized.model.curve.rate(sized.replicas))
    if early is None:
        sentence = run_out_words(sized)
    else:
        have = f"{replicas_words(sized.replicas)} {holds_word(sized.replicas)}"
        sentence = (
            f"Cannot be told: {have} at least {held}, and nothing shows where that breaks. Demand may be more than that from "
            f"{date_words(early, now=sized.inputs.now)} on. A load test, or the number of slots set by hand, would tell."
        )
    times = sized.answer.times
    return RunOut(None, None, None, None, times.lead.value, times.approval.value, 0, "", sentence, known=early is None)


def cause_of(line: DemandLine, *, dates: RunOutDates, growth: float | None) -> str:
    day = dates.median_time if dates.median_time is not None else dates.early_time
    if day is None:
        return ""
    event = line.event_at(int(np.searchsorted(line.times, day))) if dates.by_event else None
    if event is not None:
        return f"the {event.name}" if event.kind == "launch" else event.name
    return "growth" if growth is not None and growth > GROWS else ""


def run_out_words(sized: Sized) -> str:
    line, dates, plain, now = sized.line, sized.answer.dates, sized.answer.plain, sized.inputs.now
    held = f"what {replicas_words(sized.replicas)} {holds_word(sized.replicas)}, {rate_words(sized.model.curve.rate(sized.replicas))}"
    days = days_words(line.times.size - 1)
    if dates.early_time is None:
        return f"Demand stays below {held}, with 90 %."
    if dates.median_time is None:
        return f"Only the high demand (90 %) passes {held}, from {date_words(dates.early_time, now=now)} on."
    cause = cause_of(line, dates=dates, growth=None)
    because = f", with {cause}" if cause else ""
    already = " already" if dates.median_time <= now else ""
    words = f"Demand passes {held}, on {date_words(dates.median_time, now=now)}{already}{because}."
    if line.coming and plain.median_time != dates.median_time:
        without = f"not within {days}" if plain.median_time is None else f"on {date_words(plain.median_time, now=now)}"
        words = f"{words} Without the planned events {without}."
    return words

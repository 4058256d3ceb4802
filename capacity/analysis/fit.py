"""Does it fit? Whether a deployment would hold its latency SLO at a rate, with how many replicas, and what they cost.

The rate is the mean of the busiest hour, as in a plan; minutes within it lie above that as they do in the deployment's own busy hours.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from math import isfinite

import numpy as np

from capacity.analysis.fields import FieldError, Reader
from capacity.analysis.fit_room import Room, room_of
from capacity.analysis.fit_version import VersionSpeed, version_speed
from capacity.analysis.plan_curve import KINDS, MONTH_HOURS
from capacity.analysis.plan_inputs import PlanInputs, Promised
from capacity.analysis.plan_model import Gap, Question, ServerModel, model_make, unreachable_words
from capacity.analysis.plan_server import SEED, ServerBase, own_times
from capacity.analysis.plan_texts import money_words, rate_words, replicas_words
from capacity.analysis.plan_whatif import ground_kept
from capacity.analysis.words import seconds_words
from capacity.engine.answer import NoAnswer
from capacity.engine.sizing.peak import peak_hour, peak_latency
from monitoring.catalog.records import Latency
from monitoring.models import Deployment

NEED_STEPS = 288  # five-minute steps with traffic: a day of it
MOST_RATE, LONGEST_SLO = 1_000_000.0, 3600.0
MOST_REPLAYED = 5000.0  # requests per second
LEAST_PERCENTILE, MOST_PERCENTILE = 0.5, 0.999
OBJECTIVE, WINDOW_DAYS = 0.995, 28  # where a threshold is given and no SLO is set
WITHOUT_SLO = "no latency SLO is set. Set one, or say which to hold (--slo, slo_threshold_seconds)."


class FitError(FieldError):
    """What cannot be asked, a sentence by field."""


@dataclass(frozen=True)
class Asked:
    """The question in plain values; None: as the SLO says."""

    rate: float  # requests per second
    threshold_seconds: float | None = None
    percentile: float | None = None
    version: str = ""


@dataclass(frozen=True)
class Case:
    """A deployment, what is known of it, and what is to be held."""

    deployment: Deployment
    inputs: PlanInputs
    base: ServerBase
    promised: Promised


@dataclass(frozen=True)
class Fit:
    """`known` False: it cannot be told, which is a no for a pipeline."""

    fits: bool
    known: bool
    sentence: str
    reasons: tuple[str, ...]
    rate: float
    as_of: float | None = None  # newest sample it rests on, Unix seconds
    slo_kind: str = ""
    percentile: float | None = None
    threshold_seconds: float | None = None
    predicted_seconds: float | None = None  # at the percentile, in the busiest hour, with the replicas needed
    replicas_needed: int | None = None
    replicas_running: float | None = None
    replicas_allowed: int | None = None
    rate_held_now: float | None = None
    accelerators_each: float | None = None
    accelerators_free: int | None = None
    accelerator_model: str = ""
    cost_per_month: float | None = None  # of the replicas needed
    currency: str = ""  # empty: replica-hours only
    replica_hours_per_month: float | None = None
    basis: str = ""  # how it is known


def asked_read(fields: dict[str, object]) -> Asked:
    """FitError with a sentence for each field that cannot be."""
    read = Reader(fields)
    rate = read.number("requests_per_second", least=0, most=MOST_RATE, unit="requests per second", above=True)
    if rate is None and "requests_per_second" not in read.problems:
        read.wrong("requests_per_second", "Say at how many requests per second, e.g. 200.")
    threshold = read.number("slo_threshold_seconds", least=0, most=LONGEST_SLO, unit="seconds", above=True)
    percentile = read.number("percentile", least=LEAST_PERCENTILE, most=MOST_PERCENTILE)
    version = read.text("version", most=200)
    if read.problems or rate is None:
        raise FitError(read.problems)
    return Asked(rate, threshold, percentile, version)


def fit_check(deployment: Deployment, asked: Asked, *, now: datetime) -> Fit:
    """Nothing is stored. From the same inputs as a what-if: three seconds the first time in a process, then under one."""
    ground = ground_kept(deployment, now=now)
    inputs, base = ground.inputs, ground.server
    blank = Fit(False, False, "", (), asked.rate, inputs.as_of, replicas_running=inputs.replicas_now)
    steps = int((np.nan_to_num(inputs.steps.rates) > 0).sum())
    if steps < NEED_STEPS:
        lack = NoAnswer("no_data" if not steps else "too_short", have=steps, need=NEED_STEPS).sentence()
        return untold(blank, f"{lack[0].lower()}{lack[1:-1]} five-minute steps with traffic.")
    promised = promised_asked(inputs.promised, asked)
    if promised is None:
        return untold(blank, f"{WITHOUT_SLO} {inputs.suggestion}".strip())
    blank = replace(blank, slo_kind=KINDS[promised.kind], percentile=promised.percentile, threshold_seconds=promised.threshold_seconds)
    if isinstance(base, NoAnswer):
        return untold(blank, ground.refusal or base.sentence())
    return fit_sized(Case(deployment, inputs, base, promised), asked=asked, blank=blank)


def promised_asked(held: Promised | None, asked: Asked) -> Promised | None:
    """The SLO with what was asked in its place; without one, p95 end to end of the threshold given."""
    if held is None and asked.threshold_seconds is None:
        return None
    promised = held or Promised(Latency.REQUEST_DURATION, 0.95, asked.threshold_seconds or 1.0, OBJECTIVE, WINDOW_DAYS)
    return replace(
        promised,
        threshold_seconds=asked.threshold_seconds or promised.threshold_seconds,
        percentile=asked.percentile or promised.percentile,
    )


def untold(blank: Fit, why: str) -> Fit:
    return replace(blank, fits=False, known=False, sentence=f"No: cannot tell, {why}", reasons=(f"{why[0].upper()}{why[1:]}",))


def refused(blank: Fit, why: str, *reasons: str) -> Fit:
    return replace(blank, fits=False, known=True, sentence=f"No: {why}", reasons=(f"{why[0].upper()}{why[1:]}", *reasons))


def fit_sized(case: Case, *, asked: Asked, blank: Fit) -> Fit:
    inputs, promised = case.inputs, case.promised
    speed = version_speed(case.deployment, inputs, case.base, version=asked.version)
    alone = alone_seconds(case.base, promised=promised, speed_ratio=speed.ratio)
    if alone is not None and alone > promised.threshold_seconds:
        return refused(blank, alone_words(alone, promised=promised), *speed.reasons)
    top = top_rate(inputs, asked=asked)
    model = model_make(case.base, inputs, question=Question(promised, speed.ratio, top))
    if isinstance(model, Gap):
        return untold(blank, model.sentence)
    if not model.curve.rates[-1] > 0:
        return refused(blank, "no number of replicas holds the SLO at any rate, its threshold is too near a request's own time.")
    sized = replace(
        blank,
        replicas_needed=max(1, model.curve.replicas(asked.rate)),
        rate_held_now=model.curve.rate(inputs.replicas_now) if inputs.replicas_now else None,
        basis=model.sentence,
    )
    return judged(case, sized, model=model, speed=speed)


def top_rate(inputs: PlanInputs, *, asked: Asked) -> float:
    """To which the replay reaches: a little beyond the highest minute and what is asked, but no further than can be replayed.
    Beyond it the replicas grow in proportion, which is on the safe side."""
    highest = max((float(np.nanmax(part.rates)) for part in (inputs.steps, inputs.minutes) if np.isfinite(part.rates).any()), default=0.0)
    return 1.3 * max(highest, min(asked.rate, MOST_REPLAYED))


def alone_words(alone: float, *, promised: Promised) -> str:
    words = unreachable_words(promised, alone=alone)
    return f"{words[0].lower()}{words[1:]}"


def alone_seconds(base: ServerBase, *, promised: Promised, speed_ratio: float) -> float | None:
    """What the promised latency takes while nobody queues; None where that is not known or nothing."""
    times = {Latency.REQUEST_DURATION: base.service, Latency.TIME_TO_FIRST_TOKEN: base.first_token}.get(promised.kind)
    return None if times is None else float(times.quantile(promised.percentile)) / speed_ratio


def predicted(case: Case, *, model: ServerModel, rate: float, replicas: int) -> float | None:
    """None where the busiest hour is too busy to be replayed."""
    if rate > MOST_REPLAYED:
        return None
    rng, promised = np.random.default_rng(SEED), case.promised
    found = peak_latency(
        peak_hour(rate / model.ratio, server=model.server, shapes=model.shapes, rng=rng),
        replicas=replicas,
        own=own_times(case.base, promised=promised, speed_ratio=model.speed_ratio),
        aim=(promised.percentile, promised.threshold_seconds),
        rng=rng,
    )
    return found.promised if isfinite(found.promised) else None


def judged(case: Case, sized: Fit, *, model: ServerModel, speed: VersionSpeed) -> Fit:
    needed, hour = sized.replicas_needed or 1, case.inputs.price.hour
    room = room_of(case.deployment, case.inputs, needed=needed)
    bound = model.bound_only and not case.inputs.saturated
    fits = room.allowed is not None and needed <= room.allowed
    rate = None if hour.hourly_rate is None else float(hour.hourly_rate)
    found = replace(
        sized,
        fits=fits,
        known=fits or not (room.unsure or bound or room.allowed is None),
        predicted_seconds=predicted(case, model=model, rate=sized.rate, replicas=needed),
        replicas_allowed=room.allowed,
        accelerators_each=room.held.accelerators if room.held else case.inputs.accelerators_each,
        accelerators_free=room.free.count if room.free else None,
        accelerator_model=room.held.model if room.held else case.inputs.accelerator,
        cost_per_month=None if rate is None else needed * rate * MONTH_HOURS,
        currency=hour.currency if rate is not None else "",
        replica_hours_per_month=needed * MONTH_HOURS,
    )
    reasons = (held_words(found, bound=bound), latency_words(found), *room.reasons, money_reason(found, hour.sentence), *speed.reasons)
    return replace(found, sentence=answer_words(found, bound=bound, room=room), reasons=tuple(each for each in reasons if each))


def answer_words(found: Fit, *, bound: bool, room: Room) -> str:
    needed, at_most = replicas_words(found.replicas_needed or 1), "at most " if bound else ""
    if found.fits:
        return f"Yes: {at_most}{needed} for {rate_words(found.rate)}, {allowed_words(found)}."
    if room.unsure:
        return (
            f"No: cannot tell, {needed} for {rate_words(found.rate)} need accelerators of which it is not measured whether they are free."
        )
    if room.allowed is None:
        return f"No: cannot tell, {needed} for {rate_words(found.rate)}, and how many run or may run is not known."
    if bound:
        seen = f"by what it was seen to hold {rate_words(found.rate)} need at most {needed}"
        return f"No: cannot tell, where it breaks was never seen; {seen}, {allowed_words(found)}."
    return f"No: {needed} for {rate_words(found.rate)}, {allowed_words(found)}."


def allowed_words(found: Fit) -> str:
    running = "how many run is not known" if found.replicas_running is None else f"{found.replicas_running:.0f} run"
    return f"{running}, {found.replicas_allowed} can run"


def held_words(found: Fit, *, bound: bool) -> str:
    if found.rate_held_now is None or found.replicas_running is None:
        return ""
    verb = "holds" if found.replicas_running == 1 else "hold"
    return f"{replicas_words(found.replicas_running)} {verb} {'at least ' if bound else ''}{rate_words(found.rate_held_now)} now."


def latency_words(found: Fit) -> str:
    """The percentile in the busiest hour, beside what is promised."""
    if found.predicted_seconds is None or found.percentile is None or found.threshold_seconds is None:
        return ""
    return (
        f"With {replicas_words(found.replicas_needed or 1)} p{found.percentile * 100:g} {found.slo_kind} is "
        f"{seconds_words(found.predicted_seconds)} in the busiest hour; {seconds_words(found.threshold_seconds)} is to be held."
    )


def money_reason(found: Fit, sentence: str) -> str:
    number = found.replicas_needed or 1
    replicas, (are, cost) = replicas_words(number), ("is", "costs") if number == 1 else ("are", "cost")
    if found.cost_per_month is None:
        return f"{replicas} {are} {found.replica_hours_per_month or 0:,.0f} replica-hours a month. {sentence}"
    return f"{replicas} {cost} {money_words(found.cost_per_month, found.currency)} a month of 730 h. {sentence}"

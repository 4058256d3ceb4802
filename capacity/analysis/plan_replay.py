"""Policies replayed on the deployment's own last days: what ran, a static peak, an HPA at 70 %, the plan, and the clairvoyant."""

import numpy as np

from capacity.analysis.plan_demand import DemandBase
from capacity.analysis.plan_floor import reactive_of, whole_days
from capacity.analysis.plan_model import Gap
from capacity.analysis.plan_records import Policy, Replayed
from capacity.analysis.plan_server import SEED, startup_now
from capacity.analysis.plan_sized import Sized, kept_or
from capacity.analysis.plan_telemetry import STEP_SECONDS
from capacity.analysis.plan_texts import date_words, days_words, minutes_words
from capacity.engine.answer import NoAnswer
from capacity.engine.grid import DAY_SECONDS
from capacity.engine.sizing.policies import DETAILS, PastDays, PolicyReplay, PolicyRun, PolicySettings, minutes_of, policies_replay
from capacity.engine.slo import breach_steps, minutes_lost

REPLAY_DAYS = 14
LABELS = {
    "ran": "What ran",
    "static": "Static peak",
    "hpa70": "HPA at 70 %",
    "plan": "This plan",
    "clairvoyant": "Clairvoyant",
}


def replay_section(sized: Sized, *, base: DemandBase) -> Replayed | Gap:
    steps = sized.inputs.steps
    rates = minutes_of(np.maximum(whole_days(steps, column="requests_per_second"), 0.0) * steps.step, step_seconds=steps.step)
    replicas = np.repeat(whole_days(steps, column="replicas_ready"), int(steps.step // 60))
    days = rates.size // 1440
    if days == 0:
        return Gap("A replay needs four whole days of counts, and there is none yet.")
    past = PastDays(rates=rates, replay_days=min(REPLAY_DAYS, days), replicas=replicas, step_seconds=steps.step)
    end = steps.start + (-steps.start % DAY_SECONDS) + days * DAY_SECONDS
    reactive = reactive_of(startup_now(sized.base, assumed=sized.assumed))
    settings = PolicySettings(reactive, bands=base.past_bands(end, past.replay_days))

    def replay() -> PolicyReplay | NoAnswer:
        rng = np.random.default_rng(SEED)
        return policies_replay(past, server=sized.model.server, table=sized.model.minute, settings=settings, rng=rng)

    found: PolicyReplay | NoAnswer = kept_or(sized.kept, (sized.question, reactive), replay)
    if isinstance(found, NoAnswer):
        return Gap(f"A replay needs four whole days of counts. {found.sentence()}")
    start = end - (days - found.first_day) * DAY_SECONDS
    return replayed_of(sized, found=found, span=(start, end))


def replayed_of(sized: Sized, *, found: PolicyReplay, span: tuple[float, float]) -> Replayed:
    minutes = float(found.known_minutes.sum())
    promised = sized.promised
    policies = tuple(policy_of(sized, run=run, span=span) for run in found.runs)
    budget = (1.0 - promised.objective_ratio) * minutes
    days = (span[1] - span[0]) / DAY_SECONDS
    return Replayed(span[0], span[1], days, minutes, budget, policies, replay_words(policies, days=days, end=span[1]))


def policy_of(sized: Sized, *, run: PolicyRun, span: tuple[float, float]) -> Policy:
    lost, hours, detail = float(run.lost_minutes.sum()), float(run.replica_hours.sum()), DETAILS[run.key]
    measured = lost_measured(sized, span=span) if run.key == "ran" else None
    if measured is not None:
        detail = f"{detail} SLO minutes as measured; replayed they are {lost:,.0f}."
    cost = None if sized.hourly_rate is None else hours * sized.hourly_rate
    return Policy(run.key, LABELS[run.key], detail, lost if measured is None else measured, hours, cost, measured is not None)


def lost_measured(sized: Sized, *, span: tuple[float, float]) -> float | None:
    """SLO minutes really lost, by the latency histograms; None where the scenario promises something else, or none are stored."""
    own = sized.inputs.promised_latencies
    if own is None or sized.promised != sized.inputs.promised:
        return None
    steps = sized.inputs.steps
    inside = (steps.times >= span[0]) & (steps.times < span[1])
    counts = own.requests[inside]
    breaches = breach_steps(own.seconds[inside], counts=counts, threshold_seconds=sized.promised.threshold_seconds)
    return minutes_lost(breaches, step_seconds=STEP_SECONDS).lost


def replay_words(policies: tuple[Policy, ...], *, days: float, end: float) -> str:
    """Whole days only: a breach that goes on now is not in it, so its end is said."""
    by_key = {policy.key: policy for policy in policies}
    plan, hpa = by_key["plan"], by_key["hpa70"]
    words = f"In the {days_words(days)} until {date_words(end)} 00:00 UTC the plan would have lost {minutes_words(plan.lost_minutes)}"
    words = f"{words}, an HPA at 70 % {minutes_words(hpa.lost_minutes)}"
    ran = by_key.get("ran")
    if ran is None or not ran.replica_hours > 0:
        return f"{words}."
    change = plan.replica_hours / ran.replica_hours - 1.0
    share = f"{abs(change):.0%}".replace("%", " %")
    kind = "as many replica-hours as ran" if abs(change) < 0.005 else f"{share} {'more' if change > 0 else 'fewer'} replica-hours than ran"
    return f"{words}. It needs {kind}."

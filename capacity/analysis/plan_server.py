"""One replica as a plan sees it: slots, service times, how requests come, and what its own history says of its limit."""

from dataclasses import dataclass

import numpy as np

from capacity.analysis.plan_assumed import BY_HAND, OF_SCENARIO, Assumed, Known, chosen
from capacity.analysis.plan_assumed import STARTUP_SECONDS as DEFAULT_STARTUP
from capacity.analysis.plan_inputs import PlanInputs, Promised
from capacity.analysis.plan_startup import startup_measured
from capacity.analysis.plan_telemetry import Stretch
from capacity.analysis.plan_tokens import TokenBase, token_base
from capacity.engine.answer import NoAnswer
from capacity.engine.grid import DAY_SECONDS, Floats
from capacity.engine.queueing.arrivals import PRIOR, Burstiness, burstiness_measure
from capacity.engine.queueing.service import ServiceTimes, service_histogram
from capacity.engine.sizing.fallback import service_assumed
from capacity.engine.sizing.headroom import Headroom, LoadHistory, headroom_find
from capacity.engine.sizing.hold import hour_shapes
from capacity.engine.sizing.policies import minutes_of
from capacity.engine.sizing.slots import QUEUED, QUEUED_SHARE, Slots, slots_find
from monitoring.catalog.records import Latency

RECENT_DAYS = 7.0
ENOUGH_REQUESTS = 2000.0
MOST_REBUILT = 300_000.0  # requests rebuilt to measure burstiness
SLOTS_QUEUE, SLOTS_HIGHEST = "beyond it requests waited", "the most seen while nobody waited"
SEED = 20_261_122  # the same inputs give the same plan


@dataclass(frozen=True)
class ServerBase:
    """What telemetry says of one replica, before a scenario changes anything."""

    slots: Known
    startup: Known
    service: ServiceTimes | None  # seconds in a slot, while nobody queued
    first_token: ServiceTimes | None  # seconds to it while nobody queued
    tokens: TokenBase | None  # as a server of tokens, where that fits
    service_words: str
    bursts: Burstiness
    counts_step: float
    shapes: Floats  # (k, 60) minutes of busy hours over their mean
    gap: str = ""  # why nothing can be sized

    @property
    def slots_at_least(self) -> bool:
        """Is the number of slots only the most that was seen, and not known?"""
        return self.slots.basis not in (BY_HAND, SLOTS_QUEUE)


def server_base(inputs: PlanInputs) -> ServerBase | NoAnswer:
    """NoAnswer where no request was measured."""
    if not np.nansum(inputs.steps.rates) > 0 and not np.nansum(inputs.minutes.rates) > 0:
        return NoAnswer("no_data", have=0, need=1)
    rng = np.random.default_rng(SEED)
    service, words = service_of(inputs)
    grid = finest(inputs)
    bursts = bursts_of(grid, service=service, rng=rng) if service else Burstiness(PRIOR, "prior")
    slots = slots_of(inputs)
    tokens = token_base(inputs, slots=slots, service=service, burstiness=bursts.scv)
    return ServerBase(
        slots=slots,
        tokens=tokens if isinstance(tokens, TokenBase) else None,
        startup=chosen(
            scenario=None,
            hand=inputs.hand.startup_seconds,
            measured=startup_measured((inputs.minutes, inputs.steps)),
            default=DEFAULT_STARTUP,
        ),
        service=service,
        first_token=first_token_of(inputs),
        service_words=f"{words} {tokens}" if isinstance(tokens, str) and tokens else words,
        bursts=bursts,
        counts_step=grid.step,
        shapes=shapes_of(grid),
        gap="" if service else words,
    )


def finest(inputs: PlanInputs) -> Stretch:
    """Counts by the minute where half of the last days have them, else by five minutes."""
    known = np.isfinite(inputs.minutes.rates)
    return inputs.minutes if known.mean() >= 0.25 else inputs.steps


def shapes_of(grid: Stretch) -> Floats:
    skip = int(round((-grid.start % 3600.0) / grid.step))
    return hour_shapes(minutes_of(np.maximum(grid.counts[skip:], 0.0), step_seconds=grid.step))


def queued(stretch: Stretch) -> np.ndarray:
    """Steps in which requests waited."""
    replicas = stretch["replicas_ready"]
    with np.errstate(invalid="ignore", divide="ignore"):
        waiting, running = stretch["requests_waiting"] / replicas, stretch["requests_running"] / replicas
        return np.asarray(waiting > np.fmax(QUEUED, QUEUED_SHARE * running))


def service_of(inputs: PlanInputs) -> tuple[ServiceTimes | None, str]:
    """Request durations of steps in which nobody queued, newest first; else a mean, with an assumed distribution."""
    found, steps = inputs.durations, inputs.steps
    if found is not None:
        calm = (found.requests > 0) & ~queued(steps)
        recent = calm & (steps.times >= inputs.now - RECENT_DAYS * DAY_SECONDS)
        chosen_steps = recent if found.requests[recent].sum() >= ENOUGH_REQUESTS else calm
        counts, seconds = found.merged(chosen_steps)
        if counts.sum() > 0:
            bounds = np.r_[np.asarray(found.bounds), np.inf]
            days = RECENT_DAYS if chosen_steps is recent else steps.rates.size * steps.step / DAY_SECONDS
            total = seconds if np.isfinite(seconds) and seconds > 0 else None
            words = f"Service times from the latency histogram of {counts.sum():,.0f} requests of {days:.0f} days while nobody queued."
            return service_histogram(bounds, counts=counts, total_seconds=total), words
    mean = steps.since(inputs.now - RECENT_DAYS * DAY_SECONDS).ratio("request_seconds_per_second", "requests_per_second")
    if mean is not None and mean > 0:
        return service_assumed(mean), f"Only the mean duration is known ({mean:.3g} s); its spread is assumed (exponential)."
    return None, "Neither a latency histogram nor a mean duration is stored: how long a request takes is not known."


def first_token_of(inputs: PlanInputs) -> ServiceTimes | None:
    """Of the steps in which nobody queued, where the SLO is of it."""
    found = inputs.promised_latencies
    if found is None or found.kind != Latency.TIME_TO_FIRST_TOKEN:
        return None
    counts, _ = found.merged(~queued(inputs.steps))
    return service_histogram(np.r_[np.asarray(found.bounds), np.inf], counts=counts) if counts.sum() > 0 else None


def own_times(base: ServerBase, *, promised: Promised, speed_ratio: float) -> ServiceTimes | None:
    """What the promised latency adds to the wait; None: the request itself."""
    if promised.kind == Latency.TIME_TO_FIRST_TOKEN and base.first_token is not None:
        return ServiceTimes(base.first_token.values / speed_ratio, base.first_token.basis)
    return ServiceTimes(np.zeros(1), "none") if promised.kind == Latency.QUEUE_TIME else None


def slots_of(inputs: PlanInputs) -> Known:
    """By hand, else where waiting begins, else the most that ran at once in one replica."""
    if inputs.hand.slots is not None:
        return Known(float(inputs.hand.slots), BY_HAND)
    steps = inputs.steps
    found = slots_find(
        np.fmax(steps["requests_running"], 0.0), waiting=np.fmax(steps["requests_waiting"], 0.0), replicas=steps["replicas_ready"]
    )
    if isinstance(found, Slots):
        words = {"queue": SLOTS_QUEUE, "highest": SLOTS_HIGHEST}
        return Known(float(found.count), words[found.basis])
    return slots_guessed(inputs)


def slots_guessed(inputs: PlanInputs) -> Known:
    """Little's law at the busiest hours where no server tells what runs."""
    steps = inputs.steps
    with np.errstate(invalid="ignore", divide="ignore"):
        each = steps["request_seconds_per_second"] / steps["replicas_ready"]
    known = each[np.isfinite(each)]
    if known.size:
        return Known(float(max(1, int(np.ceil(np.quantile(known, 0.995))))), "from rate times duration in the busiest hours")
    return Known(1.0, "assumed: nobody tells how many requests run at once")


def bursts_of(grid: Stretch, *, service: ServiceTimes, rng: np.random.Generator) -> Burstiness:
    """From counts and, while nobody queued, requests in flight; of busy services only as many steps as can be rebuilt."""
    counts = np.where(np.isfinite(grid.counts), np.maximum(grid.counts, 0.0), np.nan)
    in_flight = np.where(queued(grid), np.nan, grid["requests_running"])
    most = np.nancumsum(counts[::-1])
    kept = int(np.searchsorted(most, MOST_REBUILT))
    if kept < counts.size and kept * grid.step < 1200.0 or not np.isfinite(in_flight).any():
        return burstiness_measure(counts, step_seconds=grid.step, service=service, in_flight=None, rng=rng)
    last = slice(counts.size - kept, None)
    return burstiness_measure(counts[last], step_seconds=grid.step, service=service, in_flight=in_flight[last], rng=rng)


def promised_now(inputs: PlanInputs, *, assumed: Assumed) -> Promised | None:
    """The SLO, with a scenario's threshold in its place; without one a scenario's threshold counts for p95 end to end."""
    held = inputs.promised
    if assumed.slo_threshold_seconds is None:
        return held
    if held is None:
        return Promised(Latency.REQUEST_DURATION, 0.95, assumed.slo_threshold_seconds, 0.995, 28)
    return Promised(held.kind, held.percentile, assumed.slo_threshold_seconds, held.objective_ratio, held.window_days)


def startup_now(base: ServerBase, *, assumed: Assumed) -> Known:
    return base.startup if assumed.startup_seconds is None else Known(assumed.startup_seconds, OF_SCENARIO)


def headroom_now(inputs: PlanInputs, *, promised: Promised) -> Headroom | NoAnswer:
    """Where the promise breaks by the deployment's own latency at its loads."""
    own = inputs.promised_latencies if inputs.promised is not None else inputs.durations
    replicas = inputs.replicas_now
    if own is None or not replicas or replicas < 1:
        return NoAnswer("no_data", have=0, need=100)
    steps = inputs.steps
    seconds = np.where(own.requests >= 20, own.seconds, np.nan)
    history = LoadHistory(np.fmax(steps.rates, 0.0), steps["replicas_ready"], seconds)
    rng = np.random.default_rng(SEED)
    return headroom_find(history, threshold_seconds=promised.threshold_seconds, replicas_now=int(replicas), rng=rng)

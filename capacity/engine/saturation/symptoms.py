"""Signs that something, whatever it is, is at a limit: a queue, answers that take longer, a flow that no longer rises; and the two limits
that are known by such signs alone: too few slots, and too little that arrives."""

from dataclasses import dataclass

import numpy as np

from capacity.engine.saturation.limits import shown
from capacity.engine.saturation.records import Evidence, Limit, Mask, Reading
from capacity.engine.saturation.window import FLAT_NOISE_MOST, NAN, Part, level_of

PINNED_WITHIN = 0.05  # running counts this near to their highest count as pinned
PINNED_SHARE = 0.75
TOKEN_STRETCH = 1.25
LOCAL_STRETCH = 1.15


@dataclass(frozen=True)
class Symptoms:
    """What was seen in one part of a window; a NaN was not measured."""

    waiting: float  # requests
    wait_share: float  # of a request's time
    stretch: float  # duration of like work over that in quiet hours
    served: float  # the same without the time in the queue
    token_stretch: float
    pile: float  # requests in flight over those in quiet hours
    waits: bool
    slower: bool
    flat: tuple[str, ...]  # flows at their ceiling
    judged: bool  # whether a queue or a duration was measured at all

    @property
    def any(self) -> bool:
        return self.waits or self.slower or bool(self.flat)

    @property
    def token_slower(self) -> bool:
        return self.token_stretch >= TOKEN_STRETCH


def symptoms_of(part: Part) -> Symptoms:
    t, window = part.window.thresholds, part.window
    waiting, share = part.level("requests_waiting"), wait_share(part)
    waits = waits_at(part, part.steps)
    stretch, token = work_stretch(part), part.stretch("time_per_output_token_seconds")
    calm = np.nanmedian(window.in_flight[window.quiet]) if np.isfinite(window.in_flight[window.quiet]).any() else NAN
    busy = np.nanmedian(window.in_flight[part.steps]) if np.isfinite(window.in_flight[part.steps]).any() else NAN
    flat = tuple(name for name, steps in window.flat.items() if steps[part.steps].mean() >= 0.4 and (waits or not waits_at(part, steps)))
    judged = np.isfinite([waiting, share, stretch, token]).any()
    rises = still_rising(part)
    slower = bool(token >= t.token_stretch or stretch >= t.far_stretch or (stretch >= t.stretch and rises <= t.still_rises))
    calm_share = wait_share(part, window.quiet)
    served = stretch * (1 - np.nan_to_num(share)) / max(1 - np.nan_to_num(calm_share), 0.05)
    return Symptoms(waiting, share, stretch, float(served), token, float(busy) / max(float(calm), 1.0), waits, slower, flat, bool(judged))


def waits_at(part: Part, steps: Mask) -> bool:
    """Whether more requests wait in these steps than a server with room lets wait."""
    t, window = part.window.thresholds, part.window
    waiting, running = (level_of(window[name], steps) for name in ("requests_waiting", "requests_running"))
    if not np.isfinite(waiting):
        return wait_share(part, steps) >= t.wait_share
    if window.token_server:
        return waiting >= max(t.waiting_per_replica * window.replicas, t.waiting_to_running * float(np.nan_to_num(running)))
    # A server that forms batches lets requests wait for the next batch, up to one batch full, however much room it has.
    full = waiting >= max(t.waiting_per_replica * window.replicas, t.waiting_to_batch * float(np.nan_to_num(running)))
    return full and not wait_share(part, steps) < t.wait_share


def wait_share(part: Part, steps: Mask | None = None) -> float:
    """Share of a request's time that it spent in the queue."""
    steps = part.steps if steps is None else steps
    share = part.ratio("queue_seconds_per_second", "request_seconds_per_second", steps)
    if np.isfinite(share):
        return min(share, 1.0)
    duration = level_of(part.window["request_duration_seconds"], steps)
    return min(level_of(part.window["queue_time_seconds"], steps) / duration, 1.0) if duration > 0 else NAN


def work_stretch(part: Part) -> float:
    """Duration here over that in quiet hours, for like work: longer answers take longer without any limit."""
    stretch = part.stretch("request_duration_seconds")
    if not np.isfinite(stretch):
        quiet = part.ratio("request_seconds_per_second", "requests_per_second", part.window.quiet)
        stretch = part.ratio("request_seconds_per_second", "requests_per_second") / quiet if quiet > 0 else NAN
    first = part.stretch("time_to_first_token_seconds")
    if not np.isfinite(stretch):
        return first
    longer = work_ratio(part, "output_tokens_per_second")
    return stretch / min(max(longer, 1.0), 2.0) if np.isfinite(longer) else stretch


def still_rising(part: Part) -> float:
    """Growth of throughput from the middle of the load to here, as a share of the growth of requests in flight (throughput x duration).

    1: more load is answered as soon as before; 0: it only waits. NaN without rates and durations, or where durations do not grow.
    """
    window = part.window
    middle = (window.load >= 0.5) & (window.load < 0.8)
    rate = quotient(part.level("requests_per_second"), level_of(window["requests_per_second"], middle))
    slower = quotient(part.level("request_duration_seconds"), level_of(window["request_duration_seconds"], middle))
    if not (rate > 0 and slower >= LOCAL_STRETCH):
        return NAN
    gained = max(float(np.log(rate)), 0.0)
    return gained / (gained + float(np.log(slower)))


def quotient(top: float, bottom: float) -> float:
    return top / bottom if bottom > 0 else NAN


def work_ratio(part: Part, tokens: str) -> float:
    """Tokens of a request here over those in quiet hours."""
    quiet = part.ratio(tokens, "requests_per_second", part.window.quiet)
    return part.ratio(tokens, "requests_per_second") / quiet if quiet > 0 else NAN


def queue(part: Part, seen: Symptoms) -> Reading:
    """Requests wait while the number being worked on stands at one value that it never passes."""
    window = part.window
    running = window["requests_running"]
    evidence = shown(
        Evidence("requests_waiting", seen.waiting, "requests", window.thresholds.waiting_per_replica * window.replicas, "above"),
        Evidence("wait_share", seen.wait_share, "ratio", window.thresholds.wait_share, "above"),
        Evidence("requests_running", part.level("requests_running"), "requests"),
    )
    if not window.known("requests_waiting", "queue_seconds_per_second", "queue_time_seconds"):
        return Reading(Limit.QUEUE, "unknown", missing=("requests_waiting", "queue_time_seconds"))
    if not seen.waits:
        return Reading(Limit.QUEUE, "clear", evidence=evidence)
    here = running[part.steps]
    here = here[np.isfinite(here)]
    waiting = window["requests_waiting"]
    engaged = np.where(np.isfinite(waiting), (waiting >= window.thresholds.waiting_per_replica * window.replicas).astype(np.float64), NAN)
    if here.size < 2:
        return Reading(Limit.QUEUE, "at", 0.55, evidence, ("requests_running",), engaged)
    top = float(np.median(here))
    pinned = np.mean(np.abs(here - top) <= max(PINNED_WITHIN * top, 0.5)) >= PINNED_SHARE
    # Where tokens slow down as the batch grows, more slots would slow them further.
    strength = 0.85 if pinned and not seen.token_stretch >= window.thresholds.token_stretch else 0.6
    return Reading(Limit.QUEUE, "at", strength, evidence, engaged=engaged)


def upstream(part: Part, seen: Symptoms) -> Reading:
    """The deployment has room, and what comes to it has not: a slow dependency, a gate before it, or simply nothing to do."""
    window, t = part.window, part.window.thresholds
    busy = part.level("gpu_utilization_ratio")
    evidence = shown(
        Evidence("gpu_utilization_ratio", busy, "ratio", t.idle, "below"),
        Evidence("sm_active_ratio", part.level("sm_active_ratio"), "ratio"),
        Evidence("request_duration_stretch", seen.stretch, "times", t.stretch, "above"),
        Evidence("requests_in_flight_stretch", seen.pile, "times"),
        Evidence("requests_waiting", seen.waiting, "requests", t.waiting_per_replica * window.replicas, "below"),
    )
    calm = max(level_of(window.in_flight, window.quiet), 1.0)
    piled = np.where(np.isfinite(window.in_flight), (window.in_flight >= t.pile * calm).astype(np.float64), NAN)
    if not window.known("gpu_utilization_ratio", "sm_active_ratio", "gr_engine_active_ratio", "cpu_usage_cores"):
        return Reading(Limit.UPSTREAM, "unknown", missing=("gpu_utilization_ratio", "sm_active_ratio", "cpu_usage_cores"))
    if seen.waits:
        return Reading(Limit.UPSTREAM, "clear", evidence=evidence)
    if seen.slower and seen.served >= t.stretch and seen.pile >= t.pile and not seen.token_slower:
        return Reading(Limit.UPSTREAM, "at", 0.85, evidence, engaged=piled)
    if seen.flat:
        ceiling = window.flat[seen.flat[0]].astype(np.float64)
        # A ceiling alone does not make sure: demand itself may stand still for hours.
        return Reading(Limit.UPSTREAM, "at", 0.68 if "requests_per_second" in seen.flat else 0.6, evidence, engaged=ceiling)
    if busy < t.idle:
        return Reading(Limit.UPSTREAM, "at", 0.75, evidence, engaged=np.where(np.isfinite(window.load), 1.0, NAN))
    return Reading(Limit.UPSTREAM, "clear", evidence=evidence)


def scatter_hides(part: Part) -> bool:
    """Whether a ceiling of the request rate could not have been seen."""
    return not part.window.noise <= FLAT_NOISE_MOST

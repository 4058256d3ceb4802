"""From the nine readings to one answer. Causes go before what they cause: lowered clocks before busy units, a full cache before a queue."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from capacity.engine.saturation import limits, symptoms
from capacity.engine.saturation.records import (
    DEFAULTS,
    Evidence,
    Floats,
    Limit,
    Mask,
    Reading,
    Saturation,
    Signals,
    Skew,
    Thresholds,
    Verdict,
)
from capacity.engine.saturation.symptoms import Symptoms
from capacity.engine.saturation.window import NAN, Part, Window
from capacity.engine.saturation.words import SIGNS, missing_words

NOTHING_SURE, NOTHING_PART = 0.9, 0.65
RIVAL, FEW, EARLY = 0.85, 0.9, 0.8
FEW_STEPS = 5
INSIDE = (Limit.THROTTLING, Limit.ACCELERATOR_MEMORY, Limit.KV_CACHE, Limit.MEMORY_BANDWIDTH, Limit.COMPUTE)


def saturation_find(signals: Signals, *, thresholds: Thresholds = DEFAULTS) -> Saturation:
    """Say what limits a deployment at its peaks (the top tenth of its load) and now (its last ten minutes).

    signals: columns of one length, NaN where not measured. A limit is only named where something is at it; "nothing" is an answer, and
    "cannot tell" names the columns that would have decided. Method: docs/saturation.md.
    """
    window = Window(signals, thresholds)
    measured = int(np.isfinite(window.load).sum()) if signals.size else 0
    if measured < thresholds.steps_least:
        thin = Verdict(None, NAN, 0.0, cannot_tell=thin_words(window, measured))
        return Saturation(thin, thin, None, measured)
    peaks = verdict_of(Part(window, window.peaks))
    now = verdict_of(Part(window, window.latest)) if np.isfinite(window.load[window.latest]).sum() >= 2 else stale()
    return Saturation(peaks, now, skew_of(signals, window.peaks, thresholds.skew), measured)


def thin_words(window: Window, measured: int) -> str:
    if not measured:
        return "no requests, no requests in flight and no tokens were measured in this window"
    return f"not enough data: {measured} measured steps, {window.thresholds.steps_least} are needed"


def stale() -> Verdict:
    return Verdict(None, NAN, 0.0, cannot_tell="no load was measured in the last minutes")


def skew_of(signals: Signals, steps: Mask, threshold: float) -> Skew | None:
    """The busiest replica over the median one, when that is more than `threshold` and the busiest has two requests at least."""
    rows = signals.replica_running
    if rows is None or rows.ndim != 2 or rows.shape[0] < 2:
        return None
    part = rows[:, steps]
    known = np.isfinite(part).any(axis=1)
    if known.sum() < 2:
        return None
    means = np.where(known, np.nansum(part, axis=1) / np.maximum(np.isfinite(part).sum(axis=1), 1), NAN)
    busiest = int(np.nanargmax(means))
    ratio = float(means[busiest] / max(float(np.nanmedian(means)), 1.0))
    return Skew(ratio, busiest, int(known.sum())) if ratio > threshold and means[busiest] >= 2 else None


@dataclass(frozen=True)
class Case:
    """All readings of one part of a window."""

    part: Part
    seen: Symptoms

    @cached_property
    def readings(self) -> dict[Limit, Reading]:
        part, seen = self.part, self.seen
        t = part.window.thresholds
        if np.isfinite(seen.token_stretch):
            stretched = seen.token_stretch >= (symptoms.TOKEN_STRETCH if seen.waits else t.token_stretch)
        else:
            stretched = seen.waits or seen.slower
        found = (
            limits.throttling(part),
            limits.accelerator_memory(part),
            limits.kv_cache(part, waits=seen.waits),
            limits.memory_bandwidth(part, stretched=bool(stretched)),
            limits.compute(part),
            limits.cpu(part, slower=seen.slower),
            limits.network(part),
            symptoms.queue(part, seen),
            symptoms.upstream(part, seen),
        )
        return {reading.limit: reading for reading in found}

    def at(self, limit: Limit) -> bool:
        return self.readings[limit].state == "at"

    def unknown(self, *names: Limit) -> list[Reading]:
        return [self.readings[name] for name in names if self.readings[name].state == "unknown"]

    @cached_property
    def engine_strained(self) -> bool:
        """Whether the strain is in the model server itself, and not in what stands before it."""
        seen = self.seen
        return seen.waits or (seen.slower and not self.at(Limit.CPU) and not self.at(Limit.NETWORK))


def throttled(case: Case) -> bool:
    # A chip that does nothing may report a cap; it limits only where there is work and work suffers.
    busy = case.part.level("gpu_utilization_ratio")
    return case.at(Limit.THROTTLING) and not busy < case.part.window.thresholds.busy and (case.seen.any or not case.seen.judged)


def cached_full(case: Case) -> bool:
    # A cache that is full while the chip can do no more is no limit of its own: a larger one would only lengthen the batch.
    # Where tokens come as fast as ever it is not that far.
    seen = case.seen
    fast = (seen.token_stretch if np.isfinite(seen.token_stretch) else seen.served) < symptoms.TOKEN_STRETCH
    return case.at(Limit.KV_CACHE) and (fast or not (case.at(Limit.COMPUTE) or case.at(Limit.MEMORY_BANDWIDTH)))


# In this order: the first that holds is the answer. With each: what must be known, or it may be another.
ORDER: tuple[tuple[Limit, Callable[[Case], bool], tuple[Limit, ...]], ...] = (
    (Limit.THROTTLING, throttled, ()),
    (Limit.ACCELERATOR_MEMORY, lambda case: case.at(Limit.ACCELERATOR_MEMORY), ()),
    (Limit.KV_CACHE, cached_full, (Limit.MEMORY_BANDWIDTH, Limit.COMPUTE)),
    (Limit.COMPUTE, lambda case: case.at(Limit.COMPUTE) and case.engine_strained, (Limit.THROTTLING,)),
    (Limit.MEMORY_BANDWIDTH, lambda case: case.at(Limit.MEMORY_BANDWIDTH) and case.engine_strained, ()),
    (Limit.CPU, lambda case: case.at(Limit.CPU), ()),
    (Limit.NETWORK, lambda case: case.at(Limit.NETWORK), ()),
    (Limit.QUEUE, lambda case: case.at(Limit.QUEUE), INSIDE),
    (Limit.UPSTREAM, lambda case: case.at(Limit.UPSTREAM), (Limit.CPU, Limit.NETWORK, Limit.QUEUE, Limit.COMPUTE, Limit.MEMORY_BANDWIDTH)),
)


def verdict_of(part: Part) -> Verdict:
    case = Case(part, symptoms.symptoms_of(part))
    for limit, holds, needed in ORDER:
        if holds(case):
            return named(case, limit) if not blocked(case, limit, needed) else untold(case, blocked(case, limit, needed))
    if case.seen.any:
        return untold(case, case.unknown(*Limit))
    return nothing(case)


def blocked(case: Case, limit: Limit, needed: tuple[Limit, ...]) -> list[Reading]:
    """Unmeasured limits that could be the answer instead."""
    found = case.unknown(*needed)
    if limit is Limit.KV_CACHE and not case.seen.token_slower:
        return []  # tokens come as fast as ever: the chip has room
    if limit is Limit.UPSTREAM:
        # Without a link speed, bytes at a ceiling may be the link; without a queue or activity, answers on time say that there is room.
        found += (
            [case.readings[Limit.NETWORK]] if case.readings[Limit.NETWORK].state == "near" and (case.seen.flat or case.seen.slower) else []
        )
        prompt = case.seen.stretch < case.part.window.thresholds.stretch
        found = [each for each in found if each.limit in (Limit.CPU, Limit.NETWORK) or not prompt]
    return found


def named(case: Case, limit: Limit) -> Verdict:
    reading = case.readings[limit]
    beside = tuple(
        each for each in Limit if each is not limit and case.readings[each].state in ("at", "near") and each not in FOLLOWS.get(limit, ())
    )
    rivals = [each for each in beside if case.at(each)]
    early = limit in (Limit.COMPUTE, Limit.MEMORY_BANDWIDTH) and not case.seen.waits  # slower, and nobody waits yet
    confidence = reading.strength * (RIVAL if rivals else 1.0) * (EARLY if early else 1.0)
    confidence *= FEW if case.part.steps.sum() < FEW_STEPS else 1.0
    return Verdict(limit, share_of(reading.engaged), confidence, evidence_of(case, reading), beside=beside)


# What stands at its limit only because of another.
FOLLOWS: dict[Limit, tuple[Limit, ...]] = {
    Limit.THROTTLING: (Limit.COMPUTE, Limit.QUEUE, Limit.KV_CACHE),
    Limit.ACCELERATOR_MEMORY: (Limit.QUEUE,),
    Limit.KV_CACHE: (Limit.QUEUE,),
    Limit.COMPUTE: (Limit.QUEUE, Limit.KV_CACHE),
    Limit.MEMORY_BANDWIDTH: (Limit.QUEUE, Limit.KV_CACHE, Limit.COMPUTE),
    Limit.CPU: (Limit.UPSTREAM, Limit.QUEUE),
    Limit.NETWORK: (Limit.UPSTREAM, Limit.QUEUE),
    Limit.QUEUE: (),
    Limit.UPSTREAM: (),
}


def share_of(engaged: Floats) -> float:
    return float(np.nanmean(engaged)) if np.isfinite(engaged).any() else NAN


def evidence_of(case: Case, reading: Reading) -> tuple[Evidence, ...]:
    """That of the limit first, then what else shows the strain or its absence on the accelerator."""
    extra = symptom_evidence(case) + (Evidence("sm_active_ratio", case.part.level("sm_active_ratio"), "ratio"),)
    names = {each.name for each in reading.evidence}
    return reading.evidence + tuple(each for each in extra if each.name not in names and np.isfinite(each.value))


def symptom_evidence(case: Case) -> tuple[Evidence, ...]:
    t, seen = case.part.window.thresholds, case.seen
    return (
        Evidence("requests_waiting", seen.waiting, "requests", t.waiting_per_replica * case.part.window.replicas, "above"),
        Evidence("request_duration_stretch", seen.stretch, "times", t.stretch, "above"),
    )


def untold(case: Case, unknown: list[Reading]) -> Verdict:
    missing = tuple(dict.fromkeys(name for reading in unknown for name in reading.missing))
    sign = next((SIGNS[name] for name in ("waits", "slower") if getattr(case.seen, name)), SIGNS["flat"])
    why = (
        f"{sign}, and what decides is not measured: {missing_words(missing)}"
        if missing
        else f"{sign}, but nothing measured is at its limit"
    )
    beside = tuple(limit for limit in Limit if case.readings[limit].state in ("at", "near"))
    evidence = tuple(each for each in symptom_evidence(case) if np.isfinite(each.value))
    return Verdict(None, NAN, 0.0, evidence, why, missing, beside)


def nothing(case: Case) -> Verdict:
    if not case.seen.judged:
        names = ("requests_waiting", "request_duration_seconds")
        return Verdict(None, NAN, 0.0, cannot_tell=f"neither a queue nor a duration is measured: {missing_words(names)}", missing=names)
    around = (Limit.CPU, Limit.NETWORK, Limit.QUEUE)
    close = any(case.readings[each].state == "near" for each in (*around, Limit.ACCELERATOR_MEMORY))
    partly = bool(case.unknown(*around)) or close or symptoms.scatter_hides(case.part)
    evidence = tuple(each for each in symptom_evidence(case) if np.isfinite(each.value))
    evidence += tuple(
        Evidence(name, case.part.level(name), "ratio")
        for name in ("gpu_utilization_ratio", "sm_active_ratio")
        if case.part.window.known(name)
    )
    near = tuple(limit for limit in Limit if case.readings[limit].state == "near")
    missing = tuple(dict.fromkeys(name for reading in case.unknown(*around) for name in reading.missing))
    if case.unknown(Limit.CPU, Limit.NETWORK) and not case.part.window.token_server:
        # What such servers are sent is large and must be unpacked: a full link or core before them leaves them at ease.
        why = f"nothing that is measured limits it, and what stands before the server is not measured: {missing_words(missing)}"
        return Verdict(None, NAN, 0.0, evidence, why, missing, near)
    return Verdict(None, NAN, NOTHING_PART if partly else NOTHING_SURE, evidence, missing=missing, beside=near)

"""Deployments with a limit planted in them, and the proof by experiment that it is the limit.

A case is drawn at random, one thing in it is made tight, and then the simulator itself is asked: the deployment is flooded as it is, and
again with each resource in turn made 1.6 times as large. The limit is what raises the throughput, clearly more than anything else; a draw
in which that is not the planted one is thrown away. No threshold of the engine appears here.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from bench.saturation_replica import DONE, WAITING, Counts, Floats, Machine, engine_run, link_pass, pool_pass

LIMITS = ("queue", "compute", "memory_bandwidth", "kv_cache", "accelerator_memory", "throttling", "cpu", "network", "upstream")
NOTHING = "nothing"
RELAXED = 1.6
PAIN_LEAST = 1.3  # in the window shown, the busiest clients wait this many times as long as with the limit relaxed
LOST_SECONDS = 60.0
GAIN_LEAST = 0.2  # the limit, relaxed, brings at least this
GAIN_CLEAR = 1.7  # and this many times what anything else brings
THROTTLE_GAIN_LEAST, THROTTLE_GAIN_MOST = 0.35, 0.15  # clocks lowered enough to call it the cause; too little to spoil "compute"


@dataclass(frozen=True)
class Card:
    """An accelerator as sold: dense 16-bit FLOP/s, bytes/s, bytes, watts."""

    name: str
    flops: float
    bandwidth: float
    memory: float
    watts: float
    gpm: bool  # tells SM, tensor and DRAM activity without DCGM profiling
    links: tuple[float, ...]  # Gbit/s of hosts it is sold in


CARDS = (
    Card("A100-80GB", 312e12, 2.04e12, 80e9, 400, False, (10, 25, 100)),
    Card("A100-40GB", 312e12, 1.55e12, 40e9, 400, False, (10, 25)),
    Card("L4", 121e12, 0.30e12, 24e9, 72, False, (1, 10, 25)),
    Card("L40S", 362e12, 0.86e12, 48e9, 350, False, (10, 25)),
    Card("H100", 989e12, 3.35e12, 80e9, 700, True, (10, 25, 100)),
    Card("H200", 989e12, 4.8e12, 141e9, 700, True, (25, 100)),
)


@dataclass(frozen=True)
class Work:
    """What requests ask for."""

    prompt: float  # tokens, mean; of a plain server: units of work
    answer: float
    spread: float  # of the logarithm
    payload: float  # bytes in
    reply: float  # bytes out
    cpu_seconds: float
    dependency_seconds: float


@dataclass(frozen=True)
class Case:
    """A deployment of `replicas` like this one."""

    card: Card
    kind: str  # "llm", "embedding", "vision", "ranking"
    machine: Machine
    work: Work
    replicas: int
    cores: int  # of one replica's workers; 1: one busy thread
    cpu_style: str  # "quota", "node", "thread"
    node_cores: int
    node_cpu_others: float  # cores that others use
    link_rate: float  # bytes/s of one replica's host that it can get
    link_whole: float  # bytes/s of the host's link, others' traffic included
    gate_rate: float  # requests/s that come through from above, per replica
    pool: int  # connections to the dependency
    from_accept: bool  # running and duration count from acceptance, not from the engine's queue


@dataclass(frozen=True)
class Run:
    """What happened to the requests of one replica, and its accelerator."""

    asked: Floats  # by the client
    arrived: Floats  # at the replica, having passed the gate
    entered: Floats  # into the engine's queue
    started: Floats
    first: Floats
    left: Floats  # of the engine
    ended: Floats  # the reply is out
    status: Counts
    prompt: Counts
    answer: Counts
    payload: Floats
    reply: Floats
    received: Floats  # when the body was in
    called: Floats  # when the CPU could have begun
    cpu_starts: Floats
    sums: Floats
    gauges: Floats


def requests_draw(work: Work, size: int, rng: np.random.Generator, mix: Floats | float = 1.0) -> tuple[Counts, Counts, Floats]:
    """Prompt, answer and a factor for the payload; `mix` moves the payload over time."""
    tail = work.spread
    prompt = np.maximum(1, work.prompt * rng.lognormal(-tail * tail / 2, tail, size)).astype(np.int64)
    answer = (
        np.maximum(1, work.answer * rng.lognormal(-tail * tail / 2, tail, size)).astype(np.int64)
        if work.answer > 1
        else np.ones(size, np.int64)
    )
    return prompt, answer, mix * rng.lognormal(-0.08, 0.4, size)


def replica_run(
    case: Case, times: Floats, *, rng: np.random.Generator, end: float, step: float, warm: float, mix: Floats | float = 1.0
) -> Run:
    """times: ascending moments at which clients ask."""
    size, work = times.size, case.work
    prompt, answer, factor = requests_draw(work, size, rng, mix)
    hold = rng.lognormal(-0.03, 0.25, size) / max(case.gate_rate, 1e-9) * 4
    _, arrived = pool_pass(times, hold, 4) if np.isfinite(case.gate_rate) else (times, times)
    order = np.argsort(arrived, kind="stable")
    asked, arrived, prompt, answer, factor = times[order], arrived[order], prompt[order], answer[order], factor[order]
    payload, reply = work.payload * factor, work.reply * factor
    received = link_pass(arrived, payload, case.link_rate, 0.0005)
    _, called = pool_pass(received, work.dependency_seconds * rng.lognormal(-0.12, 0.5, size), case.pool)
    by_call = np.argsort(called, kind="stable")
    service = work.cpu_seconds * rng.lognormal(-0.08, 0.4, size) * (prompt / work.prompt if case.kind == "llm" else 1.0)
    starts, ends = pool_pass(called[by_call], service[by_call], case.cores)
    entered, cpu_starts = np.empty(size), np.empty(size)
    entered[by_call], cpu_starts[by_call] = ends, starts
    line = np.argsort(entered, kind="stable")
    got = engine_run(case.machine, entered[line], prompt[line], answer[line], end, step, warm, int(rng.integers(1 << 31)))
    back = np.empty(size, np.int64)
    back[line] = np.arange(size)
    started, first, left, status = (part[back] for part in got[:4])
    ended = np.full(size, np.nan)
    out = np.flatnonzero(np.isfinite(left))
    out = out[np.argsort(left[out], kind="stable")]
    ended[out] = link_pass(left[out], reply[out], case.link_rate, 0.0005)
    return Run(
        asked,
        arrived,
        entered,
        started,
        first,
        left,
        ended,
        status,
        prompt,
        answer,
        payload,
        reply,
        received,
        called,
        cpu_starts,
        got[4],
        got[5],
    )


def flood(case: Case, *, seed: int, size: int) -> float:
    """Answered requests per second of one replica when far more is asked than it can do; warm from long work."""
    rng = np.random.default_rng(seed)
    machine = case.machine._replace(patience_seconds=np.inf)
    steady = machine.room_celsius + machine.celsius_per_watt * (machine.idle_watts + machine.swing_watts * 0.6)
    end = 20000.0
    run = replica_run(
        replace(case, machine=machine), np.linspace(0.0, 0.01, size), rng=rng, end=end, step=end, warm=min(steady, machine.hot_celsius + 3)
    )
    times = np.sort(run.ended[(run.status == DONE) & np.isfinite(run.ended)])
    if times.size < size * 0.1:
        return 0.0
    low, high = int(times.size * 0.2), int(times.size * 0.85)
    return float((high - low) / max(times[high] - times[low], 1e-9))


def slots_relaxed(case: Case) -> Case:
    slots = case.machine.slots
    return replace(case, machine=case.machine._replace(slots=max(slots + 1, int(np.ceil(slots * RELAXED)))))


def memory_relaxed(case: Case) -> Case:
    """More memory for weights and batches; the pool of the KV cache stays as it is."""
    machine = case.machine
    more = (RELAXED - 1.0) * machine.memory
    return replace(case, machine=machine._replace(memory=machine.memory + more, spill_bytes=max(0.0, machine.spill_bytes - more)))


def cold(case: Case) -> Case:
    return replace(case, machine=case.machine._replace(cap_watts=1e6, hot_celsius=1e6))


RELAXATIONS: dict[str, Callable[[Case], Case]] = {
    "queue": slots_relaxed,
    "compute": lambda case: replace(case, machine=case.machine._replace(flops=case.machine.flops * RELAXED)),
    "memory_bandwidth": lambda case: replace(case, machine=case.machine._replace(bandwidth=case.machine.bandwidth * RELAXED)),
    "kv_cache": lambda case: replace(case, machine=case.machine._replace(cache_tokens=case.machine.cache_tokens * RELAXED)),
    "accelerator_memory": memory_relaxed,
    "throttling": cold,
    "cpu": lambda case: replace(case, work=replace(case.work, cpu_seconds=case.work.cpu_seconds / RELAXED)),
    "network": lambda case: replace(case, link_rate=case.link_rate * RELAXED),
    "upstream": lambda case: replace(
        case, gate_rate=case.gate_rate * RELAXED, work=replace(case.work, dependency_seconds=case.work.dependency_seconds / RELAXED)
    ),
}


def gains_measured(case: Case, *, seed: int, size: int) -> tuple[float, dict[str, float]]:
    """Throughput under flood, and by what share each relaxation raises it."""
    base = flood(case, seed=seed, size=size)
    if base <= 0:
        return 0.0, {}
    return base, {name: flood(change(case), seed=seed, size=size) / base - 1.0 for name, change in RELAXATIONS.items()}


def pain(run: Run, *, end: float, steps: int = 60) -> float:
    """Mean seconds a client of the busiest fifth of the window waits for its answer; a lost request counts as a minute."""
    edges = np.linspace(0, end, steps + 1)
    counts, _ = np.histogram(run.asked, edges)
    busiest = counts >= np.quantile(counts, 0.8)
    places = np.minimum((run.asked / end * steps).astype(np.int64), steps - 1)
    there = busiest[places]
    good = (run.status == DONE) & np.isfinite(run.ended)
    seconds = np.where(
        good, run.ended - run.asked, np.where(run.status == WAITING, np.maximum(end - run.asked, LOST_SECONDS), LOST_SECONDS)
    )
    return float(seconds[there].mean()) if there.any() else 0.0


def limit_proved(gains: dict[str, float]) -> str | None:
    """The one thing worth changing, or None. A throttled chip is slow at computing: there, compute is no rival but the same thing."""
    order = sorted(gains, key=lambda name: gains[name], reverse=True)
    if not order:
        return None
    if gains["throttling"] > THROTTLE_GAIN_LEAST:
        order = ["throttling"] + [name for name in order if name not in ("throttling", "compute")]
    elif gains["throttling"] > THROTTLE_GAIN_MOST and order[0] == "compute":
        return None
    if gains[order[0]] < GAIN_LEAST or gains[order[0]] < GAIN_CLEAR * gains[order[1]]:
        return None
    return order[0]

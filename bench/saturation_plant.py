"""Drawing deployments, and making one thing in each of them tight."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from bench.saturation_replica import Machine
from bench.saturation_world import CARDS, LIMITS, NOTHING, Card, Case, Work, flood, gains_measured, limit_proved

TRIES = 60
BODY_MOST = {"llm": 8e6, "embedding": 16e6, "vision": 64e6, "ranking": 16e6}  # bytes: pages and pictures, films
FLOOD = {"llm": 600, "embedding": 2500, "vision": 2500, "ranking": 2500}
# Parameters, bytes of KV cache per token at 16 bits.
MODELS = (
    (1.5e9, 28_000),
    (3e9, 114_000),
    (7e9, 524_000),
    (8e9, 131_000),
    (13e9, 820_000),
    (14e9, 196_000),
    (34e9, 196_000),
    (70e9, 328_000),
)


@dataclass(frozen=True)
class Planted:
    """A case, what limits it, and what it does at most (requests per second of one replica)."""

    case: Case
    limit: str
    throughput: float
    gains: dict[str, float]


def pick(rng: np.random.Generator, *values: float) -> float:
    return float(values[int(rng.integers(len(values)))])


def machine_of(card: Card, rng: np.random.Generator, group: int = 1) -> Machine:
    """A card with a server that has room for everything. `group`: cards that work as one."""
    idle = 0.12 * card.watts * group
    return Machine(
        flops=card.flops * group,
        flops_reached=rng.uniform(0.5, 0.78),
        bandwidth=card.bandwidth * group,
        bandwidth_reached=rng.uniform(0.78, 0.93),
        tensor=1.0,
        memory=card.memory * group,
        memory_held=0.5 * card.memory * group,
        token_flops=0.0,
        token_traffic=0.0,
        token_activation=0.0,
        weight_bytes=0.0,
        spill_bytes=0.0,
        pcie=22e9 * group,
        cache_bytes=0.0,
        cache_tokens=0.0,
        slots=256,
        budget=8192,
        launch_seconds=rng.uniform(0.0005, 0.003),
        host_seconds=rng.uniform(0.0005, 0.003),
        memory_retry_seconds=0.01,
        memory_failure=0.0,
        memory_crash=0.0,
        restart_seconds=30.0,
        idle_watts=idle,
        swing_watts=card.watts * group * rng.uniform(0.85, 1.05) - idle,
        cap_watts=card.watts * group,
        room_celsius=rng.uniform(24, 36),
        celsius_per_watt=rng.uniform(30, 42) / (card.watts * group),
        thermal_seconds=rng.uniform(40, 90),
        hot_celsius=85.0,
        patience_seconds=pick(rng, 20.0, 60.0, 1e9),
    )


def llm_draw(rng: np.random.Generator) -> Case:
    card = CARDS[int(rng.integers(len(CARDS)))]
    fitting = [model for model in MODELS if 2 * model[0] < 0.6 * card.memory] or [MODELS[0]]
    parameters, cache_bytes = fitting[int(rng.integers(len(fitting)))]
    weights = 2.0 * parameters
    room = 0.9 * card.memory - weights - 2e9
    machine = machine_of(card, rng)._replace(
        memory_held=0.9 * card.memory,
        token_flops=2.0 * parameters,
        weight_bytes=weights,
        cache_bytes=float(cache_bytes),
        cache_tokens=max(room / cache_bytes, 4096.0),
        budget=int(pick(rng, 2048, 4096, 8192)),
    )
    work = Work(rng.uniform(100, 1500), rng.uniform(60, 400), rng.uniform(0.3, 0.8), 6e3, 3e3, 0.003, 0.0)
    return surroundings(card, "llm", machine, work, rng)


def plain_draw(kind: str, rng: np.random.Generator) -> Case:
    """Servers with one forward pass a request: embeddings, vision, ranking with large tables."""
    card = CARDS[int(rng.integers(len(CARDS)))]
    machine = machine_of(card, rng)
    scale = card.flops / 312e12
    batch = int(pick(rng, 16, 32, 64))
    if kind == "embedding":
        parameters = rng.uniform(1e9, 5e9)
        machine = machine._replace(token_flops=2 * parameters, weight_bytes=2 * parameters, slots=batch, budget=batch * 256)
        work = Work(rng.uniform(100, 400), 1, rng.uniform(0.2, 0.6), 2e3, 8e3, 0.001, 0.0)
    elif kind == "vision":
        flops = rng.uniform(1e12, 4e12) * scale
        machine = machine._replace(
            token_flops=flops,
            token_traffic=rng.uniform(0.02, 0.08) * flops / card.flops * card.bandwidth,
            weight_bytes=0.4e9,
            slots=batch,
            budget=batch,
            tensor=pick(rng, 1.0, 1.0, 0.0),
        )
        work = Work(1, 1, 0.0, 3e5, 2e4, 0.002, 0.0)
    else:
        traffic = rng.uniform(6e9, 20e9) * card.bandwidth / 2e12
        machine = machine._replace(
            token_traffic=traffic,
            token_flops=traffic / card.bandwidth * card.flops * rng.uniform(0.01, 0.1),
            weight_bytes=0.2e9,
            slots=batch,
            budget=batch,
        )
        work = Work(1, 1, 0.0, 2e4, 4e3, 0.001, 0.0)
    return surroundings(card, kind, machine, work, rng)


def surroundings(card: Card, kind: str, machine: Machine, work: Work, rng: np.random.Generator) -> Case:
    link = pick(rng, *card.links) * 1e9 / 8
    cores = int(pick(rng, 8, 12, 16))
    return Case(
        card,
        kind,
        machine,
        work,
        replicas=int(pick(rng, 1, 1, 2, 3)),
        cores=cores,
        cpu_style="quota",
        node_cores=cores * int(pick(rng, 2, 4)),
        node_cpu_others=rng.uniform(0, 3),
        link_rate=link * 0.95,
        link_whole=link,
        gate_rate=np.inf,
        pool=64,
        from_accept=bool(rng.random() < 0.5),
    )


def any_draw(rng: np.random.Generator) -> Case:
    kind = ("llm", "llm", "embedding", "vision", "ranking")[int(rng.integers(5))]
    return llm_draw(rng) if kind == "llm" else plain_draw(kind, rng)


def free_throughput(case: Case, seed: int) -> float:
    return flood(case, seed=seed, size=FLOOD[case.kind])


def queue_tight(rng: np.random.Generator) -> Case:
    """Few slots, and iterations that are mostly gaps: a larger batch would cost next to nothing."""
    case = any_draw(rng)
    slots = int(pick(rng, 1, 2, 4, 6, 8, 12, 16))
    gaps = rng.uniform(0.004, 0.02)
    machine = case.machine._replace(slots=slots, launch_seconds=gaps * 0.7, host_seconds=gaps * 0.3)
    return replace(case, machine=machine)


def compute_tight(rng: np.random.Generator) -> Case:
    kind = ("llm", "embedding", "vision")[int(rng.integers(3))]
    if kind != "llm":
        return plain_draw(kind, rng)
    case = llm_draw(rng)
    return replace(case, work=replace(case.work, prompt=rng.uniform(1000, 5000), answer=rng.uniform(4, 40)))


def bandwidth_tight(rng: np.random.Generator) -> Case:
    if rng.random() < 0.4:
        return plain_draw("ranking", rng)
    case = llm_draw(rng)
    work = replace(case.work, prompt=rng.uniform(200, 1200), answer=rng.uniform(300, 900))
    return replace(case, work=work, machine=case.machine._replace(slots=int(pick(rng, 96, 128, 256))))


def cache_tight(rng: np.random.Generator) -> Case:
    """A small KV cache, and gaps between iterations that a larger batch would share."""
    case = llm_draw(rng)
    work = replace(case.work, prompt=rng.uniform(200, 1500), answer=rng.uniform(150, 600))
    sequences = rng.uniform(3, 14)
    gaps = rng.uniform(0.006, 0.03)
    machine = case.machine._replace(
        cache_tokens=max(sequences * (work.prompt + work.answer), 3000.0), launch_seconds=gaps * 0.6, host_seconds=gaps * 0.4
    )
    return replace(case, work=work, machine=machine)


def memory_tight(rng: np.random.Generator) -> Case:
    """Batches that do not fit, or weights that do not fit and come over PCIe again and again."""
    case = plain_draw(("embedding", "vision", "ranking")[int(rng.integers(3))], rng)
    machine = case.machine
    if rng.random() < 0.4:
        held = 0.97 * machine.memory
        return replace(
            case, machine=machine._replace(memory_held=held, spill_bytes=rng.uniform(0.05, 0.3) * machine.memory, weight_bytes=held * 0.2)
        )
    fitting = rng.uniform(1.5, 5)
    held = machine.memory * rng.uniform(0.5, 0.8)
    machine = machine._replace(
        memory_held=held,
        token_activation=(machine.memory - held) / (fitting * case.work.prompt),
        launch_seconds=rng.uniform(0.004, 0.015),
        memory_retry_seconds=rng.uniform(0.005, 0.04),
        memory_failure=rng.uniform(0.05, 0.4),
        memory_crash=pick(rng, 0.0, 0.0, 2e-4),
    )
    return replace(case, machine=machine)


def throttle_tight(rng: np.random.Generator) -> Case:
    case = compute_tight(rng)
    machine = case.machine
    if rng.random() < 0.5:
        return replace(case, machine=machine._replace(cap_watts=machine.idle_watts + machine.swing_watts * rng.uniform(0.08, 0.3)))
    return replace(case, machine=machine._replace(room_celsius=rng.uniform(52, 70)))


def cpu_tight(rng: np.random.Generator) -> Case:
    case = any_draw(rng)
    free = free_throughput(case, int(rng.integers(1 << 31)))
    style = ("quota", "node", "thread")[int(rng.integers(3))]
    cores = 1 if style == "thread" else int(pick(rng, 2, 3, 4, 8))
    others = rng.uniform(0.4, 1.2) * cores if style == "node" else case.node_cpu_others
    node = int(np.ceil(cores + others)) if style == "node" else case.node_cores
    seconds = cores / (rng.uniform(0.2, 0.55) * free)
    return replace(
        case,
        cores=cores,
        cpu_style=style,
        node_cores=node,
        node_cpu_others=node - cores if style == "node" else others,
        work=replace(case.work, cpu_seconds=seconds),
    )


def network_tight(rng: np.random.Generator) -> Case:
    """Bodies or replies that fill the link, or what neighbours leave of it; on a link small enough for bodies of sane size."""
    while True:
        case = any_draw(rng)
        free = free_throughput(case, int(rng.integers(1 << 31)))
        usage = rng.uniform(0.15, 0.55) * free
        fitting = [link for link in (1, 2.5, 10, 25, 100) if link * 1e9 / 8 / usage < BODY_MOST[case.kind]]
        if fitting:
            break
    whole = pick(rng, *fitting) * 1e9 / 8
    rate = whole * pick(rng, 0.95, 0.95, rng.uniform(0.3, 0.6)) * rng.uniform(0.97, 1.0)  # else: a neighbour takes the rest
    size = rate / usage
    work = (
        replace(case.work, payload=size, reply=size * 0.02) if rng.random() < 0.6 else replace(case.work, payload=size * 0.02, reply=size)
    )
    return replace(case, work=work, link_rate=rate, link_whole=whole)


def upstream_tight(rng: np.random.Generator) -> Case:
    case = any_draw(rng)
    free = free_throughput(case, int(rng.integers(1 << 31)))
    rate = rng.uniform(0.04, 0.3) * free
    if rng.random() < 0.5:
        return replace(case, gate_rate=rate)
    seconds = rng.uniform(0.05, 1.5)
    pool = max(1, round(rate * seconds))
    return replace(case, pool=pool, work=replace(case.work, dependency_seconds=pool / rate), from_accept=bool(rng.random() < 0.7))


TIGHT: dict[str, Callable[[np.random.Generator], Case]] = dict(
    zip(
        LIMITS,
        (queue_tight, compute_tight, bandwidth_tight, cache_tight, memory_tight, throttle_tight, cpu_tight, network_tight, upstream_tight),
        strict=True,
    )
)


def plant(limit: str, rng: np.random.Generator) -> Planted:
    """Draw until the experiment agrees. `NOTHING` takes any deployment: its load stays low."""
    for _ in range(TRIES):
        case = any_draw(rng) if limit == NOTHING else TIGHT[limit](rng)
        if limit == NOTHING:
            throughput = free_throughput(case, int(rng.integers(1 << 31)))
            if throughput > 0:
                return Planted(case, NOTHING, throughput, {})
            continue
        throughput, gains = gains_measured(case, seed=int(rng.integers(1 << 31)), size=FLOOD[case.kind])
        if limit_proved(gains) == limit:
            return Planted(case, limit, throughput, gains)
    raise RuntimeError(f"no draw in {TRIES} was limited by {limit}")

"""What servers, NVML and the host would show of a planted deployment: stored columns with noise, gaps and missing signals."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench import saturation_replica as sim
from bench.saturation_plant import Planted, plant
from bench.saturation_replica import DONE, FAILED, Floats
from bench.saturation_world import LIMITS, NOTHING, PAIN_LEAST, RELAXATIONS, Case, Run, pain, replica_run

SEEN, REMOVED = 14, 6  # cases of each limit with all that decides, and without
NAN = float("nan")
# Columns that come and go together, because one exporter, one setting or one permission gives them.
GROUPS: dict[str, tuple[str, ...]] = {
    "activity": ("gr_engine_active_ratio", "sm_active_ratio", "tensor_active_ratio", "dram_active_ratio"),
    "dram": ("dram_active_ratio",),
    "clocks": (
        "throttle_power_ratio",
        "throttle_thermal_ratio",
        "sm_clock_hertz",
        "power_watts",
        "power_limit_watts",
        "temperature_celsius",
    ),
    "clock": ("sm_clock_hertz",),
    "accelerator": ("gpu_utilization_ratio", "memory_copy_utilization_ratio"),
    "memory": ("gpu_memory_used_bytes", "gpu_memory_total_bytes"),
    "pcie": ("pcie_receive_bytes_per_second",),
    "cache": ("kv_cache_usage_ratio", "preemptions_per_second"),
    "preemptions": ("preemptions_per_second",),
    "queue": ("requests_waiting", "queue_seconds_per_second", "queue_time_seconds"),
    "running": ("requests_running",),
    "latency": ("request_duration_seconds", "request_seconds_per_second", "time_to_first_token_seconds", "time_per_output_token_seconds"),
    "tokens": ("input_tokens_per_second", "output_tokens_per_second"),
    "batches": ("batched_requests_per_second", "batches_per_second"),
    "failures": ("errors_per_second", "restarts_per_second"),
    "cpu": ("cpu_usage_cores", "cpu_requested_cores", "cpu_throttled_ratio", "cpu_utilization_ratio", "cpu_pressure_ratio"),
    "node_cpu": ("cpu_utilization_ratio", "cpu_pressure_ratio"),
    "network": (
        "network_receive_bytes_per_second",
        "network_transmit_bytes_per_second",
        "node_receive_bytes_per_second",
        "node_transmit_bytes_per_second",
        "link",
    ),
}
# Without these nobody could say it: what removed cases lack.
DECIDING: dict[str, tuple[tuple[str, ...], ...]] = {
    "queue": (("queue", "running"), ("activity",)),
    "compute": (("activity",), ("clocks", "activity")),
    "memory_bandwidth": (("dram",), ("activity",)),
    "kv_cache": (("cache",),),
    "accelerator_memory": (("memory", "pcie"),),
    "throttling": (("clocks",),),
    "cpu": (("cpu",),),
    "network": (("network",),),
    "upstream": (("activity", "accelerator", "cpu", "network"),),
}
# What a seen case may lack besides: nothing that is needed to tell this limit from the others.
BESIDE: dict[str, tuple[str, ...]] = {
    "queue": ("pcie", "tokens", "batches", "preemptions", "node_cpu", "failures", "network"),
    "compute": ("pcie", "tokens", "batches", "cache", "memory", "cpu", "network", "failures"),
    "memory_bandwidth": ("pcie", "batches", "preemptions", "memory", "cpu", "network", "failures"),
    "kv_cache": ("activity", "pcie", "batches", "memory", "cpu", "network", "failures", "tokens"),
    "accelerator_memory": ("activity", "batches", "cache", "cpu", "network", "tokens"),
    "throttling": ("activity", "pcie", "batches", "cache", "memory", "cpu", "network", "clock"),
    "cpu": ("clocks", "pcie", "batches", "tokens", "memory", "preemptions", "network"),
    "network": ("clocks", "pcie", "batches", "memory", "preemptions"),
    "upstream": ("clocks", "pcie", "batches", "memory", "preemptions"),
    NOTHING: ("pcie", "batches", "memory", "preemptions", "failures", "activity", "clocks"),
}


@dataclass(frozen=True)
class Telemetry:
    """What the engine is given of one deployment."""

    step_seconds: float
    columns: dict[str, Floats]  # (n,) each, NaN = not measured
    link_bytes_per_second: float  # of one node; NaN: nobody has said
    replica_running: Floats | None  # (replicas, n)


@dataclass(frozen=True)
class Observed:
    """One question to the engine, and its answer by experiment."""

    planted: Planted
    telemetry: Telemetry
    removed: tuple[str, ...]  # deciding groups that were taken away; empty: the limit can be told
    beside: tuple[str, ...]
    ends_at_peak: bool

    @property
    def truth(self) -> str:
        return self.planted.limit


def demand_shape(times: Floats, limit: str, case: Case, rng: np.random.Generator, ends_at_peak: bool) -> Floats:
    """Requests asked, as a share of what the deployment can do: hills and a valley, as a working day has."""
    low = rng.uniform(0.12, 0.3)
    peak = {"memory_bandwidth": rng.uniform(0.9, 1.05), NOTHING: rng.uniform(0.25, 0.5), "upstream": rng.uniform(1.1, 1.8)}.get(
        limit, rng.uniform(1.05, 1.4)
    )
    part = times / times[-1]
    hills = float(rng.integers(1, 3))
    phase = 0.5 * np.pi - 2 * np.pi * hills if ends_at_peak else rng.uniform(0, 2 * np.pi)
    hill = (0.5 + 0.5 * np.sin(2 * np.pi * hills * part + phase)) ** rng.uniform(0.7, 1.6)
    rough = np.repeat(rng.lognormal(0, rng.uniform(0.02, 0.08), times.size // 8 + 1), 8)[: times.size]
    return np.maximum((min(low, peak * 0.5) + (peak - min(low, peak * 0.5)) * hill) * rough, 0.01)


def arrivals_draw(rates: Floats, step: float, rng: np.random.Generator) -> Floats:
    counts = rng.poisson(rates * step * rng.gamma(40, 1 / 40, rates.size))
    return np.sort(np.repeat(np.arange(rates.size), counts) * step + rng.uniform(0, step, int(counts.sum())))


def per_step(moments: Floats, step: float, size: int, weights: Floats | None = None) -> Floats:
    known = np.isfinite(moments) & (moments < size * step)
    places = (moments[known] / step).astype(np.int64)
    return np.bincount(places, weights[known] if weights is not None else None, minlength=size).astype(np.float64) / step


def median_per_step(moments: Floats, values: Floats, step: float, size: int) -> Floats:
    out = np.full(size, NAN)
    known = np.flatnonzero(np.isfinite(moments) & np.isfinite(values) & (moments < size * step))
    places = (moments[known] / step).astype(np.int64)
    order = np.argsort(places, kind="stable")
    cuts = np.searchsorted(places[order], np.arange(size + 1))
    for i in range(size):
        part = known[order[cuts[i] : cuts[i + 1]]]
        if part.size:
            out[i] = np.median(values[part])
    return out


def standing(begins: Floats, ends: Floats, moments: Floats) -> Floats:
    """How many are between begin and end at each moment."""
    sure = np.where(np.isfinite(ends), ends, np.inf)
    return (np.searchsorted(np.sort(begins[np.isfinite(begins)]), moments) - np.searchsorted(np.sort(sure), moments)).astype(np.float64)


def waited_share(run: Run, step: float, size: int) -> Floats:
    """Share of each step in which some task had work and no core."""
    fine = 20
    moments = (np.arange(size * fine) + 0.5) * step / fine
    return (standing(run.called, run.cpu_starts, moments) > 0).reshape(size, fine).mean(axis=1)


def replica_columns(case: Case, run: Run, step: float, size: int) -> dict[str, Floats]:
    """Columns of one replica before noise."""
    s, g = run.sums[:size] / step, run.gauges[:size]
    at = (np.arange(size) + 1) * step
    accept = case.from_accept
    done = run.ended if accept else run.left
    begun = run.arrived if accept else run.entered
    good = np.where(run.status == DONE, done, NAN)
    before = standing(run.arrived, run.entered, at) + standing(run.left, run.ended, at) if accept else 0.0
    out = {
        "requests_per_second": per_step(done, step, size),
        "errors_per_second": per_step(np.where(run.status == FAILED, done, NAN), step, size),
        "requests_running": g[:, sim.RUNNING] + before,
        "requests_waiting": g[:, sim.QUEUED],
        "request_seconds_per_second": per_step(good, step, size, done - begun),
        "queue_seconds_per_second": per_step(good, step, size, run.started - run.entered),
        "request_duration_seconds": median_per_step(good, done - begun, step, size),
        "queue_time_seconds": median_per_step(good, run.started - run.entered, step, size),
        "restarts_per_second": s[:, sim.DOWN],
        "cpu_usage_cores": per_step(run.entered, step, size, run.entered - run.cpu_starts)
        + s[:, sim.HOST] * (0.1 if case.cpu_style == "thread" else 1.0),
        "waited": waited_share(run, step, size),
        "network_receive_bytes_per_second": per_step(run.received, step, size, run.payload),
        "network_transmit_bytes_per_second": per_step(run.ended, step, size, run.reply),
        "gpu_utilization_ratio": np.minimum(s[:, sim.BUSY], 1.0),
        "gr_engine_active_ratio": np.minimum(s[:, sim.KERNEL], 1.0),
        "sm_active_ratio": np.minimum(s[:, sim.SM], 1.0),
        "tensor_active_ratio": np.minimum(s[:, sim.TENSOR], 1.0),
        "dram_active_ratio": np.minimum(s[:, sim.DRAM], 1.0),
        "power_watts": s[:, sim.ENERGY],
        "throttle_power_ratio": np.minimum(s[:, sim.BY_POWER], 1.0),
        "throttle_thermal_ratio": np.minimum(s[:, sim.BY_HEAT], 1.0),
        "temperature_celsius": g[:, sim.CELSIUS],
        "clock": np.where(s[:, sim.BUSY] > 0.01, s[:, sim.CLOCK] / np.maximum(s[:, sim.BUSY], 1e-9), NAN),
        "gpu_memory_used_bytes": g[:, sim.MEMORY],
        "pcie_receive_bytes_per_second": s[:, sim.SPILLED] + per_step(run.started, step, size, run.payload * 0.3),
    }
    if case.kind == "llm":
        out |= {
            "kv_cache_usage_ratio": g[:, sim.CACHE],
            "preemptions_per_second": s[:, sim.PREEMPTED],
            "output_tokens_per_second": s[:, sim.ANSWER],
            "time_to_first_token_seconds": median_per_step(run.first, run.first - begun, step, size),
            "time_per_output_token_seconds": median_per_step(good, (run.left - run.first) / np.maximum(run.answer - 1, 1), step, size),
        }
    else:
        out |= {"batched_requests_per_second": s[:, sim.BATCHED], "batches_per_second": s[:, sim.ITERATIONS]}
    if case.kind in ("llm", "embedding"):
        out["input_tokens_per_second"] = per_step(run.started, step, size, run.prompt.astype(np.float64))
    return out


SUMMED = ("per_second", "requests_running", "requests_waiting", "_cores", "_watts", "memory_used_bytes")
GREATEST = ("kv_cache_usage_ratio", "throttle", "temperature", "waited")


def folded(parts: list[dict[str, Floats]]) -> dict[str, Floats]:
    """Replicas into a deployment, as the store folds them."""
    out = {}
    with np.errstate(all="ignore"):
        for name in parts[0]:
            stack = np.vstack([part[name] for part in parts])
            if any(word in name for word in SUMMED):
                out[name] = stack.sum(axis=0)
            elif any(word in name for word in GREATEST):
                out[name] = stack.max(axis=0)
            else:
                known = np.isfinite(stack).sum(axis=0)
                out[name] = np.where(known > 0, np.nansum(stack, axis=0) / known, NAN)
    return out


def hosted(case: Case, got: dict[str, Floats], rng: np.random.Generator) -> dict[str, Floats]:
    """What the host and the driver say beside: limits, neighbours, clocks in hertz."""
    size, waited = got["waited"].size, got.pop("waited")
    n, machine = case.replicas, case.machine
    used = got["cpu_usage_cores"]
    got["cpu_requested_cores"] = np.full(size, float(n * (case.cores if case.cpu_style == "quota" else max(2, case.cores // 2))))
    if case.cpu_style == "quota":
        got["cpu_throttled_ratio"] = waited * rng.uniform(0.75, 1.0)
    elif rng.random() < 0.5:
        got["cpu_throttled_ratio"] = np.zeros(size)
    got["cpu_utilization_ratio"] = np.minimum((used / n + case.node_cpu_others) / case.node_cores, 1.0)
    got["cpu_pressure_ratio"] = waited * rng.uniform(0.7, 1.0) if case.cpu_style == "node" else np.clip(rng.normal(0.02, 0.01, size), 0, 1)
    others = max(case.link_whole * 0.95 - case.link_rate, 0.0) * rng.uniform(0.97, 1.0)
    others_in, others_out = (others, others) if others > 0 else (case.link_whole * 0.01, case.link_whole * 0.01)
    got["node_receive_bytes_per_second"] = got["network_receive_bytes_per_second"] / n + others_in
    got["node_transmit_bytes_per_second"] = got["network_transmit_bytes_per_second"] / n + others_out
    got["replicas_ready"] = np.full(size, float(n))
    got["gpu_memory_total_bytes"] = np.full(size, machine.memory * n)
    got["power_limit_watts"] = np.full(size, machine.cap_watts * n)
    clock = got.pop("clock")
    idle = 0.35 if rng.random() < 0.5 else 1.0
    busy = got["gpu_utilization_ratio"]
    got["sm_clock_hertz"] = 1.755e9 * np.where(busy > 0.01, np.nan_to_num(clock, nan=1.0) * busy + idle * (1 - busy), idle)
    got["memory_copy_utilization_ratio"] = np.clip(busy * (0.15 + 0.7 * got["dram_active_ratio"]), 0, 1)
    return got


def noisy(columns: dict[str, Floats], rng: np.random.Generator) -> dict[str, Floats]:
    """Jitter of scrapes, late samples, a gap of one exporter, a spike now and then."""
    sigma, lost = rng.uniform(0.005, 0.035), rng.uniform(0.0, 0.08)
    spiky = rng.random() < 0.3
    out = {}
    for name, values in columns.items():
        steady = (
            name.startswith(("replicas", "cpu_requested", "gpu_memory_total", "power_limit", "requests_", "kv_", "gpu_memory_used"))
            and name != "requests_per_second"
        )
        line = values * (1.0 if steady else rng.lognormal(0, sigma, values.size))
        if name.endswith("_ratio"):
            line = np.minimum(line, 1.0)
        if spiky and name.endswith("per_second"):
            line = line * np.where(rng.random(values.size) < 0.01, 3.0, 1.0)
        line[rng.random(values.size) < lost] = NAN
        out[name] = line
    if rng.random() < 0.3:
        start, length = int(rng.integers(values.size - 8)), int(rng.integers(3, 8))
        for name in out:
            if name.startswith(("gpu_", "sm_", "dram_", "tensor_", "power_", "throttle_")):
                out[name][start : start + length] = NAN
    return out


def telemetry_make(planted: Planted, rng: np.random.Generator, *, ends_at_peak: bool) -> Telemetry | None:
    """None when this window does not hurt: the same requests with the limit relaxed are answered nearly as soon."""
    case = planted.case
    size = int(rng.integers(100, 150))
    step = 15.0 if planted.throughput > 60 else float(rng.choice([15.0, 30.0, 60.0]))
    rates = planted.throughput * demand_shape(np.arange(1, size + 1) * step, planted.limit, case, rng, ends_at_peak)
    mix = np.exp(np.cumsum(rng.normal(0, 0.05, size)) - 0.0)
    mix = np.clip(mix / np.median(mix), 0.75, 1.33)
    parts = []
    for _ in range(case.replicas):
        times = arrivals_draw(rates, step, rng)
        factors = mix[np.minimum((times / step).astype(np.int64), size - 1)]
        run = window_run(case, times, size * step, step, factors, seed := int(rng.integers(1 << 31)))
        if not parts and planted.limit != NOTHING:
            eased = window_run(RELAXATIONS[planted.limit](case), times, size * step, step, factors, seed)
            if pain(run, end=size * step) < PAIN_LEAST * pain(eased, end=size * step):
                return None
        parts.append(replica_columns(case, run, step, size))
    running = np.vstack([part["requests_running"] for part in parts])
    link = case.link_whole if rng.random() < 0.5 else NAN
    return Telemetry(step, noisy(hosted(case, folded(parts), rng), rng), link, running)


def window_run(case: Case, times: Floats, end: float, step: float, mix: Floats, seed: int) -> Run:
    warm = case.machine.room_celsius + 15
    return replica_run(case, times, rng=np.random.default_rng(seed), end=end, step=step, warm=warm, mix=mix)


def without(telemetry: Telemetry, groups: tuple[str, ...]) -> Telemetry:
    gone = {name for group in groups for name in GROUPS[group]}
    kept = {name: values for name, values in telemetry.columns.items() if name not in gone}
    link = NAN if "link" in gone else telemetry.link_bytes_per_second
    running = telemetry.replica_running if "requests_running" in kept else None
    return Telemetry(telemetry.step_seconds, kept, link, running)


def case_make(limit: str, *, seed: int, number: int, remove: bool) -> Observed:
    rng = np.random.default_rng([seed, (*LIMITS, NOTHING).index(limit), number])
    ends_at_peak = bool(rng.random() < 0.4)
    telemetry = None
    while telemetry is None:
        planted = plant(limit, rng)
        telemetry = telemetry_make(planted, rng, ends_at_peak=ends_at_peak)
    options = DECIDING[limit] if remove else ((),)
    removed = options[int(rng.integers(len(options)))]
    beside = tuple(str(name) for name in rng.choice(BESIDE[limit], int(rng.integers(0, 4)), replace=False))
    return Observed(planted, without(telemetry, (*removed, *beside)), removed, beside, ends_at_peak)


def fleet_make(seed: int, *, seen: int = SEEN, removed: int = REMOVED, done: Callable[[str], None] = lambda limit: None) -> list[Observed]:
    """`seen + removed` cases of each limit, and as many deployments as `seen + removed` that nothing limits."""
    out = []
    for limit in (*LIMITS, NOTHING):
        count = seen + removed
        out += [case_make(limit, seed=seed, number=k, remove=limit != NOTHING and k >= seen) for k in range(count)]
        done(limit)
    return out

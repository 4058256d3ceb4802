"""One function per limit of the hardware and its host: how near it is in one part of a window, from what, and what is missing to say so."""

import numpy as np

from capacity.engine.saturation.records import Evidence, Floats, Limit, Reading
from capacity.engine.saturation.window import NAN, Part

STANDARD_LINKS = np.array([1, 2.5, 5, 10, 20, 25, 40, 50, 100, 200, 400]) * 1e9 / 8
LINK_REACHED = (0.86, 1.0)  # of a standard link: headers and gaps take the rest
SMALL_TRAFFIC = 40e6  # bytes/s: a third of the smallest link
ONE_THREAD = (0.88, 1.12)
MEMORY_BOUND_AT, MATH_BOUND_AT = 0.8, 0.6  # what DRAM and tensor activity read when kernels can do no more


def above(part: Part, name: str, threshold: float, unit: str = "ratio", value: float | None = None) -> Evidence:
    return Evidence(name, part.level(name) if value is None else value, unit, threshold, "above")


def below(part: Part, name: str, threshold: float, unit: str = "ratio", value: float | None = None) -> Evidence:
    return Evidence(name, part.level(name) if value is None else value, unit, threshold, "below")


def shown(*evidence: Evidence) -> tuple[Evidence, ...]:
    """Only what was measured."""
    return tuple(each for each in evidence if np.isfinite(each.value))


def reached(values: Floats, threshold: float) -> Floats:
    return np.where(np.isfinite(values), (np.nan_to_num(values) >= threshold).astype(np.float64), NAN)


def any_of(*flags: Floats) -> Floats:
    """1 where any is, 0 where those that are known are not, NaN where none is known."""
    stack = np.vstack(flags)
    known = np.isfinite(stack).any(axis=0)
    return np.where(known, np.nan_to_num(stack).max(axis=0), NAN)


def throttling(part: Part) -> Reading:
    """Clocks lowered by the power cap or by heat while there is work. A few percent lost at the cap is how cards are built, not a limit."""
    t = part.window.thresholds
    names = ("throttle_power_ratio", "throttle_thermal_ratio")
    power, heat = part.level(names[0]), part.level(names[1])
    share = float(np.nanmax([power, heat])) if np.isfinite([power, heat]).any() else NAN
    loss = clock_loss(part)
    name = names[1] if np.nan_to_num(heat) >= np.nan_to_num(power) else names[0]
    engaged = any_of(*(reached(part.window[each], t.throttled) for each in names))
    evidence = shown(
        above(part, name, t.throttled),
        Evidence("clock_loss_ratio", loss, "ratio", t.clock_loss, "above"),
        Evidence("temperature_celsius", part.level("temperature_celsius"), "celsius", t.hot_celsius, "above"),
        Evidence("power_to_limit_ratio", part.ratio("power_watts", "power_limit_watts"), "ratio", 0.95, "above"),
    )
    if np.isfinite(share):
        if share < t.throttled:
            return Reading(Limit.THROTTLING, "clear", evidence=evidence[:2])
        if np.isfinite(loss):
            least = t.clock_loss if name == names[0] else t.clock_loss_heat
            state, strength = ("at", 0.92 if loss >= t.clock_loss else 0.75) if loss >= least else ("near", 0.4)
        else:
            # By heat clocks fall far and are not meant to; at the power cap they may have lost a little only.
            state, strength = "at", 0.8 if name == names[1] else 0.65
        return Reading(Limit.THROTTLING, state, strength, evidence, engaged=engaged)
    return clocks_alone(part, loss, evidence)


def clocks_alone(part: Part, loss: float, evidence: tuple[Evidence, ...]) -> Reading:
    """Without a reason from the driver: clocks that fall under load, at the power limit or hot."""
    t = part.window.thresholds
    at_limit = np.nan_to_num(part.ratio("power_watts", "power_limit_watts")) >= 0.93
    hot = np.nan_to_num(part.level("temperature_celsius")) >= t.hot_celsius
    if np.isfinite(loss):
        if loss >= t.clock_loss:
            return Reading(Limit.THROTTLING, "at", 0.8 if at_limit or hot else 0.6, evidence)
        return Reading(Limit.THROTTLING, "clear", evidence=evidence)
    if not at_limit and not hot and part.window.known("power_limit_watts") and part.window.known("temperature_celsius"):
        return Reading(Limit.THROTTLING, "clear", evidence=evidence)
    return Reading(Limit.THROTTLING, "unknown", missing=("throttle_power_ratio", "throttle_thermal_ratio", "sm_clock_hertz"))


def clock_loss(part: Part) -> float:
    """Share of the clock lost against busy steps that were not throttled; NaN when there is no such step to compare with."""
    window, t = part.window, part.window.thresholds
    clock, now = window["sm_clock_hertz"], part.level("sm_clock_hertz")
    # Both must be measured in a step before it counts as free: one of them may just be missing there.
    reasons = [window[name] for name in ("throttle_power_ratio", "throttle_thermal_ratio") if window.known(name)]
    throttled = np.max(np.vstack(reasons), axis=0) if reasons else np.full(clock.size, NAN)
    known = np.isfinite(clock)
    if not known.any() or not np.isfinite(now):
        return NAN
    highest = 1.0 - now / float(np.quantile(clock[known], 0.95))
    # An idle chip may rest at a low clock: only a busy step says what it could do.
    worked = window["gpu_utilization_ratio"] >= t.busy if window.known("gpu_utilization_ratio") else known
    free = known & (throttled < 0.1) & worked
    if highest >= t.clock_loss or not np.isfinite(throttled).any():
        return highest
    return 1.0 - now / float(np.quantile(clock[free], 0.95)) if free.sum() >= 3 else NAN


def accelerator_memory(part: Part) -> Reading:
    """Full memory that shows: lost requests, restarts, or weights that come over PCIe again and again."""
    t, window = part.window.thresholds, part.window
    if window.token_server:
        return Reading(Limit.ACCELERATOR_MEMORY, "none")  # such servers take nearly all of it at the start, whatever the load
    used = part.ratio("gpu_memory_used_bytes", "gpu_memory_total_bytes")
    swap = part.level("pcie_receive_bytes_per_second")
    errors = part.ratio("errors_per_second", "requests_per_second")
    restarts = part.mean("restarts_per_second")
    swaps = swap >= t.swap_bytes_per_second and swap > 3 * np.nan_to_num(part.level("network_receive_bytes_per_second"))
    fails = np.nan_to_num(errors) >= t.error_ratio or np.nan_to_num(restarts) > 0
    evidence = shown(
        Evidence("gpu_memory_used_ratio", used, "ratio", t.memory, "above"),
        Evidence("error_ratio", errors, "ratio", t.error_ratio, "above"),
        Evidence("restarts_per_second", restarts if np.nan_to_num(restarts) > 0 else NAN, "1/s", 0.0, "above"),
        Evidence("pcie_receive_bytes_per_second", swap if swaps else NAN, "bytes/s", t.swap_bytes_per_second, "above"),
    )
    if not np.isfinite(used):
        missing = ("gpu_memory_used_bytes", "gpu_memory_total_bytes")
        return (
            Reading(Limit.ACCELERATOR_MEMORY, "at", 0.6, evidence)
            if swaps
            else Reading(Limit.ACCELERATOR_MEMORY, "unknown", evidence=evidence, missing=missing)
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        engaged = reached(window["gpu_memory_used_bytes"] / window["gpu_memory_total_bytes"], t.memory)
    if used < t.memory:
        return Reading(Limit.ACCELERATOR_MEMORY, "clear", evidence=evidence)
    if swaps or fails:
        return Reading(
            Limit.ACCELERATOR_MEMORY, "at", 0.9 if swaps or part.mean("errors_per_second") > 0 else 0.8, evidence, engaged=engaged
        )
    if not window.known("errors_per_second", "restarts_per_second") or not window.known("pcie_receive_bytes_per_second"):
        return Reading(Limit.ACCELERATOR_MEMORY, "unknown", 0.5, evidence, ("errors_per_second", "pcie_receive_bytes_per_second"), engaged)
    return Reading(Limit.ACCELERATOR_MEMORY, "near", 0.4, evidence, engaged=engaged)


def kv_cache(part: Part, *, waits: bool) -> Reading:
    """No room for another sequence: a full cache with requests waiting for it, or sequences pushed out of it."""
    t, window = part.window.thresholds, part.window
    if not window.token_server:
        return Reading(Limit.KV_CACHE, "none")
    used, pushed = part.level("kv_cache_usage_ratio"), part.mean("preemptions_per_second")
    evidence = shown(
        Evidence("kv_cache_usage_ratio", used, "ratio", t.kv_cache, "above"),
        Evidence("preemptions_per_second", pushed, "1/s", t.preemptions_per_second, "above"),
        Evidence("requests_waiting", part.level("requests_waiting"), "requests"),
    )
    engaged = any_of(
        reached(window["kv_cache_usage_ratio"], t.kv_cache), reached(window["preemptions_per_second"], t.preemptions_per_second)
    )
    pushes = np.nan_to_num(pushed) >= t.preemptions_per_second
    if not np.isfinite(used):
        if pushes:
            return Reading(Limit.KV_CACHE, "at", 0.8, evidence, engaged=engaged)
        state = "clear" if np.isfinite(pushed) and not waits else "unknown"
        return Reading(Limit.KV_CACHE, state, evidence=evidence, missing=("kv_cache_usage_ratio", "preemptions_per_second"))
    # A cache of few long sequences is full before it reads so: the next one does not fit.
    running = part.level("requests_running") / window.replicas
    full = min(t.kv_cache, max(0.6, 1.0 - 1.3 * used / running)) if running >= 1 else t.kv_cache
    if used >= full and (pushes or waits):
        return Reading(Limit.KV_CACHE, "at", 0.93 if pushes and waits else 0.85, evidence, engaged=engaged)
    if used >= t.kv_cache or pushes:
        return Reading(Limit.KV_CACHE, "near", 0.6, evidence, engaged=engaged)
    return Reading(Limit.KV_CACHE, "clear", evidence=evidence)


def compute(part: Part) -> Reading:
    """Arithmetic units busy: the tensor pipe, or SMs that are not waiting for memory."""
    t, window = part.window.thresholds, part.window
    sm, tensor, dram, busy = (
        part.level(n) for n in ("sm_active_ratio", "tensor_active_ratio", "dram_active_ratio", "gpu_utilization_ratio")
    )
    evidence = shown(
        above(part, "tensor_active_ratio", t.tensor_active),
        above(part, "sm_active_ratio", t.sm_active),
        below(part, "dram_active_ratio", t.dram_active),
    )
    pipe = reached(window["tensor_active_ratio"], t.tensor_active)
    engaged = any_of(
        pipe, np.where(np.nan_to_num(window["dram_active_ratio"]) < t.dram_active, reached(window["sm_active_ratio"], t.sm_active), 0.0)
    )
    if busy < t.busy or sm < 0.6:
        return Reading(Limit.COMPUTE, "clear", evidence=evidence or shown(below(part, "gpu_utilization_ratio", t.busy)))
    if tensor >= t.tensor_active and not np.nan_to_num(dram) / MEMORY_BOUND_AT > tensor / MATH_BOUND_AT:
        # Half the peak is what kernels reach: far above the threshold it is arithmetic, whatever the memory does.
        alone = 0.8 if tensor >= 1.25 * t.tensor_active else 0.6
        return Reading(Limit.COMPUTE, "at", 0.9 if np.isfinite(dram) else alone, evidence, engaged=engaged)
    if sm >= t.sm_active and dram < 0.8 * t.dram_active:
        return Reading(Limit.COMPUTE, "at", 0.85, evidence, engaged=engaged)
    if np.isfinite(dram) and (np.isfinite(sm) or np.isfinite(tensor)):
        return Reading(Limit.COMPUTE, "near" if np.nan_to_num(sm) >= t.sm_active else "clear", 0.4, evidence)
    names = [name for name in ("sm_active_ratio", "tensor_active_ratio", "dram_active_ratio") if not window.known(name)]
    return Reading(Limit.COMPUTE, "unknown", evidence=evidence, missing=tuple(names))


def memory_bandwidth(part: Part, *, stretched: bool) -> Reading:
    """The memory interface busy AND answers that slow down with load: decoding a small batch reads all weights and still has room."""
    t, window = part.window.thresholds, part.window
    sm, tensor, dram, busy = (
        part.level(n) for n in ("sm_active_ratio", "tensor_active_ratio", "dram_active_ratio", "gpu_utilization_ratio")
    )
    evidence = shown(
        above(part, "dram_active_ratio", t.dram_active),
        below(part, "tensor_active_ratio", t.tensor_active),
        Evidence("time_per_output_token_stretch", part.stretch("time_per_output_token_seconds"), "times", 1.25, "above"),
        Evidence("sm_active_ratio", sm, "ratio"),
    )
    if not np.isfinite(dram):
        if busy < t.busy or sm < 0.6:
            return Reading(Limit.MEMORY_BANDWIDTH, "clear", evidence=evidence)
        if tensor >= t.tensor_active:
            return Reading(Limit.MEMORY_BANDWIDTH, "near", 0.3, evidence)
        return Reading(Limit.MEMORY_BANDWIDTH, "unknown", evidence=evidence, missing=("dram_active_ratio",))
    engaged = reached(window["dram_active_ratio"], t.dram_active)
    if dram < t.dram_active or np.nan_to_num(tensor) / MATH_BOUND_AT > dram / MEMORY_BOUND_AT:
        return Reading(Limit.MEMORY_BANDWIDTH, "clear", evidence=evidence)
    clearly = dram >= 1.2 * t.dram_active and np.isfinite(tensor)
    return Reading(Limit.MEMORY_BANDWIDTH, "at" if stretched else "near", 0.88 if clearly else 0.68, evidence, engaged=engaged)


def cpu(part: Part, *, slower: bool) -> Reading:
    """Tasks that wait for a core: throttled by quota, crowded on the node, or one thread that cannot do more."""
    t, window = part.window.thresholds, part.window
    quota, pressure, node, used = (
        part.level(n) for n in ("cpu_throttled_ratio", "cpu_pressure_ratio", "cpu_utilization_ratio", "cpu_usage_cores")
    )
    requested, each = part.ratio("cpu_usage_cores", "cpu_requested_cores"), used / window.replicas
    evidence = shown(
        above(part, "cpu_throttled_ratio", t.cpu_throttled),
        above(part, "cpu_pressure_ratio", t.cpu_pressure),
        above(part, "cpu_utilization_ratio", t.cpu_node),
        Evidence("cpu_usage_to_requested_ratio", requested, "ratio", t.cpu_requested, "above"),
        Evidence("cpu_cores_per_replica", each, "cores"),
    )
    engaged = any_of(
        reached(window["cpu_throttled_ratio"], t.cpu_throttled),
        reached(window["cpu_pressure_ratio"], t.cpu_pressure),
        reached(window["cpu_utilization_ratio"], t.cpu_node),
    )
    if quota >= t.cpu_throttled or (node >= t.cpu_node and not pressure < 0.1) or pressure >= t.cpu_pressure:
        return Reading(Limit.CPU, "at", 0.9, evidence, engaged=engaged)
    flat = next((window.flat[name] for name in ("cpu_usage_cores", "requests_per_second") if name in window.flat), None)
    ceiling = flat is not None and bool(flat[part.steps].mean() >= 0.5)
    if ONE_THREAD[0] <= each <= ONE_THREAD[1] and ceiling and flat is not None:
        return Reading(Limit.CPU, "at", 0.75 if slower else 0.62, evidence, engaged=flat.astype(np.float64))
    if ONE_THREAD[0] <= each <= ONE_THREAD[1]:
        return Reading(Limit.CPU, "near", 0.4, evidence)
    if requested >= t.cpu_requested and not np.isfinite(quota) and ceiling:
        return Reading(Limit.CPU, "at", 0.65, evidence)
    if not np.isfinite([quota, pressure, node, used]).any():
        return Reading(Limit.CPU, "unknown", missing=("cpu_usage_cores", "cpu_throttled_ratio", "cpu_utilization_ratio"))
    return Reading(Limit.CPU, "clear", evidence=evidence)


def network(part: Part) -> Reading:
    """Bytes at what the link carries; where nobody has said what that is, a ceiling in bytes at a size that links are sold in."""
    t, window = part.window.thresholds, part.window
    link = window.signals.link_bytes_per_second
    flows = {name: part.level(name) / (1.0 if name.startswith("node") else window.replicas) for name in FLOWS}
    known = {name: value for name, value in flows.items() if np.isfinite(value)}
    if not known:
        return Reading(Limit.NETWORK, "unknown", missing=FLOWS[:2])
    name = max(known, key=lambda each: known[each])
    rate = known[name]
    evidence: tuple[Evidence, ...] = (Evidence(name, rate, "bytes/s"),)
    if np.isfinite(link):
        evidence = (Evidence("link_usage_ratio", rate / link, "ratio", t.link, "above"), *evidence)
        divisor = 1.0 if name.startswith("node") else window.replicas
        state = "at" if rate >= t.link * link else "near" if rate >= t.link_near * link else "clear"
        return Reading(Limit.NETWORK, state, 0.92, evidence, engaged=reached(window[name] / divisor / link, t.link))
    nearest = float(STANDARD_LINKS[np.searchsorted(STANDARD_LINKS, rate * 0.99).clip(max=STANDARD_LINKS.size - 1)])
    fits = LINK_REACHED[0] <= rate / nearest <= LINK_REACHED[1] * 1.01
    own = [each for each in (name, *FLOWS) if each in window.flat and bool(window.flat[each][part.steps].mean() >= 0.5)]
    ceiling = bool(own) and max(flows[each] for each in own) >= 0.25 * rate
    evidence = (*evidence, Evidence("standard_link_ratio", rate / nearest, "ratio", LINK_REACHED[0], "above"))
    if fits and ceiling:
        return Reading(Limit.NETWORK, "at", 0.72, evidence, engaged=window.flat[own[0]].astype(np.float64))
    own_rate = max((known[each] for each in FLOWS[:2] if each in known), default=rate)
    if rate < SMALL_TRAFFIC or (own_rate < SMALL_TRAFFIC and not fits):
        return Reading(Limit.NETWORK, "clear", evidence=evidence[:1])
    return Reading(Limit.NETWORK, "near", 0.4, evidence, ("link_bytes_per_second",))


FLOWS = (
    "network_receive_bytes_per_second",
    "network_transmit_bytes_per_second",
    "node_receive_bytes_per_second",
    "node_transmit_bytes_per_second",
)

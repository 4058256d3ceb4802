"""Saturation in sentences: figures with units, and for what is missing the way to get it."""

import numpy as np

from capacity.engine.saturation.records import Evidence, Limit, Saturation, Skew, Verdict

LABELS: dict[Limit, str] = {
    Limit.THROTTLING: "Throttled accelerators",
    Limit.ACCELERATOR_MEMORY: "Accelerator memory",
    Limit.KV_CACHE: "KV cache",
    Limit.MEMORY_BANDWIDTH: "Memory bandwidth",
    Limit.COMPUTE: "Compute",
    Limit.CPU: "CPU",
    Limit.NETWORK: "Network",
    Limit.QUEUE: "Slots (requests queue for a place)",
    Limit.UPSTREAM: "Upstream",
}

NAMES: dict[str, str] = {
    "throttle_power_ratio": "throttled by power",
    "throttle_thermal_ratio": "throttled by heat",
    "clock_loss_ratio": "clock lost",
    "temperature_celsius": "chip at",
    "power_to_limit_ratio": "power of its limit",
    "gpu_memory_used_ratio": "accelerator memory",
    "error_ratio": "failed requests",
    "restarts_per_second": "restarts",
    "pcie_receive_bytes_per_second": "PCIe in",
    "kv_cache_usage_ratio": "KV cache",
    "preemptions_per_second": "preemptions",
    "requests_waiting": "waiting",
    "requests_running": "running",
    "wait_share": "time in the queue",
    "tensor_active_ratio": "tensor active",
    "sm_active_ratio": "SM active",
    "dram_active_ratio": "DRAM active",
    "gpu_utilization_ratio": "GPU busy",
    "time_per_output_token_stretch": "time per token, of its quiet hours",
    "request_duration_stretch": "duration, of its quiet hours",
    "requests_in_flight_stretch": "requests in flight, of its quiet hours",
    "cpu_throttled_ratio": "CPU throttled",
    "cpu_pressure_ratio": "CPU pressure",
    "cpu_utilization_ratio": "CPU of the node",
    "cpu_usage_to_requested_ratio": "CPU of what is requested",
    "cpu_cores_per_replica": "CPU of a replica",
    "link_usage_ratio": "of the link",
    "standard_link_ratio": "of the next standard link",
    "network_receive_bytes_per_second": "network in",
    "network_transmit_bytes_per_second": "network out",
    "node_receive_bytes_per_second": "network in of a node",
    "node_transmit_bytes_per_second": "network out of a node",
}

SIGNS = {"waits": "requests wait", "slower": "answers take longer under load", "flat": "the throughput has a ceiling"}

# Column -> what to say when it decides and is not there.
MISSING: dict[str, str] = {
    "dram_active_ratio": "no DRAM activity (before Hopper it needs DCGM profiling)",
    "sm_active_ratio": "no SM activity (before Hopper it needs DCGM profiling)",
    "tensor_active_ratio": "no tensor activity (before Hopper it needs DCGM profiling)",
    "throttle_power_ratio": "no throttling reasons (agent or DCGM)",
    "throttle_thermal_ratio": "no throttling reasons (agent or DCGM)",
    "sm_clock_hertz": "no SM clock (agent or DCGM)",
    "gpu_utilization_ratio": "no GPU utilisation (agent or DCGM)",
    "gpu_memory_used_bytes": "no accelerator memory (agent or DCGM)",
    "gpu_memory_total_bytes": "no accelerator memory (agent or DCGM)",
    "pcie_receive_bytes_per_second": "no PCIe traffic (agent or DCGM)",
    "errors_per_second": "no failed requests",
    "kv_cache_usage_ratio": "no KV cache use (the server's /metrics)",
    "preemptions_per_second": "no preemptions (the server's /metrics)",
    "cpu_usage_cores": "no CPU use (cAdvisor or agent)",
    "cpu_throttled_ratio": "no CPU throttling (cAdvisor)",
    "cpu_utilization_ratio": "no CPU of the node (node_exporter or agent)",
    "network_receive_bytes_per_second": "no network traffic (cAdvisor or agent)",
    "network_transmit_bytes_per_second": "no network traffic (cAdvisor or agent)",
    "link_bytes_per_second": "no speed of the node's link",
    "requests_waiting": "no queue length (the server's /metrics)",
    "requests_running": "no requests running (the server's /metrics)",
    "queue_time_seconds": "no queue time (the server's /metrics)",
    "request_duration_seconds": "no request duration (the server's /metrics)",
}


def missing_words(columns: tuple[str, ...]) -> str:
    return ", ".join(dict.fromkeys(MISSING[name] for name in columns))


def figure(evidence: Evidence) -> str:
    """One piece of evidence: `KV cache 96 %`, `preemptions 4/s`."""
    return f"{NAMES[evidence.name]} {value_words(evidence.value, evidence.unit)}"


def value_words(value: float, unit: str) -> str:
    """`96 %`, `4/s`, `12 MB/s`, `4.5 x`, `81 °C`."""
    if unit == "ratio":
        return f"{value * 100:.0f} %" if not 0 < value < 0.0095 else f"{value * 100:.1g} %"
    if unit == "1/s":
        return f"{value:.2g}/s"
    if unit == "bytes/s":
        return f"{value / 1e6:,.0f} MB/s"
    if unit == "times":
        return f"{value:.1f} x"
    if unit == "celsius":
        return f"{value:.0f} °C"
    return f"{value:,.0f}" if unit == "requests" else f"{value:.1f} {unit}"


def threshold_words(evidence: Evidence) -> str:
    """On which side of what the figure speaks for the limit: `limit 90 %`, `limit below 20 %`; empty for what stands beside."""
    if evidence.threshold is None or not evidence.direction:
        return ""
    side = "below " if evidence.direction == "below" else ""
    return f"limit {side}{value_words(evidence.threshold, evidence.unit)}"


def figures(evidence: tuple[Evidence, ...], most: int = 4) -> str:
    return ", ".join(figure(each) for each in evidence[:most])


def limit_words(verdict: Verdict) -> str:
    """What limits, in a few words; of upstream also how that shows: `Upstream, little arrives`. Empty without a limit."""
    if verdict.limit is not Limit.UPSTREAM:
        return LABELS[verdict.limit] if verdict.limit is not None else ""
    seen = {each.name: each for each in verdict.evidence}
    stretch, busy = seen.get("request_duration_stretch"), seen.get("gpu_utilization_ratio")
    if stretch is not None and stretch.value >= (stretch.threshold or np.inf):
        return "Upstream, answers wait for something else"
    if busy is not None and busy.value < (busy.threshold or 0.0):
        return "Upstream, little arrives"
    return "Upstream, what arrives stands at a ceiling"


def verdict_words(verdict: Verdict) -> str:
    """`KV cache (93 % sure): KV cache 96 %, preemptions 4/s, waiting 31. Reached in 22 % of the window.`"""
    if verdict.cannot_tell:
        return f"Cannot tell: {verdict.cannot_tell}."
    known = f": {figures(verdict.evidence)}" if verdict.evidence else ""
    if verdict.limit is None:
        unseen = f" Not measured: {missing_words(verdict.missing)}." if verdict.missing else ""
        return f"Nothing limits it ({verdict.confidence * 100:.0f} % sure){known}.{unseen}"
    share = f" Reached in {verdict.share * 100:.0f} % of the window." if np.isfinite(verdict.share) else ""
    return f"{limit_words(verdict)} ({verdict.confidence * 100:.0f} % sure){known}.{share}"


def skew_words(skew: Skew | None) -> str:
    if skew is None:
        return ""
    return f"Balance first: the busiest of {skew.replicas} replicas works on {skew.ratio:.1f} times the requests of the median one."


def saturation_words(saturation: Saturation) -> str:
    """All of the answer in a few sentences, what to do first at the front."""
    parts = (skew_words(saturation.skew), f"At the peaks: {verdict_words(saturation.peaks)}", f"Now: {verdict_words(saturation.now)}")
    return " ".join(part for part in parts if part)

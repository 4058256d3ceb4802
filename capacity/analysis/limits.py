"""How near a deployment is to each of its ceilings, and which is the nearest.

What saturation has found goes first: a ceiling that is reached is the limit, whatever the means of the last minutes say. Else it is
the ceiling nearest by these means, and where saturation found that nothing is reached, those that are no limit by themselves are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from capacity.engine.saturation import Limit as Reached
from monitoring.series import Summary

NEAR = 0.9  # from here on a ceiling needs a person
NEAR_WATCHED = 0.8  # from here on saturation is judged more often
LIMITED = 0.6  # confidence from which an answer of saturation counts as the limit
QUEUE_MIN = 2.0  # requests waiting below which a queue is no queue
THROTTLED = 0.1  # share of time throttled from which power or heat is the limit

DEPLOYMENT_COLUMNS = (
    "kv_cache_usage_ratio",
    "cpu_usage_cores",
    "cpu_requested_cores",
    "cpu_throttled_ratio",
    "requests_running",
    "requests_waiting",
)
ACCELERATOR_COLUMNS = (
    "gpu_utilization_ratio",
    "gr_engine_active_ratio",
    "dram_active_ratio",
    "power_watts",
    "power_limit_watts",
    "throttle_power_ratio",
    "throttle_thermal_ratio",
)
WORDS = {
    "kv_cache_usage_ratio": "KV cache",
    "gr_engine_active_ratio": "GPU compute",
    "dram_active_ratio": "GPU memory rate",
    "power_watts": "GPU power",
    "throttle_power_ratio": "GPU power",
    "throttle_thermal_ratio": "GPU heat",
    "cpu_usage_cores": "CPU",
    "requests_waiting": "Queue",
    "gpu_memory_used_bytes": "GPU memory",
    "network_receive_bytes_per_second": "Network",
}
# What saturation finds -> the ceilings that show it, the first that is measured.
SHOWN_BY: dict[Reached, tuple[str, ...]] = {
    Reached.THROTTLING: ("throttle_power_ratio", "throttle_thermal_ratio", "power_watts"),
    Reached.ACCELERATOR_MEMORY: ("gpu_memory_used_bytes",),
    Reached.KV_CACHE: ("kv_cache_usage_ratio",),
    Reached.MEMORY_BANDWIDTH: ("dram_active_ratio",),
    Reached.COMPUTE: ("gr_engine_active_ratio",),
    Reached.CPU: ("cpu_usage_cores",),
    Reached.NETWORK: ("network_receive_bytes_per_second",),
    Reached.QUEUE: ("requests_waiting",),
}
# High by design while there is work: they say nothing where saturation has looked and found that nothing suffers.
HARMLESS = ("power_watts", "throttle_power_ratio", "throttle_thermal_ratio")


@dataclass(frozen=True)
class Limit:
    """The column nearest to its ceiling; a ratio of 1 is the ceiling. `judged`: saturation found it reached."""

    name: str
    ratio: float
    judged: bool = False


def limit_of(
    deployment: Mapping[str, float], accelerators: Mapping[str, float], *, reached: Reached | None = None, looked: bool = False
) -> Limit | None:
    """Means of the last minutes by column, NaN or absent where not measured; `reached`: the limit that saturation found, `looked`:
    it has looked lately. None: no ceiling is known."""
    ratios = ratios_of(deployment, accelerators)
    if reached in SHOWN_BY:
        names = SHOWN_BY[reached]
        name = next((name for name in names if name in ratios), names[0])
        # Below its ceiling by these means, and reached nevertheless: kernels end at 60 to 85 % of what a counter could show.
        ratio = ratios.get(name, 1.0)
        return Limit(name, ratio if ratio >= NEAR else 1.0, judged=True)
    left = {name: ratio for name, ratio in ratios.items() if not (looked and name in HARMLESS)}
    name = max(left, key=lambda name: left[name], default="")
    return Limit(name, left[name]) if name else None


def ratios_of(deployment: Mapping[str, float], accelerators: Mapping[str, float]) -> dict[str, float]:
    """Column -> how much of its ceiling is used, of those that are measured."""
    ratios = {
        "kv_cache_usage_ratio": deployment.get("kv_cache_usage_ratio", np.nan),
        "cpu_usage_cores": quotient(deployment, "cpu_usage_cores", "cpu_requested_cores"),
        "requests_waiting": queue_ratio(deployment),
        "gr_engine_active_ratio": accelerators.get("gr_engine_active_ratio", np.nan),
        "dram_active_ratio": accelerators.get("dram_active_ratio", np.nan),
        "power_watts": quotient(accelerators, "power_watts", "power_limit_watts"),
        **{name: throttled(accelerators.get(name, np.nan)) for name in ("throttle_power_ratio", "throttle_thermal_ratio")},
    }
    return {name: float(ratio) for name, ratio in ratios.items() if np.isfinite(ratio)}


def quotient(values: Mapping[str, float], above: str, below: str) -> float:
    bottom = values.get(below, np.nan)
    return values.get(above, np.nan) / bottom if bottom > 0 else np.nan


def queue_ratio(values: Mapping[str, float]) -> float:
    """Share of the requests inside that wait instead of being worked on: above a half more wait than run."""
    waiting, running = values.get("requests_waiting", np.nan), values.get("requests_running", np.nan)
    if not waiting >= QUEUE_MIN:
        return np.nan
    return waiting / (waiting + (running if np.isfinite(running) else 0.0))


def throttled(share: float) -> float:
    return 1.0 if share > THROTTLED else np.nan


def means_of(summaries: Mapping[str, Summary] | None) -> dict[str, float]:
    return {} if summaries is None else {name: summary.mean for name, summary in summaries.items()}


def means_weighted(parts: list[tuple[float, Mapping[str, float]]]) -> dict[str, float]:
    """Mean over accelerators, each by the share it gives; of a column those where it is measured."""
    names = {name for _, values in parts for name in values}
    result = {}
    for name in names:
        measured = [(share, values[name]) for share, values in parts if np.isfinite(values.get(name, np.nan))]
        total = sum(share for share, _ in measured)
        result[name] = sum(share * value for share, value in measured) / total if total > 0 else float("nan")
    return result

"""What is asked of a GPU: each signal with its call, field or sampling type and the factor to its base unit.

Order of trust where several calls know one thing: the driver's sample buffer, then a field, then the plain call. What a GPU refuses
stands in its capability table under the name given here. Facts and traps: docs/agent.md.
"""

from collections.abc import Callable
from typing import Any

import pynvml

from monitoring.agent.nvml import Device, FieldId

ALL_LINKS = 2**32 - 1  # scope of a field that is kept per NVLink
NVLINKS_MOST = 18
NO_VALUE = 2**64 - 1  # what some drivers write into a counter they do not keep
KILOBYTE, KIBIBYTE = 1000.0, 1024.0

COUNTERS: dict[str, tuple[FieldId, float]] = {  # name -> (field, factor to base units per second)
    "throttle_power_ratio": (pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP, 1e-9),
    "power_brake_ratio": (pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN, 1e-9),
    "software_thermal_ratio": (pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN, 1e-9),
    "hardware_thermal_ratio": (pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN, 1e-9),
    "nvlink_transmit_bytes_per_second": ((pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX, ALL_LINKS), KIBIBYTE),
    "nvlink_receive_bytes_per_second": ((pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX, ALL_LINKS), KIBIBYTE),
    "pcie_transmit_bytes_per_second": (pynvml.NVML_FI_DEV_PCIE_COUNT_TX_BYTES, 1.0),
    "pcie_receive_bytes_per_second": (pynvml.NVML_FI_DEV_PCIE_COUNT_RX_BYTES, 1.0),
}
GAUGE_FIELDS: dict[str, tuple[FieldId, float]] = {
    "memory_temperature_celsius": (pynvml.NVML_FI_DEV_MEMORY_TEMP, 1.0),
    "power_instant_watts": ((pynvml.NVML_FI_DEV_POWER_INSTANT, pynvml.NVML_POWER_SCOPE_GPU), 1e-3),
    "power_average_watts": ((pynvml.NVML_FI_DEV_POWER_AVERAGE, pynvml.NVML_POWER_SCOPE_GPU), 1e-3),
    "module_power_watts": ((pynvml.NVML_FI_DEV_POWER_AVERAGE, pynvml.NVML_POWER_SCOPE_MODULE), 1e-3),  # Grace Hopper: chip and GPU
}
FIELDS: dict[str, FieldId] = {name: number for name, (number, _) in {**COUNTERS, **GAUGE_FIELDS}.items()}

NVLINK5 = {  # newer links count bytes, each for itself
    "nvlink_transmit_bytes_per_second": pynvml.NVML_FI_DEV_NVLINK_COUNT_XMIT_BYTES,
    "nvlink_receive_bytes_per_second": pynvml.NVML_FI_DEV_NVLINK_COUNT_RCV_BYTES,
}

BUFFERS = {  # column -> (NVML sampling type, factor): the driver samples faster than anybody polls
    "gpu_utilization_ratio": (pynvml.NVML_GPU_UTILIZATION_SAMPLES, 0.01),
    "memory_copy_utilization_ratio": (pynvml.NVML_MEMORY_UTILIZATION_SAMPLES, 0.01),
    "power_watts": (pynvml.NVML_TOTAL_POWER_SAMPLES, 1e-3),
}

THROTTLES = {  # column -> bits of the clocks event reasons now; GpuIdle (0x1) is no throttling
    "throttle_power_ratio": pynvml.nvmlClocksEventReasonSwPowerCap | pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown,
    "throttle_thermal_ratio": pynvml.nvmlClocksEventReasonSwThermalSlowdown | pynvml.nvmlClocksEventReasonHwThermalSlowdown,
}

Call = tuple[str, str, Callable[..., Any], tuple[Any, ...], float]
GAUGES: tuple[Call, ...] = (  # column, call, function, arguments, factor to base units; a later one stands
    ("power_watts", "nvmlDeviceGetPowerUsage", pynvml.nvmlDeviceGetPowerUsage, (), 1e-3),
    ("power_limit_watts", "nvmlDeviceGetEnforcedPowerLimit", pynvml.nvmlDeviceGetEnforcedPowerLimit, (), 1e-3),
    ("temperature_celsius", "nvmlDeviceGetTemperatureV", pynvml.nvmlDeviceGetTemperatureV, (pynvml.NVML_TEMPERATURE_GPU,), 1.0),
    ("sm_clock_hertz", "nvmlDeviceGetClockInfo SM", pynvml.nvmlDeviceGetClockInfo, (pynvml.NVML_CLOCK_SM,), 1e6),
    ("memory_clock_hertz", "nvmlDeviceGetClockInfo MEM", pynvml.nvmlDeviceGetClockInfo, (pynvml.NVML_CLOCK_MEM,), 1e6),
    ("encoder_utilization_ratio", "nvmlDeviceGetEncoderUtilization", pynvml.nvmlDeviceGetEncoderUtilization, (), 0.01),
    ("decoder_utilization_ratio", "nvmlDeviceGetDecoderUtilization", pynvml.nvmlDeviceGetDecoderUtilization, (), 0.01),
    (
        "ecc_uncorrected_errors",
        "nvmlDeviceGetTotalEccErrors",
        pynvml.nvmlDeviceGetTotalEccErrors,
        (pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC),
        1.0,
    ),
)
PCIE: tuple[Call, ...] = (  # a sample over 20 ms that takes 20 ms: only where nothing counts
    (
        "pcie_transmit_bytes_per_second",
        "nvmlDeviceGetPcieThroughput TX",
        pynvml.nvmlDeviceGetPcieThroughput,
        (pynvml.NVML_PCIE_UTIL_TX_BYTES,),
        KILOBYTE,
    ),
    (
        "pcie_receive_bytes_per_second",
        "nvmlDeviceGetPcieThroughput RX",
        pynvml.nvmlDeviceGetPcieThroughput,
        (pynvml.NVML_PCIE_UTIL_RX_BYTES,),
        KILOBYTE,
    ),
)
FACTS: tuple[Call, ...] = (  # what hardly changes: sent as facts of the GPU, not as a series
    ("sm_clock_most_hertz", "nvmlDeviceGetMaxClockInfo SM", pynvml.nvmlDeviceGetMaxClockInfo, (pynvml.NVML_CLOCK_SM,), 1e6),
    ("memory_clock_most_hertz", "nvmlDeviceGetMaxClockInfo MEM", pynvml.nvmlDeviceGetMaxClockInfo, (pynvml.NVML_CLOCK_MEM,), 1e6),
    (
        "sm_clock_boost_hertz",
        "nvmlDeviceGetMaxCustomerBoostClock",
        pynvml.nvmlDeviceGetMaxCustomerBoostClock,
        (pynvml.NVML_CLOCK_SM,),
        1e6,
    ),
    (
        "ecc_uncorrected_lifetime_errors",
        "nvmlDeviceGetTotalEccErrors lifetime",
        pynvml.nvmlDeviceGetTotalEccErrors,
        (pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_AGGREGATE_ECC),
        1.0,
    ),
)
REMAPPED = ("rows_remapped_corrected", "rows_remapped_uncorrected", "rows_remapping_pending", "rows_remapping_failed")


def asked(device: Device, calls: tuple[Call, ...]) -> dict[str, float]:
    """The answers of those calls that have one, in base units."""
    found = {}
    for column, call, function, arguments, scale in calls:
        value = device.ask(call, function, *arguments)
        value = value[0] if isinstance(value, list) else value  # encoder and decoder: [percent, period]
        if value is not None:
            found[column] = float(value) * scale
    return found


def memory_of(device: Device) -> dict[str, float]:
    """Version 2 tells reserved memory apart from used memory; old drivers have version 1 only."""
    memory = device.ask("nvmlDeviceGetMemoryInfo_v2", pynvml.nvmlDeviceGetMemoryInfo, pynvml.nvmlMemory_v2)
    if memory is None:
        memory = device.ask("nvmlDeviceGetMemoryInfo", pynvml.nvmlDeviceGetMemoryInfo)
    return {} if memory is None else {"gpu_memory_used_bytes": float(memory.used), "gpu_memory_total_bytes": float(memory.total)}


def temperature_of(device: Device) -> dict[str, float]:
    """For drivers older than the call that replaced this one."""
    degrees = device.ask("nvmlDeviceGetTemperature", pynvml.nvmlDeviceGetTemperature, pynvml.NVML_TEMPERATURE_GPU)
    return {} if degrees is None else {"temperature_celsius": float(degrees)}


def field_gauges(fields: dict[str, int | float]) -> dict[str, float]:
    """Fields that are values of this moment; the mean of a second is preferred to an instant of power."""
    found = {name: float(fields[name]) * scale for name, (_, scale) in GAUGE_FIELDS.items() if fields.get(name)}
    power = [found.pop(name) for name in ("power_average_watts", "power_instant_watts") if name in found]
    return {**found, **({"power_watts": power[0]} if power else {})}


def throttled_now(device: Device) -> dict[str, float]:
    """1 or 0 of this moment, where the driver has no counters of throttled time: right on the mean over many readings."""
    reasons = device.ask("nvmlDeviceGetCurrentClocksEventReasons", pynvml.nvmlDeviceGetCurrentClocksEventReasons)
    return {} if reasons is None else {column: 1.0 if reasons & bits else 0.0 for column, bits in THROTTLES.items()}


def links_total(device: Device, name: str) -> float | None:
    """Bytes over all links of newer NVLinks, summed; None where no link counts."""
    if device.able.get(f"NVLink5 {name}", "ok") != "ok":
        return None
    links = [(NVLINK5[name], link) for link in range(NVLINKS_MOST)]
    found = device.fields({f"{name} link {link}": number for link, number in enumerate(links)})
    for link in range(NVLINKS_MOST):  # one line in the table is enough
        reason = device.able.pop(f"{name} link {link}", "ok")
        if link == 0:
            device.able[f"NVLink5 {name}"] = reason
    counted = [float(value) for value in found.values() if value != NO_VALUE]
    return sum(counted) if counted else None


def throttles_joined(grown: dict[str, float]) -> dict[str, float]:
    """The counters of one cause as one share of time; they may run at once, so the greater counts, not the sum."""
    thermal = [grown.pop(name) for name in ("software_thermal_ratio", "hardware_thermal_ratio") if name in grown]
    power = [grown.pop(name) for name in ("throttle_power_ratio", "power_brake_ratio") if name in grown]
    joined = {"throttle_thermal_ratio": thermal, "throttle_power_ratio": power}
    return {**grown, **{name: min(1.0, max(parts)) for name, parts in joined.items() if parts}}


def facts_of(device: Device) -> dict[str, float]:
    """Limits and wear of the GPU. Accounting needs root and is off with MIG: its mode says why there is none."""
    found = asked(device, FACTS)
    rows = device.ask("nvmlDeviceGetRemappedRows", pynvml.nvmlDeviceGetRemappedRows)
    if rows is not None:
        found |= {name: float(count) for name, count in zip(REMAPPED, rows, strict=True)}
    accounting = device.ask("nvmlDeviceGetAccountingMode", pynvml.nvmlDeviceGetAccountingMode)
    if accounting is not None:
        on = accounting == pynvml.NVML_FEATURE_ENABLED
        device.able["nvmlDeviceGetAccountingStats"] = "not read: processes are followed while they run" if on else "accounting mode is off"
    return found

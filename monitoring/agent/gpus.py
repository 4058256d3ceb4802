"""One reading of every GPU and MIG instance of this host, in base units, under the catalogue's column names.

Counters (energy, throttle time, bytes) are kept and turned into rates here; a counter that wrapped or was reset gives no value for
that interval. Facts and traps: docs/agent.md.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pynvml

from monitoring.agent.gpm import Gpm
from monitoring.agent.nvml import Device, GpuLost, samples_mean

MIG_LOOK_SECONDS = 60.0  # handles go stale when instances change
NO_VALUE = 2**64 - 1  # what some drivers write into a counter they do not keep

COUNTERS: dict[str, tuple[int, float]] = {  # column -> (field id, factor to base units per second)
    "throttle_power_ratio": (pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP, 1e-9),
    "software_thermal_ratio": (pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN, 1e-9),
    "hardware_thermal_ratio": (pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN, 1e-9),
    "power_brake_ratio": (pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN, 1e-9),
    "nvlink_transmit_bytes_per_second": (pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX, 1024.0),
    "nvlink_receive_bytes_per_second": (pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX, 1024.0),
    "pcie_transmit_bytes_per_second": (pynvml.NVML_FI_DEV_PCIE_COUNT_TX_BYTES, 1.0),
    "pcie_receive_bytes_per_second": (pynvml.NVML_FI_DEV_PCIE_COUNT_RX_BYTES, 1.0),
}
GAUGE_FIELDS = {"memory_temperature_celsius": pynvml.NVML_FI_DEV_MEMORY_TEMP}
FIELD_IDS = {**{name: number for name, (number, _) in COUNTERS.items()}, **GAUGE_FIELDS}

BUFFERS = {  # column -> (NVML sampling type, factor): the driver samples faster than anybody polls
    "gpu_utilization_ratio": (pynvml.NVML_GPU_UTILIZATION_SAMPLES, 0.01),
    "memory_copy_utilization_ratio": (pynvml.NVML_MEMORY_UTILIZATION_SAMPLES, 0.01),
    "power_watts": (pynvml.NVML_TOTAL_POWER_SAMPLES, 1e-3),
}


@dataclass(frozen=True)
class Reading:
    """One accelerator at one instant. `able` says of each call whether it works here, else why not."""

    key: str  # UUID
    parent: str  # UUID of the GPU of a MIG instance, else ""
    model_name: str
    position: int
    profile: str  # of a MIG instance, e.g. "1g.10gb"
    values: Mapping[str, float]
    able: Mapping[str, str]
    lost: str = ""  # why the GPU gives nothing, in NVML's words


@dataclass
class Gpu:
    """What is remembered of one GPU between two readings."""

    device: Device
    uuid: str
    model_name: str
    position: int
    before: dict[str, float] = field(default_factory=dict)
    before_at: float = 0.0
    buffer_at: dict[str, int] = field(default_factory=dict)  # column -> time of its newest sample, microseconds
    gpm: Gpm | None = None
    instances: list["Instance"] = field(default_factory=list)
    instances_at: float = float("-inf")

    def read(self, *, monotonic: float) -> list[Reading]:
        values = {**self.gauges(), **self.buffers(), **self.rates(monotonic=monotonic)}
        if self.gpm is not None:
            values |= self.gpm.read(monotonic=monotonic)
        self.instances_look(monotonic=monotonic)
        own = Reading(self.uuid, "", self.model_name, self.position, "", values, dict(self.device.able))
        return [own, *(instance.read(self, monotonic=monotonic) for instance in self.instances)]

    def gauges(self) -> dict[str, float]:
        found = {column: value for column, value in self.asked() if value is not None}
        busy = self.device.ask("nvmlDeviceGetUtilizationRates", pynvml.nvmlDeviceGetUtilizationRates)
        if busy is not None:
            found |= {"gpu_utilization_ratio": busy.gpu / 100, "memory_copy_utilization_ratio": busy.memory / 100}
        return {**found, **memory_of(self.device)}

    def asked(self) -> Iterator[tuple[str, float | None]]:
        ask = self.device.ask
        for column, call, function, arguments, scale in GAUGES:
            value = ask(call, function, *arguments)
            value = value[0] if isinstance(value, list) else value  # encoder and decoder: [percent, period]
            yield column, None if value is None else float(value) * scale

    def buffers(self) -> dict[str, float]:
        """Means over what the driver sampled since the last reading: nothing between two polls is missed."""
        found = {}
        for column, (kind, scale) in BUFFERS.items():
            last = self.buffer_at.get(column, 0)
            samples = self.device.ask(f"nvmlDeviceGetSamples {column}", pynvml.nvmlDeviceGetSamples, kind, last)
            mean, newest = samples_mean(samples, scale=scale)
            if mean is not None:
                found[column], self.buffer_at[column] = mean, newest
        return found

    def rates(self, *, monotonic: float) -> dict[str, float]:
        fields = self.device.fields(FIELD_IDS)
        now = {name: float(value) * COUNTERS[name][1] for name, value in fields.items() if name in COUNTERS and value != NO_VALUE}
        energy = self.device.ask("nvmlDeviceGetTotalEnergyConsumption", pynvml.nvmlDeviceGetTotalEnergyConsumption)
        if energy is not None:
            now["energy_joules_per_second"] = energy * 1e-3
        seconds = monotonic - self.before_at
        grown = {name: (value - self.before[name]) / seconds for name, value in now.items() if name in self.before and seconds > 0}
        self.before, self.before_at = now, monotonic
        gauges = {name: float(fields[name]) for name in GAUGE_FIELDS if fields.get(name)}
        return {**gauges, **throttles_joined({name: rate for name, rate in grown.items() if rate >= 0})}

    def instances_look(self, *, monotonic: float) -> None:
        if monotonic - self.instances_at < MIG_LOOK_SECONDS:
            return
        self.instances_at = monotonic
        self.instances = list(instances_of(self)) if self.mig_is_on() else []

    def mig_is_on(self) -> bool:
        mode = self.device.ask("nvmlDeviceGetMigMode", pynvml.nvmlDeviceGetMigMode)
        return bool(mode is not None and mode[0] == pynvml.NVML_DEVICE_MIG_ENABLE)


@dataclass
class Instance:
    """A MIG instance: memory and processes of its own; activity by GPM through its parent; power only of the parent."""

    device: Device
    uuid: str
    profile: str
    gpu_instance_id: int
    gpm: Gpm | None = None

    def read(self, gpu: Gpu, *, monotonic: float) -> Reading:
        values = memory_of(self.device)
        if self.gpm is not None:
            values |= self.gpm.read(monotonic=monotonic)
        return Reading(self.uuid, gpu.uuid, gpu.model_name, gpu.position, self.profile, values, dict(self.device.able))


Call = tuple[str, str, Callable[..., Any], tuple[Any, ...], float]
GAUGES: tuple[Call, ...] = (  # column, call, function, arguments, factor to base units
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


def memory_of(device: Device) -> dict[str, float]:
    """Version 2 tells reserved memory apart from used memory; old drivers have version 1 only."""
    memory = device.ask("nvmlDeviceGetMemoryInfo_v2", pynvml.nvmlDeviceGetMemoryInfo, pynvml.nvmlMemory_v2)
    if memory is None:
        memory = device.ask("nvmlDeviceGetMemoryInfo", pynvml.nvmlDeviceGetMemoryInfo)
    return {} if memory is None else {"gpu_memory_used_bytes": float(memory.used), "gpu_memory_total_bytes": float(memory.total)}


def throttles_joined(grown: dict[str, float]) -> dict[str, float]:
    """The counters of one cause as one share of time; they may run at once, so the greater counts, not the sum."""
    thermal = [grown.pop(name) for name in ("software_thermal_ratio", "hardware_thermal_ratio") if name in grown]
    power = [grown.pop(name) for name in ("throttle_power_ratio", "power_brake_ratio") if name in grown]
    joined = {"throttle_thermal_ratio": thermal, "throttle_power_ratio": power}
    return {**grown, **{name: min(1.0, max(parts)) for name, parts in joined.items() if parts}}


def instances_of(gpu: Gpu) -> Iterator[Instance]:
    """The MIG instances there are; holes in the numbering are normal."""
    for position in range(gpu.device.ask("nvmlDeviceGetMaxMigDeviceCount", pynvml.nvmlDeviceGetMaxMigDeviceCount) or 0):
        handle = gpu.device.ask("nvmlDeviceGetMigDeviceHandleByIndex", pynvml.nvmlDeviceGetMigDeviceHandleByIndex, position)
        if handle is None:
            continue
        device = Device(handle)
        uuid = device.ask("nvmlDeviceGetUUID", pynvml.nvmlDeviceGetUUID)
        number = device.ask("nvmlDeviceGetGpuInstanceId", pynvml.nvmlDeviceGetGpuInstanceId)
        if uuid is None or number is None:
            continue
        known = next((instance for instance in gpu.instances if instance.uuid == uuid), None)
        gpm = known.gpm if known else Gpm.of(gpu.device, instance=number)
        yield Instance(device, uuid, profile_of(device), number, gpm)


def profile_of(device: Device) -> str:
    """Such as "1g.10gb": compute slices and memory in GiB, rounded as NVIDIA names them."""
    attributes = device.ask("nvmlDeviceGetAttributes_v2", pynvml.nvmlDeviceGetAttributes)
    if attributes is None:
        return ""
    return f"{attributes.gpuInstanceSliceCount}g.{round(attributes.memorySizeMB / 1024)}gb"


@dataclass
class Gpus:
    """All GPUs of the host; a driver that is away or a GPU that is lost is looked for again at each reading."""

    trouble: str = ""  # why there are none, in words
    gpus: list[Gpu] = field(default_factory=list)
    started: bool = False

    def read(self, *, monotonic: float) -> list[Reading]:
        if not self.started and not self.start():
            return []
        readings: list[Reading] = []
        for gpu in self.gpus:
            try:
                readings += gpu.read(monotonic=monotonic)
            except GpuLost as lost:
                readings.append(Reading(gpu.uuid, "", gpu.model_name, gpu.position, "", {}, {}, lost=str(lost)))
                self.started = False  # the others are still read in this round; then NVML starts over
        if not self.started:
            self.stop()
        return readings

    def start(self) -> bool:
        try:
            pynvml.nvmlInit()
            self.gpus = [gpu for position in range(pynvml.nvmlDeviceGetCount()) if (gpu := gpu_of(position))]
        except pynvml.NVMLError as error:
            self.trouble = f"NVML does not answer: {error}"
            return False
        self.started, self.trouble = True, ""
        return True

    def stop(self) -> None:
        self.gpus, self.started = [], False
        try:
            pynvml.nvmlShutdown()
        except pynvml.NVMLError as error:
            self.trouble = f"NVML does not stop: {error}"


def gpu_of(position: int) -> Gpu | None:
    """None for a GPU that does not answer; it is looked for again when NVML starts over."""
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(position)
        uuid, name = pynvml.nvmlDeviceGetUUID(handle), pynvml.nvmlDeviceGetName(handle)
    except pynvml.NVMLError:
        return None
    device = Device(handle)
    return Gpu(device, str(uuid), str(name), position, gpm=Gpm.of(device))

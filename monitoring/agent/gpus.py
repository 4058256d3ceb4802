"""One reading of every GPU and MIG instance of this host, in base units, under the catalogue's column names.

Counters (energy, throttle time, bytes) are kept and turned into rates here; a counter that wrapped or was reset gives no value for
that interval. Facts and traps: docs/agent.md.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pynvml

from monitoring.agent.gpm import Gpm
from monitoring.agent.nvml import Device, GpuLost, samples_mean
from monitoring.agent.processes import Census, Running
from monitoring.agent.signals import (
    BUFFERS,
    COUNTERS,
    FIELDS,
    GAUGES,
    NO_VALUE,
    NVLINK5,
    PCIE,
    asked,
    facts_of,
    field_gauges,
    links_total,
    memory_of,
    temperature_of,
    throttled_now,
    throttles_joined,
)
from monitoring.agent.xid import XidWatch

MIG_LOOK_SECONDS = 60.0  # handles go stale when instances change
FACTS_LOOK_SECONDS = 3600.0
RESTART_SECONDS = 60.0  # NVML must start over to find a lost GPU again


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
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Memory:
    """What is remembered of one GPU between two readings, also while NVML starts over."""

    counters: dict[str, float] = field(default_factory=dict)
    counted_at: float = 0.0
    buffer_at: dict[str, int] = field(default_factory=dict)  # column -> time of its newest sample, microseconds


@dataclass
class Gpu:
    """One GPU and its instances."""

    device: Device
    uuid: str
    model_name: str
    position: int
    memory: Memory = field(default_factory=Memory)
    gpm: Gpm | None = None
    instances: list["Instance"] = field(default_factory=list)
    instances_at: float = float("-inf")
    mig: bool = False
    facts: dict[str, float] = field(default_factory=dict)
    facts_at: float = float("-inf")
    fields: dict[str, int | float] = field(default_factory=dict)  # of this reading

    def __post_init__(self) -> None:
        self.running = Running(self.device, self.uuid)

    def read(self, census: Census, *, monotonic: float, now: float) -> list[Reading]:
        self.instances_look(monotonic=monotonic)
        values = self.gauges()
        if self.gpm is not None and not self.mig:
            values |= self.gpm.read(monotonic=monotonic)
        values = {**self.rates(values, monotonic=monotonic), **values}
        values = {**self.polled(values), **values}
        if not self.mig:  # with MIG the GPU as a whole tells nothing of processes
            census.take(self.running, now=now)
        own = Reading(self.uuid, "", self.model_name, self.position, "", values, dict(self.device.able), facts=self.facts_look(monotonic))
        return [own, *(instance.read(self, census, monotonic=monotonic, now=now) for instance in self.instances)]

    def gauges(self) -> dict[str, float]:
        found = asked(self.device, GAUGES)
        busy = self.device.ask("nvmlDeviceGetUtilizationRates", pynvml.nvmlDeviceGetUtilizationRates)
        if busy is not None:
            found |= {"gpu_utilization_ratio": busy.gpu / 100, "memory_copy_utilization_ratio": busy.memory / 100}
        if "temperature_celsius" not in found:
            found |= temperature_of(self.device)
        self.fields = self.device.fields(FIELDS)
        return {**found, **memory_of(self.device), **field_gauges(self.fields), **self.buffers()}

    def buffers(self) -> dict[str, float]:
        """Means over what the driver sampled since the last reading: nothing between two polls is missed."""
        found = {}
        for column, (kind, scale) in BUFFERS.items():
            last = self.memory.buffer_at.get(column, 0)
            samples = self.device.ask(f"nvmlDeviceGetSamples {column}", pynvml.nvmlDeviceGetSamples, kind, last)
            mean, newest = samples_mean(samples, scale=scale)
            if mean is not None:
                found[column], self.memory.buffer_at[column] = mean, newest
        return found

    def rates(self, known: Mapping[str, float], *, monotonic: float) -> dict[str, float]:
        """Counters over the time since the last reading."""
        now = {name: float(value) * COUNTERS[name][1] for name, value in self.fields.items() if name in COUNTERS and value != NO_VALUE}
        for name in NVLINK5:
            total = links_total(self.device, name) if name not in now and name not in known else None
            now |= {} if total is None else {name: total}
        energy = self.device.ask("nvmlDeviceGetTotalEnergyConsumption", pynvml.nvmlDeviceGetTotalEnergyConsumption)
        if energy is not None:
            now["energy_joules_per_second"] = energy * 1e-3
        before, seconds = self.memory.counters, monotonic - self.memory.counted_at
        grown = {name: (value - before[name]) / seconds for name, value in now.items() if name in before and seconds > 0}
        self.memory.counters, self.memory.counted_at = now, monotonic
        return throttles_joined({name: rate for name, rate in grown.items() if rate >= 0})

    def polled(self, known: Mapping[str, float]) -> dict[str, float]:
        """Samples of this moment for what this GPU or driver does not count."""
        able = self.device.able
        found = {} if able.get("throttle_power_ratio") == able.get("software_thermal_ratio") == "ok" else throttled_now(self.device)
        counted = able.get(PCIE[0][0]) == "ok" or PCIE[0][0] in known
        return {**found, **({} if counted else asked(self.device, PCIE))}

    def facts_look(self, monotonic: float) -> dict[str, float]:
        if monotonic - self.facts_at >= FACTS_LOOK_SECONDS:
            self.facts, self.facts_at = facts_of(self.device), monotonic
        return self.facts

    def instances_look(self, *, monotonic: float) -> None:
        if monotonic - self.instances_at < MIG_LOOK_SECONDS:
            return
        self.instances_at, before = monotonic, self.instances
        mode = self.device.ask("nvmlDeviceGetMigMode", pynvml.nvmlDeviceGetMigMode)
        mig = bool(mode is not None and mode[0] == pynvml.NVML_DEVICE_MIG_ENABLE)
        if mig != self.mig:  # what was refused before may work now
            self.mig = mig
            self.device.able.clear()
        self.instances = list(instances_of(self)) if mig else []
        kept = {id(instance.gpm) for instance in self.instances}
        for instance in before:
            if instance.gpm is not None and id(instance.gpm) not in kept:
                instance.gpm.free()

    def end(self) -> None:
        for gpm in (self.gpm, *(instance.gpm for instance in self.instances)):
            if gpm is not None:
                gpm.free()


@dataclass
class Instance:
    """A MIG instance: memory and processes of its own; activity by GPM through its parent; power only of the parent."""

    device: Device
    uuid: str
    profile: str
    gpu_instance_id: int
    gpm: Gpm | None = None

    def __post_init__(self) -> None:
        self.running = Running(self.device, self.uuid, has_use=False)

    def read(self, gpu: Gpu, census: Census, *, monotonic: float, now: float) -> Reading:
        values = memory_of(self.device)
        if self.gpm is not None:
            values |= self.gpm.read(monotonic=monotonic)
        census.take(self.running, now=now)
        return Reading(self.uuid, gpu.uuid, gpu.model_name, gpu.position, self.profile, values, dict(self.device.able))


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
    """All GPUs of the host; a driver that is away or a GPU that is lost is looked for again."""

    census: Census = field(default_factory=Census)
    xid: XidWatch = field(default_factory=XidWatch)
    trouble: str = ""  # why there are none, or not all, in words
    no_driver: bool = False  # a host without NVIDIA's library at all: nothing is wrong with it
    gpus: list[Gpu] = field(default_factory=list)
    lost: dict[str, Reading] = field(default_factory=dict)  # UUID -> what is said of it while it is away
    memories: dict[str, Memory] = field(default_factory=dict)
    started: bool = False
    started_at: float = float("-inf")
    driver_version: str = ""
    cuda_version: str = ""

    def read(self, *, monotonic: float, now: float) -> list[Reading]:
        if self.started and (self.lost or self.trouble) and monotonic - self.started_at >= RESTART_SECONDS:
            self.stop()
        if not self.started and not self.start(monotonic=monotonic):
            return [*self.lost.values()]
        self.census.begin()
        readings = [reading for gpu in self.gpus if gpu.uuid not in self.lost for reading in self.read_one(gpu, monotonic, now)]
        self.census.end()
        return [self.with_xid(reading) for reading in [*readings, *self.lost.values()]]

    def read_one(self, gpu: Gpu, monotonic: float, now: float) -> list[Reading]:
        try:
            return gpu.read(self.census, monotonic=monotonic, now=now)
        except GpuLost as lost:
            self.lost[gpu.uuid] = Reading(gpu.uuid, "", gpu.model_name, gpu.position, "", {}, {}, lost=str(lost))
            return []

    def with_xid(self, reading: Reading) -> Reading:
        code = self.xid.last.get(reading.key)
        return (
            reading if code is None or (reading.lost and not code) else replace_values(reading, {**reading.values, "xid_code": float(code)})
        )

    def start(self, *, monotonic: float) -> bool:
        """At most each RESTART_SECONDS when a GPU is away, at each reading when there is no driver at all."""
        try:
            pynvml.nvmlInit()
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            self.trouble = f"NVML does not answer: {error}"
            self.no_driver = getattr(error, "value", None) == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND
            return False
        self.no_driver = False
        self.gpus, silent = [], []
        for position in range(count):
            found = self.gpu_at(position)
            if isinstance(found, Gpu):
                self.gpus.append(found)
            else:
                silent.append(f"GPU {position} does not answer: {found}")
        answering = {gpu.uuid for gpu in self.gpus}
        self.lost = {uuid: reading for uuid, reading in self.lost.items() if uuid not in answering}
        self.started, self.started_at, self.trouble = True, monotonic, "; ".join(silent)
        self.driver_version, self.cuda_version = driver_versions()
        self.xid.start({gpu.uuid: gpu.device for gpu in self.gpus})
        return True

    def gpu_at(self, position: int) -> Gpu | str:
        """The GPU, or why it does not answer."""
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(position)
            uuid, name = str(pynvml.nvmlDeviceGetUUID(handle)), str(pynvml.nvmlDeviceGetName(handle))
            device = Device(handle)
            return Gpu(device, uuid, name, position, self.memories.setdefault(uuid, Memory()), gpm=Gpm.of(device))
        except (pynvml.NVMLError, GpuLost) as error:
            return str(error)

    def stop(self) -> None:
        if not self.started:
            return
        self.xid.stop()
        for gpu in self.gpus:
            gpu.end()
        self.gpus, self.started = [], False
        try:
            pynvml.nvmlShutdown()
        except pynvml.NVMLError as error:
            self.trouble = f"NVML does not stop: {error}"


def driver_versions() -> tuple[str, str]:
    """(of the driver, of the CUDA it brings); empty where it does not say."""
    try:
        cuda = pynvml.nvmlSystemGetCudaDriverVersion()
        return str(pynvml.nvmlSystemGetDriverVersion()), f"{cuda // 1000}.{cuda % 1000 // 10}"
    except pynvml.NVMLError:
        return "", ""


def replace_values(reading: Reading, values: Mapping[str, float]) -> Reading:
    return Reading(**{**vars(reading), "values": values})

"""What it means that a call of NVML gives nothing on a GPU: what is missing, and what that costs the reader."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from monitoring.catalog.columns import ACCELERATOR

LABELS = {column.name: column.label for column in ACCELERATOR}
NO_SHARE = "A GPU that several processes share cannot be split by use; memory and placements are all there is."
# beginning of the call's name -> (what is missing, what that costs); the first that fits counts
MEANINGS: tuple[tuple[str, str, str], ...] = (
    (
        "nvmlGpm",
        "SM, tensor and memory-bandwidth activity",
        "Only the driver's busy share is left, in which one tiny kernel counts as busy. GPM needs Hopper or later; "
        "on older GPUs the DCGM exporter can measure the same.",
    ),
    (
        "nvmlDeviceGetTotalEnergyConsumption",
        "The energy counter",
        "Energy is power times time: short peaks are missed. Volta and later.",
    ),
    ("nvmlDeviceGetTotalEccErrors", "Memory errors", "ECC is off or not there: a failing memory shows only as an Xid."),
    ("nvmlDeviceGetProcessUtilization", "The share of each process", NO_SHARE),
    ("nvmlDeviceGetProcessesUtilizationInfo", "The share of each process", NO_SHARE),
    ("nvmlDeviceGetComputeRunningProcesses", "Who computes on it", "Processes are not seen; only placements say who is on it."),
    ("nvmlDeviceGetRunningProcessDetailList", "Memory of each process", "Processes are listed without their memory."),
    ("/proc of GPU processes", "The names of processes", "Processes are numbers only: no container, no unit, no model."),
    ("nvmlDeviceGetMPS", "Processes under MPS", "Clients of MPS are seen as one process."),
    ("nvmlDeviceGetGraphics", "Graphics processes", "Nothing on a server without a screen."),
    ("nvmlEvent", "Xid errors as they happen", "A fault is seen by its effect only."),
    ("nvmlDeviceRegisterEvents", "Xid errors as they happen", "A fault is seen by its effect only."),
    ("nvmlDeviceGetMigMode", "MIG", "Nothing: this GPU cannot be cut into instances."),
    ("nvmlDeviceGetMaxMig", "MIG", "Nothing: this GPU cannot be cut into instances."),
    ("nvmlDeviceGetMemoryInfo_v2", "Memory without the driver's reserve", "Memory used includes what the driver keeps for itself."),
    ("nvmlDeviceGetMemoryInfo", "Memory used", "Its memory is not measured."),
    ("nvmlDeviceGetUtilizationRates", "The driver's busy share", "On a GPU with MIG it is not defined; look at its instances."),
    ("nvmlDeviceGetSamples", "Means of the driver's own samples", "Values are looked at once per interval: short peaks are missed."),
    ("nvmlDeviceGetEncoder", "Encoder busy", "Video work is not seen."),
    ("nvmlDeviceGetDecoder", "Decoder busy", "Video work is not seen."),
    ("nvmlDeviceGetPower", "Power", "Power and its limit are not drawn; cost of energy cannot be told."),
    ("nvmlDeviceGetEnforcedPower", "The power limit", "Whether power holds it back is told by throttled time only."),
    ("nvmlDeviceGetTemperature", "Heat", "Heat is told by throttled time only."),
    ("throttle_power", "Time throttled by power", "Lowered clocks show in the clock only, without their cause."),
    ("power_brake", "Time throttled by the power brake", "Lowered clocks show in the clock only, without their cause."),
    ("software_thermal", "Time throttled by heat", "Lowered clocks show in the clock only, without their cause."),
    ("hardware_thermal", "Time throttled by heat", "Lowered clocks show in the clock only, without their cause."),
    (
        "nvmlDeviceGetCurrentClocksEventReasons",
        "Why clocks are lowered now",
        "Only counters of throttled time say so, if there are any.",
    ),
    ("module_power", "Power of the whole module", "Nothing: only superchips such as Grace Hopper have it."),
    ("power_instant", "Power of an instant", "Nothing while its mean is read."),
    ("power_average", "Mean power by the driver", "Power is an instant's value: short peaks may be missed."),
    ("nvmlDeviceGetPcieThroughput", "PCIe traffic", "PCIe cannot be named as the limit."),
    ("nvmlDeviceGetClockInfo", "Clocks", "Lowered clocks are told by throttled time only."),
    ("nvmlDeviceGetMax", "The highest clock", "How far clocks are below their best cannot be told."),
    ("nvmlDeviceGetRemappedRows", "Memory rows set aside", "Wear of the memory is not seen before it fails."),
    ("NVLink5", "NVLink traffic", "A link between GPUs cannot be named as the limit. Nothing is lost where there is no NVLink."),
    ("nvlink", "NVLink traffic", "A link between GPUs cannot be named as the limit. Nothing is lost where there is no NVLink."),
    ("pcie", "PCIe traffic", "PCIe cannot be named as the limit."),
    ("memory_temperature", "Heat of the memory", "Only the chip's heat is seen; HBM can be hotter."),
    ("nvmlDeviceGetFieldValues", "Counters of throttling, links and memory heat", "Throttled time and traffic are not measured."),
)
OTHER = "Its panel stays empty; all other readings are not touched."


@dataclass(frozen=True)
class Refusal:
    """What some GPUs do not tell: the calls that give nothing there, for one reason."""

    missing: str
    cost: str
    reason: str
    calls: Sequence[str]
    on: Sequence[str]
    everywhere: bool  # on all GPUs the page is about


def meaning(call: str) -> tuple[str, str]:
    for start, missing, cost in MEANINGS:
        if call.startswith(start):
            return missing, cost
    return LABELS.get(call.rsplit(" ", 1)[-1], "One reading"), OTHER


def refusals(table: Mapping[str, Mapping[str, str]], names: Mapping[str, str]) -> list[Refusal]:
    """One line a missing thing and reason; `names` maps the UUIDs of the page to what it calls them."""
    grouped: dict[tuple[str, str, str], tuple[set[str], set[str]]] = {}
    for uuid, calls in table.items():
        for call, reason in calls.items():
            if reason != "ok":
                found, on = grouped.setdefault((*meaning(call), reason), (set(), set()))
                found.add(call)
                on.add(names.get(uuid, uuid))
    rows = [Refusal(*words, sorted(found), sorted(on), on >= set(names.values())) for words, (found, on) in grouped.items()]
    return sorted(rows, key=lambda row: (row.missing, row.reason))

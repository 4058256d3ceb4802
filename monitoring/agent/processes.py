"""The processes on a GPU or a MIG instance, told apart by (pid, start time, GPU), with their shares where NVML has them.

Traps held here: one pid may be in several lists; memory the driver does not tell is unknown, not 0; use is asked since the last
sample, as timestamp 0 gives the pids of processes long gone; NOT_FOUND means that nobody was busy.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pynvml

from monitoring.agent.nvml import Device
from monitoring.agent.workloads import Workload, Workloads

LISTS: tuple[tuple[str, str, Callable[..., Any]], ...] = (  # kind, call, function
    ("compute", "nvmlDeviceGetComputeRunningProcesses", pynvml.nvmlDeviceGetComputeRunningProcesses),
    ("graphics", "nvmlDeviceGetGraphicsRunningProcesses", pynvml.nvmlDeviceGetGraphicsRunningProcesses),
    ("mps", "nvmlDeviceGetMPSComputeRunningProcesses", pynvml.nvmlDeviceGetMPSComputeRunningProcesses),
)
BY_USE, BY_MEMORY = "process_utilization", "memory"
OLDEST_SECONDS = 60.0  # use is never asked for further back
NOT_TOLD = 2**64 - 1
PERCENT_MOST = 100  # some drivers write nonsense above it


@dataclass(frozen=True)
class Process:
    """One process on one accelerator. `share_method` says how the share of the GPU can be told: use, memory only, or not at all."""

    accelerator: str  # UUID
    pid: int
    workload: Workload
    kinds: str  # "compute", "graphics", "mps", joined by +
    memory_bytes: int | None
    sm_ratio: float | None
    share_method: str

    @property
    def key(self) -> tuple[int, float, str]:
        return self.pid, self.workload.started_at, self.accelerator


@dataclass
class Running:
    """The processes of one device; remembers how far use was read."""

    device: Device
    uuid: str
    has_use: bool = True  # False on MIG: memory only
    used_at: int | None = None  # time of the newest sample of use, microseconds

    def read(self, workloads: Workloads, *, now: float) -> list[Process]:
        listed = self.listed()
        shares = self.shares(now=now) if self.has_use else None
        found = []
        for pid, (kinds, memory) in listed.items():
            workload = workloads.of(pid, now=now)
            if workload is None:
                continue
            ratio = None if shares is None else shares.get(pid, 0.0)  # who was not busy is not reported
            method = BY_USE if ratio is not None else BY_MEMORY if memory is not None else ""
            found.append(Process(self.uuid, pid, workload, "+".join(kinds), memory, ratio, method))
        self.sight_note(listed=len(listed), seen=len(found))
        return found

    def sight_note(self, *, listed: int, seen: int) -> None:
        if listed:
            lost = "the driver's process numbers are not known here; the agent needs the host's PID namespace (hostPID, --pid=host)"
            self.device.able["/proc of GPU processes"] = "ok" if seen else lost

    def listed(self) -> dict[int, tuple[list[str], int | None]]:
        """pid -> (kinds, bytes); the lists may name one pid several times."""
        found: dict[int, tuple[list[str], int | None]] = {}
        for kind, call, function in LISTS:
            for row in self.device.ask(call, function, nothing=[]) or []:
                kinds, memory = found.get(row.pid, ([], None))
                sizes = [size for size in (memory, row.usedGpuMemory) if size is not None]
                found[row.pid] = ([*kinds, *([kind] if kind not in kinds else [])], max(sizes, default=None))
        if any(memory is None for _, memory in found.values()):
            found |= {pid: (found[pid][0], size) for pid, size in self.detailed() if pid in found and found[pid][1] is None}
        return found

    def detailed(self) -> Iterator[tuple[int, int]]:
        """Hopper and later know more: memory of processes that the plain lists leave out."""
        ask, version, mode = pynvml.nvmlDeviceGetRunningProcessDetailList, pynvml.nvmlProcessDetailList_v1, pynvml.NVML_PROCESS_MODE_ALL
        try:
            rows = self.device.ask("nvmlDeviceGetRunningProcessDetailList", ask, version, mode, nothing=[])
        except TypeError:  # the binding writes None into a row of C where memory is not told
            rows = None
        yield from ((row.pid, row.usedGpuMemory) for row in rows or [] if row.usedGpuMemory != NOT_TOLD)

    def shares(self, *, now: float) -> dict[int, float] | None:
        """pid -> share of the SMs' time since the last look; None where NVML does not tell."""
        since = max(self.used_at or 0, int((now - OLDEST_SECONDS) * 1e6))
        rows = self.device.ask("nvmlDeviceGetProcessUtilization", pynvml.nvmlDeviceGetProcessUtilization, since, nothing=[])
        if rows is None:
            return None
        found: dict[int, float] = {}
        for row in sorted(rows, key=lambda row: int(row.timeStamp)):
            if row.timeStamp > since and row.smUtil <= PERCENT_MOST:
                found[row.pid] = row.smUtil / 100
        self.used_at = max([since, *(int(row.timeStamp) for row in rows)])
        return found


@dataclass
class Census:
    """All processes of the newest reading."""

    workloads: Workloads = field(default_factory=Workloads)
    newest: list[Process] = field(default_factory=list)

    def begin(self) -> None:
        self.newest = []

    def take(self, running: Running, *, now: float) -> None:
        self.newest += running.read(self.workloads, now=now)

    def end(self) -> None:
        self.workloads.forget_but({(process.pid, process.workload.started_at) for process in self.newest})

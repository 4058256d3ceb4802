"""The agent at work: reads on the grid of its interval into the spool; the sender empties it in a thread of its own."""

import logging
import platform
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pynvml

from monitoring.agent.batch import pack, process_of
from monitoring.agent.gpus import Gpus, Reading
from monitoring.agent.host import Host
from monitoring.agent.processes import Process
from monitoring.agent.spool import Spool

log = logging.getLogger("headroom.agent")

NEWS_SECONDS = 3600.0  # what hardly changes is told again after so long
PROCESSES_MOST = 500  # told of one host
CLOCK_JUMP_SECONDS = 300.0


@dataclass
class Snapshot:
    """What the sender tells beside the readings, replaced as a whole at each reading."""

    host: dict[str, Any] = field(default_factory=dict)
    capabilities: dict[str, dict[str, str]] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)


@dataclass
class Agent:
    """Reads; and is the sender's `Source`. One thread reads, another asks for what to tell: the snapshot is swapped, never changed."""

    node: str
    version: str
    interval_seconds: float
    host: Host
    gpus: Gpus
    spool: Spool
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    snapshot: Snapshot = field(default_factory=Snapshot)
    told: Snapshot | None = None
    telling: Snapshot | None = None
    told_at: float = float("-inf")

    def __post_init__(self) -> None:
        self.started_at = self.clock()
        self.said = ""

    # Reading -----------------------------------------------------------------------------------

    def run(self, ending: threading.Event) -> None:
        before = 0.0
        while not ending.wait(self.wait_seconds()):
            time = self.grid_time()
            if time != before:
                self.guarded_read(time)
            before = time

    def wait_seconds(self) -> float:
        """Until the next grid time, which all agents share, so that one body's times are those of another's."""
        return self.interval_seconds - self.clock() % self.interval_seconds

    def grid_time(self) -> float:
        """The grid time nearest to now: a wait may end a moment too early."""
        return round(self.clock() / self.interval_seconds) * self.interval_seconds

    def guarded_read(self, time: float) -> None:
        try:
            self.read(time)
        except Exception:  # whatever a driver does, the next reading is made
            log.exception("a reading failed in an unforeseen way")

    def read(self, time: float) -> None:
        values = self.host.read(monotonic=self.monotonic())
        try:
            readings = self.gpus.read(monotonic=self.monotonic(), now=self.clock())
        except (OSError, TypeError, ValueError, pynvml.NVMLError):
            log.exception("the GPUs could not be read")
            readings = []
        self.spool.append(pack(self.node, values, readings, self.gpus.xid.take()), time=time)
        self.snapshot = Snapshot(
            host_facts(values, readings, self.gpus), capabilities_of(readings), self.gpus.census.newest[:PROCESSES_MOST]
        )
        self.trouble_log()

    def trouble(self) -> str:
        return "; ".join(text for text in (self.spool.trouble, "" if self.gpus.no_driver else self.gpus.trouble) if text)

    def trouble_log(self) -> None:
        said = self.trouble()
        if said != self.said:
            log.warning("%s", said or "the trouble is over")
        self.said = said

    # What the sender asks for ------------------------------------------------------------------

    def agent(self) -> dict[str, Any]:
        return {"node": self.node, "version": self.version, "started_at": self.started_at, "interval_seconds": self.interval_seconds}

    def news(self) -> dict[str, Any]:
        self.telling = self.snapshot
        if self.told is not None and self.clock() - self.told_at < NEWS_SECONDS:
            found: dict[str, Any] = {} if self.telling.host == self.told.host else {"host": self.telling.host}
            return found if self.telling.capabilities == self.told.capabilities else {**found, "capabilities": self.telling.capabilities}
        return {"host": self.telling.host, "capabilities": self.telling.capabilities}

    def heard(self) -> None:
        if self.told is None or self.clock() - self.told_at >= NEWS_SECONDS:
            self.told_at = self.clock()
        self.told = self.telling

    def processes(self) -> list[dict[str, Any]]:
        return [process_of(process) for process in self.snapshot.processes]


def host_facts(values: Mapping[str, float], readings: list[Reading], gpus: Gpus) -> dict[str, Any]:
    found: dict[str, Any] = {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpus": int(values.get("cpu_cores", 0)),
        "memory_bytes": int(values.get("memory_total_bytes", 0)),
        "driver_version": gpus.driver_version,
        "cuda_version": gpus.cuda_version,
        "no_driver": gpus.no_driver,
    }
    facts = {f"{reading.key} {name}": value for reading in readings for name, value in reading.facts.items()}
    return {**{name: value for name, value in found.items() if value}, **facts}


def capabilities_of(readings: list[Reading]) -> dict[str, dict[str, str]]:
    """Only what does not work, each with its reason."""
    return {
        reading.key: {call: reason for call, reason in sorted(reading.able.items()) if reason != "ok"}
        for reading in readings
        if not reading.lost
    }

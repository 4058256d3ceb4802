"""Xid errors as they happen: NVML's event set, waited for in a thread of its own."""

import ctypes
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pynvml

from monitoring.agent.nvml import Device, GpuLost

WAIT_MILLISECONDS = 1000  # so long at most does an end wait for the thread
EVENTS_MOST = 1000  # kept while nobody takes them


@dataclass(frozen=True)
class Event:
    """One critical Xid error."""

    accelerator: str  # UUID
    time: float  # Unix seconds
    code: int
    kind: str = "xid"


@dataclass
class XidWatch:
    """Started after NVML is, stopped before NVML is: a wait in a library that ends under it does not return."""

    clock: Callable[[], float] = time.time
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=EVENTS_MOST))
    last: dict[str, int] = field(default_factory=dict)  # UUID -> newest code; 0 = watched, none seen
    ending: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def start(self, devices: Mapping[str, Device]) -> None:
        try:
            events = pynvml.nvmlEventSetCreate()
        except pynvml.NVMLError:
            for device in devices.values():
                device.able["nvmlEventSetCreate"] = "not in this driver"
            return
        watched = {address(device.handle): uuid for uuid, device in devices.items() if registered(device, events)}
        for uuid in watched.values():
            self.last.setdefault(uuid, 0)
        self.ending.clear()
        self.thread = threading.Thread(target=self.run, args=(events, watched), name="xid", daemon=True)
        self.thread.start()

    def run(self, events: Any, watched: Mapping[int, str]) -> None:
        try:
            while watched and not self.ending.is_set():
                self.wait(events, watched)
        finally:
            pynvml.nvmlEventSetFree(events)

    def wait(self, events: Any, watched: Mapping[int, str]) -> None:
        try:
            found = pynvml.nvmlEventSetWait_v2(events, WAIT_MILLISECONDS)
        except pynvml.NVMLError as error:
            if getattr(error, "value", None) != pynvml.NVML_ERROR_TIMEOUT:
                self.ending.wait(WAIT_MILLISECONDS / 1000)  # a lost GPU answers at once, over and over
            return
        uuid = watched.get(address(found.device), "")
        self.last[uuid] = int(found.eventData)
        self.events.append(Event(uuid, self.clock(), int(found.eventData)))

    def take(self) -> list[Event]:
        """What came since the last call."""
        return [self.events.popleft() for _ in range(len(self.events))]

    def stop(self) -> None:
        self.ending.set()
        if self.thread is not None:
            self.thread.join()
        self.thread = None


def registered(device: Device, events: Any) -> bool:
    call = "nvmlDeviceRegisterEvents Xid"
    try:
        device.ask(call, pynvml.nvmlDeviceRegisterEvents, pynvml.nvmlEventTypeXidCriticalError, events)
    except GpuLost:
        return False
    return device.able.get(call) == "ok"


def address(handle: Any) -> int:
    """A handle is a pointer; a lost GPU no longer tells its UUID, so it is known by this."""
    return ctypes.cast(handle, ctypes.c_void_p).value or 0

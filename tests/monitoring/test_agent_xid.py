"""Xid errors through the real binding and the fake's event set."""

import threading

from monitoring.agent.gpus import Gpus
from monitoring.agent.xid import Event, XidWatch
from tests.fakes.nvml import FakeNvml
from tests.servers.processes import wait_until


def started(nvml: FakeNvml) -> Gpus:
    gpus = nvml.gpus()
    gpus.xid.clock = lambda: 123.5
    gpus.read(monotonic=10.0, now=10.0)
    return gpus


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "xid"]


def test_an_xid_is_told_once_with_its_gpu_and_stays_the_last_code(nvml: FakeNvml) -> None:
    gpus = started(nvml)
    nvml.xid(2, 79)
    wait_until(lambda: bool(gpus.xid.events), seconds=5, what="the event")
    assert gpus.xid.take() == [Event("GPU-fake-2", 123.5, 79)] and gpus.xid.take() == []
    values = {reading.key: reading.values for reading in gpus.read(monotonic=25.0, now=25.0)}
    assert values["GPU-fake-2"]["xid_code"] == 79.0 and values["GPU-fake-1"]["xid_code"] == 0.0


def test_a_gpu_without_events_has_no_code_and_a_reason(nvml: FakeNvml) -> None:
    found = {reading.key: reading for reading in started(nvml).read(monotonic=25.0, now=25.0)}
    assert "xid_code" not in found["GPU-fake-5"].values
    assert found["GPU-fake-5"].able["nvmlDeviceRegisterEvents Xid"] == "not supported by this GPU"


def test_it_ends_with_nvml_and_starts_again_with_it(nvml: FakeNvml) -> None:
    gpus = started(nvml)
    assert len(watchers()) == 1
    gpus.stop()
    assert watchers() == []
    gpus.read(monotonic=40.0, now=40.0)
    assert len(watchers()) == 1


def test_a_flood_that_nobody_takes_is_bounded() -> None:
    watch = XidWatch()
    watch.events.extend(Event("GPU", float(number), 13) for number in range(5000))
    assert len(watch.take()) == 1000

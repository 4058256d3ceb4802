"""The agent whole: its loop on the grid, what it tells, and its readings through the real door into the tables."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pynvml
import pytest

from monitoring.agent.door import Reply
from monitoring.agent.host import Host
from monitoring.agent.loop import NEWS_SECONDS, Agent
from monitoring.agent.sender import Sender
from monitoring.agent.spool import Bounds, Spool
from monitoring.models import AcceleratorProcess, Event
from monitoring.models import Agent as AgentRow
from tests.fakes.nvml import FakeNvml
from tests.fakes.proc import process_write, stat_write
from tests.monitoring.ingest_door import Sender as KeyHolder
from tests.servers.processes import wait_until
from tests.telemetry import table_rows


class Clock:
    """Moves itself on when somebody waits for it."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Ending(threading.Event):
    """A wait that moves the clock instead of waiting, and ends after so many."""

    def __init__(self, clock: Clock, waits: int) -> None:
        super().__init__()
        self.clock, self.waits = clock, waits

    def wait(self, timeout: float | None = None) -> bool:
        self.clock.now += timeout or 0.0
        self.waits -= 1
        return self.waits < 0


def agent_at(folder: Path, nvml: FakeNvml, clock: Clock) -> Agent:
    stat_write(folder / "proc")
    for pid in (1000, 2001, 4001):
        process_write(folder / "proc", pid, parent=1, started=1.0, name="vllm", command="vllm serve org/m", cgroup="0::/a/vllm.service\n")
    spool = Spool(folder / "spool", Bounds(disk_ratio=1.0))
    return Agent("gpu-7", "0", 15.0, Host(folder), nvml.gpus(folder / "proc"), spool, clock, clock)


def test_readings_lie_on_the_grid_whenever_it_started(nvml: FakeNvml, tmp_path: Path) -> None:
    clock = Clock(1_795_322_407.3)
    agent = agent_at(tmp_path, nvml, clock)
    agent.run(Ending(clock, 5))
    assert [record.time for record in agent.spool.oldest(9)] == [1_795_322_415.0 + 15.0 * number for number in range(5)]


def test_a_wait_that_ends_a_moment_early_makes_no_second_reading(nvml: FakeNvml, tmp_path: Path) -> None:
    clock = Clock(1_795_322_400.0)
    agent = agent_at(tmp_path, nvml, clock)

    class Early(Ending):
        def wait(self, timeout: float | None = None) -> bool:
            return super().wait((timeout or 0.0) - 0.001 if (timeout or 0.0) > 1 else timeout)

    agent.run(Early(clock, 6))
    assert [record.time for record in agent.spool.oldest(9)] == [1_795_322_415.0, 1_795_322_430.0, 1_795_322_445.0]


def test_a_reading_that_fails_does_not_end_the_loop(nvml: FakeNvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(1_795_322_400.0)
    agent = agent_at(tmp_path, nvml, clock)
    monkeypatch.setattr(agent.gpus, "read", lambda **_: [][0])
    agent.run(Ending(clock, 2))
    monkeypatch.undo()
    agent.run(Ending(clock, 1))
    assert agent.spool.waiting() == 1


def test_a_driver_that_misbehaves_leaves_the_host_readings(nvml: FakeNvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(1_795_322_400.0)
    agent = agent_at(tmp_path, nvml, clock)

    def fail(**_: Any) -> None:
        raise TypeError("the binding")

    monkeypatch.setattr(agent.gpus, "read", fail)
    agent.read(1_795_322_400.0)
    assert agent.spool.waiting() == 1


def test_facts_are_told_on_start_on_change_and_hourly(nvml: FakeNvml, tmp_path: Path) -> None:
    clock = Clock(1_795_322_400.0)
    agent = agent_at(tmp_path, nvml, clock)
    agent.read(clock.now)
    news = agent.news()
    assert news["host"]["driver_version"] == "580.65.06" and news["host"]["cuda_version"] == "13.0"
    assert news["host"]["GPU-fake-0 rows_remapped_corrected"] == 2.0
    assert news["capabilities"]["GPU-fake-5"]["nvmlDeviceGetTotalEnergyConsumption"] == "not supported by this GPU"
    assert all(isinstance(value, str | int | float) for value in news["host"].values())
    agent.heard()
    assert agent.news() == {}
    agent.snapshot.host = {**agent.snapshot.host, "driver_version": "581"}  # the same object was heard, so this is a change of both
    agent.told = type(agent.snapshot)(news["host"], news["capabilities"], [])
    assert list(agent.news()) == ["host"]
    clock.now += NEWS_SECONDS
    assert set(agent.news()) == {"host", "capabilities"}


def test_a_host_without_a_driver_is_not_in_trouble_and_a_broken_driver_is(
    nvml: FakeNvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = agent_at(tmp_path, nvml, Clock(1_795_322_400.0))
    for code, words in ((pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, ""), (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "NVML does not answer")):
        monkeypatch.setattr(pynvml, "nvmlInit", raising(pynvml.NVMLError(code)))
        agent.read(1_795_322_400.0)
        assert agent.trouble().startswith(words) and bool(agent.trouble()) == bool(words)


def raising(error: Exception) -> Callable[[], None]:
    def call() -> None:
        raise error

    return call


class ClientDoor:
    """The real door, asked by Django's client instead of a socket."""

    def __init__(self, holder: KeyHolder) -> None:
        self.holder = holder

    def post(self, body: bytes) -> Reply:
        answer = self.holder.post(body, packed=True)
        return Reply(answer.status_code, answer.content, None, None)


@pytest.mark.django_db
def test_readings_arrive_in_the_tables_through_the_real_door(nvml: FakeNvml, tmp_path: Path) -> None:
    now = time.time() // 15 * 15 - 30.0
    clock = Clock(now)
    agent = agent_at(tmp_path, nvml, clock)
    sender = Sender(agent.spool, ClientDoor(KeyHolder()), agent, clock, clock, start_jitter_seconds=0.0)
    for moment in (now, now + 15.0):
        clock.now = moment
        nvml.clock_set(moment)
        agent.read(moment)
    nvml.xid(2, 79)
    wait_until(lambda: bool(agent.gpus.xid.events), seconds=5, what="the event")
    clock.now = now + 30.0
    nvml.clock_set(clock.now)
    agent.read(clock.now)
    sender.step()
    assert sender.trouble == "" and sender.counts.rejected == 0 and sender.counts.parked == 0
    assert agent.spool.waiting() == 0 and sender.counts.accepted > 400
    row = AgentRow.objects.get()
    assert row.host["driver_version"] == "580.65.06" and row.capabilities["GPU-fake-5"] and row.waiting_count == 0
    power = dict(power_rows())
    assert power["GPU-fake-0"] == pytest.approx(300.0, rel=1e-3) and "MIG-fake-4-1" not in power
    assert Event.objects.get().title == "Xid 79 on GPU-fake-2"
    held = AcceleratorProcess.objects.order_by("pid").values_list(
        "accelerator__uuid", "pid", "sm_ratio", "share_method", "model_name", "unit"
    )
    assert list(held) == [
        ("GPU-fake-0", 1000, pytest.approx(0.63), "process_utilization", "org/m", "vllm.service"),
        ("GPU-fake-1", 2001, pytest.approx(0.30), "process_utilization", "org/m", "vllm.service"),
        ("MIG-fake-4-1", 4001, None, "memory", "org/m", "vllm.service"),
    ]


def power_rows() -> list[tuple[str, float]]:
    names = dict(AgentRow.objects.get().node.accelerators.values_list("pk", "uuid"))
    return [(names[pk], value) for pk, _, value in table_rows("accelerator_sample", "power_watts") if value is not None]


@pytest.mark.django_db
def test_a_repeat_through_the_real_door_doubles_nothing(nvml: FakeNvml, tmp_path: Path) -> None:
    now = time.time() // 15 * 15 - 15.0
    clock = Clock(now)
    agent = agent_at(tmp_path, nvml, clock)
    holder = KeyHolder()
    sender = Sender(agent.spool, ClientDoor(holder), agent, clock, clock, start_jitter_seconds=0.0)
    agent.read(now)
    kept = agent.spool.oldest(9)
    sender.step()
    before = table_rows("accelerator_sample", "power_watts")
    agent.spool.append(kept[0].payload, time=now)
    clock.now += 60.0
    sender.step()
    assert table_rows("accelerator_sample", "power_watts") == before
    assert (sender.counts.accepted, sender.counts.duplicate) == (sender.counts.duplicate, sender.counts.accepted)

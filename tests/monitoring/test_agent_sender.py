"""Sending: what the server has is forgotten, what it does not have is not; outages, faults and refusals on an injected clock."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from monitoring.agent.batch import pack
from monitoring.agent.door import Door
from monitoring.agent.gpus import Reading
from monitoring.agent.sender import Sender
from monitoring.agent.spool import Bounds, Spool
from tests.fakes.ingest_server import KEY, FakeIngest, Fault
from tests.servers.loopback import Server, serving

START = 1_795_322_400.0


@dataclass
class Time:
    """A clock that tests move."""

    now: float = START

    def __call__(self) -> float:
        return self.now


@dataclass
class Words:
    """A fake of what the agent says of itself."""

    heard_count: int = 0

    def agent(self) -> dict[str, Any]:
        return {"node": "gpu-7", "version": "0", "started_at": START, "interval_seconds": 15}

    def news(self) -> dict[str, Any]:
        return {"host": {"kernel": "6"}, "capabilities": {"GPU-0": {"call": "no"}}} if not self.heard_count else {}

    def heard(self) -> None:
        self.heard_count += 1

    def processes(self) -> list[dict[str, Any]]:
        return [{"pid": 1}]

    def trouble(self) -> str:
        return "x" * 900


@dataclass
class Stage:
    """A sender before a fake door over a real socket."""

    folder: Path
    time: Time = field(default_factory=Time)
    ingest: FakeIngest = field(default_factory=FakeIngest)
    words: Words = field(default_factory=Words)
    interval: float = 15.0
    values: int = 3

    def open(self, server: Server, *, bounds: Bounds | None = None) -> Sender:
        self.ingest.clock = self.time
        self.spool = Spool(self.folder, bounds or Bounds(disk_ratio=1.0, sync_seconds=3600.0))
        self.sender = Sender(
            self.spool,
            Door(server.url, KEY),
            self.words,
            self.time,
            self.time,
            start_jitter_seconds=0.0,
            rng=random.Random(5),
        )
        return self.sender

    def read(self, time: float) -> None:
        values = {f"column_{number}": float(number) + time % 1000 for number in range(self.values)}
        self.spool.append(pack("gpu-7", values, [Reading("GPU-0", "", "H100", 0, "", values, {})]), time=time)

    def run(self, seconds: float, *, request_seconds: float = 0.2) -> None:
        """What the two threads do: a reading at each grid time, a step whenever the sender wants one; a step that sends takes time."""
        ending, wanted = self.time.now + seconds, self.time.now
        reading_at = (self.time.now // self.interval + 1) * self.interval
        while self.time.now < ending:
            self.time.now = min(reading_at, max(wanted, self.time.now))
            if self.time.now == reading_at:
                self.read(reading_at)
                reading_at += self.interval
            if self.time.now >= wanted:
                before = self.ingest.requests
                wait = self.sender.step()
                self.time.now += request_seconds * (self.ingest.requests - before)
                while reading_at < self.time.now:  # read in time by its own thread, while the other waited for an answer
                    self.read(reading_at)
                    reading_at += self.interval
                wanted = self.time.now + wait


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[tuple[Stage, Sender]]:
    made = Stage(tmp_path / "spool")
    with serving(made.ingest.respond) as server:
        yield made, made.open(server)
        made.spool.close(now=0.0)


def down_between(start: float, end: float, time: Time) -> Callable[[int], Fault | None]:
    return lambda number: Fault() if start <= time.now < end else None


def test_what_arrived_is_forgotten_and_told_once(stage: tuple[Stage, Sender]) -> None:
    made, sender = stage
    made.run(600.0)
    assert made.ingest.times == [START + 15.0 * number for number in range(1, len(made.ingest.times) + 1)]
    assert (sender.counts.failures, sender.counts.duplicate, len(made.ingest.times)) == (0, 0, 36)
    assert made.ingest.requests == 10  # one a minute, and the one that starts
    assert made.spool.waiting() <= 4
    assert ["host" in body["agent"] for body in made.ingest.bodies] == [True] + [False] * 9
    assert ["capabilities" in body for body in made.ingest.bodies] == [True] + [False] * 9


def test_a_body_is_as_agreed(stage: tuple[Stage, Sender]) -> None:
    made, _ = stage
    made.run(100.0)
    body = made.ingest.bodies[-1]
    assert len(body["agent"]["spool"]["trouble"]) == 500  # the door takes no long texts
    assert body["agent"]["node"] == "gpu-7" and body["agent"]["spool"]["waiting"] == 0
    assert body["entities"][0] == {"kind": "node", "key": "gpu-7"}
    assert body["entities"][1]["model_name"] == "H100" and body["processes"] == [{"pid": 1}]
    assert len(body["columns"]["column_1"]) == 2 and len(body["columns"]["column_1"][0]) == len(body["times"])
    assert made.ingest.bodies[0]["seq"] < body["seq"]


@pytest.mark.parametrize("interval", [15.0, 5.0])
def test_half_an_hour_without_a_server_is_replayed_within_a_minute_and_live_is_not_late(tmp_path: Path, interval: float) -> None:
    made = Stage(tmp_path / "spool", interval=interval, values=100)  # 200 values a reading
    away, back = START + 120.0, START + 120.0 + 1800.0
    made.ingest.fault = down_between(away, back, made.time)
    with serving(made.ingest.respond) as server:
        made.open(server)
        made.run(2100.0)
        made.spool.close(now=0.0)
    first = min(at for at in made.ingest.stored_at.values() if at >= back)
    backlog = [time for time in made.ingest.times if away - 60.0 <= time <= first]
    assert made.ingest.times == [START + interval * number for number in range(1, len(made.ingest.times) + 1)]  # nothing lost
    assert first - back <= 60.0  # the longest back-off
    assert max(made.ingest.stored_at[time] for time in backlog) - first <= 60.0
    replayed = max(made.ingest.stored_at[time] for time in backlog)
    live = [made.ingest.stored_at[time] - time for time in made.ingest.times if first <= time <= replayed - 15.0]
    assert max(live, default=0.0) <= 15.0


def test_live_readings_go_out_beside_a_backlog_of_a_day(stage: tuple[Stage, Sender]) -> None:
    """Twin: with the newest never sent first, this is hours late."""
    made, sender = stage
    for number in range(6000):
        made.read(START - 86000.0 + 10.0 * number)
    made.run(50.0, request_seconds=3.0)
    assert made.spool.waiting() > 0
    live = [made.ingest.stored_at[time] - time for time in made.ingest.times if time > START]
    assert live and max(live) <= 15.0


def test_without_the_newest_first_live_readings_wait_for_the_backlog(stage: tuple[Stage, Sender], monkeypatch: pytest.MonkeyPatch) -> None:
    made, sender = stage
    monkeypatch.setattr(made.spool, "newest", made.spool.oldest)
    for number in range(6000):
        made.read(START - 86000.0 + 10.0 * number)
    made.run(50.0, request_seconds=3.0)
    assert not [time for time in made.ingest.times if time > START]


def test_a_lost_answer_doubles_nothing(stage: tuple[Stage, Sender], request: pytest.FixtureRequest) -> None:
    made, sender = stage
    losses = 1000 if request.config.getoption("--full", default=False) else 150
    made.ingest.fault = lambda number: Fault(ack_lost=True) if number <= losses else None
    made.run(losses * 70.0)
    count = len(made.ingest.times)
    assert made.ingest.requests > losses and sender.counts.failures >= losses // 2  # each loss on a kept connection is two requests
    assert len(made.ingest.samples) == count * 6  # six values a reading, each once
    sent = sum(len(row) for body in made.ingest.bodies for rows in body["columns"].values() for row in rows)
    assert sent > len(made.ingest.samples)  # the twin: a server that forgot (entity, time) would have more
    assert made.spool.waiting() <= 4 and made.ingest.times == [START + 15.0 * number for number in range(1, count + 1)]


def test_forgetting_before_the_answer_loses_readings(stage: tuple[Stage, Sender], monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin with the safety off: what is forgotten when it is sent is gone when the server was away."""
    made, sender = stage
    send = sender.send
    monkeypatch.setattr(sender, "send", lambda records, body: (made.spool.done(records), send(records, body)))
    made.ingest.fault = down_between(START + 60.0, START + 400.0, made.time)
    made.run(900.0)
    assert made.ingest.times != [START + 15.0 * number for number in range(1, len(made.ingest.times) + 1)]


@pytest.mark.parametrize(("status", "low", "high"), [(429, 40.0, 41.0), (503, 40.0, 41.0)])
def test_retry_after_is_kept_to(stage: tuple[Stage, Sender], status: int, low: float, high: float) -> None:
    made, sender = stage
    made.ingest.fault = lambda number: Fault(status, {"Retry-After": "40"})
    made.read(START)
    assert low <= sender.step() <= high
    assert made.spool.waiting() == 1


def test_retry_after_is_capped_at_five_minutes(stage: tuple[Stage, Sender]) -> None:
    made, sender = stage
    made.ingest.fault = lambda number: Fault(503, {"Retry-After": "86400"})
    made.read(START)
    assert 300.0 <= sender.step() <= 301.0


def test_back_off_grows_to_a_minute_and_is_spread(stage: tuple[Stage, Sender]) -> None:
    made, sender = stage
    made.ingest.fault = lambda number: Fault(500)
    made.read(START)
    waits = []
    for _ in range(40):
        waits.append(sender.step())
        made.time.now += waits[-1]
    assert waits[0] <= 1.0 and max(waits) > 45.0 and max(waits) <= 60.0 and len(set(waits)) == 40


@pytest.mark.parametrize("status", [401, 403, 404, 302])
def test_a_refused_key_or_address_keeps_readings_and_slows_down(stage: tuple[Stage, Sender], status: int) -> None:
    made, sender = stage
    made.ingest.fault = lambda number: Fault(status)
    made.read(START)
    assert sender.step() == 300.0 and made.spool.waiting() == 1 and sender.trouble
    made.ingest.fault = lambda number: None
    made.time.now += 300.0
    sender.step()
    assert made.spool.waiting() == 0 and sender.trouble == ""


@pytest.mark.parametrize("status", [400, 415, 422])
def test_an_unreadable_batch_is_parked_and_does_not_block(stage: tuple[Stage, Sender], status: int) -> None:
    made, sender = stage
    made.ingest.fault = lambda number: Fault(status) if number == 1 else None
    made.read(START)
    sender.step()
    made.run(120.0)
    assert sender.counts.parked == 1 and made.ingest.times[0] == START + 15.0
    parked = [*(made.folder / "dead").iterdir()]
    assert len(parked) == 1 and json.loads(parked[0].read_bytes())["times"] == [START]
    assert made.ingest.bodies[0]["gaps"] == [{"count": 1, "start": START, "end": START}]  # told, as it will not come


def test_what_is_parked_stays_below_a_megabyte(stage: tuple[Stage, Sender]) -> None:
    made, _ = stage
    for number in range(30):
        made.spool.bury(f"{number:05d}-400.json", b"x" * 100_000)
    assert [path.name for path in sorted((made.folder / "dead").iterdir())] == [f"{number:05d}-400.json" for number in range(20, 30)]


def test_a_batch_too_large_is_split_before_anything_is_parked(stage: tuple[Stage, Sender]) -> None:
    made, sender = stage
    for number in range(40):
        made.read(START - 600.0 + 15.0 * number)
    made.ingest.fault = lambda number: Fault(413) if number <= 3 else None
    made.run(5.0, request_seconds=0.1)
    assert sender.counts.parked == 0 and len(made.ingest.times) == 40
    assert len(made.ingest.bodies[0]["times"]) == 5  # 40, 20, 10, then 5


def test_a_login_page_in_between_is_no_answer(stage: tuple[Stage, Sender]) -> None:
    made, sender = stage
    made.ingest.fault = lambda number: Fault(200, body=b"<html>Please log in</html>")
    made.read(START)
    sender.step()
    assert made.spool.waiting() == 1 and "login page" in sender.trouble


def test_dropped_readings_are_told_until_heard(stage: tuple[Stage, Sender]) -> None:
    made, sender = stage
    made.spool.gap_note(7, START - 900.0, START - 800.0)
    made.read(START)
    made.ingest.fault = lambda number: Fault(500) if number == 1 else None
    sender.step()
    made.time.now += 60.0
    sender.step()
    assert made.ingest.bodies[0]["gaps"] == [{"count": 7, "start": START - 900.0, "end": START - 800.0}]
    made.run(120.0)
    assert all("gaps" not in body for body in made.ingest.bodies[1:])


def test_a_clock_far_off_is_said(stage: tuple[Stage, Sender]) -> None:
    made, sender = stage
    made.ingest.fault = lambda number: Fault(503)
    made.ingest.clock = lambda: made.time.now - 700.0
    made.read(START)
    sender.step()
    assert sender.skew_seconds == pytest.approx(700.0, abs=1.0)
    assert "700 s ahead" in sender.skew_trouble() or "699 s ahead" in sender.skew_trouble()


def test_a_spool_of_another_version_is_passed_over(stage: tuple[Stage, Sender]) -> None:
    made, sender = stage
    made.spool.append(b"from the future", time=START)
    made.read(START + 15.0)
    sender.step()
    assert made.ingest.times == [START + 15.0] and made.spool.waiting() == 0


def test_a_fault_of_our_own_does_not_end_sending(stage: tuple[Stage, Sender], monkeypatch: pytest.MonkeyPatch) -> None:
    made, sender = stage
    made.read(START)
    monkeypatch.setattr(made.words, "agent", lambda: 1 / 0)
    assert sender.guarded_step() == 60.0 and made.spool.waiting() == 1

"""The agent's spool: what went in comes out, past restarts, damage, full disks and its own bounds."""

import json
import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from monitoring.agent import spool as spool_module
from monitoring.agent.batch import pack
from monitoring.agent.spool import Bounds, Gap, Record, Spool, SpoolBusy, frame, record_at, records_in

ROOMY = Bounds(disk_ratio=1.0)


def spool_at(folder: Path, bounds: Bounds = ROOMY) -> Spool:
    return Spool(folder, bounds)


def filled(folder: Path, count: int, bounds: Bounds = ROOMY) -> Spool:
    spool = spool_at(folder, bounds)
    for number in range(count):
        spool.append(b"reading %d" % number, time=1000.0 + number)
    return spool


def test_records_come_back_oldest_first_until_done(tmp_path: Path) -> None:
    spool = filled(tmp_path, 5)
    first = spool.oldest(2)
    assert [record.payload for record in first] == [b"reading 0", b"reading 1"]
    spool.done(first)
    assert [record.payload for record in spool.oldest(9)] == [b"reading 2", b"reading 3", b"reading 4"]
    assert spool.waiting() == 3


def test_the_newest_are_had_beside_a_backlog(tmp_path: Path) -> None:
    spool = filled(tmp_path, 500, Bounds(disk_ratio=1.0, segment_bytes=2000))
    assert [record.payload for record in spool.newest(2)] == [b"reading 498", b"reading 499"]
    assert spool.oldest(1)[0].payload == b"reading 0"


def test_everything_is_there_after_a_kill(tmp_path: Path) -> None:
    spool = filled(tmp_path, 50)
    os.close(spool.lock or 0)  # what the kernel does to a killed process
    again = spool_at(tmp_path)
    assert len(again.oldest(100)) == 50
    assert again.append(b"next", time=2000.0).sequence == 51


def test_writing_goes_on_after_everything_was_sent(tmp_path: Path) -> None:
    spool = filled(tmp_path, 3)
    spool.done(spool.oldest(3))
    assert list(tmp_path.glob("*.spool")) == []
    spool.append(b"later", time=1010.0)
    spool.close(now=1010.0)
    assert [record.payload for record in spool_at(tmp_path).oldest(5)] == [b"later"]


def test_one_spool_has_one_owner(tmp_path: Path) -> None:
    spool = spool_at(tmp_path)
    with pytest.raises(SpoolBusy, match="another agent"):
        spool_at(tmp_path)
    spool.close(now=0.0)


def test_the_oldest_go_first_and_are_counted_as_a_gap(tmp_path: Path) -> None:
    spool = filled(tmp_path, 1000, Bounds(bytes=20_000, segment_bytes=4_000, disk_ratio=1.0))
    left = [record.time for record in spool.newest(1000)]
    assert spool.size <= 20_000
    assert spool.gaps == [Gap(1000 - len(left), 1000.0, left[0] - 1.0)]


def test_old_readings_go_by_age(tmp_path: Path) -> None:
    spool = filled(tmp_path, 3)
    spool.append(b"a day later", time=1002.0 + 86401.0)
    assert [record.payload for record in spool.oldest(9)] == [b"a day later"]
    assert spool.gaps == [Gap(3, 1000.0, 1002.0)]


def test_a_full_disk_moves_readings_to_memory_and_says_so(tmp_path: Path) -> None:
    spool = spool_at(tmp_path, Bounds(disk_ratio=0.0))
    spool.append(b"kept", time=1.0)
    assert "memory" in spool.trouble
    assert [record.payload for record in spool.oldest(5)] == [b"kept"]
    spool.done(spool.oldest(5))
    assert spool.waiting() == 0


def test_memory_is_bounded_too(tmp_path: Path) -> None:
    spool = spool_at(tmp_path, Bounds(disk_ratio=0.0, memory_bytes=100))
    for number in range(20):
        spool.append(b"0123456789", time=float(number))
    assert spool.waiting() == 10
    assert spool.gaps == [Gap(10, 0.0, 9.0)]


def test_every_undamaged_record_survives_damage_at_a_thousand_places(tmp_path: Path) -> None:
    records = filled(tmp_path, 400).newest(400)
    content = b"".join(frame(record) for record in records)
    starts = [0]
    for record in records:
        starts.append(starts[-1] + len(frame(record)))
    rng = random.Random(7)
    for _ in range(1000):
        at = rng.randrange(len(content))
        cut = rng.random() < 0.5
        damaged = content[:at] if cut else content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]
        hit = next(number for number, end in enumerate(starts[1:]) if at < end)
        expected = records[:hit] if cut else records[:hit] + records[hit + 1 :]
        assert [record for record, _ in records_in(damaged)] == expected


def test_a_file_with_nothing_readable_is_kept_aside(tmp_path: Path) -> None:
    (tmp_path / "0000000000000001.spool").write_bytes(b"not a record at all")
    assert spool_at(tmp_path).oldest(5) == []
    assert (tmp_path / "0000000000000001.bad").exists()


def damaged_of(content: bytes, rng: random.Random) -> tuple[bytes, int, bool]:
    """(the bytes cut off or with one bit turned, where, was it a cut)."""
    at, cut = rng.randrange(len(content)), rng.random() < 0.5
    return (content[:at] if cut else content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]), at, cut


def rounds_survived(folder: Path, rounds: int) -> int:
    """How often a spool opened on damaged files gave every undamaged record."""
    records = filled(folder / "whole", 120).newest(120)
    content = b"".join(frame(record) for record in records)
    ends = [sum(len(frame(record)) for record in records[: number + 1]) for number in range(len(records))]
    rng, well = random.Random(11), 0
    for number in range(rounds):
        damaged, at, cut = damaged_of(content, rng)
        place = folder / str(number)
        place.mkdir()
        (place / "0000000000000001.spool").write_bytes(damaged)
        hit = next(number for number, end in enumerate(ends) if at < end)
        spool = spool_at(place)
        well += spool.newest(200) == (records[:hit] if cut else records[:hit] + records[hit + 1 :])
        spool.close(now=0.0)
    return well


def test_a_spool_opened_on_damage_gives_every_undamaged_record(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    rounds = 1000 if request.config.getoption("--full", default=False) else 100
    assert rounds_survived(tmp_path, rounds) == rounds


def test_a_reader_that_stops_at_the_first_damage_would_lose_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin with the safety off."""

    def trusting(content: bytes) -> Iterator[tuple[Record, int]]:
        at = 0
        while (record := record_at(content, at)) is not None:
            yield record, at
            at += len(frame(record))

    monkeypatch.setattr(spool_module, "records_at", trusting)
    assert rounds_survived(tmp_path, 20) < 20


def test_damage_between_records_is_told_as_a_gap(tmp_path: Path) -> None:
    spool = filled(tmp_path, 9)
    spool.close(now=0.0)
    path = next(tmp_path.glob("*.spool"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    again = spool_at(tmp_path)
    assert again.waiting() == 8 and again.damaged_bytes > 0
    assert again.gaps == [Gap(1, 1003.0, 1005.0)]


def test_a_record_damaged_after_the_start_is_a_gap_and_not_sent(tmp_path: Path) -> None:
    spool = filled(tmp_path, 3)
    path = next(tmp_path.glob("*.spool"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    assert [record.sequence for record in spool.newest(9)] == [1, 2]
    assert spool.gaps == [Gap(1, 1002.0, 1002.0)] and spool.waiting() == 2


def test_gaps_outlive_the_process(tmp_path: Path) -> None:
    spool = filled(tmp_path, 3)
    spool.gap_note(5, 10.0, 20.0)
    os.close(spool.lock or 0)
    again = spool_at(tmp_path)
    assert again.gaps_take() == [Gap(5, 10.0, 20.0)]
    again.gaps_done()
    os.close(again.lock or 0)
    assert spool_at(tmp_path).gaps == []


def test_a_gap_on_its_way_does_not_grow(tmp_path: Path) -> None:
    spool = spool_at(tmp_path)
    spool.gap_note(1, 10.0, 10.0)
    assert spool.gaps_take() == [Gap(1, 10.0, 10.0)]
    spool.gap_note(1, 11.0, 11.0)
    spool.gaps_done()
    assert spool.gaps == [Gap(1, 11.0, 11.0)]


def test_gaps_are_bounded(tmp_path: Path) -> None:
    spool = spool_at(tmp_path)
    for number in range(500):
        spool.gap_note(1, 10_000.0 * number, 10_000.0 * number)
    assert len(spool.gaps) == 100 and sum(gap.count for gap in spool.gaps) == 500


def test_two_threads_share_it(tmp_path: Path) -> None:
    """One appends while the other sends: nothing is lost, nothing comes twice."""
    spool = spool_at(tmp_path, Bounds(disk_ratio=1.0, segment_bytes=3000, sync_seconds=3600.0))
    writer = threading.Thread(target=lambda: [spool.append(b"x" * 50, time=float(number)) for number in range(1500)])
    writer.start()
    seen: list[int] = []
    turn = 0
    while writer.is_alive() or spool.waiting():
        turn += 1
        found = spool.newest(7) if turn % 2 else spool.oldest(20)
        seen += [record.sequence for record in found]
        spool.done(found)
    assert sorted(seen) == list(range(1, 1501)) and spool.size == 0


def day_bytes(packed: Callable[[dict[str, float]], bytes]) -> float:
    """24 hours of 200 values each 5 s, from 200 readings of values that move as real ones do."""
    rng = random.Random(3)
    level = {f"column_{number}_bytes_per_second": rng.uniform(0, 10 ** rng.uniform(0, 11)) for number in range(200)}
    size = 0
    for _ in range(200):
        level = {name: value * rng.uniform(0.9, 1.1) for name, value in level.items()}
        size += len(frame(Record(1, 0.0, packed(level))))
    return size / 200 * 17_280


def test_a_day_of_200_values_each_5_seconds_fits_in_50_mb() -> None:
    assert day_bytes(lambda values: pack("gpu-7", values, [])) <= 50e6


def test_a_day_as_plain_json_would_not_fit() -> None:
    """The twin with the safety off."""
    assert day_bytes(lambda values: json.dumps(values).encode()) > 50e6

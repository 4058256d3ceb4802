"""The agent's spool: what went in comes out, past restarts, damage, full disks and its own bounds."""

import json
import os
import random
import zlib
from pathlib import Path

import pytest

from monitoring.agent.spool import Bounds, Gap, Spool, SpoolBusy, frame, records_in

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


def test_a_day_of_200_values_each_5_seconds_fits_in_50_mb(tmp_path: Path) -> None:
    rng = random.Random(3)
    size = 0
    for _ in range(200):
        values = {f"column_{number}_bytes_per_second": round(rng.uniform(0, 1e10), 3) for number in range(200)}
        size += len(zlib.compress(json.dumps(values).encode(), 6)) + 28
    assert size / 200 * 17_280 <= 50e6

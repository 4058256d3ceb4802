"""Readings on disk until the server has them: checksummed records in segment files, bounded by bytes and age.

A record is MAGIC, length, CRC-32, sequence number, Unix time of the reading, then the payload. A damaged stretch is skipped to the
next MAGIC whose checksum holds, so every undamaged record is found again. Oldest whole segments go first when a bound is reached,
and what went is kept as a `Gap`: a gap is data.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import struct
import threading
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MAGIC = b"\xf5HRs"
FRAME = struct.Struct(">4sIIQd")  # magic, payload length, crc of (sequence, time, payload), sequence, time
SIGNED = struct.Struct(">Qd")
PAYLOAD_MOST = 8 * 2**20
DEAD_BYTES = 2**20
GAPS, GAPS_MOST, GAP_JOINED_SECONDS = "gaps.json", 100, 600.0


@dataclass(frozen=True)
class Bounds:
    """How much is kept. `disk_ratio`: no growth while the file system is fuller than that."""

    bytes: int = 50 * 2**20
    age_seconds: float = 86400.0
    disk_ratio: float = 0.8
    segment_bytes: int = 512 * 2**10
    sync_bytes: int = 256 * 2**10
    sync_seconds: float = 1.0
    memory_bytes: int = 10 * 2**20


@dataclass(frozen=True)
class Record:
    sequence: int
    time: float  # Unix seconds of the reading
    payload: bytes


@dataclass(frozen=True)
class Gap:
    """Readings that were dropped because a bound was reached, or lost to damage."""

    count: int
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Place:
    """Where a waiting record lies in its segment."""

    offset: int
    size: int
    time: float


@dataclass
class Segment:
    path: Path
    size: int = 0
    waiting: dict[int, Place] = field(default_factory=dict)  # sequence -> place, in order; what is done is taken out
    last_time: float = 0.0

    def note(self, record: Record, size: int) -> None:
        self.waiting[record.sequence] = Place(self.size, size, record.time)
        self.last_time = max(self.last_time, record.time)
        self.size += size


class SpoolBusy(Exception):
    """Another agent owns this spool."""


@dataclass
class Spool:
    """The newest records first wanted live, the oldest for the backlog; `done` forgets what the server has.

    One thread may append while another sends: each public method holds `guard`.
    """

    folder: Path
    bounds: Bounds = field(default_factory=Bounds)
    segments: deque[Segment] = field(default_factory=deque)
    gaps: list[Gap] = field(default_factory=list)
    trouble: str = ""  # why records are in memory only, in words
    damaged_bytes: int = 0

    def __post_init__(self) -> None:
        self.guard = threading.RLock()
        self.memory: deque[Record] = deque()
        self.memory_size = 0
        self.unsynced = 0
        self.synced_at = 0.0
        self.file: int | None = None
        self.writing: Segment | None = None  # the segment `file` appends to
        self.sequence = 0
        self.gaps_sending = 0  # so many of the gaps are on their way and do not grow any more
        self.lock = self.lock_take()
        self.scan()

    # Opening -----------------------------------------------------------------------------------

    def lock_take(self) -> int | None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            self.trouble = f"the spool folder {self.folder} cannot be written: {error.strerror}"
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise SpoolBusy(f"another agent uses the spool {self.folder}; stop it or give this one its own folder") from error
        return handle

    def scan(self) -> None:
        if self.lock is None:
            return
        self.gaps = gaps_read(self.folder / GAPS)
        for path in sorted(self.folder.glob("*.spool")):
            try:
                segment = self.segment_read(path)
            except OSError:
                path.rename(path.with_suffix(".bad"))
                continue
            if segment.waiting:
                self.segments.append(segment)
            elif segment.size:  # nothing readable in it: kept for a person, never deleted
                path.rename(path.with_suffix(".bad"))
            else:
                path.unlink()

    def segment_read(self, path: Path) -> Segment:
        content = path.read_bytes()
        segment = Segment(path, size=len(content))
        whole, before = 0, None
        for record, at in records_at(content):
            size = FRAME.size + len(record.payload)
            segment.waiting[record.sequence] = Place(at, size, record.time)
            segment.last_time = max(segment.last_time, record.time)
            if before is not None and record.sequence - before.sequence > 1:  # a file holds every number of its range
                self.gap_note(record.sequence - before.sequence - 1, before.time, record.time)
            self.sequence, before, whole = max(self.sequence, record.sequence), record, whole + size
        self.damaged_bytes += len(content) - whole
        return segment

    # Writing -----------------------------------------------------------------------------------

    def append(self, payload: bytes, *, time: float) -> Record:
        """Keep one reading. Never raises for a full or read-only disk: then it stays in memory and `trouble` says so."""
        with self.guard:
            self.sequence += 1
            record = Record(self.sequence, time, payload)
            self.bounds_keep(now=time)
            try:
                self.record_write(record)
                self.trouble = ""
            except OSError as error:
                self.file_close()
                self.trouble = f"the disk of the spool refuses writes ({error.strerror}); readings are kept in memory"
                self.memory_keep(record)
            return record

    def record_write(self, record: Record) -> None:
        if self.lock is None:
            raise OSError(errno.EROFS, "no spool folder")
        if self.disk_is_full():
            raise OSError(errno.ENOSPC, f"the file system is over {self.bounds.disk_ratio:.0%} full")
        framed = frame(record)
        file, segment = self.segment_for(record, len(framed))
        written = os.write(file, framed)
        if written < len(framed):  # the disk filled up within the record: cut the torn half off
            os.ftruncate(file, segment.size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        segment.note(record, len(framed))
        self.sync_when_due(len(framed), now=record.time)

    def segment_for(self, record: Record, size: int) -> tuple[int, Segment]:
        if self.file is not None and self.writing is not None and self.writing.size + size <= self.bounds.segment_bytes:
            return self.file, self.writing
        self.file_close()
        path = self.folder / f"{record.sequence:016d}.spool"
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.writing = Segment(path)
        self.segments.append(self.writing)
        return self.file, self.writing

    def sync_when_due(self, size: int, *, now: float) -> None:
        self.unsynced += size
        if self.unsynced >= self.bounds.sync_bytes or not 0 <= now - self.synced_at < self.bounds.sync_seconds:
            self.sync(now=now)

    def sync(self, *, now: float) -> None:
        with self.guard:
            if self.file is not None and self.unsynced:
                os.fdatasync(self.file)
            self.unsynced, self.synced_at = 0, now

    def memory_keep(self, record: Record) -> None:
        self.memory.append(record)
        self.memory_size += len(record.payload)
        while self.memory_size > self.bounds.memory_bytes:
            lost = self.memory.popleft()
            self.memory_size -= len(lost.payload)
            self.gap_note(1, lost.time, lost.time)

    # Bounds ------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        with self.guard:
            return sum(segment.size for segment in self.segments)

    def bounds_keep(self, *, now: float) -> None:
        while self.segments and (
            self.size > self.bounds.bytes - self.bounds.segment_bytes or now - self.segments[0].last_time > self.bounds.age_seconds
        ):
            self.segment_drop()

    def segment_drop(self) -> None:
        segment = self.segments.popleft()
        times = [place.time for place in segment.waiting.values()]
        if times:
            self.gap_note(len(times), min(times), max(times))
        self.segment_forget(segment)

    def disk_is_full(self) -> bool:
        usage = shutil.disk_usage(self.folder)
        return usage.used / usage.total > self.bounds.disk_ratio if usage.total else False

    # Gaps --------------------------------------------------------------------------------------

    def gap_note(self, count: int, start: float, end: float) -> None:
        grows = len(self.gaps) > self.gaps_sending and start - self.gaps[-1].end < GAP_JOINED_SECONDS
        if grows or len(self.gaps) >= GAPS_MOST:
            last = self.gaps.pop()
            count, start, end = count + last.count, min(start, last.start), max(end, last.end)
        self.gaps.append(Gap(count, start, end))
        self.gaps_sending = min(self.gaps_sending, len(self.gaps) - 1)
        self.gaps_keep()

    def gap_park(self, records: list[Record]) -> None:
        """These will not arrive either."""
        with self.guard:
            self.gap_note(len(records), min(record.time for record in records), max(record.time for record in records))

    def gaps_take(self) -> list[Gap]:
        """The gaps nobody was told of, to be told now; `gaps_done` when they were heard."""
        with self.guard:
            self.gaps_sending = len(self.gaps)
            return [*self.gaps]

    def gaps_done(self) -> None:
        with self.guard:
            if self.gaps_sending:
                del self.gaps[: self.gaps_sending]
                self.gaps_sending = 0
                self.gaps_keep()

    def gaps_keep(self) -> None:
        """On disk too, as well as it goes: a full disk is what makes gaps."""
        if self.lock is None:
            return
        with contextlib.suppress(OSError):
            fresh = self.folder / f"{GAPS}.new"
            fresh.write_text(json.dumps([[gap.count, gap.start, gap.end] for gap in self.gaps]))
            fresh.replace(self.folder / GAPS)

    # Reading -----------------------------------------------------------------------------------

    def oldest(self, count: int) -> list[Record]:
        """Up to `count` records nobody has, oldest first, from one segment at most, else from memory."""
        with self.guard:
            for segment in [*self.segments]:
                found = self.records_read(segment, list(segment.waiting)[:count])
                if found:
                    return found
            return list(self.memory)[:count]

    def newest(self, count: int) -> list[Record]:
        """Up to `count` of the newest records nobody has, in order of time."""
        with self.guard:
            found = list(self.memory)[-count:]
            for segment in [*reversed(self.segments)]:
                if len(found) >= count:
                    break
                found = self.records_read(segment, list(segment.waiting)[-(count - len(found)) :]) + found
            return sorted(found, key=lambda record: record.sequence)

    def waiting(self) -> int:
        with self.guard:
            return sum(len(segment.waiting) for segment in self.segments) + len(self.memory)

    def oldest_time(self) -> float | None:
        with self.guard:
            times = [next(iter(segment.waiting.values())).time for segment in self.segments if segment.waiting]
            return min([*times, *(record.time for record in self.memory)], default=None)

    def records_read(self, segment: Segment, sequences: list[int]) -> list[Record]:
        """Those records; one that was damaged on disk since is a gap."""
        try:
            handle = os.open(segment.path, os.O_RDONLY)
        except OSError:
            handle = -1
        try:
            found = [(sequence, record_read(handle, segment.waiting[sequence])) for sequence in sequences]
        finally:
            if handle >= 0:
                os.close(handle)
        for sequence, record in found:
            if record is None:
                place = segment.waiting.pop(sequence)
                self.damaged_bytes += place.size
                self.gap_note(1, place.time, place.time)
        return [record for _, record in found if record is not None]

    # Forgetting --------------------------------------------------------------------------------

    def done(self, records: list[Record]) -> None:
        """The server has these: a segment all of whose records are done is deleted."""
        sequences = {record.sequence for record in records}
        with self.guard:
            if self.memory:
                self.memory = deque(record for record in self.memory if record.sequence not in sequences)
                self.memory_size = sum(len(record.payload) for record in self.memory)
            for segment in [*self.segments]:
                for sequence in sequences & segment.waiting.keys():
                    del segment.waiting[sequence]
                if not segment.waiting:
                    self.segments.remove(segment)
                    self.segment_forget(segment)

    def segment_forget(self, segment: Segment) -> None:
        if segment is self.writing:
            self.file_close()
        with contextlib.suppress(OSError):  # a disk gone read-only: it is read again at the next start, and its repeats are known
            segment.path.unlink()

    def bury(self, name: str, body: bytes) -> None:
        """Park what the server cannot read, for a person to look at; 1 MB of it at most, oldest out first."""
        with self.guard, contextlib.suppress(OSError):
            if self.lock is None or len(body) > DEAD_BYTES:
                return
            dead = self.folder / "dead"
            dead.mkdir(exist_ok=True, mode=0o700)
            (dead / name).write_bytes(body)
            kept = sorted(dead.iterdir())
            while sum(path.stat().st_size for path in kept) > DEAD_BYTES:
                kept.pop(0).unlink()

    def file_close(self) -> None:
        if self.file is not None:
            os.close(self.file)
        self.file, self.writing, self.unsynced = None, None, 0

    def close(self, *, now: float) -> None:
        with self.guard:
            self.sync(now=now)
            self.file_close()
            if self.lock is not None:
                os.close(self.lock)
                self.lock = None


def gaps_read(path: Path) -> list[Gap]:
    try:
        return [Gap(int(count), float(start), float(end)) for count, start, end in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError):
        return []


def frame(record: Record) -> bytes:
    signed = SIGNED.pack(record.sequence, record.time) + record.payload
    return FRAME.pack(MAGIC, len(record.payload), zlib.crc32(signed), record.sequence, record.time) + record.payload


def records_in(content: bytes) -> Iterator[tuple[Record, int]]:
    """Every whole record of a segment's bytes with its size on disk, past damage of any kind."""
    return ((record, FRAME.size + len(record.payload)) for record, _ in records_at(content))


def records_at(content: bytes) -> Iterator[tuple[Record, int]]:
    """Every whole record with its place."""
    at = content.find(MAGIC)
    while at >= 0:
        record = record_at(content, at)
        if record is None:
            at = content.find(MAGIC, at + 1)
            continue
        yield record, at
        at = content.find(MAGIC, at + FRAME.size + len(record.payload))


def record_read(handle: int, place: Place) -> Record | None:
    try:
        return record_at(os.pread(handle, place.size, place.offset), 0) if handle >= 0 else None
    except OSError:
        return None


def record_at(content: bytes, at: int) -> Record | None:
    if at + FRAME.size > len(content):
        return None
    magic, length, checksum, sequence, time = FRAME.unpack_from(content, at)
    payload = content[at + FRAME.size : at + FRAME.size + length]
    if magic != MAGIC or length > PAYLOAD_MOST or len(payload) < length:
        return None
    if zlib.crc32(SIGNED.pack(sequence, time) + payload) != checksum:
        return None
    return Record(sequence, time, payload)

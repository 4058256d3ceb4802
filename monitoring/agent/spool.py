"""Readings on disk until the server has them: checksummed records in segment files, bounded by bytes and age.

A record is MAGIC, length, CRC-32, sequence number, Unix time of the reading, then the payload. A damaged stretch is skipped to the
next MAGIC whose checksum holds, so every undamaged record is found again. Oldest whole segments go first when a bound is reached,
and what went is kept as a `Gap`: a gap is data.
"""

import errno
import fcntl
import os
import shutil
import struct
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MAGIC = b"\xf5HRs"
FRAME = struct.Struct(">4sIIQd")  # magic, payload length, crc of (sequence, time, payload), sequence, time
SIGNED = struct.Struct(">Qd")
PAYLOAD_MOST = 8 * 2**20
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES}


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


@dataclass
class Segment:
    path: Path
    size: int = 0
    count: int = 0
    first_time: float = 0.0
    last_time: float = 0.0
    last_sequence: int = 0

    def note(self, record: Record, size: int) -> None:
        self.first_time = self.first_time if self.count else record.time
        self.last_time = record.time
        self.last_sequence = max(self.last_sequence, record.sequence)
        self.count += 1
        self.size += size


class SpoolBusy(Exception):
    """Another agent owns this spool."""


@dataclass
class Spool:
    """The newest records first wanted live, the oldest for the backlog; `done` forgets what the server has."""

    folder: Path
    bounds: Bounds = field(default_factory=Bounds)
    segments: deque[Segment] = field(default_factory=deque)
    gaps: list[Gap] = field(default_factory=list)
    trouble: str = ""  # why records are in memory only, in words
    damaged_bytes: int = 0

    def __post_init__(self) -> None:
        self.memory: deque[Record] = deque()
        self.memory_size = 0
        self.unsynced = 0
        self.synced_at = 0.0
        self.done_sequences: set[int] = set()
        self.file: int | None = None
        self.writing: Segment | None = None  # the segment `file` appends to
        self.sequence = 0
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
        for path in sorted(self.folder.glob("*.spool")) if self.lock is not None else []:
            try:
                segment = self.segment_read(path)
            except OSError:
                path.rename(path.with_suffix(".bad"))
                continue
            self.sequence = max(self.sequence, segment.last_sequence)
            if segment.count:
                self.segments.append(segment)
            elif segment.size:  # nothing readable in it: kept for a person, never deleted
                path.rename(path.with_suffix(".bad"))
            else:
                path.unlink()

    def segment_read(self, path: Path) -> Segment:
        content = path.read_bytes()
        segment = Segment(path)
        whole = 0
        for record, size in records_in(content):
            segment.note(record, size)
            whole += size
        self.damaged_bytes += len(content) - whole
        segment.size = len(content)
        return segment

    # Writing -----------------------------------------------------------------------------------

    def append(self, payload: bytes, *, time: float) -> Record:
        """Keep one reading. Never raises for a full or read-only disk: then it stays in memory and `trouble` says so."""
        self.sequence += 1
        record = Record(self.sequence, time, payload)
        self.bounds_keep(now=time)
        try:
            self.record_write(record)
            self.trouble = ""
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
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
        return sum(segment.size for segment in self.segments)

    def bounds_keep(self, *, now: float) -> None:
        while self.segments and (
            self.size > self.bounds.bytes - self.bounds.segment_bytes or now - self.segments[0].last_time > self.bounds.age_seconds
        ):
            self.segment_drop()

    def segment_drop(self) -> None:
        segment = self.segments.popleft()
        waiting = [record for record in self.records_of(segment) if record.sequence not in self.done_sequences]
        if waiting:
            self.gap_note(len(waiting), waiting[0].time, waiting[-1].time)
        self.segment_forget(segment)

    def gap_note(self, count: int, start: float, end: float) -> None:
        if self.gaps and start - self.gaps[-1].end < 600.0:
            last = self.gaps.pop()
            count, start, end = count + last.count, min(start, last.start), max(end, last.end)
        self.gaps.append(Gap(count, start, end))

    def disk_is_full(self) -> bool:
        usage = shutil.disk_usage(self.folder)
        return usage.used / usage.total > self.bounds.disk_ratio if usage.total else False

    # Reading -----------------------------------------------------------------------------------

    def oldest(self, count: int) -> list[Record]:
        """Up to `count` records nobody has, oldest first, from one segment at most, else from memory."""
        for segment in self.segments:
            waiting = [record for record in self.records_of(segment) if record.sequence not in self.done_sequences]
            if waiting:
                return waiting[:count]
        return list(self.memory)[:count]

    def newest(self, count: int) -> list[Record]:
        """Up to `count` of the newest records nobody has, in order of time."""
        found = list(self.memory)[-count:]
        for segment in reversed(self.segments):
            if len(found) >= count:
                break
            waiting = [record for record in self.records_of(segment) if record.sequence not in self.done_sequences]
            found = waiting[-(count - len(found)) :] + found
        return sorted(found, key=lambda record: record.sequence)

    def waiting(self) -> int:
        return sum(segment.count for segment in self.segments) - len(self.done_sequences) + len(self.memory)

    def records_of(self, segment: Segment) -> list[Record]:
        try:
            return [record for record, _ in records_in(segment.path.read_bytes())]
        except OSError:
            return []

    # Forgetting --------------------------------------------------------------------------------

    def done(self, records: list[Record]) -> None:
        """The server has these: a segment all of whose records are done is deleted."""
        in_memory = {record.sequence for record in self.memory}
        sequences = {record.sequence for record in records}
        self.memory = deque(record for record in self.memory if record.sequence not in sequences)
        self.memory_size = sum(len(record.payload) for record in self.memory)
        self.done_sequences |= sequences - in_memory
        for segment in [*self.segments]:
            if segment.last_sequence >= min(sequences, default=0):
                self.segment_close_when_done(segment)

    def segment_close_when_done(self, segment: Segment) -> None:
        kept = [record.sequence for record in self.records_of(segment)]
        if all(sequence in self.done_sequences for sequence in kept):
            self.segments.remove(segment)
            self.segment_forget(segment)

    def segment_forget(self, segment: Segment) -> None:
        self.done_sequences -= {record.sequence for record in self.records_of(segment)}
        if segment is self.writing:
            self.file_close()
        segment.path.unlink(missing_ok=True)

    def file_close(self) -> None:
        if self.file is not None:
            os.close(self.file)
        self.file, self.writing, self.unsynced = None, None, 0

    def close(self, *, now: float) -> None:
        self.sync(now=now)
        self.file_close()
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None


def frame(record: Record) -> bytes:
    signed = SIGNED.pack(record.sequence, record.time) + record.payload
    return FRAME.pack(MAGIC, len(record.payload), zlib.crc32(signed), record.sequence, record.time) + record.payload


def records_in(content: bytes) -> Iterator[tuple[Record, int]]:
    """Every whole record of a segment's bytes with its size on disk, past damage of any kind."""
    at = content.find(MAGIC)
    while at >= 0:
        record = record_at(content, at)
        if record is None:
            at = content.find(MAGIC, at + 1)
            continue
        size = FRAME.size + len(record.payload)
        yield record, size
        at = content.find(MAGIC, at + size)


def record_at(content: bytes, at: int) -> Record | None:
    if at + FRAME.size > len(content):
        return None
    _, length, checksum, sequence, time = FRAME.unpack_from(content, at)
    payload = content[at + FRAME.size : at + FRAME.size + length]
    if length > PAYLOAD_MOST or len(payload) < length:
        return None
    if zlib.crc32(SIGNED.pack(sequence, time) + payload) != checksum:
        return None
    return Record(sequence, time, payload)

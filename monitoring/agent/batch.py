"""A reading as the spool keeps it, and many of them as one request body of the ingest door (docs/agent.md has the format)."""

import json
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from monitoring.agent.gpus import Reading
from monitoring.agent.processes import Process
from monitoring.agent.spool import Gap, Record
from monitoring.agent.xid import Event

VALUES_MOST = 10_000  # of one body
DIGITS = 7  # what the store's four-byte numbers hold

Entity = dict[str, Any]


@dataclass
class Kept:
    """One unpacked reading: entities in order, for each column one value or None per entity."""

    time: float
    entities: list[Entity]
    columns: Mapping[str, Sequence[float | None]]
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(value is not None for values in self.columns.values() for value in values)


def pack(node: str, node_values: Mapping[str, float], readings: Iterable[Reading], events: Iterable[Event] = ()) -> bytes:
    """Compact: names once per column, seven digits, deflated."""
    shown = [*readings]
    rows: list[Mapping[str, float]] = [node_values, *(reading.values for reading in shown)]
    names = sorted({name for values in rows for name in values})
    content = {
        "entities": [{"kind": "node", "key": node}, *(entity_of(reading) for reading in shown)],
        "columns": {name: [rounded(values.get(name)) for values in rows] for name in names},
        "events": [{"kind": event.kind, "accelerator": event.accelerator, "time": event.time, "code": event.code} for event in events],
    }
    return zlib.compress(json.dumps(content, separators=(",", ":")).encode(), 6)


def rounded(value: float | None) -> float | int | None:
    """Shortest text of seven digits; what is no finite number is no value."""
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short.is_integer() else short


def entity_of(reading: Reading) -> Entity:
    return {
        "kind": "accelerator",
        "key": reading.key,
        "parent": reading.parent,
        "model_name": reading.model_name,
        "position": reading.position,
        "profile": reading.profile,
        "memory_bytes": int(reading.values.get("gpu_memory_total_bytes", 0)),
        "lost": reading.lost[:200],
    }


def unpack(record: Record) -> Kept | None:
    """None for a payload this version cannot read: an agent may find the spool of another version."""
    try:
        content = json.loads(zlib.decompress(record.payload))
        return Kept(record.time, content["entities"], content["columns"], content.get("events", []))
    except (zlib.error, ValueError, KeyError, TypeError):
        return None


def fitting(records: Sequence[Record], *, newest: bool) -> tuple[list[Record], list[Kept], list[Record]]:
    """(records that fit into one body, their readings, records nobody can read), from the newest or the oldest end."""
    chosen: list[tuple[Record, Kept]] = []
    unreadable: list[Record] = []
    count = 0
    for record in reversed(records) if newest else records:
        kept = unpack(record)
        if kept is None:
            unreadable.append(record)
            continue
        if chosen and count + kept.count > VALUES_MOST:
            break
        chosen.append((record, kept))
        count += kept.count
    chosen.sort(key=lambda pair: pair[0].sequence)
    return [record for record, _ in chosen], [kept for _, kept in chosen], unreadable


def columns_joined(readings: Sequence[Kept]) -> dict[str, Any]:
    """`times`, `entities`, `columns`, `events` of one body. Of two readings of one time (a clock set back) the first stands."""
    times = sorted({kept.time for kept in readings})
    place = {time: position for position, time in enumerate(times)}
    entities: dict[tuple[str, str], Entity] = {}
    series: dict[str, dict[tuple[str, str], list[float | None]]] = {}
    for kept in readings:
        keys = [(entity["kind"], entity["key"]) for entity in kept.entities]
        entities |= dict(zip(keys, kept.entities, strict=True))
        for name, values in kept.columns.items():
            rows = series.setdefault(name, {})
            for key, value in zip(keys, values, strict=False):
                if value is not None:
                    row = rows.setdefault(key, [None] * len(times))
                    row[place[kept.time]] = value if row[place[kept.time]] is None else row[place[kept.time]]
    return {
        "times": times,
        "entities": [*entities.values()],
        "columns": {name: [rows.get(key) for key in entities] for name, rows in sorted(series.items())},
        "events": [event for kept in readings for event in kept.events],
    }


def process_of(process: Process) -> dict[str, Any]:
    """What is sent of a process: never its command line, its arguments, its environment or its user."""
    workload = process.workload
    return {
        "accelerator": process.accelerator,
        "pid": process.pid,
        "started_at": workload.started_at,
        "name": workload.name,
        "kinds": process.kinds,
        "memory_bytes": process.memory_bytes,
        "sm_ratio": process.sm_ratio,
        "share_method": process.share_method,
        "container_id": workload.container_id,
        "pod_uid": workload.pod_uid,
        "unit": workload.unit,
        "job": workload.job,
        "model_name": workload.model_name,
    }


def gap_of(gap: Gap) -> dict[str, Any]:
    return {"count": gap.count, "start": gap.start, "end": gap.end}

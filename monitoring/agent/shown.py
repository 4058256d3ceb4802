"""What a person reads on the terminal: one reading with units, and the verdict of --check."""

import json
from collections.abc import Iterator, Mapping, Sequence

from monitoring.agent.door import Reply
from monitoring.agent.gpus import Gpus, Reading
from monitoring.agent.processes import Process
from monitoring.catalog.columns import COLUMNS
from monitoring.catalog.records import Entity

UNITS = {column.name: column.unit for columns in (COLUMNS[Entity.ACCELERATOR], COLUMNS[Entity.NODE]) for column in columns}


def reading_shown(node: str, values: Mapping[str, float], readings: Sequence[Reading], gpus: Gpus) -> str:
    lines = [f"node {node}", *values_shown(values)]
    if gpus.trouble:
        lines += ["", gpus.trouble]
    for reading in readings:
        lines += ["", *accelerator_shown(reading)]
    if gpus.census.newest:
        lines += ["", "processes", *(process_shown(process) for process in gpus.census.newest)]
    return "\n".join(lines)


def values_shown(values: Mapping[str, float]) -> Iterator[str]:
    for name, value in sorted(values.items()):
        yield f"  {name:<36} {value:>16,.6g} {UNITS.get(name, '')}".rstrip()


def accelerator_shown(reading: Reading) -> Iterator[str]:
    title = " ".join(word for word in (reading.model_name, reading.profile) if word)
    yield f"accelerator {reading.key}  {title}  position {reading.position}"
    if reading.lost:
        yield f"  LOST: {reading.lost}"
    yield from values_shown(reading.values)
    yield from values_shown(reading.facts)
    refused = sorted((call, reason) for call, reason in reading.able.items() if reason != "ok")
    worked = sum(reason == "ok" for reason in reading.able.values())
    yield f"  {worked} calls work" + (f", {len(refused)} do not:" if refused else "")
    for call, reason in refused:
        yield f"    {call}: {reason}"


def process_shown(process: Process) -> str:
    workload = process.workload
    memory = "unknown" if process.memory_bytes is None else f"{process.memory_bytes:,} bytes"
    share = "unknown" if process.sm_ratio is None else f"{process.sm_ratio:.0%} of the SMs"
    whose = " ".join(filter(None, (workload.pod_uid, workload.container_id[:12], workload.job, workload.unit, workload.model_name)))
    return f"  {process.accelerator} pid {process.pid} {workload.name} ({process.kinds}) {memory}, {share}  {whose}".rstrip()


def verdict(reply: Reply, *, now: float) -> tuple[bool, str]:
    """(does it work, in words)."""
    if reply.status == 401:
        return False, "The server answers, but does not know this key: it is mistyped, expired or revoked."
    if reply.status == 403:
        return False, "The server answers and knows this key, but it may not send: it must have the scope ingest and a cluster."
    try:
        known = 200 <= reply.status < 300 and "accepted" in json.loads(reply.body)
    except (ValueError, TypeError):
        known = False
    if not known:
        return False, f"Something answers with status {reply.status}, but it is not Headroom's ingest door: check HEADROOM_URL."
    skew = "" if reply.date is None or abs(now - reply.date) < 120 else f" But the two clocks differ by {abs(now - reply.date):.0f} s."
    return True, f"Address and key work.{skew}"

"""The agents of the demo fleet: its edge hosts send by agent, one host of older GPUs does so too, with its processes."""

import hashlib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
from django.conf import settings

from capacity.demo import fleet
from capacity.demo.machines import cards, copies, host_seen
from capacity.demo.records import GIB, Host
from capacity.demo.shapes import DAY, HOUR
from monitoring.models import Accelerator, AcceleratorProcess, Agent, AgentGap, Node

LATE_HOST = fleet.SHAKY_HOST
OLD_HOST = "gpu-a10g-01"
HOSTS = tuple(host for host in fleet.HOSTS if host.cluster == fleet.EDGE or host.name == OLD_HOST)
LINK_DOWN, LINK_UP = 1.5 * HOUR, 1.9 * HOUR  # in UTC, of most nights
LATE_SECONDS = 7 * 60.0  # how far the late one stays behind
READ_SECONDS = 15.0
GPM_REASON = "not supported by this GPU"
# What an A10G, made before Hopper, cannot tell; and one that is not cut.
REFUSED = {
    "nvmlGpmQueryDeviceSupport": GPM_REASON,
    "nvlink_transmit_bytes_per_second": GPM_REASON,
    "nvlink_receive_bytes_per_second": GPM_REASON,
    "nvmlDeviceGetMigMode": GPM_REASON,
}


@dataclass(frozen=True)
class Seen:
    """When an agent was heard of last, in seconds before the newest row, and what waits in its spool."""

    silence: float
    waiting: int = 0


@cache
def release() -> str:
    return str(tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text())["project"]["version"])


def seen_of(host: str) -> Seen:
    return Seen(20.0, waiting=round(LATE_SECONDS / READ_SECONDS)) if host == LATE_HOST else Seen(12.0)


def agents_make(nodes: dict[str, Node], accelerators: dict[str, Accelerator], *, start: datetime, end: datetime) -> None:
    for host in HOSTS:
        agent_make(host, nodes[host.name], accelerators, start=start, end=end)
    AcceleratorProcess.objects.bulk_create(processes(accelerators, end=end))


def agent_make(host: Host, node: Node, accelerators: dict[str, Accelerator], *, start: datetime, end: datetime) -> None:
    seen, old = seen_of(host.name), host.name == OLD_HOST
    stopped = end + timedelta(seconds=fleet.EDGE_SILENT) if host.name == fleet.SILENT_HOST else end
    late = timedelta(seconds=LATE_SECONDS) if host.name == LATE_HOST else timedelta()
    uuids = [card.uuid for card in cards() if card.host is host]
    agent = Agent.objects.create(
        node=node,
        version="0.0.9" if host.name == "edge-node-08" else release(),
        started_at=max(start, end - timedelta(days=6)),
        interval_seconds=READ_SECONDS,
        first_seen_at=start,
        last_seen_at=stopped - timedelta(seconds=seen.silence),
        newest_sample_at=stopped - late,
        sequence=8640,
        skew_seconds=4.1 if host.name == "edge-node-05" else 0.03,
        waiting_count=seen.waiting,
        waiting_bytes=seen.waiting * 3400,
        waiting_since=stopped - late if seen.waiting else None,
        duplicate_count=0 if old else 240,
        capabilities=dict.fromkeys(uuids, REFUSED) if old else {},
        host=host_facts(host),
    )
    if host.name == LATE_HOST:
        AgentGap.objects.bulk_create(gaps(agent, host, start=start, end=end))


def gaps(agent: Agent, host: Host, *, start: datetime, end: datetime) -> Iterator[AgentGap]:
    """The nights in which its link was down, as its telemetry shows them: the spool of this small host was full."""
    anchor = end.timestamp()
    day = start.timestamp() // DAY * DAY
    while day < anchor:
        first, last = day + LINK_DOWN, day + LINK_UP
        if start.timestamp() < first and last < anchor and not host_seen(host, np.array([first + 60.0]), anchor)[0]:
            span = {"start_at": datetime.fromtimestamp(first, tz=UTC), "end_at": datetime.fromtimestamp(last, tz=UTC)}
            yield AgentGap(agent=agent, count=round((last - first) / READ_SECONDS), reported_at=span["end_at"], **span)
        day += DAY


def host_facts(host: Host) -> dict[str, object]:
    facts: dict[str, object] = {"kernel": "6.8.0-87-generic", "cpus": host.cores, "memory_bytes": int(host.memory_bytes)}
    return facts | ({"driver_version": "580.95.05", "cuda_version": "13.0"} if host.hardware else {})


def processes(accelerators: dict[str, Accelerator], *, end: datetime) -> Iterator[AcceleratorProcess]:
    """One a replica and card on the host of older GPUs, and on its last card one that no deployment is known of."""
    for copy in copies():
        for card in copy.cards if copy.host.name == OLD_HOST else ():
            number = 4100 + 17 * copy.number + card.position
            shared = copy.share < 1.0
            identity = hashlib.sha256(f"{copy.name} {card.position}".encode()).hexdigest()
            yield AcceleratorProcess(
                accelerator=accelerators[card.uuid],
                pid=number + (900 if shared else 0),
                started_at=end - timedelta(days=2, hours=copy.number),
                name="python3",
                kinds="compute",
                memory_bytes=int((5.5 if shared else 9.8) * GIB),
                sm_ratio=0.09 if shared else 0.41,
                share_method="process_utilization",
                container_id=identity,
                pod_uid=f"{identity[:8]}-{identity[8:12]}-4{identity[13:16]}-8{identity[17:20]}-{identity[20:32]}",
                model_name=copy.service.model_name,
                first_seen_at=end - timedelta(days=2),
                last_seen_at=end,
            )
    stranger = next(card for card in cards() if card.host.name == OLD_HOST and card.position == 3)
    yield AcceleratorProcess(
        accelerator=accelerators[stranger.uuid],
        pid=30211,
        started_at=end - timedelta(hours=9),
        name="jupyter-lab",
        kinds="compute",
        memory_bytes=int(1.2 * GIB),
        sm_ratio=0.0,
        share_method="process_utilization",
        unit="jupyter.service",
        first_seen_at=end - timedelta(hours=9),
        last_seen_at=end,
    )


def agents_seen(newest: datetime) -> None:
    """All but the silent one were heard of just now; the late one stays as far behind as it is."""
    rows = Agent.objects.filter(node__cluster__demo=True).exclude(node__name=fleet.SILENT_HOST).select_related("node")
    for agent in rows:
        late = timedelta(seconds=LATE_SECONDS) if agent.node.name == LATE_HOST else timedelta()
        agent.last_seen_at, agent.newest_sample_at = newest, newest - late
        agent.waiting_since = newest - late if late else None
    Agent.objects.bulk_update(rows, ("last_seen_at", "newest_sample_at", "waiting_since"))
    AcceleratorProcess.objects.filter(accelerator__cluster__demo=True).update(last_seen_at=newest)

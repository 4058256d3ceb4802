"""Processes an agent saw on accelerators, and which replica's they are.

A process is told to be a replica's by the id of its pod, which kube-state-metrics knows too, or else by the name of its model
where exactly one active deployment of the cluster serves it. Where neither tells, nothing is said.
"""

import time
from collections.abc import Hashable, Iterable, Sequence
from datetime import UTC, datetime, timedelta

from monitoring.agents.batch import Body, ProcessPart
from monitoring.agents.known import Known, Told
from monitoring.models import AcceleratorProcess, Deployment, DeploymentState, Placement, PlacementMethod, Replica
from monitoring.sources.placements import Wish, placements_record

AGAIN_SECONDS = 120.0  # an unchanged set of processes is written again so often, for its memory and shares
LATELY = timedelta(minutes=15)  # a replica not seen for longer is gone
FORGET = timedelta(hours=24)
SPAN = timedelta(minutes=5)
NEAR = 0.05  # a share that moved less is the same
OWN_METHODS = (PlacementMethod.CGROUP, PlacementMethod.SM_TIME)
CUT = {
    "name": 120,
    "kinds": 40,
    "share_method": 20,
    "container_id": 64,
    "pod_uid": 36,
    "unit": 120,
    "job": 40,
    "model_name": 253,
}
CHANGING = ("memory_bytes", "sm_ratio", *CUT, "last_seen_at")


def processes_store(body: Body, *, known: Known, now: datetime) -> None:
    """In the transaction of the batch: rows of processes, and placements that follow from them."""
    found = [
        (known.ids["accelerator", one.accelerator], one) for one in body.processes or () if ("accelerator", one.accelerator) in known.ids
    ]
    told = Told(frozenset((card, one.pid, one.started_at, *(getattr(one, name) for name in CUT)) for card, one in found), time.monotonic())
    before = known.processes
    if before is not None and before.set_of == told.set_of and told.at - before.at < AGAIN_SECONDS:
        return
    AcceleratorProcess.objects.bulk_create(
        process_rows(found, now=now),
        update_conflicts=True,
        unique_fields=["accelerator", "pid", "started_at"],
        update_fields=CHANGING,
    )
    placements_tell(found, cards=set(known.ids.values()), known=known, now=now)
    known.processes = told


def process_rows(found: Iterable[tuple[int, ProcessPart]], *, now: datetime) -> list[AcceleratorProcess]:
    """One row a process and accelerator, in one order for all writers."""
    rows = {}
    for card, one in found:
        texts = {name: getattr(one, name)[:longest] for name, longest in CUT.items()}
        started = datetime.fromtimestamp(one.started_at, tz=UTC)
        rows[card, one.pid, one.started_at] = AcceleratorProcess(
            accelerator_id=card,
            pid=one.pid,
            started_at=started,
            memory_bytes=one.memory_bytes,
            sm_ratio=one.sm_ratio,
            first_seen_at=now,
            last_seen_at=now,
            **texts,
        )
    return [rows[key] for key in sorted(rows)]


def processes_forget(*, now: datetime) -> str:
    gone, _ = AcceleratorProcess.objects.filter(last_seen_at__lt=now - FORGET).delete()
    return f"{gone} processes of yesterday forgotten"


# Placements


def placements_tell(found: Sequence[tuple[int, ProcessPart]], *, cards: set[int], known: Known, now: datetime) -> None:
    replicas = replicas_told([one for _, one in found], node=known.node, cluster=known.cluster, now=now)
    by_card: dict[int, list[ProcessPart]] = {}
    for card, one in found:
        by_card.setdefault(card, []).append(one)
    wishes = [wish for card, many in by_card.items() for wish in wishes_of(card, many, replicas=replicas, now=now)]
    rows = Placement.objects.filter(accelerator__in=cards, valid_to__isnull=True, method__in=OWN_METHODS)
    own = {(row.replica_id, row.accelerator_id): row for row in rows}
    told = {one.accelerator for one in wishes} | {card for _, card in own if card is not None}
    if not told or same(wishes, own):
        return
    placements_record(wishes, cards=sorted(told), start=now - SPAN, end=now, live=True)


def same(wishes: Sequence[Wish], own: dict[tuple[int, int | None], Placement]) -> bool:
    """Do the open rows say already what is wished, shares but for a little?"""
    if {(one.replica, one.accelerator) for one in wishes} != set(own):
        return False
    rows = [(own[one.replica, one.accelerator], one) for one in wishes]
    return all(row.method == one.method and abs(row.share - one.share) < NEAR for row, one in rows)


def wishes_of(card: int, many: Sequence[ProcessPart], *, replicas: dict[tuple[str, str], int], now: datetime) -> list[Wish]:
    """The tenants of one accelerator that are known, each with its share; what unknown ones use stays unattributed."""
    tenants: dict[Hashable, list[ProcessPart]] = {}
    for one in many:
        tenants.setdefault(replicas.get((one.pod_uid, one.model_name)) or (one.container_id or one.unit or one.pid, ""), []).append(one)
    used = {tenant: sum(one.sm_ratio or 0.0 for one in own) for tenant, own in tenants.items()}
    measured, total = all(one.sm_ratio is not None for one in many), sum(used.values())
    method = PlacementMethod.CGROUP
    if len(tenants) > 1:
        method = PlacementMethod.SM_TIME if measured and total > 0 else PlacementMethod.EQUAL_SPLIT
    wishes = []
    for tenant in tenants:
        share = used[tenant] / total if method is PlacementMethod.SM_TIME else 1 / len(tenants)
        if isinstance(tenant, int) and share > 0:
            wishes.append(Wish(tenant, card, min(share, 1.0), method, (now, now), False))
    return wishes


def replicas_told(many: Iterable[ProcessPart], *, node: int, cluster: int, now: datetime) -> dict[tuple[str, str], int]:
    """(pod, model name) -> the replica, for those that can be told."""
    pairs = {(one.pod_uid, one.model_name) for one in many}
    out: dict[tuple[str, str], int] = {}
    pods = {pod for pod, _ in pairs if pod}
    if pods:
        rows = Replica.objects.filter(pod_uid__in=pods, deployment__cluster=cluster, deployment__state=DeploymentState.ACTIVE)
        by_pod: dict[str, list[int]] = {}
        for pk, pod in rows.values_list("pk", "pod_uid"):
            by_pod.setdefault(pod, []).append(pk)
        out |= {pair: by_pod[pair[0]][0] for pair in pairs if len(by_pod.get(pair[0], ())) == 1}
    names = {name for pod, name in pairs if name and (pod, name) not in out}
    by_name = replicas_by_model(names, node=node, cluster=cluster, now=now) if names else {}
    return out | {pair: by_name[pair[1]] for pair in pairs if pair not in out and pair[1] in by_name}


def replicas_by_model(names: set[str], *, node: int, cluster: int, now: datetime) -> dict[str, int]:
    """Where one active deployment serves the model: its only replica on this node, or its only one where no node is known."""
    deployments: dict[str, list[int]] = {}
    rows = Deployment.objects.filter(cluster=cluster, model_name__in=names, state=DeploymentState.ACTIVE)
    for pk, name in rows.values_list("pk", "model_name"):
        deployments.setdefault(name, []).append(pk)
    single = {pks[0]: name for name, pks in deployments.items() if len(pks) == 1}
    here: dict[str, list[int]] = {}
    nowhere: dict[str, list[int]] = {}
    everywhere: dict[str, int] = {}
    for pk, deployment, place in Replica.objects.filter(deployment__in=single, last_seen_at__gte=now - LATELY).values_list(
        "pk", "deployment", "node"
    ):
        name = single[deployment]
        everywhere[name] = everywhere.get(name, 0) + 1
        if place in (node, None):
            (here if place == node else nowhere).setdefault(name, []).append(pk)
    out = {name: pks[0] for name, pks in nowhere.items() if everywhere[name] == 1}
    return out | {name: pks[0] for name, pks in here.items() if len(pks) == 1}

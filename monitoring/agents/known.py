"""Who an agent's entities are: rows found or made within the key's cluster, and remembered by this process.

What is remembered is proved with every batch: the agent's row is updated by its id, and where that finds nothing all of it is
looked up anew. It is looked up anew every few minutes as well, so that a column a poll took over while the agent was away comes back.
"""

import time
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Any

from django.db import transaction
from django.db.models import Q

from monitoring.agents.batch import Body, EntityPart
from monitoring.agents.cells import Cells
from monitoring.catalog.columns import COLUMNS
from monitoring.catalog.records import Entity
from monitoring.models import Accelerator, Agent, Key, Node

AGENT = "agent"  # the provider's word in `providers`
AGAIN_SECONDS = 240.0
MOST_KNOWN = 20_000
KINDS = {Entity.NODE.value: Entity.NODE, Entity.ACCELERATOR.value: Entity.ACCELERATOR}
COLUMN_NAMES = {entity: {column.name for column in COLUMNS[entity]} for entity in KINDS.values()}
LONGEST_KEY = 120


class KeyEnded(Exception):
    """The key was revoked or has expired since this process last looked at it."""


@dataclass(frozen=True)
class Told:
    """What was last stored of an agent's processes, and when by the monotonic clock."""

    set_of: frozenset[Hashable]
    at: float


@dataclass
class Known:
    """An agent and its entities: what a process remembers of them."""

    cluster: int
    agent: int
    node: int
    at: float  # of the monotonic clock, when it was looked up
    ids: dict[tuple[str, str], int] = field(default_factory=dict)  # (kind, key) -> id of the row
    told: dict[str, EntityPart] = field(default_factory=dict)  # UUID -> as last told
    series: dict[tuple[str, str], set[str]] = field(default_factory=dict)  # (kind, key) -> columns it may send
    full: bool = False  # it has as many series as are allowed
    mixed: bool = False  # others write the same rows: merge at once
    lost: set[int] | None = None  # accelerators that were said to be lost; None: not known yet
    processes: Told | None = None
    shape: tuple[Hashable, ...] | None = None  # of the last batch whose series were all known

    def holds(self, body: Body, cells: Cells) -> bool:
        """Is everything in this batch known already?"""
        for one in body.entities:
            if one.kind == Entity.ACCELERATOR and self.told.get(one.key) != one and not trouble_of(one, node=body.agent.node):
                return False
        shape = (*cells.shape, *(one.key for one in body.entities))
        if shape == self.shape or self.full:
            return True
        held = all(names <= self.series.get(pair, set()) for pair, names in series_of(body, cells).items())
        if held:
            self.shape = shape
        return held


remembered: "OrderedDict[tuple[int, str], Known]" = OrderedDict()
lock = Lock()


def known_find(cluster: int, node: str) -> Known | None:
    with lock:
        known = remembered.get((cluster, node))
        if known is not None:
            remembered.move_to_end((cluster, node))
    return known if known is not None and time.monotonic() - known.at < AGAIN_SECONDS else None


def known_keep(cluster: int, node: str, known: Known) -> None:
    with lock:
        remembered[cluster, node] = known
        while len(remembered) > MOST_KNOWN:
            remembered.popitem(last=False)


def known_forget(cluster: int, node: str) -> None:
    with lock:
        remembered.pop((cluster, node), None)


def trouble_of(one: EntityPart, *, node: str) -> str:
    """Why an agent cannot speak of this entity, or nothing."""
    if one.kind == Entity.NODE:
        return "" if one.key == node else f"the agent of {node!r} cannot speak for the node {one.key[:80]!r}"
    if one.kind != Entity.ACCELERATOR:
        return f"an entity is a node or an accelerator, not {one.kind[:40]!r}"
    if not 0 < len(one.key) <= LONGEST_KEY or len(one.parent) > LONGEST_KEY:
        return f"the key of an accelerator needs 1 to {LONGEST_KEY} characters, got {len(one.key)}"
    return ""


def series_of(body: Body, cells: Cells) -> dict[tuple[str, str], set[str]]:
    """(kind, key) -> columns with values that there are, of the entities this batch may speak of."""
    out: dict[tuple[str, str], set[str]] = {}
    for entity, column in zip(cells.entities.tolist(), cells.columns.tolist(), strict=True):
        one, name = body.entities[entity], cells.names[column]
        if name in COLUMN_NAMES[KINDS[one.kind]]:
            out.setdefault((one.kind, one.key), set()).add(name)
    return out


def known_learn(cluster: int, key: int, *, body: Body, cells: Cells, most_series: float, now: datetime) -> Known:
    """Find or make the rows of everything in this batch, in a transaction of its own."""
    with transaction.atomic():
        live = Key.objects.filter(Q(expires_at__isnull=True) | Q(expires_at__gt=now), pk=key, revoked_at__isnull=True)
        if not live.exists():
            raise KeyEnded
        node, _ = Node.objects.get_or_create(cluster_id=cluster, name=body.agent.node, defaults={"first_seen_at": now, "last_seen_at": now})
        agent, _ = Agent.objects.get_or_create(node=node, defaults={"key_id": key, "first_seen_at": now, "last_seen_at": now})
        known = Known(cluster, agent.pk, node.pk, time.monotonic())
        told = [one for one in body.entities if one.kind == Entity.ACCELERATOR and not trouble_of(one, node=node.name)]
        rows = accelerators_find(cluster, node=node.pk, told=told, now=now)
        known.told = {one.key: one for one in told}
        known.ids = {(Entity.ACCELERATOR.value, uuid): row.pk for uuid, row in rows.items()}
        known.ids[Entity.NODE.value, node.name] = node.pk
        providers_take(known, rows=rows, node=node, wanted=series_of(body, cells), most=most_series)
        seen = [rows[one.key].pk for one in told if not one.lost]
        Accelerator.objects.filter(pk__in=seen, last_seen_at__lt=now).update(last_seen_at=now)
        Node.objects.filter(pk=node.pk, last_seen_at__lt=now).update(last_seen_at=now)
    return known


def accelerators_find(cluster: int, *, node: int, told: Iterable[EntityPart], now: datetime) -> dict[str, Accelerator]:
    """By UUID; the GPU of a MIG instance is made before it, and what is told of them now is kept."""
    given = {one.key: one for one in told}
    parents = {one.parent for one in given.values() if one.parent}
    rows = {row.uuid: row for row in Accelerator.objects.filter(cluster=cluster, uuid__in=[*given, *parents])}
    for level in (parents | {one.key for one in given.values() if not one.parent}, set(given)):
        missing = [
            Accelerator(
                cluster_id=cluster, uuid=uuid, first_seen_at=now, last_seen_at=now, **attributes(given.get(uuid), node=node, rows=rows)
            )
            for uuid in sorted(level - set(rows))
        ]
        if missing:
            Accelerator.objects.bulk_create(missing, ignore_conflicts=True)
            found = Accelerator.objects.filter(cluster=cluster, uuid__in=[row.uuid for row in missing])
            rows |= {row.uuid: row for row in found}
    for uuid, one in given.items():
        changed = {name: value for name, value in attributes(one, node=node, rows=rows).items() if getattr(rows[uuid], name) != value}
        if changed:
            Accelerator.objects.filter(pk=rows[uuid].pk).update(**changed)
    return rows


def attributes(one: EntityPart | None, *, node: int, rows: dict[str, Accelerator]) -> dict[str, Any]:
    """The columns of a row that are told; what is not told stays as it is."""
    if one is None:
        return {"node_id": node}
    values = {
        "node_id": node,
        "parent_id": rows[one.parent].pk if one.parent in rows else None,
        "model_name": one.model_name[:120],
        "mig_profile": one.profile[:40],
        "position": one.position,
        "memory_bytes": one.memory_bytes or None,
    }
    return {name: value for name, value in values.items() if value not in (None, "")}


def providers_take(known: Known, *, rows: dict[str, Accelerator], node: Node, wanted: dict[tuple[str, str], set[str]], most: float) -> None:
    """The agent becomes the provider of the columns it sends, up to its limit of series; those it has go on."""
    own: dict[int, Accelerator] = {row.pk: row for row in Accelerator.objects.filter(node=node)} | {row.pk: row for row in rows.values()}
    everything: list[Node | Accelerator] = [node, *own.values()]
    sent = [{name for name, slug in row.providers.items() if slug == AGENT} for row in everything]
    left = int(most) - sum(len(names) for names in sent)
    by_key: dict[tuple[str, str], Node | Accelerator] = {(Entity.ACCELERATOR.value, uuid): row for uuid, row in rows.items()}
    by_key[Entity.NODE.value, node.name] = node
    for pair, row in by_key.items():
        held = {name for name, slug in row.providers.items() if slug == AGENT}
        fresh = sorted(wanted.get(pair, set()) - held)
        taken, refused = fresh[: max(left, 0)], fresh[max(left, 0) :]
        left -= len(taken)
        known.full |= bool(refused)
        known.series[pair] = held | set(taken)
        if taken:
            row.providers = row.providers | dict.fromkeys(taken, AGENT)
            row.save(update_fields=["providers"])

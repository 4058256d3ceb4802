"""The roster of a cycle: which label set of a source is which row, kept in memory and in `SeriesIdentity`.

Label sets are compared without `le` and without the labels a series keeps beside the identity. A known label set costs
one dictionary look-up; unknown ones are identified together and written once.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from django.db.models import Q
from numpy.typing import NDArray

from monitoring.catalog.records import Entity, System
from monitoring.models import Deployment, DeploymentState, Replica, SeriesIdentity, Source, WorkloadKind
from monitoring.sources.assemble import Floats, Ints
from monitoring.sources.gather import LabelSet
from monitoring.sources.identity import (
    AcceleratorIdentity,
    Facts,
    Labels,
    NodeIdentity,
    ReplicaIdentity,
    cluster_of,
    first_label,
    identify,
    pod_of,
    version_of,
)
from monitoring.sources.inventory import accelerators_record, nodes_record, replicas_record

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Place:
    """Where the values of one label set go: slot = row of (deployment, version), accelerator or node."""

    key: int
    slot: int
    replica: int = -1
    weight: Floats | None = None  # (m,) the share of the value that goes there at each instant, NaN = nothing; None: all of it


@dataclass
class ReplicaRow:
    pk: int
    deployment: int
    slot: int
    cluster: str
    namespace: str
    name: str
    workload: str
    serving: bool


def labels_digest(labels: LabelSet) -> str:
    return hashlib.sha256(json.dumps(sorted(labels)).encode()).hexdigest()


class Roster:
    """Slots, replicas and places of one source in one cycle."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.slots: list[tuple[int, int]] = []  # (deployment, version or 0)
        self.replicas: list[ReplicaRow] = []
        self.entities: dict[Entity, list[int]] = {Entity.ACCELERATOR: [], Entity.NODE: []}
        self.places: dict[tuple[str, LabelSet], Place | None] = {}
        self.alive: Mask = np.zeros((0, 0), dtype=bool)  # (replica rows, m) a serving series had a value
        self._slot_rows: dict[tuple[int, int], int] = {}
        self._replica_rows: dict[tuple[int, int], int] = {}
        self._entity_rows: dict[tuple[Entity, int], int] = {}
        self._versions: dict[tuple[str, LabelSet], tuple[System, str]] = {}
        self._keys: dict[tuple[str, LabelSet], int] = {}
        self._targets: dict[int, int | None] = redirects()
        self._by_pod: dict[tuple[str, str, str], list[int]] = {}
        self._by_instance: dict[str, list[int]] = {}
        self._by_workload: dict[tuple[str, str, str], list[int]] = {}

    # Rows

    def slot(self, deployment: int, version: int) -> int:
        if (deployment, version) not in self._slot_rows:
            self._slot_rows[deployment, version] = len(self.slots)
            self.slots.append((deployment, version))
        return self._slot_rows[deployment, version]

    def entity(self, entity: Entity, pk: int) -> int:
        if (entity, pk) not in self._entity_rows:
            self.entities[entity].append(pk)
            self._entity_rows[entity, pk] = len(self.entities[entity]) - 1
        return self._entity_rows[entity, pk]

    def key(self, system: System, labels: LabelSet) -> int:
        return self._keys.setdefault((system.slug, labels), len(self._keys))

    @property
    def owners(self) -> Ints:
        """The deployment of each slot."""
        return np.array([deployment for deployment, _ in self.slots], dtype=np.int64)

    @property
    def slots_of_replicas(self) -> Ints:
        return np.array([row.slot for row in self.replicas], dtype=np.int64)

    # Replicas

    def add_replica(self, replica: Replica, *, version: int, labels: Labels | None = None) -> Place | None:
        """The place of a replica in this version; None where its deployment is ignored."""
        deployment = replica.deployment
        target = self._targets.get(deployment.pk, deployment.pk)
        if target is None:
            return None
        slot = self.slot(target, version)
        known = (replica.pk, slot)
        if known not in self._replica_rows:
            row = len(self.replicas)
            self._replica_rows[known] = row
            # The pod's own place: after a merge it may differ from the deployment's.
            cluster = (labels or {}).get("cluster") or deployment.cluster.name
            namespace = deployment.namespace if labels is None else labels.get("namespace", "")
            self.replicas.append(
                ReplicaRow(
                    pk=replica.pk,
                    deployment=target,
                    slot=slot,
                    cluster=cluster,
                    namespace=namespace,
                    name=replica.name,
                    workload=deployment.workload,
                    serving=deployment.workload_kind == WorkloadKind.SERVING,
                )
            )
            self._by_pod.setdefault((cluster, namespace, replica.name), []).append(row)
            self._by_workload.setdefault((cluster, namespace, deployment.workload), []).append(row)
        row = self._replica_rows[known]
        if labels and labels.get("instance"):
            rows = self._by_instance.setdefault(labels["instance"], [])
            if row not in rows:
                rows.append(row)
        return Place(key=-1, slot=slot, replica=row)

    def pod_rows(self, pod: tuple[str, str, str]) -> list[int]:
        """Rows of the replicas in a pod (cluster, namespace, name)."""
        return self._by_pod.get(pod, [])

    def stale_versions(self, facts: Facts) -> list[tuple[System, list[LabelSet]]]:
        """Label sets whose pod runs another version now than when they were learnt."""
        stale: dict[str, tuple[System, list[LabelSet]]] = {}
        for (slug, labels), (system, known) in self._versions.items():
            pairs = dict(labels)
            at = pod_of(pairs, exported_first=False)
            pod = facts.pods.get(at) if at else None
            if pod is not None and version_of(pairs, system=system, pod=pod) not in ("", known):
                stale.setdefault(slug, (system, []))[1].append(labels)
        return list(stale.values())

    # Places

    def learn(self, system: System, label_sets: Iterable[LabelSet], *, facts: Facts, at: datetime) -> int:
        """Identify label sets seen for the first time, write their rows, and remember them. Returns how many."""
        wanted = {labels: identify(dict(labels), system=system, facts=facts) for labels in label_sets}
        replicas = replicas_record(
            (one for one in wanted.values() if isinstance(one, ReplicaIdentity)),
            system=system.slug,
            facts=facts,
            step_seconds=self.source.step_seconds,
            at=at,
        )
        accelerators = accelerators_record((one for one in wanted.values() if isinstance(one, AcceleratorIdentity)), facts=facts, at=at)
        nodes = nodes_record((one for one in wanted.values() if isinstance(one, NodeIdentity)), facts=facts, at=at)
        rows = []
        for labels, one in wanted.items():
            row = SeriesIdentity(
                source=self.source, system=system.slug, labels_digest=labels_digest(labels), labels=dict(labels), last_seen_at=at
            )
            if isinstance(one, ReplicaIdentity):
                row.replica, row.version = replicas[one]
            elif isinstance(one, AcceleratorIdentity):
                row.accelerator = accelerators[one.cluster, one.uuid]
            elif isinstance(one, NodeIdentity):
                row.node = nodes[one]
            rows.append(row)
            self.remember(row, system=system, labels=labels)
        SeriesIdentity.objects.bulk_create(
            rows,
            batch_size=2000,
            update_conflicts=True,
            unique_fields=["source", "system", "labels_digest"],
            update_fields=["replica", "version", "accelerator", "node", "last_seen_at"],
        )
        return len(rows)

    def remember(self, row: SeriesIdentity, *, system: System, labels: LabelSet) -> None:
        place: Place | None = None
        key = self.key(system, labels)
        if row.replica is not None:
            self._versions[system.slug, labels] = (system, row.version.name if row.version else "")
            found = self.add_replica(row.replica, version=row.version_id or 0, labels=row.labels)
            place = found and Place(key, found.slot, found.replica)
        elif row.accelerator_id is not None:
            place = Place(key, self.entity(Entity.ACCELERATOR, row.accelerator_id))
        elif row.node_id is not None:
            place = Place(key, self.entity(Entity.NODE, row.node_id))
        self.places[system.slug, labels] = place

    def target_places(self, labels: Labels, *, system: System, labels_key: LabelSet) -> list[Place]:
        """For a series without a model label: the replica of its target, where that serves one deployment only."""
        at = pod_of(labels, exported_first=False)
        cluster = labels.get("cluster", "") or self.source.cluster.name
        rows = self._by_pod.get((cluster, *at), []) if at else self._by_instance.get(labels.get("instance", ""), [])
        if len({self.replicas[row].deployment for row in rows}) != 1:
            return []
        return [Place(self.key(system, labels_key), self.replicas[rows[-1]].slot, rows[-1])]

    def pod_places(self, labels: Labels, *, system: System, labels_key: LabelSet, shared: bool, facts: Facts) -> list[Place]:
        """For cAdvisor and kube-state-metrics: the replicas in the pod, or each deployment of a workload.

        shared: the value is a quantity of the whole pod, split evenly between the deployments it serves.
        """
        cluster, key = cluster_of(labels, facts=facts), self.key(system, labels_key)
        workload = first_label(labels, "deployment", "statefulset")
        if workload:
            namespace = first_label(labels, "exported_namespace", "namespace")
            return self.workload_places(self._by_workload.get((cluster, namespace, workload), []), key=key)
        at = pod_of(labels, exported_first=True)
        rows = self._by_pod.get((cluster, *at), []) if at else []
        rows = [row for row in rows if self.replicas[row].serving] or rows
        if len(rows) == 1:
            return [Place(key, self.replicas[rows[0]].slot, rows[0])]
        return self.shared_places(rows, key=key, shared=shared)

    def shared_places(self, rows: list[int], *, key: int, shared: bool) -> list[Place]:
        """At each instant the deployments of a pod that answer then; where none does, all of them."""
        many = self.by_deployment(rows)
        chosen = {deployment: self.newest_alive(own) for deployment, own in many.items()}
        tenants = sum((np.logical_or.reduce(list(one.values())).astype(float) for one in chosen.values()), np.zeros(self.alive.shape[1]))
        silent = tenants == 0
        tenants[silent] = len(many)
        places = []
        for deployment in many:
            newest = next(iter(chosen[deployment]))
            for row, when in chosen[deployment].items():
                when = when | silent if row == newest else when
                if when.any():
                    weight = np.where(when, 1 / tenants if shared else 1.0, np.nan)
                    places.append(Place(key, self.replicas[row].slot, row, weight))
        return places

    def workload_places(self, rows: list[int], *, key: int) -> list[Place]:
        """At each instant the newest version that answers then; where none does, the unknown version.

        Told by the instant alone, not by the span it is read in: reading it again writes the same rows.
        """
        places = []
        for deployment, own in self.by_deployment(rows).items():
            chosen = self.newest_alive(own)
            silent = ~np.logical_or.reduce(list(chosen.values()))
            slots = [(self.replicas[row].slot, when) for row, when in chosen.items()] + [(self.slot(deployment, 0), silent)]
            places += [Place(key, slot, weight=np.where(when, 1.0, np.nan)) for slot, when in slots if when.any()]
        return places

    def by_deployment(self, rows: Iterable[int]) -> dict[int, list[int]]:
        out: dict[int, list[int]] = {}
        for row in rows:
            out.setdefault(self.replicas[row].deployment, []).append(row)
        return out

    def newest_alive(self, rows: list[int]) -> dict[int, Mask]:
        """For the rows of one deployment: one row for each version, and when it is the newest of those that answer.

        Newest is the greatest id: any order would do, as long as it is the same in every reading.
        """
        steps = self.alive.shape[1]
        alive: dict[int, tuple[int, Mask]] = {}
        for row in sorted(rows):
            known = self.alive[row] if row < len(self.alive) else np.zeros(steps, dtype=bool)
            version = self.slots[self.replicas[row].slot][1]
            alive[version] = (row, alive[version][1] | known) if version in alive else (row, known)
        left = np.ones(steps, dtype=bool)
        out: dict[int, Mask] = {}
        for version in sorted(alive, reverse=True):
            row, known = alive[version]
            out[row] = known & left
            left = left & ~known
        return out


def redirects() -> dict[int, int | None]:
    """Deployments whose values go elsewhere: merged ones to their target, ignored ones nowhere."""
    rows = Deployment.objects.filter(state__in=(DeploymentState.MERGED, DeploymentState.IGNORED)).values_list("pk", "state", "merged_into")
    direct = {pk: target if state == DeploymentState.MERGED else None for pk, state, target in rows}
    out: dict[int, int | None] = {}
    for pk in direct:
        target: int | None = pk
        for _ in range(len(direct) + 1):
            if target is None or target not in direct:
                break
            target = direct[target]
        out[pk] = target
    return out


def roster_load(source: Source, *, systems: Iterable[System], since: datetime) -> Roster:
    """The label sets of these systems whose row was seen since, and all replicas of the source's cluster seen since.

    Older label sets are left in the table: with roll-outs they grow without end, and one that comes back is learnt again.
    """
    roster = Roster(source)
    by_slug = {system.slug: system for system in systems}
    recent = Q(replica__last_seen_at__gte=since) | Q(accelerator__last_seen_at__gte=since) | Q(node__last_seen_at__gte=since)
    nobody = Q(replica=None, accelerator=None, node=None) | Q(replica__deployment__state=DeploymentState.IGNORED)
    known = SeriesIdentity.objects.filter(recent | nobody, source=source, system__in=by_slug)
    for row in known.select_related("replica__deployment__cluster", "version").order_by("replica__version__first_seen_at", "pk"):
        roster.remember(row, system=by_slug[row.system], labels=frozenset(row.labels.items()))
    others = Replica.objects.filter(deployment__cluster=source.cluster, last_seen_at__gte=since)
    for replica in others.select_related("deployment__cluster").order_by("version__first_seen_at", "pk"):
        roster.add_replica(replica, version=replica.version_id or 0)
    return roster

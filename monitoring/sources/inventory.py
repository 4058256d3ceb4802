"""Identities become rows: clusters, nodes, accelerators, deployments, versions, replicas. Safe to run twice, and at once."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from django.db.models import Model, Q

from monitoring.models import Accelerator, Cluster, Deployment, DeploymentState, Node, Replica, TeamRule, Version
from monitoring.sources.identity import AcceleratorIdentity, DeploymentKey, Facts, NodeIdentity, Pod, ReplicaIdentity
from monitoring.sources.teams import team_of

NOBODY = Pod("", "")
Row = TypeVar("Row", bound=Model)
Key = TypeVar("Key")


def rows_ensure(wanted: Mapping[Key, Row], *, scope: Q, key_of: Callable[[Row], Key]) -> dict[Key, Row]:
    """The rows with these keys, the missing ones made. Two processes that make the same row get the same row."""
    if not wanted:
        return {}
    manager = type(next(iter(wanted.values())))._default_manager
    found = {key_of(row): row for row in manager.filter(scope)}
    missing = [row for key, row in wanted.items() if key not in found]
    if missing:
        manager.bulk_create(missing, ignore_conflicts=True, batch_size=2000)
        found = {key_of(row): row for row in manager.filter(scope)}
    return {key: found[key] for key in wanted}


def clusters_record(names: Iterable[str]) -> dict[str, Cluster]:
    wanted = {name: Cluster(name=name) for name in sorted(set(names))}
    return rows_ensure(wanted, scope=Q(name__in=list(wanted)), key_of=lambda row: row.name)


def nodes_record(identities: Iterable[NodeIdentity], *, facts: Facts, at: datetime) -> dict[NodeIdentity, Node]:
    wanted_ids = {one for one in identities if one.name}
    clusters = clusters_record(one.cluster for one in wanted_ids)
    names = {row.pk: row.name for row in clusters.values()}
    wanted = {
        one: Node(
            cluster=clusters[one.cluster],
            name=one.name,
            labels=dict(facts.node_labels.get(one.name, {})),
            instance_type=instance_type_of(facts.node_labels.get(one.name, {})),
            first_seen_at=at,
            last_seen_at=at,
        )
        for one in sorted(wanted_ids, key=lambda one: (one.cluster, one.name))
    }
    scope = Q(cluster__in=names, name__in=[one.name for one in wanted])
    return rows_ensure(wanted, scope=scope, key_of=lambda row: NodeIdentity(names[row.cluster_id], row.name))


def instance_type_of(labels: Mapping[str, str]) -> str:
    return (labels.get("label_node_kubernetes_io_instance_type") or labels.get("label_beta_kubernetes_io_instance_type") or "")[:80]


def accelerators_record(identities: Iterable[AcceleratorIdentity], *, facts: Facts, at: datetime) -> dict[tuple[str, str], Accelerator]:
    """By (cluster, uuid); the GPU of a MIG instance is made before it."""
    given = sorted(set(identities), key=lambda one: (one.cluster, one.uuid, one.node))
    nodes = nodes_record((NodeIdentity(one.cluster, one.node) for one in given), facts=facts, at=at)
    clusters = clusters_record(one.cluster for one in given)
    names = {row.pk: row.name for row in clusters.values()}
    parents = {(one.cluster, one.parent): parent_of(one) for one in given if one.parent}
    whole = {(one.cluster, one.uuid): one for one in given if not one.parent}
    out: dict[tuple[str, str], Accelerator] = {}
    for level in ({**parents, **whole}, {(one.cluster, one.uuid): one for one in given if one.parent}):
        wanted = {
            key: Accelerator(
                cluster=clusters[one.cluster],
                node=nodes.get(NodeIdentity(one.cluster, one.node)),
                parent=out.get((one.cluster, one.parent)),
                uuid=one.uuid,
                model_name=one.model_name,
                mig_profile=one.mig_profile,
                position=one.position,
                first_seen_at=at,
                last_seen_at=at,
            )
            for key, one in level.items()
        }
        scope = Q(cluster__in=names, uuid__in=[uuid for _, uuid in wanted])
        out |= rows_ensure(wanted, scope=scope, key_of=lambda row: (names[row.cluster_id], row.uuid))
    return out


def parent_of(one: AcceleratorIdentity) -> AcceleratorIdentity:
    return AcceleratorIdentity(one.cluster, one.parent, node=one.node, model_name=one.model_name, position=one.position)


def display_name(key: DeploymentKey) -> str:
    """The model, of a path its last part; else the workload."""
    model = key.model.rstrip("/")
    return (model.rpartition("/")[2] if model.startswith(("/", "s3://", "gs://")) else model) or key.workload


def deployments_record(
    identities: Iterable[ReplicaIdentity], *, system: str, facts: Facts, step_seconds: int, at: datetime
) -> dict[DeploymentKey, Deployment]:
    given = {one.key: one for one in identities}
    clusters = clusters_record(key.cluster for key in given)
    names = {row.pk: row.name for row in clusters.values()}
    rules = list(TeamRule.objects.select_related("team"))
    wanted = {}
    for key, one in sorted(given.items(), key=lambda pair: (pair[0].cluster, pair[0].namespace, pair[0].workload, pair[0].model)):
        row = Deployment(
            cluster=clusters[key.cluster],
            namespace=key.namespace,
            workload=key.workload,
            model_name=key.model,
            name=display_name(key),
            environment=one.environment,
            workload_kind=one.kind,
            system=system,
            labels=labels_of(one, facts=facts),
            step_seconds=step_seconds,
            first_seen_at=at,
            last_seen_at=at,
        )
        row.team = team_of(row, rules=rules)
        wanted[key] = row
    found = rows_ensure(
        wanted,
        scope=Q(cluster__in=names, workload__in={key.workload for key in wanted}),
        key_of=lambda row: DeploymentKey(names[row.cluster_id], row.namespace, row.workload, row.model_name),
    )
    for key, row in found.items():
        row.cluster = clusters[key.cluster]
    return found


def labels_of(one: ReplicaIdentity, *, facts: Facts) -> dict[str, str]:
    """The labels of the pod as kube-state-metrics spells them, without its prefix."""
    pod = facts.pods.get((one.key.namespace, one.replica))
    return {name.removeprefix("label_"): value for name, value in pod.labels.items()} if pod else {}


def versions_record(pairs: Iterable[tuple[int, str]], *, at: datetime) -> dict[tuple[int, str], Version]:
    """By (deployment id, name); an unknown version has no row."""
    wanted = {
        (deployment, name): Version(deployment_id=deployment, name=name, first_seen_at=at, last_seen_at=at)
        for deployment, name in sorted(set(pairs))
        if name
    }
    scope = Q(deployment__in={deployment for deployment, _ in wanted})
    return rows_ensure(wanted, scope=scope, key_of=lambda row: (row.deployment_id, row.name))


def merge_target(deployment: Deployment) -> Deployment:
    """Where the rows of a merged deployment belong; itself when it is not merged."""
    for _ in range(20):
        if deployment.state != DeploymentState.MERGED or deployment.merged_into is None:
            break
        deployment = deployment.merged_into
    return deployment


def workloads_settled(identities: Iterable[ReplicaIdentity], *, facts: Facts) -> dict[ReplicaIdentity, ReplicaIdentity]:
    """Where nobody tells the owner of a pod, a workload known to serve the same model there is taken, if the pod is named after it.

    Otherwise each restart of kube-state-metrics could make deployments anew, named by guess.
    """
    given = list(identities)
    guessed = [one for one in given if not facts.pods.get((one.key.namespace, one.replica), NOBODY).workload]
    known: dict[tuple[str, str, str], list[str]] = {}
    if guessed:
        rows = Deployment.objects.filter(
            cluster__name__in={one.key.cluster for one in guessed}, model_name__in={one.key.model for one in guessed}
        )
        for cluster, namespace, model, workload in rows.values_list("cluster__name", "namespace", "model_name", "workload"):
            known.setdefault((cluster, namespace, model), []).append(workload)
    out = {one: one for one in given}
    for one in guessed:
        key = one.key
        names = [name for name in known.get((key.cluster, key.namespace, key.model), []) if one.replica.startswith(f"{name}-")]
        if names:
            out[one] = replace(one, key=replace(key, workload=max(names, key=len)))
    return out


def replicas_record(
    identities: Iterable[ReplicaIdentity], *, system: str, facts: Facts, step_seconds: int, at: datetime
) -> dict[ReplicaIdentity, tuple[Replica, Version | None]]:
    """Each identity's replica and version, with its deployment, version and node made where they are new."""
    asked = list(dict.fromkeys(identities))
    settled = workloads_settled(asked, facts=facts)
    given = list(dict.fromkeys(settled.values()))
    made = deployments_record(given, system=system, facts=facts, step_seconds=step_seconds, at=at)
    deployments = {key: merge_target(row) for key, row in made.items()}
    versions = versions_record(((deployments[one.key].pk, one.version) for one in given), at=at)
    nodes = nodes_record((NodeIdentity(one.key.cluster, one.node) for one in given), facts=facts, at=at)
    wanted = {}
    for one in given:
        deployment = deployments[one.key]
        wanted[deployment.pk, one.replica] = Replica(
            deployment=deployment,
            name=one.replica,
            version=versions.get((deployment.pk, one.version)),
            node=nodes.get(NodeIdentity(one.key.cluster, one.node)),
            first_seen_at=at,
            last_seen_at=at,
        )
    scope = Q(deployment__in={deployment for deployment, _ in wanted}, name__in={name for _, name in wanted})
    rows = rows_ensure(wanted, scope=scope, key_of=lambda row: (row.deployment_id, row.name))
    out = {}
    for one in given:
        deployment = deployments[one.key]
        replica = rows[deployment.pk, one.replica]
        replica.deployment = deployment
        out[one] = (replica, versions.get((deployment.pk, one.version)))
    return {one: out[settled[one]] for one in asked}


def seen_stretch(model: type[Model], *, seen: Mapping[int, tuple[datetime, datetime]]) -> None:
    """Let the first and last sight of rows cover these instants; one statement for each distinct instant."""
    manager = model._default_manager
    firsts: dict[datetime, list[int]] = {}
    lasts: dict[datetime, list[int]] = {}
    for pk, first_at, last_at in manager.filter(pk__in=list(seen)).values_list("pk", "first_seen_at", "last_seen_at"):
        first, last = seen[pk]
        if first < first_at:
            firsts.setdefault(first, []).append(pk)
        if last > last_at:
            lasts.setdefault(last, []).append(pk)
    for first, ids in firsts.items():
        manager.filter(pk__in=ids, first_seen_at__gt=first).update(first_seen_at=first)
    for last, ids in lasts.items():
        manager.filter(pk__in=ids, last_seen_at__lt=last).update(last_seen_at=last)

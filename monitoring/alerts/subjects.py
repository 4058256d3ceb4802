"""What rules look at: deployments, accelerators, nodes, agents and sources, with their labels and what they depend on."""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F, FloatField, Func

from monitoring.models import (
    Accelerator,
    Agent,
    AgentState,
    Deployment,
    DeploymentState,
    Node,
    Placement,
    RuleEntity,
    Source,
    SourceState,
)

AWAY = (SourceState.DOWN, SourceState.WRONG)
LABELS: dict[str, tuple[str, ...]] = {  # by which rules, channels and silences name a subject
    RuleEntity.DEPLOYMENT: ("deployment", "cluster", "namespace", "workload", "model", "environment", "team"),
    RuleEntity.ACCELERATOR: ("accelerator", "node", "cluster", "model"),
    RuleEntity.NODE: ("node", "cluster"),
    RuleEntity.AGENT: ("node", "cluster"),
    RuleEntity.SOURCE: ("source", "cluster"),
}


@dataclass(slots=True)
class Subject:
    """One thing a rule is evaluated for. muted_by: what its readings depend on and is away, in words."""

    entity: str
    pk: int
    labels: dict[str, str]
    deployment_id: int | None = None
    team_id: int | None = None
    muted_by: str = ""
    heard: float = math.nan  # Unix seconds of the newest word of it
    skew_seconds: float = math.nan  # its clock less ours


@dataclass(frozen=True)
class Away:
    """Who does not answer: node ids of silent agents, and clusters none of whose sources answers."""

    nodes: dict[int, str]
    clusters: dict[int, str]


def subjects_load(entities: Iterable[str], *, now: datetime) -> dict[str, list[Subject]]:
    """One query an entity and two of who is away, however many there are; rows come as tuples, as each round asks anew."""
    away = Away(nodes_away(now=now), clusters_away())
    makers = {
        RuleEntity.DEPLOYMENT: lambda: deployments_subjects(away),
        RuleEntity.ACCELERATOR: lambda: accelerators_subjects(away),
        RuleEntity.NODE: lambda: nodes_subjects(away),
        RuleEntity.AGENT: agents_subjects,
        RuleEntity.SOURCE: sources_subjects,
    }
    return {entity: makers[RuleEntity(entity)]() for entity in set(entities)}


def epoch(name: str) -> Func:
    """A moment as a number, which is read much faster than a datetime."""
    return Func(F(name), template="extract(epoch FROM %(expressions)s)::float8", output_field=FloatField())


def nodes_away(*, now: datetime) -> dict[int, str]:
    silent = Agent.objects.in_state(AgentState.SILENT, now=now).order_by().values_list("node_id", "node__name")
    return {node: f"agent of {name} silent" for node, name in silent}


def clusters_away() -> dict[int, str]:
    by_cluster = defaultdict[int, list[tuple[str, str]]](list)
    for cluster, name, state in Source.objects.filter(enabled=True).values_list("cluster_id", "name", "state"):
        by_cluster[cluster].append((name, state))
    return {
        cluster: f"source {rows[0][0]} away" if len(rows) == 1 else "all sources of the cluster away"
        for cluster, rows in by_cluster.items()
        if all(state in AWAY for _, state in rows)
    }


def deployments_subjects(away: Away) -> list[Subject]:
    named = ("name", "cluster__name", "namespace", "workload", "model_name", "environment", "team__slug")
    rows = Deployment.objects.filter(state=DeploymentState.ACTIVE).order_by("pk")
    nodes = nodes_of_deployments() if away.nodes else {}
    return [
        Subject(
            RuleEntity.DEPLOYMENT,
            pk,
            {label: value or "" for label, value in zip(LABELS[RuleEntity.DEPLOYMENT], labels, strict=True)},
            pk,
            team,
            away.clusters.get(cluster, "") or nodes_muted(nodes.get(pk, set()), away),
            heard,
        )
        for pk, team, cluster, heard, *labels in rows.values_list("pk", "team_id", "cluster_id", epoch("last_seen_at"), *named)
    ]


def nodes_of_deployments() -> dict[int, set[int]]:
    rows = Placement.objects.filter(valid_to__isnull=True).values_list("replica__deployment_id", "node_id", "accelerator__node_id")
    nodes = defaultdict[int, set[int]](set)
    for deployment, *found in rows:
        nodes[deployment].update(number for number in found if number is not None)
    return nodes


def nodes_muted(nodes: set[int], away: Away) -> str:
    """Only where every node it runs on is silent: a deployment that goes on elsewhere goes on being watched."""
    return away.nodes[min(nodes)] if nodes and nodes <= set(away.nodes) else ""


def accelerators_subjects(away: Away) -> list[Subject]:
    rows = Accelerator.objects.filter(node__isnull=False).order_by("pk")
    return [
        Subject(
            RuleEntity.ACCELERATOR,
            pk,
            {"accelerator": uuid, "node": name, "cluster": cluster, "model": model},
            muted_by=away.nodes.get(node, ""),
        )
        for pk, node, uuid, name, cluster, model in rows.values_list("pk", "node_id", "uuid", "node__name", "cluster__name", "model_name")
    ]


def nodes_subjects(away: Away) -> list[Subject]:
    rows = Node.objects.order_by("pk").values_list("pk", "name", "cluster__name")
    return [Subject(RuleEntity.NODE, pk, {"node": name, "cluster": cluster}, muted_by=away.nodes.get(pk, "")) for pk, name, cluster in rows]


def agents_subjects() -> list[Subject]:
    rows = Agent.objects.order_by("pk").values_list("pk", "node__name", "node__cluster__name", epoch("last_seen_at"), "skew_seconds")
    return [
        Subject(
            RuleEntity.AGENT,
            pk,
            {"node": name, "cluster": cluster},
            heard=heard,
            skew_seconds=math.nan if skew is None else skew,
        )
        for pk, name, cluster, heard, skew in rows
    ]


def sources_subjects() -> list[Subject]:
    """What is newest of a source is what was read from it; of one that never gave anything, its beginning."""
    rows = Source.objects.filter(enabled=True).order_by("pk")
    named = rows.values_list("pk", "name", "cluster__name", epoch("watermark"), epoch("created_at"))
    return [
        Subject(RuleEntity.SOURCE, pk, {"source": name, "cluster": cluster}, heard=begun if read is None else read)
        for pk, name, cluster, read, begun in named
    ]

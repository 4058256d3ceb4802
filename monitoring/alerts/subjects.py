"""What rules look at: deployments, accelerators, nodes, agents and sources, with their labels and what they depend on."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from monitoring.models import Accelerator, Agent, AgentState, Deployment, DeploymentState, Node, Placement, RuleEntity, Source, SourceState

AWAY = (SourceState.DOWN, SourceState.WRONG)
LABELS: dict[str, tuple[str, ...]] = {  # by which rules, channels and silences name a subject
    RuleEntity.DEPLOYMENT: ("deployment", "cluster", "namespace", "workload", "model", "environment", "team"),
    RuleEntity.ACCELERATOR: ("accelerator", "node", "cluster", "model"),
    RuleEntity.NODE: ("node", "cluster"),
    RuleEntity.AGENT: ("node", "cluster"),
    RuleEntity.SOURCE: ("source", "cluster"),
}


@dataclass(frozen=True)
class Subject:
    """One thing a rule is evaluated for. muted_by: what its readings depend on and is away, in words."""

    entity: str
    pk: int
    labels: dict[str, str]
    deployment_id: int | None = None
    team_id: int | None = None
    muted_by: str = ""


@dataclass(frozen=True)
class Away:
    """Who does not answer: node ids of silent agents, and clusters none of whose sources answers."""

    nodes: dict[int, str]
    clusters: dict[int, str]


def subjects_load(entities: Iterable[str], *, now: datetime) -> dict[str, list[Subject]]:
    """Six queries at most, however many there are."""
    agents = list(Agent.objects.select_related("node__cluster"))
    sources = list(Source.objects.filter(enabled=True).select_related("cluster"))
    away = Away(
        {agent.node_id: f"agent of {agent.node.name} silent" for agent in agents if agent.state(now=now) == AgentState.SILENT},
        clusters_away(sources),
    )
    makers = {
        RuleEntity.DEPLOYMENT: lambda: deployments_subjects(away),
        RuleEntity.ACCELERATOR: lambda: accelerators_subjects(away),
        RuleEntity.NODE: lambda: nodes_subjects(away),
        RuleEntity.AGENT: lambda: [
            Subject("agent", agent.pk, {"node": agent.node.name, "cluster": agent.node.cluster.name}) for agent in agents
        ],
        RuleEntity.SOURCE: lambda: [Subject("source", row.pk, {"source": row.name, "cluster": row.cluster.name}) for row in sources],
    }
    return {entity: makers[RuleEntity(entity)]() for entity in set(entities)}


def clusters_away(sources: Iterable[Source]) -> dict[int, str]:
    by_cluster = defaultdict[int, list[Source]](list)
    for source in sources:
        by_cluster[source.cluster_id].append(source)
    return {
        cluster: f"source {rows[0].name} away" if len(rows) == 1 else "all sources of the cluster away"
        for cluster, rows in by_cluster.items()
        if all(row.state in AWAY for row in rows)
    }


def deployments_subjects(away: Away) -> list[Subject]:
    rows = Deployment.objects.filter(state=DeploymentState.ACTIVE).select_related("cluster", "team")
    nodes = nodes_of_deployments() if away.nodes else {}
    return [
        Subject(
            "deployment",
            row.pk,
            {
                "deployment": row.name,
                "cluster": row.cluster.name,
                "namespace": row.namespace,
                "workload": row.workload,
                "model": row.model_name,
                "environment": row.environment,
                "team": row.team.slug if row.team else "",
            },
            row.pk,
            row.team_id,
            away.clusters.get(row.cluster_id, "") or nodes_muted(nodes.get(row.pk, set()), away),
        )
        for row in rows
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
    rows = Accelerator.objects.filter(node__isnull=False).select_related("cluster", "node")
    return [
        Subject(
            "accelerator",
            row.pk,
            {"accelerator": row.uuid, "node": row.node.name, "cluster": row.cluster.name, "model": row.model_name},
            muted_by=away.nodes.get(row.node_id or 0, ""),
        )
        for row in rows
        if row.node is not None
    ]


def nodes_subjects(away: Away) -> list[Subject]:
    rows = Node.objects.select_related("cluster")
    return [Subject("node", row.pk, {"node": row.name, "cluster": row.cluster.name}, muted_by=away.nodes.get(row.pk, "")) for row in rows]

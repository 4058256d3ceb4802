"""The rows of the demo fleet: clusters, hosts, accelerators, deployments, versions, replicas, placements, events, SLOs."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from django.db import transaction
from django.db.models import Q
from django.utils.text import slugify

from capacity.demo import fleet
from capacity.demo.agents import agents_make, agents_seen
from capacity.demo.fleet import HOSTS, SERVICES, SOURCE, TEAMS
from capacity.demo.machines import LOST_NOT_SCALED, Card, Copy, cards, copies
from capacity.demo.records import Service
from capacity.demo.signals import Flow, columns_make, flow_make
from capacity.demo.stories import events_of
from monitoring.models import (
    Accelerator,
    Cluster,
    Deployment,
    Event,
    Node,
    Placement,
    PlacementMethod,
    Replica,
    Slo,
    Source,
    SourceState,
    Team,
    Version,
)


@dataclass(frozen=True)
class Ids:
    """Primary keys by the names of the fleet."""

    nodes: dict[str, int]
    accelerators: dict[str, int]  # by uuid
    deployments: dict[str, int]
    versions: dict[tuple[str, str], int]  # (deployment, version)
    replicas: dict[str, int]

    @property
    def complete(self) -> bool:
        """Is everything here that this release's fleet is made of?"""
        wanted = {(service.name, release.name) for service in SERVICES for release in service.releases}
        return (
            wanted <= self.versions.keys()
            and {copy.name for copy in copies()} <= self.replicas.keys()
            and {card.uuid for card in cards()} <= self.accelerators.keys()
            and {host.name for host in HOSTS} <= self.nodes.keys()
        )


class DemoClash(Exception):
    """A real cluster, team or source bears a name that the demo fleet needs."""


def at(anchor: float, offset: float) -> datetime:
    return datetime.fromtimestamp(anchor + offset, tz=UTC)


def demo_source() -> Source | None:
    return Source.objects.filter(demo=True).order_by("pk").first()


@transaction.atomic
def inventory_make(*, anchor: float, days: int) -> Source:
    """Write all rows at once; the source carries the anchor (created_at) and how far telemetry goes (watermark)."""
    clash_check()
    start = at(anchor, -days * 86400.0)
    clusters = {name: Cluster.objects.create(name=name, demo=True) for name in (fleet.CLOUD, fleet.EDGE)}
    teams = {name: Team.objects.create(name=name, slug=slugify(name), demo=True) for name in TEAMS}
    nodes = nodes_make(clusters, anchor=anchor, start=start)
    accelerators = accelerators_make(clusters, nodes, start=start, end=at(anchor, 0))
    agents_make(nodes, accelerators, start=start, end=at(anchor, 0))
    deployments = {service.name: deployment_make(service, clusters, teams, anchor=anchor, start=start) for service in SERVICES}
    for copy in copies():
        replica_make(copy, deployments[copy.service.name], nodes, accelerators, anchor=anchor, start=start)
    Event.objects.bulk_create(
        event for service in SERVICES for event in events_of(service, deployments[service.name], anchor=anchor, since=start)
    )
    return Source.objects.create(
        name=SOURCE,
        url="http://demo.invalid",
        cluster=clusters[fleet.CLOUD],
        demo=True,
        enabled=False,
        state=SourceState.OK,
        state_text="Made by Headroom itself: the demo fleet. Nothing is polled.",
        step_seconds=60,
        scrape_interval_seconds=15.0,
        created_at=at(anchor, 0),
    )


def clash_check() -> None:
    taken = [
        *Cluster.objects.filter(demo=False, name__in=(fleet.CLOUD, fleet.EDGE)).values_list("name", flat=True),
        *Team.objects.filter(demo=False).filter(Q(name__in=TEAMS) | Q(slug__in=map(slugify, TEAMS))).values_list("name", flat=True),
        *Source.objects.filter(demo=False, name=SOURCE).values_list("name", flat=True),
    ]
    if taken:
        raise DemoClash(f"The demo fleet needs the name {taken[0]!r}, which is in use. Rename that one, then load again.")


def nodes_make(clusters: dict[str, Cluster], *, anchor: float, start: datetime) -> dict[str, Node]:
    providers = dict.fromkeys(("cpu_utilization_ratio", "memory_used_bytes", "disk_used_bytes"), "node_exporter")
    silent = {fleet.SILENT_HOST: fleet.EDGE_SILENT}
    return {
        host.name: Node.objects.create(
            cluster=clusters[host.cluster],
            name=host.name,
            instance_type=host.instance_type,
            labels={"zone": "factory"} if host.cluster == fleet.EDGE else {"zone": "eu-west-1a"},
            providers=providers,
            first_seen_at=start,
            last_seen_at=at(anchor, silent.get(host.name, 0.0)),
        )
        for host in HOSTS
    }


def accelerators_make(clusters: dict[str, Cluster], nodes: dict[str, Node], *, start: datetime, end: datetime) -> dict[str, Accelerator]:
    made: dict[str, Accelerator] = {}
    for card in cards():  # a parent comes before its instances
        parent = None
        if card.mig:
            assert card.host.mig is not None
            parent = made[Card(card.host, card.host.mig[0]).uuid]
        made[card.uuid] = Accelerator.objects.create(
            cluster=clusters[card.host.cluster],
            node=nodes[card.host.name],
            parent=parent,
            uuid=card.uuid,
            model_name=card.hardware.model_name,
            mig_profile=card.host.mig[1] if card.mig and card.host.mig else "",
            position=card.position,
            memory_bytes=int(card.memory_bytes),
            providers={"gr_engine_active_ratio": "dcgm_exporter", "power_watts": "dcgm_exporter"},
            first_seen_at=start,
            last_seen_at=end,
        )
    return made


def deployment_make(
    service: Service, clusters: dict[str, Cluster], teams: dict[str, Team], *, anchor: float, start: datetime
) -> Deployment:
    end = at(anchor, 0)
    deployment = Deployment.objects.create(
        cluster=clusters[service.cluster],
        namespace=service.namespace,
        workload=service.name,
        model_name=service.model_name,
        name=service.name,
        environment=service.environment,
        workload_kind=service.workload_kind,
        team=teams[service.team],
        team_by_hand=True,
        system=service.system,
        system_version=service.system_version,
        labels={"demo": "true"},
        providers=providers_of(service, anchor),
        step_seconds=60,
        first_seen_at=start,
        last_seen_at=end,
    )
    for number, release in enumerate(service.releases):
        following = [later for later in service.releases[number + 1 :] if later.share == 1.0]
        seen = max(start, at(anchor, release.start))
        Version.objects.create(
            deployment=deployment,
            name=release.name,
            first_seen_at=seen,
            last_seen_at=max(seen, at(anchor, following[0].start)) if following else end,
        )
    if service.promise:
        Slo.objects.create(
            deployment=deployment,
            latency=int(service.promise.latency),
            percentile=service.promise.percentile,
            threshold_seconds=service.promise.threshold_seconds,
            availability_ratio=service.promise.availability_ratio,
            set_by="demo",
            updated_at=start,
        )
    return deployment


def providers_of(service: Service, anchor: float) -> dict[str, str]:
    """Column -> system: what the server says itself, and what the cluster says of its pods."""
    flow = flow_of(service, anchor)
    cluster = ("cpu_", "memory_", "replicas_", "restarts_", "network_")
    systems = {"cpu_": "cadvisor", "memory_": "cadvisor", "network_": "cadvisor"}
    return {
        name: systems.get(name.split("_")[0] + "_", "kube_state_metrics") if name.startswith(cluster) else service.system
        for name in columns_make(service, flow)
    }


def flow_of(service: Service, anchor: float) -> Flow:
    return flow_make(service, np.array([anchor]), step=60.0, anchor=anchor)


def replica_make(
    copy: Copy, deployment: Deployment, nodes: dict[str, Node], accelerators: dict[str, Accelerator], *, anchor: float, start: datetime
) -> None:
    """The replica and, for each stretch in which it was wished for, its placements."""
    runs = copy_stretches(copy)
    last = runs[-1][1] if runs else 0.0
    silent = fleet.EDGE_SILENT if copy.host.name == fleet.SILENT_HOST else 0.0
    replica = Replica.objects.create(
        deployment=deployment,
        version=Version.objects.get(deployment=deployment, name=version_of(copy)),
        node=nodes[copy.host.name],
        name=copy.name,
        first_seen_at=max(start, at(anchor, runs[0][0] if runs else 0.0)),
        last_seen_at=at(anchor, silent if last is None else last),
    )
    for begin, end in runs:
        window = {"valid_from": max(start, at(anchor, begin)), "valid_to": None if end is None else at(anchor, end)}
        if not copy.cards:
            Placement.objects.create(replica=replica, node=nodes[copy.host.name], method=PlacementMethod.REQUEST, **window)
        for card in copy.cards:
            method = PlacementMethod.POD_LABEL if copy.share == 1.0 else PlacementMethod.CGROUP
            Placement.objects.create(replica=replica, accelerator=accelerators[card.uuid], share=copy.share, method=method, **window)


def copy_stretches(copy: Copy) -> list[tuple[float, float | None]]:
    """(start, end) in seconds from the anchor; an open end is None. A replica lost by failure keeps its place."""
    scales = copy.service.scales[:1] if copy.service in LOST_NOT_SCALED else copy.service.scales
    stretches: list[tuple[float, float | None]] = []
    for number, scale in enumerate(scales):
        end = scales[number + 1].start if number + 1 < len(scales) else None
        if scale.replicas <= copy.number:
            continue
        if stretches and stretches[-1][1] == scale.start:
            stretches[-1] = (stretches[-1][0], end)
        else:
            stretches.append((scale.start, end))
    return stretches


def version_of(copy: Copy) -> str:
    """The release a replica runs now: of two at once, the last replicas run the newer one, as its share asks."""
    releases = copy.service.releases
    if releases[-1].share == 1.0:
        return releases[-1].name
    count = copy.service.scales[-1].replicas
    return releases[-1].name if copy.number >= round(count * (1.0 - releases[-1].share)) else releases[-2].name


def ids_load() -> Ids:
    """The keys of the demo fleet that is here."""
    versions = Version.objects.filter(deployment__cluster__demo=True).values_list("deployment__workload", "name", "pk")
    return Ids(
        nodes=dict(Node.objects.filter(cluster__demo=True).values_list("name", "pk")),
        accelerators=dict(Accelerator.objects.filter(cluster__demo=True).values_list("uuid", "pk")),
        deployments=dict(Deployment.objects.filter(cluster__demo=True).values_list("workload", "pk")),
        versions={(workload, name): pk for workload, name, pk in versions},
        replicas=dict(Replica.objects.filter(deployment__cluster__demo=True).values_list("name", "pk")),
    )


def seen_update(now_seen: datetime) -> None:
    """Everything that still tells something was seen just now."""
    earlier = now_seen - timedelta(minutes=1)
    Node.objects.filter(cluster__demo=True, last_seen_at__lt=earlier).exclude(name=fleet.SILENT_HOST).update(last_seen_at=now_seen)
    Accelerator.objects.filter(cluster__demo=True).update(last_seen_at=now_seen)
    Deployment.objects.filter(cluster__demo=True).update(last_seen_at=now_seen)
    agents_seen(now_seen)
    open_here = Q(placements__valid_to=None) & ~Q(node__name=fleet.SILENT_HOST)
    Replica.objects.filter(open_here, deployment__cluster__demo=True).update(last_seen_at=now_seen)
    for service in SERVICES:
        names = [release.name for release in service.releases[-1:]]
        names += [service.releases[-2].name] if service.releases[-1].share < 1.0 else []
        Version.objects.filter(deployment__cluster__demo=True, deployment__workload=service.name, name__in=names).update(
            last_seen_at=now_seen
        )

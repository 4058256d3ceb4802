"""What a look at a source teaches the inventory beside the numbers: holders of GPUs, first and last sights, placements, events."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from django.db.models import Q

from monitoring.catalog.records import Entity, System
from monitoring.catalog.systems import SYSTEMS
from monitoring.models import (
    Accelerator,
    Deployment,
    DeploymentState,
    Node,
    Placement,
    PlacementMethod,
    Replica,
    SeenMetric,
    Source,
    Version,
    WorkloadKind,
)
from monitoring.prometheus import Prometheus, wire_names
from monitoring.series import lines_load_many
from monitoring.sources.assemble import Floats, Ints
from monitoring.sources.connect import client_of
from monitoring.sources.events import deploy_events_record, scale_events_record
from monitoring.sources.facts import facts_load
from monitoring.sources.gather import Gathered, Span, asks_of, label_set, span_gather, systems_present
from monitoring.sources.identity import Facts, cluster_of, held_by, holder_identify, pod_version
from monitoring.sources.inventory import replicas_record, seen_stretch
from monitoring.sources.layout import AGENT_LIVES, Laid, serving_blocks, span_lay, unknown_sets
from monitoring.sources.placements import Card, Tenant, placements_record, placements_wish
from monitoring.sources.roster import Roster, roster_load

LOOK_SECONDS = 300
FACTS_SECONDS = 900  # kube-state-metrics may be scraped slowly, or just have restarted
ROSTER_DAYS = 1  # replicas gone for longer are loaded only when their label set comes back

Spells = dict[int, tuple[float, float]]
Pod = tuple[str, str, str]


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)


@dataclass
class Sights:
    """First and last instant with a value, by row id, in Unix seconds."""

    deployments: Spells = field(default_factory=dict)
    versions: Spells = field(default_factory=dict)
    replicas: Spells = field(default_factory=dict)
    accelerators: Spells = field(default_factory=dict)
    nodes: Spells = field(default_factory=dict)
    holdings: dict[int, dict[Pod, tuple[float, float]]] = field(default_factory=dict)  # accelerator -> pod -> spell


def widen(spells: Spells, pk: int, spell: tuple[float, float]) -> None:
    known = spells.get(pk)
    spells[pk] = (min(known[0], spell[0]), max(known[1], spell[1])) if known else spell


def row_spells(values: Floats, *, times: Floats) -> tuple[Ints, Floats, Floats]:
    """(rows with a value, first instant, last instant) of (k, m) values."""
    known = np.isfinite(values)
    rows = np.flatnonzero(known.any(axis=1))
    first = times[known[rows].argmax(axis=1)]
    last = times[values.shape[1] - 1 - known[rows][:, ::-1].argmax(axis=1)]
    return rows, first, last


def sights_of(gathered: Gathered, *, laid: Laid, facts: Facts) -> Sights:
    """Who was seen from when to when in a span."""
    sights, roster = Sights(), laid.roster
    for block in laid.blocks.get(laid.main, []):
        rows, first, last = row_spells(block.values, times=laid.times)
        for row, start, end in zip(rows.tolist(), first.tolist(), last.tolist(), strict=True):
            slot, spell = int(block.slots[row]), (start, end)
            if block.system.entity is not Entity.DEPLOYMENT:
                spells = sights.accelerators if block.system.entity is Entity.ACCELERATOR else sights.nodes
                widen(spells, roster.entities[block.system.entity][slot], spell)
            elif block.replicas[row] >= 0:
                one = roster.replicas[int(block.replicas[row])]
                if block.system.kind == "serving" or not one.serving:
                    deployment, version = roster.slots[slot]
                    widen(sights.replicas, one.pk, spell)
                    widen(sights.deployments, deployment, spell)
                    if version:
                        widen(sights.versions, version, spell)
    for ask, matrix in gathered.answers:
        if ask.system.entity is Entity.ACCELERATOR and ask.over in (laid.main,):
            rows, first, last = row_spells(matrix.values, times=laid.times)
            for row, start, end in zip(rows.tolist(), first.tolist(), last.tolist(), strict=True):
                labels = matrix.labels[row]
                place = roster.places.get((ask.system.slug, label_set(labels, series=ask.series)))
                pod = held_by(labels)
                if place and pod:
                    card = roster.entities[Entity.ACCELERATOR][place.slot]
                    held = sights.holdings.setdefault(card, {})
                    known = held.get((cluster_of(labels, facts=facts), *pod), (start, end))
                    held[cluster_of(labels, facts=facts), *pod] = (min(known[0], start), max(known[1], end))
    return sights


def holders_learn(sights: Sights, *, roster: Roster, facts: Facts, at: datetime) -> int:
    """Replicas for pods that hold accelerators and serve no known metric. Returns how many are new."""
    pods: dict[Pod, tuple[float, float]] = {}
    for held in sights.holdings.values():
        pods |= held
    span = (at.timestamp(), at.timestamp())
    pods |= {(facts.cluster, *key): pods.get((facts.cluster, *key), span) for key, pod in facts.pods.items() if pod.accelerators > 0}
    missing = [pod for pod in pods if not roster.pod_rows(pod)]
    identities = {pod: holder_identify((pod[1], pod[2]), facts=facts, cluster=pod[0]) for pod in missing}
    made = replicas_record(identities.values(), system="", facts=facts, step_seconds=roster.source.step_seconds, at=at)
    for pod, identity in identities.items():
        row, version = made[identity]
        roster.add_replica(row, version=version.pk if version else 0)
        widen(sights.replicas, row.pk, pods[pod])
        widen(sights.deployments, row.deployment_id, pods[pod])
    return len(missing)


def sights_record(sights: Sights) -> None:
    pairs = (
        (Deployment, sights.deployments),
        (Version, sights.versions),
        (Replica, sights.replicas),
        (Accelerator, sights.accelerators),
        (Node, sights.nodes),
    )
    for model, spells in pairs:
        seen_stretch(model, seen={pk: (moment(first), moment(last)) for pk, (first, last) in spells.items()})


def placements_update(sights: Sights, *, roster: Roster, facts: Facts, span: Span, live: bool) -> int:
    instances = Accelerator.objects.filter(parent__isnull=False, pk__in=sights.accelerators).values_list("parent", flat=True)
    whole = sights.accelerators.keys() - set(instances)  # a GPU cut into instances is placed by its instances
    if live:  # where a living agent sees whose processes they are, its word stands
        agents = Q(accelerator__node__agent__last_seen_at__gte=moment(span.end) - AGENT_LIVES, valid_to__isnull=True)
        methods = (PlacementMethod.CGROUP, PlacementMethod.SM_TIME)
        whole -= set(Placement.objects.filter(agents, method__in=methods, accelerator__in=whole).values_list("accelerator", flat=True))
    homes = dict(Accelerator.objects.filter(pk__in=whole).values_list("pk", "node"))
    cards = [
        Card(
            pk=pk,
            node=homes.get(pk),
            seen=(moment(sights.accelerators[pk][0]), moment(sights.accelerators[pk][1])),
            pods={pod: (moment(first), moment(last)) for pod, (first, last) in sights.holdings.get(pk, {}).items()},
        )
        for pk in sorted(whole)
    ]
    wishes = placements_wish(
        cards,
        tenants=tenants_of(sights, roster=roster, facts=facts),
        has_requests=any(pod.accelerators > 0 for pod in facts.pods.values()),
    )
    return placements_record(wishes, cards=[card.pk for card in cards], start=moment(span.start), end=moment(span.end), live=live)


def tenants_of(sights: Sights, *, roster: Roster, facts: Facts) -> list[Tenant]:
    nodes = dict(Replica.objects.filter(pk__in=sights.replicas).values_list("pk", "node"))
    pods = {row.pk: (row.cluster, row.namespace, row.name) for row in roster.replicas}
    serving = {pod for pod in pods.values() if any(roster.replicas[row].serving for row in roster.pod_rows(pod))}
    tenants = {}
    for row in roster.replicas:
        pod = pods[row.pk]
        if row.pk not in sights.replicas or (pod in serving and not row.serving):
            continue
        known = facts.pods.get((row.namespace, row.name))
        first, last = sights.replicas[row.pk]
        tenants[row.pk] = Tenant(
            pk=row.pk,
            deployment=row.deployment,
            pod=pod,
            node=nodes.get(row.pk),
            seen=(moment(first), moment(last)),
            requested=known.accelerators if known else 0.0,
        )
    return list(tenants.values())


def holders_retire(deployments: Iterable[int]) -> int:
    """A workload first known as a mere holder of GPUs, whose serving metrics then came, becomes part of what it serves."""
    serving = Deployment.objects.filter(pk__in=list(deployments), workload_kind=WorkloadKind.SERVING).exclude(model_name="")
    changed = 0
    for one in serving:
        holders = Deployment.objects.filter(
            cluster=one.cluster_id, namespace=one.namespace, workload=one.workload, model_name="", state=DeploymentState.ACTIVE
        ).exclude(workload_kind=WorkloadKind.SERVING)
        changed += holders.update(state=DeploymentState.MERGED, merged_into=one)
    return changed


def versions_refresh(roster: Roster, *, facts: Facts, at: datetime) -> int:
    """Pods that kept their name through a roll-out (StatefulSets) tell another image: their label sets move on."""
    changed = 0
    for system, stale in roster.stale_versions(facts):
        changed += roster.learn(system, stale, facts=facts, at=at)
    if changed:
        newest = {row.pk: roster.slots[row.slot][1] for row in roster.replicas}
        rows = [Replica(pk=pk, version_id=version) for pk, version in newest.items() if version]
        Replica.objects.bulk_update(rows, ["version"], batch_size=500)
    return changed


def pods_note(roster: Roster, *, facts: Facts) -> None:
    """Keep the pod's id with its replicas: an agent tells processes by it."""
    uids = {
        row.pk: pod.uid[:36]
        for row in roster.replicas
        if row.cluster == facts.cluster and (pod := facts.pods.get((row.namespace, row.name))) is not None and pod.uid
    }
    changed = [row for row in Replica.objects.filter(pk__in=uids).only("pk", "pod_uid") if row.pod_uid != uids[row.pk]]
    for row in changed:
        row.pod_uid = uids[row.pk]
    Replica.objects.bulk_update(changed, ["pod_uid"], batch_size=1000)


def upkeep(gathered: Gathered, *, laid: Laid, facts: Facts, names: Collection[str], live: bool) -> Sights:
    """Bring the inventory up to what a span showed."""
    at, roster = moment(gathered.span.end), laid.roster
    sights = sights_of(gathered, laid=laid, facts=facts)
    holders_learn(sights, roster=roster, facts=facts, at=at)
    sights_record(sights)
    holders_retire(sights.deployments)
    pods_note(roster, facts=facts)
    placements_update(sights, roster=roster, facts=facts, span=gathered.span, live=live)
    deploy_events_record(sights.deployments)
    if live:
        seen_metrics_record(roster.source, names=names, now=at)
        systems_record(laid, names=names, facts=facts)
    return sights


def scale_update(deployments: Iterable[int], *, start: datetime, end: datetime) -> int:
    """Scale events from the stored replica counts of a stretch."""
    ids = sorted(deployments)
    points = max(2, round((end - start).total_seconds() / 60))
    lines = lines_load_many(Entity.DEPLOYMENT, ids, ["replicas_ready"], start=start, end=end, points=points)
    made = 0
    for pk, found in lines.items():
        line = found.columns.get("replicas_ready")
        if line is not None:
            made += scale_events_record(pk, times=line.times, counts=line.mean)
    return made


def catalogue_names(systems: Iterable[System]) -> dict[str, System]:
    """Every metric name the catalogue asks of these systems."""
    return {name: system for system in systems for series in system.series for name in (*system.detect, *wire_names(series), *series.other)}


def systems_record(laid: Laid, *, names: Collection[str], facts: Facts) -> None:
    """Which serving system, and which release of it, a deployment runs: by image tag, else by the era of the names."""
    told: dict[int, tuple[str, str]] = {}
    for block in serving_blocks(laid):
        era = era_of(block.system, names=names)
        for row in np.unique(block.replicas[block.replicas >= 0]).tolist():
            one = laid.roster.replicas[row]
            tag = pod_version(facts.pods.get((one.namespace, one.name)), "")
            told.setdefault(one.deployment, (block.system.slug, (tag or era)[:60]))
    known = {
        pk: (slug, version) for pk, slug, version in Deployment.objects.filter(pk__in=told).values_list("pk", "system", "system_version")
    }
    groups: dict[tuple[str, str], list[int]] = {}
    for pk, found in told.items():
        if known.get(pk) != found:
            groups.setdefault(found, []).append(pk)
    for (slug, version), ids in groups.items():
        Deployment.objects.filter(pk__in=ids).update(system=slug, system_version=version)


def era_of(system: System, *, names: Collection[str]) -> str:
    return next((words for name, words in system.eras if name in names), "")


def seen_metrics_record(source: Source, *, names: Collection[str], now: datetime) -> None:
    """Remember, at most once an hour, which names of the catalogue the source has."""
    present = [
        SeenMetric(source=source, system=system.slug, name=name, first_seen_at=now, last_seen_at=now)
        for name, system in catalogue_names(SYSTEMS.values()).items()
        if name in names
    ]
    stale = SeenMetric.objects.filter(source=source, last_seen_at__gt=now - timedelta(hours=1)).exists()
    if not stale:
        SeenMetric.objects.bulk_create(
            present, update_conflicts=True, unique_fields=["source", "name"], update_fields=["last_seen_at", "system"], batch_size=1000
        )


def source_facts(client: Prometheus, *, source: Source, names: Collection[str], at: float, window_seconds: int) -> Facts:
    """Kubernetes facts, with the nodes known already as names of themselves."""
    facts = facts_load(client, cluster=source.cluster.name, names=names, at=at, window_seconds=window_seconds)
    known = {name: name for name in Node.objects.filter(cluster__name=source.cluster.name).values_list("name", flat=True)}
    return replace(facts, hosts={**known, **facts.hosts})


def span_understand(
    gathered: Gathered, *, client: Prometheus, roster: Roster, names: Collection[str], full: bool, live: bool = True
) -> tuple[Laid, Facts, int]:
    """Answers laid on rows; facts are asked for only where label sets are new or `full` wants them. Also how many were new."""
    span, source = gathered.span, roster.source
    fresh = unknown_sets(gathered, roster=roster)
    facts = Facts(cluster=source.cluster.name)
    if fresh or full:
        window = round(FACTS_SECONDS + span.end - span.start)
        facts = source_facts(client, source=source, names=names, at=span.end, window_seconds=window)
        at = moment(span.end)
        for system, label_sets in fresh:
            roster.learn(system, label_sets, facts=facts, at=at)
        if live:  # the label sets speak for today: a look at the past must not move them back
            versions_refresh(roster, facts=facts, at=at)
    return span_lay(gathered, roster=roster, facts=facts), facts, len(fresh)


def inventory_discover(source: Source, *, now: datetime) -> int:
    """Look at the last minutes of a source without storing a number. Returns how many deployments it shows."""
    client = client_of(source)
    step = float(source.step_seconds)
    end = now.timestamp() // step * step
    start = end - LOOK_SECONDS // step * step
    names = client.names(start=start, end=end)
    systems = systems_present(names)
    span = Span(start, end, step, windows={system.slug: max(step, LOOK_SECONDS / 2) for system in systems})
    asks = [ask for ask in asks_of(systems, names=names, rollup=False) if ask.series.required]
    gathered = span_gather(client, asks=asks, names=names, span=span)
    roster = roster_load(source, systems=systems, since=now - timedelta(days=ROSTER_DAYS))
    laid, facts, _ = span_understand(gathered, client=client, roster=roster, names=names, full=True)
    sights = upkeep(gathered, laid=laid, facts=facts, names=names, live=True)
    Source.objects.filter(pk=source.pk).update(discovered_at=now)
    return len(sights.deployments)

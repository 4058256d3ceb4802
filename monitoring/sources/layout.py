"""Answers laid on rows: label sets through the roster to blocks, blocks to the rows and histograms of the store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from monitoring.catalog.columns import COLUMNS
from monitoring.catalog.records import Entity, Fold, Kind, Series, System
from monitoring.models import Accelerator, Node
from monitoring.prometheus import Matrix, Over, Part
from monitoring.prometheus.buckets import round_bound
from monitoring.sources.assemble import (
    Block,
    Floats,
    Ints,
    Table,
    alive_counts,
    buckets_assemble,
    column_merge,
    replicas_alive,
    table_fill,
)
from monitoring.sources.gather import Ask, Gathered, LabelSet
from monitoring.sources.identity import Facts
from monitoring.sources.roster import Place, Roster
from monitoring.store.records import Histograms, RollupRows, Rows

AGENT = "agent"  # the provider of what an agent sends
AGENT_LIVES = timedelta(minutes=3)  # without a word for so long it is away, and others take over
OWN = "headroom"  # the provider of what we count ourselves
SHARED = Fold.SUM  # columns that add up are split between the deployments of a pod, others are not
PLACED = (Entity.ACCELERATOR, Entity.NODE)


def is_joined(system: System) -> bool:
    """cAdvisor and kube-state-metrics speak of pods, not of models: they join what serving systems made known."""
    return system.kind != "serving" and system.entity is Entity.DEPLOYMENT


def unknown_sets(gathered: Gathered, *, roster: Roster) -> list[tuple[System, list[LabelSet]]]:
    """The label sets of this span, with a value, that nobody saw before."""
    unknown: dict[str, tuple[System, dict[LabelSet, None]]] = {}
    for ask, matrix in gathered.answers:
        if is_joined(ask.system) or ask.series.server_wide:
            continue
        fresh = unknown.setdefault(ask.system.slug, (ask.system, {}))[1]
        for row, key in enumerate(gathered.keys_of(ask, matrix)):
            if (ask.system.slug, key) not in roster.places and key not in fresh and np.isfinite(matrix.values[row]).any():
                fresh[key] = None
    return [(system, list(fresh)) for system, fresh in unknown.values() if fresh]


def places_of(ask: Ask, matrix: Matrix, *, keys: Sequence[LabelSet], roster: Roster, facts: Facts) -> list[tuple[int, Place]]:
    """(row of the answer, where it goes); a row may go to several deployments of one pod, or nowhere."""
    out = []
    series, system = ask.series, ask.system
    shared = is_shared(series)
    if not is_joined(system) and not series.server_wide:
        known = (roster.places.get((system.slug, key)) for key in keys)
        return [(row, place) for row, place in enumerate(known) if place is not None]
    for row, (labels, key) in enumerate(zip(matrix.labels, keys, strict=True)):
        if is_joined(system):
            out += [(row, place) for place in roster.pod_places(labels, system=system, labels_key=key, shared=shared, facts=facts)]
        else:
            out += [(row, place) for place in roster.target_places(labels, system=system, labels_key=key)]
    return out


def is_shared(series: Series) -> bool:
    return next((column.fold is SHARED for column in COLUMNS[Entity.DEPLOYMENT] if column.name == series.target), False)


def block_of(ask: Ask, matrix: Matrix, *, keys: Sequence[LabelSet], roster: Roster, facts: Facts) -> Block:
    placed = places_of(ask, matrix, keys=keys, roster=roster, facts=facts)
    rows = np.array([row for row, _ in placed], dtype=np.int64)
    is_buckets = ask.series.kind is Kind.HISTOGRAM and ask.part is Part.BUCKETS
    scale = 1.0 if is_buckets else ask.series.scale
    values = matrix.values[rows] * scale
    for at, (_, place) in enumerate(placed):
        if place.weight is not None:
            values[at] *= place.weight
    bounds = None
    if is_buckets:
        bounds = np.array([round_bound(float(matrix.labels[row]["le"]) * ask.series.scale) for row in rows])
    return Block(
        system=ask.system,
        series=ask.series,
        values=values,
        slots=np.array([place.slot for _, place in placed], dtype=np.int64),
        keys=np.array([place.key for _, place in placed], dtype=np.int64),
        replicas=np.array([place.replica for _, place in placed], dtype=np.int64),
        bounds=bounds,
        is_sum=ask.series.kind is Kind.HISTOGRAM and ask.part is Part.SUM,
    )


@dataclass
class Laid:
    """The blocks of a span by what was asked of each step, and the roster they are numbered by."""

    times: Floats
    step: float
    roster: Roster
    blocks: dict[Over, list[Block]] = field(default_factory=dict)

    def of(self, entity: Entity, over: Over) -> list[Block]:
        """The blocks that feed an entity; for MIN and MAX what has no such answer stands in with its mean."""
        own = [b for b in self.blocks.get(over, ()) if b.system.entity is entity]
        if over in (Over.MIN, Over.MAX):
            own += [b for b in self.of(entity, Over.AVG) if b.series.kind is not Kind.GAUGE]
        return own

    @property
    def main(self) -> Over:
        return Over.AVG if Over.AVG in self.blocks else Over.NOW


def span_lay(gathered: Gathered, *, roster: Roster, facts: Facts) -> Laid:
    """Serving series first: pods of the infrastructure are joined to the replicas they make known."""
    laid = Laid(gathered.span.times, gathered.span.step, roster)
    for joined in (False, True):
        for ask, matrix in gathered.answers:
            if is_joined(ask.system) is joined:
                keys = gathered.keys_of(ask, matrix)
                laid.blocks.setdefault(ask.over, []).append(block_of(ask, matrix, keys=keys, roster=roster, facts=facts))
        roster.alive = replicas_alive(serving_blocks(laid), rows=len(roster.replicas), steps=len(laid.times)) > 0
    return laid


def serving_blocks(laid: Laid) -> list[Block]:
    return [b for b in laid.of(Entity.DEPLOYMENT, laid.main) if b.system.kind == "serving"]


def agents_first(table: Table, *, entity: Entity, times: Floats, now: datetime) -> None:
    """While an agent lives, nobody else writes the columns it fills, from its first day on; what lies before is free."""
    model, agent = (Accelerator, "node__agent") if entity is Entity.ACCELERATOR else (Node, "agent")
    live = {f"{agent}__last_seen_at__gte": now - AGENT_LIVES, "pk__in": table.owners.tolist()}
    rows = model._default_manager.filter(**live).values_list("pk", "providers", f"{agent}__first_seen_at")
    for pk, providers, first in rows:
        for name in [name for name, slug in providers.items() if slug == AGENT and name in table.columns]:
            table.columns[name][np.ix_(table.owners == pk, times > first.timestamp())] = np.nan
            table.providers.get(name, {}).pop(pk, None)


def entity_table(laid: Laid, *, entity: Entity, over: Over, now: datetime) -> Table:
    """All columns of one kind of entity, for slots, accelerators or nodes."""
    known = {column.name: column for column in COLUMNS[entity]}
    steps = len(laid.times)
    if entity is Entity.DEPLOYMENT:
        owners = laid.roster.owners
        table = Table(owners)
        table_fill(table, blocks=laid.of(entity, over), steps=steps, known=known)
        alive = alive_counts(serving_blocks(laid), slots_of=laid.roster.slots_of_replicas, size=len(owners), steps=steps)
        column_merge(table, name="replicas_ready", values=alive, slug=OWN)
        return table
    owners = np.array(laid.roster.entities[entity], dtype=np.int64)
    table = Table(owners)
    # Pods that share a GPU, and re-exports, repeat the value of the device: the greatest, never the sum.
    table_fill(table, blocks=laid.of(entity, over), steps=steps, known=known, fold=Fold.MAX)
    agents_first(table, entity=entity, times=laid.times, now=now)
    return table


def replica_table(laid: Laid, *, over: Over) -> Table:
    """Replicas of deployments that have more than one: enough to see skew."""
    pks, codes = np.unique(np.array([row.pk for row in laid.roster.replicas], dtype=np.int64), return_inverse=True)
    many = skewable(laid)
    known = {column.name: column for column in COLUMNS[Entity.REPLICA]}
    blocks = []
    for block in laid.of(Entity.DEPLOYMENT, over):
        inside = (block.replicas >= 0) & many[block.replicas]
        if inside.any() and block.series.target in known:
            slots = codes[block.replicas[inside]]
            blocks.append(Block(block.system, block.series, block.values[inside], slots, block.keys[inside], block.replicas[inside]))
    table = Table(pks)
    table_fill(table, blocks=blocks, steps=len(laid.times), known=known)
    return table


def skewable(laid: Laid) -> Ints:
    """(replica rows,) True for replicas of a deployment that had two or more in this span."""
    rows = laid.roster.replicas
    alive: dict[int, set[int]] = {}
    for block in serving_blocks(laid):
        for row in np.unique(block.replicas[(block.replicas >= 0) & np.isfinite(block.values).any(axis=1)]).tolist():
            alive.setdefault(rows[row].deployment, set()).add(rows[row].pk)
    return np.array([len(alive.get(row.deployment, ())) > 1 for row in rows] or [False], dtype=bool)


# To the store


def spread(ids: Ints, *, times: Floats) -> tuple[Ints, Floats]:
    """Row keys of a (size, m) table, row by row."""
    return np.repeat(ids, len(times)), np.tile(times, len(ids))


def table_rows(table: Table, *, entity: Entity, laid: Laid) -> Rows:
    ids, times = spread(table.owners, times=laid.times)
    return Rows(entity, ids, times, {name: values.ravel() for name, values in table.columns.items()}, versions_of(entity, laid))


def versions_of(entity: Entity, laid: Laid) -> Ints | None:
    if entity is not Entity.DEPLOYMENT:
        return None
    return np.repeat(np.array([version for _, version in laid.roster.slots], dtype=np.int64), len(laid.times))


def table_rollups(tables: Mapping[Over, Table], *, entity: Entity, laid: Laid, samples: int) -> RollupRows:
    """Five-minute rows from the mean, least and greatest; `samples` raw rows stand behind each."""
    mean = tables[Over.AVG]
    ids, times = spread(mean.owners, times=laid.times)
    counts, sums, lows, highs = {}, {}, {}, {}
    for name, values in mean.columns.items():
        flat = values.ravel()
        low, high = (tables[over].columns.get(name, values).ravel() for over in (Over.MIN, Over.MAX))
        counts[name] = np.where(np.isfinite(flat), float(samples), 0.0)
        sums[name] = flat * samples
        lows[name] = np.fmin(low, flat)
        highs[name] = np.fmax(high, flat)
    return RollupRows(entity, ids, times, counts, sums, lows, highs, versions_of(entity, laid))


def histograms_of(laid: Laid) -> list[Histograms]:
    """Latency rows of all slots; an instant without a finished request has no row."""
    out = []
    slots = np.array(laid.roster.slots, dtype=np.int64).reshape(-1, 2)
    blocks = laid.of(Entity.DEPLOYMENT, laid.main)
    for one in buckets_assemble(blocks, owners=laid.roster.owners, step_seconds=laid.step):
        total = one.counts.sum(axis=2)
        at, step = np.nonzero(np.isfinite(total) & (total > 0))
        if len(at):
            ids = slots[one.slots[at]]
            out.append(
                Histograms(one.latency, ids[:, 0], ids[:, 1], laid.times[step], one.bounds, one.counts[at, step], one.sums[at, step])
            )
    return out

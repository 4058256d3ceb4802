"""A stretch of time of the whole demo fleet as rows for the store: raw, or five-minute rows with least and greatest."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from capacity.demo.fleet import HOSTS, SERVICES
from capacity.demo.histograms import LAYOUTS, counts_make
from capacity.demo.inventory import Ids
from capacity.demo.machines import Copy, cards, cards_columns, copies_columns, host_columns, host_seen
from capacity.demo.noise import Floats, uniform
from capacity.demo.records import Service, Spread
from capacity.demo.signals import Flow, columns_make, columns_share, flow_cut, flow_make, latency_make, lognormal_mean, release_weights
from monitoring.catalog.records import Entity, Latency
from monitoring.ingest import Histograms, RollupRows, Rows, Written, histograms_ingest, rollups_ingest, rows_ingest

RAW_STEP, ROLLUP_STEP = 60.0, 300.0
SAMPLES_IN_FIVE_MINUTES = ROLLUP_STEP / RAW_STEP


@dataclass(frozen=True)
class Part:
    """Rows of one entity of the fleet."""

    entity: Entity
    pk: int
    times: Floats
    columns: dict[str, Floats]
    version: int = 0


@dataclass(frozen=True)
class Stretch:
    """One run of equal steps, (start, end] in Unix seconds on the step's grid."""

    start: float
    end: float
    step: float
    anchor: float

    @property
    def times(self) -> Floats:
        return np.arange(self.start + self.step, self.end + self.step / 2, self.step)


def stretch_write(stretch: Stretch, ids: Ids, *, now: datetime) -> Written:
    """Make and store everything of the stretch; the same stretch twice changes nothing."""
    times = stretch.times
    written = Written()
    if not times.size:
        return written
    flows = {service.name: flow_make(service, times, step=stretch.step, anchor=stretch.anchor) for service in SERVICES}
    columns = {service.name: columns_make(service, flows[service.name]) for service in SERVICES}
    for parts in (
        list(deployment_parts(flows, columns, ids, stretch)),
        list(accelerator_parts(flows, ids, stretch)),
        *machine_parts(flows, columns, ids, stretch),
    ):
        written = written + parts_write(parts, stretch, now=now)
    for histograms in histogram_parts(flows, ids, stretch):
        table = "sample" if stretch.step == RAW_STEP else "5m"
        written = written + histograms_ingest(histograms, table=table, now=now)
    return written


def deployment_parts(flows: dict[str, Flow], columns: dict[str, dict[str, Floats]], ids: Ids, stretch: Stretch) -> Iterator[Part]:
    for service in SERVICES:
        for release, weight in release_weights(service, stretch.times, step=stretch.step, anchor=stretch.anchor):
            keep = weight > 0
            if keep.any():
                part = columns_share(columns[service.name], weight, keep=keep)
                version = ids.versions[service.name, release.name]
                yield Part(Entity.DEPLOYMENT, ids.deployments[service.name], stretch.times[keep], part, version)


def accelerator_parts(flows: dict[str, Flow], ids: Ids, stretch: Stretch) -> Iterator[Part]:
    made = cards_columns(flows, stretch.times, step=stretch.step, anchor=stretch.anchor)
    for card in cards():
        yield Part(Entity.ACCELERATOR, ids.accelerators[card.uuid], stretch.times, made[card.key])


def machine_parts(
    flows: dict[str, Flow], columns: dict[str, dict[str, Floats]], ids: Ids, stretch: Stretch
) -> tuple[list[Part], list[Part]]:
    """Hosts, and replicas where the rows are raw: five-minute history is kept for whole deployments only."""
    times = stretch.times
    on_host: dict[str, list[tuple[Copy, dict[str, Floats]]]] = {host.name: [] for host in HOSTS}
    replicas = []
    for copy, runs, part in copies_columns(flows, columns, times, step=stretch.step, anchor=stretch.anchor):
        on_host[copy.host.name].append((copy, part))
        seen = runs & host_seen(copy.host, times, stretch.anchor)
        if stretch.step == RAW_STEP and seen.any():
            kept = {name: values[seen] for name, values in part.items()}
            replicas.append(Part(Entity.REPLICA, ids.replicas[copy.name], times[seen], kept))
    nodes = []
    for host in HOSTS:
        seen = host_seen(host, times, stretch.anchor)
        made = host_columns(host, on_host[host.name], times, step=stretch.step)
        nodes.append(Part(Entity.NODE, ids.nodes[host.name], times[seen], {name: values[seen] for name, values in made.items()}))
    return nodes, replicas


def parts_write(parts: list[Part], stretch: Stretch, *, now: datetime) -> Written:
    """All parts of one entity in one batch, columns that a part lacks as gaps."""
    if not parts:
        return Written()
    entity = parts[0].entity
    names = sorted({name for part in parts for name in part.columns})
    ids = np.concatenate([np.full(part.times.size, part.pk, dtype=np.int64) for part in parts])
    times = np.concatenate([part.times for part in parts])
    versions = np.concatenate([np.full(part.times.size, part.version, dtype=np.int64) for part in parts])
    values = {
        name: np.concatenate([part.columns.get(name, np.full(part.times.size, np.nan)) for part in parts]).astype(np.float64)
        for name in names
    }
    own = versions if entity is Entity.DEPLOYMENT else None
    if stretch.step == RAW_STEP:
        return rows_ingest(Rows(entity, ids, times, values, own), overwrite=True, now=now)
    return rollups_ingest(rollup_rows(entity, ids, times, values, own), now=now)


def rollup_rows(entity: Entity, ids: np.ndarray, times: Floats, values: dict[str, Floats], versions: np.ndarray | None) -> RollupRows:
    """Five samples a row; least and greatest lie a few percent around the mean, for ratios never past the whole."""
    draw = 0.02 + 0.03 * uniform(500, np.round(times).astype(np.int64) + ids * 1_000_003)
    level = {name: name in STEADY for name in values}
    lows = {name: part if level[name] else part * (1.0 - draw) for name, part in values.items()}
    highs = {name: part if level[name] else high_of(name, part, draw) for name, part in values.items()}
    counts = {name: np.where(np.isfinite(part), SAMPLES_IN_FIVE_MINUTES, 0.0) for name, part in values.items()}
    sums = {name: part * SAMPLES_IN_FIVE_MINUTES for name, part in values.items()}
    return RollupRows(entity, ids, times, counts, sums, lows, highs, versions)


STEADY = frozenset(
    (
        *("replicas_ready", "replicas_desired", "cpu_requested_cores", "memory_requested_bytes", "gpu_memory_total_bytes"),
        *("power_limit_watts", "cpu_cores", "memory_total_bytes", "disk_total_bytes", "disk_used_bytes"),
    )
)


def high_of(name: str, part: Floats, draw: Floats) -> Floats:
    high = part * (1.0 + draw)
    return np.maximum(part, np.minimum(high, 1.0)) if name.endswith("_ratio") else high


def histogram_parts(flows: dict[str, Flow], ids: Ids, stretch: Stretch) -> Iterator[Histograms]:
    """One batch for each kind of latency and layout."""
    groups: dict[tuple[Latency, str], list[tuple[Service, Spread]]] = {}
    for service in SERVICES:
        for spread in () if service.mean_only else service.spreads:
            groups.setdefault((spread.latency, spread.layout), []).append((service, spread))
    for (latency, layout), members in groups.items():
        parts = [part for service, spread in members for part in histogram_rows(service, spread, flows[service.name], ids, stretch)]
        if parts:
            own, versions, times, counts, sums = (np.concatenate(column) for column in zip(*parts, strict=True))
            yield Histograms(latency, own, versions, times, LAYOUTS[layout], counts, sums)


Row = tuple[np.ndarray, np.ndarray, Floats, Floats, Floats]


def histogram_rows(service: Service, spread: Spread, flow: Flow, ids: Ids, stretch: Stretch) -> Iterator[Row]:
    for release, weight in release_weights(service, stretch.times, step=stretch.step, anchor=stretch.anchor):
        cut = flow_cut(flow, weight > 0)
        if not cut.times.size:
            continue
        p50, p95 = (part * release.latency for part in latency_make(service, cut, spread))
        tokens = service.tokens.answer if service.tokens and spread.latency is Latency.TIME_PER_OUTPUT_TOKEN else 1.0
        requests = cut.requests * (1.0 - cut.error_ratio) * weight[weight > 0] * stretch.step * tokens
        stream = service.stream + int(spread.latency)
        counts = counts_make(p50, p95, requests=requests, bounds=LAYOUTS[spread.layout], stream=stream, times=cut.times)
        full = counts.sum(axis=1) > 0
        times = cut.times[full]
        sums = counts[full].sum(axis=1) * lognormal_mean(p50, p95)[full]
        version = ids.versions[service.name, release.name]
        own = np.full(times.size, ids.deployments[service.name], dtype=np.int64)
        yield own, np.full(times.size, version, dtype=np.int64), times, counts[full], sums

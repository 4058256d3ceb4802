"""Server time and query count of the Fleet and Deployment pages as the fleet grows."""

import gc
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import get_resolver, reverse

from bench.timing import Timing, progress, timed
from capacity.analysis.status import status_update
from monitoring.catalog.records import Entity, Latency
from monitoring.models import Accelerator, Cluster, Deployment, Node, Placement, PlacementMethod, Replica, Slo, Source, Team, User
from monitoring.rollups import rollups_fill
from monitoring.store import Histograms, RollupRows, Rows, histograms_write, rollups_write, rows_write
from monitoring.store.watermarks import RECENT
from tests.telemetry import store_clear

LIMIT_MS = 200.0
RUNS = 25
BOUNDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
MEASURED = {
    "requests_per_second": 40.0,
    "errors_per_second": 0.1,
    "input_tokens_per_second": 9000.0,
    "output_tokens_per_second": 3000.0,
    "requests_running": 30.0,
    "requests_waiting": 2.0,
    "kv_cache_usage_ratio": 0.6,
    "replicas_ready": 2.0,
}
KINDS = (Latency.REQUEST_DURATION, Latency.TIME_TO_FIRST_TOKEN)


@dataclass(frozen=True)
class PageTime:
    page: str
    deployments: int
    timing: Timing
    queries: int
    kilobytes: float


def fleet_grow(to: int, *, now: datetime, seed: int) -> None:
    """More deployments of a believable install: one team in twenty, two replicas on accelerators each, a day of history."""
    cluster, _ = Cluster.objects.get_or_create(name="bench")
    teams = [Team.objects.get_or_create(name=f"Team {number}", slug=f"team-{number}")[0] for number in range(20)]
    Source.objects.get_or_create(name="bench", defaults={"url": "http://127.0.0.1:9090", "cluster": cluster, "enabled": False})
    have = Deployment.objects.count()
    fresh = Deployment.objects.bulk_create(
        Deployment(
            cluster=cluster,
            namespace=f"ns-{number % 40}",
            workload=f"model-{number:04d}",
            model_name=f"model-{number:04d}",
            name=f"model-{number:04d}",
            team=teams[number % 20],
            system="vllm",
            last_seen_at=now,
        )
        for number in range(have, to)
    )
    Slo.objects.bulk_create(Slo(deployment=row, latency=Latency.REQUEST_DURATION, threshold_seconds=2.0) for row in fresh)
    hardware_grow(cluster, fresh, now=now)
    telemetry_grow(np.array([row.pk for row in fresh]), now=now, seed=seed)
    while "more to do" in rollups_fill(now=now):
        pass
    status_update(now=now)


def hardware_grow(cluster: Cluster, deployments: list[Deployment], *, now: datetime) -> None:
    nodes = Node.objects.bulk_create(Node(cluster=cluster, name=f"node-{row.pk}") for row in deployments[::4])
    cards = Accelerator.objects.bulk_create(
        Accelerator(cluster=cluster, node=nodes[place // 4], uuid=f"GPU-{row.pk}-{place}", model_name="H200")
        for place, row in enumerate(deployments)
    )
    replicas = Replica.objects.bulk_create(
        Replica(deployment=row, node=nodes[place // 4], name=f"{row.name}-0", last_seen_at=now) for place, row in enumerate(deployments)
    )
    Placement.objects.bulk_create(
        Placement(replica=replica, accelerator=card, method=PlacementMethod.POD_LABEL, valid_from=now - timedelta(days=1))
        for replica, card in zip(replicas, cards, strict=True)
    )
    numbers = np.array([card.pk for card in cards])
    columns = {"gpu_utilization_ratio": 0.5, "power_watts": 400.0, "gpu_memory_used_bytes": 6e10, "gpu_memory_total_bytes": 8e10}
    history_write(Entity.ACCELERATOR, numbers, columns, now=now, rng=np.random.default_rng(1))


def telemetry_grow(numbers: np.ndarray, *, now: datetime, seed: int) -> None:
    rng = np.random.default_rng(seed)
    history_write(Entity.DEPLOYMENT, numbers, MEASURED, now=now, rng=rng)
    for level, times in (("5m", ends(now, 300, 288)), ("sample", ends(now, 60, 20))):
        ids = np.repeat(numbers, len(times))
        for kind in KINDS:
            counts = rng.poisson(20, (len(ids), len(BOUNDS) + 1)).astype(np.float64)
            sums = counts.sum(axis=1) * 0.8
            histograms_write(Histograms(kind, ids, np.zeros_like(ids), np.tile(times, len(numbers)), BOUNDS, counts, sums), table=level)


def history_write(entity: Entity, numbers: np.ndarray, means: dict[str, float], *, now: datetime, rng: np.random.Generator) -> None:
    """A day of five-minute rows and the last twenty minutes raw."""
    times = ends(now, 300, 288)
    ids = np.repeat(numbers, len(times))
    versions = np.zeros_like(ids) if entity == Entity.DEPLOYMENT else None
    values = {name: mean * rng.uniform(0.7, 1.3, len(ids)) for name, mean in means.items()}
    counts = {name: np.full(len(ids), 5.0) for name in means}
    sums = {name: 5 * value for name, value in values.items()}
    rollups_write(RollupRows(entity, ids, np.tile(times, len(numbers)), counts, sums, values, values, versions))
    times = ends(now, 60, 20)
    ids = np.repeat(numbers, len(times))
    versions = np.zeros_like(ids) if entity == Entity.DEPLOYMENT else None
    raw = {name: mean * rng.uniform(0.7, 1.3, len(ids)) for name, mean in means.items()}
    rows_write(Rows(entity, ids, np.tile(times, len(numbers)), raw, versions), overwrite=True)


def ends(now: datetime, step: int, size: int) -> np.ndarray:
    last = now.timestamp() // step * step
    return last - step * np.arange(size, dtype=np.float64)[::-1]


def pages_measure(client: Client, deployments: int) -> list[PageTime]:
    middle = Deployment.objects.order_by("pk")[deployments // 2]
    addresses = {"Fleet": reverse("fleet"), "Deployment": reverse("deployment", args=[middle.pk])}
    return [page_measure(client, page, address, deployments) for page, address in addresses.items()]


def page_measure(client: Client, page: str, address: str, deployments: int) -> PageTime:
    def get() -> bytes:
        reply = client.get(address)
        if reply.status_code != 200:
            raise RuntimeError(f"{address} answered {reply.status_code} {reply.headers.get('Location', '')}")
        return bytes(reply.content)

    size = len(get())
    RECENT.forget()  # else, some seconds after the last look, the query for the watermarks would come or not
    with CaptureQueriesContext(connection) as captured:
        get()
        queries = len(captured)  # the next request forgets them
    (timing,) = timed(get, runs=RUNS)
    return PageTime(page, deployments, timing, queries, size / 1000)


def pages_run(*, now: datetime, seed: int, sizes: tuple[int, ...] = (100, 1000)) -> list[PageTime]:
    admin = User.objects.create_superuser("bench@example.com", None)
    get_resolver().url_patterns  # noqa: B018 - this and the next as web does at its start, in capacity/config/wsgi.py
    gc.freeze()
    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(admin)
    measured = []
    for size in sizes:
        fleet_grow(size, now=now, seed=seed)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")  # what autovacuum does within a minute
        measured += pages_measure(client, size)
    return measured


def pages_held(measured: list[PageTime]) -> bool:
    """At the largest size every page is quick enough and asks no more queries than at the smallest."""
    smallest, largest = min(row.deployments for row in measured), max(row.deployments for row in measured)
    before = {row.page: row.queries for row in measured if row.deployments == smallest}
    return all(row.timing.p95 <= LIMIT_MS and row.queries <= before[row.page] for row in measured if row.deployments == largest)


def table(seed: int) -> tuple[list[str], bool]:
    progress("pages")
    store_clear()
    measured = pages_run(now=datetime.now(UTC), seed=seed)
    head = ["| page | deployments | median, ms | p95, ms | queries | kB | must |", "| --- | --- | --- | --- | --- | --- | --- |"]
    largest = max(row.deployments for row in measured)
    rows = [
        f"| {row.page} | {row.deployments} | {row.timing.median:.0f} | **{row.timing.p95:.0f}** | {row.queries} | {row.kilobytes:.0f} |"
        f" {f'p95 <= {LIMIT_MS:g} ms, no more queries' if row.deployments == largest else '-'} |"
        for row in measured
    ]
    sentence = f"Server time by Django's test client, signed in as an install admin, {RUNS} runs, a day of history."
    return [sentence, "", *head, *rows, ""], pages_held(measured)

"""A day and a half of a planted fleet in a real Prometheus: test, import, poll; the stored numbers beside direct PromQL."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from django.db import connection

from monitoring.catalog.records import Entity, Latency
from monitoring.models import (
    Accelerator,
    AllowedAddress,
    ChunkState,
    Cluster,
    Deployment,
    Event,
    EventKind,
    ImportRun,
    PlacementMethod,
    RunState,
    SeenMetric,
    Source,
    SourceState,
)
from monitoring.series import latency_totals, lines_load, totals_load
from monitoring.sources import Finding, chunk_run, import_claim, import_start, source_poll, source_test
from monitoring.store.schema import FAMILIES, LEVELS, table_name
from tests.servers.fleet import Truth, fleet_write
from tests.servers.prometheus import PrometheusServer
from tests.telemetry import database_clear

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("history")]
DAYS = 1.5
HOUR = timedelta(hours=1)


@dataclass
class Brought:
    """A source that was tested, imported and polled, and the Prometheus behind it."""

    server: PrometheusServer
    truth: Truth
    source: Source
    finding: Finding
    run: ImportRun
    now: datetime

    def hour(self, hours_ago: float) -> tuple[datetime, datetime]:
        end = datetime.fromtimestamp(self.now.timestamp() // 3600 * 3600, tz=UTC) - hours_ago * HOUR
        return end - HOUR, end

    def deployment(self, model: str) -> Deployment:
        return Deployment.objects.get(cluster=self.source.cluster, model_name=model)


def source_make(server: PrometheusServer, *, name: str = "planted") -> Source:
    AllowedAddress.objects.get_or_create(network="127.0.0.0/8", port=None)
    cluster, _ = Cluster.objects.get_or_create(name=name)
    return Source.objects.create(name=name, url=server.url, cluster=cluster, step_seconds=60)


def import_all(run: ImportRun, *, now: datetime) -> ImportRun:
    while chunk := import_claim(now=now, owner="test"):
        chunk_run(chunk, now=now, owner="test")
    run.refresh_from_db()
    return run


@pytest.fixture(scope="module")
def brought(tmp_path_factory: pytest.TempPathFactory, django_db_setup: None, django_db_blocker: pytest.FixtureRequest) -> Iterator[Brought]:
    folder = tmp_path_factory.mktemp("history")
    end = time.time() // 120 * 120
    truth = fleet_write(folder, end=end, days=DAYS, step=60.0)
    server = PrometheusServer(folder / "prometheus")
    server.backfill(truth.files)
    now = datetime.fromtimestamp(end + 60, tz=UTC)
    with server, django_db_blocker.unblock():  # type: ignore[attr-defined]
        source = source_make(server)
        finding = source_test(source, now=now)
        run = import_all(import_start(source, days=2, user=None, now=now), now=now)
        source_poll(source, now=now + timedelta(minutes=10), owner="test")
        source.refresh_from_db()
        yield Brought(server, truth, source, finding, run, now)
        database_clear()


def test_the_test_says_what_it_found_in_one_sentence(brought: Brought) -> None:
    finding = brought.finding
    assert (finding.ok, finding.state, finding.deployments, finding.accelerators) == (True, SourceState.OK, 4, 4)
    assert finding.text.startswith("2 days of history, 4 deployments, 4 accelerators: vLLM v0.12.0, v0.33.0, Triton")
    assert "Missing: node_exporter" in finding.text and "cAdvisor" in finding.text
    assert finding.history_days == pytest.approx(DAYS, abs=0.1)
    assert (finding.product, finding.version[:2]) == ("Prometheus", "2.")


def test_the_test_measures_the_scrapes_and_recommends_a_step(brought: Brought) -> None:
    assert (brought.finding.scrape_interval_seconds, brought.finding.step_seconds) == (60.0, 60)


def test_the_test_names_what_each_system_lacks_and_what_that_costs(brought: Brought) -> None:
    dcgm = next(one for one in brought.finding.systems if one["slug"] == "dcgm_exporter")
    assert dcgm["entities"] == "4 accelerators" and 0 < dcgm["signals_found"] < dcgm["signals_total"]
    sm_active = next(one for one in dcgm["missing"] if one["label"] == "SM active")
    assert sm_active["asked"] == ["DCGM_FI_PROF_SM_ACTIVE"]
    assert sm_active["costs"] == "a GPU kept busy by tiny kernels looks full"


def test_the_finding_is_kept_with_the_source_and_the_names_are_remembered(brought: Brought) -> None:
    assert brought.source.finding["deployments"] == 4
    assert SeenMetric.objects.filter(source=brought.source, name="vllm:num_requests_running").exists()


def test_it_discovers_each_model_with_its_workload_and_system(brought: Brought) -> None:
    found = {(one.namespace, one.workload, one.model_name, one.system) for one in Deployment.objects.filter(cluster=brought.source.cluster)}
    assert found == {(one.namespace, one.workload, one.model, one.system) for one in brought.truth.deployments}


def test_versions_of_the_past_have_their_first_sight_and_a_deploy_event(brought: Brought) -> None:
    for planted in brought.truth.deployments:
        versions = {one.name: one for one in brought.deployment(planted.model).versions.all()}
        assert versions.keys() == {name for name, _, _ in planted.versions}
        seen = brought.truth.times[brought.truth.scraped]
        for name, first, _ in planted.versions:
            assert versions[name].first_seen_at.timestamp() == pytest.approx(seen[seen >= first][0], abs=400)
    events = Event.objects.filter(kind=EventKind.DEPLOY, deployment__cluster=brought.source.cluster)
    assert sorted(event.detail["version"] for event in events) == ["2", "v0.12.0"]


def test_each_gpu_has_its_pods_one_after_the_other(brought: Brought) -> None:
    gpu = Accelerator.objects.get(uuid="GPU-0")
    assert (gpu.node and gpu.node.name, gpu.model_name[:11]) == ("gpu-1", "NVIDIA H100")
    placements = list(gpu.placements.order_by("valid_from"))
    assert {one.method for one in placements} == {PlacementMethod.POD_LABEL}
    assert all(one.share == 1.0 for one in placements)
    assert placements[-1].valid_to is None
    assert all(one.valid_to and one.valid_to <= two.valid_from for one, two in zip(placements, placements[1:], strict=False))


def test_the_shares_of_a_gpu_never_exceed_one(brought: Brought) -> None:
    for gpu in Accelerator.objects.filter(cluster=brought.source.cluster):
        assert sum(one.share for one in gpu.placements.filter(valid_to=None)) <= 1.0 + 1e-9


def test_the_import_is_done_and_says_how_much_it_brought(brought: Brought) -> None:
    assert (brought.run.state, brought.run.error) == (RunState.DONE, "")
    assert brought.run.samples > 10_000 and brought.run.queries > 100
    assert {chunk.state for chunk in brought.run.chunks.all()} == {ChunkState.STORED}


def promql(brought: Brought, expr: str, *, at: datetime) -> float:
    value = brought.server.value(f"({expr}) @ {at.timestamp():.0f}" if "[" not in expr else expr.replace("]", f"] @ {at.timestamp():.0f}"))
    assert value is not None
    return value


HOURS = (2.0, 5.0, 20.0, 30.0)  # raw and five-minute rows, not the planted gap
RATES = (
    ("requests_per_second", "llama-3.1-8b", 'sum(rate(vllm:request_success_total{model_name="llama-3.1-8b"}[1h]))'),
    ("output_tokens_per_second", "llama-3.1-8b", 'sum(rate(vllm:generation_tokens_total{model_name="llama-3.1-8b"}[1h]))'),
    ("requests_per_second", "resnet50", 'sum(rate({__name__=~"nv_inference_request_(success|failure)",model="resnet50"}[1h]))'),
)


@pytest.mark.parametrize("hours_ago", HOURS)
@pytest.mark.parametrize(("column", "model", "expr"), RATES)
def test_rates_of_an_hour_equal_promql(brought: Brought, column: str, model: str, expr: str, hours_ago: float) -> None:
    start, end = brought.hour(hours_ago)
    deployment = brought.deployment(model)
    (found,) = totals_load(Entity.DEPLOYMENT, [deployment.pk], [column], start=start, end=end).values()
    assert found[column].mean == pytest.approx(promql(brought, expr, at=end), rel=0.01)


@pytest.mark.parametrize("hours_ago", HOURS)
def test_gauges_of_an_hour_equal_promql(brought: Brought, hours_ago: float) -> None:
    start, end = brought.hour(hours_ago)
    gpu = Accelerator.objects.get(uuid="GPU-2")
    (found,) = totals_load(Entity.ACCELERATOR, [gpu.pk], ["power_watts", "gpu_utilization_ratio"], start=start, end=end).values()
    power = promql(brought, 'avg(avg_over_time(DCGM_FI_DEV_POWER_USAGE{UUID="GPU-2"}[1h]))', at=end)
    busy = promql(brought, 'avg(avg_over_time(DCGM_FI_DEV_GPU_UTIL{UUID="GPU-2"}[1h])) / 100', at=end)
    assert found["power_watts"].mean == pytest.approx(power, rel=0.01)
    assert found["gpu_utilization_ratio"].mean == pytest.approx(busy, rel=0.01)


@pytest.mark.parametrize("hours_ago", HOURS)
@pytest.mark.parametrize("quantile", [0.5, 0.95])
def test_percentiles_of_an_hour_equal_promql(brought: Brought, quantile: float, hours_ago: float) -> None:
    start, end = brought.hour(hours_ago)
    deployment = brought.deployment("qwen-coder-7b")
    found = latency_totals([deployment.pk], Latency.REQUEST_DURATION, start=start, end=end)[deployment.pk]
    bucket = 'sum by (le) (rate(vllm:e2e_request_latency_seconds_bucket{model_name="qwen-coder-7b"}[1h]))'
    assert found.quantile(quantile).seconds == pytest.approx(promql(brought, f"histogram_quantile({quantile}, {bucket})", at=end), rel=0.02)


def test_there_is_a_gap_where_nothing_was_scraped_and_only_there(brought: Brought) -> None:
    deployment = brought.deployment("qwen-coder-7b")
    times = brought.truth.times
    start, end = datetime.fromtimestamp(times[0] + 1800, tz=UTC), datetime.fromtimestamp(times[-1] - 1800, tz=UTC)
    line = lines_load(Entity.DEPLOYMENT, deployment.pk, ["requests_running"], start=start, end=end, points=150).columns["requests_running"]
    gap = times[~brought.truth.scraped]
    inside = (line.times > gap[0] + 1800) & (line.times < gap[-1] - 600)
    outside = (line.times < gap[0] - 1800) | (line.times > gap[-1] + 2400)
    assert np.isnan(line.mean[inside]).all() and inside.any()
    assert np.isfinite(line.mean[outside]).all()


def rows_stored() -> dict[str, int]:
    counts = {}
    with connection.cursor() as cursor:
        for family in FAMILIES:
            for level in LEVELS[:2]:
                cursor.execute(f"SELECT count(*), count(DISTINCT time) FROM {table_name(family, level)}")
                counts[table_name(family, level)] = cursor.fetchone()
    return counts


def test_a_chunk_killed_in_the_middle_is_done_again_without_doubles(brought: Brought, monkeypatch: pytest.MonkeyPatch) -> None:
    source = source_make(brought.server, name="killed")
    run = import_start(source, days=1, user=None, now=brought.now)
    chunk = import_claim(now=brought.now, owner="first")
    assert chunk is not None
    before = rows_stored()
    calls = iter(range(100))

    def dies(*args: object, **kwargs: object) -> None:
        if next(calls) == 2:
            raise SystemExit

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr("monitoring.sources.imports.scale_update", dies)
        patch.setattr("monitoring.sources.lease.Lease.renew", lambda lease: dies())
        chunk_run(chunk, now=brought.now, owner="first")
    assert import_claim(now=brought.now + timedelta(seconds=30), owner="second") is None
    later = brought.now + timedelta(minutes=5)
    import_all(run, now=later)
    once = rows_stored()
    run.refresh_from_db()
    assert run.state == RunState.DONE and once != before
    run.chunks.update(state=ChunkState.WAITING, run_after=later)
    ImportRun.objects.filter(pk=run.pk).update(state=RunState.RUNNING)
    import_all(run, now=later)
    assert rows_stored() == once

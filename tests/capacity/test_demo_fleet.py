"""The demo fleet in the store: each planted story is seen through the read door, and nothing stays after removal."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from pytest_django import DjangoDbBlocker

from capacity.analysis.saturation import limit_now, saturation_judge, saturation_of
from capacity.analysis.slo import breach_since, slo_minutes
from capacity.analysis.status import status_update
from capacity.demo import DemoClash, demo_live, demo_load, demo_remove
from capacity.demo.fleet import SERVICES
from capacity.engine.answer import NoAnswer
from capacity.engine.saturation import Limit
from capacity.models import DeploymentStatus, Verdict
from monitoring.catalog.records import Entity, Latency
from monitoring.models import (
    Accelerator,
    AcceleratorProcess,
    Agent,
    Deployment,
    Event,
    FillState,
    Node,
    Placement,
    Slo,
    Source,
    Team,
    Version,
    WorkloadKind,
)
from monitoring.rollups import rollups_fill
from monitoring.series import latency_kinds, latency_totals, latest_load, lines_load, totals_load
from tests.factories import make_cluster, make_deployment, make_team
from tests.telemetry import database_clear

NOW = datetime(2026, 11, 21, 10, 17, 41, tzinfo=UTC)
ANCHOR = datetime(2026, 11, 21, 10, 17, tzinfo=UTC)
DAYS = 13
DAY = timedelta(days=1)


@pytest.fixture(scope="class")
def fleet(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Loaded once for the class, as it takes some seconds; removed at its end."""
    with django_db_blocker.unblock():
        demo_load(now=NOW, days=DAYS)
        yield
        database_clear()


def deployment(name: str) -> Deployment:
    return Deployment.objects.get(name=name, cluster__demo=True)


def mean(name: str, column: str, start: timedelta, end: timedelta = timedelta()) -> float:
    """Of a deployment, between two distances before the anchor."""
    pk = deployment(name).pk
    return totals_load(Entity.DEPLOYMENT, [pk], (column,), start=ANCHOR - start, end=ANCHOR - end)[pk][column].mean


def p95(name: str, kind: Latency, start: timedelta, end: timedelta = timedelta(), *, version: str = "") -> float:
    own = deployment(name)
    versions = [Version.objects.get(deployment=own, name=version).pk] if version else None
    found = latency_totals([own.pk], kind, start=ANCHOR - start, end=ANCHOR - end, versions=versions)
    return found[own.pk].quantile(0.95).seconds


def lost(name: str, start: timedelta, end: timedelta = timedelta()) -> float:
    found = slo_minutes(deployment(name), start=ANCHOR - start, end=ANCHOR - end)
    assert not isinstance(found, NoAnswer)
    return found.lost


def busy(name: str, start: timedelta, end: timedelta = timedelta()) -> float:
    """Engine activity, mean over the accelerators a deployment has now."""
    ids = list(Placement.objects.filter(replica__deployment=deployment(name), valid_to=None).values_list("accelerator_id", flat=True))
    found = totals_load(Entity.ACCELERATOR, ids, ("gr_engine_active_ratio",), start=ANCHOR - start, end=ANCHOR - end)
    return float(np.mean([summary["gr_engine_active_ratio"].mean for summary in found.values()]))


HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


@pytest.mark.django_db
@pytest.mark.usefixtures("fleet")
class TestStories:
    def test_there_are_twelve_deployments_with_owners(self) -> None:
        assert Deployment.objects.filter(cluster__demo=True, team__demo=True).count() == len(SERVICES) == 12

    def test_chat_breaks_its_promise_half_an_hour_after_a_release_that_doubled_the_prompts(self) -> None:
        since = breach_since(Slo.objects.get(deployment__name="chat-70b"), now=ANCHOR)
        assert since is not None and 28 * MINUTE <= ANCHOR - since <= 34 * MINUTE
        before = mean("chat-70b", "input_tokens_per_request", 3 * HOUR, 1 * HOUR)
        after = mean("chat-70b", "input_tokens_per_request", 10 * MINUTE)
        assert after / before == pytest.approx(2.0, rel=0.05)
        assert Event.objects.filter(deployment__name="chat-70b", kind="deploy", at=ANCHOR - 39 * MINUTE).exists()

    def test_chat_is_limited_by_its_kv_cache_and_requests_queue(self) -> None:
        assert mean("chat-70b", "kv_cache_usage_ratio", 10 * MINUTE) > 0.95 > mean("chat-70b", "kv_cache_usage_ratio", 3 * HOUR, HOUR)
        assert mean("chat-70b", "requests_waiting", 10 * MINUTE) > 40
        assert mean("chat-70b", "preemptions_per_second", 10 * MINUTE) > 1
        assert mean("chat-70b", "error_ratio", 10 * MINUTE) == pytest.approx(0.1, abs=0.02)

    def test_whisper_nears_the_memory_rate_of_its_accelerators_and_grows(self) -> None:
        ids = list(Placement.objects.filter(replica__deployment__name="asr-whisper").values_list("accelerator_id", flat=True))
        found = totals_load(Entity.ACCELERATOR, ids, ("dram_active_ratio",), start=ANCHOR - HOUR, end=ANCHOR)
        assert np.mean([summary["dram_active_ratio"].mean for summary in found.values()]) > 0.9
        ratio = mean("asr-whisper", "requests_per_second", DAY) / mean("asr-whisper", "requests_per_second", 8 * DAY, 7 * DAY)
        assert 1.1 < ratio < 1.2
        assert Event.objects.filter(deployment__name="asr-whisper", kind="scale").exists()

    def test_the_recommender_has_days_and_weeks(self) -> None:
        pk = deployment("recsys-ranker").pk
        lines = lines_load(Entity.DEPLOYMENT, pk, ("requests_per_second",), start=ANCHOR - 7 * DAY, end=ANCHOR, points=168)
        values = lines.columns["requests_per_second"].mean
        assert np.nanmax(values) > 2.2 * np.nanmin(values)
        saturday = mean("recsys-ranker", "requests_per_second", timedelta(days=7, hours=10), timedelta(days=6, hours=10))
        tuesday = mean("recsys-ranker", "requests_per_second", timedelta(days=4, hours=10), timedelta(days=3, hours=10))
        assert saturday > 1.15 * tuesday

    def test_the_holiday_sale_broke_the_reranker_until_it_was_scaled(self) -> None:
        sale = 9 * DAY
        assert mean("search-rerank", "requests_per_second", sale, 8 * DAY) > 1.8 * mean(
            "search-rerank", "requests_per_second", 5 * DAY, 4 * DAY
        )
        assert 40 <= lost("search-rerank", sale + HOUR, sale - 3 * HOUR) <= 100
        assert lost("search-rerank", sale - 3 * HOUR) <= 5
        assert mean("search-rerank", "replicas_ready", 8 * DAY, 7 * DAY) == 12
        assert mean("search-rerank", "replicas_ready", DAY) == 6

    def test_both_versions_of_the_code_model_serve_at_once_and_differ(self) -> None:
        old = p95("code-32b", Latency.TIME_TO_FIRST_TOKEN, DAY, version="v1.9")
        new = p95("code-32b", Latency.TIME_TO_FIRST_TOKEN, DAY, version="v2.0")
        assert new < 0.85 * old

    def test_the_embedding_is_far_too_large(self) -> None:
        assert busy("embed-e5", 7 * DAY) < 0.15

    def test_what_limits_each_reads_as_its_story(self) -> None:
        rows = list(Deployment.objects.filter(cluster__demo=True, workload_kind=WorkloadKind.SERVING))
        runs = {run.deployment.name: run for run in saturation_judge(rows, now=NOW)}
        assert len(runs) == 11  # all but the training job
        assert {name for name, run in runs.items() if limit_now(run)} == {"chat-70b"}
        chat = saturation_of(runs["chat-70b"]).now
        assert chat.limit is Limit.KV_CACHE and Limit.COMPUTE in chat.beside
        whisper = saturation_of(runs["asr-whisper"])
        assert whisper.peaks.nothing and whisper.peaks.beside == (Limit.MEMORY_BANDWIDTH,)
        for name in ("embed-e5", "translate-nllb"):
            assert runs[name].sentence.startswith("Upstream, little arrives")
        assert {name for name, run in runs.items() if run.cannot_tell or run.skew_ratio} == set()

    def test_nobody_uses_the_translator(self) -> None:
        assert mean("translate-nllb", "requests_per_second", 3 * HOUR) == 0.0
        assert mean("translate-nllb", "requests_per_second", 7 * DAY) < 0.1

    def test_the_fraud_model_works_longer_for_the_same_request_week_by_week(self) -> None:
        early = mean("fraud-score", "request_duration_mean_seconds", 13 * DAY, 12 * DAY)
        late = mean("fraud-score", "request_duration_mean_seconds", DAY)
        assert late > 1.25 * early
        assert not Slo.objects.filter(deployment__name="fraud-score").exists()
        assert latency_kinds(deployment("fraud-score").pk) == []  # its server gives a mean only

    def test_the_voice_had_an_incident_with_errors(self) -> None:
        event = Event.objects.get(deployment__name="tts-voice", kind="incident")
        assert event.end_at is not None
        found = totals_load(
            Entity.DEPLOYMENT,
            [deployment("tts-voice").pk],
            ("error_ratio", "replicas_ready"),
            start=event.at + 5 * MINUTE,
            end=event.end_at,
        )[deployment("tts-voice").pk]
        assert found["error_ratio"].mean > 0.05
        assert found["replicas_ready"].low == 1

    def test_one_edge_host_is_silent_and_another_had_gaps(self) -> None:
        nodes = {node.name: node.pk for node in Node.objects.filter(cluster__name="demo-edge")}
        newest = latest_load(Entity.NODE, list(nodes.values()), ("cpu_utilization_ratio",), now=ANCHOR)
        assert {name for name, pk in nodes.items() if not newest[pk]} == {"edge-node-07"}
        lines = lines_load(Entity.NODE, nodes["edge-node-06"], ("cpu_utilization_ratio",), start=ANCHOR - 7 * DAY, end=ANCHOR, points=2016)
        assert 5 <= np.isnan(lines.columns["cpu_utilization_ratio"].mean).sum() < 30
        assert (
            latest_load(Entity.DEPLOYMENT, [deployment("vision-qc").pk], ("replicas_ready",), now=ANCHOR)[deployment("vision-qc").pk][
                "replicas_ready"
            ].value
            == 3
        )

    def test_the_training_job_runs_by_night_and_serves_nobody(self) -> None:
        assert deployment("recsys-train").workload_kind == "training"
        night = ANCHOR.replace(hour=1, minute=0)
        assert busy("recsys-train", ANCHOR - night, ANCHOR - night - HOUR) > 0.9
        assert busy("recsys-train", 3 * HOUR) < 0.05

    def test_an_accelerator_works_for_nobody_known(self) -> None:
        stranger = Accelerator.objects.get(node__name="gpu-l40s-01", position=6)
        assert not stranger.placements.exists()
        found = totals_load(Entity.ACCELERATOR, [stranger.pk], ("gr_engine_active_ratio",), start=ANCHOR - DAY, end=ANCHOR)
        assert found[stranger.pk]["gr_engine_active_ratio"].mean > 0.1

    def test_its_agents_are_live_late_and_silent_and_older_gpus_cannot_tell_all(self) -> None:
        now = ANCHOR + 2 * MINUTE
        states = {agent.node.name: agent.state(now=now).value for agent in Agent.objects.filter(node__cluster__demo=True)}
        assert states == {
            "edge-node-05": "live", "edge-node-06": "late", "edge-node-07": "silent", "edge-node-08": "live", "gpu-a10g-01": "live",
        }  # fmt: skip
        old = Agent.objects.get(node__name="gpu-a10g-01")
        assert len(old.capabilities) == 4 and all("nvmlGpmQueryDeviceSupport" in calls for calls in old.capabilities.values())
        names = list(AcceleratorProcess.objects.filter(accelerator__node=old.node).values_list("name", flat=True))
        assert names.count("python3") == 5 and names.count("jupyter-lab") == 1

    def test_readings_were_dropped_exactly_where_the_telemetry_has_its_gaps(self) -> None:
        agent = Agent.objects.get(node__name="edge-node-06")
        gaps = list(agent.gaps.filter(start_at__gt=ANCHOR - 7 * DAY))
        line = lines_load(Entity.NODE, agent.node_id, ("cpu_cores",), start=ANCHOR - 7 * DAY, end=ANCHOR, points=2016).columns["cpu_cores"]
        missing = line.times[np.isnan(line.mean)]
        covered = [any(gap.start_at.timestamp() <= at <= gap.end_at.timestamp() for gap in gaps) for at in missing]
        assert gaps and all(covered)
        assert all(any(gap.start_at.timestamp() <= at <= gap.end_at.timestamp() for at in missing) for gap in gaps)

    def test_the_fleet_looks_as_it_should(self) -> None:
        status_update(now=NOW)
        verdicts = dict(DeploymentStatus.objects.values_list("deployment__name", "verdict"))
        assert [name for name, verdict in verdicts.items() if verdict == Verdict.BREAKS] == ["chat-70b"]
        assert {name for name, verdict in verdicts.items() if verdict == Verdict.WARNING} == {"asr-whisper", "vision-qc"}
        assert [name for name, verdict in verdicts.items() if verdict == Verdict.NO_SLO] == ["fraud-score"]
        assert sum(verdict == Verdict.OK for verdict in verdicts.values()) == 8
        text = DeploymentStatus.objects.get(deployment__name="chat-70b").text
        assert text.startswith("First token p95 ") and "SLO 0.80 s, for 3" in text and "KV cache 9" in text

    def test_loading_again_changes_nothing(self) -> None:
        before = table_counts()
        demo_load(now=NOW, days=DAYS)
        assert table_counts() == before

    def test_it_lives_on_and_catches_up(self) -> None:
        later = NOW + timedelta(minutes=7)
        demo_live(now=later)
        ids = [deployment(service.name).pk for service in SERVICES]
        newest = latest_load(Entity.DEPLOYMENT, ids, ("replicas_ready",), now=later, within_seconds=120)
        assert all(newest[pk]["replicas_ready"].time == (ANCHOR + 7 * MINUTE).timestamp() for pk in ids)
        pk = deployment("code-32b").pk
        lines = lines_load(Entity.DEPLOYMENT, pk, ("requests_per_second",), start=ANCHOR - HOUR, end=ANCHOR + 7 * MINUTE, points=67)
        assert np.isfinite(lines.columns["requests_per_second"].mean).all()


def table_counts() -> dict[str, int]:
    """Rows of every table, partitions counted with their parents."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace"
        )
        names = sorted(name for (name,) in cursor.fetchall())
        counts = {}
        for name in names:
            cursor.execute(f'SELECT count(*) FROM "{name}"')
            counts[name] = cursor.fetchone()[0]
    return counts


@pytest.mark.django_db
class TestRemoval:
    def test_nothing_stays(self) -> None:
        make_deployment("mine")
        rollups_fill(now=NOW)
        before, fills = table_counts(), list(FillState.objects.values_list("table", "end_time", "done"))
        demo_load(now=NOW, days=2)
        status_update(now=NOW)
        rollups_fill(now=NOW)
        status_update(now=NOW)
        assert table_counts() != before
        DeploymentStatus.objects.filter(deployment__name="mine").delete()
        demo_remove()
        assert table_counts() == before
        assert list(FillState.objects.values_list("table", "end_time", "done")) == fills

    def test_removing_what_is_not_there_is_no_error(self) -> None:
        assert demo_remove() == "demo fleet: 0 rows removed"

    def test_a_fleet_half_removed_is_removed_before_it_is_loaded_again(self) -> None:
        demo_load(now=NOW, days=1)
        Source.objects.filter(demo=True).update(finding={"removing": True})
        assert demo_live(now=NOW + HOUR) == "no demo fleet"
        demo_load(now=NOW + HOUR, days=1)
        assert Source.objects.get(demo=True).created_at == ANCHOR + HOUR

    def test_a_fleet_with_a_part_missing_stops_living_and_says_so(self) -> None:
        demo_load(now=NOW, days=1)
        Node.objects.filter(name="cpu-01").delete()
        assert demo_live(now=NOW + HOUR) == "the demo fleet is of another release or was edited: remove it and load it again"
        with pytest.raises(DemoClash, match="another release"):
            demo_load(now=NOW, days=1)

    def test_a_load_that_was_killed_goes_on_with_the_same_anchor(self) -> None:
        demo_load(now=NOW, days=1)
        counts = table_counts()
        Source.objects.filter(demo=True).update(finding={}, watermark=None)
        demo_load(now=NOW, days=1)
        assert table_counts() == counts


@pytest.mark.django_db
class TestClash:
    def test_a_real_cluster_of_that_name_is_left_alone(self) -> None:
        make_cluster("demo-eu")
        with pytest.raises(DemoClash, match="demo-eu"):
            demo_load(now=NOW, days=1)
        assert not Team.objects.filter(demo=True).exists()

    def test_a_real_team_of_that_name_is_left_alone(self) -> None:
        make_team("Demo Voice")
        with pytest.raises(CommandError, match="Demo Voice"):
            call_command("seed_demo", days=1)

    def test_the_command_refuses_no_days(self) -> None:
        with pytest.raises(CommandError, match="1 to 90"):
            call_command("seed_demo", days=0)

"""What limits a deployment, from stored telemetry: loaded as the records say, judged in turn, kept and read back, one answer everywhere."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from capacity.analysis.limits import limit_of
from capacity.analysis.saturation import (
    AGAIN,
    AGAIN_NEAR,
    OLD,
    compute_or_network,
    limit_now,
    peaks_words,
    saturation_due,
    saturation_judge,
    saturation_newest,
    saturation_of,
    saturation_round,
)
from capacity.analysis.saturation_signals import STEP_SECONDS, STEPS, Span, folded, signals_load
from capacity.analysis.status import status_update
from capacity.engine.saturation import Limit, Saturation, Verdict, saturation_find, verdict_words
from capacity.models import DeploymentStatus, Price, SaturationRun
from capacity.models import Verdict as State
from monitoring.catalog.records import Entity, Fold, Latency
from monitoring.ingest import Histograms, Rows, histograms_ingest, rows_ingest
from monitoring.models import Deployment, DeploymentState, Replica, WorkloadKind
from tests.factories import LONG_AGO, make_accelerator, make_alert, make_deployment, make_node, make_placement, make_replica

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
pytestmark = pytest.mark.django_db
STEP_TIMES = NOW.timestamp() - STEP_SECONDS * np.arange(STEPS - 1, -1, -1)
DAY = np.sin(np.linspace(0, 4 * np.pi, STEPS)) * 0.3 + 0.6  # two crests, the last step at the middle
RAMP = np.linspace(0.2, 1.0, STEPS)  # the last steps are the busiest
RNG = np.random.default_rng(5)


def feed(entity: Entity, pk: int, *, last: int = STEPS, **columns: np.ndarray | float) -> None:
    """One row a step, the newest at NOW."""
    times = STEP_TIMES[-last:]
    values = {name: np.broadcast_to(np.asarray(value, np.float64), STEPS)[-last:].copy() for name, value in columns.items()}
    assert not rows_ingest(Rows(entity, np.full(last, pk), times, values), overwrite=True, now=NOW).rejected


def seen(row: Deployment, **fields: Any) -> Replica:
    return make_replica(row, **{"first_seen_at": LONG_AGO, "last_seen_at": NOW} | fields)


def feed_tokens(pk: int, seconds: np.ndarray) -> None:
    """Time per output token: all requests of a step in the bucket around it."""
    bounds = (0.02, 0.04, 0.08, 0.16)
    counts = np.zeros((STEPS, len(bounds) + 1))
    counts[np.arange(STEPS), np.searchsorted(bounds, seconds)] = 100.0
    own = np.full(STEPS, pk)
    kind = Latency.TIME_PER_OUTPUT_TOKEN
    histograms_ingest(Histograms(kind, own, own * 0, STEP_TIMES, bounds, counts, np.full(STEPS, np.nan)), now=NOW)


def full_cache(name: str = "chat", *, load: np.ndarray = RAMP) -> Deployment:
    """A language model whose KV cache is full at its peaks, where requests wait and are pushed out; tokens come as fast as ever."""
    row = make_deployment(name, system="vllm")
    over = np.maximum(load - 0.8, 0.0) / 0.2
    feed(
        Entity.DEPLOYMENT,
        row.pk,
        requests_per_second=10 * np.minimum(load, 0.85) * RNG.normal(1, 0.02, STEPS),
        output_tokens_per_second=2000 * np.minimum(load, 0.85),
        requests_running=40 * np.minimum(load, 0.85),
        requests_waiting=30 * over,
        kv_cache_usage_ratio=np.minimum(0.99, 1.2 * load),
        preemptions_per_second=2 * over,
        request_seconds_per_second=10 * np.minimum(load, 0.85) * (4 + 20 * over),
        queue_seconds_per_second=10 * np.minimum(load, 0.85) * 18 * over,
        cpu_usage_cores=2 + load,
        cpu_throttled_ratio=0.0,
        network_receive_bytes_per_second=1e5 * load,
        replicas_ready=2.0,
    )
    feed_tokens(row.pk, np.full(STEPS, 0.03))
    card = make_accelerator(make_node(cluster=row.cluster))
    make_placement(seen(row), accelerator=card)
    busy = {"gpu_utilization_ratio": 0.6, "sm_active_ratio": 0.4, "tensor_active_ratio": 0.15, "dram_active_ratio": 0.3}
    feed(Entity.ACCELERATOR, card.pk, throttle_power_ratio=0.0, throttle_thermal_ratio=0.0, sm_clock_hertz=1.9e9, **busy)
    return row


class TestSignals:
    def test_the_columns_come_on_even_steps_and_a_gap_stays_a_gap(self) -> None:
        row = make_deployment()
        feed(Entity.DEPLOYMENT, row.pk, last=100, requests_per_second=RAMP)
        signals = signals_load([row.pk], now=NOW)[row.pk].signals
        assert signals.step_seconds == 300.0 and signals.size == 288
        assert signals.requests_per_second is not None and np.isnan(signals.requests_per_second[:188]).all()
        np.testing.assert_allclose(signals.requests_per_second[188:], RAMP[188:], rtol=1e-5)
        assert signals.kv_cache_usage_ratio is None

    def test_accelerators_are_folded_while_and_as_far_as_they_were_held(self) -> None:
        row, node = make_deployment(), make_node()
        feed(Entity.DEPLOYMENT, row.pk, requests_per_second=5.0)
        own, half, gone, foreign = (make_accelerator(node) for _ in range(4))
        noon = NOW - timedelta(hours=12)
        replica = seen(row)
        make_placement(replica, accelerator=own)
        make_placement(replica, accelerator=half, share=0.5)
        make_placement(replica, accelerator=gone, valid_to=noon)
        make_placement(seen(make_deployment("other")), accelerator=foreign)
        for card, busy, watts, hot in (
            (own, 0.8, 400.0, 70.0),
            (half, 0.2, 100.0, 60.0),
            (gone, 0.1, 50.0, 90.0),
            (foreign, 1.0, 700.0, 99.0),
        ):
            feed(Entity.ACCELERATOR, card.pk, gpu_utilization_ratio=busy, power_watts=watts, temperature_celsius=hot)
        signals = signals_load([row.pk], now=NOW)[row.pk].signals
        assert signals.gpu_utilization_ratio is not None and signals.power_watts is not None and signals.temperature_celsius is not None
        assert signals.gpu_utilization_ratio[-1] == pytest.approx((0.8 + 0.5 * 0.2) / 1.5)  # mean, by what is held
        assert signals.power_watts[-1] == pytest.approx(400 + 50)  # sum
        assert signals.temperature_celsius[[0, -1]] == pytest.approx([90.0, 70.0])  # greatest, and only while it was held
        assert signals.gpu_utilization_ratio[0] == pytest.approx((0.8 + 0.1 + 0.1) / 2.5)

    def test_nodes_and_replicas_are_its_own(self) -> None:
        row, node, foreign = make_deployment(), make_node(), make_node()
        feed(Entity.DEPLOYMENT, row.pk, requests_per_second=5.0)
        replicas = [seen(row, node=node, name=f"chat-{number}") for number in range(3)]
        seen(row, node=foreign, last_seen_at=NOW - timedelta(days=2), name="gone")
        for replica, running in zip(replicas, (1.0, 9.0, 1.0), strict=True):
            feed(Entity.REPLICA, replica.pk, requests_running=running)
        feed(Entity.NODE, node.pk, cpu_utilization_ratio=0.4, network_receive_bytes_per_second=3e6)
        feed(Entity.NODE, foreign.pk, cpu_utilization_ratio=1.0)
        loaded = signals_load([row.pk], now=NOW)[row.pk]
        assert loaded.signals.cpu_utilization_ratio is not None and loaded.signals.cpu_utilization_ratio[-1] == pytest.approx(0.4)
        assert loaded.signals.node_receive_bytes_per_second is not None and loaded.signals.network_receive_bytes_per_second is None
        assert sorted(loaded.replicas) == ["chat-0", "chat-1", "chat-2"]
        assert loaded.signals.replica_running is not None and loaded.signals.replica_running.shape == (3, STEPS)

    def test_a_fold_of_nothing_is_a_gap_not_a_zero(self) -> None:
        values = np.array([[1.0, np.nan, 3.0], [3.0, np.nan, np.nan]])
        for fold, expected in ((Fold.MEAN, [2.0, np.nan, 3.0]), (Fold.SUM, [4.0, np.nan, 3.0]), (Fold.MAX, [3.0, np.nan, 3.0])):
            np.testing.assert_array_equal(folded(values, np.ones((2, 3)), fold), expected)

    def test_the_last_step_may_have_just_begun(self) -> None:
        span = Span.until(NOW + timedelta(seconds=10))
        assert span.end - NOW.timestamp() == STEP_SECONDS and span.times.size == STEPS and span.times[-1] == span.end


class TestJudge:
    def test_a_full_cache_is_found_and_kept_with_its_evidence(self) -> None:
        row = full_cache()
        (run,) = saturation_judge([row], now=NOW)
        assert (run.limit, run.limit_now) == ("kv_cache", "kv_cache")
        kept = saturation_newest(row.pk)
        assert kept is not None and kept.as_of == NOW and kept.window_end == NOW
        found, direct = saturation_of(kept), saturation_find(signals_load([row.pk], now=NOW)[row.pk].signals)
        assert found.peaks.limit is Limit.KV_CACHE and found.peaks.evidence == direct.peaks.evidence
        assert verdict_words(found.peaks) == verdict_words(direct.peaks) == kept.sentence
        assert "KV cache 99 %" in kept.sentence and "preemptions" in kept.sentence_now
        assert found == direct  # nothing is lost on the way to JSON and back

    def test_unknown_figures_come_back_as_unknown(self) -> None:
        row = make_deployment()
        feed(Entity.DEPLOYMENT, row.pk, requests_per_second=RAMP)
        (run,) = saturation_judge([row], now=NOW)
        found = saturation_of(SaturationRun.objects.get(pk=run.pk))
        assert run.cannot_tell.startswith("neither a queue nor a duration is measured")
        assert np.isnan(found.peaks.share) and run.limit == "" and "no queue length" in run.sentence

    def test_without_telemetry_it_says_so(self) -> None:
        (run,) = saturation_judge([make_deployment()], now=NOW)
        assert (
            run.as_of is None
            and run.sentence == "Cannot tell: no requests, no requests in flight and no tokens were measured in this window."
        )

    def test_one_replica_with_most_of_the_work_is_named(self) -> None:
        row = full_cache()
        for number, running in enumerate((2.0, 14.0, 2.0)):
            feed(Entity.REPLICA, seen(row, name=f"chat-{number}").pk, requests_running=running)
        (run,) = saturation_judge([row], now=NOW)
        assert run.skew_replica == "chat-1" and run.skew_ratio == pytest.approx(7.0)
        assert peaks_words(run).startswith("Balance first: the busiest of 3 replicas works on 7.0 times")

    def test_what_a_replica_costs_is_kept_beside_it(self) -> None:
        row = full_cache()
        Price.objects.create(kind="accelerator", name="H200", hourly_rate=Decimal("4.5"), currency="USD", valid_from=NOW.date())
        (run,) = saturation_judge([row], now=NOW)
        assert (run.replica_hourly_rate, run.currency, run.price_certainty) == (Decimal("4.5"), "USD", "measured")

    def test_the_number_of_queries_does_not_grow_with_the_deployments(self) -> None:
        rows = [full_cache(f"chat-{number}") for number in range(6)]
        counts = []
        saturation_judge(rows[:1], now=NOW)  # reads once how far the rollups are
        for some in (rows[:1], rows):
            with CaptureQueriesContext(connection) as captured:
                saturation_judge(some, now=NOW)
            counts.append(len(captured))
        assert counts[0] == counts[1] <= 20


class TestRound:
    def test_each_is_judged_once_in_its_interval_and_the_troubled_more_often(self) -> None:
        calm, near = make_deployment("calm"), make_deployment("near")
        DeploymentStatus.objects.create(deployment=near, verdict=State.OK, limit_ratio=0.85)
        assert saturation_round(now=NOW) == "2 deployments judged"
        assert saturation_round(now=NOW + timedelta(minutes=1)) == ""
        assert list(saturation_due(now=NOW + AGAIN_NEAR)) == [near]
        assert list(saturation_due(now=NOW + AGAIN)) == [near, calm]

    @pytest.mark.parametrize("verdict", [State.BREAKS, State.WARNING])
    def test_one_in_trouble_is_watched(self, verdict: str) -> None:
        row = make_deployment()
        saturation_round(now=NOW)
        DeploymentStatus.objects.create(deployment=row, verdict=verdict)
        assert list(saturation_due(now=NOW + AGAIN_NEAR)) == [row]

    def test_one_with_an_open_alert_is_watched_until_it_is_closed(self) -> None:
        row = make_deployment()
        saturation_round(now=NOW)
        alert = make_alert(deployment=row)
        assert list(saturation_due(now=NOW + AGAIN_NEAR)) == [row]
        alert.state, alert.closed_at = "resolved", NOW
        alert.save()
        assert not saturation_due(now=NOW + AGAIN_NEAR).exists()

    def test_only_what_serves_and_is_active_is_judged(self) -> None:
        make_deployment("trains", workload_kind=WorkloadKind.TRAINING)
        make_deployment("archived", state=DeploymentState.ARCHIVED)
        assert saturation_round(now=NOW) == "" and not SaturationRun.objects.exists()

    def test_a_round_has_a_most_and_who_waits_longest_comes_first(self) -> None:
        rows = [make_deployment(f"m{number}") for number in range(4)]
        saturation_judge(rows[2:], now=NOW - AGAIN)
        assert saturation_round(now=NOW, most=2) == "2 deployments judged"
        assert set(SaturationRun.objects.filter(made_at=NOW).values_list("deployment", flat=True)) == {row.pk for row in rows[:2]}
        assert saturation_round(now=NOW + timedelta(minutes=1), most=2) == "2 deployments judged"
        assert not saturation_due(now=NOW + timedelta(minutes=1)).exists()


class TestOneAnswer:
    def test_the_status_takes_its_limit_from_it(self) -> None:
        row = full_cache()
        saturation_judge([row], now=NOW)
        status_update(now=NOW)
        status = DeploymentStatus.objects.get()
        assert (status.limit_name, status.limit_ratio) == ("kv_cache_usage_ratio", pytest.approx(0.99, abs=0.01))

    def test_an_old_answer_is_no_answer(self) -> None:
        row = full_cache(load=DAY)
        saturation_judge([row], now=NOW)
        SaturationRun.objects.update(limit_now="memory_bandwidth", confidence_now=0.9)
        status_update(now=NOW)
        assert (found := DeploymentStatus.objects.get()).limit_name == "dram_active_ratio" and found.limit_ratio == 1.0
        SaturationRun.objects.update(made_at=NOW - OLD)
        status_update(now=NOW)
        assert DeploymentStatus.objects.get().limit_name != "dram_active_ratio"

    def test_a_limit_that_is_reached_below_its_counter_s_end_leaves_no_room(self) -> None:
        means = {"kv_cache_usage_ratio": 0.7}
        assert limit_of(means, {"dram_active_ratio": 0.62}, reached=Limit.MEMORY_BANDWIDTH, looked=True) == limit_of(
            {}, {}, reached=Limit.MEMORY_BANDWIDTH, looked=True
        )
        assert (found := limit_of(means, {}, reached=Limit.NETWORK, looked=True)) and (found.name, found.ratio) == (
            "network_receive_bytes_per_second",
            1.0,
        )

    def test_a_power_cap_that_hurts_nobody_is_no_limit(self) -> None:
        means = {"power_watts": 690.0, "power_limit_watts": 700.0, "throttle_power_ratio": 0.4, "gr_engine_active_ratio": 0.6}
        assert (found := limit_of({}, means)) and found.ratio == 1.0
        assert (found := limit_of({}, means, looked=True)) and found.name == "gr_engine_active_ratio"

    @pytest.mark.parametrize(
        ("limit", "confidence", "expected"),
        [("kv_cache", 0.9, Limit.KV_CACHE), ("kv_cache", 0.5, None), ("upstream", 0.9, None), ("", 0.9, None)],
    )
    def test_a_guess_and_a_slow_dependency_are_no_limit_of_its_own(self, limit: str, confidence: float, expected: Limit | None) -> None:
        assert limit_now(SaturationRun(limit_now=limit, confidence_now=confidence)) is expected


class TestComputeOrNetwork:
    def said(self, now: Verdict, peaks: Verdict | None = None) -> str:
        return compute_or_network(Saturation(peaks or Verdict(None, float("nan"), 0.9), now, None, 288))

    def test_it_is_answered_from_now_else_from_the_peaks(self) -> None:
        nothing = Verdict(None, float("nan"), 0.9)
        assert self.said(Verdict(Limit.COMPUTE, 0.4, 0.9)) == "Compute, now."
        assert self.said(nothing, Verdict(Limit.NETWORK, 0.2, 0.9)) == "Network, at its peaks."
        assert self.said(Verdict(Limit.KV_CACHE, 0.4, 0.9)) == "Neither: KV cache, now."
        assert self.said(nothing) == "Neither is reached."

    def test_a_guess_is_called_one_and_an_idle_deployment_is_limited_by_nothing(self) -> None:
        assert self.said(Verdict(Limit.COMPUTE, 0.4, 0.65)) == "Perhaps compute, now."
        assert self.said(Verdict(Limit.KV_CACHE, 0.4, 0.65)) == "Perhaps neither: KV cache, now."
        assert self.said(Verdict(Limit.UPSTREAM, 0.4, 0.68)) == "Neither is reached."
        assert self.said(Verdict(Limit.UPSTREAM, 0.4, 0.85)) == "Neither: Upstream, what arrives stands at a ceiling, now."

    def test_what_is_not_measured_is_said(self) -> None:
        blind = Verdict(None, float("nan"), 0.65, missing=("network_receive_bytes_per_second",))
        assert self.said(blind, blind) == "Not compute; the network is not measured."
        untold = Verdict(None, float("nan"), 0.0, cannot_tell="no load was measured in the last minutes")
        assert self.said(untold, untold) == "Cannot tell: no load was measured in the last minutes."

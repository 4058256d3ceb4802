"""Verdicts from stored telemetry: which, since when, in which words, and at which cost in queries."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from capacity.analysis.status import status_update
from capacity.models import DeploymentStatus, SloLedger, Verdict
from monitoring.catalog.records import Entity, Latency
from monitoring.ingest import Histograms, Rows, histograms_ingest, rows_ingest
from monitoring.models import Deployment, DeploymentState, Slo
from tests.factories import make_accelerator, make_deployment, make_node, make_placement, make_replica

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
BOUNDS = (0.1, 0.2, 0.5, 1.0, 2.0)
MINUTE = timedelta(minutes=1)
pytestmark = pytest.mark.django_db


def minutes_before(now: datetime, count: int) -> np.ndarray:
    return now.timestamp() - 60.0 * np.arange(count - 1, -1, -1)


def feed(deployment: Deployment, *, minutes: int = 10, now: datetime = NOW, entity: Entity = Entity.DEPLOYMENT, **columns: float) -> None:
    """Rows of the last minutes; by default a healthy deployment with 10 requests a second."""
    values = columns if entity is not Entity.DEPLOYMENT else {"requests_per_second": 10.0, "errors_per_second": 0.0} | columns
    times = minutes_before(now, minutes)
    rows = Rows(entity, np.full(minutes, deployment.pk), times, {name: np.full(minutes, value) for name, value in values.items()})
    assert not rows_ingest(rows, overwrite=True, now=now).rejected


def feed_latency(deployment: Deployment, *, bucket: int, minutes: int = 10, now: datetime = NOW, requests: float = 600.0) -> None:
    """All requests of the last minutes in one bucket of BOUNDS."""
    counts = np.zeros((minutes, len(BOUNDS) + 1))
    counts[:, bucket] = requests
    own = np.full(minutes, deployment.pk)
    histograms_ingest(
        Histograms(Latency.REQUEST_DURATION, own, own * 0, minutes_before(now, minutes), BOUNDS, counts, np.full(minutes, np.nan)), now=now
    )


def promised(deployment: Deployment, threshold_seconds: float = 1.0, **fields: float) -> Slo:
    return Slo.objects.create(deployment=deployment, latency=Latency.REQUEST_DURATION, threshold_seconds=threshold_seconds, **fields)


def status(deployment: Deployment, *, now: datetime = NOW) -> DeploymentStatus:
    status_update(now=now)
    return DeploymentStatus.objects.get(deployment=deployment)


class TestVerdict:
    def test_a_promise_that_holds_is_ok(self) -> None:
        model = make_deployment("m")
        promised(model), feed(model), feed_latency(model, bucket=2)
        found = status(model)
        assert (found.verdict, found.text) == (Verdict.OK, "Request duration p95 0.48 s, SLO 1.00 s.")

    def test_a_percentile_over_the_threshold_breaks_it_and_says_since_when(self) -> None:
        model = make_deployment("m")
        promised(model), feed(model, minutes=60), feed_latency(model, bucket=2, minutes=60)
        feed_latency(model, bucket=4, minutes=31)
        found = status(model)
        assert found.since == NOW - 31 * MINUTE
        assert (found.verdict, found.text) == (Verdict.BREAKS, "Request duration p95 1.95 s, SLO 1.00 s, for 31 min.")
        assert found.latency_seconds == pytest.approx(1.95)

    def test_it_names_the_limit_when_one_is_reached(self) -> None:
        model = make_deployment("m")
        promised(model), feed(model, kv_cache_usage_ratio=0.98), feed_latency(model, bucket=4)
        found = status(model)
        assert found.text.endswith(" KV cache 98 %.")
        assert (found.limit_name, found.limit_ratio) == ("kv_cache_usage_ratio", pytest.approx(0.98))

    def test_too_many_errors_break_it(self) -> None:
        model = make_deployment("m")
        promised(model, availability_ratio=0.99), feed(model, errors_per_second=0.5), feed_latency(model, bucket=2)
        found = status(model)
        assert (found.verdict, found.text) == (Verdict.BREAKS, "5 % of requests fail, SLO 1 %.")

    def test_a_near_ceiling_is_a_warning(self) -> None:
        model = make_deployment("m")
        promised(model), feed(model, cpu_usage_cores=9.4, cpu_requested_cores=10.0), feed_latency(model, bucket=2)
        found = status(model)
        assert (found.verdict, found.text) == (Verdict.WARNING, "CPU at 94 % of its ceiling.")

    def test_a_missing_replica_is_a_warning_traced_to_its_start(self) -> None:
        model = make_deployment("m")
        promised(model), feed(model, minutes=60, replicas_ready=4.0, replicas_desired=4.0), feed_latency(model, bucket=2)
        feed(model, minutes=14, replicas_ready=3.0, replicas_desired=4.0)
        found = status(model)
        assert (found.verdict, found.text) == (Verdict.WARNING, "3 of 4 replicas answer, for 14 min.")

    def test_a_spent_budget_is_a_warning_even_while_all_is_well(self) -> None:
        model = make_deployment("m")
        promised(model, objective_ratio=0.9999), feed(model), feed_latency(model, bucket=4, minutes=30)
        feed_latency(model, bucket=2, minutes=15)
        found = status(model)
        assert (found.verdict, found.text) == (Verdict.WARNING, "SLO budget spent: 15 of 4 min lost in 28 days.")

    def test_without_a_promise_it_says_so(self) -> None:
        model = make_deployment("m")
        feed(model), feed_latency(model, bucket=2)
        found = status(model)
        assert (found.verdict, found.text) == (Verdict.NO_SLO, "Request duration p95 0.48 s, no SLO set.")

    def test_a_mean_is_called_a_mean(self) -> None:
        model = make_deployment("m")
        feed(model, request_seconds_per_second=0.12)
        found = status(model)
        assert (found.text, found.latency_is_mean, found.percentile) == ("Mean request duration 12 ms, no SLO set.", True, None)

    def test_a_percentile_promise_over_a_mean_cannot_be_judged(self) -> None:
        model = make_deployment("m")
        promised(model), feed(model, request_seconds_per_second=0.12)
        assert status(model).text == "The server gives a mean only: its percentile SLO cannot be judged."

    def test_a_handful_of_requests_breaks_nothing(self) -> None:
        model = make_deployment("m")
        promised(model), feed(model, requests_per_second=0.01), feed_latency(model, bucket=4, minutes=1, requests=3)
        assert status(model).verdict == Verdict.OK

    def test_no_requests_is_not_a_fault(self) -> None:
        model = make_deployment("m")
        promised(model), feed(model, requests_per_second=0.0, replicas_ready=1.0)
        found = status(model)
        assert (found.verdict, found.text) == (Verdict.OK, "No requests in the last 5 min.")

    def test_training_is_named_and_asked_for_no_promise(self) -> None:
        model = make_deployment("m", workload_kind="training")
        card = make_accelerator(make_node("n"))
        make_placement(make_replica(model), accelerator=card)
        feed(model, replicas_ready=1.0), feed(card, entity=Entity.ACCELERATOR, gr_engine_active_ratio=0.97)
        found = status(model)
        assert (found.verdict, found.text) == (Verdict.OK, "Training: 1 accelerator, 97 % busy.")


class TestSilence:
    def test_old_samples_are_no_data_since_the_last_of_them(self) -> None:
        model = make_deployment("m")
        promised(model), feed(model), feed_latency(model, bucket=2)
        status(model)
        found = status(model, now=NOW + 14 * MINUTE)
        assert (found.verdict, found.since, found.text) == (Verdict.NO_DATA, NOW, "No sample for 14 min.")
        assert found.latency_seconds is None and found.as_of == NOW

    def test_nothing_ever_is_no_data(self) -> None:
        found = status(make_deployment("m"))
        assert (found.verdict, found.text) == (Verdict.NO_DATA, "No sample in the last minutes.")


class TestSince:
    def test_it_stays_while_the_verdict_stays_and_the_minutes_grow(self) -> None:
        model = make_deployment("m")
        promised(model), feed(model, minutes=60), feed_latency(model, bucket=4, minutes=31)
        status(model)
        later = NOW + 5 * MINUTE
        feed(model, now=later), feed_latency(model, bucket=4, minutes=10, now=later)
        found = status(model, now=later)
        assert found.since == NOW - 31 * MINUTE
        assert found.text.endswith("for 36 min.")

    def test_recovery_starts_a_new_one(self) -> None:
        model = make_deployment("m")
        promised(model), feed(model), feed_latency(model, bucket=4)
        status(model)
        later = NOW + 10 * MINUTE
        feed(model, now=later), feed_latency(model, bucket=2, now=later)
        found = status(model, now=later)
        assert (found.verdict, found.since) == (Verdict.OK, later)


class TestAccount:
    def test_lost_minutes_are_counted_once_however_often_it_runs(self) -> None:
        model = make_deployment("m")
        promised(model), feed(model, minutes=60), feed_latency(model, bucket=4, minutes=30)
        first = status(model).lost_minutes
        assert first == 28  # the newest two are judged once their samples had time to come in
        assert status(model).lost_minutes == first

    def test_it_is_carried_on_minute_by_minute(self) -> None:
        model = make_deployment("m")
        promised(model), feed(model, minutes=60), feed_latency(model, bucket=4, minutes=30)
        status(model)
        for minute in range(1, 5):
            later = NOW + minute * MINUTE
            feed_latency(model, bucket=4 if minute < 3 else 2, minutes=1, now=later)
            feed(model, minutes=1, now=later)
        found = status(model, now=later + MINUTE)
        assert (found.lost_minutes, SloLedger.objects.get().made_at) == (32, NOW)

    def test_a_new_promise_makes_it_anew(self) -> None:
        model = make_deployment("m")
        slo = promised(model)
        feed(model, minutes=60), feed_latency(model, bucket=4, minutes=30)
        status(model)
        Slo.objects.filter(pk=slo.pk).update(threshold_seconds=2.5)
        assert status(model).lost_minutes == 0


class TestFleet:
    def test_ignored_deployments_have_no_status(self) -> None:
        model = make_deployment("m")
        status(model)
        Deployment.objects.update(state=DeploymentState.IGNORED)
        status_update(now=NOW)
        assert not DeploymentStatus.objects.exists()

    def test_the_number_of_queries_does_not_grow_with_the_deployments(self) -> None:
        models = [make_deployment(f"m{number}") for number in range(3)]
        for model in models:
            promised(model), feed(model), feed_latency(model, bucket=2)
        few = steady_queries()
        for number in range(9):
            model = make_deployment(f"more{number}")
            promised(model), feed(model), feed_latency(model, bucket=2)
        assert steady_queries() == few

    def test_accelerators_count_by_their_share(self) -> None:
        model, node = make_deployment("m"), make_node("n")
        cards = [make_accelerator(node) for _ in range(2)]
        replica = make_replica(model)
        for card, share, busy in zip(cards, (1.0, 0.5), (0.9, 0.3), strict=True):
            make_placement(replica, accelerator=card, share=share)
            feed(card, entity=Entity.ACCELERATOR, gr_engine_active_ratio=busy)
        feed(model)
        assert status(model).accelerator_busy_ratio == pytest.approx(0.7)


def steady_queries() -> int:
    """Queries of a run in which no account is made anew and nothing changed."""
    status_update(now=NOW)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        status_update(now=NOW)
    return len(queries)

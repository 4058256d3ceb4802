"""A round over telemetry: what it finds, what it writes, and that nothing is done twice."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from monitoring.alerts.defaults import DEFAULTS
from monitoring.alerts.enrichment import Enrich, Enrichment, Trouble, enrichment_register, registered
from monitoring.alerts.evaluate import alerts_evaluate
from monitoring.catalog.records import Entity, Latency
from monitoring.models import (
    Alert,
    AlertState,
    AlertTransition,
    Channel,
    Deployment,
    EvaluationMark,
    Notification,
    Rule,
    Silence,
    Slo,
    SourceState,
)
from monitoring.store import histograms_write, rows_write
from tests.factories import (
    make_accelerator,
    make_agent,
    make_deployment,
    make_node,
    make_placement,
    make_replica,
    make_rule,
    make_source,
    make_team,
)
from tests.telemetry import NOON, at, make_histograms, make_rows

MINUTE = 60.0
pytestmark = pytest.mark.django_db


@pytest.fixture
def quiet() -> None:
    """The shipped rules, switched off."""
    Rule.objects.bulk_create([Rule(shipped=True, **fields | {"enabled": False}) for fields in DEFAULTS])


def make_queue_rule(**fields: object) -> Rule:
    simple = {"signal": "requests_waiting", "threshold": 10.0, "window_seconds": 60, "for_seconds": 0, "keep_firing_seconds": 0}
    return make_rule("queue", **simple | fields)


def waiting_write(pk: int, *values: float) -> None:
    """One value a minute, the first at noon."""
    rows_write(make_rows([MINUTE * number for number in range(len(values))], ids=pk, requests_waiting=list(values)), overwrite=True)


def rounds(count: int, *, step: float = MINUTE) -> None:
    for number in range(count):
        alerts_evaluate(now=at(number * step))


def states() -> list[tuple[str, str]]:
    return list(Alert.objects.order_by("pk").values_list("rule_name", "state"))


def edges() -> list[tuple[float, str]]:
    rows = AlertTransition.objects.exclude(edge="").order_by("at", "pk").values_list("at", "edge")
    return [((moment - NOON).total_seconds() / MINUTE, edge) for moment, edge in rows]


@pytest.mark.usefixtures("quiet")
class TestARound:
    def test_it_fires_and_resolves_with_a_transition_and_a_notification_each(self) -> None:
        make_queue_rule()
        pk = make_deployment("llama").pk
        Channel.objects.create(name="ops", kind="webhook")
        waiting_write(pk, 5, 20, 30, 5)
        rounds(4)
        alert = Alert.objects.get()
        assert (alert.state, alert.labels["deployment"], alert.worst_value) == (AlertState.RESOLVED, "llama", 30)
        assert edges() == [(1, "fire"), (3, "resolve")]
        told = Notification.objects.order_by("edge_number").values_list("edge_number", "edge", "dedup_key")
        channel = Channel.objects.get().pk
        assert list(told) == [(1, "fire", f"headroom-{alert.pk}-1-{channel}"), (2, "resolve", f"headroom-{alert.pk}-2-{channel}")]

    def test_it_waits_for_its_time(self) -> None:
        make_queue_rule(for_seconds=120)
        waiting_write(make_deployment().pk, 20, 20, 20)
        rounds(2)
        assert states() == [("queue", "pending")] and edges() == []
        rounds(3)
        assert states() == [("queue", "firing")] and edges() == [(2, "fire")]

    def test_the_same_moment_twice_changes_nothing(self) -> None:
        make_queue_rule()
        waiting_write(make_deployment().pk, 20)
        Channel.objects.create(name="ops", kind="webhook")
        assert alerts_evaluate(now=NOON) == "1 steps of alerts, 1 to tell"
        before = list(Alert.objects.values())
        assert alerts_evaluate(now=NOON) == alerts_evaluate(now=at(-60)) == ""
        assert list(Alert.objects.values()) == before
        assert AlertTransition.objects.count() == Notification.objects.count() == 1

    def test_a_gap_is_no_end(self) -> None:
        make_queue_rule()
        waiting_write(make_deployment().pk, 20)
        rounds(20)
        assert states() == [("queue", "no_data")] and edges() == [(0, "fire")]

    @pytest.mark.parametrize("gone", ["rule", "deployment"])
    def test_it_ends_when_its_rule_or_subject_is_gone(self, gone: str) -> None:
        rule, deployment = make_queue_rule(), make_deployment()
        waiting_write(deployment.pk, 20, 20)
        rounds(1)
        if gone == "rule":
            Rule.objects.filter(pk=rule.pk).update(enabled=False)
        else:
            type(deployment).objects.update(state="archived")
        rounds(2)
        assert states() == [("queue", "resolved")]
        assert AlertTransition.objects.last().note == "its rule or subject is gone"

    def test_a_signal_nobody_knows_opens_nothing(self) -> None:
        make_queue_rule(signal="no_such_column")
        make_deployment()
        assert alerts_evaluate(now=NOON) == ""

    def test_only_matching_deployments_of_the_rule_s_team_are_meant(self) -> None:
        team = make_team()
        make_queue_rule(team=team, matchers={"environment": "prod"})
        meant, *others = (
            make_deployment(team=team, environment="prod"),
            make_deployment(team=team, environment="test"),
            make_deployment(team=make_team(), environment="prod"),
        )
        for row in (meant, *others):
            waiting_write(row.pk, 20)
        rounds(1)
        assert Alert.objects.get().deployment == meant and Alert.objects.get().team == team


@pytest.mark.usefixtures("quiet")
class TestRouting:
    @pytest.mark.parametrize(
        ("channel", "takes"),
        [
            ({}, True),
            ({"severities": ["critical"]}, False),
            ({"severities": ["critical", "warning"]}, True),
            ({"matchers": {"deployment": "llama*"}}, True),
            ({"matchers": {"deployment": "qwen*"}}, False),
            ({"enabled": False}, False),
        ],
    )
    def test_by_severity_and_labels(self, channel: dict[str, object], takes: bool) -> None:
        make_queue_rule()
        waiting_write(make_deployment("llama-70b").pk, 20)
        Channel.objects.create(name="ops", kind="webhook", **channel)
        rounds(1)
        assert Notification.objects.exists() is takes

    def test_a_team_hears_of_its_own_only(self) -> None:
        make_queue_rule()
        own, other = make_team(), make_team()
        for name, team in (("own", own), ("other", other), ("all", None)):
            Channel.objects.create(name=name, kind="webhook", team=team)
        waiting_write(make_deployment(team=own).pk, 20)
        rounds(1)
        assert set(Notification.objects.values_list("channel__name", flat=True)) == {"own", "all"}


@pytest.mark.usefixtures("quiet")
class TestMuting:
    def test_a_source_that_is_away_mutes_the_deployments_of_its_cluster(self) -> None:
        make_queue_rule()
        deployment = make_deployment()
        source = make_source(cluster=deployment.cluster, state=SourceState.DOWN)
        waiting_write(deployment.pk, 20, 20)
        rounds(1)
        assert Alert.objects.get().inhibited_by == f"source {source.name} away"
        make_source(cluster=deployment.cluster, state=SourceState.OK)
        rounds(2)
        assert Alert.objects.get().inhibited_by == ""

    @pytest.mark.parametrize("nodes", [1, 2])
    def test_a_silent_agent_mutes_what_runs_on_its_node_alone(self, nodes: int) -> None:
        make_queue_rule()
        deployment, agent = make_deployment(), make_agent("gpu-1", last_seen_at=at(-3600))
        for node in [agent.node, make_node("gpu-2")][:nodes]:
            make_placement(make_replica(deployment), node=node)
        waiting_write(deployment.pk, 20)
        rounds(1)
        assert Alert.objects.get().inhibited_by == ("agent of gpu-1 silent" if nodes == 1 else "")

    def test_a_critical_alert_mutes_the_warning_of_its_family_on_the_same_subject(self) -> None:
        make_queue_rule(family="queue")
        grave = make_rule("queue-critical", signal="requests_waiting", threshold=50, window_seconds=60, for_seconds=0)
        Rule.objects.filter(pk=grave.pk).update(severity="critical", family="queue")
        both, one = make_deployment("both"), make_deployment("one")
        waiting_write(both.pk, 60)
        waiting_write(one.pk, 20)
        rounds(1)
        found = Alert.objects.values_list("labels__deployment", "severity", "inhibited_by")
        assert set(found) == {("both", "critical", ""), ("both", "warning", "queue-critical fires"), ("one", "warning", "")}

    def test_a_silence_is_written_on_the_alert_while_it_holds(self) -> None:
        make_queue_rule()
        waiting_write(make_deployment("llama").pk, 20, 20, 20)
        silence = Silence.objects.create(matchers={"rule": "queue", "deployment": "l*"}, start_at=NOON, end_at=at(120))
        rounds(2)
        assert Alert.objects.get().silenced_by == silence
        rounds(3)
        assert Alert.objects.get().silenced_by is None


class TestOurOwnOutage:
    def test_an_agent_is_not_silent_for_the_time_we_were_away(self) -> None:
        make_agent("gpu-1", last_seen_at=NOON)
        alerts_evaluate(now=at(10))
        alerts_evaluate(now=at(7200))  # two hours later we are back
        assert states() == []
        for number in range(1, 16):
            alerts_evaluate(now=at(7200 + number * 60))
        assert states() == []
        alerts_evaluate(now=at(7200 + 901))
        assert states() == [("agent-silent", "firing")]

    def test_it_is_when_we_were_there_all_the_time(self) -> None:
        make_agent("gpu-1", last_seen_at=NOON)
        rounds(16)
        assert states() == []
        alerts_evaluate(now=at(901))
        assert states() == [("agent-silent", "firing")]


class TestShippedRules:
    def test_they_are_made_once_and_keep_what_was_changed(self) -> None:
        rounds(1)
        Rule.objects.filter(name="kv-cache-full").update(threshold=0.5)
        rounds(2)
        assert Rule.objects.filter(shipped=True).count() == len(DEFAULTS)
        assert Rule.objects.get(name="kv-cache-full").threshold == 0.5

    @pytest.mark.parametrize("fields", DEFAULTS, ids=lambda fields: fields["name"])
    def test_each_says_what_it_costs_and_what_to_do(self, fields: dict[str, object]) -> None:
        rule = Rule(shipped=True, **fields)
        rule.full_clean()
        assert rule.consequence and rule.first_action and rule.signal

    def test_uncorrected_memory_errors_fire_when_they_come(self) -> None:
        first, second = (make_accelerator(make_node()) for _ in range(2))
        rows_write(make_rows([-120, -60], Entity.ACCELERATOR, ids=first.pk, ecc_uncorrected_errors=[2, 3]), overwrite=True)
        rows_write(make_rows([-120, -60], Entity.ACCELERATOR, ids=second.pk, ecc_uncorrected_errors=[2, 2]), overwrite=True)
        rounds(1)
        assert [(alert.rule_name, alert.labels["accelerator"]) for alert in Alert.objects.all()] == [("gpu-memory-errors", first.uuid)]

    def test_a_queue_that_grows_fires_and_one_that_is_long_does_not(self) -> None:
        times = [-MINUTE * number for number in range(45)]
        grows, stands = make_deployment("grows"), make_deployment("stands")
        rows_write(make_rows(times, ids=grows.pk, requests_waiting=[100 + time / MINUTE for time in times]), overwrite=True)
        rows_write(make_rows(times, ids=stands.pk, requests_waiting=100), overwrite=True)
        alerts_evaluate(now=at(-900))
        alerts_evaluate(now=NOON)
        assert [(alert.rule_name, alert.state, alert.labels["deployment"]) for alert in Alert.objects.all()] == [
            ("queue-growth", "firing", "grows")
        ]


class TestBurnRates:
    def promise(self, **fields: object) -> int:
        deployment = make_deployment("llama")
        Slo.objects.create(deployment=deployment, latency=Latency.REQUEST_DURATION, threshold_seconds=0.5, **fields)
        return deployment.pk

    def latency_write(self, pk: int, minutes: int, *, slow: int) -> None:
        """So many minutes, of which the last `slow` broke the promise."""
        times = [MINUTE * number for number in range(1, minutes + 1)]
        counts = [[0, 0, 100, 0] if number > minutes - slow else [100, 0, 0, 0] for number in range(1, minutes + 1)]
        histograms_write(make_histograms(times, counts, ids=pk))
        rows_write(make_rows(times, ids=pk, requests_per_second=2, errors_per_second=0), overwrite=True)

    def play(self, minutes: int) -> list[tuple[str, str]]:
        for number in range(2, minutes + 3):
            alerts_evaluate(now=at(number * MINUTE + 30))
        return sorted(states())

    def test_a_latency_promise_spent_fast_pages(self) -> None:
        self.latency_write(self.promise(), 30, slow=10)
        assert [name for name, state in self.play(30) if state == "firing"] == ["slo-latency-fast", "slo-latency-medium"]

    def test_one_that_is_kept_does_not(self) -> None:
        self.latency_write(self.promise(), 30, slow=0)
        assert self.play(30) == []

    def test_minutes_with_few_requests_say_nothing(self) -> None:
        pk = self.promise()
        times = [MINUTE * number for number in range(1, 31)]
        histograms_write(make_histograms(times, [[0, 0, 4, 0]] * 30, ids=pk))
        assert self.play(30) == []

    def test_the_page_ends_soon_after_the_burning(self) -> None:
        pk = self.promise()
        self.latency_write(pk, 20, slow=10)
        times = [MINUTE * number for number in range(21, 61)]
        histograms_write(make_histograms(times, [[100, 0, 0, 0]] * 40, ids=pk))
        self.play(40)
        fast = Alert.objects.get(rule_name="slo-latency-fast")
        assert fast.state == "resolved" and fast.resolved_at <= at(40 * MINUTE)

    @pytest.mark.parametrize(("errors", "fires"), [(0.02, ["slo-errors-fast", "slo-errors-medium"]), (0.0008, [])])
    def test_an_availability_promise_burns_by_errors(self, errors: float, fires: list[str]) -> None:
        pk = self.promise(availability_ratio=0.999)
        times = [-MINUTE * number for number in range(70)]
        rows_write(make_rows(times, ids=pk, requests_per_second=1, errors_per_second=errors), overwrite=True)
        alerts_evaluate(now=NOON)
        assert [name for name, state in sorted(states()) if state == "firing"] == fires


@contextmanager
def enriching(enrich: Enrich) -> Iterator[None]:
    before = list(registered)
    enrichment_register(enrich)
    try:
        yield
    finally:
        registered[:] = before


class TestEnrichment:
    def test_the_registered_function_adds_money_to_what_fires(self) -> None:
        make_agent("gpu-1", last_seen_at=at(-3600))
        EvaluationMark.objects.create(name="rules", until=at(-60), resumed_at=at(-7200))
        with enriching(lambda troubles, now: [Enrichment(Decimal(12), "EUR", {"node": each.labels["node"]}) for each in troubles]):
            rounds(1)
        alert = Alert.objects.get()
        assert (alert.money, alert.currency, alert.context) == (12, "EUR", {"node": "gpu-1"})

    def test_its_failure_does_not_hold_up_the_alert(self) -> None:
        make_agent("gpu-1", last_seen_at=at(-3600))
        EvaluationMark.objects.create(name="rules", until=at(-60), resumed_at=at(-7200))

        def broken(troubles: Sequence[Trouble], now: datetime) -> list[Enrichment]:
            Rule.objects.raw("SELECT wrong").iterator().__next__()
            raise AssertionError

        with enriching(broken):
            rounds(1)
        assert states() == [("agent-silent", "firing")]

    def test_one_that_takes_too_long_is_cut_off(self) -> None:
        make_agent("gpu-1", last_seen_at=at(-3600))
        EvaluationMark.objects.create(name="rules", until=at(-60), resumed_at=at(-7200))

        def slow(troubles: Sequence[Trouble], now: datetime) -> list[Enrichment]:
            Rule.objects.raw("SELECT 1 AS id FROM pg_sleep(30)").iterator().__next__()
            raise AssertionError

        began = time.monotonic()
        with enriching(slow):
            rounds(1)
        assert states() == [("agent-silent", "firing")]
        assert time.monotonic() - began < 10

    def test_all_that_fire_together_are_asked_for_at_once_and_again_as_they_end(self) -> None:
        agents = [make_agent(f"gpu-{number}", last_seen_at=at(-3600)) for number in range(3)]
        EvaluationMark.objects.create(name="rules", until=at(-60), resumed_at=at(-7200))
        asked: list[list[bool]] = []

        def count(troubles: Sequence[Trouble], now: datetime) -> list[Enrichment]:
            asked.append([each.ended for each in troubles])
            return [Enrichment(Decimal(len(asked)), "EUR") for _ in troubles]

        with enriching(count):
            rounds(1)
            for agent in agents:
                agent.last_seen_at = at(3600)
                agent.save(update_fields=["last_seen_at"])
            for number in range(2, 40):
                alerts_evaluate(now=at(60 * number))
        assert asked == [[False] * 3, [True] * 3]
        assert {alert.money for alert in Alert.objects.all()} == {2}


def queries_of_a_round(count: int, *, seconds: float) -> int:
    """Of one in which every new deployment's queue rule fires."""
    for _ in range(count):
        slo = {"latency": Latency.REQUEST_DURATION, "threshold_seconds": 0.5, "availability_ratio": 0.999}
        Slo.objects.create(deployment=make_deployment(), **slo)
    ids = list(Deployment.objects.values_list("pk", flat=True))
    rows_write(make_rows([seconds - 30] * len(ids), ids=ids, requests_waiting=20), overwrite=True)
    alerts_evaluate(now=at(seconds - 60))  # makes what is made once
    opened = Alert.objects.count()
    with CaptureQueriesContext(connection) as caught:
        alerts_evaluate(now=at(seconds))
    assert Alert.objects.count() - opened == count
    return len(caught)


def test_a_round_costs_as_many_queries_for_300_deployments_as_for_3() -> None:
    Channel.objects.create(name="ops", kind="webhook")
    make_queue_rule()
    make_agent(last_seen_at=at(-86400))
    few = queries_of_a_round(3, seconds=600)
    many = queries_of_a_round(297, seconds=1200)
    print(f"{few} queries")
    # Six are of what enriches the alerts that fire: two reads, within a savepoint and a time limit. The second updates open alerts too.
    assert few <= 64 and many - few in (0, 1)


@pytest.mark.django_db(transaction=True)
class TestManyAtOnce:
    def test_three_evaluators_do_it_once(self) -> None:
        Rule.objects.bulk_create([Rule(shipped=True, **fields | {"enabled": False}) for fields in DEFAULTS])
        make_queue_rule()
        for _ in range(5):
            waiting_write(make_deployment().pk, 20, 5)
        Channel.objects.create(name="ops", kind="webhook")
        for moment in (NOON, at(60)):
            start = threading.Barrier(3)
            failures = list[BaseException]()

            def evaluate(moment: datetime = moment, start: threading.Barrier = start, failures: list[BaseException] = failures) -> None:
                start.wait()
                try:
                    alerts_evaluate(now=moment)
                except BaseException as failure:
                    failures.append(failure)
                connection.close()

            threads = [threading.Thread(target=evaluate) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert failures == []
        assert sorted(edge for _, edge in edges()) == ["fire"] * 5 + ["resolve"] * 5
        assert Notification.objects.count() == 10 and Alert.objects.count() == 5

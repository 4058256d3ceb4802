"""What a message says besides the alert: limit, what else moved, what changed, what was lost; in few queries, never in its way."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from monitoring.alerts import messages
from monitoring.alerts.evaluate import alerts_evaluate
from monitoring.alerts.messages import contexts_of, limit_words, value_words
from monitoring.catalog.records import Latency
from monitoring.models import Channel, Event, Notification, Rule, Slo, SloCount
from monitoring.store import histograms_write, rows_write
from tests.factories import make_alert, make_deployment, make_rule
from tests.monitoring.test_alerts_evaluate import MINUTE, make_queue_rule
from tests.telemetry import NOON, at, make_histograms, make_rows

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0.953, "ratio", "95.3 %"),
        (1.84, "seconds", "1.84 s"),
        (0.05, "seconds", "50 ms"),
        (900.0, "seconds", "15 min"),
        (14.4, "times", "14.4 times"),
        (float("inf"), "times", "beyond all bounds"),
        (2.0**31, "bytes", "2 GiB"),
        (82.0, "celsius", "82 °C"),
        (12345.0, "requests", "12,345 requests"),
        (None, "seconds", ""),
    ],
)
def test_a_value_has_three_digits_and_its_unit(value: float | None, unit: str, words: str) -> None:
    assert value_words(value, unit) == words


def test_a_limit_is_said_as_a_person_would() -> None:
    slo = Slo(latency=Latency.TIME_TO_FIRST_TOKEN, threshold_seconds=2.0, availability_ratio=0.999)
    burn = [
        limit_words(Rule(signal=f"slo_{name}_burn", threshold=14.4, window_seconds=3600), "times", slo) for name in ("latency", "error")
    ]
    assert burn[0] == "p95 of time to first token under 2 s in 99.5 % of minutes; its allowance is spent 14.4 times as fast"
    assert burn[1] == "99.9 % of requests without an error; its allowance is spent 14.4 times as fast"
    full = Rule(signal="kv_cache_usage_ratio", comparison="above", threshold=0.95, window_seconds=300)
    assert limit_words(full, "ratio", None) == "KV cache above 95 % over 5 min"


class TestAtTheEdge:
    def told(self, edge: str) -> dict[str, object]:
        found: dict[str, object] = Notification.objects.get(edge=edge).content
        return found

    def play(self) -> None:
        """Ten minutes of calm, then twice the traffic, a slow p95 and a queue; it began at noon, a version came eight minutes before."""
        pk = make_deployment("llama").pk
        Channel.objects.create(name="ops", kind="webhook")
        make_queue_rule(window_seconds=300)
        times = [MINUTE * number for number in range(-9, 6)]
        loud = [int(time > 0) for time in times]
        rows = {"requests_per_second": [4 + 4 * high for high in loud], "requests_waiting": [60 * high for high in loud]}
        rows_write(make_rows(times, ids=pk, errors_per_second=0, kv_cache_usage_ratio=0.5, **rows), overwrite=True)
        histograms_write(make_histograms(times, [[0, 0, 100, 0] if high else [0, 100, 0, 0] for high in loud], ids=pk))
        Event.objects.create(deployment_id=pk, kind="deploy", at=at(-480 + 300), title="v2", dedup_key="v2")
        Event.objects.create(deployment_id=pk, kind="note", at=at(0), title="a note", dedup_key="note")
        Event.objects.create(deployment_id=pk, kind="scale", at=at(-86400), title="yesterday", dedup_key="old")
        alerts_evaluate(now=at(300))

    def test_it_says_what_else_moved_and_what_came_before(self) -> None:
        self.play()
        told = self.told("fire")
        assert told["limit"] == "Waiting above 10 requests over 5 min" and told["value_text"] == "60 requests"
        assert told["moved"] == [
            "Requests from 4 req/s to 8 req/s (+100 %) in 5 min",
            "p95 of request duration from 0.48 s to 0.975 s (+103 %) in 5 min",
        ]
        assert told["before"] == ["8 min before: new version (v2)"] and told["at"] == at(300).timestamp()

    def test_a_look_up_that_fails_costs_its_sentence_and_nothing_else(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(known: messages.Known) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT no_such_column")

        monkeypatch.setattr(messages, "LOOK_UPS", (broken, messages.limits_find, messages.events_find))
        self.play()
        assert self.told("fire")["before"] and "moved" not in self.told("fire")

    def test_one_that_takes_too_long_is_cut_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def slow(known: messages.Known) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(20)")

        monkeypatch.setattr(messages, "LOOK_UPS", (slow, messages.limits_find))
        monkeypatch.setattr(messages, "STATEMENT_MOST", "50ms")
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            before = cursor.fetchone()
            self.play()
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone() == before and self.told("fire")["limit"]

    def test_an_end_says_which_minutes_were_lost(self) -> None:
        pk = make_deployment().pk
        Slo.objects.create(deployment_id=pk, latency=1, threshold_seconds=1.0)
        for minutes, broken in ((-5, 5), (5, 2), (10, 4), (20, 5)):
            SloCount.objects.create(deployment_id=pk, end_at=at(60 * minutes), judged=5, broken=broken)
        alert = make_alert(make_rule(signal="queue_growth"), deployment_id=pk, started_at=NOON, resolved_at=at(540), worst_value=7.0)
        found = contexts_of([(alert, "resolve")], now=at(540))[alert.pk]
        assert (found["slo_minutes_lost"], found["worst_text"]) == (6, "7 requests") and "moved" not in found

    def test_forty_alerts_cost_as_many_queries_as_two(self) -> None:
        rule = make_queue_rule()
        counts = []
        for number in (2, 40):
            deployments = [make_deployment() for _ in range(number)]
            times = [-400, -100]
            for row in deployments:
                rows_write(make_rows(times, ids=row.pk, requests_per_second=[1, 2]), overwrite=True)
            alerts = [(make_alert(rule, deployment=row, started_at=NOON), "fire") for row in deployments]
            with CaptureQueriesContext(connection) as seen:
                assert len(contexts_of(alerts, now=NOON)) == number
            counts.append(len(seen))
        assert counts[0] == counts[1]

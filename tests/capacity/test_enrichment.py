"""What messages say of limit, money and promise: as it fires, when it is told again, at its end; cheap, and never in the way."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.test.utils import CaptureQueriesContext

from capacity.analysis.enrichment import alerts_enrich
from capacity.analysis.saturation import OLD
from capacity.models import DeploymentStatus, SaturationRun
from monitoring.alerts.channels.base import Telling, facts_of
from monitoring.alerts.enrichment import Trouble, registered
from monitoring.alerts.findings import Finding, alert_raise, alert_resolve
from monitoring.alerts.record import content_of
from monitoring.alerts.reminders import reminders_write
from monitoring.catalog.records import Latency
from monitoring.models import Alert, Channel, Deployment, Notification, NotificationState, Slo, SloCount
from tests.factories import make_alert, make_deployment

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
BEGAN = NOW - timedelta(minutes=30)
SENTENCE = "KV cache (93 % sure): KV cache 96 %, preemptions 4/s."
pytestmark = pytest.mark.django_db


def troubled(*, rate: str | None = "13.76", certainty: str = "estimated", replicas: float = 6, run: bool = True, **slo: Any) -> Deployment:
    """Breaks its promise since half an hour, 25 minutes of which are judged: 22 lost."""
    row = make_deployment()
    Slo.objects.create(deployment=row, latency=Latency.TIME_TO_FIRST_TOKEN, **{"threshold_seconds": 0.8} | slo)
    DeploymentStatus.objects.create(deployment=row, verdict="breaks", replicas=replicas, budget_minutes=201.6, lost_minutes=105.0)
    for minutes, broken in ((40, 5), (25, 4), (20, 5), (15, 5), (10, 5), (5, 3)):  # the first lies before it began
        SloCount.objects.create(deployment=row, end_at=NOW - timedelta(minutes=minutes), judged=5, broken=broken)
    if run:
        SaturationRun.objects.create(
            deployment=row,
            made_at=NOW - timedelta(minutes=3),
            window_start=NOW - timedelta(days=1),
            window_end=NOW,
            limit_now="kv_cache",
            confidence_now=0.93,
            sentence_now=SENTENCE,
            replica_hourly_rate=Decimal(rate) if rate else None,
            currency="USD",
            price_certainty=certainty if rate else "unknown",
        )
    return row


def trouble(row: Deployment | None, **fields: Any) -> Trouble:
    return Trouble(**{"deployment": row.pk if row else None, "labels": {}, "started_at": BEGAN} | fields)


class TestKnown:
    def test_as_it_begins_it_says_limit_money_and_promise(self) -> None:
        (found,) = alerts_enrich([trouble(troubled())], NOW)
        assert (found.money, found.currency) == (Decimal("41.28"), "USD")  # 6 x 13.76 x half an hour
        assert found.context == {
            "saturation": f"{SENTENCE} Judged at 11:57 UTC.",
            "slo_minutes_lost": 22,
            "slo_budget": "97 of 202 min of 28 d are left",
            "cost": "41.28 USD since it began (82.56 USD/h for 6 replicas, estimated)",
            "cost_per_hour": "82.56 USD/h for 6 replicas, estimated",
        }

    def test_at_its_end_it_says_what_it_cost_and_no_limit_of_now(self) -> None:
        (found,) = alerts_enrich([trouble(troubled(certainty="measured", replicas=1), ended=True)], NOW)
        assert found.money == Decimal("6.88")
        assert found.context["cost"] == "6.88 USD while it lasted (13.76 USD/h for 1 replica)"
        assert found.context["slo_minutes_lost"] == 22 and "saturation" not in found.context

    def test_without_a_price_it_speaks_in_replica_hours(self) -> None:
        (found,) = alerts_enrich([trouble(troubled(rate=None))], NOW)
        assert found.money is None and found.currency == ""
        assert found.context["cost"] == "3 replica-hours of 6 replicas since it began; they have no price"

    def test_a_budget_that_is_spent_is_said_as_over(self) -> None:
        row = troubled()
        DeploymentStatus.objects.update(lost_minutes=220.0)
        (found,) = alerts_enrich([trouble(row)], NOW)
        assert found.context["slo_budget"] == "18 min over the 202 min of 28 d"

    def test_without_a_promise_no_minutes_are_lost(self) -> None:
        (found,) = alerts_enrich([trouble(troubled(threshold_seconds=None))], NOW)
        assert "slo_minutes_lost" not in found.context and found.money == Decimal("41.28")

    def test_an_old_answer_does_not_speak_of_now(self) -> None:
        row = troubled()
        SaturationRun.objects.update(made_at=NOW - OLD - timedelta(seconds=1))
        (found,) = alerts_enrich([trouble(row)], NOW)
        assert "saturation" not in found.context and found.money == Decimal("41.28")

    def test_skew_comes_first(self) -> None:
        row = troubled()
        SaturationRun.objects.update(skew_ratio=2.5)
        (found,) = alerts_enrich([trouble(row)], NOW)
        assert found.context["saturation"].startswith("Balance first: the busiest replica has 2.5 times")

    def test_of_what_is_new_gone_or_no_deployment_nothing_is_said(self) -> None:
        new = make_deployment()
        gone = Trouble(999_999, {}, BEGAN)
        assert [found.context for found in alerts_enrich([trouble(None), gone, trouble(new)], NOW)] == [{}, {}, {}]

    def test_many_take_two_queries_and_come_in_their_order(self) -> None:
        rows = [troubled(replicas=number) for number in (1, 2, 3)]
        with CaptureQueriesContext(connection) as captured:
            found = alerts_enrich([trouble(row) for row in [*rows, None, rows[0]]], NOW)
        assert len(captured) == 2
        assert [each.money for each in found] == [Decimal("6.88"), Decimal("13.76"), Decimal("20.64"), None, Decimal("6.88")]

    def test_alerts_of_hosts_ask_nothing(self) -> None:
        with CaptureQueriesContext(connection) as captured:
            alerts_enrich([trouble(None)] * 3, NOW)
        assert len(captured) == 0


def finding(**fields: Any) -> Finding:
    return Finding(**{"rule": "runs-out", "labels": {"deployment": "m"}, "summary": "It runs out", "severity": "warning"} | fields)


class TestOnTheWay:
    def test_the_app_registers_it(self) -> None:
        assert apps.get_app_config("capacity").ready and registered == [alerts_enrich]

    def test_a_finding_keeps_the_money_it_brought(self) -> None:
        alert = alert_raise(troubled(), finding(money=Decimal(900), currency="EUR"), now=NOW)
        assert (alert.money, alert.currency) == (Decimal(900), "EUR")
        assert alert.context["saturation"].startswith("KV cache") and "cost" not in alert.context

    def test_the_message_says_it_and_its_end_says_the_rest(self) -> None:
        Channel.objects.create(name="ops", kind="webhook", secret="x")
        row = troubled()
        alert_raise(row, finding(), now=NOW)
        begun, alert = Notification.objects.get().content, Alert.objects.get()
        facts = dict(facts_of(Telling("k", "fire", begun)))
        assert facts["What limits it"] == f"{SENTENCE} Judged at 11:57 UTC."
        assert facts["SLO minutes lost"] == "0 min above the promised latency since it began; 97 of 202 min of 28 d are left"
        Notification.objects.update(state=NotificationState.SENT, sent_at=NOW)
        SloCount.objects.create(deployment=row, end_at=NOW + timedelta(minutes=5), judged=5, broken=4)
        alert_resolve("runs-out", {"deployment": "m"}, now=NOW + timedelta(minutes=6))
        ended = Notification.objects.get(edge="resolve").content
        facts = dict(facts_of(Telling("k", "resolve", ended)))
        assert facts["SLO minutes lost"] == "4 min above the promised latency; 97 of 202 min of 28 d are left"
        assert "What limits it" not in facts and alert.context["saturation"] in ended["context"]["saturation"]

    def test_the_money_of_what_is_measured_stands_in_its_messages(self) -> None:
        alert = make_alert(deployment=troubled(), started_at=BEGAN)
        (found,) = alerts_enrich([trouble(alert.deployment)], NOW)
        alert.money, alert.currency, alert.context = found.money, found.currency, dict(found.context)
        told = dict(facts_of(Telling("k", "fire", content_of(alert, edge="fire"))))
        assert told["Cost"] == "41.28 USD since it began (82.56 USD/h for 6 replicas, estimated)"

    def test_told_again_it_says_what_it_has_cost_since(self) -> None:
        channel = Channel.objects.create(name="ops", kind="webhook", secret="x", repeat_warning_seconds=3600)
        alert = make_alert(deployment=troubled(), started_at=BEGAN)
        content = content_of(alert, edge="fire") | {"at": BEGAN.timestamp()}
        fields = {"state": NotificationState.SENT, "sent_at": BEGAN, "edge": "fire", "edge_number": 1, "dedup_key": "k", "content": content}
        Notification.objects.create(alert=alert, channel=channel, run_after=BEGAN, created_at=BEGAN, **fields)
        later = BEGAN + timedelta(hours=2)
        SaturationRun.objects.update(made_at=later)
        assert reminders_write(now=later).startswith("1 repeats")
        again = Notification.objects.get(edge="repeat").content
        assert again["money"] == "165.12" and again["context"]["cost"].startswith("165.12 USD since it began")

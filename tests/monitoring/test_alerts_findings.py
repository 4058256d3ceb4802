"""Alerts raised by who found something."""

import threading
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection

from monitoring.alerts.evaluate import alerts_evaluate
from monitoring.alerts.findings import Finding, alert_raise, alert_resolve
from monitoring.alerts.reminders import reminders_write
from monitoring.models import Alert, AlertTransition, Channel, Notification, Rule
from tests.factories import make_deployment, make_team
from tests.telemetry import NOON

HOUR = timedelta(hours=1)
RUN_OUT = Finding(
    "run-out", {"deployment": "llama"}, "Capacity runs out in 9 days", "warning", money=Decimal("1200.00"), currency="EUR", value=9
)
pytestmark = pytest.mark.django_db


def told() -> list[tuple[str, str]]:
    return list(Notification.objects.order_by("edge_number").values_list("edge", "content__summary"))


class TestRaise:
    def test_it_fires_at_once_with_its_words_and_money(self) -> None:
        team = make_team()
        Channel.objects.create(name="ops", kind="webhook", team=team)
        alert = alert_raise(make_deployment("llama", team=team), RUN_OUT, now=NOON)
        assert (alert.state, alert.team, alert.money, alert.finding) == ("firing", team, Decimal("1200.00"), True)
        assert told() == [("fire", "Capacity runs out in 9 days")]

    def test_again_it_keeps_the_newest_words_and_tells_nobody(self) -> None:
        Channel.objects.create(name="ops", kind="webhook")
        deployment = make_deployment("llama")
        alert_raise(deployment, RUN_OUT, now=NOON)
        alert_raise(deployment, replace(RUN_OUT, summary="Capacity runs out in 8 days"), now=NOON + HOUR)
        assert Alert.objects.get().summary == "Capacity runs out in 8 days" and len(told()) == 1

    def test_a_reminder_says_the_newest_words(self) -> None:
        channel = Channel.objects.create(name="ops", kind="webhook")
        alert_raise(None, RUN_OUT, now=NOON)
        Notification.objects.update(state="sent", sent_at=NOON)
        alert_raise(None, replace(RUN_OUT, summary="Capacity runs out in 8 days"), now=NOON + HOUR)
        reminders_write(now=NOON + timedelta(seconds=max(channel.repeat_critical_seconds, channel.repeat_warning_seconds)))
        assert [words for _, words in told()] == ["Capacity runs out in 9 days", "Capacity runs out in 8 days"]

    def test_other_labels_are_another_alert(self) -> None:
        for name in ("llama", "qwen"):
            alert_raise(None, replace(RUN_OUT, labels={"deployment": name}), now=NOON)
        assert Alert.objects.open().count() == 2

    def test_a_rule_that_is_switched_off_tells_nothing(self) -> None:
        alert_raise(None, RUN_OUT, now=NOON)
        Alert.objects.all().delete()
        Rule.objects.update(enabled=False)
        alert_raise(None, RUN_OUT, now=NOON)
        assert not Alert.objects.exists()

    def test_a_round_of_metric_rules_leaves_it_alone(self) -> None:
        alert_raise(None, RUN_OUT, now=NOON)
        alerts_evaluate(now=NOON + HOUR)
        assert Alert.objects.get().state == "firing"


class TestResolve:
    def test_it_ends_with_a_note(self) -> None:
        Channel.objects.create(name="ops", kind="webhook")
        alert_raise(None, RUN_OUT, now=NOON)
        alert = alert_resolve("run-out", {"deployment": "llama"}, now=NOON + HOUR, note="a replica was added")
        assert alert and alert.state == "resolved" and [edge for edge, _ in told()] == ["fire", "resolve"]
        assert AlertTransition.objects.order_by("number").values_list("note", flat=True)[1] == "a replica was added"

    def test_what_is_not_open_stays_as_it_is(self) -> None:
        assert alert_resolve("run-out", {"deployment": "llama"}, now=NOON) is None

    def test_after_its_end_it_can_be_raised_again(self) -> None:
        for number in range(2):
            alert_raise(None, RUN_OUT, now=NOON + number * HOUR)
            alert_resolve("run-out", {"deployment": "llama"}, now=NOON + number * HOUR + HOUR / 2)
        assert Alert.objects.filter(state="resolved").count() == 2


@pytest.mark.django_db(transaction=True)
def test_raised_by_three_at_once_it_is_one_alert_and_told_once() -> None:
    Channel.objects.create(name="ops", kind="webhook")
    start, failures = threading.Barrier(3), list[BaseException]()

    def found() -> None:
        start.wait()
        try:
            alert_raise(None, RUN_OUT, now=NOON)
        except BaseException as failure:
            failures.append(failure)
        connection.close()

    threads = [threading.Thread(target=found) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and Alert.objects.count() == Notification.objects.count() == 1

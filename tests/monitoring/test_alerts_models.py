"""What the tables of alerts hold by themselves."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, ProgrammingError, transaction

from monitoring.models import Alert, AlertState, AlertTransition, Channel, Edge, Notification, Silence
from tests.factories import LONG_AGO, make_alert, make_deployment, make_rule

pytestmark = pytest.mark.django_db


def make_transition(alert: Alert, *, number: int = 1) -> AlertTransition:
    states = {"from_state": AlertState.PENDING, "to_state": AlertState.FIRING}
    return AlertTransition.objects.create(alert=alert, number=number, at=LONG_AGO, edge=Edge.FIRE, **states)


class TestAlert:
    def test_an_identity_has_one_open_alert(self) -> None:
        make_alert(identity="same")
        with pytest.raises(IntegrityError, match="alert_one_open"):
            make_alert(identity="same")

    def test_closed_ones_of_the_identity_may_be_many(self) -> None:
        for _ in range(2):
            make_alert(identity="same", state=AlertState.RESOLVED, closed_at=LONG_AGO)
        make_alert(identity="same")
        assert Alert.objects.open().count() == 1

    @pytest.mark.parametrize("wrong", [{"state": AlertState.RESOLVED}, {"state": AlertState.FIRING, "closed_at": LONG_AGO}])
    def test_it_is_closed_exactly_when_it_is_over(self, wrong: dict[str, object]) -> None:
        with pytest.raises(IntegrityError, match="alert_closed_when_over"):
            make_alert(**wrong)

    def test_it_outlives_its_rule(self) -> None:
        rule = make_rule("gone")
        alert = make_alert(rule)
        rule.delete()
        alert.refresh_from_db()
        assert alert.rule is None and alert.rule_name == "gone"


class TestTransition:
    def test_a_step_is_written_once(self) -> None:
        alert = make_alert()
        make_transition(alert)
        with pytest.raises(IntegrityError, match="alert_transition_once"):
            make_transition(alert)

    @pytest.mark.parametrize("change", ["update", "delete"])
    def test_it_can_be_neither_changed_nor_deleted(self, change: str) -> None:
        rows = AlertTransition.objects.filter(pk=make_transition(make_alert()).pk)
        with pytest.raises(ProgrammingError, match="append-only"), transaction.atomic():
            rows.update(note="other") if change == "update" else rows.delete()
        assert rows.get().note == ""

    def test_it_goes_with_its_alert(self) -> None:
        deployment = make_deployment()
        make_transition(make_alert(deployment=deployment))
        kept = make_transition(make_alert())
        deployment.delete()
        assert list(AlertTransition.objects.all()) == [kept]


class TestNotification:
    def test_an_edge_goes_to_a_channel_once(self) -> None:
        alert, channel = make_alert(), Channel.objects.create(name="ops", kind="webhook")
        row = {"edge_number": 1, "edge": Edge.FIRE, "run_after": LONG_AGO, "created_at": LONG_AGO}
        Notification.objects.create(alert=alert, channel=channel, dedup_key="1", **row)
        with pytest.raises(IntegrityError, match="notification_once"):
            Notification.objects.create(alert=alert, channel=channel, dedup_key="2", **row)

    @pytest.mark.parametrize(
        ("state", "after", "lease", "due"),
        [
            ("waiting", 0, None, True),
            ("waiting", 1, None, False),
            ("sending", 0, -1, True),  # its sender died
            ("sending", 0, 1, False),
            ("sent", 0, -1, False),
            ("dead", 0, None, False),
        ],
    )
    def test_it_is_due_when_its_time_has_come_or_its_sender_died(self, state: str, after: int, lease: int | None, due: bool) -> None:
        seconds = {"run_after": LONG_AGO + timedelta(seconds=after), "created_at": LONG_AGO}
        if lease is not None:
            seconds["lease_until"] = LONG_AGO + timedelta(seconds=lease)
        channel = Channel.objects.create(name="ops", kind="webhook")
        Notification.objects.create(alert=make_alert(), channel=channel, edge_number=1, edge=Edge.FIRE, state=state, **seconds)
        assert Notification.objects.due(now=LONG_AGO).exists() is due


def test_a_channel_s_name_stands_once_in_a_team_or_for_all() -> None:
    Channel.objects.create(name="ops", kind="webhook")
    with pytest.raises(IntegrityError, match="channel_name_once"):
        Channel.objects.create(name="ops", kind="email")


def test_a_silence_has_a_length() -> None:
    with pytest.raises(IntegrityError, match="silence_has_a_length"):
        Silence.objects.create(start_at=LONG_AGO, end_at=LONG_AGO)

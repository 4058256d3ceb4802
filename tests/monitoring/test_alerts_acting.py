"""What people do with alerts: acknowledge, end it, silence, end it; each leaves a step and an audit entry."""

from datetime import UTC, datetime, timedelta

import pytest

from monitoring.alerts.acting import (
    ActError,
    SilenceError,
    acknowledge_end,
    acknowledgements_end,
    alert_acknowledge,
    alert_silence,
    silence_end,
    silence_make,
)
from monitoring.alerts.silences import silence_holds, silence_of
from monitoring.models import Alert, AlertThread, AlertTransition, AuditEvent, Channel, Notification, Silence
from tests.factories import make_alert, make_deployment, make_team
from tests.telemetry import NOON

HOUR = timedelta(hours=1)
pytestmark = pytest.mark.django_db


def notes(alert: Alert) -> list[str]:
    return list(AlertTransition.objects.filter(alert=alert).values_list("note", flat=True))


class TestAcknowledge:
    def test_it_holds_until_its_time_and_twice_changes_nothing(self) -> None:
        alert = make_alert()
        for _ in range(2):
            alert_acknowledge(alert, until=NOON + HOUR, by="ann@example.com", now=NOON)
        alert.refresh_from_db()
        assert alert.is_acknowledged(now=NOON + HOUR / 2) and not alert.is_acknowledged(now=NOON + HOUR)
        assert notes(alert) == ["acknowledged by ann@example.com until 2026-11-20 13:00 UTC"]
        assert [event.action for event in AuditEvent.objects.all()] == ["alert.acknowledge"]

    def test_without_a_time_it_holds_until_somebody_ends_it(self) -> None:
        alert = make_alert()
        alert_acknowledge(alert, until=None, by="ann", now=NOON)
        assert list(Alert.objects.acknowledged(now=NOON + 1000 * HOUR)) == [alert]
        acknowledge_end(alert, by="bob", now=NOON)
        assert not Alert.objects.acknowledged(now=NOON).exists() and notes(alert)[1] == "acknowledgement ended by bob"

    def test_one_that_ran_out_is_ended_once_with_a_step(self) -> None:
        alert = make_alert()
        alert_acknowledge(alert, until=NOON + HOUR, by="ann", now=NOON)
        assert [acknowledgements_end(now=NOON + at * HOUR) for at in (0.5, 1, 2)] == [0, 1, 0]
        assert notes(alert)[1:] == ["acknowledgement by ann ran out"]

    def test_what_is_over_cannot_be_acknowledged_nor_until_the_past(self) -> None:
        with pytest.raises(ActError, match="It ended at 2026-11-20 12:00 UTC"):
            alert_acknowledge(make_alert(state="resolved", closed_at=NOON), until=None, by="ann", now=NOON)
        with pytest.raises(ActError, match="later time"):
            alert_acknowledge(make_alert(), until=NOON, by="ann", now=NOON)

    def test_the_first_message_of_a_slack_app_is_to_be_changed(self) -> None:
        alert, app, mail = (
            make_alert(),
            Channel.objects.create(name="app", kind="slack_bot"),
            Channel.objects.create(name="m", kind="email"),
        )
        for channel in (app, mail):
            AlertThread.objects.create(alert=alert, channel=channel, reference="r", message_key="k")
        alert_acknowledge(alert, until=None, by="ann", now=NOON)
        row = Notification.objects.get()
        assert (row.channel, row.edge, row.content["acknowledged_by"]) == (app, "ack", "ann")


class TestSilence:
    def test_of_an_alert_it_means_that_alert_and_nothing_else(self) -> None:
        team = make_team()
        alert = make_alert(labels={"deployment": "a[1]*", "environment": ""}, team=team)
        silence = alert_silence(alert, until=NOON + HOUR, by="ann", reason="upgrade", now=NOON)
        others = [make_alert(alert.rule, labels={"deployment": name}, team=team) for name in ("a1x", "a[1]x")]
        assert [silence_of(row, [silence], now=NOON) for row in (alert, *others)] == [silence, None, None]
        assert notes(alert) == ["silenced by ann until 2026-11-20 13:00 UTC"] and silence.team == team

    def test_it_belongs_to_the_team_that_has_the_deployment_now(self) -> None:
        old, new = make_team(), make_team()
        alert = make_alert(deployment=make_deployment(team=new), team=old)
        silence = alert_silence(alert, until=NOON + HOUR, by="ann", reason="", now=NOON)
        assert silence.team == new and silence_of(Alert.objects.get(), [silence], now=NOON) == silence

    def test_a_repeating_one_keeps_its_time_of_day_when_clocks_change(self) -> None:
        first = datetime(2026, 10, 18, 0, 0, tzinfo=UTC)  # 02:00 in Berlin, a week before the clocks go back
        times = {"start_at": first, "end_at": first + HOUR, "repeat_days": 7}
        berlin, utc = (Silence(zone=zone, matchers={}, **times) for zone in ("Europe/Berlin", ""))
        moments = [datetime(2026, 11, 1, hour, 30, tzinfo=UTC) for hour in (0, 1)]
        assert [silence_holds(berlin, now=moment) for moment in moments] == [False, True]
        assert [silence_holds(utc, now=moment) for moment in moments] == [True, False]

    @pytest.mark.parametrize(
        ("fields", "problem", "words"),
        [
            ({"matchers": ""}, "matchers", "at least one label"),
            ({"matchers": "llama"}, "matchers", "label=pattern"),
            ({"end_at": None}, "end_at", "Say when"),
            ({"end_at": NOON - HOUR}, "end_at", "after it starts"),
            ({"end_at": "tomorrow"}, "end_at", "is written such as"),
            ({"end_at": "2026-11-22T18:00"}, "end_at", "needs its zone"),
            ({"zone": "Berlin"}, "zone", "Europe/Berlin"),
            ({"repeat_days": "3"}, "repeat_days", "daily"),
            ({"repeat_days": 1, "end_at": NOON + 25 * HOUR}, "repeat_days", "longer than the time"),
        ],
    )
    def test_a_mistake_has_its_sentence(self, fields: dict[str, object], problem: str, words: str) -> None:
        good = {"matchers": "deployment=llama*, rule=*", "end_at": NOON + HOUR}
        with pytest.raises(SilenceError) as caught:
            silence_make(good | fields, team=None, by="ann", now=NOON)
        assert words in caught.value.problems[problem] and not Silence.objects.exists()

    def test_ended_it_mutes_nothing_and_one_to_come_is_gone(self) -> None:
        alert = make_alert()
        now_on = alert_silence(alert, until=NOON + HOUR, by="ann", reason="", now=NOON)
        later = silence_make({"matchers": "rule=*", "start_at": NOON + 2 * HOUR, "end_at": NOON + 3 * HOUR}, team=None, by="ann", now=NOON)
        for silence in (now_on, later):
            silence_end(silence, by="bob", now=NOON + HOUR / 2)
        assert [silence_of(alert, Silence.objects.all(), now=NOON + HOUR / 2), list(Silence.objects.all())] == [None, [now_on]]
        assert notes(alert)[1] == "silence ended by bob"

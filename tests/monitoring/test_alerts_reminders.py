"""What is told again with an injected clock: repeats, one step of escalation, and what waits because a deployment was just told."""

import threading
from datetime import datetime, timedelta

import pytest
from django.db import connection

from monitoring.alerts.acting import acknowledge_end, alert_acknowledge
from monitoring.alerts.lifecycle import Step, Told, life_end
from monitoring.alerts.outbox import message_claim, outbox_sweep, sent_record
from monitoring.alerts.record import Change, changes_write, life_of
from monitoring.alerts.reminders import reminders_write
from monitoring.models import Alert, Channel, Notification, Silence
from tests.factories import make_alert, make_deployment, make_team
from tests.monitoring.test_alerts_outbox import make_channel, queue, states
from tests.telemetry import NOON

HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
pytestmark = pytest.mark.django_db


def told(*channels: Channel, now: datetime) -> list[str]:
    """Sweep, then send all that is due; the edges in the order they went out."""
    reminders_write(now=now)
    edges = []
    for channel in channels:
        while claim := message_claim(channel.pk, now=now, owner="a"):
            assert sent_record(claim, "ok", now=now)
            edges += [row.edge for row in claim.rows]
    return edges


def firing(channel: Channel, *, severity: str = "critical", **fields: object) -> Alert:
    alert = make_alert(severity=severity, edge_number=1, **fields)
    queue(alert, channel, "fire")
    assert told(channel, now=NOON) == ["fire"]
    return alert


class TestRepeats:
    @pytest.mark.parametrize(("severity", "hours"), [("critical", 4), ("warning", 24)])
    def test_it_is_told_again_each_so_many_hours_while_it_fires(self, severity: str, hours: int) -> None:
        channel = make_channel()
        alert = firing(channel, severity=severity)
        for number in (1, 2):
            assert told(channel, now=NOON + number * hours * HOUR - SECOND) == []
            assert told(channel, now=NOON + number * hours * HOUR) == ["repeat"]
        keys = list(Notification.objects.order_by("pk").values_list("dedup_key", flat=True))
        assert keys[1:] == [f"headroom-{alert.pk}-1-{channel.pk}-r{number}" for number in (1, 2)]

    def test_infos_never_and_a_channel_that_wants_none_never(self) -> None:
        quiet = make_channel("quiet", repeat_critical_seconds=0)
        usual = make_channel("usual")
        firing(quiet)
        firing(usual, severity="info")
        assert told(quiet, usual, now=NOON + 100 * HOUR) == []

    @pytest.mark.parametrize(
        "fields",
        [{"state": "recovering"}, {"state": "resolved", "closed_at": NOON, "fired": False}, {"inhibited_by": "away"}, {"flapping": True}],
    )
    def test_what_recovers_ended_is_muted_or_flaps_is_not(self, fields: dict[str, object]) -> None:
        channel = make_channel()
        firing(channel)
        Alert.objects.update(**fields)
        assert told(channel, now=NOON + 4 * HOUR) == []

    def test_a_silence_holds_it_back_and_it_comes_when_that_is_over(self) -> None:
        channel = make_channel()
        firing(channel)
        Silence.objects.create(matchers={}, start_at=NOON, end_at=NOON + 5 * HOUR)
        assert told(channel, now=NOON + 4 * HOUR) == [] and Notification.objects.count() == 1
        assert told(channel, now=NOON + 5 * HOUR) == ["repeat"]

    def test_acknowledged_it_is_not_told_again_until_that_ends(self) -> None:
        channel = make_channel()
        alert = firing(channel)
        alert_acknowledge(alert, until=NOON + 10 * HOUR, by="ann", now=NOON)
        assert told(channel, now=NOON + 9 * HOUR) == []
        assert told(channel, now=NOON + 10 * HOUR) == ["repeat"]
        assert Alert.objects.get().acknowledged_by == ""

    def test_one_that_was_acknowledged_or_ended_before_it_went_out_stays(self) -> None:
        channel = make_channel()
        alert = firing(channel)
        reminders_write(now=NOON + 4 * HOUR)
        alert_acknowledge(alert, until=None, by="ann", now=NOON + 4 * HOUR)
        assert message_claim(channel.pk, now=NOON + 4 * HOUR, owner="a") is None
        row = Notification.objects.get(edge="repeat")
        assert (row.state, row.suppressed_by) == ("suppressed", "acknowledged by ann")
        acknowledge_end(alert, by="ann", now=NOON + 5 * HOUR)
        outbox_sweep(now=NOON + 5 * HOUR)
        assert states(row) == ["suppressed"] and told(channel, now=NOON + 5 * HOUR) == ["repeat"]

    def test_it_waits_behind_one_that_is_on_its_way(self) -> None:
        channel = make_channel()
        firing(channel)
        for hours in (4, 8, 12):
            reminders_write(now=NOON + hours * HOUR)
        assert Notification.objects.filter(edge="repeat").count() == 1


class TestEscalation:
    def pair(self) -> tuple[Channel, Channel]:
        second = make_channel("second")
        return make_channel("first", escalate_to=second, escalate_after_seconds=600), second

    def test_what_nobody_acknowledged_goes_on_once_and_its_end_too(self) -> None:
        first, second = self.pair()
        alert = firing(first)
        assert told(first, second, now=NOON + 10 * MINUTE - SECOND) == []
        assert told(first, second, now=NOON + 10 * MINUTE) == ["escalation"]
        assert told(first, second, now=NOON + 60 * MINUTE) == []
        row = Notification.objects.get(edge="escalation")
        assert (row.channel, row.content["waited"], row.dedup_key) == (second, 600, f"headroom-{alert.pk}-{second.pk}-escalation")
        alert.refresh_from_db()
        end = Change(alert, life_of(alert).state, life_end(life_of(alert), now=(NOON + HOUR).timestamp()))
        changes_write([end], channels=[first, second, make_channel("third")], now=NOON + HOUR)
        assert sorted(Notification.objects.filter(edge="resolve").values_list("channel__name", flat=True)) == ["first", "second"]

    def test_acknowledged_in_time_it_stays_where_it_is(self) -> None:
        first, second = self.pair()
        alert_acknowledge(firing(first), until=None, by="ann", now=NOON)
        assert told(first, second, now=NOON + HOUR) == []

    def test_acknowledged_at_the_last_moment_too_and_it_goes_on_when_that_ends(self) -> None:
        first, second = self.pair()
        alert = firing(first)
        reminders_write(now=NOON + HOUR)
        alert_acknowledge(alert, until=NOON + 2 * HOUR, by="ann", now=NOON + HOUR)
        assert message_claim(second.pk, now=NOON + HOUR, owner="a") is None
        outbox_sweep(now=NOON + HOUR)
        assert Notification.objects.get(edge="escalation").state == "suppressed"
        reminders_write(now=NOON + 2 * HOUR)
        outbox_sweep(now=NOON + 2 * HOUR)
        assert told(second, now=NOON + 2 * HOUR) == ["escalation"]


@pytest.mark.django_db(transaction=True)
def test_three_sweepers_at_once_write_each_once() -> None:
    second = make_channel("second")
    first = make_channel("first", escalate_to=second)
    for _ in range(5):
        firing(first)
    start = threading.Barrier(3)

    def sweep() -> None:
        start.wait()
        reminders_write(now=NOON + 4 * HOUR)
        connection.close()

    threads = [threading.Thread(target=sweep) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(Notification.objects.values_list("edge", flat=True)) == ["escalation"] * 5 + ["fire"] * 5 + ["repeat"] * 5


class TestGroupInterval:
    def test_further_alerts_of_a_deployment_just_told_wait_for_the_interval(self) -> None:
        channel, deployment = make_channel(group_wait_seconds=30), make_deployment()
        firing(channel, severity="warning", deployment=deployment)
        (held,), (other,) = (queue(make_alert(deployment=pk), channel, "fire") for pk in (deployment, make_deployment()))
        assert told(channel, now=NOON + MINUTE) == ["fire"] and states(held, other) == ["waiting", "sent"]
        assert told(channel, now=NOON + 5 * MINUTE) == ["fire"] and states(held) == ["sent"]

    def test_what_is_graver_does_not_wait(self) -> None:
        channel, deployment = make_channel(group_wait_seconds=30), make_deployment()
        firing(channel, severity="warning", deployment=deployment)
        queue(make_alert(deployment=deployment, severity="critical"), channel, "fire")
        assert told(channel, now=NOON + MINUTE) == ["fire"]

    @pytest.mark.parametrize("fields", [{"group_wait_seconds": 0}, {"group_interval_seconds": 0}])
    def test_where_nothing_is_grouped_nothing_waits(self, fields: dict[str, int]) -> None:
        channel, deployment = make_channel(**{"group_wait_seconds": 30, **fields}), make_deployment()
        firing(channel, deployment=deployment)
        queue(make_alert(deployment=deployment), channel, "fire")
        assert told(channel, now=NOON + MINUTE) == ["fire"]

    def test_what_was_told_has_ended_so_the_next_is_news(self) -> None:
        channel, deployment = make_channel(group_wait_seconds=30), make_deployment()
        firing(channel, deployment=deployment)
        Alert.objects.update(state="resolved", closed_at=NOON, fired=False)
        queue(make_alert(deployment=deployment), channel, "fire")
        assert told(channel, now=NOON + MINUTE) == ["fire"]


def test_the_notice_of_flapping_goes_to_the_whole_team() -> None:
    team, other = make_team(), make_team()
    fields: list[dict[str, object]] = [
        {"team": team, "severities": ["critical"]},
        {"team": team, "matchers": {"deployment": "other*"}},
        {"team": other},
        {"severities": ["critical"]},
    ]
    channels = [make_channel(f"channel {number}", **more) for number, more in enumerate(fields)]
    alert = make_alert(severity="warning", team=team)
    changes_write([Change(alert, life_of(alert).state, Step(life_of(alert), Told.FLAPPING))], channels=channels, now=NOON)
    assert sorted(Notification.objects.values_list("channel__name", flat=True)) == ["channel 0", "channel 1"]


def test_slack_gets_one_message_a_second() -> None:
    channel = make_channel(kind="slack")
    for _ in range(2):
        queue(make_alert(), channel, "fire")
    assert [told(channel, now=NOON + number * SECOND) for number in (0, 0.5, 1)] == [["fire"], [], ["fire"]]

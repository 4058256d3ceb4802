"""What is told once a period: a channel switched off, messages given up, the weekly digest; our own troubles; the dead man's ping."""

import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from monitoring.alerts.channels.base import ChannelError, Message, Setup
from monitoring.alerts.digest import digests_write, week_of
from monitoring.alerts.heartbeat import WATCHED, PingError, dead_man_ping
from monitoring.alerts.notices import notices_send
from monitoring.alerts.outbox import GIVE_UP, failure_record, message_claim, outbox_sweep
from monitoring.alerts.troubles import own_troubles
from monitoring.models import AllowedAddress, Channel, Heartbeat, Membership, Notice, Notification, Role
from tests.channels import Sink, mail_sink
from tests.factories import make_admin, make_alert, make_member, make_team
from tests.monitoring.test_alerts_outbox import make_channel, queue
from tests.servers.loopback import serving
from tests.telemetry import NOON, at

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
MONDAY = datetime(2026, 11, 23, 6, tzinfo=UTC)
pytestmark = pytest.mark.django_db


@pytest.fixture
def sink(settings: Settings) -> Iterator[Sink]:
    settings.PUBLIC_URL = "https://headroom.example.com"
    with mail_sink(settings) as taken:
        yield taken


def send(now: datetime = NOON, **options: object) -> str:
    return notices_send(clock=lambda: now, owner="test", **options)  # type: ignore[arg-type]


def fail(channel: Channel, error: ChannelError, *, now: datetime = NOON) -> None:
    claim = message_claim(channel.pk, now=now, owner="a")
    assert claim
    failure_record(claim, error, now=now, rng=random.Random(1))


class TestSwitchedOff:
    def test_its_owner_gets_one_mail_that_says_what_to_do(self, sink: Sink) -> None:
        channel = make_channel(owner="owner@example.com")
        for _ in range(2):
            queue(make_alert(), channel, "fire")
        claims = [message_claim(channel.pk, now=NOON, owner="a"), message_claim(channel.pk, now=NOON + DAY / 2, owner="b")]
        for claim in claims:
            assert claim
            failure_record(claim, ChannelError("410 gone", switch_off=True), now=NOON, rng=random.Random(1))
        assert send() == "1 notices sent, 0 failed" and send() == ""
        (mail,) = sink.mails
        text = mail.get_content().replace("\r\n", "\n")
        assert sink.recipients == ["owner@example.com"] and mail["Subject"] == "[Headroom] Channel ops is switched off"
        assert "410 gone" in text and f"https://headroom.example.com/alerts/channels/{channel.pk}/" in text

    def test_without_an_owner_the_admins_of_its_team_and_else_those_of_the_install(self, sink: Sink) -> None:
        team, boss = make_team(), make_admin()
        chief = make_member(team, role=Role.ADMIN)
        make_member(team)
        for channel, to in ((make_channel("one", team=team), chief.email), (make_channel("two", team=make_team()), boss.email)):
            queue(make_alert(team=channel.team), channel, "fire")
            fail(channel, ChannelError("gone", switch_off=True))
            send()
            assert sink.recipients[-1] == to
        assert Membership.objects.count() == 2 == len(sink.mails)

    def test_a_mail_server_that_is_down_is_tried_again_for_a_day(self, sink: Sink) -> None:
        channel = make_channel(owner="owner@example.com")
        queue(make_alert(), channel, "fire")
        fail(channel, ChannelError("gone", switch_off=True))
        sink.refuse_mail = "451 later"
        assert send() == "0 notices sent, 1 failed" and send(NOON + timedelta(seconds=5)) == ""
        assert send(NOON + MINUTE) == "0 notices sent, 1 failed"
        sink.refuse_mail = ""
        assert send(NOON + 5 * MINUTE) == "1 notices sent, 0 failed" and "451 later" not in Notice.objects.get().last_error


class TestGivenUp:
    def test_the_admins_get_one_mail_a_channel_and_day(self, sink: Sink) -> None:
        boss, channel = make_admin(), make_channel()
        for day in (0, 0.1, 1):  # in between the channel rests
            now = NOON + day * DAY
            queue(make_alert(), channel, "fire")
            Notification.objects.filter(state="waiting").update(created_at=now - GIVE_UP, run_after=now)
            fail(channel, ChannelError("500"), now=now)
            send(now)
        assert sink.recipients == [boss.email] * 2 and Notification.objects.filter(state="dead").count() == 3

    def test_those_behind_a_channel_that_stays_off_too(self, sink: Sink) -> None:
        make_admin()
        queue(make_alert(), make_channel(switched_off_why="gone"), "fire")
        for _ in range(2):
            outbox_sweep(now=NOON + GIVE_UP)
        assert send(NOON + GIVE_UP) == "1 notices sent, 0 failed"
        assert sink.mails[0]["Subject"] == "[Headroom] Messages of channel ops were given up"


class TestDigest:
    def fired(self, name: str, *, day: float, **fields: object) -> None:
        make_alert(fired_at=MONDAY - 7 * DAY + day * DAY, labels={"deployment": name}, **{"severity": "warning", **fields})  # type: ignore[arg-type]

    def channel(self, name: str = "weekly", **fields: object) -> Channel:
        defaults = {"kind": "email", "options": {"to": ["ann@example.com"]}, "weekly_digest": True, "created_at": MONDAY - 30 * DAY}
        return make_channel(name, **defaults | fields)

    def test_a_week_is_from_monday_to_monday_and_told_on_monday_morning(self) -> None:
        assert week_of(MONDAY) == (datetime(2026, 11, 16, tzinfo=UTC), datetime(2026, 11, 23, tzinfo=UTC))
        assert week_of(MONDAY - MINUTE)[1] == datetime(2026, 11, 16, tzinfo=UTC) and week_of(MONDAY + 6 * DAY) == week_of(MONDAY)

    def test_warnings_and_infos_of_the_week_are_one_mail_once(self, sink: Sink) -> None:
        self.channel(severities=["critical"])
        make_channel("no digest", kind="email")
        self.fired("llama", day=1)
        self.fired("qwen", day=2, severity="info", state="resolved", closed_at=MONDAY)
        self.fired("grave", day=2, severity="critical")
        self.fired("old", day=-3)
        assert [digests_write(now=MONDAY + hour * DAY) for hour in (0, 0, 3)] == [1, 0, 0]
        assert send(MONDAY) == "1 notices sent, 0 failed" and send(MONDAY) == ""
        (mail,) = sink.mails
        text = str(mail.get_body(("plain",)).get_content())  # type: ignore[union-attr]
        assert mail["Subject"] == "Weekly digest, 16 Nov to 22 Nov 2026: 1 warning, 1 info; 1 still open"
        assert "[WARNING] llama" in text and "[RESOLVED] qwen" in text and "grave" not in text and "old" not in text

    def test_a_team_reads_of_its_own_and_of_its_labels_only(self) -> None:
        team, other = make_team(), make_team()
        self.channel(team=team, matchers={"deployment": "l*"})
        for name, owner in (("llama", team), ("lama", other), ("qwen", team)):
            self.fired(name, day=1, team=owner)
        digests_write(now=MONDAY)
        assert [content["labels"]["deployment"] for content in Notice.objects.get().content["told"]] == ["llama"]

    def test_an_empty_week_and_a_channel_of_today_say_nothing(self) -> None:
        self.channel()
        self.channel("new", created_at=MONDAY)
        assert digests_write(now=MONDAY) == 0 and [row.state for row in Notice.objects.all()] == ["suppressed"]
        assert send(MONDAY) == ""

    @pytest.mark.django_db(transaction=True)
    def test_three_at_once_write_and_send_it_once(self) -> None:
        self.channel()
        self.fired("llama", day=1)
        start, got, lock = threading.Barrier(3), list[str](), threading.Lock()

        def notify(setup: Setup, message: Message, now: datetime) -> str:
            with lock:
                got.append(message.key)
            return "ok"

        def work() -> None:
            start.wait()
            digests_write(now=MONDAY)
            send(MONDAY, kinds={"email": notify})
            connection.close()

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert got == [f"headroom-digest-{Channel.objects.get().pk}-2026-W47"]


class TestTroubles:
    def test_each_has_its_sentence_and_a_team_sees_its_own(self, settings: Settings) -> None:
        settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
        own, other = make_team(), make_team()
        off = make_channel("off", team=own, switched_off_why="410 gone", kind="email")
        late = make_channel("late", team=other)
        for state, attempts in (("dead", 9), ("waiting", 3), ("waiting", 0)):
            (row,) = queue(make_alert(), late, "fire")
            Notification.objects.filter(pk=row.pk).update(state=state, attempts=attempts)
        now = NOON + 20 * MINUTE
        with CaptureQueriesContext(connection) as seen:
            found = own_troubles(now=now)
        assert len(seen) == 2
        assert [(trouble.area, trouble.pk) for trouble in found] == [
            *(("mail", None), ("channel", off.pk), ("delivery", late.pk), ("delivery", late.pk)),
        ]
        assert [trouble.sentence for trouble in found] == [
            "E-mail channels cannot send: no mail server is set (HEADROOM_EMAIL_URL).",
            "Channel off is switched off: 410 gone",
            "1 message of channel late given up; replay or let them be.",
            "1 message of channel late could not be delivered for 20 min.",
        ]
        assert [trouble.area for trouble in own_troubles(now=now, team_ids=[own.pk])] == ["mail", "channel"]
        assert [trouble.area for trouble in own_troubles(now=NOON, team_ids=[])] == []


class TestDeadMan:
    def beat(self, *names: str) -> None:
        Heartbeat.objects.bulk_create(Heartbeat(name=name, at=NOON) for name in names)

    def test_it_is_pinged_while_all_loops_go_on_and_not_otherwise(self, settings: Settings) -> None:
        with serving(lambda handler: handler.reply(200, b"ok")) as server:
            settings.DEAD_MAN_URL = f"{server.url}/ping/secret-of-ours"
            AllowedAddress.objects.create(network="127.0.0.1/32", port=server.port)
            self.beat(*WATCHED[:-1])
            assert dead_man_ping(now=NOON) == "not pinged: monitoring.partitions_ahead stale" and server.seen == []
            self.beat(WATCHED[-1])
            assert dead_man_ping(now=at(180)) == "pinged" and server.seen[0].path == "/ping/secret-of-ours"
            for name in WATCHED[:-1]:
                assert name in dead_man_ping(now=at(181))
        assert len(server.seen) == 1

    def test_without_an_address_nothing_is_called(self) -> None:
        assert dead_man_ping(now=NOON) == ""

    def test_one_that_does_not_arrive_is_an_error_without_the_address_s_secret(self, settings: Settings) -> None:
        self.beat(*WATCHED)
        for url in ("http://169.254.169.254/secret-of-ours", "http://:80/secret-of-ours"):
            settings.DEAD_MAN_URL = url
            with pytest.raises(PingError) as caught:
                dead_man_ping(now=NOON)
            assert "secret-of-ours" not in str(caught.value)

"""The outbox with an injected clock: order, leases, back-off, folding, muting, grouping; a fake channel stands for the other side."""

import random
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from django.db import connection

from monitoring.alerts import outbox
from monitoring.alerts.channels.base import ChannelError, Message, Setup
from monitoring.alerts.outbox import (
    BACK_OFF,
    GIVE_UP,
    LEASE,
    MESSAGES_A_MINUTE,
    channels_due,
    dead_replay,
    failure_record,
    message_claim,
    outbox_sweep,
    sent_record,
)
from monitoring.alerts.record import content_of
from monitoring.alerts.send import notifications_send
from monitoring.models import Alert, Channel, Edge, Notification, NotificationState, Silence
from tests.factories import make_alert, make_deployment
from tests.servers.processes import wait_until
from tests.telemetry import NOON

SECOND = timedelta(seconds=1)
pytestmark = pytest.mark.django_db


def make_channel(name: str = "ops", **fields: object) -> Channel:
    return Channel.objects.create(**{"name": name, "kind": "webhook", "group_wait_seconds": 0} | fields)


def queue(alert: Alert, channel: Channel, *edges: str, after: float = 0.0) -> list[Notification]:
    first = Notification.objects.filter(alert=alert, channel=channel).count() + 1
    return [
        Notification.objects.create(
            alert=alert,
            channel=channel,
            edge_number=number,
            edge=edge,
            dedup_key=f"{alert.pk}-{number}-{channel.pk}",
            content=content_of(alert, edge=edge),
            run_after=NOON + after * SECOND,
            created_at=NOON,
        )
        for number, edge in enumerate(edges, start=first)
    ]


class FakeReceiver:
    """Takes messages of all kinds; says no as long as `answer` raises."""

    def __init__(self) -> None:
        self.now = NOON
        self.got: list[Message] = []
        self.refused = 0
        self.answer: Callable[[], None] = lambda: None
        self.lock = threading.Lock()

    def notify(self, setup: Setup, message: Message, now: datetime) -> str:
        try:
            self.answer()
        except ChannelError:
            self.refused += 1
            raise
        with self.lock:
            self.got.append(message)
        return "taken"

    def send(self, **options: object) -> str:
        kinds = dict.fromkeys(("webhook", "email", "slack", "alertmanager"), self.notify)
        return notifications_send(clock=lambda: self.now, owner="test", **{"kinds": kinds} | options)  # type: ignore[arg-type]

    def edges(self) -> list[tuple[int, str]]:
        return [(telling.content["alert"], telling.edge) for message in self.got for telling in message.told]


def states(*rows: Notification) -> list[str]:
    found = dict(Notification.objects.values_list("pk", "state"))
    return [found[row.pk] for row in rows]


class TestClaim:
    def test_a_message_is_claimed_once_until_its_lease_ends(self) -> None:
        channel = make_channel()
        queue(make_alert(), channel, "fire")
        first = message_claim(channel.pk, now=NOON, owner="a")
        assert first and message_claim(channel.pk, now=NOON + LEASE - SECOND, owner="b") is None
        again = message_claim(channel.pk, now=NOON + LEASE, owner="b")
        assert again and again.message == first.message

    def test_without_the_lease_it_would_be_claimed_twice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(outbox, "LEASE", 0 * SECOND)
        channel = make_channel()
        queue(make_alert(), channel, "fire")
        assert message_claim(channel.pk, now=NOON, owner="a") and message_claim(channel.pk, now=NOON, owner="b")

    def test_who_lost_the_lease_writes_nothing(self) -> None:
        channel = make_channel()
        (row,) = queue(make_alert(), channel, "fire")
        slow, quick = (message_claim(channel.pk, now=NOON + number * LEASE, owner="a") for number in (0, 1))
        assert slow and quick
        assert not sent_record(slow, "ok", now=NOON)
        assert not failure_record(slow, ChannelError("late"), now=NOON, rng=random.Random(1))
        assert states(row) == ["sending"]
        assert sent_record(quick, "ok", now=NOON) and states(row) == ["sent"]

    def test_no_edge_overtakes_an_earlier_one(self) -> None:
        channel = make_channel()
        alert = make_alert()
        queue(alert, channel, "fire", after=60)
        queue(alert, channel, "flapping")
        assert message_claim(channel.pk, now=NOON, owner="a") is None
        claim = message_claim(channel.pk, now=NOON + 60 * SECOND, owner="a")
        assert claim and [row.edge for row in claim.rows] == ["fire"]

    @pytest.mark.parametrize("off", [{"enabled": False}, {"switched_off_why": "gone"}])
    def test_a_channel_that_is_off_is_left_alone(self, off: dict[str, object]) -> None:
        channel = make_channel(**off)
        queue(make_alert(), channel, "fire")
        assert channels_due(now=NOON) == [] and message_claim(channel.pk, now=NOON, owner="a") is None


class TestFolding:
    def test_what_ended_before_it_was_told_is_told_with_its_end(self) -> None:
        channel = make_channel()
        rows = queue(make_alert(), channel, "fire", "resolve", after=30)
        assert message_claim(channel.pk, now=NOON, owner="a")
        assert states(*rows) == ["folded", "sending"]

    def test_what_was_tried_before_is_told_in_order(self) -> None:
        channel = make_channel()
        alert = make_alert()
        (fire,) = queue(alert, channel, "fire")
        claim = message_claim(channel.pk, now=NOON, owner="a")
        assert claim
        failure_record(claim, ChannelError("500"), now=NOON, rng=random.Random(1))
        (end,) = queue(alert, channel, "resolve")
        again = message_claim(channel.pk, now=NOON + 60 * SECOND, owner="a")
        assert again and again.rows == [fire] and states(fire, end) == ["sending", "waiting"]


class TestFailure:
    def fail(self, error: ChannelError, *, times: int, step: float = 400.0) -> Notification:
        channel = make_channel()
        (row,) = queue(make_alert(), channel, "fire")
        for number in range(times):
            now = NOON + number * step * SECOND
            claim = message_claim(channel.pk, now=now, owner="a")
            assert claim, f"nothing to claim at try {number + 1}"
            failure_record(claim, error, now=now, rng=random.Random(1))
        row.refresh_from_db()
        return row

    @pytest.mark.parametrize(("tries", "delay"), [*enumerate(BACK_OFF, start=1), (9, 300.0)])
    def test_it_backs_off(self, tries: int, delay: float) -> None:
        row = self.fail(ChannelError("500"), times=tries)
        waits = (row.run_after - NOON).total_seconds() - (tries - 1) * 400.0
        assert delay <= waits <= delay * 1.1 and row.last_error == "500" and row.attempts == tries

    def test_it_waits_as_long_as_it_was_asked_to(self) -> None:
        assert self.fail(ChannelError("429", retry_after=900), times=1).run_after == NOON + 900 * SECOND

    def test_after_a_day_it_is_given_up_and_can_be_replayed_under_the_same_key(self) -> None:
        row = self.fail(ChannelError("500"), times=2, step=GIVE_UP.total_seconds())
        assert row.state == NotificationState.DEAD
        later = NOON + 2 * GIVE_UP
        assert dead_replay(Notification.objects.all(), now=later) == 1
        claim = message_claim(row.channel_id, now=later, owner="a")
        assert claim and claim.message.key == row.dedup_key

    def test_what_the_other_side_refuses_is_given_up_after_three_tries(self) -> None:
        assert self.fail(ChannelError("400", permanent=True), times=2).state == "waiting"
        Notification.objects.all().delete()
        Channel.objects.all().delete()
        assert self.fail(ChannelError("400", permanent=True), times=3).state == "dead"

    def test_a_channel_that_is_gone_is_switched_off_and_keeps_what_waits(self) -> None:
        row = self.fail(ChannelError("410 gone", switch_off=True), times=1)
        row.channel.refresh_from_db()
        assert row.state == "waiting" and row.channel.switched_off_why == "410 gone"
        outbox_sweep(now=NOON + GIVE_UP - SECOND)
        assert states(row) == ["waiting"]
        assert outbox_sweep(now=NOON + GIVE_UP) == "1 given up, 0 muted no more"

    def test_the_whole_channel_rests(self) -> None:
        channel = make_channel()
        queue(make_alert(), channel, "fire")
        queue(make_alert(), channel, "fire")
        claim = message_claim(channel.pk, now=NOON, owner="a")
        assert claim
        failure_record(claim, ChannelError("500"), now=NOON, rng=random.Random(1))
        queue(make_alert(), channel, "fire")  # what comes into the rest waits too
        assert channels_due(now=NOON + 9 * SECOND) == [] and channels_due(now=NOON + 12 * SECOND) == [channel.pk]
        assert message_claim(channel.pk, now=NOON + 9 * SECOND, owner="a") is None

    def test_all_messages_of_a_channel_climb_one_ladder_and_a_success_ends_it(self) -> None:
        channel, now, knocks = make_channel(), NOON, 0
        while now < NOON + timedelta(hours=1):
            queue(make_alert(), channel, "fire")
            if claim := message_claim(channel.pk, now=now, owner="a"):
                knocks += 1
                failure_record(claim, ChannelError("500"), now=now, rng=random.Random(1))
            now += 10 * SECOND
        assert knocks <= 17
        later = now + timedelta(minutes=6)
        claim = message_claim(channel.pk, now=later, owner="a")
        assert claim and sent_record(claim, "ok", now=later)
        channel.refresh_from_db()
        assert (channel.failures, channel.rests_until) == (0, None)


class TestMuting:
    def claimed(self, channel: Channel, now: datetime = NOON) -> list[str]:
        claim = message_claim(channel.pk, now=now, owner="a")
        if claim is None:
            return []
        sent_record(claim, "ok", now=now)
        return [row.edge for row in claim.rows]

    def test_a_silence_keeps_the_row_and_says_who_it_was(self) -> None:
        channel = make_channel()
        silence = Silence.objects.create(matchers={"deployment": "l*"}, start_at=NOON, end_at=NOON + 60 * SECOND, reason="upgrade")
        muted, other = (queue(make_alert(labels={"deployment": name}), channel, "fire")[0] for name in ("llama", "qwen"))
        assert self.claimed(channel) == ["fire"]
        assert states(muted, other) == ["suppressed", "sent"]
        muted.refresh_from_db()
        assert muted.suppressed_by == f"silence {silence.pk}: upgrade"

    def test_what_still_fires_when_the_silence_ends_is_told_then(self) -> None:
        channel = make_channel()
        Silence.objects.create(matchers={}, start_at=NOON, end_at=NOON + 60 * SECOND)
        (row,) = queue(make_alert(), channel, "fire")
        assert self.claimed(channel) == []
        outbox_sweep(now=NOON + 59 * SECOND)
        assert states(row) == ["suppressed"]
        outbox_sweep(now=NOON + 60 * SECOND)
        assert self.claimed(channel, NOON + 60 * SECOND) == ["fire"]

    def test_an_inhibited_alert_is_not_told_nor_is_its_end(self) -> None:
        channel = make_channel()
        alert = make_alert(inhibited_by="source away")
        queue(alert, channel, "fire")
        assert self.claimed(channel) == []
        Alert.objects.update(inhibited_by="")
        (end,) = queue(alert, channel, "resolve")
        assert self.claimed(channel) == [] and states(end) == ["suppressed"]

    def test_the_end_of_what_was_told_is_told_in_spite_of_a_silence(self) -> None:
        channel = make_channel()
        alert = make_alert()
        queue(alert, channel, "fire")
        assert self.claimed(channel) == ["fire"]
        Silence.objects.create(matchers={}, start_at=NOON, end_at=NOON + 60 * SECOND)
        queue(alert, channel, "resolve")
        assert self.claimed(channel) == ["resolve"]


class TestGrouping:
    def test_alerts_of_one_deployment_share_a_message_where_the_channel_waits_for_them(self) -> None:
        channel = make_channel(group_wait_seconds=30)
        deployment = make_deployment()
        for number in range(4):
            queue(make_alert(deployment=deployment if number < 3 else make_deployment()), channel, "fire")
        claim = message_claim(channel.pk, now=NOON, owner="a")
        assert claim and len(claim.message.told) == 3

    def test_a_retry_tells_the_same_alerts_under_the_same_key(self) -> None:
        channel = make_channel()
        for _ in range(10):
            queue(make_alert(), channel, "fire")
        first = message_claim(channel.pk, now=NOON, owner="a")
        assert first and len(first.rows) == 10
        failure_record(first, ChannelError("500"), now=NOON, rng=random.Random(1))
        queue(make_alert(), channel, "fire")
        again = message_claim(channel.pk, now=NOON + 60 * SECOND, owner="a")
        assert again and again.message == first.message


@pytest.mark.django_db(transaction=True)
class TestSenders:
    @pytest.fixture
    def receiver(self) -> Iterator[FakeReceiver]:
        yield FakeReceiver()

    def test_everything_is_sent_and_the_answer_kept(self, receiver: FakeReceiver) -> None:
        one, two = make_channel("one"), make_channel("two")
        alert = make_alert()
        rows = [*queue(alert, one, "fire"), *queue(alert, two, "fire")]
        assert receiver.send() == "2 messages by 2 channels"
        assert states(*rows) == ["sent", "sent"] and receiver.send() == ""
        rows[0].refresh_from_db()
        assert (rows[0].response, rows[0].sent_at) == ("taken", NOON)

    def test_three_senders_at_once_send_nothing_twice(self, receiver: FakeReceiver) -> None:
        channels = [make_channel(f"channel {number}") for number in range(4)]
        for _ in range(5):
            alert = make_alert()
            for channel in channels:
                queue(alert, channel, "fire")
        start = threading.Barrier(3)

        def send() -> None:
            start.wait()
            receiver.send()
            connection.close()

        threads = [threading.Thread(target=send) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        keys = [telling.dedup_key for message in receiver.got for telling in message.told]
        assert len(keys) == len(set(keys)) == 20

    def test_a_channel_that_hangs_delays_no_other(self, receiver: FakeReceiver) -> None:
        alert = make_alert()
        hanging, *others = (make_channel(f"channel {number}", kind="slack" if number == 0 else "webhook") for number in range(3))
        for channel in (hanging, *others):
            queue(alert, channel, "fire")
        release, done = threading.Event(), threading.Event()

        def hang(setup: Setup, message: Message, now: datetime) -> str:
            release.wait(30)
            done.set()
            return "at last"

        try:
            said = receiver.send(kinds={"slack": hang, "webhook": receiver.notify}, round_seconds=0.5)
            assert said.endswith("still at it")  # the round did not wait for it
            wait_until(lambda: Notification.objects.filter(state="sent").count() == 2, seconds=30, what="the others to be sent")
            assert len(receiver.got) == 2 and receiver.send() == ""  # the hanging one is leased: nobody waits for it again
        finally:
            release.set()
        assert done.wait(30)
        for thread in threading.enumerate():
            if thread.daemon and thread.name.startswith("Thread-"):
                thread.join(10)
        assert set(Notification.objects.values_list("state", flat=True)) == {"sent"}

    @pytest.mark.parametrize("error", [ChannelError("500"), ChannelError("429", retry_after=120), ChannelError("no answer in time")])
    def test_after_an_hour_of_trouble_every_edge_arrives_in_order(self, receiver: FakeReceiver, error: ChannelError) -> None:
        bad, good = make_channel("bad", kind="slack"), make_channel("good")
        alerts = [make_alert() for _ in range(3)]
        healthy = FakeReceiver()

        def refuse() -> None:
            if receiver.now < NOON + timedelta(hours=1):
                raise error

        receiver.answer = refuse
        kinds = {"slack": receiver.notify, "webhook": healthy.notify}
        for minute in range(75):
            receiver.now = NOON + timedelta(minutes=minute)
            if minute in (0, 20, 40):
                for alert in alerts:
                    edge = Edge.RESOLVE if minute == 20 else Edge.FIRE
                    queue(alert, bad, edge, after=minute * 60)
                    queue(alert, good, edge, after=minute * 60)
            receiver.send(kinds=kinds)
            waiting = Notification.objects.filter(channel=good, run_after__lte=receiver.now).exclude(state="sent").count()
            assert waiting == 0, "the other channel was delayed"
        assert receiver.refused >= 5
        told = {alert.pk: [edge for pk, edge in receiver.edges() if pk == alert.pk] for alert in alerts}
        # The first was tried before it ended; the others' beginnings waited behind it and are told by their ends.
        assert list(told.values()) == [["fire", "resolve", "fire"], ["resolve", "fire"], ["resolve", "fire"]]
        assert Notification.objects.filter(channel=bad, state="folded").count() == 2
        assert not Notification.objects.exclude(state__in=("sent", "folded")).exists()

    def test_a_thousand_alerts_in_ten_seconds_are_at_most_twenty_messages_and_none_is_lost(self, receiver: FakeReceiver) -> None:
        channel = make_channel()
        alerts = Alert.objects.bulk_create([self.unsaved(number) for number in range(1000)])
        for second in range(10):
            receiver.now = NOON + second * SECOND
            rows = [self.row(alert, channel, receiver.now) for alert in alerts[second * 100 : second * 100 + 100]]
            Notification.objects.bulk_create(rows)
            receiver.send()
        for minute in range(1, 4):
            receiver.now = NOON + timedelta(minutes=minute, seconds=10)
            receiver.send()
        told = [telling.dedup_key for message in receiver.got for telling in message.told]
        assert len(receiver.got) <= 20 and len(told) == len(set(told)) == 1000

    def test_one_by_one_they_are_no_more_than_the_channel_may_say_in_a_minute(self, receiver: FakeReceiver) -> None:
        channel = make_channel()
        for second in range(30):
            receiver.now = NOON + second * SECOND
            queue(make_alert(), channel, "fire")
            receiver.send()
        assert len(receiver.got) == MESSAGES_A_MINUTE
        receiver.now = NOON + 80 * SECOND
        receiver.send()
        assert len(receiver.got) == MESSAGES_A_MINUTE + 1 and len(receiver.edges()) == 30

    def unsaved(self, number: int) -> Alert:
        times = dict.fromkeys(("state_since", "started_at", "fired_at", "known_at", "flipped_at"), NOON)
        return Alert(identity=str(number), rule_name="rule", severity="warning", summary="wrong", state="firing", fired=True, **times)

    def row(self, alert: Alert, channel: Channel, now: datetime) -> Notification:
        key = {"dedup_key": f"{alert.pk}", "content": content_of(alert, edge="fire"), "run_after": now, "created_at": now}
        return Notification(alert=alert, channel=channel, edge_number=1, edge="fire", **key)

    def test_a_mistake_of_ours_is_retried_like_any_other(self, receiver: FakeReceiver) -> None:
        (row,) = queue(make_alert(), make_channel(), "fire")

        def broken() -> None:
            raise KeyError("url")

        receiver.answer = broken
        receiver.send()
        row.refresh_from_db()
        assert (row.state, row.last_error) == ("waiting", "Headroom failed: KeyError")

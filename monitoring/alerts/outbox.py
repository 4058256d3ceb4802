"""The outbox: a message is claimed by lease, sent by somebody else, and its outcome written down only by who holds the lease.

Of one channel one message is on its way at a time. Of one alert and channel no edge overtakes an earlier one; an untold
beginning whose end waits already is told with its end. Where too many wait they share a message.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import uuid4

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from monitoring.alerts.addresses import addresses_off
from monitoring.alerts.channels.base import ChannelError, Message, Sent, Telling, Thread
from monitoring.alerts.silences import silence_of
from monitoring.alerts.threads import threads_begin, threads_load
from monitoring.models import (
    Alert,
    Channel,
    ChannelKind,
    Edge,
    Notice,
    NoticeKind,
    Notification,
    NotificationQuerySet,
    NotificationState,
    Severity,
    Silence,
    SloCount,
)

LEASE = timedelta(seconds=90)  # longer than any channel may take
BACK_OFF = (10.0, 30.0, 60.0, 120.0, 300.0)  # seconds; the last again and again
JITTER = 0.1
GIVE_UP = timedelta(hours=24)
ALERTS_KEPT = timedelta(days=400)
REFUSALS_MOST = 3  # of a message the other side does not want
SINGLE_MOST = 5  # deployments with a message of their own; where more wait, they share one
TOGETHER_MOST = 200  # alerts in one message
MESSAGES_A_MINUTE = 10  # by one channel
PACED, PACE = (ChannelKind.SLACK, ChannelKind.SLACK_BOT), timedelta(seconds=1)  # Slack takes one a second and channel
TOLD_LATER = (Edge.FIRE, Edge.FLAPPING, Edge.ESCALATION)  # when nothing mutes it any more
WAITING, SENDING = NotificationState.WAITING, NotificationState.SENDING


@dataclass(frozen=True)
class Claim:
    """A message and the token by which its outcome is written."""

    channel: Channel
    token: str
    rows: list[Notification]
    threads: Mapping[int, Thread] = field(default_factory=dict)  # of alerts that this channel was told of before

    @property
    def message(self) -> Message:
        told = tuple(Telling(row.dedup_key, row.edge, row.content, self.threads.get(row.alert_id)) for row in self.rows)
        return Message(self.rows[0].message_key, told, delivered=tuple(self.rows[0].delivered_to))


def channels_due(*, now: datetime) -> list[int]:
    rests = Q(channel__rests_until__gt=now)
    usable = Notification.objects.due(now=now).filter(~rests, channel__enabled=True, channel__switched_off_why="")
    return list(usable.order_by("channel").values_list("channel", flat=True).distinct())


def message_claim(channel_pk: int, *, now: datetime, owner: str) -> Claim | None:
    """The channel's next message, leased; None where there is none now, or another sender has one of this channel."""
    with transaction.atomic():
        # no_key: rounds go on writing notifications of this channel meanwhile.
        usable = Channel.objects.select_for_update(skip_locked=True, no_key=True).exclude(rests_until__gt=now)
        channel = usable.filter(pk=channel_pk, enabled=True, switched_off_why="").first()
        rows = Notification.objects.filter(channel=channel_pk)
        if channel is None or rows.filter(state=SENDING, lease_until__gt=now).exists():
            return None
        ends_fold(channel, now=now)
        muted_suppress(channel, now=now)
        group_hold(channel, now=now)
        chosen = message_choose(channel, now=now)
        if not chosen:
            return None
        token = f"{owner}/{uuid4().hex}"
        for row in chosen:
            row.state, row.lease_until, row.lease_owner = SENDING, now + LEASE, token
            row.attempts += 1
            row.message_key = row.message_key or chosen[0].dedup_key
        Notification.objects.bulk_update(chosen, ["state", "lease_until", "lease_owner", "attempts", "message_key"])
    return Claim(channel, token, chosen, threads_load(channel, chosen))


def ends_fold(channel: Channel, *, now: datetime) -> None:
    """A beginning nobody tried to tell, whose end waits too, is told by its end."""
    untried = Notification.objects.filter(channel=channel, state=WAITING, message_key="")
    ends = untried.filter(edge=Edge.RESOLVE, alert=OuterRef("alert"), edge_number=OuterRef("edge_number") + 1)
    folded = list(untried.filter(Exists(ends), edge=Edge.FIRE).values_list("alert", "edge_number"))
    for alert, number in folded:
        untried.filter(alert=alert, edge_number=number).update(state=NotificationState.FOLDED)
        untried.filter(alert=alert, edge_number=number + 1).update(run_after=now)


def muted_suppress(channel: Channel, *, now: datetime) -> None:
    """What a silence or something that is away mutes is kept, and not told. An end is told where its beginning was."""
    silences = list(Silence.objects.filter(start_at__lte=now))
    for row in untold(channel, now=now).filter(message_key="").select_related("alert"):
        silence = silence_of(row.alert, silences, now=now)
        reason = f"silence {silence.pk}: {silence.reason}" if silence else row.alert.inhibited_by
        if row.edge in (Edge.REPEAT, Edge.ESCALATION, Edge.ACK):
            reason = again_reason(row, "" if row.edge == Edge.ACK else reason, now=now)
        if row.edge == Edge.RESOLVE:
            before = Notification.objects.filter(alert=row.alert_id, channel=channel, edge_number__lt=row.edge_number)
            if before.filter(state=NotificationState.SENT).exists():
                continue
            last = before.order_by("-edge_number").first()
            reason = last.suppressed_by if last and last.state == NotificationState.SUPPRESSED else reason
        if reason:
            Notification.objects.filter(pk=row.pk).update(state=NotificationState.SUPPRESSED, suppressed_by=reason[:200])


def again_reason(row: Notification, reason: str, *, now: datetime) -> str:
    """What was to be told again is not, once the alert has ended or somebody looks after it."""
    if row.alert.closed_at is not None:
        return "it has ended"
    acknowledged = row.edge != Edge.ACK and row.alert.is_acknowledged(now=now)
    return f"acknowledged by {row.alert.acknowledged_by}" if acknowledged else reason


def group_hold(channel: Channel, *, now: datetime) -> None:
    """Further alerts of a deployment whose message is fresh wait until it is not; what is graver than all that was told does not."""
    if not channel.group_wait_seconds or not channel.group_interval_seconds:
        return
    interval = timedelta(seconds=channel.group_interval_seconds)
    begun = Notification.objects.filter(channel=channel, edge=Edge.FIRE, alert__deployment__isnull=False)
    told = begun.filter(state=NotificationState.SENT, sent_at__gt=now - interval, alert__closed_at__isnull=True)
    fresh: dict[int | None, tuple[datetime, bool]] = {}
    for deployment, sent_at, severity in told.values_list("alert__deployment", "sent_at", "alert__severity"):
        if sent_at is not None:
            last, critical = fresh.get(deployment, (sent_at, False))
            fresh[deployment] = (max(last, sent_at), critical or severity == Severity.CRITICAL)
    for pk, (last, critical) in fresh.items():
        held = untold(channel, now=now).filter(alert__deployment=pk, edge=Edge.FIRE, message_key="")
        held = held if critical else held.exclude(alert__severity=Severity.CRITICAL)
        Notification.objects.filter(pk__in=list(held.values_list("pk", flat=True))).update(run_after=last + interval)


def untold(channel: Channel, *, now: datetime) -> NotificationQuerySet:
    """Due ones of which no earlier edge of the same alert still waits, oldest first."""
    earlier = Notification.objects.unsent().filter(alert=OuterRef("alert"), channel=channel, edge_number__lt=OuterRef("edge_number"))
    return Notification.objects.due(now=now).filter(~Exists(earlier), channel=channel).order_by("created_at", "pk")


def message_choose(channel: Channel, *, now: datetime) -> list[Notification]:
    """What was tried before, as it was put together then; else new ones: by deployment, or all in one where they are many."""
    if channel.kind in PACED and Notification.objects.filter(channel=channel, sent_at__gt=now - PACE).exists():
        return []
    tried = untold(channel, now=now).exclude(message_key="").first()
    if tried is not None:
        together = Notification.objects.unsent().filter(channel=channel, message_key=tried.message_key)
        return list(together.order_by("created_at", "pk"))
    lately = Notification.objects.filter(channel=channel, sent_at__gt=now - timedelta(seconds=60))
    if lately.values("message_key").distinct().count() >= MESSAGES_A_MINUTE:
        return []
    waiting = list(untold(channel, now=now).select_related("alert")[:TOGETHER_MOST])
    if len({row.alert.deployment_id or row.alert_id for row in waiting}) > SINGLE_MOST:
        return waiting
    first = waiting[:1]
    if not first or not channel.group_wait_seconds or first[0].alert.deployment_id is None:
        return first
    return [row for row in waiting if row.alert.deployment_id == first[0].alert.deployment_id]


def sent_record(claim: Claim, response: Sent | str, *, now: datetime) -> bool:
    """Whether the outcome was ours to write: a sender that took longer than its lease has lost it."""
    sent = response if isinstance(response, Sent) else Sent(response)
    with transaction.atomic():
        held = Notification.objects.filter(lease_owner=claim.token, state=SENDING)
        fields = {"response": sent.response[:500], "last_error": "", "lease_until": None}
        if not held.update(state=NotificationState.SENT, sent_at=now, **fields):
            return False
        Channel.objects.filter(pk=claim.channel.pk, failures__gt=0).update(failures=0, rests_until=None)
        threads_begin(claim.channel, claim.rows, sent.reference)
        if sent.addresses_off:
            addresses_off(claim.channel.pk, sent.addresses_off, now=now)
    return True


def failure_record(claim: Claim, error: ChannelError, *, now: datetime, rng: random.Random) -> bool:
    """Try again later, give up, or switch the channel off; the whole channel rests meanwhile."""
    attempts, failures = claim.rows[0].attempts, claim.channel.failures + 1
    delay = BACK_OFF[min(attempts if error.permanent else failures, len(BACK_OFF)) - 1]
    again = now + timedelta(seconds=max(delay * (1 + JITTER * rng.random()), error.retry_after))
    with transaction.atomic():
        held = Notification.objects.filter(lease_owner=claim.token, state=SENDING)
        refused = error.permanent and not error.switch_off and attempts >= REFUSALS_MOST
        over = Q() if refused else Q(created_at__lte=now - GIVE_UP)
        fields: dict[str, object] = {"last_error": str(error)[:2000], "lease_until": None}
        if error.delivered:
            fields["delivered_to"] = list(dict.fromkeys([*claim.rows[0].delivered_to, *error.delivered]))
        dead = held.filter(over).update(state=NotificationState.DEAD, **fields)
        back = held.update(state=WAITING, run_after=again, **fields)
        if dead + back == 0:
            return False
        if error.addresses_off:
            addresses_off(claim.channel.pk, error.addresses_off, now=now)
        if error.switch_off:
            switch_off(claim.channel, str(error), now=now)
        if dead:
            given_up(claim.channel.pk, now=now)
        if not error.permanent:
            Channel.objects.filter(pk=claim.channel.pk).update(failures=failures, rests_until=again)
    return True


def switch_off(channel: Channel, why: str, *, now: datetime) -> None:
    """Once: its owner gets a mail; a second sender finds it switched off."""
    if Channel.objects.filter(pk=channel.pk, switched_off_why="").update(switched_off_why=why[:500] or "unknown", switched_off_at=now):
        Notice.objects.tell(channel.pk, NoticeKind.SWITCHED_OFF, period=now.isoformat(), content={"why": why[:500]}, now=now)


def given_up(channel: int, *, now: datetime) -> None:
    """One mail to the admins a channel and day, however many messages."""
    Notice.objects.tell(channel, NoticeKind.DEAD, period=f"{now:%Y-%m-%d}", content={}, now=now)


def dead_replay(rows: NotificationQuerySet, *, now: datetime) -> int:
    """Try those that were given up again, under the same key, for another day."""
    dead = rows.filter(state=NotificationState.DEAD)
    return dead.update(state=WAITING, attempts=0, run_after=now, created_at=now, last_error="")


def outbox_sweep(*, now: datetime) -> str:
    """Give up what waited for a day behind a channel that is off; tell what still fires and is muted no more."""
    off = Q(channel__enabled=False) | ~Q(channel__switched_off_why="")
    old = Notification.objects.filter(off, state=WAITING, created_at__lte=now - GIVE_UP)
    channels = sorted(set(old.values_list("channel", flat=True)))
    dead = old.update(state=NotificationState.DEAD, last_error="the channel stayed switched off for a day")
    for channel in channels:
        given_up(channel, now=now)
    muted = Notification.objects.filter(state=NotificationState.SUPPRESSED, alert__closed_at__isnull=True, alert__fired=True)
    silences = list(Silence.objects.filter(start_at__lte=now))
    free = [
        row.pk
        for row in muted.filter(edge__in=TOLD_LATER).select_related("alert")
        if not row.alert.inhibited_by
        and silence_of(row.alert, silences, now=now) is None
        and not (row.edge == Edge.ESCALATION and row.alert.is_acknowledged(now=now))
    ]
    Notification.objects.filter(pk__in=free).update(state=WAITING, run_after=now, created_at=now)
    return f"{dead} given up, {len(free)} muted no more" if dead or free else ""


def alerts_clean(*, now: datetime) -> str:
    """Alerts that ended 400 days ago go, with all they went through; judged minutes after two days."""
    gone, _ = Alert.objects.filter(closed_at__lt=now - ALERTS_KEPT).delete()
    SloCount.objects.filter(end_at__lt=now - timedelta(days=2)).delete()
    Notice.objects.filter(created_at__lt=now - ALERTS_KEPT).delete()
    return f"{gone} rows of old alerts deleted"

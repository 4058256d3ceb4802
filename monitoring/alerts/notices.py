"""Notices go out: digests by their channel, mails to the owner of a channel that was switched off, and to the admins for what was given up.

Claimed by a conditional update, sent, then written down by who holds the lease: as the outbox does it.
"""

import random
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from uuid import uuid4

import structlog
from django.conf import settings
from django.core.mail import EmailMessage

from monitoring.access import SecretError
from monitoring.alerts.channels.base import ChannelError, Message, Notify, Telling
from monitoring.alerts.channels.email import NO_SERVER, TROUBLES, mail_host, trouble_words
from monitoring.alerts.channels.registry import KINDS, hidden, secrets_of, setup_of
from monitoring.alerts.outbox import BACK_OFF, GIVE_UP, JITTER, LEASE
from monitoring.models import Channel, Membership, Notice, NoticeKind, NoticeQuerySet, Notification, NotificationState, Role, User

BUDGET_SECONDS = 30.0
Clock = Callable[[], datetime]
log = structlog.get_logger("headroom.alerts")


def notices_send(*, clock: Clock, owner: str, kinds: Mapping[str, Notify] = KINDS) -> str:
    """One line of what was told; empty: nothing."""
    began, sent, failed = time.monotonic(), 0, 0
    while time.monotonic() - began < BUDGET_SECONDS:
        notice = notice_claim(now=clock(), owner=owner)
        if notice is None:
            break
        done = notice_send(notice, clock=clock, kinds=kinds)
        sent, failed = sent + int(done), failed + int(not done)
    return f"{sent} notices sent, {failed} failed" if sent or failed else ""


def notice_claim(*, now: datetime, owner: str) -> Notice | None:
    """The oldest that is due, leased; who finds it taken looks for the next."""
    for pk in Notice.objects.due(now=now).order_by("run_after").values_list("pk", flat=True):
        token = f"{owner}/{uuid4().hex}"
        fields = {"state": NotificationState.SENDING, "lease_until": now + LEASE, "lease_owner": token}
        if Notice.objects.due(now=now).filter(pk=pk).update(**fields):
            return Notice.objects.select_related("channel__team").get(pk=pk)
    return None


def notice_send(notice: Notice, *, clock: Clock, kinds: Mapping[str, Notify]) -> bool:
    try:
        if notice.kind == NoticeKind.DIGEST:
            kinds[notice.channel.kind](setup_of(notice.channel), digest_message(notice), clock())
        else:
            letter_send(notice)
    except (ChannelError, SecretError) as error:
        failure(notice, text_of(error, notice.channel), permanent=isinstance(error, ChannelError) and error.permanent, now=clock())
        return False
    except Exception as error:
        log.exception("notice not sent", notice=notice.pk)
        failure(notice, f"Headroom failed: {type(error).__name__}", permanent=False, now=clock())
        return False
    held(notice).update(state=NotificationState.SENT, sent_at=clock(), last_error="", lease_until=None)
    return True


def held(notice: Notice) -> NoticeQuerySet:
    return Notice.objects.filter(pk=notice.pk, lease_owner=notice.lease_owner, state=NotificationState.SENDING)


def text_of(error: Exception, channel: Channel) -> str:
    return str(error) if isinstance(error, SecretError) else hidden(str(error), secrets_of(channel))


def failure(notice: Notice, text: str, *, permanent: bool, now: datetime) -> None:
    attempts = notice.attempts + 1
    delay = BACK_OFF[min(attempts, len(BACK_OFF)) - 1] * (1 + JITTER * random.random())
    over = permanent or now - notice.created_at >= GIVE_UP
    state = NotificationState.DEAD if over else NotificationState.WAITING
    fields = {"attempts": attempts, "last_error": text[:2000], "lease_until": None, "run_after": now + timedelta(seconds=delay)}
    held(notice).update(state=state, **fields)
    log.warning("notice not sent", notice=notice.pk, error=text)


def digest_message(notice: Notice) -> Message:
    told = tuple(Telling(f"headroom-digest-{notice.pk}-{content['alert']}", content["edge"], content) for content in notice.content["told"])
    return Message(f"headroom-digest-{notice.channel_id}-{notice.period}", told, notice.content["title"])


def letter_send(notice: Notice) -> None:
    if settings.EMAIL_BACKEND.endswith("console.EmailBackend"):
        raise ChannelError(NO_SERVER)
    to = admins() if notice.kind == NoticeKind.DEAD else owners_of(notice.channel)
    if not to:
        raise ChannelError("There is nobody to write to: no admin has an address.")
    subject, body = written(notice)
    headers = {"Message-ID": f"<headroom-notice-{notice.pk}@{mail_host()}>", "Auto-Submitted": "auto-generated"}
    try:
        EmailMessage(subject, body, settings.DEFAULT_FROM_EMAIL, to, headers=headers).send()
    except TROUBLES as error:
        raise ChannelError(trouble_words(error)) from None


def owners_of(channel: Channel) -> list[str]:
    """Who is named; else the admins of its team; else those of the install."""
    if channel.owner:
        return [channel.owner]
    chiefs = Membership.objects.filter(team=channel.team_id, role=Role.ADMIN, user__is_active=True) if channel.team_id else None
    return list(chiefs.values_list("user__email", flat=True)) if chiefs else admins()


def admins() -> list[str]:
    return list(User.objects.filter(is_superuser=True, is_active=True).order_by("pk").values_list("email", flat=True))


def written(notice: Notice) -> tuple[str, str]:
    """Subject and text: what happened, what it means, what to do."""
    channel = notice.channel
    name = f"{channel.name} ({channel.get_kind_display()}{f', team {channel.team.name}' if channel.team else ''})"
    page = f"{settings.PUBLIC_URL}/alerts/channels/{channel.pk}/"
    if notice.kind == NoticeKind.SWITCHED_OFF:
        lines = (
            f"Headroom switched off the channel {name}: the other side refuses all its messages.",
            f"It said: {notice.content.get('why', '')}",
            "Alerts for it wait for a day, then they are given up. Mend the channel, press Test, and switch it on again:",
            page,
        )
        return f"[Headroom] Channel {channel.name} is switched off", "\n\n".join(lines)
    dead = Notification.objects.filter(channel=channel, state=NotificationState.DEAD)
    last = dead.order_by("-pk").values_list("last_error", flat=True).first() or ""
    lines = (
        f"Headroom gave up messages of the channel {name}; {dead.count()} of them lie there.",
        f"The last one failed with: {last}",
        "They are not lost: look at the channel, then replay them from the log of deliveries.",
        page,
    )
    return f"[Headroom] Messages of channel {channel.name} were given up", "\n\n".join(lines)

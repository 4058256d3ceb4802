"""The product's own troubles with telling, for the banner: channels that are off, messages given up or late."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, Min, Q

from monitoring.alerts.channels.base import span_words
from monitoring.models import Channel, ChannelKind, Notification, NotificationState

LATE = timedelta(minutes=10)
DEAD_SHOWN = timedelta(days=7)


@dataclass(frozen=True)
class Trouble:
    """sentence; area: channel, delivery or mail; pk: of the channel, where there is one."""

    sentence: str
    area: str
    pk: int | None = None


def own_troubles(*, now: datetime, team_ids: Collection[int] | None = None) -> tuple[Trouble, ...]:
    """Two queries; team_ids: whose channels are looked at, None: everybody's."""
    channels = Channel.objects.filter(enabled=True)
    if team_ids is not None:
        channels = channels.filter(team__in=team_ids)
    rows = list(channels.only("pk", "name", "kind", "switched_off_why"))
    return (*mail_troubles(rows), *channel_troubles(rows), *delivery_troubles(rows, now=now))


def channel_troubles(channels: Collection[Channel]) -> list[Trouble]:
    off = [channel for channel in channels if channel.switched_off_why]
    return [Trouble(f"Channel {channel.name} is switched off: {channel.switched_off_why}", "channel", channel.pk) for channel in off]


def mail_troubles(channels: Collection[Channel]) -> list[Trouble]:
    if not settings.EMAIL_BACKEND.endswith("console.EmailBackend") or not any(channel.kind == ChannelKind.EMAIL for channel in channels):
        return []
    return [Trouble("E-mail channels cannot send: no mail server is set (HEADROOM_EMAIL_URL).", "mail")]


def delivery_troubles(channels: Collection[Channel], *, now: datetime) -> list[Trouble]:
    names = {channel.pk: channel.name for channel in channels}
    late = Q(state__in=("waiting", "sending"), attempts__gt=0, created_at__lt=now - LATE)
    dead = Q(state=NotificationState.DEAD, created_at__gt=now - DEAD_SHOWN)
    rows = Notification.objects.filter(late | dead, channel__in=names).values("channel").order_by("channel")
    troubles = []
    for row in rows.annotate(dead=Count("pk", filter=dead), late=Count("pk", filter=late), first=Min("created_at", filter=late)):
        name, pk = names[row["channel"]], row["channel"]
        if row["dead"]:
            troubles.append(Trouble(f"{messages_words(row['dead'])} of channel {name} given up; replay or let them be.", "delivery", pk))
        if row["late"]:
            since = span_words((now - row["first"]).total_seconds())
            troubles.append(Trouble(f"{messages_words(row['late'])} of channel {name} could not be delivered for {since}.", "delivery", pk))
    return troubles


def messages_words(count: int) -> str:
    return f"{count} message{'' if count == 1 else 's'}"

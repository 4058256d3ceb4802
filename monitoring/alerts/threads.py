"""The first message about an alert by a channel: later ones refer to it, and it changes in place where the channel can."""

from collections import defaultdict
from collections.abc import Sequence

from monitoring.alerts.channels.base import Telling, Thread
from monitoring.models import AlertThread, Channel, ChannelKind, Notification, NotificationState

THREADED = (ChannelKind.EMAIL, ChannelKind.SLACK_BOT)


def threads_load(channel: Channel, rows: Sequence[Notification]) -> dict[int, Thread]:
    """Of the rows' alerts; with what stood in the first message as it stands now, where the channel can change it."""
    if channel.kind not in THREADED:
        return {}
    own = list(AlertThread.objects.filter(channel=channel, alert__in=[row.alert_id for row in rows]))
    standing = standing_load(channel, own, rows) if channel.kind == ChannelKind.SLACK_BOT and own else {}
    return {thread.alert_id: Thread(thread.reference, tuple(standing.get(thread.message_key, ()))) for thread in own}


def standing_load(channel: Channel, own: Sequence[AlertThread], rows: Sequence[Notification]) -> dict[str, list[Telling]]:
    """For each of these messages the newest of every alert it told: what was sent last, or is being sent now."""
    siblings = AlertThread.objects.filter(channel=channel, message_key__in={thread.message_key for thread in own})
    keys = dict(siblings.order_by("alert").values_list("alert", "message_key"))
    told = Notification.objects.filter(channel=channel, alert__in=keys, state=NotificationState.SENT)
    newest: dict[int, Notification] = {}
    for row in [*told.exclude(edge="repeat").order_by("pk"), *rows]:
        newest[row.alert_id] = row
    standing = defaultdict[str, list[Telling]](list)
    for alert, key in keys.items():
        if alert in newest:
            standing[key].append(Telling(newest[alert].dedup_key, newest[alert].edge, newest[alert].content))
    return standing


def threads_begin(channel: Channel, rows: Sequence[Notification], reference: str) -> None:
    """Those of the rows' alerts that had no message yet have this one now."""
    if not reference or channel.kind not in THREADED:
        return
    alerts = dict.fromkeys(row.alert_id for row in rows)
    begun = [AlertThread(alert_id=alert, channel=channel, reference=reference[:200], message_key=rows[0].message_key) for alert in alerts]
    AlertThread.objects.bulk_create(begun, ignore_conflicts=True)

"""Once a week, to channels that ask for it: the warnings and infos of the week that has ended, whether they were told at once or not."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from monitoring.alerts.matching import labels_match
from monitoring.alerts.record import content_of
from monitoring.models import Alert, AlertQuerySet, Channel, Edge, Notice, NoticeKind, NotificationState, Severity

HOUR = 6  # UTC, on Monday
LISTED_MOST = 200
LISTED = (Severity.WARNING, Severity.INFO)


def week_of(now: datetime) -> tuple[datetime, datetime]:
    """The week that has ended: from Monday to Monday, UTC."""
    today = now.astimezone(UTC) - timedelta(hours=HOUR)
    end = (today - timedelta(days=today.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
    return end - timedelta(days=7), end


def digests_write(*, now: datetime) -> int:
    """One notice for each channel and week; how many. A channel younger than the week's end waits for the next."""
    start, end = week_of(now)
    period = f"{start:%G-W%V}"
    told = Notice.objects.filter(kind=NoticeKind.DIGEST, period=period).values("channel")
    wanted = Channel.objects.filter(weekly_digest=True, enabled=True, switched_off_why="", created_at__lt=end).exclude(pk__in=told)
    channels = list(wanted)
    alerts = list(alerts_of(start, end)) if channels else []
    return sum(digest_write(channel, alerts, start=start, end=end, period=period, now=now) for channel in channels)


def alerts_of(start: datetime, end: datetime) -> AlertQuerySet:
    return Alert.objects.filter(severity__in=LISTED, fired_at__gte=start, fired_at__lt=end).order_by("severity", "fired_at")


def digest_write(channel: Channel, alerts: Sequence[Alert], *, start: datetime, end: datetime, period: str, now: datetime) -> bool:
    """A week without any says nothing; its notice stands there all the same, so that nobody looks again."""
    own = [alert for alert in alerts if channel.team_id in (None, alert.team_id) and labels_match(alert.labels, channel.matchers)]
    title = f"Weekly digest, {start:%d %b} to {end - timedelta(days=1):%d %b %Y}: {counts_words(own)}"
    told = [content_of(alert, edge=Edge.RESOLVE if alert.closed_at else Edge.FIRE) for alert in reversed(own[-LISTED_MOST:])]
    written = Notice.objects.tell(channel.pk, NoticeKind.DIGEST, period=period, content={"title": title, "told": told}, now=now)
    if written and not own:
        Notice.objects.filter(channel=channel, kind=NoticeKind.DIGEST, period=period).update(state=NotificationState.SUPPRESSED)
    return written and bool(own)


def counts_words(alerts: Sequence[Alert]) -> str:
    counts = {severity: sum(alert.severity == severity for alert in alerts) for severity in LISTED}
    open_now = sum(alert.closed_at is None for alert in alerts)
    words = [f"{count} {severity.value}{'' if count == 1 else 's'}" for severity, count in counts.items()]
    return f"{', '.join(words)}; {open_now} still open"

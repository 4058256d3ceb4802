"""What is told again: repeats while an alert fires, and one step on to another channel where nobody acknowledges it.

Both are rows of the outbox with keys of their own, so that any number of sweepers writes each once.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Exists, Max, OuterRef, Q

from monitoring.alerts.acting import acknowledgements_end
from monitoring.alerts.enrichment import enrichments_of, trouble_of
from monitoring.alerts.silences import silence_of
from monitoring.models import Alert, AlertQuerySet, AlertState, Channel, Edge, Notification, NotificationState, Severity, Silence

TOLD = (Edge.FIRE, Edge.FLAPPING, Edge.REPEAT, Edge.ESCALATION)
BEGUN = (Edge.FIRE, Edge.FLAPPING)
WORDS = ("summary", "consequence", "first_action", "runbook_url")
UNSENT = (NotificationState.WAITING, NotificationState.SENDING)


def reminders_write(*, now: datetime) -> str:
    """One line of what there is to tell again; empty: nothing."""
    ended = acknowledgements_end(now=now)
    silences = list(Silence.objects.filter(start_at__lte=now))
    repeats, escalations = repeats_write(silences, now=now), escalations_write(silences, now=now)
    return f"{repeats} repeats, {escalations} escalations, {ended} acknowledgements over" if repeats or escalations or ended else ""


def alerts_going(*, now: datetime) -> AlertQuerySet:
    """Those that fire, that nothing mutes, and that nobody looks after."""
    going = Alert.objects.firing().filter(inhibited_by="").exclude(state=AlertState.RECOVERING).exclude(severity=Severity.INFO)
    return going.exclude(pk__in=Alert.objects.open().acknowledged(now=now).values("pk"))


def repeats_write(silences: Sequence[Silence], *, now: datetime) -> int:
    """For each alert and channel the next repeat, once its last message is old enough and none is on its way."""
    sent = Q(state=NotificationState.SENT, edge__in=TOLD)
    usable = Notification.objects.filter(alert__in=alerts_going(now=now).filter(flapping=False), channel__enabled=True)
    pairs = usable.filter(channel__switched_off_why="").values("alert", "channel").order_by("alert", "channel")
    found = pairs.annotate(
        last=Max("sent_at", filter=sent),
        newest=Max("pk", filter=sent),
        number=Max("number", filter=Q(edge=Edge.REPEAT)),
        unsent=Count("pk", filter=Q(state__in=UNSENT)),
    ).filter(last__isnull=False, unsent=0)
    numbers = {row["newest"]: (row["last"], (row["number"] or 0) + 1) for row in found}
    newest = Notification.objects.filter(pk__in=numbers).select_related("alert", "channel")
    due = [
        (row, number)
        for row, (last, number) in ((row, numbers[row.pk]) for row in newest)
        if repeat_seconds(row) and now - last >= timedelta(seconds=repeat_seconds(row)) and silence_of(row.alert, silences, now=now) is None
    ]
    known = known_now([row for row, _ in due], now=now)
    return rows_add(repeat_of(row, number, known[row.alert_id], now=now) for row, number in due)


def repeat_seconds(row: Notification) -> int:
    """0: never."""
    critical = row.alert.severity == Severity.CRITICAL
    return row.channel.repeat_critical_seconds if critical else row.channel.repeat_warning_seconds


def known_now(rows: Sequence[Notification], *, now: datetime) -> dict[int, dict[str, Any]]:
    """alert -> what it has cost up to now and what else is known, once for all that are told again together."""
    alerts = {row.alert_id: row.alert for row in rows}
    found = enrichments_of([trouble_of(alert, ended=False) for alert in alerts.values()], now=now)
    told = {}
    for (pk, alert), each in zip(alerts.items(), found, strict=True):
        spent = {"money": str(each.money), "currency": each.currency} if each.money is not None and not alert.finding else {}
        told[pk] = {"context": {**alert.context, **each.context}} | spent
    return told


def repeat_of(row: Notification, number: int, known: Mapping[str, Any], *, now: datetime) -> Notification:
    alert = row.alert
    key = f"headroom-{alert.pk}-{alert.edge_number}-{row.channel_id}-r{number}"
    return told_again(row, row.channel_id, edge=Edge.REPEAT, number=number, key=key, now=now, **known)


def told_again(row: Notification, channel: int, *, edge: str, number: int, key: str, now: datetime, **more: Any) -> Notification:
    """The last message with the words and numbers of now: a finding that stays is raised again with newer ones."""
    alert = row.alert
    words = {name: getattr(alert, name) for name in WORDS}
    fresh = words | {"edge": edge, "value": alert.value, "worst_value": alert.worst_value, "at": now.timestamp(), "acknowledged_by": ""}
    stale = ("value_text", "worst_text", "moved", "before")
    content = {name: value for name, value in row.content.items() if name not in stale} | fresh | more
    return Notification(
        alert=alert,
        channel_id=channel,
        edge_number=alert.edge_number,
        edge=edge,
        number=number,
        dedup_key=key,
        content=content,
        run_after=now,
        created_at=now,
    )


def escalations_write(silences: Sequence[Silence], *, now: datetime) -> int:
    """Once for each alert and channel it goes on to."""
    begun = Notification.objects.filter(alert__in=alerts_going(now=now), state=NotificationState.SENT, edge__in=BEGUN)
    told_on = Notification.objects.filter(alert=OuterRef("alert"), channel=OuterRef("channel__escalate_to"), edge=Edge.ESCALATION)
    waiting = begun.filter(~Exists(told_on), channel__escalate_to__enabled=True).select_related("alert", "channel")
    due = [
        row
        for row in waiting.order_by("pk")
        if row.sent_at is not None
        and now - row.sent_at >= timedelta(seconds=row.channel.escalate_after_seconds)
        and silence_of(row.alert, silences, now=now) is None
    ]
    known = known_now(due, now=now)
    return rows_add(escalation_of(row, row.channel, known[row.alert_id], now=now) for row in due)


def escalation_of(row: Notification, channel: Channel, known: Mapping[str, Any], *, now: datetime) -> Notification:
    key = f"headroom-{row.alert_id}-{channel.escalate_to_id}-escalation"
    waited = (now - (row.sent_at or now)).total_seconds()
    return told_again(row, channel.escalate_to_id or 0, edge=Edge.ESCALATION, number=0, key=key, now=now, waited=waited, **known)


def rows_add(rows: Iterable[Notification]) -> int:
    """How many; one that another sweeper wrote at the same moment is left alone."""
    new = {row.dedup_key: row for row in rows}
    Notification.objects.bulk_create(new.values(), ignore_conflicts=True)
    return len(new)

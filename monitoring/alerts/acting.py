"""What people do with alerts: acknowledge them, end that, silence them. Each leaves a step in the alert's history and an audit entry."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.db import transaction

from monitoring.access import audit
from monitoring.alerts.matching import matchers_read
from monitoring.alerts.record import content_of
from monitoring.models import Alert, AlertThread, AlertTransition, ChannelKind, Edge, Notification, Silence, Team

LONGEST = timedelta(days=366)
WILD = re.compile(r"([*?\[])")


class ActError(Exception):
    """It cannot be done; the text says why and what to do."""


class SilenceError(Exception):
    """A silence that cannot be: field -> one sentence with what was given, what is needed, what to do."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__(" ".join(problems.values()))
        self.problems = dict(problems)


def alert_acknowledge(alert: Alert, *, until: datetime | None, by: str, now: datetime) -> Alert:
    """Somebody looks after it: no repeats, no escalation, until then; without a time until it ends. Twice changes nothing."""
    if until is not None and until <= now:
        raise ActError(f"It can be acknowledged until a later time; {until:%Y-%m-%d %H:%M} UTC is over.")
    with transaction.atomic():
        locked = alert_lock(alert)
        if (locked.acknowledged_until, locked.acknowledged_by) == (until, by) and locked.is_acknowledged(now=now):
            return locked
        locked.acknowledged_at, locked.acknowledged_until, locked.acknowledged_by = now, until, by[:254]
        note = f"acknowledged by {by}" + (f" until {until.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if until else "")
        acknowledged_write(locked, note, now=now)
        audit(by, "alert.acknowledge", f"alert {alert.pk} {alert.rule_name}", after={"until": until})
    return locked


def acknowledge_end(alert: Alert, *, by: str, now: datetime) -> Alert:
    """It is told again, from now on."""
    with transaction.atomic():
        locked = alert_lock(alert)
        if locked.acknowledged_at is None:
            return locked
        acknowledged_clear(locked, f"acknowledgement ended by {by}", now=now)
        audit(by, "alert.acknowledge_end", f"alert {alert.pk} {alert.rule_name}")
    return locked


def acknowledgements_end(*, now: datetime) -> int:
    """Those whose time is over; how many. Any number of callers: each takes other rows."""
    with transaction.atomic():
        over = Alert.objects.open().filter(acknowledged_at__isnull=False, acknowledged_until__lte=now)
        alerts = list(over.select_for_update(skip_locked=True, no_key=True))
        for alert in alerts:
            acknowledged_clear(alert, f"acknowledgement by {alert.acknowledged_by} ran out", now=now)
    return len(alerts)


def acknowledged_clear(alert: Alert, note: str, *, now: datetime) -> None:
    alert.acknowledged_at, alert.acknowledged_until, alert.acknowledged_by = None, None, ""
    acknowledged_write(alert, note, now=now)


def alert_lock(alert: Alert) -> Alert:
    """The row as it is now, held: a round that goes on waits, and so do we for it."""
    locked = Alert.objects.select_for_update(no_key=True).get(pk=alert.pk)
    if locked.closed_at is not None:
        raise ActError(f"It ended at {locked.closed_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC, so there is nothing to do any more.")
    return locked


def acknowledged_write(alert: Alert, note: str, *, now: datetime) -> None:
    step_note(alert, note, now=now)
    alert.save(update_fields=["acknowledged_at", "acknowledged_until", "acknowledged_by", "step_number"])
    threads = AlertThread.objects.filter(alert=alert, channel__kind=ChannelKind.SLACK_BOT, channel__enabled=True)
    Notification.objects.bulk_create(
        Notification(
            alert=alert,
            channel_id=channel,
            edge_number=alert.edge_number,
            edge=Edge.ACK,
            number=alert.step_number,
            dedup_key=f"headroom-{alert.pk}-{alert.edge_number}-{channel}-a{alert.step_number}",
            content=content_of(alert, edge=Edge.ACK),
            run_after=now,
            created_at=now,
        )
        for channel in threads.values_list("channel", flat=True)
    )


def step_note(alert: Alert, note: str, *, now: datetime) -> None:
    """One line of its history; the caller holds the row and saves `step_number`."""
    alert.step_number += 1
    state = {"from_state": alert.state, "to_state": alert.state, "value": alert.value}
    AlertTransition.objects.create(alert=alert, number=alert.step_number, at=now, note=note[:300], **state)


def alert_silence(alert: Alert, *, until: datetime, by: str, reason: str, now: datetime) -> Silence:
    """Nothing of this rule on this subject is told until then."""
    labels = {name: value for name, value in alert.labels.items() if value} | {"rule": alert.rule_name}
    fields = {"matchers": {name: WILD.sub(r"[\1]", value) for name, value in labels.items()}, "end_at": until, "reason": reason}
    with transaction.atomic():
        locked = alert_lock(alert)
        if locked.deployment is not None:
            locked.team = locked.deployment.team  # it may have moved since it fired
        silence = silence_make(fields, team=locked.team, by=by, now=now)
        locked.silenced_by = silence
        step_note(locked, f"silenced by {by} until {until.astimezone(UTC):%Y-%m-%d %H:%M} UTC", now=now)
        locked.save(update_fields=["silenced_by", "step_number", "team"])
    return silence


@dataclass
class Read:
    """A form as it is read: what was wrong with it."""

    fields: Mapping[str, object]
    problems: dict[str, str] = field(default_factory=dict)

    def moment(self, name: str, *, default: datetime | None = None) -> datetime | None:
        given = self.fields.get(name)
        if given in (None, ""):
            return default
        try:
            found = given if isinstance(given, datetime) else datetime.fromisoformat(str(given))
        except ValueError:
            self.problems[name] = f"A time is written such as 2026-11-22T18:00+00:00; {str(given)[:80]!r} was given."
            return default
        if found.tzinfo is None:
            self.problems[name] = f"A time needs its zone, such as 2026-11-22T18:00+00:00; {str(given)[:80]!r} was given."
            return default
        return found

    def zone(self) -> str:
        name = str(self.fields.get("zone") or "")
        try:
            ZoneInfo(name or "UTC")
        except (ZoneInfoNotFoundError, ValueError, OSError):
            self.problems["zone"] = f"A time zone has a name such as Europe/Berlin; {name[:80]!r} was given."
        return name[:64]

    def days(self) -> int:
        given = str(self.fields.get("repeat_days") or 0)
        if given not in ("0", "1", "7"):
            self.problems["repeat_days"] = f"It repeats never (0), daily (1) or weekly (7); {given[:20]!r} was given."
            return 0
        return int(given)

    def matchers(self) -> dict[str, str]:
        try:
            found = matchers_read(self.fields.get("matchers"))
        except ValueError as problem:
            self.problems["matchers"] = str(problem)
            return {}
        if not found:
            self.problems["matchers"] = "Name at least one label, such as deployment=llama*; rule=* means every alert."
        return found


def silence_make(fields: Mapping[str, object], *, team: Team | None, by: str, now: datetime) -> Silence:
    """A saved silence: matchers, start_at (now), end_at, repeat_days, repeat_until, zone, reason."""
    read = Read(fields)
    silence = Silence(
        team=team,
        matchers=read.matchers(),
        start_at=read.moment("start_at", default=now) or now,
        end_at=read.moment("end_at") or now,
        repeat_days=read.days(),
        repeat_until=read.moment("repeat_until"),
        zone=read.zone(),
        reason=str(fields.get("reason") or "").strip()[:300],
        created_by=by[:254],
        created_at=now,
    )
    missing = {} if fields.get("end_at") else {"end_at": "Say when the silence ends."}
    problems = span_problems(silence, now=now) | missing | read.problems
    if problems:
        raise SilenceError(problems)
    with transaction.atomic():
        silence.save()
        audit(by, "silence.create", f"silence {silence.pk}", after=silence_fields(silence))
    return silence


def span_problems(silence: Silence, *, now: datetime) -> dict[str, str]:
    length = silence.end_at - silence.start_at
    if length <= timedelta(0):
        return {"end_at": "It must end after it starts; choose a later end."}
    if length > LONGEST:
        return {"end_at": f"A silence lasts a year at most, and this one would last {length.days} days; change the rule instead."}
    if not silence.repeat_days:
        return {"end_at": "That is over already; choose an end that is still to come."} if silence.end_at <= now else {}
    if length > timedelta(days=silence.repeat_days):
        return {"repeat_days": "It is longer than the time after which it repeats; make it shorter, or let it repeat less often."}
    if silence.repeat_until is not None and silence.repeat_until <= max(now, silence.start_at):
        return {"repeat_until": "It would stop repeating before it begins; choose a later end of the repeating, or leave it empty."}
    return {}


def silence_fields(silence: Silence) -> dict[str, object]:
    names = ("matchers", "start_at", "end_at", "repeat_days", "repeat_until", "zone", "reason")
    return {"team": silence.team.name if silence.team else "", **{name: getattr(silence, name) for name in names}}


def silence_end(silence: Silence, *, by: str, now: datetime) -> None:
    """From now on it mutes nothing; one that has not begun is taken away."""
    with transaction.atomic():
        # no_key: a round that holds the alerts names the silence in them, and we wait for its alerts.
        locked = Silence.objects.select_for_update(no_key=True).filter(pk=silence.pk).first()
        if locked is None:
            return
        audit(by, "silence.end", f"silence {locked.pk}", before=silence_fields(locked))
        for alert in Alert.objects.open().filter(silenced_by=locked).select_for_update(no_key=True):
            alert.silenced_by = None
            step_note(alert, f"silence ended by {by}", now=now)
            alert.save(update_fields=["silenced_by", "step_number"])
        if now <= locked.start_at:
            locked.delete()
            return
        locked.end_at, locked.repeat_until = min(locked.end_at, now), now
        locked.save(update_fields=["end_at", "repeat_until"])

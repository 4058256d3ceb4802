"""Which silence mutes an alert now."""

from collections.abc import Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

from monitoring.alerts.matching import Span, labels_match
from monitoring.models import Alert, Silence


def silence_of(alert: Alert, silences: Iterable[Silence], *, now: datetime) -> Silence | None:
    """The first that holds now and means this alert. A team's silence reaches its own alerts only."""
    return next(
        (
            silence
            for silence in silences
            if (silence.team_id is None or silence.team_id == alert.team_id)
            and silence_holds(silence, now=now)
            and labels_match(alert.labels | {"rule": alert.rule_name, "severity": alert.severity}, silence.matchers)
        ),
        None,
    )


def silence_holds(silence: Silence, *, now: datetime) -> bool:
    """One that repeats keeps its time of day in its zone when clocks change: it is counted on the wall clock there."""
    if not silence.repeat_days:
        return Span(silence.start_at, silence.end_at).holds(now)
    if silence.repeat_until is not None and now >= silence.repeat_until:
        return False
    start, end, moment = (
        at.astimezone(ZoneInfo(silence.zone or "UTC")).replace(tzinfo=None) for at in (silence.start_at, silence.end_at, now)
    )
    return Span(start, end, silence.repeat_days).holds(moment)

"""Which silence mutes an alert now."""

from collections.abc import Iterable
from datetime import datetime

from monitoring.alerts.matching import Span, labels_match
from monitoring.models import Alert, Silence


def silence_of(alert: Alert, silences: Iterable[Silence], *, now: datetime) -> Silence | None:
    """The first that holds now and means this alert. A team's silence reaches its own alerts only."""
    return next(
        (
            silence
            for silence in silences
            if (silence.team_id is None or silence.team_id == alert.team_id)
            and Span(silence.start_at, silence.end_at, silence.repeat_days, silence.repeat_until).holds(now)
            and labels_match(alert.labels | {"rule": alert.rule_name, "severity": alert.severity}, silence.matchers)
        ),
        None,
    )

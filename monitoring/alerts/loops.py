"""Our own analyses that stand still: figures look fresh and are not, so it is an alert like any other."""

from datetime import datetime, timedelta

from monitoring.alerts.findings import Finding, alert_raise, alert_resolve
from monitoring.models import Alert, Heartbeat, Severity

RULE = "analysis-stale"
STALE = timedelta(minutes=15)
WATCHED = {  # loop -> what is old while it stands still
    "capacity.status_update": "Fleet, statuses and SLO accounts show what was true then.",
    "capacity.forecasts_hour": "Forecasts, and the plans that rest on them, show what was expected then.",
    "monitoring.rollups_fill": "Charts of long windows end then, and rules over them read far more than they need.",
}


def loops_watch(*, now: datetime, resumed_at: datetime) -> int:
    """Raise and end the alert of each loop; how many stand still. Two queries while all is well.

    A loop is not late for the time in which nothing of ours ran.
    """
    beats = dict(Heartbeat.objects.filter(name__in=WATCHED).values_list("name", "at"))
    stale = {name: at for name, at in beats.items() if now - max(at, resumed_at) > STALE}
    opened = Alert.objects.open().filter(rule_name=RULE, finding=True).values_list("labels", flat=True)
    told = {str(labels.get("loop", "")) for labels in opened}
    for name in sorted(set(stale) - told):
        alert_raise(None, finding_of(name), now=now)
    for name in sorted(told - set(stale)):
        alert_resolve(RULE, {"loop": name}, now=now, note="it runs again")
    return len(stale)


def finding_of(name: str) -> Finding:
    return Finding(
        rule=RULE,
        labels={"loop": name},
        summary="An analysis of Headroom stands still",
        severity=Severity.WARNING,
        consequence=WATCHED[name],
        first_action="Open Status: what does the last run of this loop say, and does the worker of its queue run?",
    )

"""An alert in the words of the screen: its state, of what, how bad, who looks after it, what mutes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.urls import reverse

from capacity.dashboards.pages import milliseconds
from capacity.dashboards.words import figure, moment, span
from monitoring.alerts.signals import signal_find
from monitoring.catalog.columns import COLUMNS, RATIOS
from monitoring.models import Alert, AlertState, Comparison, Rule, Severity

# (symbol, tone, word), as in tags.STATUSES
SEVERITIES = {
    Severity.CRITICAL: ("crit", "crit", "Critical"),
    Severity.WARNING: ("warn", "warn", "Warning"),
    Severity.INFO: ("info", "info", "Info"),
}
STATES = {
    AlertState.PENDING: ("pend", "warn", "Pending"),
    AlertState.RECOVERING: ("pend", "info", "Recovering"),
    AlertState.NO_DATA: ("none", "none", "No data"),
    AlertState.ERROR: ("none", "warn", "Cannot tell"),
    AlertState.RESOLVED: ("tick", "ok", "Resolved"),
    AlertState.OK: ("ring", "none", "Ended before it fired"),
}
LABELS = {column.name: column.label for columns in COLUMNS.values() for column in columns} | {ratio.name: ratio.label for ratio in RATIOS}
NAMED_LABELS = {
    "slo_latency_burn": "Burn rate of the latency SLO",
    "slo_error_burn": "Burn rate of the error SLO",
    "queue_growth": "Queue growth",
    "replica_skew": "Replica skew",
    "deployment_silent_seconds": "Silence",
    "ecc_errors_new": "New memory errors",
    "xid_changed": "Xid change",
    "agent_silent_seconds": "Silence",
    "clock_skew_seconds": "Clock difference",
    "source_silent_seconds": "Silence",
}
BEFORE, AFTER = timedelta(hours=1), timedelta(minutes=30)  # what a link to a page shows around an alert


@dataclass(frozen=True)
class Flag:
    """Acknowledged, silenced, muted: a symbol and words."""

    icon: str
    text: str


@dataclass(frozen=True)
class AlertRow:
    """One alert as lists and its own page show it."""

    alert: Alert
    icon: str
    tone: str
    word: str
    title: str
    lasted: str
    line: str
    flags: tuple[Flag, ...]
    open_url: str  # the deployment's page at that time; empty where there is none
    may_act: bool

    @property
    def acknowledged(self) -> bool:
        return any(flag.icon == "tick" for flag in self.flags)


def alert_row(alert: Alert, *, now: datetime, zone: ZoneInfo, may_act: bool = False) -> AlertRow:
    icon, tone, word = state_words(alert)
    return AlertRow(
        alert=alert,
        icon=icon,
        tone=tone,
        word=word,
        title=f"{subject_words(alert.labels, fallback=alert.rule_name)}: {lowered(alert.summary)}",
        lasted=lasted_words(alert, now=now, zone=zone),
        line=line_words(alert),
        flags=flags_of(alert, now=now, zone=zone) if alert.closed_at is None else (),
        open_url=deployment_url(alert, now=now),
        may_act=may_act and alert.closed_at is None,
    )


def state_words(alert: Alert) -> tuple[str, str, str]:
    """Firing says how grave it is; everything else says its state."""
    if alert.state == AlertState.FIRING:
        return SEVERITIES[Severity(alert.severity)]
    return STATES[AlertState(alert.state)]


def subject_words(labels: Mapping[str, str], *, fallback: str) -> str:
    """Of what: the name people know it by."""
    if name := labels.get("deployment"):
        return name
    if uuid := labels.get("accelerator"):
        return f"{short_uuid(uuid)} on {labels.get('node') or 'an unknown node'}"
    return labels.get("node") or labels.get("source") or fallback


def short_uuid(uuid: str) -> str:
    return uuid if len(uuid) <= 14 else f"{uuid[:12]}…"


def lowered(text: str) -> str:
    """As the second half of a sentence; "GPU" and "KV cache" stay as they are."""
    return text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text


def lasted_words(alert: Alert, *, now: datetime, zone: ZoneInfo) -> str:
    if alert.closed_at is not None:
        return moment(alert.closed_at, now=now, zone=zone)
    return span(max((now - alert.started_at).total_seconds(), 0.0))


def line_words(alert: Alert) -> str:
    """How bad, in one line; of one that is over: how long and how bad at worst."""
    if alert.closed_at is not None:
        lasted = f"lasted {span((alert.closed_at - alert.started_at).total_seconds())}"
        worst = f", worst {value_words(alert, alert.worst_value)}" if alert.worst_value is not None else ""
        return lasted + worst + minutes_words(alert)
    measured = value_sentence(alert)
    return f"{measured} {alert.consequence}".strip()


def minutes_words(alert: Alert) -> str:
    """SLO minutes it cost, where enrichment knew them."""
    lost = alert.context.get("slo_minutes_lost")
    return f", {lost:.0f} SLO minutes lost" if isinstance(lost, (int, float)) else ""


def value_sentence(alert: Alert) -> str:
    """ "KV cache used 97 %, limit 95 %." """
    if alert.value is None or alert.finding:
        return ""
    limit = f", {limit_words(alert.rule)}" if alert.rule is not None else ""
    name = signal_label(alert.rule.signal) if alert.rule is not None else "Value"
    return f"{name} {value_words(alert, alert.value)}{limit}."


def limit_words(rule: Rule) -> str:
    side = "fires below" if rule.comparison == Comparison.BELOW else "fires above"
    return f"{side} {figure(rule.threshold, unit_of(rule))}"


def value_words(alert: Alert, value: float | None) -> str:
    return str(figure(value, unit_of(alert.rule) if alert.rule is not None else ""))


def unit_of(rule: Rule) -> str:
    signal = signal_find(rule.entity, rule.signal)
    return signal.unit if signal is not None else ""


def signal_label(name: str) -> str:
    return NAMED_LABELS.get(name) or LABELS.get(name) or name.replace("_", " ")


def flags_of(alert: Alert, *, now: datetime, zone: ZoneInfo) -> tuple[Flag, ...]:
    flags = []
    if alert.is_acknowledged(now=now):
        until = f" until {moment(alert.acknowledged_until, now=now, zone=zone)}" if alert.acknowledged_until is not None else ""
        flags.append(Flag("tick", f"Acknowledged by {alert.acknowledged_by}{until}"))
    if alert.silenced_by is not None:
        silence = alert.silenced_by
        reason = f": {silence.reason}" if silence.reason else ""
        until = "" if silence.repeat_days else f" until {moment(silence.end_at, now=now, zone=zone)}"
        flags.append(Flag("mute", f"Silenced{until}{reason}"))
    if alert.inhibited_by:
        flags.append(Flag("mute", f"Muted: {alert.inhibited_by}"))
    if alert.flapping:
        flags.append(Flag("drift", "Flapping: comes and goes, told again once it has settled"))
    return tuple(flags)


def deployment_url(alert: Alert, *, now: datetime) -> str:
    """The deployment's page around the alert; still going on: up to now."""
    if alert.deployment_id is None:
        return ""
    return f"{reverse('deployment', args=[alert.deployment_id])}?{time_query(alert.started_at, alert.closed_at, now=now)}"


def time_query(start: datetime, end: datetime | None, *, now: datetime) -> str:
    until = milliseconds(end + AFTER) if end is not None and end + AFTER < now else "now"
    return f"from={milliseconds(start - BEFORE)}&to={until}"

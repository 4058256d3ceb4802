"""One alert: the sentence, what it costs, what to do first, the chart of its moment, and all that happened to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET

from capacity.dashboards.alerts_chart import alert_chart
from capacity.dashboards.alerts_words import (
    SEVERITIES,
    STATES,
    AlertRow,
    alert_row,
    limit_words,
    signal_label,
    value_words,
)
from capacity.dashboards.pages import zone_of
from capacity.dashboards.replies import guarded, show
from capacity.dashboards.words import span
from monitoring.access import Actor, actor_of, alert_get, alerts_for, may_act, notifications_for, team_of_alert
from monitoring.models import Alert, AlertState, AlertTransition, Edge, Notification, NotificationState, Rule, Severity
from monitoring.series import watermarks_held

STEPS_MOST, SENT_MOST, BEFORE_MOST = 60, 100, 5
EDGES = {
    Edge.FIRE: "that it fires",
    Edge.RESOLVE: "its end",
    Edge.FLAPPING: "that it flaps",
    Edge.REPEAT: "that it still fires",
    Edge.ESCALATION: "that nobody acknowledged it",
    Edge.ACK: "who acknowledged it",
}
# state of a delivery -> symbol, tone, word
DELIVERIES = {
    NotificationState.WAITING: ("ring", "none", "Waits"),
    NotificationState.SENDING: ("pend", "info", "On its way"),
    NotificationState.SENT: ("tick", "ok", "Sent"),
    NotificationState.FOLDED: ("mute", "off", "Told with its end"),
    NotificationState.SUPPRESSED: ("mute", "off", "Not sent"),
    NotificationState.DEAD: ("crit", "crit", "Given up"),
}


@dataclass(frozen=True)
class Happening:
    """One line of "What happened?"."""

    at: datetime
    icon: str
    tone: str
    word: str
    text: str


@guarded
@require_GET
def alert(request: HttpRequest, *, pk: int) -> HttpResponse:
    actor, now, zone = actor_of(request), timezone.now(), zone_of(request)
    row = alert_get(actor, pk)
    steps = list(AlertTransition.objects.filter(alert=row).order_by("-number")[:STEPS_MOST])
    with watermarks_held():
        chart = alert_chart(row, actor=actor, now=now, zone=zone)
    sent = list(notifications_for(actor).filter(alert=row).order_by("-created_at", "-pk")[:SENT_MOST])
    shown = alert_row(row, now=now, zone=zone, may_act=may_act(actor, team_of_alert(row)))
    context = {
        "alert": row,
        "row": shown,
        "standing": standing_words(shown, now=now),
        "acknowledged": row.is_acknowledged(now=now),
        "facts": facts(row, zone=zone),
        "context": context_facts(row),
        "chart": chart,
        "happenings": happenings(row, steps, sent),
        "earlier": [alert_row(each, now=now, zone=zone) for each in earlier(actor, row)],
        "may_end": row.silenced_by is not None and may_act(actor, row.silenced_by.team_id),
        "next": request.path,
        "now": now,
    }
    return show(request, "alerts/alert.html", context)


def standing_words(row: AlertRow, *, now: datetime) -> str:
    """ "Critical, firing 31 min, not acknowledged": how grave, what state, since when, who has it."""
    alert = row.alert
    severity = SEVERITIES[Severity(alert.severity)][2]
    if alert.closed_at is not None:
        return f"{severity}, resolved" if alert.state == AlertState.RESOLVED else f"{severity}, ended before it fired"
    state = "firing" if alert.state == AlertState.FIRING else STATES[AlertState(alert.state)][2].lower()
    since = alert.fired_at if alert.state == AlertState.FIRING and alert.fired_at else alert.state_since
    words = f"{severity}, {state} for {span(max((now - since).total_seconds(), 0.0))}"
    taken = "acknowledged" if alert.is_acknowledged(now=now) else "not acknowledged"
    return f"{words}, {taken}" if alert.fired else words


def facts(row: Alert, *, zone: ZoneInfo) -> list[tuple[str, str]]:
    """Pairs of a word and a fact; what is not known is left out."""
    rule = row.rule
    found = []
    if rule is not None and rule.signal and row.value is not None:
        found.append((signal_label(rule.signal), f"{value_words(row, row.value)}, {limit_words(rule)}"))
    if row.worst_value is not None:
        found.append(("At worst", value_words(row, row.worst_value)))
    if row.money is not None and "cost" not in row.context:
        found.append(("Cost", f"{row.money:,.2f} {row.currency}".strip()))
    if rule is not None and rule.signal:
        found.append(
            (
                "Judged over",
                judged_words(rule),
            )
        )
    team = row.deployment.team if row.deployment is not None else row.team
    found.append(("Team", team.name if team is not None else "Unassigned"))
    if rule is not None and rule.owner:
        found.append(("Owner", rule.owner))
    places = [row.labels[name] for name in ("cluster", "namespace", "workload", "node") if row.labels.get(name)]
    found.append(("Where", " / ".join(places)))
    return [(word, fact) for word, fact in found if fact]


def judged_words(rule: Rule) -> str:
    fires, ends = (f"after {span(seconds)}" if seconds else "at once" for seconds in (rule.for_seconds, rule.keep_firing_seconds))
    return f"{span(rule.window_seconds)}, fires {fires}, ends {ends}"


def context_facts(row: Alert) -> list[tuple[str, str]]:
    """What was known besides: as it fired, and of one that is over what it cost in all."""
    over = row.closed_at is not None
    hidden = ("cost_per_hour",) if over else ("cost", "slo_minutes_lost", "slo_budget")
    return [
        (CONTEXT_WORDS.get(name) or str(name).replace("_", " ").capitalize(), str(value))
        for name, value in row.context.items()
        if isinstance(value, (str, int, float)) and name not in hidden
    ]


CONTEXT_WORDS = {
    "saturation": "What limited it as it fired",
    "slo_minutes_lost": "SLO minutes lost",
    "slo_budget": "SLO minutes left then",
    "cost": "Cost of its replicas",
    "cost_per_hour": "Cost of its replicas",
}


# --- What happened ---------------------------------------------------------------------------------------------------------


def happenings(row: Alert, steps: Sequence[AlertTransition], sent: Sequence[Notification]) -> list[Happening]:
    """Steps and deliveries together, the newest first."""
    found = [step_words(row, step) for step in steps] + [delivery_words(each) for each in sent]
    return sorted(found, key=lambda each: each.at, reverse=True)


def step_words(row: Alert, step: AlertTransition) -> Happening:
    value = (
        f"{signal_label(row.rule.signal)} {value_words(row, step.value)}"
        if step.value is not None and row.rule is not None and row.rule.signal
        else ""
    )
    if step.from_state == step.to_state and step.note:
        return Happening(step.at, "person", "info", "", step.note[:1].upper() + step.note[1:])
    icon, tone, word = SEVERITIES[Severity(row.severity)] if step.to_state == AlertState.FIRING else STATES[AlertState(step.to_state)]
    word = "Firing" if step.to_state == AlertState.FIRING else word
    text = "; ".join(part for part in (value, step.note, "flapping" if step.edge == Edge.FLAPPING else "") if part)
    return Happening(step.at, icon, tone, word, text)


def delivery_words(row: Notification) -> Happening:
    icon, tone, word = DELIVERIES[NotificationState(row.state)]
    what = EDGES.get(Edge(row.edge), row.edge)
    tries = f", at try {row.attempts}" if row.state == NotificationState.SENT and row.attempts > 1 else ""
    why = row.suppressed_by if row.state == NotificationState.SUPPRESSED else row.last_error if row.state != NotificationState.SENT else ""
    text = f"by {row.channel.name}: {what}{tries}{f'. {why}' if why else ''}"
    return Happening(row.sent_at or row.created_at, icon, tone, word, text)


def earlier(actor: Actor, row: Alert) -> list[Alert]:
    """The same trouble before: when, how long."""
    same = alerts_for(actor).filter(identity=row.identity, state=AlertState.RESOLVED).exclude(pk=row.pk)
    return list(same.select_related("rule", "deployment").order_by("-closed_at")[:BEFORE_MOST])

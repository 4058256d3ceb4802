"""Alerts: what fires, worst first, to be acknowledged or silenced with a thumb; and what is over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.paginator import Paginator
from django.db.models import Case, Count, F, IntegerField, Q, Value, When
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_GET

from capacity.dashboards.alerts_words import AlertRow, alert_row
from capacity.dashboards.pages import query_string, screen, zone_of
from capacity.dashboards.words import count, span
from monitoring.access import (
    Actor,
    accelerators_for,
    actor_of,
    agents_for,
    alert_rules_for,
    alerts_for,
    channels_for,
    deployments_for,
    may_act,
    silences_for,
    sources_for,
    team_of_alert,
    teams_for,
)
from monitoring.models import Alert, AlertQuerySet, AlertState, DeploymentState, EvaluationMark, Severity, Team

ROWS = 50
OVER_ROWS = 8
OVER_HOURS = 24
QUIET_DAYS = 28
REFRESH_SECONDS = 15
STALE_SECONDS = 60  # rounds run each 10 s
SHORT_MINUTES = 5
LARGEST_ID = 2**63 - 1
OPEN = Q(closed_at__isnull=True)
FIRES = OPEN & Q(fired=True)
# key of the address -> word, what it takes
CHIPS: tuple[tuple[str, str], ...] = (
    ("", "Open"),
    ("firing", "Firing"),
    ("unacknowledged", "Unacknowledged"),
    ("pending", "Pending"),
    ("muted", "Muted"),
    ("no_data", "No data"),
    ("resolved", "Resolved"),
)
RANK = Case(
    When(severity=Severity.CRITICAL, then=Value(0)),
    When(severity=Severity.WARNING, then=Value(1)),
    default=Value(2),
    output_field=IntegerField(),
)
STANDING = Case(
    When(state=AlertState.FIRING, then=Value(0)),
    When(fired=True, then=Value(1)),
    When(state=AlertState.PENDING, then=Value(2)),
    default=Value(3),
    output_field=IntegerField(),
)


@dataclass(frozen=True)
class Chip:
    label: str
    count: int
    url: str
    current: bool


@dataclass(frozen=True)
class Filters:
    """What the address asks for; ids that are none are left out."""

    state: str
    severity: str
    team: int | None
    deployment: int | None
    rule: str

    @property
    def narrowed(self) -> bool:
        return bool(self.severity or self.team or self.deployment or self.rule)


@screen
@require_GET
def alerts(request: HttpRequest) -> HttpResponse:
    actor, now = actor_of(request), timezone.now()
    asked = filters_of(request)
    mine = narrowed(alerts_for(actor), asked)
    counts = counts_of(mine, now=now)
    rows = Paginator(ordered(chosen(mine, asked.state, now=now), over=asked.state == "resolved"), ROWS).get_page(request.GET.get("page"))
    over = ordered(mine.filter(state=AlertState.RESOLVED, closed_at__gte=now - timedelta(hours=OVER_HOURS)), over=True)[:OVER_ROWS]
    query = {name: values for name, values in request.GET.lists() if name != "page"}
    teams = teams_filter(actor)
    context = {
        "actor": actor,
        "asked": asked,
        "sentence": sentence(counts),
        "chips": chips(counts, asked, query=query),
        "severities": severity_chips(asked, query=query),
        "teams": teams,
        "deployments": deployments_filter(actor, asked),
        "pages": rows,
        "pager_base": query_string(query) + "&",
        "rows": rows_of(list(rows.object_list), request=request, now=now),
        "over": [] if asked.state == "resolved" else rows_of(list(over), request=request, now=now),
        "over_count": counts["resolved"],
        "all_over": query_string(query, state="resolved"),
        "watched": watched_words(actor) if not rows.object_list and not asked.narrowed else "",
        "quiet": quiet_words(alerts_for(actor), now=now),
        "links": links(actor, now=now),
        "next": request.get_full_path(),
        "refresh_seconds": REFRESH_SECONDS,
        "stale_seconds": STALE_SECONDS,
        "evaluated_at": evaluated_at(),
        "fresh_as_of": None,  # the last round says it here
    }
    return render(request, "alerts/alerts.html", context)


def filters_of(request: HttpRequest) -> Filters:
    state, severity = request.GET.get("state", ""), request.GET.get("severity", "")
    return Filters(
        state if state in dict(CHIPS) else "",
        severity if severity in Severity.values else "",
        number_of(request.GET.get("team", "")),
        number_of(request.GET.get("deployment", "")),
        request.GET.get("rule", "")[:80],
    )


def number_of(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and int(text[:20]) <= LARGEST_ID else None


def narrowed(rows: AlertQuerySet, asked: Filters) -> AlertQuerySet:
    if asked.severity:
        rows = rows.filter(severity=asked.severity)
    if asked.team is not None:
        rows = rows.filter(Q(deployment__team=asked.team) | Q(deployment__isnull=True, team=asked.team))
    if asked.deployment is not None:
        rows = rows.filter(deployment=asked.deployment)
    return rows.filter(rule_name=asked.rule) if asked.rule else rows


def unacknowledged(now: datetime) -> Q:
    return FIRES & (Q(acknowledged_at__isnull=True) | Q(acknowledged_until__lte=now))


def chosen(rows: AlertQuerySet, state: str, *, now: datetime) -> AlertQuerySet:
    return rows.filter(
        {
            "": OPEN,
            "firing": FIRES,
            "unacknowledged": unacknowledged(now),
            "pending": OPEN & Q(state=AlertState.PENDING),
            "muted": OPEN & (Q(silenced_by__isnull=False) | ~Q(inhibited_by="")),
            "no_data": OPEN & Q(state__in=(AlertState.NO_DATA, AlertState.ERROR)),
            "resolved": Q(state=AlertState.RESOLVED),
        }[state]
    )


def ordered(rows: AlertQuerySet, *, over: bool) -> AlertQuerySet:
    """What fires first, the gravest and the longest first; what is over: the newest first."""
    rows = rows.select_related("rule", "deployment", "silenced_by")
    return rows.order_by("-closed_at", "-pk") if over else rows.order_by(STANDING, RANK, "started_at", "pk")


def counts_of(rows: AlertQuerySet, *, now: datetime) -> Mapping[str, int]:
    """One query for the sentence and all chips."""
    lately = Q(state=AlertState.RESOLVED, closed_at__gte=now - timedelta(hours=OVER_HOURS))
    told = {severity: Count("pk", filter=FIRES & Q(severity=severity)) for severity in Severity.values}
    counts: Mapping[str, int] = rows.filter(OPEN | Q(closed_at__gte=now - timedelta(hours=OVER_HOURS))).aggregate(
        open=Count("pk", filter=OPEN),
        firing=Count("pk", filter=FIRES),
        unacknowledged=Count("pk", filter=unacknowledged(now)),
        pending=Count("pk", filter=OPEN & Q(state=AlertState.PENDING)),
        muted=Count("pk", filter=OPEN & (Q(silenced_by__isnull=False) | ~Q(inhibited_by=""))),
        no_data=Count("pk", filter=OPEN & Q(state__in=(AlertState.NO_DATA, AlertState.ERROR))),
        resolved=Count("pk", filter=lately),
        **told,
    )
    return counts


def sentence(counts: Mapping[str, int]) -> SafeString:
    """What a tired person needs first."""
    grave, warnings, notes = (counts[severity] for severity in (Severity.CRITICAL, Severity.WARNING, Severity.INFO))
    parts = [count(warnings, "warning")] if warnings else []
    parts += [count(notes, "note")] if notes else []
    parts += [f"{counts['no_data']} without data"] if counts["no_data"] else []
    parts += [f"{counts['pending']} pending"] if counts["pending"] else []
    ended = f" {counts['resolved']} resolved in {OVER_HOURS} h." if counts["resolved"] else ""
    if grave:
        rest = f", {', '.join(parts)}" if parts else ""
        return format_html('<b class="crit">{}</b>{}.{}', f"{grave} critical", rest, ended)
    if parts:
        return format_html("<b>Nothing critical</b>, {}.{}", ", ".join(parts), ended)
    return format_html("<b>Nothing fires.</b>{}", ended)


def chips(counts: Mapping[str, int], asked: Filters, *, query: Mapping[str, list[str]]) -> list[Chip]:
    """Open, firing and resolved always; the others where there are any."""
    shown = []
    for key, label in CHIPS:
        number = counts[key or "open"]
        if number or key in ("", "firing", "resolved", asked.state):
            shown.append(
                Chip(f"{label} {OVER_HOURS} h" if key == "resolved" else label, number, query_string(query, state=key), key == asked.state)
            )
    return shown


def severity_chips(asked: Filters, *, query: Mapping[str, list[str]]) -> list[Chip]:
    """Pressed once more a chip lets go."""
    return [
        Chip(Severity(value).label, 0, query_string(query, severity="" if value == asked.severity else value), value == asked.severity)
        for value in Severity.values
    ]


def rows_of(found: Sequence[Alert], *, request: HttpRequest, now: datetime) -> list[AlertRow]:
    actor, zone = actor_of(request), zone_of(request)
    return [alert_row(alert, now=now, zone=zone, may_act=may_act(actor, team_of_alert(alert))) for alert in found]


def teams_filter(actor: Actor) -> list[Team]:
    """Only where there is a choice."""
    rows = list(teams_for(actor).order_by("name")[:200])
    return rows if len(rows) > 1 else []


def deployments_filter(actor: Actor, asked: Filters) -> list[tuple[int, str]]:
    """Deployments that have open alerts, and the one that is asked for."""
    troubled = Q(alerts__closed_at__isnull=True, alerts__isnull=False) | Q(pk=asked.deployment or 0)
    return list(deployments_for(actor).filter(troubled).order_by("name", "pk").values_list("pk", "name").distinct()[:200])


# --- Words -----------------------------------------------------------------------------------------------------------------


def evaluated_at() -> datetime | None:
    """The last round over all rules; None: there was none yet."""
    return EvaluationMark.objects.filter(name="rules").values_list("until", flat=True).first()


def watched_words(actor: Actor) -> str:
    """What is looked at, so that silence can be trusted."""
    rules = alert_rules_for(actor).filter(enabled=True, kind="metric").count()
    deployments = deployments_for(actor).filter(state=DeploymentState.ACTIVE).count()
    parts = [count(deployments, "deployment")]
    if actor.admin:
        hosts = (accelerators_for(actor), "accelerator"), (agents_for(actor), "agent"), (sources_for(actor).filter(enabled=True), "source")
        parts += [count(number, noun) for rows, noun in hosts if (number := rows.count())]
    things = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"{count(rules, 'rule watches', 'rules watch')} {things}."


def quiet_words(rows: AlertQuerySet, *, now: datetime) -> tuple[str, str] | None:
    """Are we crying wolf? How many fired in four weeks, how many somebody took up, how many ended by themselves at once."""
    fired = rows.filter(fired_at__gte=now - timedelta(days=QUIET_DAYS))
    short = Q(state=AlertState.RESOLVED, closed_at__lt=F("fired_at") + timedelta(minutes=SHORT_MINUTES))
    found = fired.aggregate(all=Count("pk"), taken=Count("pk", filter=Q(acknowledged_at__isnull=False)), short=Count("pk", filter=short))
    if not found["all"]:
        return None
    noisiest = fired.values("rule_name").annotate(number=Count("pk")).order_by("-number", "rule_name").first()
    assert noisiest is not None
    verdict = "Rarely." if 4 * found["short"] <= found["all"] else "Often."
    return verdict, (
        f"{QUIET_DAYS} days: {count(found['all'], 'alert')} fired, {found['taken']} acknowledged, {found['short']} ended within "
        f"{span(60 * SHORT_MINUTES)}. Noisiest rule: {noisiest['rule_name']}, {noisiest['number']}."
    )


@dataclass(frozen=True)
class Link:
    label: str
    name: str  # of the address
    count: int | None


def links(actor: Actor, *, now: datetime) -> list[Link]:
    """The neighbours of the list, with their numbers."""
    return [
        Link("Rules", "alert_rules", alert_rules_for(actor).filter(enabled=True).count()),
        Link("Silences", "silences", silences_for(actor).filter(Q(end_at__gt=now) | Q(repeat_days__gt=0)).count()),
        Link("Channels", "channels", channels_for(actor).count()),
        Link("Deliveries", "deliveries", None),
    ]

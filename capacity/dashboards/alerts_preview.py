"""What a rule as typed would have done in the last two weeks: a sentence, and each firing on a line with a link to that time."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from capacity.dashboards.alerts_rules import PREVIEW_DAYS, rule_form, rule_typed
from capacity.dashboards.alerts_words import subject_words, time_query, unit_of
from capacity.dashboards.pages import zone_of
from capacity.dashboards.replies import guarded, show
from capacity.dashboards.words import count, figure, moment, span
from monitoring.access import actor_of, alert_rule_get, deployments_for
from monitoring.alerts.preview import Firing, Preview, rule_preview
from monitoring.models import Rule

FIRINGS_MOST = 200
LISTED_MOST = 12


@dataclass(frozen=True)
class Bar:
    """A firing on the line of two weeks, in percent of it, and a link to its deployment at that time."""

    left: float
    width: float
    text: str
    name: str
    url: str
    tone: str
    worst: str


@guarded
@require_POST
def alert_rule_preview(request: HttpRequest) -> HttpResponse:
    """The rule as typed over the last two weeks; nothing is saved."""
    actor, now = actor_of(request), timezone.now()
    pk = request.GET.get("rule", "")
    rule = alert_rule_get(actor, pk) if pk else None
    form = rule_form(request, rule=rule, told=request.POST)
    made = None
    if form.is_valid():
        made = rule_typed(request, form=form, rule=rule)
    if made is None:
        problems = [str(error) for errors in form.errors.values() for error in errors]
        return show(request, "alerts/preview.html", {"problems": problems})
    seen = None if actor.admin else set(deployments_for(actor).values_list("pk", flat=True))
    preview = rule_preview(made, now=now, days=PREVIEW_DAYS, deployments=seen)
    return show(request, "alerts/preview.html", preview_context(request, made, preview, now=now))


def preview_context(request: HttpRequest, rule: Rule, preview: Preview, *, now: datetime) -> dict[str, object]:
    zone = zone_of(request)
    bars = [bar_of(rule, firing, preview, request=request, now=now) for firing in preview.firings[:FIRINGS_MOST]]
    whole = (preview.until - preview.since) / timedelta(days=1)
    days = [round(100 * day / whole, 2) for day in range(1, ceil(whole))]
    return {
        "preview": preview,
        "bars": bars,
        "listed": sorted(bars, key=lambda bar: -bar.left)[:LISTED_MOST],
        "more": max(preview.count - LISTED_MOST, 0),
        "days": days,
        "from_words": moment(preview.since, now=now, zone=zone),
        "to_words": moment(preview.until, now=now, zone=zone),
        "judged": count(preview.judged_subjects, rule.entity),
    }


def bar_of(rule: Rule, firing: Firing, preview: Preview, *, request: HttpRequest, now: datetime) -> Bar:
    whole = (preview.until - preview.since).total_seconds()
    left = 100 * (firing.start - preview.since).total_seconds() / whole
    end = firing.end or preview.until
    width = 100 * (end - firing.start).total_seconds() / whole
    name = subject_words(firing.labels, fallback=rule.name)
    lasted = f"{span(60 * firing.minutes)} from {moment(firing.start, now=now, zone=zone_of(request))}"
    url = ""
    if firing.deployment_id is not None:
        url = f"{reverse('deployment', args=[firing.deployment_id])}?{time_query(firing.start, end, now=now)}"
    worst = f"worst {figure(firing.worst, unit_of(rule))}" if firing.worst is not None else ""
    tone = {"critical": "crit", "warning": "warn"}.get(rule.severity, "info")
    return Bar(round(max(left, 0.0), 2), round(max(min(width, 100 - left), 0.3), 2), lasted, name, url, tone, worst)

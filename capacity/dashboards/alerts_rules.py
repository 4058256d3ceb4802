"""Rules: the list with when each last fired, the form, on and off, delete."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Max, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from capacity.dashboards.alerts_words import limit_words, signal_label
from capacity.dashboards.forms.alerts import RuleForm
from capacity.dashboards.replies import complain, guarded, show, snapshot, toast, undo_url
from capacity.dashboards.words import span
from monitoring.access import (
    Actor,
    act_require,
    actor_of,
    alert_rule_edit_get,
    alert_rule_get,
    alert_rules_for,
    alerts_for,
    may_act,
    teams_for,
)
from monitoring.alerts.rules import RuleError, rule_delete, rule_make, rule_save, rule_switch, signals_offered
from monitoring.models import Rule, RuleKind, Team

LATELY = timedelta(days=28)
PREVIEW_DAYS = 14
SHOWS = (("", "All"), ("on", "On"), ("off", "Off"), ("own", "Own"), ("fired", "Fired in 28 days"))


@dataclass(frozen=True)
class RuleRow:
    rule: Rule
    watches: str
    last: datetime | None
    fired: int  # times in 28 days
    may_change: bool


@guarded
@require_GET
def alert_rules(request: HttpRequest) -> HttpResponse:
    actor, now = actor_of(request), timezone.now()
    rows = rule_rows(actor, now=now)
    wanted = request.GET.get("show", "")
    context = {
        "rows": [row for row in rows if shows(row, wanted)],
        "chips": [(key, label, sum(shows(row, key) for row in rows), key == wanted) for key, label in SHOWS],
        "may_make": actor.admin or bool(teams_acting(actor)),
        "total": len(rows),
        "lately_days": LATELY.days,
    }
    return show(request, "alerts/rules.html", context)


def shows(row: RuleRow, wanted: str) -> bool:
    return {"on": row.rule.enabled, "off": not row.rule.enabled, "own": not row.rule.shipped, "fired": row.fired > 0}.get(wanted, True)


def rule_rows(actor: Actor, *, now: datetime) -> list[RuleRow]:
    """All rules the reader sees, with what they did to the deployments the reader sees."""
    lately = Count("pk", filter=Q(fired_at__gte=now - LATELY))
    fired = alerts_for(actor).filter(fired_at__isnull=False, rule__isnull=False).values("rule")
    told = {row["rule"]: (row["last"], row["number"]) for row in fired.annotate(last=Max("fired_at"), number=lately).order_by()}
    return [
        RuleRow(rule, watches_words(rule), *told.get(rule.pk, (None, 0)), may_act(actor, rule.team_id))
        for rule in alert_rules_for(actor).order_by("-enabled", "name")
    ]


def watches_words(rule: Rule) -> str:
    if rule.kind == RuleKind.FINDING or not rule.signal:
        return "Raised by an analysis"
    return f"{signal_label(rule.signal)} of each {rule.entity} {limit_words(rule)} over {span(rule.window_seconds)}"


def teams_acting(actor: Actor) -> list[Team]:
    return [team for team in teams_for(actor).order_by("name") if may_act(actor, team.pk)]


# --- The form --------------------------------------------------------------------------------------------------------------


def rule_form(request: HttpRequest, *, rule: Rule | None, told: Mapping[str, Any] | None = None) -> RuleForm:
    actor = actor_of(request)
    initial = {"window_seconds": "300", "for_seconds": "300", "keep_firing_seconds": "300", "severity": "warning"} if rule is None else {}
    asked = {name: request.GET[name] for name in ("signal", "matchers", "team") if name in request.GET} if rule is None else {}
    return RuleForm(told, teams=teams_acting(actor), everybody=actor.admin, offers=signals_offered(), rule=rule, initial=initial | asked)


@guarded
@require_http_methods(["GET", "POST"])
def alert_rule_new(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    if not actor.admin and not teams_acting(actor):
        act_require(actor, None)
    return rule_page(request, rule=None)


@guarded
@require_http_methods(["GET", "POST"])
def alert_rule(request: HttpRequest, *, pk: int) -> HttpResponse:
    """Its page: to read for all who see it, to change for those who may."""
    actor = actor_of(request)
    rule = alert_rule_edit_get(actor, pk) if request.method == "POST" else alert_rule_get(actor, pk)
    return rule_page(request, rule=rule)


def rule_page(request: HttpRequest, *, rule: Rule | None) -> HttpResponse:
    actor = actor_of(request)
    if request.method == "POST" and rule is not None and rule.kind == RuleKind.FINDING:
        complain(request, "A rule of an analysis is switched on and off only.")
        return redirect("alert_rule", pk=rule.pk)
    form = rule_form(request, rule=rule, told=request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        made = rule_typed(request, form=form, rule=rule)
        if made is not None:
            return rule_keep(request, made, before=rule)
    context = {
        "rule": rule,
        "form": form,
        "may_change": rule is None or may_act(actor, rule.team_id),
        "finding": rule is not None and rule.kind == RuleKind.FINDING,
        "watches": watches_words(rule) if rule is not None else "",
        "preview_days": PREVIEW_DAYS,
        "entity_labels": "deployment, cluster, namespace, environment, node",
    }
    return show(request, "alerts/rule.html", context, status=422 if form.errors else 200)


def rule_typed(request: HttpRequest, *, form: RuleForm, rule: Rule | None) -> Rule | None:
    """The rule as typed, checked and not saved; None: the form says what is wrong."""
    team = rule.team if rule is not None else form.team_chosen()
    if rule is None:
        act_require(actor_of(request), team.pk if team is not None else None)
    try:
        return rule_make(form.told(), team=team, rule=rule)
    except RuleError as error:
        form.problems_add(error.problems)
        return None


def rule_keep(request: HttpRequest, made: Rule, *, before: Rule | None) -> HttpResponse:
    actor = actor_of(request)
    fields = snapshot(before, *rule_columns()) if before is not None else None
    try:
        saved = rule_save(made, by=actor.name, now=timezone.now())
    except RuleError as error:
        complain(request, str(error))
        return redirect("alert_rules")
    text = f"{saved.name} is {'changed' if before is not None else 'made'}. It is looked at from the next round on."
    toast(request, text, undo=undo_url("alert_rule", pk=saved.pk, fields=fields) if before is not None else "")
    return redirect("alert_rule", pk=saved.pk)


def rule_columns() -> list[str]:
    return [field.name for field in Rule._meta.concrete_fields if field.name != "id"]


# --- On, off, away -----------------------------------------------------------------------------------------------------------


@guarded
@require_POST
def alert_rule_switch(request: HttpRequest, *, pk: int, verb: str) -> HttpResponse:
    actor, now = actor_of(request), timezone.now()
    rule = alert_rule_edit_get(actor, pk)
    fields = snapshot(rule, "enabled")
    rule_switch(rule, verb == "on", by=actor.name, now=now)
    text = f"{rule.name} is on." if verb == "on" else f"{rule.name} is off; what it had open is ended."
    toast(request, text, undo=undo_url("alert_rule", pk=rule.pk, fields=fields))
    return redirect("alert_rules")


@guarded
@require_POST
def alert_rule_delete(request: HttpRequest, *, pk: int) -> HttpResponse:
    actor = actor_of(request)
    rule = alert_rule_edit_get(actor, pk)
    fields, name = snapshot(rule, *rule_columns()), rule.name
    try:
        rule_delete(rule, by=actor.name, now=timezone.now())
    except RuleError as refusal:
        complain(request, str(refusal))
        return redirect("alert_rule", pk=pk)
    toast(
        request,
        f"{name} is deleted; what it had open is ended, what it told before stays.",
        undo=undo_url("alert_rule", pk=pk, fields=fields),
    )
    return redirect("alert_rules")

"""Undo of a change by its toast: the signed former values are written back, once more checked and audited."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core import signing
from django.db import IntegrityError, transaction
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST

from capacity.analysis.plan_due import plans_due
from capacity.analysis.scenarios import Subject, subject_of
from capacity.dashboards.plans_change import scenario_beside
from capacity.dashboards.plans_remake import remake
from capacity.dashboards.plans_rows import may_change, plan_url
from capacity.dashboards.replies import UNDO_SALT, complain, denied, toast
from capacity.models import CURRENCY_SETTING, CurrencyRate, PlannedEvent, PlanSettings, Price, Scenario, Scope, SupplyOrder
from monitoring.access import Actor, actor_of, audit, can_edit, can_manage, is_admin, may_act, team_of_alert
from monitoring.alerts.acting import ActError, acknowledge_end, silence_end
from monitoring.models import Agent, AgentGap, Alert, Deployment, Event, Membership, Rule, Setting, Silence, Slo, Source, TeamRule

MAX_AGE_SECONDS = 15 * 60


@dataclass(frozen=True)
class Undoable:
    """A kind of row that can be put back: its model, who may, and where to go afterwards."""

    model: type[Model]
    allowed: Callable[[Actor, Any], bool]
    home: Callable[[Any], str]
    back: Callable[[Any, dict[str, Any] | None, Actor], None] | None = None  # instead of writing the fields back


def may_edit(actor: Actor, deployment: Deployment | None) -> bool:
    return is_admin(actor) if deployment is None else can_edit(actor, deployment)


def acknowledge_back(row: Alert, fields: dict[str, Any] | None, actor: Actor) -> None:
    acknowledge_end(row, by=actor.name, now=timezone.now())


def silence_back(row: Silence, fields: dict[str, Any] | None, actor: Actor) -> None:
    """A silence just made ends; one just ended holds again."""
    if fields:
        restore(row, fields)
    else:
        silence_end(row, by=actor.name, now=timezone.now())


def rule_back(row: Rule, fields: dict[str, Any] | None, actor: Actor) -> None:
    if row._state.adding and "name" not in (fields or {}):
        raise ActError("The rule is deleted meanwhile, so this cannot be undone.")
    restore(row, fields)


def scenario_allowed(actor: Actor, row: Scenario) -> bool:
    """The members of a deleted group stand in the token, no longer in the table."""
    if row.scope != Scope.GROUP:
        return may_change(actor, Subject(deployment=row.deployment, cluster=row.cluster))
    beside = row.__dict__.get("beside") or {}
    ids = beside.get("members") or row.members.values_list("pk", flat=True)
    return may_change(actor, Subject(members=list(Deployment.objects.filter(pk__in=ids))))


def scenario_back(row: Scenario, fields: dict[str, Any] | None, actor: Actor) -> None:
    fresh = row._state.adding
    restore(row, fields)
    if fresh and fields:
        scenario_beside(row, row.__dict__.get("beside") or {})


def scenario_home(row: Scenario) -> str:
    return plan_url(Subject(deployment=row.deployment)) if row.deployment else "/plans/"


def planned_subject(row: PlannedEvent) -> Subject:
    return subject_of(row.scenario) if row.scenario is not None else Subject(deployment=row.deployment)


def planned_back(row: PlannedEvent, fields: dict[str, Any] | None, actor: Actor) -> None:
    subject, scenario = planned_subject(row), row.scenario
    restore(row, fields)
    remake(subject, scenario, now=timezone.now())


def known_back(row: PlanSettings, fields: dict[str, Any] | None, actor: Actor) -> None:
    subject = Subject(deployment=row.deployment)
    restore(row, fields)
    remake(subject, None, now=timezone.now())


def slo_back(row: Slo, fields: dict[str, Any] | None, actor: Actor) -> None:
    deployment = row.deployment
    restore(row, fields)
    plans_due([deployment], now=timezone.now())


def setting_home(row: Setting) -> str:
    return "/prices/" if row.name == CURRENCY_SETTING else "/setup/retention/"


UNDOABLE: dict[str, Undoable] = {
    "deployment": Undoable(Deployment, may_edit, lambda row: f"/deployments/{row.pk}/edit/"),
    "slo": Undoable(
        Slo, lambda actor, row: may_edit(actor, row.deployment), lambda row: f"/deployments/{row.deployment_id}/slo/", slo_back
    ),
    "event": Undoable(Event, lambda actor, row: may_edit(actor, row.deployment), lambda row: f"/deployments/{row.deployment_id}/edit/"),
    "source": Undoable(Source, lambda actor, row: is_admin(actor), lambda row: f"/sources/{row.pk}/"),
    "rule": Undoable(TeamRule, lambda actor, row: is_admin(actor), lambda row: "/teams/rules/"),
    "agent": Undoable(Agent, lambda actor, row: is_admin(actor), lambda row: "/agents/"),
    "setting": Undoable(Setting, lambda actor, row: is_admin(actor), setting_home),
    "price": Undoable(Price, lambda actor, row: is_admin(actor), lambda row: "/prices/"),
    "rate": Undoable(CurrencyRate, lambda actor, row: is_admin(actor), lambda row: "/prices/"),
    "supply_order": Undoable(SupplyOrder, lambda actor, row: is_admin(actor), lambda row: "/supply/"),
    "member": Undoable(Membership, lambda actor, row: can_manage(actor, row.team), lambda row: f"/teams/{row.team_id}/"),
    "alert": Undoable(Alert, lambda actor, row: may_act(actor, team_of_alert(row)), lambda row: f"/alerts/{row.pk}/", acknowledge_back),
    "silence": Undoable(Silence, lambda actor, row: may_act(actor, row.team_id), lambda row: "/alerts/silences/", silence_back),
    "scenario": Undoable(Scenario, scenario_allowed, scenario_home, scenario_back),
    "planned_event": Undoable(
        PlannedEvent,
        lambda actor, row: may_change(actor, planned_subject(row)),
        lambda row: plan_url(planned_subject(row), row.scenario),
        planned_back,
    ),
    "plan_settings": Undoable(
        PlanSettings, lambda actor, row: may_edit(actor, row.deployment), lambda row: f"/plans/{row.deployment_id}/", known_back
    ),
    "alert_rule": Undoable(Rule, lambda actor, row: may_act(actor, row.team_id), lambda row: "/alerts/rules/", rule_back),
}


@login_required
@require_POST
def undo(request: HttpRequest, *, token: str) -> HttpResponse:
    try:
        wish = signing.loads(token, salt=UNDO_SALT, max_age=MAX_AGE_SECONDS)
    except signing.SignatureExpired:
        complain(request, "Too late to undo by button: more than 15 minutes have passed. Change it back by hand.")
        return redirect(request.headers.get("Referer") or "/")
    except signing.BadSignature as error:
        raise Http404 from error
    try:
        return put_back(request, kind=wish["kind"], pk=wish["pk"], fields=wish["fields"])
    except IntegrityError:
        complain(request, "It cannot be put back: something new stands in its place, or what it belonged to is gone.")
        return redirect(request.headers.get("Referer") or "/")


def put_back(request: HttpRequest, *, kind: str, pk: int, fields: dict[str, Any] | None) -> HttpResponse:
    actor, undoable = actor_of(request), UNDOABLE[kind]
    with transaction.atomic():
        row = undoable.model._default_manager.select_for_update().filter(pk=pk).first()
        if row is None and fields is None:
            complain(request, "Nothing to undo: it is gone already.")
            return redirect("/")
        gaps = fields.pop("gaps", ()) if fields else ()
        beside = fields.pop("beside", None) if fields else None  # rows that went with it
        row = row or undoable.model(pk=pk, **(fields or {}))
        row.__dict__["beside"] = beside
        if not undoable.allowed(actor, row):
            return denied(request, "You may no longer change this, so it cannot be undone by you.")
        home, subject = undoable.home(row), f"{kind} {row}"[:200]
        try:
            undoable.back(row, fields, actor) if undoable.back else restore(row, fields)
        except ActError as refusal:
            complain(request, str(refusal))
            return redirect(home)
        rows = [AgentGap(agent_id=pk, count=count, start_at=start, end_at=end) for count, start, end in gaps]
        AgentGap.objects.bulk_create(rows, ignore_conflicts=True)  # pressed twice
        audit(actor, f"{kind}.undo", subject, after=fields or {}, request=request)
    toast(request, "Undone.")
    return redirect(home)


def restore(row: Model, fields: dict[str, Any] | None) -> None:
    if fields is None:
        row.delete()
    elif row._state.adding:
        row.save(force_insert=True)
    else:
        row._meta.default_manager.filter(pk=row.pk).update(**fields)  # type: ignore[union-attr]

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

from capacity.dashboards.replies import UNDO_SALT, complain, denied, toast
from capacity.models import CURRENCY_SETTING, CurrencyRate, Price
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


def setting_home(row: Setting) -> str:
    return "/prices/" if row.name == CURRENCY_SETTING else "/setup/retention/"


UNDOABLE: dict[str, Undoable] = {
    "deployment": Undoable(Deployment, may_edit, lambda row: f"/deployments/{row.pk}/edit/"),
    "slo": Undoable(Slo, lambda actor, row: may_edit(actor, row.deployment), lambda row: f"/deployments/{row.deployment_id}/slo/"),
    "event": Undoable(Event, lambda actor, row: may_edit(actor, row.deployment), lambda row: f"/deployments/{row.deployment_id}/edit/"),
    "source": Undoable(Source, lambda actor, row: is_admin(actor), lambda row: f"/sources/{row.pk}/"),
    "rule": Undoable(TeamRule, lambda actor, row: is_admin(actor), lambda row: "/teams/rules/"),
    "agent": Undoable(Agent, lambda actor, row: is_admin(actor), lambda row: "/agents/"),
    "setting": Undoable(Setting, lambda actor, row: is_admin(actor), setting_home),
    "price": Undoable(Price, lambda actor, row: is_admin(actor), lambda row: "/prices/"),
    "rate": Undoable(CurrencyRate, lambda actor, row: is_admin(actor), lambda row: "/prices/"),
    "member": Undoable(Membership, lambda actor, row: can_manage(actor, row.team), lambda row: f"/teams/{row.team_id}/"),
    "alert": Undoable(Alert, lambda actor, row: may_act(actor, team_of_alert(row)), lambda row: f"/alerts/{row.pk}/", acknowledge_back),
    "silence": Undoable(Silence, lambda actor, row: may_act(actor, row.team_id), lambda row: "/alerts/silences/", silence_back),
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
        row = row or undoable.model(pk=pk, **(fields or {}))
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

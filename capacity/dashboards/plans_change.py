"""Scenarios by hand: save, rename and change, clone, choose, delete; and what the people of a deployment know."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from capacity.analysis.scenarios import (
    SETTINGS_FIELDS,
    ScenarioError,
    Subject,
    event_create,
    scenario_change,
    scenario_choose,
    scenario_clone,
    scenario_create,
    scenario_delete,
    settings_change,
    subject_of,
)
from capacity.dashboards.forms.plans import ASSUMED, PlanSettingsForm, WhatIfForm, scenario_fields, settings_initial
from capacity.dashboards.plans_assumed import event_read
from capacity.dashboards.plans_remake import remake
from capacity.dashboards.plans_rows import edit_require, plan_url, scenario_edit_get, scenario_get, subject_name
from capacity.dashboards.replies import complain, guarded, show, snapshot, toast, undo_url
from capacity.models import PlannedEvent, PlanSettings, Scenario
from monitoring.access import actor_of, audit, deployment_get

UNDO_MOST = 3000  # characters of an address that servers take without doubt
EVENT_COLUMNS = ("kind", "name", "start_at", "end_at", "factor", "added_requests_per_second", "set_by", "created_at")


def scenario_columns() -> list[str]:
    return [field.name for field in Scenario._meta.concrete_fields if field.name != "id"]


def told_assumptions(request: HttpRequest, *, scenario: Scenario | None) -> tuple[dict[str, Any], list[PlannedEvent], list[str]]:
    """Fields, events and problems of what the page assumed, which the form of saving carries along."""
    given = {name: request.POST[name] for name in ASSUMED if request.POST.get(name, "").strip()}
    form, events, problems = WhatIfForm(given, scenario=scenario), [], []
    if not form.is_valid():
        problems += [str(error) for errors in form.errors.values() for error in errors]
    for text in request.POST.getlist("event"):
        try:
            events.append(event_read(text, now=timezone.now()))
        except ScenarioError as error:
            problems.append(" ".join(error.problems.values()))
    return (scenario_fields(form.cleaned_data) if form.is_valid() else {}), events, problems


@guarded
@require_POST
def scenario_save(request: HttpRequest, *, pk: int) -> HttpResponse:
    """What the plan page of a deployment assumes now, under a name: a saved scenario's assumptions with the address' own over them."""
    actor, now = actor_of(request), timezone.now()
    subject = Subject(deployment=deployment_get(actor, pk))
    edit_require(actor, subject)
    former = scenario_get(actor, request.POST["scenario"]) if request.POST.get("scenario") else None
    fields, events, problems = told_assumptions(request, scenario=former)
    if former is not None:
        kept = {name: getattr(former, name) for name, _ in ASSUMED.values()}
        fields = kept | fields
        events = [*former.planned_events.all(), *events]
    try:
        if problems:
            raise ScenarioError({"": " ".join(problems)})
        with transaction.atomic():
            made = scenario_create(subject, fields | {"name": request.POST.get("name", "")}, by=actor.name, now=now)
            for event in events:
                event_create(made, {name: getattr(event, name) for name in EVENT_COLUMNS[:6]}, by=actor.name, now=now)
            audit(actor, "scenario.create", f"scenario {made.name}", after=snapshot(made, *scenario_columns()), request=request)
    except ScenarioError as error:
        complain(request, f"It was not saved. {' '.join(error.problems.values())}")
        return redirect("plan", pk=pk)
    said = remake(subject, made, now=now)
    toast(request, f"{made.name} is saved. {said}".strip(), undo=undo_url("scenario", pk=made.pk, fields=None))
    return redirect(plan_url(subject, made))


def scenario_changed(request: HttpRequest, scenario: Scenario) -> HttpResponse:
    """A new name, or the assumptions of the page saved into it."""
    actor, now = actor_of(request), timezone.now()
    subject, before = subject_of(scenario), snapshot(scenario, *scenario_columns())
    fields, events, problems = told_assumptions(request, scenario=scenario)
    if request.POST.get("name", "").strip():
        fields["name"] = request.POST["name"]
    try:
        if problems:
            raise ScenarioError({"": " ".join(problems)})
        with transaction.atomic():
            made = scenario_change(scenario, fields, by=actor.name, now=now)
            for event in events:
                event_create(made, {name: getattr(event, name) for name in EVENT_COLUMNS[:6]}, by=actor.name, now=now)
            after = snapshot(made, *scenario_columns())
            audit(actor, "scenario.change", f"scenario {made.name}", before=before, after=after, request=request)
    except ScenarioError as error:
        complain(request, f"It was not changed. {' '.join(error.problems.values())}")
        return redirect(plan_url(subject, scenario))
    said = remake(subject, made, now=now) if set(fields) - {"name"} or events else ""
    toast(request, f"{made.name} is saved. {said}".strip(), undo="" if events else undo_url("scenario", pk=made.pk, fields=before))
    return redirect(plan_url(subject, made))


@guarded
@require_POST
def scenario_clone_view(request: HttpRequest, *, pk: int) -> HttpResponse:
    actor, now = actor_of(request), timezone.now()
    scenario = scenario_edit_get(actor, pk)
    subject = subject_of(scenario)
    try:
        with transaction.atomic():
            copy = scenario_clone(scenario, name=request.POST.get("name", ""), by=actor.name, now=now)
            audit(actor, "scenario.clone", f"scenario {scenario.name}", after=snapshot(copy, "name"), request=request)
    except ScenarioError as error:
        complain(request, " ".join(error.problems.values()))
        return redirect(plan_url(subject, scenario))
    said = remake(subject, copy, now=now)
    toast(request, f"{copy.name} stands beside {scenario.name}. {said}".strip(), undo=undo_url("scenario", pk=copy.pk, fields=None))
    return redirect(plan_url(subject, copy))


@guarded
@require_POST
def scenario_choose_view(request: HttpRequest, *, pk: int, verb: str) -> HttpResponse:
    actor, now = actor_of(request), timezone.now()
    scenario = scenario_edit_get(actor, pk)
    subject, before = subject_of(scenario), snapshot(scenario, "chosen")
    with transaction.atomic():
        scenario_choose(scenario, chosen=verb == "choose", now=now)
        audit(actor, f"scenario.{verb}", f"scenario {scenario.name}", before=before, after=snapshot(scenario, "chosen"), request=request)
    toast(request, f"{scenario.name} is {'chosen' if verb == 'choose' else 'chosen no longer'}.")
    return redirect(f"{plan_url(subject, scenario)}#scenarios")


@guarded
@require_POST
def scenario_delete_view(request: HttpRequest, *, pk: int) -> HttpResponse:
    """With its events; Undo brings all of it back but the plan, which is made again."""
    actor = actor_of(request)
    scenario = scenario_edit_get(actor, pk)
    subject, fields = subject_of(scenario), scenario_kept(scenario)
    with transaction.atomic():
        scenario_delete(scenario)
        audit(actor, "scenario.delete", f"scenario {scenario.name}", before=fields, request=request)
    undo = undo_url("scenario", pk=pk, fields=fields)
    toast(request, f"{scenario.name} is deleted.", undo=undo if len(undo) <= UNDO_MOST else "")
    return redirect(plan_url(subject) if subject.deployment is not None else "plans")


def scenario_kept(scenario: Scenario) -> dict[str, Any]:
    """The row, and beside it what goes with it: events and members."""
    events = [snapshot(event, *EVENT_COLUMNS) for event in scenario.planned_events.all()]
    members = list(scenario.members.order_by("pk").values_list("pk", flat=True))
    return snapshot(scenario, *scenario_columns()) | {"beside": {"events": events, "members": members}}


def scenario_beside(scenario: Scenario, beside: Mapping[str, Any]) -> None:
    """Undo: what stood beside a deleted scenario."""
    PlannedEvent.objects.bulk_create(PlannedEvent(scenario=scenario, **fields) for fields in beside["events"])
    scenario.members.set(beside["members"])


# --- What is known by hand ---------------------------------------------------------------------------------------------------


@guarded
@require_http_methods(["GET", "POST"])
def plan_settings(request: HttpRequest, *, pk: int) -> HttpResponse:
    actor, now = actor_of(request), timezone.now()
    deployment = deployment_get(actor, pk)
    subject = Subject(deployment=deployment)
    edit_require(actor, subject)
    row = PlanSettings.objects.filter(deployment=deployment).first()
    form = PlanSettingsForm(request.POST or None, initial=settings_initial(row))
    if request.method == "POST" and form.is_valid():
        done = settings_kept(request, form, subject=subject, row=row, now=now)
        if done is not None:
            return done
    context = {"form": form, "deployment": deployment, "row": row}
    return show(request, "plans/settings.html", context, status=422 if form.errors else 200)


def settings_kept(
    request: HttpRequest, form: PlanSettingsForm, *, subject: Subject, row: PlanSettings | None, now: datetime
) -> HttpResponse | None:
    actor, deployment = actor_of(request), subject.deployment
    assert deployment is not None
    names = (*SETTINGS_FIELDS, "set_by", "updated_at")
    before = snapshot(row, "deployment", *names) if row is not None else None
    try:
        with transaction.atomic():
            made = settings_change(deployment, form.told(), by=actor.name, now=now)
            after = snapshot(made, *names)
            audit(actor, "plan_settings.change", f"plan of {subject_name(subject)}", before=before, after=after, request=request)
    except ScenarioError as error:
        form.problems_add(error)
        return None
    said = remake(subject, None, now=now)
    toast(request, f"Saved. {said}".strip(), undo=undo_url("plan_settings", pk=made.pk, fields=before))
    return redirect("plan", pk=deployment.pk)

"""Planned events: added, changed, moved along the time axis, taken away; or only tried in the address."""

from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from capacity.analysis.scenarios import ScenarioError, Subject, event_change, event_create, event_delete, subject_of
from capacity.dashboards.forms.plans import DATETIME, PlannedEventForm, event_fields, event_initial
from capacity.dashboards.plans_assumed import event_text
from capacity.dashboards.plans_page import event_effect
from capacity.dashboards.plans_remake import remake
from capacity.dashboards.plans_rows import edit_require, may_change, plan_url, planned_edit_get, scenario_get, subject_name
from capacity.dashboards.replies import complain, guarded, show, snapshot, toast, undo_url
from capacity.models import PlannedEvent, Scenario
from monitoring.access import actor_of, audit, deployment_get
from monitoring.models import Deployment

FIELDS = ("deployment", "scenario", "kind", "name", "start_at", "end_at", "factor", "added_requests_per_second", "set_by", "created_at")


def back_of(request: HttpRequest, subject: Subject, scenario: Scenario | None) -> str:
    """The plan page with what it assumed; only a query string is taken from the form, never an address."""
    given = request.POST.get("back", "") or request.GET.get("back", "")
    page = plan_url(subject, scenario).split("?")[0]
    query = QueryDict(given.removeprefix("?")[:4000], mutable=True)
    if scenario is not None and subject.deployment is not None and "scenario" not in query:
        query["scenario"] = str(scenario.pk)
    return f"{page}?{query.urlencode()}" if query else page


@guarded
@require_http_methods(["GET", "POST"])
def plan_events(request: HttpRequest, *, pk: int) -> HttpResponse:
    """Of a deployment: in every scenario of it, or only in the one named in the address."""
    actor = actor_of(request)
    deployment = deployment_get(actor, pk)
    asked = request.POST.get("scenario") or request.GET.get("scenario") or ""
    scenario = scenario_get(actor, asked) if asked else None
    if scenario is not None and scenario.deployment_id != deployment.pk:
        scenario = None
    return events_page(request, subject=Subject(deployment=deployment), scenario=scenario)


@guarded
@require_http_methods(["GET", "POST"])
def scenario_events(request: HttpRequest, *, pk: int) -> HttpResponse:
    """Of a group or cluster."""
    scenario = scenario_get(actor_of(request), pk)
    return events_page(request, subject=subject_of(scenario), scenario=scenario)


def events_page(request: HttpRequest, *, subject: Subject, scenario: Scenario | None) -> HttpResponse:
    actor, now = actor_of(request), timezone.now()
    mixed = scenario is not None and subject.deployment is not None
    if request.method == "POST":
        edit_require(actor, subject)
        form = PlannedEventForm(request.POST, now=now, of_scenario=mixed)
        if form.is_valid() and (done := event_added(request, form=form, subject=subject, scenario=scenario, now=now)) is not None:
            return done
    else:
        form = PlannedEventForm(initial=asked_initial(request, now=now), now=now, of_scenario=mixed)
    return show(
        request,
        "plans/events.html",
        page_context(request, form=form, subject=subject, scenario=scenario),
        status=422 if form.errors else 200,
    )


def page_context(
    request: HttpRequest, *, form: PlannedEventForm, subject: Subject, scenario: Scenario | None, event: PlannedEvent | None = None
) -> dict[str, Any]:
    rows = list(PlannedEvent.objects.filter(deployment=subject.deployment)) if subject.deployment is not None else []
    if scenario is not None:
        rows += list(PlannedEvent.objects.filter(scenario=scenario))
    return {
        "form": form,
        "event": event,
        "subject": subject,
        "deployment": subject.deployment,
        "scenario": scenario,
        "name": subject_name(subject) if subject.deployment or subject.cluster or scenario is None else scenario.name,
        "rows": [(row, event_effect(row), *span_words(row)) for row in sorted(rows, key=lambda each: each.start_at)],
        "may_edit": may_change(actor_of(request), subject),
        "back": request.POST.get("back", "") or request.GET.get("back", ""),
        "page_url": back_of(request, subject, scenario),
        "try_url": reverse("plan_try", kwargs={"pk": subject.deployment.pk}) if subject.deployment is not None else "",
    }


def span_words(event: PlannedEvent) -> tuple[str, str]:
    """Begin and end in UTC, as the form has them."""
    start, end = event.start_at.astimezone(UTC), event.end_at.astimezone(UTC) if event.end_at else None
    return f"{start.day} {start:%b %Y %H:%M}", f"{end.day} {end:%b %Y %H:%M}" if end else "from then on"


def asked_initial(request: HttpRequest, *, now: datetime) -> dict[str, Any]:
    """The day of the axis that was clicked, as `at=2026-12-08`."""
    try:
        day = datetime.fromisoformat(request.GET.get("at", "")[:10])
    except ValueError:
        return {}
    return {"start_at": day.strftime(DATETIME)}


def event_added(
    request: HttpRequest, *, form: PlannedEventForm, subject: Subject, scenario: Scenario | None, now: datetime
) -> HttpResponse | None:
    actor = actor_of(request)
    owner: Deployment | Scenario | None = scenario
    if subject.deployment is not None and (scenario is None or form.cleaned_data.get("for_all")):
        owner = subject.deployment
    assert owner is not None  # a group or cluster comes with its scenario
    try:
        with transaction.atomic():
            event = event_create(owner, event_fields(form.cleaned_data), by=actor.name, now=now)
            audit(actor, "planned_event.create", f"plan of {subject_name(subject)}", after=snapshot(event, *FIELDS), request=request)
    except ScenarioError as error:
        for field, sentence in error.problems.items():
            form.add_error(field if field in form.fields else None, sentence)
        return None
    return changed(request, event, text=f"{event.name} is planned.", undo=undo_url("planned_event", pk=event.pk, fields=None))


def changed(request: HttpRequest, event: PlannedEvent, *, text: str, undo: str) -> HttpResponse:
    """The plan it belongs to is made again, so that every page and file says the same."""
    scenario = event.scenario
    subject = subject_of(scenario) if scenario is not None else Subject(deployment=event.deployment)
    said = remake(subject, scenario, now=timezone.now())
    toast(request, f"{text} {said}".strip(), undo=undo)
    return redirect(back_of(request, subject, scenario))


@guarded
@require_http_methods(["GET", "POST"])
def planned_event(request: HttpRequest, *, pk: int) -> HttpResponse:
    actor, now = actor_of(request), timezone.now()
    event = planned_edit_get(actor, pk)
    scenario = event.scenario
    subject = subject_of(scenario) if scenario is not None else Subject(deployment=event.deployment)
    if request.method == "POST":
        form = PlannedEventForm(request.POST, event=event, now=now)
        if form.is_valid():
            return event_kept(request, event, fields=event_fields(form.cleaned_data), now=now)
    else:
        form = PlannedEventForm(initial=event_initial(event), event=event, now=now)
    context = page_context(request, form=form, subject=subject, scenario=scenario, event=event)
    return show(request, "plans/events.html", context, status=422 if form.errors else 200)


def event_kept(request: HttpRequest, event: PlannedEvent, *, fields: dict[str, Any], now: datetime) -> HttpResponse:
    actor, before = actor_of(request), snapshot(event, *FIELDS)
    with transaction.atomic():
        made = event_change(event, fields, by=actor.name, now=now)
        audit(actor, "planned_event.change", f"event {made.name}", before=before, after=snapshot(made, *FIELDS), request=request)
    return changed(request, made, text=f"{made.name} is changed.", undo=undo_url("planned_event", pk=made.pk, fields=before))


@guarded
@require_POST
def planned_event_move(request: HttpRequest, *, pk: int) -> HttpResponse:
    """Dropped on another day of the axis: it keeps its hour and its length."""
    now = timezone.now()
    event = planned_edit_get(actor_of(request), pk)
    try:
        day = datetime.fromisoformat(request.POST.get("day", "")[:10]).replace(tzinfo=UTC)
    except ValueError:
        complain(request, f"“{request.POST.get('day', '')[:40]}” is not a day. Send one like 2026-12-08.")
        return redirect("planned_event", pk=pk)
    start = event.start_at.astimezone(UTC)
    moved = start.replace(year=day.year, month=day.month, day=day.day)
    length = event.end_at - event.start_at if event.end_at is not None else None
    try:
        return event_kept(request, event, fields={"start_at": moved, "end_at": moved + length if length else None}, now=now)
    except ScenarioError as error:
        complain(request, " ".join(error.problems.values()))
        return redirect("planned_event", pk=pk)


@guarded
@require_POST
def planned_event_remove(request: HttpRequest, *, pk: int) -> HttpResponse:
    actor, now = actor_of(request), timezone.now()
    event = planned_edit_get(actor, pk)
    fields = snapshot(event, *FIELDS)
    with transaction.atomic():
        event_delete(event, now=now)
        audit(actor, "planned_event.remove", f"event {event.name}", before=fields, request=request)
    return changed(request, event, text=f"{event.name} is taken out.", undo=undo_url("planned_event", pk=pk, fields=fields))


@guarded
@require_POST
def plan_try(request: HttpRequest, *, pk: int) -> HttpResponse:
    """The event of the form goes into the address only: nothing is stored, so who may read may try."""
    deployment = deployment_get(actor_of(request), pk)
    subject = Subject(deployment=deployment)
    form = PlannedEventForm(request.POST, now=timezone.now())
    if not form.is_valid() or form.made is None:
        return show(request, "plans/events.html", page_context(request, form=form, subject=subject, scenario=None), status=422)
    page, _, query = back_of(request, subject, None).partition("?")
    asked = QueryDict(query, mutable=True)
    asked.appendlist("event", event_text(form.made))
    return redirect(f"{page}?{asked.urlencode()}")

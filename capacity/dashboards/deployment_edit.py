"""One deployment by hand: its words, team, state, a merge, and its events. Most of it undone by the toast."""

import secrets

from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from capacity.dashboards.forms.deployments import BY_RULES, DeploymentForm, EventForm
from capacity.dashboards.replies import complain, guarded, show, snapshot, toast, undo_url
from monitoring.access import Actor, actor_of, audit, deployment_edit_get, editable_for, events_for, row_get, teams_for
from monitoring.models import Deployment, DeploymentState, Event
from monitoring.sources.by_hand import (
    deployment_archive,
    deployment_ignore,
    deployment_merge,
    deployment_rename,
    deployment_restore,
)
from monitoring.sources.teams import team_assign, team_rules_apply

WORDS = ("name", "renamed", "team", "team_by_hand", "environment", "workload_kind")
STATE = ("state", "merged_into")
FOUND_LIMIT = 12
HAND_KINDS = ("launch", "note", "incident")


@guarded
@require_http_methods(["GET", "POST"])
def deployment_edit(request: HttpRequest, *, pk: int) -> HttpResponse:
    actor = actor_of(request)
    deployment = deployment_edit_get(actor, pk)
    form = DeploymentForm(request.POST or None, deployment=deployment, teams=teams_for(actor))
    if request.method == "POST" and form.is_valid():
        return words_change(request, deployment=deployment, form=form)
    return edit_page(request, deployment=deployment, form=form)


def edit_page(
    request: HttpRequest, *, deployment: Deployment, form: DeploymentForm | None = None, event_form: EventForm | None = None
) -> HttpResponse:
    actor = actor_of(request)
    wrong = bool((form and form.errors) or (event_form and event_form.errors))
    context = {
        "deployment": deployment,
        "form": form or DeploymentForm(deployment=deployment, teams=teams_for(actor)),
        "event_form": event_form or EventForm(),
        "events": deployment.events.filter(kind__in=HAND_KINDS)[:50],
        "merged": deployment.merged.all(),
        **merge_facts(request, deployment=deployment),
    }
    return show(request, "deployment/edit.html", context, status=422 if wrong else 200)


def words_change(request: HttpRequest, *, deployment: Deployment, form: DeploymentForm) -> HttpResponse:
    actor, cleaned = actor_of(request), form.cleaned_data
    before = snapshot(deployment, *WORDS)
    with transaction.atomic():
        deployment_rename(deployment, name=cleaned["name"])
        team_change(actor, deployment=deployment, choice=cleaned["team"])
        deployment.environment, deployment.workload_kind = cleaned["environment"].strip(), cleaned["workload_kind"]
        deployment.save(update_fields=("environment", "workload_kind"))
        deployment.refresh_from_db()
        after = snapshot(deployment, *WORDS)
        audit(actor, "deployment.change", f"deployment {deployment.name}", before=before, after=after, request=request)
    if before == after:
        toast(request, "Nothing was changed.")
    else:
        toast(request, f"{deployment.name} saved.", undo=undo_url("deployment", pk=deployment.pk, fields=before))
    # A team given away may be one the editor is not in.
    mine = editable_for(actor).filter(pk=deployment.pk).exists()
    return redirect("deployment_edit", pk=deployment.pk) if mine else redirect("fleet")


def team_change(actor: Actor, *, deployment: Deployment, choice: str) -> None:
    if choice == BY_RULES:
        if deployment.team_by_hand:
            Deployment.objects.filter(pk=deployment.pk).update(team_by_hand=False)
            team_rules_apply()
    else:
        team = row_get(teams_for(actor), choice)
        if deployment.team_id != team.pk or not deployment.team_by_hand:
            team_assign(deployment, team=team)


@guarded
@require_POST
def deployment_state(request: HttpRequest, *, pk: int, verb: str) -> HttpResponse:
    """Archive (stays visible, no new data expected), ignore (hidden, not polled), restore."""
    actor = actor_of(request)
    deployment = deployment_edit_get(actor, pk)
    if deployment.state == DeploymentState.MERGED and verb != "restore":
        complain(request, f"{deployment.name} is merged into another deployment; restore it first.")
        return redirect("deployment_edit", pk=deployment.pk)
    before = snapshot(deployment, *STATE)
    with transaction.atomic():
        text = state_change(deployment, verb=verb)
        audit(
            actor, f"deployment.{verb}", f"deployment {deployment.name}", before=before, after=snapshot(deployment, *STATE), request=request
        )
    toast(request, text, undo=undo_url("deployment", pk=deployment.pk, fields=before))
    return redirect("deployment_edit", pk=deployment.pk)


def state_change(deployment: Deployment, *, verb: str) -> str:
    if verb == "archive":
        deployment_archive(deployment)
        return f"{deployment.name} is archived. Its history stays."
    if verb == "ignore":
        deployment_ignore(deployment)
        return f"{deployment.name} is ignored: it is on no page and nothing is stored for it."
    if verb == "restore":
        deployment_restore(deployment)
        return f"{deployment.name} is back."
    raise Http404("There is no such page.")


def merge_facts(request: HttpRequest, *, deployment: Deployment) -> dict[str, object]:
    """What the search for the other deployment found."""
    query = request.GET.get("into", "").strip()[:100]
    others = editable_for(actor_of(request)).filter(state=DeploymentState.ACTIVE).exclude(pk=deployment.pk)
    return {"query": query, "others": matching(others, query=query)[:FOUND_LIMIT] if query else []}


def matching(rows: QuerySet[Deployment], *, query: str) -> QuerySet[Deployment]:
    words = Q(name__icontains=query) | Q(workload__icontains=query) | Q(model_name__icontains=query) | Q(namespace__icontains=query)
    return rows.filter(words).select_related("cluster", "team")


@guarded
@require_GET
def merge_search(request: HttpRequest, *, pk: int) -> HttpResponse:
    deployment = deployment_edit_get(actor_of(request), pk)
    return show(request, "deployment/merge_found.html", {"deployment": deployment, **merge_facts(request, deployment=deployment)})


@guarded
@require_POST
def deployment_merge_into(request: HttpRequest, *, pk: int) -> HttpResponse:
    actor = actor_of(request)
    deployment = deployment_edit_get(actor, pk)
    target = row_get(editable_for(actor).filter(state=DeploymentState.ACTIVE).exclude(pk=pk), request.POST.get("target", ""))
    before = snapshot(deployment, *STATE)
    with transaction.atomic():
        deployment_merge(deployment, target=target)
        audit(actor, "deployment.merge", f"deployment {deployment.name}", before=before, after={"into": target.name}, request=request)
    # No Undo: the history has moved, and a restore does not bring it back.
    toast(request, f"{deployment.name} goes on as part of {target.name}, its history with it.")
    return redirect("deployment", pk=target.pk)


@guarded
@require_POST
def event_add(request: HttpRequest, *, pk: int) -> HttpResponse:
    actor = actor_of(request)
    deployment = deployment_edit_get(actor, pk)
    form = EventForm(request.POST)
    if not form.is_valid():
        return edit_page(request, deployment=deployment, event_form=form)
    with transaction.atomic():
        event = Event.objects.create(
            deployment=deployment, dedup_key=f"hand {secrets.token_hex(12)}", detail={"by": actor.name}, **form.cleaned_data
        )
        audit(actor, "event.create", f"deployment {deployment.name}", after={"kind": event.kind, "title": event.title}, request=request)
    toast(request, f"{event.get_kind_display()} noted.", undo=undo_url("event", pk=event.pk, fields=None))
    return redirect("deployment_edit", pk=deployment.pk)


@guarded
@require_POST
def event_remove(request: HttpRequest, *, pk: int) -> HttpResponse:
    """Only what was entered by hand goes; what was observed stays."""
    actor = actor_of(request)
    event = row_get(events_for(actor).filter(kind__in=HAND_KINDS, dedup_key__startswith="hand "), pk)
    deployment = deployment_edit_get(actor, event.deployment_id)
    fields = snapshot(event, "deployment", "version", "kind", "at", "end_at", "title", "detail", "dedup_key")
    with transaction.atomic():
        audit(actor, "event.delete", f"deployment {deployment.name}", before=fields, request=request)
        event.delete()
    toast(request, "Event removed.", undo=undo_url("event", pk=pk, fields=fields))
    return redirect("deployment_edit", pk=deployment.pk)


@guarded
@require_GET
def deployments_hidden(request: HttpRequest) -> HttpResponse:
    """What was archived, ignored or merged, so that it can be brought back."""
    rows = editable_for(actor_of(request)).exclude(state=DeploymentState.ACTIVE).select_related("cluster", "team", "merged_into")
    return show(request, "teams/hidden.html", {"deployments": rows[:500]})

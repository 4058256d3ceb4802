"""Plans of groups and clusters: made here, shown by the page of every plan, counted in accelerators."""

from datetime import datetime

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from capacity.analysis.scenarios import ScenarioError, Subject, scenario_create, subject_of
from capacity.dashboards.forms.plans import GroupForm
from capacity.dashboards.plans_assumed import assumed_read
from capacity.dashboards.plans_change import scenario_changed, scenario_columns
from capacity.dashboards.plans_page import plan_show
from capacity.dashboards.plans_remake import remake
from capacity.dashboards.plans_rows import edit_require, plan_url, scenario_edit_get, scenario_get
from capacity.dashboards.replies import guarded, show, snapshot, toast, undo_url
from capacity.models import Scope
from monitoring.access import Actor, act_require, actor_of, audit, can_edit, clusters_whole_for, editable_for, may_act, row_get
from monitoring.models import Cluster, Deployment, DeploymentState

OFFERED = 300  # deployments in the list to choose from


@guarded
@require_http_methods(["GET", "POST"])
def scenario(request: HttpRequest, *, pk: int) -> HttpResponse:
    """Of a deployment it stands on the plan page of that; of a group or cluster here."""
    actor, now = actor_of(request), timezone.now()
    if request.method == "POST":
        return scenario_changed(request, scenario_edit_get(actor, pk))
    saved = scenario_get(actor, pk)
    subject = subject_of(saved)
    if saved.scope == Scope.DEPLOYMENT:
        return redirect(plan_url(subject, saved))
    return plan_show(request, assumed_read(request, subject, saved=saved, now=now, unit="accelerators"), now=now)


@guarded
@require_http_methods(["GET", "POST"])
def scenario_new(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    if not actor.admin and not any(may_act(actor, team) for team in actor.team_ids):
        act_require(actor, None)
    form = group_form(request, actor)
    if request.method == "POST" and form.is_valid() and (done := group_made(request, form, now=timezone.now())) is not None:
        return done
    return show(request, "plans/group.html", {"form": form}, status=422 if form.errors else 200)


def group_form(request: HttpRequest, actor: Actor) -> GroupForm:
    clusters = [(str(each.pk), each.name) for each in clusters_whole_for(actor).order_by("name")[:OFFERED]] if actor.admin else []
    rows = editable_for(actor).filter(state=DeploymentState.ACTIVE).select_related("cluster").order_by("name")[:OFFERED]
    deployments = [(str(row.pk), f"{row.name} · {row.cluster.name}") for row in rows]
    return GroupForm(request.POST or None, clusters=clusters, deployments=deployments)


def group_made(request: HttpRequest, form: GroupForm, *, now: datetime) -> HttpResponse | None:
    actor, cleaned = actor_of(request), form.cleaned_data
    subject = subject_chosen(actor, cluster=cleaned.get("cluster", ""), members=cleaned["members"])
    edit_require(actor, subject)
    try:
        with transaction.atomic():
            made = scenario_create(subject, form.told(), by=actor.name, now=now)
            audit(actor, "scenario.create", f"scenario {made.name}", after=snapshot(made, *scenario_columns()), request=request)
    except ScenarioError as error:
        form.problems_add(error)
        return None
    said = remake(subject, made, now=now)
    toast(request, f"{made.name} is saved. {said}".strip(), undo=undo_url("scenario", pk=made.pk, fields=None))
    return redirect("scenario", pk=made.pk)


def subject_chosen(actor: Actor, *, cluster: str, members: list[str]) -> Subject:
    if cluster:
        chosen: Cluster = row_get(clusters_whole_for(actor), cluster)
        return Subject(cluster=chosen)
    rows: list[Deployment] = list(editable_for(actor).filter(pk__in=members).select_related("team").order_by("name", "pk"))
    return Subject(members=[row for row in rows if can_edit(actor, row)])

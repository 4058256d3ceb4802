"""Whose turn a plan is: make it now, wait for it, see why it failed."""

from dataclasses import dataclass
from datetime import datetime

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from capacity.analysis.plan_changes import change_words
from capacity.analysis.plan_due import JOB, plan_due, plan_subject, scenario_due
from capacity.analysis.plan_store import plan_newest
from capacity.analysis.scenarios import Subject, subject_of
from capacity.dashboards.plans_load import result_of
from capacity.dashboards.plans_rows import base_run, edit_require, is_stale, may_change, plan_url, scenario_edit_get, scenario_get
from capacity.dashboards.replies import guarded, show, toast
from capacity.models import PlanRun, Scenario, Turn
from monitoring.access import actor_of, audit, deployment_get
from monitoring.models import Deployment

LATE_SECONDS = 120.0  # a turn that waits longer than this says so


@dataclass(frozen=True)
class Making:
    """`waiting`: the page asks again each 3 s; `failed`: why the last try did not succeed."""

    waiting: bool = False
    title: str = ""
    text: str = ""
    failed: str = ""
    url: str = ""
    make_url: str = ""


def making_of(subject: Subject, scenario: Scenario | None, run: PlanRun | None, *, now: datetime) -> Making:
    """From the turn of the deployment, or of a group's or cluster's scenario; scenarios of a deployment are made with it."""
    deployment = subject.deployment
    names = ("plan_making", "plan_make") if deployment is not None else ("scenario_making", "scenario_make")
    pk = deployment.pk if deployment is not None else scenario.pk if scenario is not None else 0
    url, make_url = (reverse(name, kwargs={"pk": pk}) for name in names)
    key = plan_subject(deployment) if deployment is not None else f"scenario:{pk}"
    turn = Turn.objects.filter(job=JOB, subject=key).first()
    held = turn is not None and turn.lease_until is not None and turn.lease_until > now
    if turn is not None and (held or turn.due_at <= now) and (run is None or run.made_at < turn.due_at):
        waited = (now - turn.due_at).total_seconds()
        text = "It reads the last weeks, replays them and takes some seconds." if held else "A worker takes it up within a minute."
        if not held and waited > LATE_SECONDS:
            text = f"It has waited {waited / 60:.0f} min for a worker. Status says whether one runs."
        text = f"{text} Until then the one before stands here." if run is not None else text
        return Making(True, title_of(deployment, run, held=held, now=now), text, url=url, make_url=make_url)
    failed = turn.error if turn is not None and turn.error and run is None else ""
    return Making(failed=failed, url=url, make_url=make_url)


def title_of(deployment: Deployment | None, run: PlanRun | None, *, held: bool, now: datetime) -> str:
    if run is None:
        return "The plan is being made" if held else "The plan is next in line"
    base = base_run(deployment) if deployment is not None else None
    result = result_of(base)
    why = change_words(deployment, base, result, now=now) if deployment is not None and base is not None and result is not None else ""
    return f"The plan is being made again{f': {why}' if why else ''}"


@guarded
@require_POST
def plan_make(request: HttpRequest, *, pk: int) -> HttpResponse:
    """Due now; the next free worker takes it."""
    actor, now = actor_of(request), timezone.now()
    deployment = deployment_get(actor, pk)
    edit_require(actor, Subject(deployment=deployment))
    plan_due(deployment, now=now)
    audit(actor, "plan.make", f"plan of {deployment.name}", request=request)
    toast(request, f"The plan of {deployment.name} is made next.")
    return redirect("plan", pk=pk)


@guarded
@require_POST
def scenario_make(request: HttpRequest, *, pk: int) -> HttpResponse:
    actor, now = actor_of(request), timezone.now()
    scenario = scenario_edit_get(actor, pk)
    if scenario.deployment is not None:
        plan_due(scenario.deployment, now=now)
    else:
        scenario_due(scenario, now=now)
    audit(actor, "plan.make", f"plan of scenario {scenario.name}", request=request)
    toast(request, f"The plan of {scenario.name} is made next.")
    return redirect(plan_url(subject_of(scenario), scenario))


@guarded
@require_GET
def plan_making(request: HttpRequest, *, pk: int) -> HttpResponse:
    """Asked by the page while it waits; once the plan stands, the page comes anew."""
    subject = Subject(deployment=deployment_get(actor_of(request), pk))
    return making_show(request, subject, None)


@guarded
@require_GET
def scenario_making(request: HttpRequest, *, pk: int) -> HttpResponse:
    scenario = scenario_get(actor_of(request), pk)
    return making_show(request, subject_of(scenario), scenario)


def making_show(request: HttpRequest, subject: Subject, scenario: Scenario | None) -> HttpResponse:
    if not request.headers.get("HX-Request"):
        return redirect(plan_url(subject, scenario))
    now, run = timezone.now(), plan_newest(subject.deployment, scenario)
    making = making_of(subject, scenario, run, now=now)
    context = {
        "making": making,
        "result": run,
        "shown": {"stale": run is not None and is_stale(run, now=now)},
        "may_edit": may_change(actor_of(request), subject),
    }
    answer = show(request, "plans/making.html", context)
    if not making.waiting and run is not None:
        answer["HX-Refresh"] = "true"
    return answer

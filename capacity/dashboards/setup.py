"""Setup: the checklist that ticks itself, and the demo fleet."""

from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from capacity.dashboards.checklist import Checklist, checklist_load
from capacity.dashboards.replies import complain, guarded, show, toast
from capacity.models import DemoAction, DemoRun
from monitoring.access import actor_of, admin_require, audit
from monitoring.models import Cluster

LEVELS = {DemoAction.LOAD: "Loading the demo fleet. It takes about a minute.", DemoAction.REMOVE: "Removing the demo fleet."}


@guarded
@require_GET
def setup(request: HttpRequest) -> HttpResponse:
    admin_require(actor_of(request))
    return show(request, "setup/setup.html", facts(request))


@guarded
@require_GET
def setup_live(request: HttpRequest) -> HttpResponse:
    """The moving part of the page; 204 while nothing changed, so that nothing jumps and no focus is lost."""
    admin_require(actor_of(request))
    context = facts(request)
    checklist: Checklist = context["checklist"]  # type: ignore[assignment]
    if request.GET.get("seen") == checklist.seen:
        return HttpResponse(status=204)
    spoken = request.GET.get("states") != checklist.states
    return show(request, "setup/live.html", {**context, "spoken": spoken})


def facts(request: HttpRequest) -> dict[str, object]:
    checklist = checklist_load(actor_of(request), now=timezone.now())
    return {"checklist": checklist, "facts": checklist.facts, "source": checklist.source, "next": "setup"}


@guarded
@require_POST
def demo_change(request: HttpRequest, *, action: str) -> HttpResponse:
    """Write down the wish; a worker does it and reports its progress into the row."""
    actor = actor_of(request)
    admin_require(actor)
    try:
        with transaction.atomic():
            DemoRun.objects.create(action=action)
            audit(actor, f"demo.{action}", "demo fleet", request=request)
        toast(request, LEVELS[DemoAction(action)])
    except IntegrityError:
        complain(request, "The demo fleet is being loaded or removed already.")
    return redirect("setup")


@guarded
@require_GET
def demo_remove(request: HttpRequest) -> HttpResponse:
    """Asks first: the removal takes what hangs on the demo clusters with it."""
    admin_require(actor_of(request))
    clusters = Cluster.objects.filter(demo=True)
    return show(request, "setup/demo_remove.html", {"clusters": clusters})

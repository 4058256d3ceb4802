"""Which scenarios, planned events and plans a reader may see and change; where the page of each stands."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.urls import reverse

from capacity.analysis.scenarios import Subject, subject_of
from capacity.models import PlannedEvent, PlanRun, Scenario, Scope
from monitoring.access import Actor, can_edit, clusters_whole_for, deployments_for, row_get
from monitoring.models import Deployment

STALE = timedelta(hours=36)  # plans are made nightly; one and a half rounds late is late


def scenarios_for(actor: Actor) -> QuerySet[Scenario]:
    rows = Scenario.objects.of_deployments(deployments_for(actor, hidden=True), clusters=clusters_whole_for(actor))
    return rows.select_related("deployment__cluster", "deployment__team", "cluster", "team")


def scenario_get(actor: Actor, pk: object) -> Scenario:
    return row_get(scenarios_for(actor), pk)


def scenario_edit_get(actor: Actor, pk: object) -> Scenario:
    """404 when foreign, 403 when only readable."""
    scenario = scenario_get(actor, pk)
    edit_require(actor, subject_of(scenario))
    return scenario


def planned_edit_get(actor: Actor, pk: object) -> PlannedEvent:
    rows = PlannedEvent.objects.of_deployments(deployments_for(actor, hidden=True), clusters=clusters_whole_for(actor))
    event = row_get(rows.select_related("deployment", "scenario__deployment", "scenario__cluster"), pk)
    edit_require(actor, Subject(deployment=event.deployment) if event.scenario is None else subject_of(event.scenario))
    return event


def may_change(actor: Actor, subject: Subject) -> bool:
    """Editors of the deployment; of a group, of every member; what is of a whole cluster belongs to admins of the install."""
    if subject.scope == Scope.CLUSTER:
        return actor.admin
    members: Sequence[Deployment | None] = subject.members or [subject.deployment]
    return all(member is not None and can_edit(actor, member) for member in members)


def edit_require(actor: Actor, subject: Subject) -> None:
    if not may_change(actor, subject):
        who = "an admin of the install" if subject.scope == Scope.CLUSTER else "an editor of the team"
        raise PermissionDenied(f"To change plans, scenarios and planned events of {subject_name(subject)} needs {who}.")


def subject_name(subject: Subject) -> str:
    if subject.deployment is not None:
        return subject.deployment.name
    return subject.cluster.name if subject.cluster is not None else "this group"


def plan_url(subject: Subject, scenario: Scenario | None = None) -> str:
    """Where its plan stands; that of a group or cluster is the page of its scenario."""
    if subject.deployment is not None:
        page = reverse("plan", kwargs={"pk": subject.deployment.pk})
        return f"{page}?scenario={scenario.pk}" if scenario is not None else page
    return reverse("scenario", kwargs={"pk": scenario.pk}) if scenario is not None else reverse("plans")


def base_run(deployment: Deployment) -> PlanRun | None:
    return PlanRun.objects.filter(deployment=deployment, scenario=None).first()


def is_stale(run: PlanRun, *, now: datetime) -> bool:
    return now - run.made_at > STALE

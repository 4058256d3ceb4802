"""Makes a plan the next to be made: after a wish, or after a change of what it rests on."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db.models import Q

from capacity.analysis.turns import Job, turns_wish
from capacity.models import Scenario, Scope, Turn
from monitoring.models import Deployment

JOB = "plan"
NIGHTLY = Job(JOB, every=timedelta(days=1), begins=timedelta(hours=5, minutes=30), spread=timedelta(hours=3), lease=timedelta(seconds=300))


def plan_subject(deployment: Deployment) -> str:
    return f"deployment:{deployment.pk}"


def scenario_subject(scenario: Scenario) -> str:
    """A deployment's scenarios are made in its turn; a group and a cluster have turns of their own."""
    return f"deployment:{scenario.deployment_id}" if scenario.deployment_id is not None else f"scenario:{scenario.pk}"


def plan_due(deployment: Deployment, *, now: datetime) -> datetime:
    """Since when it is due. One that waits already keeps its place."""
    return turn_due(plan_subject(deployment), now=now)


def scenario_due(scenario: Scenario, *, now: datetime) -> datetime:
    return turn_due(scenario_subject(scenario), now=now)


def turn_due(subject: str, *, now: datetime) -> datetime:
    turns_wish(NIGHTLY, [subject], now=now)
    return Turn.objects.get(job=JOB, subject=subject).due_at


def plans_due(deployments: Iterable[Deployment], *, now: datetime) -> None:
    """Theirs, and those of the groups and clusters they are in: their SLO or their price is another one now. Three queries."""
    rows = list(deployments)
    shared = Q(scope=Scope.GROUP, members__in=rows) | Q(scope=Scope.CLUSTER, cluster__in={row.cluster_id for row in rows})
    scenarios = Scenario.objects.filter(shared).distinct() if rows else ()
    turns_wish(NIGHTLY, [*(plan_subject(row) for row in rows), *(scenario_subject(each) for each in scenarios)], now=now)

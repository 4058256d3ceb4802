"""The nightly plans: each deployment, group and cluster by its turn, once."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime

from django.db.models import Q

from capacity.analysis.imported import imports_hurry
from capacity.analysis.plan_assumed import Assumed, assumed_of
from capacity.analysis.plan_due import NIGHTLY, plan_subject
from capacity.analysis.plan_findings import run_out_sweep, run_out_tell
from capacity.analysis.plan_groups import plan_cluster_make, plan_group_make
from capacity.analysis.plan_inputs import inputs_load
from capacity.analysis.plan_make import Ground, ground_make, plan_of
from capacity.analysis.plan_prices import prices_seen
from capacity.analysis.plan_records import PlanResult
from capacity.analysis.plan_store import plan_store
from capacity.analysis.turns import Keep, turns_due, turns_work
from capacity.models import Scenario, Scope, Turn
from monitoring.models import Deployment, DeploymentState, WorkloadKind

MOST_SCENARIOS = 12  # of one deployment in one turn, the chosen one and the newest first
Clock = Callable[[], datetime]


def plans_make(*, clock: Clock, budget_seconds: float) -> str:
    """Make what is due. One line of summary, empty when there was nothing to do."""
    wanted, now = subjects(), clock()
    prices_seen(clock=clock)
    due = turns_due(NIGHTLY, wanted, now=now) + imports_hurry(NIGHTLY, now=now)
    run_out_sweep(wanted, now=now)
    if not due:
        return ""
    done, failed = turns_work(NIGHTLY, plans_load, clock=clock, budget_seconds=budget_seconds)
    left = max(due - done - failed, 0)
    made = f"{done} plan{'' if done == 1 else 's'} made"
    parts = [made, *([f"{failed} failed"] if failed else []), *([f"{left} left to do"] if left else [])]
    return ", ".join(parts)


def subjects() -> list[str]:
    serving = Deployment.objects.filter(state=DeploymentState.ACTIVE, workload_kind=WorkloadKind.SERVING)
    shared = Scenario.objects.filter(Q(scope=Scope.GROUP) | Q(scope=Scope.CLUSTER))
    return [
        *(plan_subject(deployment) for deployment in serving.only("pk")),
        *(f"scenario:{pk}" for pk in shared.values_list("pk", flat=True)),
    ]


def plans_load(turns: Sequence[Turn], now: datetime) -> Callable[[Turn], Keep]:
    """One at a time: what one plan reads fills some megabytes."""

    def work(turn: Turn) -> Keep:
        kind, _, number = turn.subject.partition(":")
        if kind == "scenario":
            return shared_plan(Scenario.objects.get(pk=int(number)), now=now)
        return deployment_plans(Deployment.objects.select_related("cluster", "team").get(pk=int(number)), now=now)

    return work


def deployment_plans(deployment: Deployment, *, now: datetime) -> Keep:
    """As things are, and its scenarios on the same inputs."""
    began = time.monotonic()
    ground = ground_make(inputs_load(deployment, now=now))
    base = plan_of(ground, assumed=Assumed())
    seconds = time.monotonic() - began
    scenarios = list(deployment.scenarios.order_by("-chosen", "-updated_at").prefetch_related("planned_events")[:MOST_SCENARIOS])
    made = [(scenario, *scenario_made(ground, scenario)) for scenario in scenarios]

    def keep() -> None:
        plan_store(base, deployment=deployment, digest=ground.digest, seconds=seconds)
        for scenario, result, took in made:
            plan_store(result, deployment=deployment, scenario=scenario, digest=ground.digest, seconds=took)
        run_out_tell(deployment, base, now=now)

    return keep


def scenario_made(ground: Ground, scenario: Scenario) -> tuple[PlanResult, float]:
    began = time.monotonic()
    result = plan_of(ground, assumed=assumed_of(scenario, events=list(scenario.planned_events.all())))
    return result, time.monotonic() - began


def shared_plan(scenario: Scenario, *, now: datetime) -> Keep:
    """Of a group or a cluster."""
    began = time.monotonic()
    make = plan_cluster_make if scenario.scope == Scope.CLUSTER else plan_group_make
    result = make(scenario, now=now)
    seconds = time.monotonic() - began

    def keep() -> None:
        plan_store(result, scenario=scenario, seconds=seconds)

    return keep

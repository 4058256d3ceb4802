"""After a change the plan is made again at once from what is known, so that page, list, files and API say the same."""

import time
from datetime import datetime

from capacity.analysis.plan_assumed import Assumed
from capacity.analysis.plan_due import plan_due, scenario_due
from capacity.analysis.plan_groups import plan_group_make
from capacity.analysis.plan_make import plan_of
from capacity.analysis.plan_store import plan_store
from capacity.analysis.plan_whatif import ground_kept, scenario_plan
from capacity.analysis.scenarios import Subject
from capacity.models import Scenario, Scope
from monitoring.models import Deployment

MEMBERS_AT_ONCE = 4  # a larger group or a cluster is made by the worker, and its page waits for it


def remake(subject: Subject, scenario: Scenario | None, *, now: datetime) -> str:
    """A sentence where it could not be made now, else nothing."""
    try:
        if scenario is None:
            if subject.deployment is not None:
                base_remake(subject.deployment, now=now)
        elif scenario.scope == Scope.DEPLOYMENT:
            scenario_plan(scenario, now=now)
        else:
            shared_remake(subject, scenario, now=now)
    except ValueError as error:
        return f"Its plan could not be made: {error}"
    return ""


def base_remake(deployment: Deployment, *, now: datetime) -> None:
    """As things are, now; its scenarios follow with the worker."""
    began = time.monotonic()
    ground = ground_kept(deployment, now=now)
    result = plan_of(ground, assumed=Assumed())
    plan_store(result, deployment=deployment, digest=ground.digest, seconds=time.monotonic() - began)
    if deployment.scenarios.exists():
        plan_due(deployment, now=now)


def shared_remake(subject: Subject, scenario: Scenario, *, now: datetime) -> None:
    if scenario.scope == Scope.CLUSTER or len(subject.members) > MEMBERS_AT_ONCE:
        scenario_due(scenario, now=now)
        return
    began = time.monotonic()
    plan_store(plan_group_make(scenario, now=now), scenario=scenario, seconds=time.monotonic() - began)

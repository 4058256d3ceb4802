"""The plan a page shows: the stored one, that of a saved scenario, or one computed now for what the address assumes."""

from dataclasses import dataclass
from datetime import datetime

from capacity.analysis.plan_groups import plan_cluster, plan_group
from capacity.analysis.plan_records import PlanResult
from capacity.analysis.plan_store import plan_newest, plan_read
from capacity.analysis.plan_whatif import what_if
from capacity.dashboards.plans_assumed import Assumed
from capacity.dashboards.plans_rows import is_stale
from capacity.models import PlannedEvent, PlanRun

ONLY_STORED = "Events in the address count in plans of single deployments; add the event to see it in a group or cluster."


@dataclass(frozen=True)
class Shown:
    """`result` None: none was made yet. `live`: computed for this look, not stored."""

    result: PlanResult | None
    run: PlanRun | None = None
    live: bool = False
    stale: bool = False
    problem: str = ""


def shown_load(assumed: Assumed, *, now: datetime) -> Shown:
    """A what-if needs a plan of things as they are no more than that does: it reads the same inputs."""
    run = plan_newest(assumed.subject.deployment, assumed.saved)
    if assumed.own and not assumed.refused:
        return computed(assumed, run, now=now)
    if run is None:
        return Shown(None)
    result = result_of(run)
    return Shown(result, run, stale=is_stale(run, now=now), problem=run.refusal if result is None else "")


def computed(assumed: Assumed, run: PlanRun | None, *, now: datetime) -> Shown:
    subject = assumed.subject
    problem = ONLY_STORED if assumed.events and subject.deployment is None else ""
    try:
        if subject.deployment is not None:
            saved = list(PlannedEvent.objects.filter(scenario=assumed.saved)) if assumed.saved is not None else []
            result = what_if(subject.deployment, assumed.values, events=[*saved, *assumed.events], now=now)
        elif subject.cluster is not None:
            result = plan_cluster(subject.cluster, scenario=assumed.values, now=now)
        else:
            result = plan_group(list(subject.members), scenario=assumed.values, now=now)
    except ValueError as error:
        return Shown(None, run, problem=f"{error}")
    return Shown(result, run, live=True, problem=problem)


def result_of(run: PlanRun | None) -> PlanResult | None:
    """None where the run could not make one; it then has a refusal."""
    return plan_read(run) if run is not None and run.result else None


def events_of(assumed: Assumed) -> list[PlannedEvent]:
    """Stored ones of the deployment and of the saved scenario, then those of the address; in order of time."""
    rows: list[PlannedEvent] = []
    if assumed.subject.deployment is not None:
        rows += list(PlannedEvent.objects.filter(deployment=assumed.subject.deployment))
    if assumed.saved is not None:
        rows += list(PlannedEvent.objects.filter(scenario=assumed.saved))
    return sorted([*rows, *assumed.events], key=lambda event: event.start_at)

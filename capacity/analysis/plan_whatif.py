"""What if: the plan of assumptions nobody saved, in under two seconds, on inputs kept in this process."""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from capacity.analysis.forecast_events import events_load
from capacity.analysis.plan_assumed import assumed_of, by_hand_of
from capacity.analysis.plan_inputs import PlanInputs, inputs_load, promised_of
from capacity.analysis.plan_make import Ground, ground_make, plan_of
from capacity.analysis.plan_records import PlanResult
from capacity.analysis.plan_store import plan_newest, plan_store
from capacity.models import PlannedEvent, PlanRun, PlanSettings, Scenario
from monitoring.models import Deployment, Slo

KEPT = 24  # a megabyte or two each
KEPT_SECONDS = 3600.0
Key = tuple[int, str]


@dataclass(frozen=True)
class Kept:
    ground: Ground
    at: float  # of the process' own clock


GROUNDS: OrderedDict[Key, Kept] = OrderedDict()
LOCK = threading.Lock()


def what_if(deployment: Deployment, scenario: Scenario, *, events: Sequence[PlannedEvent] | None = None, now: datetime) -> PlanResult:
    """The plan of a scenario, saved or not, as `scenario_values` makes it. Nothing is stored.

    events: its own, beside those of the deployment; None: those it has in the table.
    """
    if events is None:
        events = list(scenario.planned_events.all()) if scenario.pk else []
    return plan_of(ground_kept(deployment, now=now), assumed=assumed_of(scenario, events=events))


def scenario_plan(scenario: Scenario, *, now: datetime) -> PlanRun:
    """Make and store the plan of a saved scenario of a deployment."""
    if scenario.deployment is None:
        raise ValueError("needed a scenario of a deployment; a group's or a cluster's is made by plan_group_make or plan_cluster_make")
    began = time.monotonic()
    ground = ground_kept(scenario.deployment, now=now)
    result = plan_of(ground, assumed=assumed_of(scenario, events=list(scenario.planned_events.all())))
    seconds = time.monotonic() - began
    return plan_store(result, deployment=scenario.deployment, scenario=scenario, digest=ground.digest, seconds=seconds)


def ground_kept(deployment: Deployment, *, now: datetime) -> Ground:
    """From this process' memory where nothing it rests on has changed since; four queries to know that."""
    key = key_of(deployment, now=now)
    with LOCK:
        kept = GROUNDS.get(key)
        if kept is not None and time.monotonic() - kept.at < KEPT_SECONDS:
            GROUNDS.move_to_end(key)
            return kept.ground
    ground = ground_slim(ground_make(inputs_load(deployment, now=now)))
    with LOCK:
        for other in [each for each in GROUNDS if each[0] == deployment.pk]:
            GROUNDS.pop(other)
        GROUNDS[key] = Kept(ground, time.monotonic())
        while len(GROUNDS) > KEPT:
            GROUNDS.popitem(last=False)
    return ground


def key_of(deployment: Deployment, *, now: datetime) -> Key:
    """The newest plan's digest, and what people may have changed since it was made."""
    newest = plan_newest(deployment)
    told = events_load([deployment.pk], now=now)[deployment.pk]
    hand = by_hand_of(PlanSettings.objects.filter(deployment=deployment).first())
    promised = promised_of(Slo.objects.filter(deployment=deployment).first())
    return deployment.pk, repr((newest.inputs_digest if newest else "", newest and newest.made_at, told, hand, promised))


def ground_slim(ground: Ground) -> Ground:
    """Without the buckets of histograms, which were read."""
    inputs = ground.inputs
    slim: PlanInputs = replace(
        inputs,
        durations=inputs.durations and inputs.durations.totalled(),
        promised_latencies=inputs.promised_latencies and inputs.promised_latencies.totalled(),
        token_gaps=None,
    )
    return replace(ground, inputs=slim)


def grounds_forget() -> None:
    """For tests, and where a process must not remember."""
    with LOCK:
        GROUNDS.clear()

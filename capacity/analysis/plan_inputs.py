"""Everything a plan rests on, loaded once: telemetry, the SLO, prices, settings, events. Some thirty queries, whatever the window."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np
from django.db.models import Max

from capacity.analysis.forecast_events import KnownEvents, events_load
from capacity.analysis.plan_assumed import ByHand, Planned, by_hand_of
from capacity.analysis.plan_telemetry import (
    MINUTE_DAYS,
    MINUTE_SECONDS,
    STEP_DAYS,
    STEP_SECONDS,
    Hours,
    Latencies,
    Stretch,
    hours_read,
    latencies_read,
    replicas_seen,
    stretch_read,
)
from capacity.analysis.prices import ReplicaPrice, replica_prices
from capacity.analysis.slo import PREFERRED, slo_suggest
from capacity.analysis.supply import held_load
from capacity.engine.answer import NoAnswer
from capacity.models import PlanSettings, SaturationRun
from monitoring.catalog.records import Latency
from monitoring.models import Deployment, Event, EventKind, Placement, Slo
from monitoring.series import latency_kinds

RECENT_EVENTS = 40
LATELY = timedelta(days=1)  # as far back as a number of replicas counts as that of now
SURE = 0.5
ELSEWHERE = "upstream"  # a limit that is not the deployment's


@dataclass(frozen=True)
class Promised:
    """The latency SLO in plain values."""

    kind: Latency
    percentile: float
    threshold_seconds: float
    objective_ratio: float
    window_days: int

    @property
    def budget_minutes(self) -> float:
        return (1.0 - self.objective_ratio) * self.window_days * 1440.0


@dataclass(frozen=True)
class Happened:
    """An event of the past."""

    kind: str
    time: float
    title: str


@dataclass(frozen=True)
class PlanInputs:
    """One deployment's; times are Unix seconds, rates requests per second."""

    deployment_id: int
    cluster_id: int
    name: str
    now: float
    hours: Hours
    steps: Stretch  # of five minutes, four weeks
    minutes: Stretch  # of a minute, the last days
    durations: Latencies | None  # end to end
    promised_latencies: Latencies | None  # of the SLO's kind
    token_gaps: Latencies | None  # seconds per output token
    kinds: tuple[Latency, ...]
    promised: Promised | None
    suggestion: str  # an SLO the past would have held, where there is none
    price: ReplicaPrice
    hand: ByHand
    planned: tuple[Planned, ...]
    told: KnownEvents  # as forecasts take them: launches and incidents that are over are gaps
    happened: tuple[Happened, ...]
    saturation: str
    saturated: bool  # something limits it at its peaks
    accelerators_each: float | None  # a replica holds so many
    accelerator: str  # their model, as stocks are named
    replicas_basis: str  # how it is known how many ran
    gaps: Mapping[str, str] = field(default_factory=dict)

    @property
    def as_of(self) -> float | None:
        """End of the newest minute, or step, in which requests are known."""
        for stretch in (self.minutes, self.steps):
            known = np.flatnonzero(np.isfinite(stretch.rates))
            if known.size:
                return stretch.start + (int(known[-1]) + 1) * stretch.step
        return None

    @property
    def replicas_now(self) -> float | None:
        """The newest reading of the last day."""
        for stretch in (self.minutes, self.steps):
            known = np.flatnonzero(np.isfinite(stretch["replicas_ready"]))
            if known.size:
                return float(np.round(stretch["replicas_ready"][known[-1]]))
        return float(self.price.replicas) or None

    @property
    def digest(self) -> str:
        """Of all that the plan rests on but the clock."""
        found = hashlib.sha256()
        for values in (self.hours.values, *self.steps.columns.values(), *self.minutes.columns.values()):
            found.update(np.ascontiguousarray(values).tobytes())
        for latencies in (self.durations, self.promised_latencies, self.token_gaps):
            if latencies is not None:
                found.update(np.ascontiguousarray(latencies.counts).tobytes())
        words = [self.promised, self.hand, self.planned, self.price.hour.hourly_rate, self.price.hour.currency]
        found.update(json.dumps([repr(each) for each in words]).encode())
        return found.hexdigest()


def inputs_load(deployment: Deployment, *, now: datetime) -> PlanInputs:
    seconds = now.timestamp()
    slo = Slo.objects.filter(deployment=deployment).first()
    promised = promised_of(slo)
    kinds = tuple(latency_kinds(deployment.pk))
    steps = stretch_read(deployment, end=seconds, days=STEP_DAYS, step=STEP_SECONDS)
    minutes = stretch_read(deployment, end=seconds, days=MINUTE_DAYS, step=MINUTE_SECONDS)
    told_ready = any(np.isfinite(each["replicas_ready"]).any() for each in (steps, minutes))
    if not told_ready:
        steps, minutes = replicas_seen(deployment, steps, minutes)
    percentile = promised.percentile if promised else 0.95
    wanted = {Latency.REQUEST_DURATION, Latency.TIME_PER_OUTPUT_TOKEN} | ({promised.kind} if promised else set())
    read = {kind: latencies_read(deployment, kind, grid=steps, percentile=percentile) if kind in kinds else None for kind in sorted(wanted)}
    held = held_load(deployment, now=now)
    told = events_load([deployment.pk], now=now)[deployment.pk]
    saturation = SaturationRun.objects.filter(deployment=deployment).first()
    return PlanInputs(
        deployment_id=deployment.pk,
        cluster_id=deployment.cluster_id,
        name=deployment.name,
        now=seconds,
        hours=hours_read(deployment, now=seconds),
        steps=steps,
        minutes=minutes,
        durations=read[Latency.REQUEST_DURATION],
        promised_latencies=read[promised.kind] if promised else None,
        token_gaps=read[Latency.TIME_PER_OUTPUT_TOKEN],
        kinds=kinds,
        promised=promised,
        suggestion="" if promised else suggestion_of(deployment, kinds, now=now),
        price=price_of(deployment, now=now),
        hand=by_hand_of(PlanSettings.objects.filter(deployment=deployment).first()),
        planned=told.planned,
        told=told,
        happened=happened_of(deployment),
        saturation=(saturation.sentence or saturation.cannot_tell) if saturation else "",
        saturated=is_saturated(saturation),
        accelerators_each=held.accelerators if held else None,
        accelerator=held.model if held else "",
        replicas_basis="replicas ready, as the orchestrator tells" if told_ready else "replicas seen: nobody tells how many are ready",
    )


def price_of(deployment: Deployment, *, now: datetime) -> ReplicaPrice:
    """Of now; where nothing of it stands on a node, as of what is scaled to zero by night, of its newest placements of the last day."""
    found = replica_prices([deployment], at=now)[deployment.pk]
    if found.hour.reason != "no_placement":
        return found
    placed = Placement.objects.filter(replica__deployment=deployment, valid_to__gt=now - LATELY, valid_to__lte=now)
    last = placed.aggregate(last=Max("valid_to"))["last"]
    if last is None:
        return found
    lately = replica_prices([deployment], at=last - timedelta(seconds=1))[deployment.pk]
    return replace(lately, replicas=found.replicas)


def is_saturated(found: SaturationRun | None) -> bool:
    """Does something of its own limit it, at its peaks or now?"""
    return found is not None and bool({found.limit, found.limit_now} - {"", ELSEWHERE}) and found.confidence >= SURE


def promised_of(slo: Slo | None) -> Promised | None:
    if slo is None or slo.latency is None or slo.threshold_seconds is None:
        return None
    return Promised(Latency(slo.latency), slo.percentile, slo.threshold_seconds, slo.objective_ratio, slo.window_days)


def suggestion_of(deployment: Deployment, kinds: tuple[Latency, ...], *, now: datetime) -> str:
    if not set(kinds) & {*PREFERRED}:
        return ""
    found = slo_suggest(deployment, now=now)
    return "" if isinstance(found, NoAnswer) else found.sentence


def happened_of(deployment: Deployment) -> tuple[Happened, ...]:
    kinds = (EventKind.DEPLOY, EventKind.SCALE, EventKind.LAUNCH, EventKind.INCIDENT)
    rows = Event.objects.filter(deployment=deployment, kind__in=kinds).order_by("-at")[:RECENT_EVENTS]
    return tuple(Happened(row.kind, row.at.timestamp(), row.title) for row in rows)

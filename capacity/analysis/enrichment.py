"""What an alert's message says besides: what limits the deployment, what its replicas cost meanwhile, what is lost of its promise.

Two queries for all alerts that change together; everything in them was found and stored before. Registered in capacity/apps.py.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from capacity.analysis.prices import Certainty
from capacity.analysis.saturation import is_fresh
from capacity.models import DeploymentStatus, SaturationRun
from monitoring.alerts.enrichment import Enrichment, Trouble
from monitoring.models import Deployment, Slo, SloCount

BUCKET = timedelta(minutes=5)  # minutes of a promise are counted by these
CENT = Decimal("0.01")
NOTHING = Enrichment()


@dataclass(frozen=True)
class Known:
    """What is stored of a deployment."""

    status: DeploymentStatus | None
    run: SaturationRun | None
    slo: Slo | None
    counts: Sequence[tuple[datetime, int]]  # end of five minutes, minutes of them above the promised latency


def alerts_enrich(troubles: Sequence[Trouble], now: datetime) -> list[Enrichment]:
    """One for each, in their order; empty for what is of no deployment."""
    begun = [trouble for trouble in troubles if trouble.deployment is not None]
    if not begun:
        return [NOTHING for _ in troubles]
    known = known_load({each.deployment or 0 for each in begun}, since=min(each.started_at for each in begun))
    return [enriched(each, known[each.deployment], now=now) if each.deployment in known else NOTHING for each in troubles]


def known_load(ids: set[int], *, since: datetime) -> dict[int, Known]:
    rows = Deployment.objects.filter(pk__in=ids).select_related("status", "saturation", "slo")
    counts = defaultdict[int, list[tuple[datetime, int]]](list)
    for pk, end_at, broken in SloCount.objects.filter(deployment__in=ids, end_at__gt=since).values_list("deployment", "end_at", "broken"):
        counts[pk].append((end_at, broken))
    return {
        row.pk: Known(getattr(row, "status", None), getattr(row, "saturation", None), getattr(row, "slo", None), counts[row.pk])
        for row in rows
    }


def enriched(trouble: Trouble, known: Known, *, now: datetime) -> Enrichment:
    context = {} if trouble.ended else saturation_said(known.run, now=now)
    context |= promise_said(trouble, known, now=now)
    if trouble.finding:  # it says itself what it costs
        return Enrichment(context=context)
    money, said = cost_said(trouble, known, now=now)
    return Enrichment(money, known.run.currency if known.run and money is not None else "", context | said)


def saturation_said(run: SaturationRun | None, *, now: datetime) -> dict[str, Any]:
    """The sentence of now, and of when it is; nothing where the answer is too old to speak of now."""
    if run is None or not is_fresh(run, now=now):
        return {}
    balance = (
        f"Balance first: the busiest replica has {run.skew_ratio:.1f} times the requests of the median one. " if run.skew_ratio else ""
    )
    return {"saturation": f"{balance}{run.sentence_now} Judged at {run.made_at:%H:%M} UTC."}


def promise_said(trouble: Trouble, known: Known, *, now: datetime) -> dict[str, Any]:
    """Minutes above the promised latency since it began, and what is left of the allowance."""
    slo, status = known.slo, known.status
    if slo is None or slo.latency is None or slo.threshold_seconds is None:
        return {}
    lost = sum(broken for end_at, broken in known.counts if trouble.started_at < end_at < now + BUCKET)
    said: dict[str, Any] = {"slo_minutes_lost": lost}
    if status is None or status.budget_minutes is None or status.lost_minutes is None:
        return said
    left = status.budget_minutes - status.lost_minutes
    budget = f"{status.budget_minutes:,.0f} min of {slo.window_days} d"
    return said | {"slo_budget": f"{left:,.0f} of {budget} are left" if left >= 0 else f"{-left:,.0f} min over the {budget}"}


def cost_said(trouble: Trouble, known: Known, *, now: datetime) -> tuple[Decimal | None, dict[str, Any]]:
    """What its replicas cost since it began, in money or, without a price, in replica-hours."""
    replicas = known.status.replicas if known.status is not None else None
    if not replicas:
        return None, {}
    hours = max((now - trouble.started_at).total_seconds(), 0.0) / 3600
    whole, when = f"{replicas:g} replica{'s' if replicas != 1 else ''}", "while it lasted" if trouble.ended else "since it began"
    run = known.run
    if run is None or run.replica_hourly_rate is None:
        return None, {"cost": f"{replicas * hours:.2g} replica-hours of {whole} {when}; they have no price"}
    rate = run.replica_hourly_rate * Decimal(replicas)
    spent = (rate * Decimal(hours)).quantize(CENT, ROUND_HALF_EVEN)
    sure = "" if run.price_certainty == Certainty.MEASURED else ", estimated"
    per_hour = f"{rate.quantize(CENT, ROUND_HALF_EVEN):,} {run.currency}/h for {whole}{sure}"
    return spent, {"cost": f"{spent:,} {run.currency} {when} ({per_hour})", "cost_per_hour": per_hour}

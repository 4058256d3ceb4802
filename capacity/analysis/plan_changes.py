"""What changed since a plan was made, in words: shown while it waits to be made again."""

from datetime import datetime

from capacity.analysis.plan_curve import KINDS
from capacity.analysis.plan_inputs import price_of, promised_of
from capacity.analysis.plan_prices import differs
from capacity.analysis.plan_records import PlanResult
from capacity.models import PlannedEvent, PlanRun, PlanSettings
from monitoring.models import Deployment, Slo


def change_words(deployment: Deployment, run: PlanRun, result: PlanResult, *, now: datetime) -> str:
    """`the SLO and the price changed`; empty where it is made again for another reason."""
    settings = PlanSettings.objects.filter(deployment=deployment, updated_at__gt=run.made_at)
    events = PlannedEvent.objects.filter(deployment=deployment, created_at__gt=run.made_at)
    found = {
        "the SLO": slo_changed(deployment, run, result),
        "the price of a replica": price_changed(deployment, result, now=now),
        "the settings": settings.exists(),
        "the planned events": events.exists(),
    }
    names = [name for name, changed in found.items() if changed]
    return f"{' and '.join([', '.join(names[:-1]), names[-1]] if names[1:] else names)} changed" if names else ""


def slo_changed(deployment: Deployment, run: PlanRun, result: PlanResult) -> bool:
    """By its values as well: what was undone has its old moment again."""
    slo, curve = Slo.objects.filter(deployment=deployment).first(), result.curve
    promised = promised_of(slo)
    if slo is not None and slo.updated_at > run.made_at:
        return True
    if curve is None:
        return False
    told = (curve.slo_kind, curve.slo_percentile, curve.slo_seconds)
    return promised is None or (KINDS[promised.kind], promised.percentile, promised.threshold_seconds) != told


def price_changed(deployment: Deployment, result: PlanResult, *, now: datetime) -> bool:
    cost = result.cost
    return cost is not None and differs((cost.hourly_rate, cost.currency, cost.certainty), price_of(deployment, now=now).hour)

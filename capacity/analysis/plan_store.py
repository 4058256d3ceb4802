"""Plans as they are stored: the newest of each deployment as things are, and of each scenario."""

import hashlib
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path

import numpy as np

from capacity import analysis, engine
from capacity.analysis.plan_records import PlanResult, record_json, record_read
from capacity.models import PlanRun, Scenario
from monitoring.models import Deployment

CENT = Decimal("0.01")
LONGEST_REFUSAL = 400
HIGH = 0.9  # the quantile of demand that is ordered for
UPDATED = (
    *("made_at", "as_of", "refusal", "runs_out_on", "runs_out_early_on", "order_by", "replicas_now", "replicas_needed", "cost_per_month"),
    *("currency", "lost_minutes_risk", "result", "inputs_digest", "code_version", "seconds"),
)


def plan_newest(deployment: Deployment | None, scenario: Scenario | None = None) -> PlanRun | None:
    """Of the deployment as things are, or of the scenario whatever it is about."""
    if scenario is not None:
        return PlanRun.objects.filter(scenario=scenario).first()
    return PlanRun.objects.filter(deployment=deployment, scenario=None).first()


def plan_read(run: PlanRun) -> PlanResult:
    return record_read(PlanResult, run.result)


def plan_store(
    result: PlanResult, *, deployment: Deployment | None = None, scenario: Scenario | None = None, digest: str = "", seconds: float = 0.0
) -> PlanRun:
    """In the place of the one before, whole or not at all. ValueError where it is of nothing, or holds what JSON cannot."""
    if deployment is None and scenario is None:
        raise ValueError("a plan is of a deployment or of a scenario, got neither")
    stored = record_json(result)
    numbers_check(stored)
    made = run_of(result)
    made.deployment, made.scenario = deployment, scenario
    made.result, made.inputs_digest, made.code_version, made.seconds = stored, digest, code_version(), seconds
    known = PlanRun.objects.filter(scenario=scenario) if scenario else PlanRun.objects.filter(deployment=deployment, scenario=None)
    before = known.values_list("pk", flat=True).first()
    if before is None:
        made.save(force_insert=True)
    else:
        made.pk = before
        made.save(update_fields=UPDATED)
    return made


def run_of(result: PlanResult) -> PlanRun:
    """The columns by which plans are listed."""
    out, capacity, cost, risk = result.run_out, result.capacity, result.cost, result.risk
    per_month = cost.plan_per_month if cost else None
    return PlanRun(
        made_at=datetime.fromtimestamp(result.made_at, tz=UTC),
        as_of=None if result.as_of is None else datetime.fromtimestamp(result.as_of, tz=UTC),
        refusal=(result.gaps.get("demand") or result.gaps.get("capacity") or "")[:LONGEST_REFUSAL],
        runs_out_on=day_of(out.median_time) if out else None,
        runs_out_early_on=day_of(out.early_time) if out else None,
        order_by=day_of(out.order_time) if out else None,
        replicas_now=capacity.replicas_now if capacity else None,
        replicas_needed=needed_of(result),
        cost_per_month=None if per_month is None else Decimal(per_month).quantize(CENT),
        currency=cost.currency if cost else "",
        lost_minutes_risk=None if risk is None else risk.lost_minutes * 30.4 / max(result.horizon_days + 1, 1),
    )


def needed_of(result: PlanResult) -> int | None:
    """What the horizon's highest 90 % quantile asks for: replicas, of a group or cluster accelerators. None where `gaps` says why."""
    if result.curve is not None:
        return result.curve.needed
    demand = result.demand
    if demand is None or result.unit == "replicas":
        return None
    high = min(range(len(demand.levels)), key=lambda i: abs(demand.levels[i] - HIGH))
    return math.ceil(max(demand.quantiles[high]) - 1e-6)  # parts of accelerators add up with an error of rounding


def day_of(seconds: float | None) -> date | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, tz=UTC).date()


def numbers_check(stored: object, *, path: str = "result") -> None:
    """JSON has neither NaN nor infinity: said here by name, instead of half way through a write."""
    if isinstance(stored, dict):
        for name, value in stored.items():
            numbers_check(value, path=f"{path}.{name}")
    elif isinstance(stored, list | tuple):
        for value in stored:
            numbers_check(value, path=path)
    elif isinstance(stored, float) and not np.isfinite(stored):
        raise ValueError(f"{path} of a plan must be a finite number, got {stored}")


@cache
def code_version() -> str:
    """Of the arithmetic: it changes with every change of the engine and of what makes a plan."""
    found = hashlib.sha256()
    files = [*Path(engine.__path__[0]).rglob("*.py"), *Path(analysis.__path__[0]).glob("plan_*.py")]
    for path in sorted(files):
        found.update(path.read_bytes())
    return found.hexdigest()[:12]

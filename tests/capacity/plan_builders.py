"""Plans with good defaults for the tests of pages, API and exports: the chat deployment of the reference picture."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from capacity.analysis.plan_records import (
    Assumption,
    Capacity,
    Cost,
    Curve,
    CurvePoint,
    Demand,
    Floor,
    Holding,
    PlanResult,
    Policy,
    Replayed,
    Risk,
    RunOut,
    Step,
    record_json,
)
from capacity.models import PlanRun, Scenario
from monitoring.models import Deployment

DAY = 86400.0
NOW = datetime(2026, 11, 21, 2, 12, tzinfo=UTC)
LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
Z = (-1.645, -1.282, -0.674, 0.0, 0.674, 1.282, 1.645)


def make_demand(*, now: datetime = NOW, days: int = 90, history: int = 60, launch: int | None = 17, **changes: Any) -> Demand:
    """20 to 26 req/s in the past, 3 % more each week, a launch x1.35 after `launch` days."""
    today = now.timestamp() // DAY * DAY
    past = today + DAY * np.arange(-history, 0)
    times = today + DAY * np.arange(days)
    weekend_past, weekend = (past // DAY + 3) % 7 >= 5, (times // DAY + 3) % 7 >= 5
    came = 25.0 * 1.03 ** ((past - today) / DAY / 7) * np.where(weekend_past, 0.8, 1.0)
    plain = 25.0 * 1.03 ** ((times - today) / DAY / 7) * np.where(weekend, 0.8, 1.0)
    median = plain * np.where(np.arange(days) >= launch, 1.35, 1.0) if launch is not None else plain
    width = 0.04 + 0.0012 * np.arange(days)
    quantiles = tuple(tuple((median * (1 + z * width)).tolist()) for z in Z)
    top = int(median.argmax())
    made = Demand(
        past_times=tuple(past.tolist()),
        past_rates=(None, *came[1:].tolist()),
        times=tuple(times.tolist()),
        levels=LEVELS,
        quantiles=quantiles,
        plain_median=tuple(plain.tolist()),
        growth_per_week=0.03,
        peak_time=float(times[top]),
        peak_low=quantiles[1][top],
        peak=float(median[top]),
        peak_high=quantiles[5][top],
        error_ratio=0.061,
        naive_error_ratio=0.098,
        coverage_80=0.83,
        history_days=float(history),
        method="Hourly blend for 7 days, then a trend from 20 weeks.",
        flags=("trend", "events") if launch is not None else ("trend",),
    )
    return replace(made, **changes)


def make_capacity(*, now: datetime = NOW, **changes: Any) -> Capacity:
    today = now.timestamp() // DAY * DAY
    made = Capacity(
        replicas_now=6.0,
        now=Holding(6.0, 33.0, 30.5, 35.0),
        past=(Step(today - 60 * DAY, 5.0, 27.5), Step(today - 20 * DAY, 6.0, 33.0)),
        steps=(Step(now.timestamp(), 6.0, 33.0),),
        basis="replayed",
        sentence="6 replicas hold 33 req/s within the SLO, from a replay of 28 days.",
        headroom_sentence="Its own latency over load says the SLO breaks at 34 req/s (31 to 38).",
    )
    return replace(made, **changes)


def make_run_out(*, now: datetime = NOW, days: float = 17.0, **changes: Any) -> RunOut:
    at = now.timestamp() // DAY * DAY + days * DAY
    made = RunOut(
        median_time=at,
        early_time=at - 2 * DAY,
        without_events_time=at + 52 * DAY,
        order_time=at - 14 * DAY,
        lead_time_days=14.0,
        approval_days=0.0,
        replicas_to_order=2,
        cause="the Nordwind launch",
        sentence="Demand passes what 6 replicas hold on Tue 8 Dec, with the Nordwind launch.",
    )
    return replace(made, **changes)


def make_curve(**changes: Any) -> Curve:
    seconds = {5: 240.0, 6: 2.9, 7: 0.94, 8: 0.61, 9: 0.47, 10: 0.41, 11: 0.38, 12: 0.36}
    points = tuple(
        CurvePoint(
            replicas=n,
            utilisation_ratio=min(0.99, 6.4 / n),
            latency_p50=p95 / 3,
            latency_p95=p95,
            latency_p99=p95 * 1.6,
            promised=p95,
            late_ratio=min(1.0, p95 / 20),
            lost_minutes_per_month={5: 21000.0, 6: 1310.0, 7: 388.0, 8: 9.0}.get(n, 0.0),
            cost_per_month=10044.8 * n,
            holds=n >= 8,
        )
        for n, p95 in seconds.items()
    )
    made = Curve(
        rate=24.0,
        peak_rate=35.7,
        needed=8,
        points=points,
        slo_kind="end to end",
        slo_percentile=0.95,
        slo_seconds=0.8,
        basis="counts",
        sentence="Arrivals are reconstructed from counts per minute; they come 1.4 times as bunched as chance.",
    )
    return replace(made, **changes)


def make_floor(**changes: Any) -> Floor:
    day = [5] * 6 + [8] * 16 + [5] * 2
    made = Floor(
        replicas=tuple(day),
        most=9,
        target_ratio=0.6,
        stabilisation_minutes=10,
        startup_seconds=360.0,
        startup_basis="measured over 14 starts",
        running_per_replica=21.0,
    )
    return replace(made, **changes)


def make_replayed(*, now: datetime = NOW, **changes: Any) -> Replayed:
    end = now.timestamp() // DAY * DAY
    rows = (
        Policy("ran", "What ran", "6 replicas", 1310.0, 4032.0, 55480.0, True),
        Policy("static", "Static peak", "8 replicas", 9.0, 5376.0, 73974.0, False),
        Policy("hpa70", "HPA at 70 %", "5 to 9 replicas", 612.0, 3890.0, 53526.0, False),
        Policy("plan", "The plan", "5 by night, 8 by day", 31.0, 4536.0, 62415.0, False),
        Policy("clairvoyant", "Clairvoyant", "knows the day before", 12.0, 4180.0, 57517.0, False),
    )
    made = Replayed(end - 28 * DAY, end, 28.0, 40320.0, 202.0, rows, "Replayed over 28 days of its own requests, counts per minute.")
    return replace(made, **changes)


def make_cost(**changes: Any) -> Cost:
    made = Cost(
        currency="USD",
        hourly_rate=13.76,
        certainty="estimated",
        sentence="2 H100 at 6.88 USD an hour, a list price, since 2026-10-01.",
        now_per_month=60268.8,
        plan_per_month=67802.4,
        horizon_total=203407.0,
        now_replica_hours=4380.0,
        plan_replica_hours=4927.5,
    )
    return replace(made, **changes)


def make_result(*, now: datetime = NOW, **changes: Any) -> PlanResult:
    """A whole plan; a section set to None goes, and `gaps` says why."""
    run_out = changes.get("run_out", make_run_out(now=now))
    made = PlanResult(
        made_at=now.timestamp(),
        as_of=now.timestamp() - 60,
        horizon_days=90,
        headline="Capacity runs out on Tue 8 Dec when the Nordwind launch starts. Order 2 replicas by Tue 24 Nov.",
        verdict="breaks",
        demand=make_demand(now=now),
        capacity=make_capacity(now=now),
        run_out=run_out,
        curve=make_curve(),
        floor=make_floor(),
        replayed=make_replayed(now=now),
        cost=make_cost(),
        risk=Risk(1310.0, 202.0, 26200.0, "Doing nothing loses about 1,310 SLO minutes in 90 days; the budget is 606."),
        saturation="KV cache at its peaks: 96 %, preemptions 4/s.",
        assumptions=(
            Assumption("launch", "Nordwind launch", "entered by owner@example.com, 12 Nov", "×1.35, 8 Dec"),
            Assumption("growth", "Growth", "found in 20 weeks", "3.0 % a week"),
            Assumption("price", "H100 price", "list, 1 Oct 2026; contract price not set", "6.88 USD/h"),
            Assumption("startup", "Start of a replica", "measured over 14 starts", "6 min"),
        ),
        gaps={},
    )
    return replace(made, **changes)


def make_empty_result(*, now: datetime = NOW, gaps: Mapping[str, str] | None = None) -> PlanResult:
    """A plan that could not be made: every section says why."""
    said = dict.fromkeys(("demand", "capacity", "run_out", "curve", "floor", "replayed", "cost", "risk"), "")
    why = {name: f"No {name.replace('_', ' ')}: 7-day forecast needs 2 weekly cycles (336 h), have 30 h." for name in said}
    return PlanResult(
        made_at=now.timestamp(),
        as_of=now.timestamp(),
        horizon_days=90,
        headline="Cannot plan yet: 30 h of history, 336 h are needed.",
        verdict="unknown",
        gaps=gaps if gaps is not None else why,
    )


def make_plan_run(
    deployment: Deployment | None, *, result: PlanResult | None = None, scenario: Scenario | None = None, **fields: Any
) -> PlanRun:
    """Stored as the night stores it: the columns are taken from the result."""
    result = result or make_result()
    out, curve, cost = result.run_out, result.curve, result.cost
    columns: dict[str, Any] = {
        "made_at": moment(result.made_at),
        "as_of": moment(result.as_of),
        "runs_out_on": day(out.median_time if out else None),
        "runs_out_early_on": day(out.early_time if out else None),
        "order_by": day(out.order_time if out else None),
        "replicas_now": result.capacity.replicas_now if result.capacity else None,
        "replicas_needed": curve.needed if curve else None,
        "cost_per_month": round(cost.plan_per_month, 2) if cost and cost.plan_per_month is not None else None,
        "currency": cost.currency if cost else "",
        "lost_minutes_risk": result.risk.lost_minutes if result.risk else None,
        "result": record_json(result),
    }
    return PlanRun.objects.create(deployment=deployment, scenario=scenario, **(columns | fields))


def moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, tz=UTC)


def day(seconds: float | None) -> Any:
    at = moment(seconds)
    return None if at is None else at.date()

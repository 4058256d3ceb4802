"""Plans of a deployment with planted telemetry on a real Postgres: 28 days of 20 to 60 requests a second on four replicas of one H100."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoDbBlocker

from capacity.analysis.plan_assumed import Assumed
from capacity.analysis.plan_inputs import inputs_load
from capacity.analysis.plan_make import Ground, ground_make, plan_make, plan_of
from capacity.analysis.plan_records import PlanResult, record_json, record_read
from capacity.models import PlannedEvent, PlanSettings, Scenario
from monitoring.models import Deployment, Placement, Replica, Slo
from tests.capacity.fit_world import make_served, served
from tests.factories import make_deployment
from tests.telemetry import NOON, NOON_SECONDS, database_clear

NOW = NOON
DAY = 86400.0
QUERIES = 21
SECTIONS = ("demand", "capacity", "run_out", "curve", "floor", "replayed", "cost", "risk")


def launch(deployment: Deployment, *, days: float = 10.5, **fields: Any) -> PlannedEvent:
    values = {"kind": "launch", "name": "Nordwind launch", "start_at": NOW + timedelta(days=days), "factor": 3.0}
    return PlannedEvent.objects.create(deployment=deployment, **values | fields)


@pytest.fixture(scope="class")
def ground(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Ground]:
    """Loaded once for the class: what its plans rest on, slots set by hand."""
    with django_db_blocker.unblock():
        deployment = make_served("planned", days=28)
        PlanSettings.objects.create(deployment=deployment, slots=4)
        yield ground_make(inputs_load(deployment, now=NOW))
        database_clear()


@pytest.fixture(scope="class")
def plan(ground: Ground) -> PlanResult:
    return plan_of(ground, assumed=Assumed())


class TestSections:
    def test_every_section_is_there_and_survives_json(self, plan: PlanResult) -> None:
        assert [name for name in SECTIONS if getattr(plan, name) is None] == [] and plan.gaps == {}
        assert record_read(PlanResult, json.loads(json.dumps(record_json(plan), allow_nan=False))) == plan

    def test_28_days_of_history_answer_for_90_days(self, plan: PlanResult) -> None:
        assert plan.demand is not None and len(plan.demand.times) == 91 and plan.horizon_days == 90
        assert plan.demand.times[0] == NOON_SECONDS // DAY * DAY

    def test_past_days_show_their_busiest_hour(self, plan: PlanResult) -> None:
        assert plan.demand is not None
        known = [rate for rate in plan.demand.past_rates if rate is not None]
        assert len(known) >= 27 and max(known) == pytest.approx(60.0, rel=0.01)

    def test_demand_ahead_is_what_it_was_where_nothing_grows(self, plan: PlanResult) -> None:
        assert plan.demand is not None
        assert plan.demand.peak == pytest.approx(60.0, rel=0.05)
        assert plan.demand.peak_low <= plan.demand.peak <= plan.demand.peak_high
        assert plan.demand.growth_per_week == pytest.approx(0.0, abs=0.002)

    def test_quantiles_never_cross(self, plan: PlanResult) -> None:
        assert plan.demand is not None
        assert (np.diff(np.array(plan.demand.quantiles), axis=0) >= -1e-9).all()

    def test_a_month_costs_replicas_times_price_times_730_hours(self, plan: PlanResult) -> None:
        assert plan.cost is not None and plan.curve is not None
        assert (plan.cost.hourly_rate, plan.cost.currency) == (2.0, "USD")
        assert plan.cost.now_per_month == 4 * 2.0 * 730.0
        assert plan.cost.plan_per_month == plan.curve.needed * 2.0 * 730.0
        assert plan.cost.now_replica_hours == 4 * 730.0

    def test_the_horizon_costs_its_days_hour_by_hour(self, plan: PlanResult) -> None:
        assert plan.cost is not None and plan.curve is not None
        assert plan.cost.horizon_total == pytest.approx(max(4, plan.curve.needed) * 2.0 * 24 * 91, rel=0.1)

    def test_the_number_needed_is_the_least_of_the_curve_that_holds(self, plan: PlanResult) -> None:
        assert plan.curve is not None and plan.demand is not None
        holding = [point.replicas for point in plan.curve.points if point.holds]
        assert min(holding) == plan.curve.needed
        assert plan.curve.peak_rate == pytest.approx(max(plan.demand.quantiles[plan.demand.levels.index(0.9)]))

    def test_more_replicas_are_never_slower_later_or_cheaper(self, plan: PlanResult) -> None:
        assert plan.curve is not None
        points = plan.curve.points
        for name in ("utilisation_ratio", "lost_minutes_per_month"):
            assert (np.diff([getattr(point, name) for point in points]) <= 1e-9).all(), name
        assert (np.diff([point.promised for point in points]) <= 0.02 * points[-1].promised).all()
        assert [point.cost_per_month for point in points] == [point.replicas * 2.0 * 730.0 for point in points]

    def test_utilisation_at_the_peak_is_load_over_slots(self, plan: PlanResult) -> None:
        assert plan.curve is not None
        point = plan.curve.points[0]
        assert point.utilisation_ratio == pytest.approx(plan.curve.peak_rate * 0.22 / (point.replicas * 4), rel=0.06)

    def test_an_idle_replica_answers_in_its_service_time(self, plan: PlanResult) -> None:
        assert plan.curve is not None
        assert plan.curve.points[-1].latency_p50 == pytest.approx(0.2, rel=0.1)  # of the planted buckets
        assert plan.curve.points[-1].latency_p95 == pytest.approx(0.4, rel=0.1)

    def test_the_line_of_capacity_carries_what_ran(self, plan: PlanResult) -> None:
        assert plan.capacity is not None
        assert [step.replicas for step in plan.capacity.past] == [4.0]
        assert plan.capacity.now.rate == plan.capacity.steps[0].rate > plan.demand.peak  # type: ignore[union-attr]
        assert plan.capacity.now.low <= plan.capacity.now.rate  # type: ignore[operator]

    def test_policies_are_replayed_on_the_same_days(self, plan: PlanResult) -> None:
        assert plan.replayed is not None
        found = {policy.key: policy for policy in plan.replayed.policies}
        assert set(found) == {"ran", "static", "hpa70", "plan", "clairvoyant"}
        assert found["ran"].measured and found["ran"].lost_minutes == 0.0
        assert found["ran"].replica_hours == pytest.approx(4 * 24 * plan.replayed.days)
        assert found["clairvoyant"].replica_hours <= found["static"].replica_hours
        assert all(policy.cost == pytest.approx(policy.replica_hours * 2.0) for policy in found.values())

    def test_the_floor_is_by_hour_and_below_the_most(self, plan: PlanResult) -> None:
        assert plan.floor is not None
        assert len(plan.floor.replicas) in (24, 168) and max(plan.floor.replicas) <= plan.floor.most
        assert min(plan.floor.replicas) >= 1 and plan.floor.running_per_replica == pytest.approx(0.7 * 4)

    def test_assumptions_say_where_each_comes_from(self, plan: PlanResult) -> None:
        rows = {(row.kind, row.title): row for row in plan.assumptions}
        assert rows["slots", "Requests at once in a replica"].detail == "set by hand"
        assert rows["startup", "Start of a replica"].detail.startswith("assumed")
        assert rows["lead_time", "Lead time"].value == "14 days"
        assert rows["price", "Price of a replica"].value == "2.00 USD/h"

    def test_the_same_inputs_give_the_same_plan(self, ground: Ground, plan: PlanResult) -> None:
        assert plan_of(replace(ground, kept={}), assumed=Assumed()) == plan


class TestScenarios:
    def test_growth_replaces_the_trend_and_capacity_runs_out(self, ground: Ground) -> None:
        grown = plan_of(ground, assumed=Assumed(growth_per_month=0.4, name="Growth"))
        assert grown.demand is not None and grown.run_out is not None
        assert grown.demand.peak > 2 * 60 and grown.run_out.median_time is not None
        assert grown.run_out.early_time is not None and grown.run_out.early_time <= grown.run_out.median_time
        assert grown.verdict == "breaks" and "runs out" in grown.headline and grown.run_out.cause == "growth"

    def test_the_order_is_the_early_date_less_lead_time_and_approval(self, ground: Ground) -> None:
        out = plan_of(ground, assumed=Assumed(growth_per_month=0.4, lead_time_days=10, approval_days=2, name="G")).run_out
        assert out is not None and out.early_time is not None
        assert out.order_time == out.early_time - 12 * DAY and out.replicas_to_order >= 1

    def test_more_replicas_run_out_later(self, ground: Ground) -> None:
        few, many = (plan_of(ground, assumed=Assumed(growth_per_month=0.4, replicas=n, name="G")) for n in (5, 40))
        assert few.run_out is not None and many.run_out is not None
        assert few.run_out.early_time is not None and many.run_out.early_time is None
        assert many.verdict == "holds" and many.risk is not None and few.risk is not None
        assert many.risk.lost_minutes < few.risk.lost_minutes

    def test_a_fixed_number_costs_its_own(self, ground: Ground) -> None:
        found = plan_of(ground, assumed=Assumed(replicas=7, hourly_rate=3.5, name="Seven"))
        assert found.cost is not None and found.cost.plan_per_month == pytest.approx(7 * 3.5 * 730)
        assert found.cost.horizon_total == pytest.approx(7 * 3.5 * 24 * 91)
        assert found.cost.now_per_month == 4 * 2.0 * 730  # today's price

    def test_a_floor_by_hour_costs_less_than_its_peak_all_day(self, ground: Ground, plan: PlanResult) -> None:
        found = plan_of(ground, assumed=Assumed(by_hour=True, name="By hour"))
        assert found.cost is not None and plan.cost is not None
        assert found.cost.plan_per_month < 0.95 * plan.cost.plan_per_month  # type: ignore[operator]
        assert found.run_out is not None and found.run_out.early_time is None

    def test_a_faster_replica_needs_no_more_of_them(self, ground: Ground, plan: PlanResult) -> None:
        found = plan_of(ground, assumed=Assumed(speed_ratio=2.0, hardware="H200", name="H200"))
        assert found.curve is not None and plan.curve is not None
        assert found.curve.needed <= plan.curve.needed / 2 + 1
        assert found.curve.points[-1].latency_p50 == pytest.approx(0.1, rel=0.1)

    def test_a_threshold_below_the_service_time_gets_a_sentence(self, ground: Ground) -> None:
        found = plan_of(ground, assumed=Assumed(slo_threshold_seconds=0.1, name="Too fast"))
        assert found.curve is None and found.verdict == "unknown" and found.demand is not None
        assert found.gaps["curve"].startswith("No number of replicas can hold the SLO, request duration p95 within 0.10 s: also where")
        assert "the time the work itself takes. A threshold above" in found.gaps["curve"]

    def test_the_horizon_is_the_scenarios(self, ground: Ground) -> None:
        found = plan_of(ground, assumed=Assumed(horizon_days=365, name="Year"))
        assert found.demand is not None and len(found.demand.times) == 366


@pytest.mark.django_db
class TestMade:
    def test_inputs_take_as_many_queries_whatever_the_history(self) -> None:
        counts = []
        for name, days in (("short", 2), ("long", 9)):
            deployment = make_served(name, days=days)
            inputs_load(deployment, now=NOW)
            with CaptureQueriesContext(connection) as seen:
                inputs_load(deployment, now=NOW)
            counts.append(len(seen))
        assert counts == [QUERIES, QUERIES]

    def test_a_launch_runs_out_on_its_day_and_is_named(self) -> None:
        deployment = make_served("launched", days=28)
        PlanSettings.objects.create(deployment=deployment, slots=4, lead_time_days=5, approval_days=0)
        launch(deployment)
        found = plan_make(deployment, now=NOW)
        assert found.run_out is not None and found.demand is not None
        day = (NOON_SECONDS + 10.5 * DAY) // DAY * DAY
        assert (found.run_out.median_time, found.run_out.cause) == (day, "the Nordwind launch")
        assert found.run_out.without_events_time is None
        assert found.run_out.order_time == found.run_out.early_time - 5 * DAY  # type: ignore[operator]
        assert "when the Nordwind launch starts" in found.headline and "Order" in found.headline
        place = found.demand.times.index(day)
        median = found.demand.quantiles[found.demand.levels.index(0.5)]
        assert median[place] == pytest.approx(3 * found.demand.plain_median[place])
        assert any(row.kind == "launch" and row.value == "x3" and row.event for row in found.assumptions)

    def test_what_only_was_seen_to_hold_gives_no_date(self) -> None:
        deployment = make_served("unproven", days=28)
        launch(deployment)
        found = plan_make(deployment, now=NOW)
        assert found.run_out is not None and found.run_out.median_time is None and found.run_out.order_time is None
        assert found.run_out.sentence.startswith("Cannot be told: 4 replicas hold at least")
        assert found.verdict == "unknown"

    def test_a_scenarios_own_events_count_in_it_only(self) -> None:
        deployment = make_served("twoworlds", days=28)
        PlanSettings.objects.create(deployment=deployment, slots=4)
        scenario = Scenario.objects.create(name="With launch", deployment=deployment)
        PlannedEvent.objects.create(scenario=scenario, kind="launch", name="Launch", start_at=NOW + timedelta(days=9), factor=4)
        base, world = plan_make(deployment, now=NOW), plan_make(deployment, scenario=scenario, now=NOW)
        assert base.demand is not None and world.demand is not None
        assert world.demand.peak == pytest.approx(4 * base.demand.peak, rel=0.05)

    def test_a_maintenance_of_an_hour_does_not_lower_its_day(self) -> None:
        deployment = make_served("mended", days=28)
        plain = plan_make(deployment, now=NOW)
        launch(deployment, kind="maintenance", name="Mend", days=12, factor=0.0, end_at=NOW + timedelta(days=12, hours=1))
        found = plan_make(deployment, now=NOW)
        assert found.demand is not None and plain.demand is not None
        assert found.demand.quantiles == plain.demand.quantiles

    def test_two_weeks_answer_for_seven_days_and_say_so(self) -> None:
        found = plan_make(make_served("young", days=15), now=NOW)
        assert found.demand is not None and len(found.demand.times) == 7
        assert found.gaps["horizon"].startswith("Only 7 days ahead: months need 4 weeks of history.")

    def test_three_days_answer_for_a_day_and_say_so(self) -> None:
        found = plan_make(make_served("newborn", days=3), now=NOW)
        assert found.demand is not None and found.curve is not None and found.run_out is not None
        assert len(found.demand.times) < 7 and "thin" in found.demand.flags
        assert found.gaps["horizon"].startswith("Only ") and found.gaps["floor"].startswith("A floor by hour needs the forecast of a week")

    def test_an_hour_of_history_says_what_is_needed(self) -> None:
        found = plan_make(make_served("minutes", days=0.2), now=NOW)
        assert found.demand is None and found.headline == "24-hour forecast needs 2 daily cycles (48 h), have 5 h."

    def test_no_slo_is_said_with_one_its_history_would_have_held(self) -> None:
        deployment = make_served("promiseless", days=15)
        Slo.objects.all().delete()
        found = plan_make(deployment, now=NOW)
        assert found.verdict == "unknown" and found.demand is not None and found.cost is not None
        assert found.gaps["curve"].startswith("No latency SLO is set")
        assert "would have held" in found.gaps["curve"]

    def test_a_scenarios_threshold_stands_in_for_a_missing_slo(self) -> None:
        deployment = make_served("assumed", days=15)
        Slo.objects.all().delete()
        found = plan_make(deployment, scenario=Scenario(deployment=deployment, slo_threshold_seconds=0.8), now=NOW)
        assert found.curve is not None and (found.curve.slo_percentile, found.curve.slo_seconds) == (0.95, 0.8)

    def test_nothing_stored_is_a_sentence_and_no_zero(self) -> None:
        found = plan_make(make_deployment("silent"), now=NOW)
        assert found.demand is None and found.verdict == "unknown"
        assert found.headline.startswith("No requests per second are stored of it")
        assert set(SECTIONS) - {"cost"} <= set(found.gaps)

    def test_no_arrivals_are_nothing_to_size(self) -> None:
        deployment = make_deployment("idle")
        nobody = {"requests_per_second": np.zeros(20 * 288), "requests_running": np.zeros(20 * 288)}
        served(deployment, days=20, **nobody)
        Slo.objects.create(deployment=deployment, latency=1, threshold_seconds=0.8)
        found = plan_make(deployment, now=NOW)
        assert found.gaps["curve"] == "No request came in the last four weeks: there is nothing to size."

    def test_negative_rates_are_refused_with_what_was_given(self) -> None:
        deployment = make_served("negative", days=3)
        inputs = inputs_load(deployment, now=NOW)
        broken = replace(inputs, hours=replace(inputs.hours, values=inputs.hours.values - 100.0))
        found = plan_of(ground_make(broken), assumed=Assumed())
        assert found.headline.startswith("Rates must be 0 or more requests/s, got -") and found.demand is None

    def test_start_up_is_measured_where_replicas_rose(self) -> None:
        deployment = make_deployment("started")
        desired, ready = np.full(6 * 288, 4.0), np.full(6 * 288, 4.0)
        desired[900:], ready[902:] = 6.0, 6.0  # two steps of five minutes later
        served(deployment, days=6, replicas_desired=desired, replicas_ready=ready)
        Slo.objects.create(deployment=deployment, latency=1, threshold_seconds=0.8)
        found = plan_make(deployment, now=NOW)
        assert found.floor is not None
        assert (found.floor.startup_seconds, found.floor.startup_basis) == (600.0, "measured over 1 start, to 300 s")

    def test_by_hand_counts_before_what_is_measured(self) -> None:
        deployment = make_served("by-hand", days=15)
        PlanSettings.objects.create(deployment=deployment, startup_seconds=45, slots=6, least_replicas=3, most_replicas=5)
        found = plan_make(deployment, now=NOW)
        assert found.floor is not None
        assert (found.floor.startup_seconds, found.floor.startup_basis) == (45.0, "set by hand")
        assert min(found.floor.replicas) >= 3 and found.floor.most <= 5
        assert found.floor.running_per_replica == pytest.approx(0.7 * 6)

    def test_without_a_price_it_speaks_in_replica_hours(self) -> None:
        deployment = make_deployment("priceless")
        served(deployment, days=15)
        Slo.objects.create(deployment=deployment, latency=1, threshold_seconds=0.8)
        found = plan_make(deployment, now=NOW)
        assert found.cost is not None and found.cost.now_per_month is None and found.cost.currency == ""
        assert found.cost.now_replica_hours == 4 * 730.0 and "money" in found.gaps

    def test_scaled_to_zero_it_keeps_the_price_of_its_last_replicas(self) -> None:
        deployment = make_served("asleep", days=15)
        awake = plan_make(deployment, now=NOW).cost
        Placement.objects.filter(replica__deployment=deployment).update(valid_to=NOW - timedelta(hours=2))
        Replica.objects.filter(deployment=deployment).update(last_seen_at=NOW - timedelta(hours=2))
        asleep = plan_make(deployment, now=NOW).cost
        assert awake is not None and asleep is not None
        assert (asleep.hourly_rate, asleep.currency) == (awake.hourly_rate, "USD") == (2.0, "USD")
        Placement.objects.filter(replica__deployment=deployment).update(valid_to=NOW - timedelta(days=2))
        gone = plan_make(deployment, now=NOW).cost
        assert gone is not None and gone.hourly_rate is None

    def test_replicas_seen_stand_in_where_nobody_tells_how_many_are_ready(self) -> None:
        deployment = make_served("uncounted", days=15)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE deployment_5m SET replicas_ready_count = 0, replicas_ready_sum = NULL, replicas_desired_count = 0")
        Replica.objects.filter(deployment=deployment).update(first_seen_at=NOW - timedelta(days=20))
        found = plan_make(deployment, now=NOW)
        assert found.capacity is not None and found.capacity.replicas_now == 4.0
        row = next(row for row in found.assumptions if row.kind == "replicas")
        assert (row.value, row.detail) == ("4 replicas", "replicas seen: nobody tells how many are ready")

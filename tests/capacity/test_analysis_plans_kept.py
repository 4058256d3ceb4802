"""Plans stored, made by turns, told as findings, asked as what-ifs, and added up for groups and clusters."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from capacity.analysis.plan_assumed import Assumed
from capacity.analysis.plan_changes import change_words
from capacity.analysis.plan_due import plan_due, plans_due
from capacity.analysis.plan_findings import RULE, URGENT_NOTE, run_out_tell
from capacity.analysis.plan_groups import plan_cluster, plan_group
from capacity.analysis.plan_jobs import NIGHTLY, plans_make
from capacity.analysis.plan_make import plan_make
from capacity.analysis.plan_records import Demand, PlanResult
from capacity.analysis.plan_store import plan_newest, plan_read, plan_store
from capacity.analysis.plan_whatif import grounds_forget, scenario_plan, what_if
from capacity.analysis.scenarios import scenario_values
from capacity.dashboards.plans_parts import order_tile
from capacity.models import CurrencyRate, PlannedEvent, PlanRun, PlanSettings, Price, Scenario, SupplyOrder, Turn
from monitoring.models import Alert, AlertTransition, Deployment, DeploymentState, Slo
from tests.capacity.fit_world import H100, make_served
from tests.capacity.plan_builders import make_result
from tests.factories import make_deployment
from tests.telemetry import NOON, NOON_SECONDS

pytestmark = pytest.mark.django_db
NOW = NOON
DAY = 86400.0


@pytest.fixture(autouse=True)
def forgotten() -> None:
    grounds_forget()


def firm(name: str, *, days: float = 28, factor: float = 3.0, starts: float = 10.5, cards: int = 4) -> Deployment:
    """Slots by hand, and a launch ahead that it does not hold."""
    deployment = make_served(name, days=days, cards=cards)
    PlanSettings.objects.create(deployment=deployment, slots=4)
    PlannedEvent.objects.create(
        deployment=deployment, kind="launch", name="Nordwind launch", start_at=NOW + timedelta(days=starts), factor=factor
    )
    return deployment


def clock_at(now: datetime) -> Callable[[], datetime]:
    return lambda: now


class TestStored:
    def test_it_stands_in_columns_and_comes_back_whole(self) -> None:
        deployment = firm("kept")
        result = plan_make(deployment, now=NOW)
        plan_store(result, deployment=deployment, digest="abc", seconds=1.5)
        run = plan_newest(deployment)
        assert run is not None and plan_read(run) == result
        assert run.runs_out_on == date(2026, 12, 1) and run.order_by == date(2026, 11, 14)  # 17 days before
        assert (run.replicas_now, run.currency, run.inputs_digest, run.refusal) == (4.0, "USD", "abc", "")
        assert run.replicas_needed == result.curve.needed  # type: ignore[union-attr]
        assert run.code_version and run.seconds == 1.5

    def test_again_it_takes_the_place_of_the_one_before(self) -> None:
        deployment = make_deployment()
        first = plan_store(make_result(), deployment=deployment)
        second = plan_store(replace(make_result(), headline="Another."), deployment=deployment)
        assert first.pk == second.pk and PlanRun.objects.get().result["headline"] == "Another."

    def test_what_json_cannot_hold_is_refused_and_the_old_one_stays(self) -> None:
        deployment = make_deployment()
        plan_store(make_result(), deployment=deployment)
        demand = make_result().demand
        assert isinstance(demand, Demand)
        with pytest.raises(ValueError, match=r"result\.demand\.peak of a plan must be a finite number, got nan"):
            plan_store(replace(make_result(), demand=replace(demand, peak=float("nan"))), deployment=deployment)
        assert PlanRun.objects.get().result["demand"]["peak"] == demand.peak

    def test_a_plan_of_nothing_is_refused(self) -> None:
        with pytest.raises(ValueError, match="of a deployment or of a scenario, got neither"):
            plan_store(make_result())

    def test_a_scenario_has_its_own_beside_the_base(self) -> None:
        deployment = firm("two")
        scenario = Scenario.objects.create(name="Ten", deployment=deployment, replicas=10)
        plan_store(plan_make(deployment, now=NOW), deployment=deployment)
        run = scenario_plan(scenario, now=NOW)
        assert PlanRun.objects.count() == 2 and plan_newest(deployment, scenario) == run
        assert run.cost_per_month == 10 * 2 * 730

    def test_the_digest_changes_with_what_it_rests_on(self) -> None:
        deployment = firm("digest", days=9)
        first = scenario_plan(Scenario.objects.create(name="A", deployment=deployment), now=NOW).inputs_digest
        assert first == scenario_plan(Scenario.objects.create(name="B", deployment=deployment), now=NOW).inputs_digest
        PlanSettings.objects.update(slots=9)
        assert first != scenario_plan(Scenario.objects.create(name="C", deployment=deployment), now=NOW).inputs_digest


class TestWhatIf:
    def test_it_equals_the_plan_made_from_the_start(self) -> None:
        deployment = firm("asked", days=15)
        scenario = scenario_values({"replicas": 9})
        assert what_if(deployment, scenario, now=NOW) == plan_make(deployment, scenario=scenario, now=NOW)

    def test_the_second_reads_no_telemetry(self) -> None:
        deployment = firm("warm", days=15)
        what_if(deployment, scenario_values({"replicas": 9}), now=NOW)
        with CaptureQueriesContext(connection) as seen:
            what_if(deployment, scenario_values({"growth_per_month": 0.1}), now=NOW)
        assert len(seen) == 5
        assert not any("deployment_5m" in query["sql"] or "latency_" in query["sql"] for query in seen)

    def test_what_people_changed_since_is_seen_at_once(self) -> None:
        deployment = firm("changed", days=15)
        before = what_if(deployment, scenario_values({}), now=NOW)
        PlanSettings.objects.update(slots=8)
        PlannedEvent.objects.all().delete()
        after = what_if(deployment, scenario_values({}), now=NOW)
        assert before.curve is not None and after.curve is not None
        assert after.curve.needed < before.curve.needed
        assert not any(row.kind == "launch" for row in after.assumptions)

    def test_events_not_saved_count(self) -> None:
        deployment = make_served("unsaved", days=28)
        event = PlannedEvent(kind="customer", name="Acme", start_at=NOW + timedelta(days=5), added_requests_per_second=50.0)
        found = what_if(deployment, scenario_values({}), events=[event], now=NOW)
        assert found.demand is not None
        assert found.demand.peak == pytest.approx(max(found.demand.plain_median) + 50.0, rel=0.02)
        assert PlannedEvent.objects.count() == 0


class TestFinding:
    def test_it_is_raised_with_consequence_and_action_and_not_twice(self) -> None:
        deployment = firm("short")
        result = plan_make(deployment, now=NOW)
        run_out_tell(deployment, result, now=NOW)
        run_out_tell(deployment, result, now=NOW + timedelta(days=1))
        alert = Alert.objects.get()
        assert (alert.rule_name, alert.state) == (RULE, "firing")
        assert alert.summary.startswith("Capacity runs out in 10 days (90 % quantile of demand)")  # 1 December, from the 21st November
        assert deployment.name not in alert.summary  # pages and messages say before it whose it is
        assert "SLO minutes are expected in 90 days; the SLO allows" in alert.consequence
        count = result.run_out.replicas_to_order  # type: ignore[union-attr]
        assert alert.first_action.startswith(f"Order {count} replicas now, 7 days late")  # the 14th, as it was told on the 21st
        assert f"{count * 1460:,} USD a month" in alert.first_action

    def test_it_is_a_warning_while_there_is_time(self) -> None:
        deployment = firm("early", starts=25)
        run_out_tell(deployment, plan_make(deployment, now=NOW), now=NOW)
        alert = Alert.objects.get()
        assert alert.severity == "warning" and "Order" in alert.first_action and "late" not in alert.first_action

    def test_an_order_that_is_late_wakes_nobody(self) -> None:
        deployment = firm("late")  # 14 + 3 days to get them, 10 left
        run_out_tell(deployment, plan_make(deployment, now=NOW), now=NOW)
        alert = Alert.objects.get()
        assert alert.severity == "warning" and "late; lead time 14 days" in alert.first_action

    def test_what_runs_out_tomorrow_pages_and_says_that_an_order_comes_too_late(self) -> None:
        deployment = firm("urgent", starts=0.5)
        run_out_tell(deployment, plan_make(deployment, now=NOW), now=NOW)
        alert = Alert.objects.get()
        assert alert.severity == "critical" and alert.first_action.startswith("Take load off it, or give it accelerators of others")

    def test_a_warning_that_becomes_urgent_is_told_anew(self) -> None:
        deployment = firm("graver", starts=2.5)
        result = plan_make(deployment, now=NOW)
        run_out_tell(deployment, result, now=NOW)
        for hours in (24, 48):
            run_out_tell(deployment, result, now=NOW + timedelta(hours=hours))
        rows = [(row.state, row.severity) for row in Alert.objects.order_by("pk")]
        assert rows == [("resolved", "warning"), ("firing", "critical")]
        assert AlertTransition.objects.filter(alert__severity="warning", note=URGENT_NOTE).count() == 1

    def test_headline_tile_and_finding_count_days_alike(self) -> None:
        """Between noon and a midnight lie ten and a half days: nobody says ten where another says eleven."""
        deployment = firm("counted", starts=27.5)
        result = plan_make(deployment, now=NOW)
        run_out_tell(deployment, result, now=NOW)
        out = result.run_out
        assert out is not None and out.order_time is not None and out.early_time is not None
        days = [(datetime.fromtimestamp(at, tz=UTC).date() - NOW.date()).days for at in (out.early_time, out.order_time)]
        assert f"in {days[0]} days" in Alert.objects.get().summary and Alert.objects.get().value == days[0]
        tile = order_tile(result, now=NOW)
        assert f"{days[1]} days" in tile.value and " in " not in result.headline  # what is stored names the day, whenever it is read

    def test_it_is_not_raised_months_before_the_order(self) -> None:
        deployment = firm("later", starts=80)
        assert run_out_tell(deployment, plan_make(deployment, now=NOW), now=NOW) is None
        assert not Alert.objects.exists()

    def test_it_ends_when_capacity_holds_again(self) -> None:
        deployment = firm("mended")
        run_out_tell(deployment, plan_make(deployment, now=NOW), now=NOW)
        PlannedEvent.objects.all().delete()
        run_out_tell(deployment, plan_make(deployment, now=NOW), now=NOW + timedelta(hours=1))
        assert Alert.objects.get().state == "resolved"

    def test_what_cannot_be_told_raises_nothing(self) -> None:
        deployment = firm("unproven")
        PlanSettings.objects.all().delete()
        assert run_out_tell(deployment, plan_make(deployment, now=NOW), now=NOW) is None


class TestNight:
    def test_each_deployment_is_planned_once_with_its_scenarios(self) -> None:
        deployment = firm("nightly")
        scenario = Scenario.objects.create(name="Ten", deployment=deployment, replicas=10)
        assert plans_make(clock=clock_at(NOW), budget_seconds=60) == "1 plan made"
        assert {(run.deployment, run.scenario) for run in PlanRun.objects.all()} == {(deployment, None), (deployment, scenario)}
        assert Alert.objects.get().rule_name == RULE
        assert plans_make(clock=clock_at(NOW), budget_seconds=60) == ""

    def test_it_is_made_again_on_demand_and_the_next_night(self) -> None:
        deployment = make_served("again", days=9)
        plans_make(clock=clock_at(NOW), budget_seconds=60)
        plan_due(deployment, now=NOW)
        assert plans_make(clock=clock_at(NOW), budget_seconds=60) == "1 plan made"
        assert Turn.objects.get(job=NIGHTLY.name).due_at > NOW
        assert plans_make(clock=clock_at(NOW + timedelta(days=1)), budget_seconds=60) == "1 plan made"

    def test_one_that_cannot_be_planned_keeps_a_sentence(self) -> None:
        make_deployment("silent")
        plans_make(clock=clock_at(NOW), budget_seconds=60)
        run = PlanRun.objects.get()
        assert run.refusal.startswith("No requests per second are stored of it") and run.runs_out_on is None

    def test_training_and_archived_ones_are_left_out_and_their_finding_ends(self) -> None:
        deployment = firm("gone")
        make_deployment("train", workload_kind="training")
        plans_make(clock=clock_at(NOW), budget_seconds=60)
        Deployment.objects.filter(pk=deployment.pk).update(state=DeploymentState.ARCHIVED)
        plans_make(clock=clock_at(NOW + timedelta(days=1)), budget_seconds=60)
        assert PlanRun.objects.count() == 1 and Alert.objects.get().state == "resolved"


class TestChanged:
    """What a plan rests on became other: it is due, once, and the page can say why."""

    def planned(self, name: str = "changed") -> Deployment:
        deployment = firm(name, days=9)
        Slo.objects.update(updated_at=NOW - timedelta(days=1))
        PlanSettings.objects.update(updated_at=NOW - timedelta(days=1))
        PlannedEvent.objects.update(created_at=NOW - timedelta(days=1))
        plans_make(clock=clock_at(NOW), budget_seconds=60)
        assert plans_make(clock=clock_at(NOW), budget_seconds=60) == ""
        return deployment

    def why(self, deployment: Deployment, *, now: datetime = NOW) -> str:
        run = plan_newest(deployment)
        assert run is not None
        return change_words(deployment, run, plan_read(run), now=now)

    def test_an_slo_makes_the_plan_and_those_of_its_groups_due_once(self) -> None:
        deployment, later = self.planned(), NOW + timedelta(minutes=1)
        group = Scenario.objects.create(name="Both", scope="group")
        group.members.add(deployment)
        other = Scenario.objects.create(name="Foreign", scope="group")
        plans_make(clock=clock_at(NOW), budget_seconds=60)
        Slo.objects.update(threshold_seconds=0.9, updated_at=later)
        assert self.why(deployment) == "the SLO changed"
        for _ in range(2):
            plans_due([deployment], now=later)
        due = set(Turn.objects.filter(job=NIGHTLY.name, due_at__lte=later).values_list("subject", flat=True))
        assert due == {f"deployment:{deployment.pk}", f"scenario:{group.pk}"} and other.pk
        assert plans_make(clock=clock_at(later), budget_seconds=60) == "2 plans made"
        assert self.why(deployment) == "" and plans_make(clock=clock_at(later), budget_seconds=60) == ""

    def test_an_slo_that_was_put_back_is_seen_by_its_values(self) -> None:
        deployment = self.planned()
        Slo.objects.update(threshold_seconds=0.7)  # Undo writes the old moment back as well
        assert self.why(deployment) == "the SLO changed"
        Slo.objects.all().delete()
        PlanSettings.objects.update(updated_at=NOW + timedelta(minutes=1))
        assert self.why(deployment) == "the SLO and the settings changed"

    def test_a_price_makes_due_whom_it_prices_whoever_changed_it(self) -> None:
        deployment, later = self.planned(), NOW + timedelta(minutes=1)
        Price.objects.update(hourly_rate=3)
        assert self.why(deployment) == "the price of a replica changed"
        assert plans_make(clock=clock_at(later), budget_seconds=60) == "1 plan made"
        assert plan_newest(deployment).cost_per_month == 3 * 730 * plan_newest(deployment).replicas_needed  # type: ignore[union-attr, operator]
        assert self.why(deployment) == "" and plans_make(clock=clock_at(later), budget_seconds=60) == ""

    def test_a_price_put_back_counts_again(self) -> None:
        self.planned()
        for rate in (3, 2):
            Price.objects.update(hourly_rate=rate)
            assert plans_make(clock=clock_at(NOW + timedelta(minutes=rate)), budget_seconds=60) == "1 plan made"

    def test_a_price_of_something_else_makes_nothing_due(self) -> None:
        self.planned()
        Price.objects.create(kind="instance", name="c7i.8xlarge", hourly_rate=1, valid_from=NOW.date())
        CurrencyRate.objects.create(currency="EUR", into="USD", rate=1, valid_from=NOW.date())
        assert plans_make(clock=clock_at(NOW + timedelta(minutes=1)), budget_seconds=60) == ""

    def test_a_price_that_begins_tomorrow_counts_tomorrow(self) -> None:
        deployment = self.planned()
        Price.objects.create(kind="accelerator", name=H100, hourly_rate=5, valid_from=NOW.date() + timedelta(days=1))
        assert plans_make(clock=clock_at(NOW + timedelta(minutes=1)), budget_seconds=60) == ""
        assert plans_make(clock=clock_at(NOW + timedelta(hours=12, minutes=5)), budget_seconds=60) == "1 plan made"
        assert plan_read(plan_newest(deployment)).cost.hourly_rate == 5  # type: ignore[arg-type, union-attr]


class TestGroups:
    def test_needs_are_added_in_accelerators(self) -> None:
        one, two = firm("one", cards=5), firm("two", cards=5)  # the fifth card of each is not measured: it is not counted on
        members = [plan_make(deployment, now=NOW) for deployment in (one, two)]
        found = plan_group([one, two], now=NOW)
        assert found.unit == "accelerators" and found.demand is not None and found.capacity is not None
        needed = sum(member.curve.needed for member in members if member.curve)
        assert max(found.demand.quantiles[found.demand.levels.index(0.9)]) == needed
        assert found.capacity.now.rate == 8
        assert found.cost is not None and found.cost.now_per_month == 8 * 2 * 730
        assert "upper bound" in found.demand.method

    def test_it_runs_out_when_the_sum_does_and_an_order_postpones_it(self) -> None:
        one, two = firm("one"), firm("two", starts=30.5)
        found = plan_group([one, two], now=NOW)
        assert found.run_out is not None and found.run_out.median_time == (NOON_SECONDS + 10.5 * DAY) // DAY * DAY
        SupplyOrder.objects.create(cluster=one.cluster, accelerator_model="H100", accelerators=8, arrives_on=date(2026, 11, 25))
        later = plan_group([one, two], now=NOW)
        assert later.run_out is not None and later.run_out.median_time == (NOON_SECONDS + 30.5 * DAY) // DAY * DAY
        assert later.capacity is not None and [step.replicas for step in later.capacity.steps] == [8.0, 16.0]
        assert datetime.fromtimestamp(later.capacity.steps[1].time, tz=UTC).date() == date(2026, 11, 25)

    def test_a_cluster_is_all_that_serves_in_it(self) -> None:
        deployment = firm("clustered")
        make_deployment("train", workload_kind="training")
        found = plan_cluster(deployment.cluster, now=NOW)
        assert next(row for row in found.assumptions if row.kind == "members").detail == "clustered"
        assert H100 in found.headline

    def test_members_that_cannot_be_sized_are_named(self) -> None:
        found = plan_group([firm("sized"), make_deployment("silent")], now=NOW)
        assert "silent: No requests per second are stored of it" in found.gaps["members"]

    def test_one_without_any_says_why(self) -> None:
        found = plan_group([make_deployment("silent")], now=NOW)
        assert (found.verdict, found.demand, found.unit) == ("unknown", None, "accelerators")
        assert found.headline == "None of its deployments could be sized in accelerators."

    def test_scenarios_of_groups_and_clusters_are_planned_by_turn(self) -> None:
        deployment = firm("member")
        group = Scenario.objects.create(name="Both", scope="group")
        group.members.add(deployment)
        cluster = Scenario.objects.create(name="All", scope="cluster", cluster=deployment.cluster)
        plans_make(clock=clock_at(NOW), budget_seconds=60)
        assert {run.scenario for run in PlanRun.objects.exclude(scenario=None)} == {group, cluster}

    def test_a_result_of_a_group_survives_its_store(self) -> None:
        scenario = Scenario.objects.create(name="Both", scope="group")
        result = plan_group([firm("kept")], scenario=scenario, now=NOW)
        run = plan_store(result, scenario=scenario)
        assert plan_read(run) == result
        high = result.demand.quantiles[result.demand.levels.index(0.9)]  # type: ignore[union-attr]
        assert run.replicas_needed == max(high) == result.capacity.now.rate + result.run_out.replicas_to_order  # type: ignore[union-attr]
        assert isinstance(result, PlanResult) and np.isfinite(result.demand.peak)  # type: ignore[union-attr]


def test_assumptions_of_no_scenario_are_none() -> None:
    assert not Assumed().is_scenario

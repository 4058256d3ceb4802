"""The demo fleet's plans: each deployment gets a sensible one, and the stories planted in it are told."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from pytest_django import DjangoDbBlocker

from capacity.analysis.plan_findings import is_due
from capacity.analysis.plan_groups import plan_group
from capacity.analysis.plan_make import plan_make
from capacity.analysis.plan_records import PlanResult
from capacity.analysis.plan_whatif import grounds_forget
from capacity.demo import demo_load
from capacity.models import prices_ship
from monitoring.models import Deployment
from tests.telemetry import database_clear

pytestmark = pytest.mark.django_db  # all alike, so that the fleet is loaded once
NOW = datetime(2026, 11, 21, 10, 17, 41, tzinfo=UTC)
DAY = 86400.0
SIZED = (
    *("asr-whisper", "chat-70b", "code-32b", "embed-e5", "moderate-guard", "recsys-ranker", "search-rerank", "translate-nllb"),
    *("tts-voice", "vision-qc"),
)
# Requests per second of one replica before it saturates, as planted, times replicas; the SLO breaks a little before.
PLANTED = {"asr-whisper": 6 * 8.6, "chat-70b": 6 * 5.2, "moderate-guard": 2 * 14.5, "recsys-ranker": 4 * 1650.0, "search-rerank": 6 * 185.0}


@pytest.fixture(scope="module")
def plans(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Mapping[str, PlanResult]]:
    """Four weeks of the fleet, and the plan of each deployment, made once."""
    with django_db_blocker.unblock():
        prices_ship(now=NOW)
        demo_load(now=NOW, days=28)
        serving = Deployment.objects.filter(cluster__demo=True, workload_kind="serving")
        yield {deployment.name: plan_make(deployment, now=NOW) for deployment in serving}
        database_clear()
        grounds_forget()


@pytest.mark.parametrize("name", SIZED)
class TestEach:
    def test_it_has_every_section_but_a_price_where_there_is_none(self, plans: Mapping[str, PlanResult], name: str) -> None:
        assert set(plans[name].gaps) <= ({"money"} if name == "vision-qc" else set())
        assert plans[name].curve is not None and plans[name].replayed is not None and plans[name].floor is not None

    def test_what_it_holds_is_more_than_it_ever_held_and_less_than_a_multiple(self, plans: Mapping[str, PlanResult], name: str) -> None:
        demand, capacity = plans[name].demand, plans[name].capacity
        assert demand is not None and capacity is not None
        days = [rate for rate in demand.past_rates[-4:] if rate is not None]
        assert 0.97 * max(days) <= capacity.now.rate <= 8 * max(demand.peak, max(days))

    def test_its_demand_goes_on_from_what_came(self, plans: Mapping[str, PlanResult], name: str) -> None:
        demand = plans[name].demand
        assert demand is not None
        came = max(rate for rate in demand.past_rates[-4:] if rate is not None)
        median = demand.quantiles[demand.levels.index(0.5)]
        assert 0.6 * came <= max(median[:14]) <= 1.5 * came

    def test_its_curve_falls_and_its_answer_holds(self, plans: Mapping[str, PlanResult], name: str) -> None:
        curve = plans[name].curve
        assert curve is not None
        assert (np.diff([point.lost_minutes_per_month for point in curve.points]) <= 1e-6).all()
        assert next(point for point in curve.points if point.replicas == curve.needed).holds

    def test_the_plan_lost_no_more_than_an_hpa_on_its_own_past(self, plans: Mapping[str, PlanResult], name: str) -> None:
        replayed = plans[name].replayed
        assert replayed is not None
        lost = {policy.key: policy.lost_minutes for policy in replayed.policies}
        assert lost["plan"] <= lost["hpa70"] + 1.0

    def test_its_bill_is_replicas_times_price_times_730(self, plans: Mapping[str, PlanResult], name: str) -> None:
        cost, capacity, curve = plans[name].cost, plans[name].capacity, plans[name].curve
        assert cost is not None and capacity is not None and curve is not None
        if cost.hourly_rate is not None:
            assert cost.now_per_month == pytest.approx(capacity.replicas_now * cost.hourly_rate * 730)
            assert cost.plan_per_month == pytest.approx(curve.needed * cost.hourly_rate * 730)


class TestStories:
    @pytest.mark.parametrize("name", PLANTED)
    def test_the_rate_held_lies_below_what_was_planted(self, plans: Mapping[str, PlanResult], name: str) -> None:
        capacity = plans[name].capacity
        assert capacity is not None and 0.65 * PLANTED[name] <= capacity.now.rate <= 1.1 * PLANTED[name]

    def test_whisper_grows_by_two_percent_a_day_and_runs_out_within_a_week(self, plans: Mapping[str, PlanResult]) -> None:
        plan = plans["asr-whisper"]
        assert plan.run_out is not None and plan.demand is not None and plan.verdict == "breaks"
        assert plan.demand.growth_per_week == pytest.approx(1.02**7 - 1, abs=0.02)
        assert plan.run_out.median_time is not None and plan.run_out.early_time is not None
        assert 0 <= plan.run_out.early_time - NOW.timestamp() + DAY <= plan.run_out.median_time - NOW.timestamp() + DAY <= 8 * DAY
        assert plan.headline.startswith("Capacity runs out on") and "by growth" in plan.headline

    def test_chat_is_broken_by_its_release_and_not_by_its_load(self, plans: Mapping[str, PlanResult]) -> None:
        plan = plans["chat-70b"]
        assert plan.verdict == "breaks" and plan.headline.startswith("The SLO is broken now, at ")
        assert "Prompts are 2." in plan.headline and "v3.1 to v3.2" in plan.headline
        tokens = next(row for row in plan.assumptions if row.kind == "tokens")
        assert "in the last half hour 2,5" in tokens.detail and "6 replicas hold" in tokens.detail

    def test_only_whisper_raises_that_it_runs_out(self, plans: Mapping[str, PlanResult]) -> None:
        due = [name for name, plan in plans.items() if plan.run_out is not None and is_due(plan.run_out, now=NOW.timestamp())]
        assert due == ["asr-whisper"]

    def test_the_embedding_and_the_edge_have_replicas_to_spare(self, plans: Mapping[str, PlanResult]) -> None:
        for name in ("embed-e5", "vision-qc"):
            assert plans[name].verdict == "holds" and "would hold the highest demand ahead" in plans[name].headline

    def test_the_sale_is_no_part_of_an_ordinary_week(self, plans: Mapping[str, PlanResult]) -> None:
        demand = plans["search-rerank"].demand
        assert demand is not None and demand.peak_high < 1300  # in the sale it was 1,500 and more

    def test_fraud_has_no_slo_and_training_no_requests(self, plans: Mapping[str, PlanResult]) -> None:
        assert plans["fraud-score"].gaps["curve"].startswith("No latency SLO is set")
        assert plans["fraud-score"].demand is not None and "recsys-train" not in plans

    def test_the_cluster_runs_out_of_the_accelerators_that_whisper_grows_into(self, plans: Mapping[str, PlanResult]) -> None:
        members = list(Deployment.objects.filter(name__in=("asr-whisper", "embed-e5"), cluster__demo=True))
        found = plan_group(members, now=NOW + timedelta(minutes=1))
        assert found.headline.startswith("NVIDIA L40S runs out on") and found.verdict == "breaks"
        assert {row.title for row in found.assumptions if row.kind == "supply"} == {"NVIDIA L40S", "NVIDIA L4"}

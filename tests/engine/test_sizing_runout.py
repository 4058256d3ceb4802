from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity.engine.sizing.broken import BrokenTable
from capacity.engine.sizing.hold import HeldCurve
from capacity.engine.sizing.runout import (
    DailyDemand,
    HourlyDemand,
    Supply,
    hours_from_days,
    order_date,
    risk_of_waiting,
    run_out,
    weekly_shape,
)

DAY = 86400.0
START = datetime(2026, 11, 23, tzinfo=UTC).timestamp()  # a Monday
CURVE = HeldCurve(np.arange(0.0, 60.0, 5.0))  # 5 requests/s by each replica
LEVELS = np.array([0.1, 0.5, 0.9])
TABLE = BrokenTable(rates=np.array([1.0, 10.0, 20.0]), broken=np.array([[1.0, 0.0, 0.0], [1.0, 0.2, 0.0], [1.0, 1.0, 0.1]]))


def demand(median: list[float] | np.ndarray, *, spread: float = 0.2) -> DailyDemand:
    middle = np.asarray(median, dtype=np.float64)
    return DailyDemand(START + np.arange(middle.size) * DAY, LEVELS, np.stack([middle * (1 - spread), middle, middle * (1 + spread)]))


def supply(*steps: tuple[float, float]) -> Supply:
    """(days from the start, replicas)"""
    return Supply(np.array([START + day * DAY for day, _ in steps]), np.array([count for _, count in steps]))


def day(time: float | None) -> float | None:
    return None if time is None else (time - START) / DAY


class TestRunOut:
    def test_growth_crosses_early_before_it_crosses_in_the_middle(self) -> None:
        found = run_out(demand(np.linspace(10.0, 40.0, 31)), supply=supply((0, 5)), curve=CURVE)
        assert (day(found.early_time), day(found.median_time)) == (11.0, 16.0)  # 1.2 x 21 > 25, 26 > 25
        assert found.replicas_to_order == 5 and not found.by_event  # 48 requests/s need 10

    def test_one_busy_day_is_no_run_out_but_two_in_a_week_are(self) -> None:
        one, two = np.full(30, 10.0), np.full(30, 10.0)
        one[10], two[[10, 16]] = 30.0, 30.0
        found = [run_out(demand(values, spread=0.0), supply=supply((0, 5)), curve=CURVE).median_time for values in (one, two)]
        assert [day(time) for time in found] == [None, 10.0]

    def test_one_day_over_is_enough_on_the_day_of_an_event(self) -> None:
        values = np.full(30, 10.0)
        values[10] = 30.0
        found = run_out(demand(values), supply=supply((0, 5)), curve=CURVE, event_days=np.arange(30) == 10)
        assert day(found.median_time) == 10.0 and found.by_event

    def test_at_the_end_of_the_horizon_the_days_that_are_left_must_do(self) -> None:
        values = np.full(10, 10.0)
        values[-1] = 30.0
        assert day(run_out(demand(values), supply=supply((0, 5)), curve=CURVE).median_time) == 9.0

    def test_what_is_on_order_counts_from_the_day_after_it_arrives_at_noon(self) -> None:
        flat = demand(np.full(20, 30.0), spread=0.0)
        late = run_out(flat, supply=supply((0, 5), (1.5, 6)), curve=CURVE)
        assert supply((0, 5), (1.5, 6)).least(flat.times[:3], length_seconds=DAY).tolist() == [5.0, 5.0, 6.0]
        assert day(late.median_time) == 0.0 and late.replicas_to_order == 1
        assert run_out(flat, supply=supply((0, 6)), curve=CURVE).median_time is None

    def test_demand_that_is_held_orders_nothing(self) -> None:
        found = run_out(demand(np.full(20, 10.0)), supply=supply((0, 5)), curve=CURVE)
        assert (found.median_time, found.early_time, found.replicas_to_order) == (None, None, 0)

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 10_000), st.integers(0, 4), st.floats(1.0, 2.0))
    def test_more_capacity_never_brings_it_forward_and_more_demand_never_back(self, seed: int, more: int, factor: float) -> None:
        rng = np.random.default_rng(seed)
        median = rng.gamma(8.0, 3.0, 40) * np.linspace(0.6, 1.4, 40)
        base = run_out(demand(median), supply=supply((0, 5)), curve=CURVE)
        larger = run_out(demand(median), supply=supply((0, 5 + more)), curve=CURVE)
        busier = run_out(demand(median * factor), supply=supply((0, 5)), curve=CURVE)
        for name in ("median_time", "early_time"):
            times = [getattr(found, name) or np.inf for found in (busier, base, larger)]
            assert times == sorted(times)
        assert larger.replicas_to_order <= base.replicas_to_order <= busier.replicas_to_order
        assert (base.early_time or np.inf) <= (base.median_time or np.inf)

    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (lambda: DailyDemand(np.array([0.0]), LEVELS, np.array([[1.0], [3.0], [2.0]])), "quantiles cross"),
            (lambda: DailyDemand(np.array([0.0]), LEVELS, np.full((3, 1), np.nan)), "without gaps"),
            (lambda: DailyDemand(np.array([0.0]), LEVELS, np.full((3, 1), -1.0)), "0 or more requests/s"),
            (lambda: DailyDemand(np.zeros(0), LEVELS, np.zeros((3, 0))), "one or more, got"),
            (lambda: DailyDemand(np.array([0.0]), np.array([0.5, 0.1]), np.ones((2, 1))), "ascending levels"),
            (lambda: supply((0, -1)), "0 or more"),
            (lambda: supply((1, 1), (0, 1)), "ascending times"),
            (lambda: order_date(START, lead_days=-1, approval_days=0, now=START), "0 days or more, got -1"),
            (lambda: weekly_shape(np.full(48, -1.0), start_seconds=START), "0 or more requests/s, got -1"),
            (
                lambda: run_out(demand([1.0]), supply=supply((0, 1)), curve=CURVE, event_days=np.zeros(3, dtype=bool)),
                "each of 1 days, got 3",
            ),
            (lambda: hours_from_days(demand([1.0]), shape=np.ones((24,))), "7 x 24"),
        ],
    )
    def test_bad_input_is_refused_in_a_sentence(self, make: Callable[[], object], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            make()


class TestOrder:
    def test_it_is_the_early_date_less_lead_time_and_approval(self) -> None:
        found = order_date(START + 17 * DAY, lead_days=14, approval_days=2, now=START - 2 * DAY)
        assert day(found.time) == 1.0 and found.days_left == 3.0 and found.sentence() == "3 days left to order."

    def test_it_may_have_passed(self) -> None:
        found = order_date(START + 10 * DAY, lead_days=14, approval_days=0, now=START - 1 * DAY)
        assert found.overdue_days == 3.0 and found.sentence() == "The order is overdue by 3 days."
        assert order_date(START, lead_days=0, approval_days=0, now=START - 3600).sentence() == "Order today."


class TestRisk:
    def test_it_weighs_the_broken_minutes_of_each_quantile(self) -> None:
        hours = HourlyDemand(START + np.arange(2) * 3600.0, LEVELS, np.array([[1.0, 0.0], [10.0, 0.0], [20.0, 0.0]]))
        lost = risk_of_waiting(hours, supply=supply((0, 1)), table=TABLE)
        assert lost.tolist() == pytest.approx([60 * (0.3 * 0.0 + 0.4 * 0.2 + 0.3 * 1.0), 0.0])  # 0.1 stands for all below 0.3
        assert risk_of_waiting(hours, supply=supply((0, 2)), table=TABLE)[0] == pytest.approx(60 * 0.3 * 0.1)

    def test_more_capacity_never_loses_more(self) -> None:
        rng = np.random.default_rng(0)
        hours = hours_from_days(demand(rng.gamma(4.0, 3.0, 14)), shape=rng.uniform(0.2, 1.0, (7, 24)))
        lost = [risk_of_waiting(hours, supply=supply((0, count)), table=TABLE).sum() for count in (0, 1, 2, 3)]
        assert lost == sorted(lost, reverse=True) and lost[0] == 14 * 1440

    def test_the_arrival_of_an_order_ends_it(self) -> None:
        hours = HourlyDemand(START + np.arange(4) * 3600.0, LEVELS, np.full((3, 4), 20.0))
        lost = risk_of_waiting(hours, supply=supply((0, 1), (2 / 24, 2)), table=TABLE)
        assert lost.tolist() == pytest.approx([60.0, 60.0, 6.0, 6.0])


class TestShape:
    def test_hours_are_shares_of_their_days_busiest_by_weekday(self) -> None:
        hourly = np.tile(np.r_[np.full(12, 2.0), np.full(12, 4.0)], 14)
        hourly[5 * 24 : 6 * 24] = hourly[12 * 24 : 13 * 24] = 3.0  # even Saturdays
        shape = weekly_shape(hourly, start_seconds=START)
        assert shape[0].tolist() == [0.5] * 12 + [1.0] * 12 and shape[5].tolist() == [1.0] * 24

    def test_a_series_that_starts_within_a_day_is_cut_to_whole_days(self) -> None:
        hourly = np.r_[np.full(7, 9.0), np.tile(np.r_[np.full(12, 2.0), np.full(12, 4.0)], 2)]
        shape = weekly_shape(hourly, start_seconds=START + 17 * 3600.0)
        assert shape[3].tolist() == [0.5] * 12 + [1.0] * 12

    def test_a_past_that_is_not_known_is_busy_all_day(self) -> None:
        for hourly in (np.full(48, np.nan), np.zeros(48), np.zeros(0)):
            assert weekly_shape(hourly, start_seconds=START).tolist() == [[1.0] * 24] * 7

    def test_days_become_hours_of_their_weekday(self) -> None:
        shape = np.ones((7, 24))
        shape[1, :] = 0.5
        hours = hours_from_days(demand([10.0, 20.0], spread=0.0), shape=shape)
        assert hours.quantiles[1].tolist() == [10.0] * 24 + [10.0] * 24 and hours.times[25] - START == 25 * 3600.0

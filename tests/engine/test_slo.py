"""Hand-worked cases and properties of the SLO arithmetic; runs without Django."""

import numpy as np
import pytest

from capacity.engine.answer import NoAnswer
from capacity.engine.slo import (
    LostMinutes,
    breach_intervals,
    breach_steps,
    budget_minutes,
    minutes_lost,
    readable_ceiling,
    threshold_suggest,
)

NAN = float("nan")


class TestBreachSteps:
    def test_a_step_above_the_threshold_is_broken_and_one_at_it_holds(self) -> None:
        result = breach_steps(np.array([0.7, 0.8, 0.9]), counts=np.full(3, 100.0), threshold_seconds=0.8)
        assert result.tolist() == [0.0, 0.0, 1.0]

    def test_gaps_and_thin_steps_are_unknown(self) -> None:
        result = breach_steps(np.array([NAN, 9.0, 9.0]), counts=np.array([100.0, 4.0, NAN]), threshold_seconds=0.8)
        assert np.isnan(result).all()

    def test_scaling_latency_and_threshold_alike_changes_nothing(self) -> None:
        values = np.random.default_rng(7).lognormal(size=500)
        counts = np.full(500, 50.0)
        first = breach_steps(values, counts=counts, threshold_seconds=1.5)
        second = breach_steps(values * 1000, counts=counts, threshold_seconds=1500.0)
        assert first.tolist() == second.tolist()

    def test_it_refuses_a_threshold_that_is_not_positive(self) -> None:
        with pytest.raises(ValueError, match="above 0, got 0"):
            breach_steps(np.zeros(1), counts=np.zeros(1), threshold_seconds=0.0)

    def test_it_refuses_arrays_of_two_shapes(self) -> None:
        with pytest.raises(ValueError, match="one shape"):
            breach_steps(np.zeros(2), counts=np.zeros(3), threshold_seconds=1.0)


class TestMinutesLost:
    def test_it_counts_broken_and_judged_minutes(self) -> None:
        assert minutes_lost(np.array([1.0, 0.0, NAN, 1.0]), step_seconds=300) == LostMinutes(lost=10.0, measured=15.0)

    def test_nothing_measured_is_nothing_lost(self) -> None:
        assert minutes_lost(np.array([NAN, NAN]), step_seconds=60) == LostMinutes(lost=0.0, measured=0.0)

    def test_it_refuses_a_step_of_no_length(self) -> None:
        with pytest.raises(ValueError, match="step_seconds"):
            minutes_lost(np.zeros(1), step_seconds=0)


class TestBudget:
    def test_it_is_202_minutes_for_99_5_percent_of_28_days(self) -> None:
        assert budget_minutes(0.995, window_days=28) == pytest.approx(201.6)

    def test_a_promise_of_every_minute_leaves_none(self) -> None:
        assert budget_minutes(1.0, window_days=28) == 0.0

    @pytest.mark.parametrize(("objective", "days"), [(0.0, 28), (1.1, 28), (0.99, 0)])
    def test_it_refuses_what_is_no_promise(self, objective: float, days: float) -> None:
        with pytest.raises(ValueError, match="objective in"):
            budget_minutes(objective, window_days=days)


class TestBreachIntervals:
    times = np.arange(60.0, 660.0, 60.0)  # ends of ten one-minute steps that start at 0

    def test_neighbouring_broken_steps_are_one_interval_from_start_to_end(self) -> None:
        breaches = np.array([0, 1, 1, 0, 0, 0, 1, 0, 0, 0], dtype=float)
        assert breach_intervals(self.times, breaches=breaches, step_seconds=60) == [(60.0, 180.0), (360.0, 420.0)]

    def test_intervals_close_to_each_other_are_joined(self) -> None:
        breaches = np.array([0, 1, 0, 1, 0, 0, 0, 0, 0, 1], dtype=float)
        result = breach_intervals(self.times, breaches=breaches, step_seconds=60, join_seconds=120)
        assert result == [(60.0, 240.0), (540.0, 600.0)]

    def test_an_unknown_step_ends_an_interval(self) -> None:
        breaches = np.array([1, NAN, 1, 0, 0, 0, 0, 0, 0, 0])
        assert len(breach_intervals(self.times, breaches=breaches, step_seconds=60)) == 2

    def test_no_breach_no_interval(self) -> None:
        assert breach_intervals(self.times, breaches=np.zeros(10), step_seconds=60) == []

    def test_their_length_equals_the_minutes_lost(self) -> None:
        breaches = (np.random.default_rng(3).random(1000) < 0.3).astype(float)
        times = np.arange(1000) * 60.0
        intervals = breach_intervals(times, breaches=breaches, step_seconds=60)
        assert sum(end - start for start, end in intervals) / 60 == minutes_lost(breaches, step_seconds=60).lost

    def test_it_refuses_arrays_of_two_shapes(self) -> None:
        with pytest.raises(ValueError, match="one shape"):
            breach_intervals(np.zeros(2), breaches=np.zeros(3), step_seconds=60)


class TestReadableCeiling:
    @pytest.mark.parametrize(("value", "expected"), [(0.744, 0.8), (1.4, 1.5), (0.0312, 0.04), (1.0, 1.0), (0.1, 0.1), (9.1, 10.0)])
    def test_it_rounds_up_to_a_number_people_say(self, value: float, expected: float) -> None:
        assert readable_ceiling(value) == expected

    def test_it_never_lies_below_the_value_nor_a_third_above(self) -> None:
        for value in np.geomspace(1e-4, 1e3, 500):
            assert value * (1 - 1e-6) <= readable_ceiling(float(value)) <= value * 1.34

    @pytest.mark.parametrize("value", [0.0, -1.0, NAN, float("inf")])
    def test_it_refuses_what_has_no_ceiling(self, value: float) -> None:
        with pytest.raises(ValueError, match="above 0"):
            readable_ceiling(value)


class TestThresholdSuggest:
    def test_it_adds_a_margin_and_rounds_up(self) -> None:
        windows = np.r_[np.full(990, 0.5), np.full(10, 0.9)]
        result = threshold_suggest(windows, percentile_seconds=0.62)
        assert not isinstance(result, NoAnswer)
        assert (result.threshold_seconds, result.held_ratio, result.windows) == (0.8, 0.99, 1000)

    def test_it_says_how_much_is_missing(self) -> None:
        result = threshold_suggest(np.r_[np.full(40, 0.5), np.full(400, NAN)], percentile_seconds=0.6)
        assert result == NoAnswer("too_short", have=40, need=288)

    def test_it_says_when_nothing_was_measured(self) -> None:
        result = threshold_suggest(np.full(10, NAN), percentile_seconds=NAN)
        assert result == NoAnswer("no_data", have=0, need=288)

    def test_it_refuses_a_negative_margin(self) -> None:
        with pytest.raises(ValueError, match="margin"):
            threshold_suggest(np.ones(300), percentile_seconds=1.0, margin=-0.1)


def test_the_reason_reads_as_a_sentence() -> None:
    assert NoAnswer("too_short", have=40, need=288).sentence() == "Not enough data: have 40, need 288."

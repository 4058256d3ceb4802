from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity.engine.queueing.service import service_measured
from capacity.engine.sizing.broken import BrokenTable, Server, broken_curve
from capacity.engine.sizing.fallback import service_assumed, table_formula
from capacity.engine.sizing.hold import (
    HeldCurve,
    held_curve,
    holding_find,
    hour_shapes,
    minute_price,
    rate_held,
    replicas_needed,
    table_hourly,
)
from capacity.engine.sizing.replicas import Promise
from capacity.engine.sizing.tables import broken_share, minute_table

WAIT = Promise(0.95, 1.0, kind="wait")
SERVER = Server(service=service_measured(np.random.default_rng(0).exponential(5.0, 2000)), slots=4, burstiness=1.5)
TABLE = minute_table(12.0, server=SERVER, promise=WAIT, rng=np.random.default_rng(1))
SMALL = BrokenTable(rates=np.array([1.0, 2.0, 4.0]), broken=np.array([[1.0, 0.0, 0.0], [1.0, 0.5, 0.0], [1.0, 1.0, 0.02]]))


class TestTable:
    def test_between_replayed_rates_it_agrees_with_a_replay_there(self) -> None:
        shares = np.zeros(40)
        for seed in range(10):
            curve = broken_curve(4.7, server=SERVER, promise=WAIT, rng=np.random.default_rng(seed))[:40]
            shares[: curve.size] += curve / 10
        exact = int(np.argmax(shares <= 0.01))
        assert abs(int(replicas_needed(TABLE, rates=np.array([4.7]))[0]) - exact) <= 1

    def test_more_replicas_break_fewer_minutes_and_more_load_more(self) -> None:
        assert (np.diff(TABLE.broken, axis=1) <= 1e-9).all() and (np.diff(TABLE.broken, axis=0) >= -1e-9).all()

    def test_what_no_replica_makes_good_is_kept_apart(self) -> None:
        """p95 of an exponential time is 3 means: of the few requests of a quiet minute one is late every so often, alone."""
        table = minute_table(4.0, server=SERVER, promise=Promise(0.95, 20.0), rng=np.random.default_rng(1))
        quiet, busy = table.broken[0, -1], table.broken[-1, -1]
        assert quiet > 0.01 > busy
        assert 1 <= replicas_needed(table, rates=np.array([table.rates[0]]))[0] <= 3

    def test_a_minutes_share_lies_between_its_neighbours(self) -> None:
        found = broken_share(SMALL, rates=np.array([2.0, 2.0, 0.0, np.nan]), replicas=np.array([1.0, 1.5, 1.0, 1.0]))
        assert found[:3].tolist() == [0.5, 0.25, 0.0] and np.isnan(found[3])


class TestHeldCurve:
    def test_it_is_the_table_read_the_other_way_round(self) -> None:
        assert held_curve(SMALL, share=0.25).rates.tolist() == pytest.approx([0.0, 1.5, 4.0])
        assert rate_held(SMALL, replicas=1.0, share=0.25) == 1.5

    @settings(max_examples=20, deadline=None)
    @given(st.floats(0.01, 30.0), st.floats(0.0, 1.0))
    def test_what_needs_so_many_is_held_by_so_many_and_by_no_fewer(self, rate: float, part: float) -> None:
        curve = held_curve(TABLE)
        needed = curve.replicas(rate)
        assert curve.rate(needed) >= rate * (1 - 1e-9) and (needed == 0 or curve.rate(needed - 1) < rate)
        assert curve.replicas(rate * part) <= needed  # more load never needs fewer replicas

    def test_beyond_the_table_it_goes_on_in_proportion(self) -> None:
        curve = HeldCurve(np.array([0.0, 1.0, 4.0]))
        assert curve.rate(3) == 6.0 and curve.replicas(5.0) == 3 and curve.replicas(6.0) == 3

    def test_a_measured_break_moves_the_whole_curve(self) -> None:
        assert HeldCurve(np.array([0.0, 2.0, 5.0])).scaled(0.5).rates.tolist() == [0.0, 1.0, 2.5]

    def test_scaling_time_and_rate_together_changes_nothing(self) -> None:
        slow = Server(service_measured(SERVER.service.values * 10.0), SERVER.slots, SERVER.burstiness)
        # Ten times as slow in minutes ten times as long would be the same; in minutes of 60 s only the shape stays.
        one = holding_find(4, server=SERVER, promise=WAIT, burst_error=0.0, rng=np.random.default_rng(0))
        other = holding_find(4, server=slow, promise=replace(WAIT, threshold_seconds=10.0), burst_error=0.0, rng=np.random.default_rng(0))
        assert other.rate * 10.0 == pytest.approx(one.rate, rel=0.15)

    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (lambda: held_curve(TABLE, share=1.0), "share of minutes between 0 and 1, got 1"),
            (lambda: held_curve(TABLE).rate(-1.0), "0 replicas or more, got -1"),
            (lambda: held_curve(TABLE).replicas(float("nan")), "0 or more requests/s, got nan"),
            (lambda: HeldCurve(np.zeros(3)).replicas(1.0), "no number of replicas holds the promise"),
            (lambda: HeldCurve(np.zeros(3)).scaled(0.0), "ratio above 0, got 0"),
            (lambda: minute_table(-1.0, server=SERVER, promise=WAIT, rng=np.random.default_rng(0)), "above 0 requests/s, got -1"),
            (lambda: minute_price(TABLE, rates=np.full(5, np.nan)), "at least one hour"),
            (lambda: hour_shapes(np.full(60, -1.0)), "0 or more requests/s, got -1"),
        ],
    )
    def test_bad_input_is_refused_in_a_sentence(self, make: Callable[[], object], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            make()


class TestHours:
    def test_minutes_of_the_busiest_hours_over_their_mean(self) -> None:
        rates = np.concatenate([np.full(60, 1.0), np.r_[np.full(30, 2.0), np.full(30, 6.0)], np.full(60, np.nan)])
        assert hour_shapes(rates, busiest_ratio=0.5).tolist() == [[0.5] * 30 + [1.5] * 30]

    def test_a_past_without_a_whole_hour_is_even(self) -> None:
        for rates in (np.full(120, np.nan), np.zeros(120), np.zeros(0)):
            assert hour_shapes(rates).tolist() == [[1.0] * 60]

    def test_an_even_hour_changes_nothing(self) -> None:
        hourly = table_hourly(TABLE, shapes=np.ones((1, 60)))
        for rate in (0.5, 3.0, 9.0):
            assert hourly.share(np.array([rate]), replicas=5) == pytest.approx(TABLE.share(np.array([rate]), replicas=5), abs=1e-9)

    def test_an_uneven_hour_holds_less_by_its_mean(self) -> None:
        uneven = np.r_[np.full(30, 0.5), np.full(30, 1.5)][None, :]
        even, steep = (rate_held(table_hourly(TABLE, shapes=shapes), replicas=6) for shapes in (np.ones((1, 60)), uneven))
        assert steep == pytest.approx(even / 1.5, rel=0.05)

    def test_one_per_cent_of_minutes_weighs_ten_per_cent_of_the_bill(self) -> None:
        needed = int(replicas_needed(TABLE, rates=np.array([6.0]))[0])
        assert 14.4 * minute_price(TABLE, rates=np.r_[np.full(24, 6.0), np.nan]) == pytest.approx(0.1 * needed * 24)


class TestHolding:
    def test_the_interval_widens_with_what_is_not_known_of_the_burstiness(self) -> None:
        exact, rough = (
            holding_find(6, server=SERVER, promise=WAIT, burst_error=error, rng=np.random.default_rng(2)) for error in (0.0, 0.8)
        )
        assert exact.low == exact.rate == exact.high
        assert rough.low < rough.rate < rough.high and rough.rate == exact.rate

    def test_it_agrees_with_the_table(self) -> None:
        found = holding_find(8, server=SERVER, promise=WAIT, burst_error=0.0, rng=np.random.default_rng(2))
        assert found.rate == pytest.approx(rate_held(TABLE, replicas=8), rel=0.25)  # the table's replays are 25 minutes long

    def test_minutes_that_no_replica_makes_good_do_not_count(self) -> None:
        """One in fifty is late by its service time alone, so that some quiet minutes always break."""
        promise = Promise(0.95, 20.0)
        table = minute_table(12.0, server=SERVER, promise=promise, rng=np.random.default_rng(1))
        found = holding_find(4, server=SERVER, promise=promise, burst_error=0.0, rng=np.random.default_rng(2))
        assert 0 < found.rate == pytest.approx(rate_held(table, replicas=4), rel=0.35)

    def test_no_replicas_are_refused(self) -> None:
        with pytest.raises(ValueError, match="1 replica or more"):
            holding_find(0, server=SERVER, promise=WAIT, burst_error=0.0, rng=np.random.default_rng(0))


class TestFormula:
    SERVER = Server(service=service_assumed(5.0), slots=4, burstiness=1.5)

    def test_it_is_near_the_replay_where_the_replay_has_what_it_assumes(self) -> None:
        table = table_formula(12.0, server=self.SERVER, promise=WAIT)
        for rate in (2.0, 5.0, 10.0):
            found, replayed = (int(replicas_needed(t, rates=np.array([rate]))[0]) for t in (table, TABLE))
            assert abs(found - replayed) <= max(2, 0.15 * replayed)

    def test_the_assumed_service_time_has_the_mean(self) -> None:
        assert service_assumed(5.0).mean_seconds == pytest.approx(5.0) and service_assumed(5.0).quantile(0.95) == pytest.approx(
            15.0, rel=0.01
        )
        assert service_assumed(5.0).basis == "assumed"

    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (lambda: service_assumed(0.0), "mean service time above 0 s, got 0"),
            (lambda: table_formula(0.0, server=TestFormula.SERVER, promise=WAIT), "top rate above 0"),
            (lambda: table_formula(1.0, server=TestFormula.SERVER, promise=Promise(0.95, 10.0)), "5 s on average is 15 s there"),
        ],
    )
    def test_bad_input_is_refused_in_a_sentence(self, make: Callable[[], object], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            make()

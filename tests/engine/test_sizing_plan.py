from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity.engine.answer import NoAnswer
from capacity.engine.queueing.service import service_measured
from capacity.engine.sizing.broken import BrokenTable, Server, broken_table
from capacity.engine.sizing.loop import Demand, Reactive, Trial, demand_noisy
from capacity.engine.sizing.opinions import Bands, opinion_alike, opinion_level, opinion_past, opinion_weekday
from capacity.engine.sizing.paths import paths_from_bands, paths_pooled
from capacity.engine.sizing.plan import minute_price_default, plan_fixed, plan_floor, plan_tuned
from capacity.engine.sizing.replicas import Promise
from capacity.engine.sizing.shares import log_density, shares_learned

SERVER = Server(service=service_measured(np.random.default_rng(0).exponential(5.0, 2000)), slots=4, burstiness=1.5)
TABLE = broken_table(12.0, server=SERVER, promise=Promise(0.95, 1.0, kind="wait"), rng=np.random.default_rng(1))


def rising(*, seed: int = 0, paths: int = 6) -> Demand:
    """A day that climbs from 1 to 8 requests/s at a time nobody knows to the hour."""
    rng = np.random.default_rng(seed)
    minutes = np.arange(1440)
    starts = rng.uniform(400, 700, paths)
    rates = 1.0 + 7.0 / (1.0 + np.exp(-(minutes[None, :] - starts[:, None]) / 15.0))
    return demand_noisy(rates, burstiness=1.5, rng=rng)


class TestTable:
    def test_more_replicas_break_fewer_minutes_and_more_load_more(self) -> None:
        assert (np.diff(TABLE.broken, axis=1) <= 1e-12).all() and (np.diff(TABLE.broken, axis=0) >= -1e-12).all()
        assert (TABLE.broken >= 0).all() and (TABLE.broken <= 1).all()

    def test_what_is_needed_lies_above_the_load(self) -> None:
        for rate in (0.5, 2.0, 8.0):
            assert SERVER.capacity_rate(TABLE.needed(rate, share=0.05)) > rate
        assert TABLE.needed(0.0, share=0.05) == 1

    def test_a_rate_of_none_breaks_nothing(self) -> None:
        assert TABLE.share(np.array([0.0, 12.0]), replicas=1).tolist() == [0.0, 1.0]

    def test_a_top_rate_of_zero_is_refused(self) -> None:
        with pytest.raises(ValueError, match="top rate above 0"):
            broken_table(0.0, server=SERVER, promise=Promise(0.95, 1.0), rng=np.random.default_rng(0))


class TestLoop:
    def test_a_steady_load_is_held_at_the_target(self) -> None:
        steady = np.full((1, 1440), 8.0)
        course = Trial(Demand(steady, steady), SERVER, TABLE).floored(np.ones(24, dtype=np.int64), reactive=Reactive(target_ratio=0.5))
        wished = 8.0 * SERVER.service.mean_seconds / 4 / 0.5
        assert course.replica_hours == pytest.approx(np.full(24, np.ceil(wished)), rel=0.11)  # within the tolerance of 10 %

    def test_a_floor_is_paid_where_it_is_above_the_wish(self) -> None:
        quiet = np.full((1, 1440), 0.1)
        floors = np.r_[np.ones(12, dtype=np.int64), np.full(12, 9, dtype=np.int64)]
        course = Trial(Demand(quiet, quiet), SERVER, TABLE).floored(floors, reactive=Reactive())
        assert course.replica_hours.tolist() == floors.tolist()

    def test_a_slow_start_breaks_more_minutes(self) -> None:
        trial = Trial(rising(), SERVER, TABLE)
        fast, slow = (
            trial.floored(np.ones(24, dtype=np.int64), reactive=Reactive(startup_minutes=m)).broken_minutes.sum() for m in (0, 10)
        )
        assert fast < slow

    @pytest.mark.parametrize("make", [lambda: Reactive(target_ratio=0.0), lambda: Reactive(startup_minutes=-1)])
    def test_settings_out_of_range_are_refused(self, make: Callable[[], object]) -> None:
        with pytest.raises(ValueError, match="needed a target in"):
            make()

    def test_negative_and_missing_rates_are_refused(self) -> None:
        for rates in (np.full((1, 60), -1.0), np.full((1, 60), np.nan)):
            with pytest.raises(ValueError, match="0 or more without gaps"):
                demand_noisy(rates, burstiness=1.0, rng=np.random.default_rng(0))


class TestPlan:
    @settings(max_examples=6, deadline=None)
    @given(st.integers(0, 100), st.integers(0, 12), st.integers(0, 12))
    def test_a_longer_start_up_never_lowers_the_floor(self, seed: int, one: int, other: int) -> None:
        trial = Trial(rising(seed=seed, paths=3), SERVER, TABLE)
        short, long = (plan_floor(trial, reactive=Reactive(startup_minutes=m), minute_price=0.5).floors for m in sorted((one, other)))
        assert (long >= short).all()

    def test_a_floor_beats_the_autoscaler_alone(self) -> None:
        trial = Trial(rising(), SERVER, TABLE)
        alone = trial.floored(np.ones(24, dtype=np.int64), reactive=Reactive()).cost(minute_price=1.0).sum()
        plan = plan_floor(trial, reactive=Reactive(), minute_price=1.0)
        assert plan.replica_hours + plan.broken_minutes < 0.9 * alone
        assert plan.floors[12] > plan.floors[2]  # higher where the day may have climbed already

    def test_dearer_minutes_never_get_a_smaller_fixed_plan(self) -> None:
        trial = Trial(rising(), SERVER, TABLE)
        cheap, dear = (plan_fixed(trial, minute_price=price) for price in (0.05, 2.0))
        assert (dear.floors >= cheap.floors).all() and dear.broken_minutes < cheap.broken_minutes

    def test_tuned_settings_cost_no_more_than_the_usual_ones(self) -> None:
        trial = Trial(rising(paths=2), SERVER, TABLE)
        usual, tuned = plan_floor(trial, reactive=Reactive(), minute_price=1.0), plan_tuned(trial, reactive=Reactive(), minute_price=1.0)
        assert tuned.replica_hours + tuned.broken_minutes <= usual.replica_hours + usual.broken_minutes + 1e-9

    def test_one_per_cent_of_minutes_weighs_ten_per_cent_of_the_bill(self) -> None:
        bill = TABLE.needed(6.0, share=0.01) * 24.0
        assert 14.4 * minute_price_default(TABLE, rates=np.full(24, 6.0)) == pytest.approx(0.1 * bill)

    def test_a_negative_price_is_refused(self) -> None:
        with pytest.raises(ValueError, match="price of 0 or more"):
            plan_fixed(Trial(rising(), SERVER, TABLE), minute_price=-1.0)


class TestPaths:
    DAYS = 1000.0 + 500.0 * np.sin(np.arange(10 * 288) / 288 * 2 * np.pi)

    def test_a_weekday_changes_yesterday_as_it_did_before(self) -> None:
        week = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.4, 0.4])
        days = np.outer(np.tile(week, 4), self.DAYS[:288])
        monday, tuesday = opinion_weekday(days), opinion_weekday(np.concatenate([days, days[:1]]))
        assert np.median(monday.days.mean(axis=1)) == pytest.approx(np.median(tuesday.days.mean(axis=1)), rel=0.25)
        assert np.median(monday.days.mean(axis=1)) > 1.7 * days[-1].mean()

    def test_days_as_they_were_count_by_age_and_weekday(self) -> None:
        say = opinion_past(self.DAYS.reshape(-1, 288)).say
        assert say[-1] > say[-2] and say[-7] > say[-6] and say[-8] < say[-7]
        assert opinion_past(self.DAYS.reshape(-1, 288)).drawn(40, rng=np.random.default_rng(0)).shape == (40, 288)

    def test_paths_have_the_forecasts_quantiles(self) -> None:
        levels = np.array([0.05, 0.5, 0.95])
        bands = Bands(levels, np.outer([1.0, 2.0, 4.0], np.ones(24)))
        noisy = self.DAYS * np.random.default_rng(0).lognormal(0, 0.3, self.DAYS.size)
        paths = paths_from_bands(bands, counts=noisy, step_seconds=300.0, rng=np.random.default_rng(1))
        assert isinstance(paths, np.ndarray)
        hourly = paths.reshape(len(paths), 24, 60).mean(axis=2)
        assert np.quantile(hourly, [0.05, 0.5, 0.95]) == pytest.approx([1.0, 2.0, 4.0], rel=0.1)

    def test_a_level_that_rose_in_the_last_hours_goes_on(self) -> None:
        risen = self.DAYS.copy()
        risen[-24:] += 600.0  # the last two hours
        days = opinion_level(risen.reshape(-1, 288)).days
        assert np.median(days, axis=0).mean() == pytest.approx(1600.0, rel=0.01)

    @pytest.mark.parametrize(("lasts", "least", "most"), [(True, 2.4, 3.5), (False, 0.7, 1.3)])
    def test_a_burst_goes_on_as_bursts_did(self, lasts: bool, least: float, most: float) -> None:
        """Bursts of thrice the usual begin at any hour; they last a day or end within the hours that show them."""
        starts = np.arange(30, 26 * 24 - 30, 41)
        hours = np.ones(26 * 24)
        for start in starts:
            hours[start : start + (26 if lasts else 2)] = 3.0
        hours[-2:] = 3.0
        made = opinion_alike(np.repeat(hours, 12).reshape(-1, 288))
        night = np.average(made.days[:, : 8 * 12].mean(axis=1), weights=made.say)
        assert least < night < most

    def test_what_followed_hours_alike_keeps_the_course_of_the_day(self) -> None:
        made = opinion_alike(self.DAYS.reshape(-1, 288))
        assert np.average(made.days, axis=0, weights=made.say) == pytest.approx(self.DAYS[:288], rel=0.02)

    def test_a_step_of_five_minutes_keeps_its_count(self) -> None:
        noisy = self.DAYS * np.random.default_rng(0).lognormal(0, 0.3, self.DAYS.size)
        paths = paths_pooled(None, counts=noisy, step_seconds=300.0, rng=np.random.default_rng(4))
        assert isinstance(paths, np.ndarray)
        assert (paths.reshape(len(paths), 288, 5) == paths[:, ::5, None]).all()

    def test_opinions_are_pooled_by_one_seed(self) -> None:
        bands = Bands(np.array([0.1, 0.9]), np.ones((2, 24)))
        one, two, bare = (
            paths_pooled(given, counts=self.DAYS, step_seconds=300.0, rng=np.random.default_rng(4)) for given in (bands, bands, None)
        )
        assert isinstance(one, np.ndarray) and isinstance(two, np.ndarray) and isinstance(bare, np.ndarray)
        assert (one == two).all() and len(one) == len(bare) == 96 and (one >= 0).all()
        foreseen = np.isclose(one.mean(axis=1), 1.0, atol=0.05).sum()  # the other courses lie about 3.3
        assert foreseen in (19, 20)  # of the forecast, which was never judged: its fifth

    def test_a_forecast_that_was_right_gets_more_courses(self) -> None:
        days = np.random.default_rng(2).lognormal(0, 1.0, 20)
        counts = np.repeat(days * 300.0, 288)
        told = [Bands(np.array([0.05, 0.95]), np.full((2, 24), level) * [[0.9], [1.1]]) for level in (3.0, *days[::-1][:12])]
        paths = [
            paths_pooled(told[0], counts=counts, step_seconds=300.0, rng=np.random.default_rng(4), past_bands=past)
            for past in ((), told[1:])
        ]
        near = [int(((one > 2.6) & (one < 3.4)).all(axis=1).sum()) for one in paths if isinstance(one, np.ndarray)]
        assert near[1] > 2 * near[0]

    def test_two_days_are_too_few(self) -> None:
        given = paths_pooled(None, counts=self.DAYS[: 2 * 288], step_seconds=300.0, rng=np.random.default_rng(0))
        assert given == NoAnswer("too_short", have=2, need=3)

    def test_a_gap_of_a_day_and_a_load_of_zero_are_no_error(self) -> None:
        gap = self.DAYS.copy()
        gap[3 * 288 : 4 * 288] = np.nan
        for counts in (gap, np.zeros(10 * 288)):
            paths = paths_pooled(None, counts=counts, step_seconds=300.0, rng=np.random.default_rng(0))
            assert isinstance(paths, np.ndarray) and np.isfinite(paths).all() and (paths >= 0).all()

    def test_bad_input_is_refused_in_a_sentence(self) -> None:
        with pytest.raises(ValueError, match="0 or more, got -5"):
            paths_pooled(None, counts=np.r_[self.DAYS, -5.0], step_seconds=300.0, rng=np.random.default_rng(0))
        with pytest.raises(ValueError, match="divides a day, got 7"):
            paths_pooled(None, counts=self.DAYS, step_seconds=7.0, rng=np.random.default_rng(0))


class TestShares:
    PRIOR = np.array([0.2, 0.2, 0.6])

    def test_who_said_what_came_gets_more_and_who_never_spoke_keeps_its_prior(self) -> None:
        logs = np.full((10, 3, 24), np.nan)
        logs[:, 0], logs[:, 1] = 0.0, -2.0
        shares = shares_learned(logs, prior=self.PRIOR)
        assert shares.sum() == pytest.approx(1.0) and shares[2] == pytest.approx(0.6)
        assert shares[0] > 3 * shares[1] > 0

    def test_without_evidence_the_prior_stands(self) -> None:
        assert (shares_learned(np.zeros((0, 3, 24)), prior=self.PRIOR) == self.PRIOR).all()

    def test_a_density_is_highest_where_the_courses_lie(self) -> None:
        courses = np.random.default_rng(0).normal(0.0, 0.5, (200, 3))
        seen = log_density(np.array([0.0, 1.0, 9.0]), courses=courses, say=np.ones(200))
        assert seen[0] > seen[1] > seen[2] and seen[0] == pytest.approx(np.log(0.8 * 0.98), abs=0.2) and np.isfinite(seen).all()


def test_a_table_without_rows_to_spare_answers_at_its_edges() -> None:
    table = BrokenTable(rates=np.array([1.0, 2.0]), broken=np.array([[1.0, 0.5, 0.0], [1.0, 1.0, 0.2]]))
    assert table.needed(99.0, share=0.1) == 2 and table.needed(0.001, share=0.1) == 2
    assert table.share(np.array([1.0, 2.0]), replicas=9).tolist() == [0.0, 0.2]

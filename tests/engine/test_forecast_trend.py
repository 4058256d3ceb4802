"""Months ahead: planted growth, scenarios and what is too short; runs without Django."""

import numpy as np
import pytest

from capacity.engine.answer import NoAnswer
from capacity.engine.forecast import Event, Forecast, Scenario, ShortHistory, trend_forecast
from capacity.engine.grid import Floats

DAY = 86400.0
START = 1_736_121_600.0  # Monday 2025-01-06, 00:00 UTC
NAN = float("nan")


def days_of(count: int, *, seed: int, growth: float = 0.0, noise: float = 0.05) -> Floats:
    """One value a day, weekends at half, growing by `growth` a week."""
    day = np.arange(count)
    week = np.where(day % 7 >= 5, 50.0, 100.0) * np.exp(growth * day / 7)
    return week * np.random.default_rng(seed).lognormal(0, noise, count)


def months(values: Floats, *, horizon: int = 180, scenario: Scenario | None = None) -> Forecast:
    result = trend_forecast(values, start_seconds=START, step_seconds=DAY, horizon=horizon, scenario=scenario)
    assert isinstance(result, Forecast), result
    return result


class TestTrend:
    def test_growth_that_held_goes_on_and_the_truth_lies_in_the_band(self) -> None:
        values = days_of(7 * 44, seed=1, growth=0.02)
        result = months(values[: 7 * 26], horizon=7 * 18)
        truth = values[7 * 26 :]
        assert np.abs(result.at_level(0.5) / truth - 1).mean() < 0.15
        assert ((truth >= result.at_level(0.01)) & (truth <= result.at_level(0.99))).mean() > 0.9
        assert result.backtest.mase < 0.8

    def test_a_level_without_trend_stays(self) -> None:
        values = days_of(7 * 30, seed=2)
        result = months(values, horizon=364)
        weekdays = result.at_level(0.5)[np.arange(364) % 7 < 5]
        assert 85 < weekdays.mean() < 115

    def test_the_week_keeps_its_shape(self) -> None:
        week = months(days_of(7 * 20, seed=3)).at_level(0.5)[:7]
        assert 0.4 < week[5:].mean() / week[:5].mean() < 0.6

    def test_the_band_grows_with_the_months(self) -> None:
        result = months(days_of(7 * 30, seed=4, noise=0.2))
        width = result.at_level(0.95) - result.at_level(0.05)
        assert width[-7:].mean() > 1.2 * width[:7].mean()

    def test_nothing_explodes_and_quantiles_never_cross(self) -> None:
        result = months(days_of(7 * 10, seed=5, growth=0.5), horizon=365)
        assert result.quantiles.max() <= 5.0 * days_of(7 * 10, seed=5, growth=0.5).max() * (1 + 1e-9)
        assert (np.diff(result.quantiles, axis=0) >= 0).all()
        assert (result.quantiles >= 0).all()

    def test_it_is_labelled(self) -> None:
        result = months(days_of(7 * 8, seed=6))
        assert result.method == "trend"
        assert result.flags == ("trend", "thin")
        assert "8 weeks" in result.note
        assert result.backtest.actuals.times.size == 4

    @pytest.mark.parametrize("level", [0.0, 7.0])
    def test_a_constant_goes_on(self, level: float) -> None:
        np.testing.assert_allclose(months(np.full(7 * 12, level)).quantiles, level, atol=1e-6)

    def test_a_week_of_gaps_does_not_break_it(self) -> None:
        values = days_of(7 * 20, seed=7)
        values[50:60] = NAN
        assert np.isfinite(months(values).quantiles).all()

    def test_scaling_the_series_scales_the_forecast(self) -> None:
        values = days_of(7 * 20, seed=8)
        np.testing.assert_allclose(months(values * 1e4).quantiles, months(values).quantiles * 1e4, rtol=1e-6)


class TestScenario:
    def test_growth_given_replaces_the_trend(self) -> None:
        values = days_of(7 * 20, seed=9)
        result = months(values, horizon=364, scenario=Scenario(growth_per_month=0.1))
        assert "scenario" in result.flags
        year = result.at_level(0.5)[-7:].mean() / result.at_level(0.5)[:7].mean()
        assert year == pytest.approx(1.1**11.73, rel=0.05)

    def test_an_event_lifts_what_lies_in_its_window(self) -> None:
        values, tomorrow = days_of(7 * 20, seed=10), START + 140 * DAY
        launch = Event("launch", tomorrow + 30 * DAY, tomorrow + 60 * DAY, factor=3.0)
        ratio = months(values, scenario=Scenario(events=(launch,))).quantiles / months(values).quantiles
        np.testing.assert_allclose(ratio[:, 30:60], 3.0)
        np.testing.assert_allclose(ratio[:, :30], 1.0)

    def test_a_growth_that_cannot_be_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"from -0.9 to 2 \(200 %\), got 5"):
            Scenario(growth_per_month=5.0)


class TestTooLittle:
    def test_three_weeks_are_too_short(self) -> None:
        result = trend_forecast(days_of(25, seed=11), start_seconds=START, step_seconds=DAY, horizon=180)
        assert isinstance(result, ShortHistory)
        assert result.sentence() == "180-day forecast needs 4 weekly cycles (672 h), have 504 h."

    def test_nothing_known_is_said(self) -> None:
        result = trend_forecast(np.full(60, NAN), start_seconds=START, step_seconds=DAY, horizon=30)
        assert isinstance(result, NoAnswer)
        assert "have 0 h" in result.sentence()

    @pytest.mark.parametrize("horizon", [0, 401])
    def test_a_horizon_beyond_a_year_is_refused(self, horizon: int) -> None:
        with pytest.raises(ValueError, match="400 days at most"):
            trend_forecast(days_of(100, seed=12), start_seconds=START, step_seconds=DAY, horizon=horizon)


def test_growth_goes_on_without_a_sawtooth_at_the_ends_of_weeks() -> None:
    days = np.arange(56.0)
    found = trend_forecast(100.0 * 1.02**days, start_seconds=0.0, step_seconds=86400.0, horizon=28)
    assert isinstance(found, Forecast)
    assert found.at_level(0.5) == pytest.approx(100.0 * 1.02 ** (56.0 + np.arange(28.0)), rel=0.02)

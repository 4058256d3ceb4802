"""What fills up, along a straight line; runs without Django."""

import numpy as np
import pytest

from capacity.engine.answer import NoAnswer
from capacity.engine.forecast import Forecast, ShortHistory, stock_forecast
from capacity.engine.grid import Floats

DAY = 86400.0
START = 1_736_121_600.0  # Monday 2025-01-06, 00:00 UTC


def ahead(values: Floats, *, horizon: int = 60) -> Forecast:
    found = stock_forecast(values, start_seconds=START, step_seconds=DAY, horizon=horizon)
    assert isinstance(found, Forecast), found
    return found


def filling(days: int, *, per_day: float, seed: int = 0) -> Floats:
    """Ends at 500; noise of one."""
    return np.maximum(500 + per_day * (np.arange(days) - days) + np.random.default_rng(seed).normal(0, 1, days), 0.0)


@pytest.mark.parametrize("per_day", [5.0, 1.0, 0.0, -3.0])
def test_it_goes_on_by_the_same_amount_a_day(per_day: float) -> None:
    found = ahead(filling(98, per_day=per_day))
    truth = np.maximum(500 + per_day * np.arange(60), 0.0)
    assert np.abs(found.at_level(0.5) - truth).max() <= 6 * max(abs(per_day), 1.0)  # within a week of the day
    assert ((found.at_level(0.01) <= truth + 7 * abs(per_day)) & (found.at_level(0.99) >= truth - 7 * abs(per_day))).all()


def test_quantiles_never_cross_and_are_never_negative() -> None:
    found = ahead(filling(98, per_day=-5.0), horizon=400)
    assert (found.quantiles >= 0).all() and (np.diff(found.quantiles, axis=0) >= -1e-9).all()


def test_last_weeks_levels_stand_beside_what_was_forecast() -> None:
    actuals = ahead(filling(98, per_day=5.0)).backtest.actuals
    np.testing.assert_allclose(actuals.actual, [500 - 5 * (7 * week + 4) for week in (3, 2, 1, 0)], atol=3)
    np.testing.assert_allclose(actuals.median, actuals.actual, atol=10)


def test_an_empty_disk_stays_empty() -> None:
    assert ahead(np.zeros(98)).at_level(0.5).max() == 0.0


def test_twice_the_unit_is_twice_the_forecast() -> None:
    values = filling(98, per_day=2.0)
    np.testing.assert_allclose(ahead(2 * values).quantiles, 2 * ahead(values).quantiles, rtol=1e-9)


@pytest.mark.parametrize("values", [filling(20, per_day=1.0), np.full(98, np.nan)], ids=["short", "gaps only"])
def test_it_refuses_as_the_trend_does(values: Floats) -> None:
    found = stock_forecast(values, start_seconds=START, step_seconds=DAY, horizon=60)
    assert isinstance(found, NoAnswer) and isinstance(found, ShortHistory)


def test_negative_values_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 0 and finite .NaN for a gap., got -1 at step 0"):
        ahead(np.full(98, -1.0))

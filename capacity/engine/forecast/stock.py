"""Months of what fills up: a disk, a memory. Its growth is an amount a week, not a share of what is there."""

from dataclasses import replace

import numpy as np

from capacity.engine.answer import NoAnswer
from capacity.engine.forecast.records import Actuals, Forecast
from capacity.engine.forecast.supply import series_check
from capacity.engine.forecast.trend import trend_forecast
from capacity.engine.grid import Floats

LIFT = 10.0  # times the highest value: that high up the logarithm of the trend is a straight line


def stock_forecast(values: Floats, *, start_seconds: float, step_seconds: float, horizon: int) -> Forecast | NoAnswer:
    """As `trend_forecast`, with its arguments, refusals and flags, along a straight line: the series is lifted, forecast and lowered.

    values: (n,) what is held at each step, at least 0, oldest first; NaN is a gap. A series of zeros stays at zero.
    """
    series_check(values, step_seconds=step_seconds)
    highest = float(np.nanmax(values)) if np.isfinite(values).any() else 0.0
    lift = LIFT * highest
    found = trend_forecast(values + lift, start_seconds=start_seconds, step_seconds=step_seconds, horizon=horizon)
    if isinstance(found, NoAnswer):
        return found
    told = found.backtest.actuals
    paths = (np.maximum(path - lift, 0.0) for path in (told.actual, told.median, told.lower, told.upper))
    return replace(
        found,
        quantiles=np.maximum(found.quantiles - lift, 0.0),
        backtest=replace(found.backtest, actuals=Actuals(told.times, *paths)),
    )

"""Quantile forecasts of a regular series: `fit` nightly, `condition` hourly, `trend_forecast` for months."""

from capacity.engine.forecast.hourly import condition, forecast
from capacity.engine.forecast.nightly import Fitted, fit
from capacity.engine.forecast.records import LEVELS, Actuals, Backtest, Event, Forecast, Shift, ShortHistory

__all__ = ["LEVELS", "Actuals", "Backtest", "Event", "Fitted", "Forecast", "Shift", "ShortHistory", "condition", "fit", "forecast"]

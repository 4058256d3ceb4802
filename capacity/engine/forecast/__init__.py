"""Quantile forecasts of a regular series: `fit` nightly, `condition` hourly, `trend_forecast` for months."""

from capacity.engine.forecast.hourly import condition, forecast
from capacity.engine.forecast.nightly import Fitted, fit
from capacity.engine.forecast.packed import fitted_pack, fitted_unpack
from capacity.engine.forecast.records import LEVELS, Actuals, Backtest, Event, Forecast, Shift, ShortHistory
from capacity.engine.forecast.stock import stock_forecast
from capacity.engine.forecast.trend import Scenario, trend_forecast

__all__ = [
    "LEVELS",
    "Actuals",
    "Backtest",
    "Event",
    "Fitted",
    "Forecast",
    "Scenario",
    "Shift",
    "ShortHistory",
    "condition",
    "fit",
    "fitted_pack",
    "fitted_unpack",
    "forecast",
    "stock_forecast",
    "trend_forecast",
]

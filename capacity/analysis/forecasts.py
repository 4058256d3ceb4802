"""Forecasts as they are stored: the newest of a quantity over a horizon, as the engine's result, or the sentence why there is none."""

from datetime import datetime
from typing import Any

import numpy as np

from capacity.engine.forecast import Actuals, Backtest, Forecast
from capacity.models import ForecastRun, Horizon

DIGITS = 6  # of what is kept for pages
SCORES = ("mase", "weighted_loss", "coverage_90", "above_99")
PATHS = ("times", "actual", "median", "lower", "upper")
WITHHELD = {Horizon.WEEK}  # thin ones are kept and not shown
NEVER_MADE = "No forecast yet: the first is made within minutes of the first samples, and again each night."


def forecast_newest(deployment_id: int, quantity: str, horizon: str) -> ForecastRun | None:
    """Without what the night learned, which is large and only the hourly job reads."""
    found = ForecastRun.objects.filter(deployment_id=deployment_id, quantity=quantity, horizon=horizon)
    return found.defer("fitted").first()


def forecast_of(run: ForecastRun | None) -> Forecast | None:
    """The engine's result again; None where the run is a refusal."""
    if run is None or run.refusal or not run.quantiles or run.start_at is None:
        return None
    levels = np.asarray(run.levels, dtype=np.float64)
    return Forecast(
        start_seconds=run.start_at.timestamp(),
        step_seconds=run.step_seconds,
        levels=levels,
        quantiles=np.asarray(run.quantiles, dtype=np.float64).reshape(levels.size, -1),
        method=run.method,
        flags=tuple(run.flags),
        trained_from_seconds=seconds_of(run.trained_from),
        trained_until_seconds=seconds_of(run.trained_until),
        backtest=backtest_of(run.backtest),
        note=run.note,
    )


def forecast_shown(run: ForecastRun | None) -> tuple[Forecast | None, str]:
    """What a screen may show, and the sentence to it: why there is none, or what to know of it. A thin 7-day forecast is withheld."""
    if run is None:
        return None, NEVER_MADE
    if run.horizon in WITHHELD and "thin" in run.flags:
        return None, run.note
    return forecast_of(run), run.refusal or run.note


def seconds_of(moment: datetime | None) -> float:
    return moment.timestamp() if moment else float("nan")


def backtest_json(backtest: Backtest) -> dict[str, Any]:
    """NaN has no place in JSON: what is not known is null."""
    actuals = {name: numbers_json(getattr(backtest.actuals, name)) for name in PATHS}
    scores = {name: number_json(getattr(backtest, name)) for name in SCORES}
    errors = [[name, number_json(error)] for name, error in backtest.method_errors]
    return {"origins": backtest.origins, **scores, "method_errors": errors, "actuals": actuals}


def backtest_of(stored: dict[str, Any]) -> Backtest:
    actuals = stored.get("actuals", {})
    errors = tuple((str(name), number_of(error)) for name, error in stored.get("method_errors", []))
    paths = Actuals(*(np.array([number_of(value) for value in actuals.get(name, [])], dtype=np.float64) for name in PATHS))
    scores = {name: number_of(stored.get(name)) for name in SCORES}
    return Backtest(origins=int(stored.get("origins", 0)), **scores, method_errors=errors, actuals=paths)


def numbers_json(values: np.ndarray) -> list[float | None]:
    return [number_json(value) for value in values.tolist()]


def number_json(value: float) -> float | None:
    """Times need ten digits, figures no more than six."""
    if not np.isfinite(value):
        return None
    return float(value) if float(value).is_integer() else float(f"{value:.{DIGITS}g}")


def number_of(value: float | None) -> float:
    return float("nan") if value is None else float(value)

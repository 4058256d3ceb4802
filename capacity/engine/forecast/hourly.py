"""The hourly half: what a night's fit says given the newest values. No learning, a few milliseconds."""

from collections.abc import Sequence

import numpy as np

from capacity.engine.answer import NoAnswer
from capacity.engine.forecast.bands import quantiles_at
from capacity.engine.forecast.blend import Evidence, forecast_make, lead_hours
from capacity.engine.forecast.events import events_apply, sunday_factors
from capacity.engine.forecast.evidence import METHODS, base_of, evidence_of, prior_of
from capacity.engine.forecast.history import History, history_of
from capacity.engine.forecast.nightly import Fitted, Prepared, fit, hours_of, prepared
from capacity.engine.forecast.records import LEVELS, Event, Forecast
from capacity.engine.forecast.supply import thin_note, values_check
from capacity.engine.grid import DAY_SECONDS, Floats, grid_times

LOOK_BACK_DAYS = 36  # four weeks of the record, and a week so that the oldest still has a past


def forecast(
    values: Floats, *, start_seconds: float, step_seconds: float, horizon: int, events: Sequence[Event] = ()
) -> Forecast | NoAnswer:
    """Fit and condition at once, at LEVELS. Arguments and refusals as `fit`."""
    fitted = fit(values, start_seconds=start_seconds, step_seconds=step_seconds, horizon=horizon, events=events)
    return fitted if isinstance(fitted, NoAnswer) else condition(fitted, values, start_seconds=start_seconds, events=events)


def condition(
    fitted: Fitted, values: Floats, *, start_seconds: float, events: Sequence[Event] = (), levels: Sequence[float] = LEVELS
) -> Forecast | NoAnswer:
    """Forecast from the end of `values`, which go on where the fit's ended (or end there).

    values: (n,) as given to `fit`, with newer ones; the last 36 days are enough. start_seconds: Unix time of the first.
    levels: ascending, each in (0, 1), else ValueError. Returns NoAnswer("no_data") when no value of them is known.
    """
    asked = np.asarray(levels, dtype=np.float64)
    if asked.size == 0 or not ((asked > 0) & (asked < 1)).all() or (np.diff(asked) <= 0).any():
        raise ValueError(f"levels must ascend between 0 and 1, got {list(levels)}")
    values_check(values, step_seconds=fitted.step_seconds, horizon=fitted.horizon)
    keep = int(LOOK_BACK_DAYS * DAY_SECONDS / fitted.step_seconds)
    first = max(0, values.size - keep)
    start = start_seconds + first * fitted.step_seconds
    series = prepared(values[first:], start_seconds=start, step_seconds=fitted.step_seconds, events=events)
    if not np.isfinite(series.values).any():
        return NoAnswer("no_data", have=0, need=1)
    end = series.start_seconds + series.values.size * fitted.step_seconds
    times = grid_times(end, step_seconds=fitted.step_seconds, count=fitted.horizon)
    quantiles = plain_quantiles(fitted, series, times=times, levels=asked)
    if events:
        sundays = sunday_factors(series.values, times=series.times, targets=times, season=series.season)
        quantiles = events_apply(quantiles, times=times, events=events, sundays=sundays)
    return Forecast(
        start_seconds=float(times[0]),
        step_seconds=fitted.step_seconds,
        levels=asked,
        quantiles=quantiles,
        method=fitted.method,
        flags=flags_of(fitted, events=events, times=times),
        trained_from_seconds=fitted.trained_from_seconds,
        trained_until_seconds=fitted.trained_until_seconds,
        backtest=fitted.backtest,
        note=thin_note(fitted.history_hours, horizon_seconds=fitted.horizon * fitted.step_seconds) if fitted.thin else "",
    )


def plain_quantiles(fitted: Fitted, series: Prepared, *, times: Floats, levels: Floats) -> Floats:
    """(levels, h) in the unit of the series, before events."""
    level = series.values
    for shift in fitted.shifts:
        before = series.times < shift.time_seconds
        level = np.where(before, np.maximum(level * shift.factor + shift.added, 0.0), level)
    on_log = fitted.scale.to_log(level)
    history = history_of(on_log, season=series.season, origins=np.array([on_log.size]), horizon=fitted.horizon)
    middle = np.clip(middle_of(fitted, history), fitted.lowest, fitted.highest)
    width = float(fitted.spread.width(history)[0])
    found = quantiles_at(fitted.bands, history, middle=middle, width=width, hours=hours_of(times), levels=levels)
    return np.minimum(fitted.scale.from_log(found), fitted.cap)


def middle_of(fitted: Fitted, history: History) -> Floats:
    """(h,) on the log scale, of the blend or the method chosen."""
    base = base_of(history)
    if fitted.method in METHODS:
        path = METHODS[fitted.method](history)
        return np.asarray(np.where(np.isfinite(path), path, base)[0])
    hours = lead_hours(history, step_seconds=fitted.step_seconds)
    empty = np.full(base.shape, np.nan)
    evidence = Evidence(base, evidence_of(history, base=base), prior_of(hours), empty, history.targets, np.ones(1))
    return np.asarray(forecast_make(evidence, learned=fitted.learned)[0])


def flags_of(fitted: Fitted, *, events: Sequence[Event], times: Floats) -> tuple[str, ...]:
    end = times[-1] + fitted.step_seconds
    ahead = any(event.start_seconds < end and event.end_seconds > times[0] for event in events)
    flags = {"thin": fitted.thin, "shift": bool(fitted.shifts), "events": ahead}
    return tuple(name for name, holds in flags.items() if holds)

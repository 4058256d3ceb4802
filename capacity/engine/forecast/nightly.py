"""The nightly half: choose, weigh and calibrate by rolling origins."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from capacity.engine.answer import NoAnswer
from capacity.engine.forecast.bands import Bands, Errors, bands_learn
from capacity.engine.forecast.blend import FOLDS, evidence_make, rolled
from capacity.engine.forecast.events import events_remove
from capacity.engine.forecast.history import Season, gaps_fill, history_of, season_of
from capacity.engine.forecast.judge import Rolling, backtest_run, method_choose
from capacity.engine.forecast.records import Backtest, Event, Shift
from capacity.engine.forecast.scale import Scale, scale_of
from capacity.engine.forecast.shifts import moves_of, shifts_find
from capacity.engine.forecast.spread import Spread, spread_learn
from capacity.engine.forecast.supply import have_enough, is_thin, values_check
from capacity.engine.grid import DAY_SECONDS, HOUR_SECONDS, Floats, Ints, grid_times

ORIGINS = 600
CELLS = 60_000  # origins x leads
LONG_DAYS, SHORT_DAYS = 56, 14  # learned from, at steps of half an hour and more, and below
COARSE_SECONDS = 1800.0
ABOVE_HIGHEST = 0.2  # on the log scale: medians end there
CAP = 1.5  # of the highest value learned from: no quantile above, before events
SPREAD_HALF_LIFE_DAYS = 14.0
FEW = 24
WEEKS_FOR_WEEKLY = 3
THIN_WIDER = 1.75  # errors of less than the cycles needed are too small; gives 87 % coverage of 90 % on series not of the bench


@dataclass(frozen=True)
class Fitted:
    """What a night's fit leaves for the hours: `condition` turns it and newer values into a forecast."""

    step_seconds: float
    horizon: int  # steps
    trained_from_seconds: float
    trained_until_seconds: float  # end of the last step seen
    scale: Scale
    shifts: tuple[Shift, ...]
    learned: Floats  # (b, f) weights beyond the prior
    method: str  # "blend" or the one method that was better by far
    spread: Spread
    bands: Bands
    lowest: float  # log scale: medians stay between
    highest: float
    cap: float
    thin: bool  # less history than the horizon needs
    backtest: Backtest

    @property
    def history_hours(self) -> float:
        return (self.trained_until_seconds - self.trained_from_seconds) / HOUR_SECONDS


@dataclass(frozen=True)
class Prepared:
    """The part of a series that is learned from."""

    values: Floats  # (n,) unit of the series, events taken out, NaN = gap, first one known
    start_seconds: float
    step_seconds: float
    season: Season

    @property
    def times(self) -> Floats:
        return grid_times(self.start_seconds, step_seconds=self.step_seconds, count=self.values.size)


def prepared(values: Floats, *, start_seconds: float, step_seconds: float, events: Sequence[Event]) -> Prepared:
    """The last weeks, from the first value known on."""
    days = LONG_DAYS if step_seconds >= COARSE_SECONDS else SHORT_DAYS
    times = grid_times(start_seconds, step_seconds=step_seconds, count=values.size)
    clean = events_remove(values, times=times, events=events)
    first = max(0, values.size - int(days * DAY_SECONDS / step_seconds))
    known = np.flatnonzero(np.isfinite(clean[first:]))
    first += int(known[0]) if known.size else 0
    return Prepared(clean[first:], start_seconds + first * step_seconds, step_seconds, season_of(step_seconds))


def fit(values: Floats, *, start_seconds: float, step_seconds: float, horizon: int, events: Sequence[Event] = ()) -> Fitted | NoAnswer:
    """Choose, weigh and calibrate a forecast of the next `horizon` steps.

    values: (n,) one value a step, oldest first, at least 0; NaN is a gap. start_seconds: Unix time of the first step's start.
    step_seconds: 1 s to 1 d. horizon: steps, at most 14 days; `trend_forecast` serves the months beyond. Else ValueError.
    events: known ones; those in the past are taken out before anything is learned.
    Returns ShortHistory when less than 40 % of the cycles needed are there, NoAnswer("no_data" or "too_many_gaps") for gaps.
    """
    values_check(values, step_seconds=step_seconds, horizon=horizon)
    series = prepared(values, start_seconds=start_seconds, step_seconds=step_seconds, events=events)
    refusal = have_enough(series.values, step_seconds=step_seconds, horizon=horizon)
    return refusal or fit_prepared(series, horizon=horizon)


def fit_prepared(series: Prepared, *, horizon: int) -> Fitted:
    size = series.values.size
    filled = gaps_fill(series.values, season=series.season)
    found = shifts_find(filled, scale=scale_of(series.values), season=series.season)
    rolling, method, learned, spread, listed = roll(series, moves=moves_of(found, size=size), horizon=horizon)
    bands = bands_learn(rolling.errors.of(rolling.rows), step_seconds=series.step_seconds, horizon=horizon)
    thin = is_thin(size * series.step_seconds / HOUR_SECONDS, horizon_seconds=horizon * series.step_seconds)
    lowest, highest = limits_of(rolling.history.values)
    return Fitted(
        step_seconds=series.step_seconds,
        horizon=horizon,
        trained_from_seconds=series.start_seconds,
        trained_until_seconds=series.start_seconds + size * series.step_seconds,
        scale=rolling.scale,
        shifts=tuple(Shift(float(series.times[move.place]), move.factor, move.added) for move in found),
        learned=learned,
        method=method,
        spread=spread,
        bands=bands.wider(THIN_WIDER) if thin else bands,
        lowest=lowest,
        highest=highest,
        cap=CAP * float(np.nanmax(series.values)),
        thin=thin,
        backtest=backtest_run(rolling, method_errors=listed),
    )


def roll(
    series: Prepared, *, moves: tuple[Floats, Floats], horizon: int
) -> tuple[Rolling, str, Floats, Spread, tuple[tuple[str, float], ...]]:
    """Forecast from every origin of the past; choose the method; learn how wide its errors are."""
    size, (factors, amounts) = series.values.size, moves
    level = np.maximum(series.values * factors + amounts, 0.0)
    scale = scale_of(level)
    origins = origins_of(size, season=series.season, horizon=horizon)
    history = history_of(scale.to_log(level), season=series.season, origins=origins, horizon=horizon)
    evidence = evidence_make(history, step_seconds=series.step_seconds)
    blended, learned = rolled(evidence, origins=origins, until=size)
    rows = judged_rows(origins, size=size)
    method, middles, listed = method_choose(history, base=evidence.base, blended=blended, rows=rows)
    middles = np.clip(middles, *limits_of(history.values))
    # A forecast made before a shift lived on the old level: what it missed by belongs to the errors.
    came = np.where(history.targets < size, series.values[np.minimum(history.targets, size - 1)], np.nan)
    seen = np.maximum(came * factors[origins - 1][:, None] + amounts[origins - 1][:, None], 0.0)
    errors = scale.to_log(seen) - middles
    age_days = np.asarray((size - origins) * series.step_seconds / DAY_SECONDS, dtype=np.float64)
    spread = spread_learn(history.at(origins[rows]), errors=errors[rows], say=np.exp2(-age_days[rows] / SPREAD_HALF_LIFE_DAYS))
    width = spread.width(history)
    hours = hours_of(np.asarray(series.start_seconds + history.targets * series.step_seconds, dtype=np.float64))
    pool = Errors(errors / width[:, None], hours, age_days)
    rolling = Rolling(history, middles, width, pool, came, moves, rows, scale, series.start_seconds, series.step_seconds)
    return rolling, method, learned, spread, listed


def limits_of(levels: Floats) -> tuple[float, float]:
    """Medians stay between these, on the log scale."""
    return float(np.nanmin(levels)), float(np.nanmax(levels)) + ABOVE_HIGHEST


def hours_of(times: Floats) -> Floats:
    """Hour of the day, UTC, 0 to 24."""
    return np.asarray((times % DAY_SECONDS) / HOUR_SECONDS)


def judged_rows(origins: Ints, *, size: int) -> Ints:
    """Past origins after the first fold, whose weights knew something; all but the last origin when there are few."""
    past = np.flatnonzero(origins < size)
    learned = past[origins[past] >= origins[0] + (size - origins[0]) / FOLDS]
    return learned if learned.size > FEW else past


def origins_of(size: int, *, season: Season, horizon: int) -> Ints:
    """(k,): evenly spaced to the end, which is the last: where the live forecast would start."""
    first = min(season.day, size // 3) + 1
    if size >= WEEKS_FOR_WEEKLY * season.week:
        first = season.week + 1  # with weeks to spare, learn only where the same hour of last week was there to be looked at
    most = max(2, min(ORIGINS, CELLS // horizon))
    stride = max(1, round((size - first) / most))
    return np.arange(size, first - 1, -stride)[::-1]

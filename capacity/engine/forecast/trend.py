"""Months ahead: a level by week with a damped trend, chosen by its own backtest, times the shape of the week. Labelled a trend, never more.

level(k weeks ahead) = last level + slope x (phi + phi^2 + ... + phi^k)     on a log scale
band(k) = past errors k weeks ahead / sqrt(k), pooled, x sqrt(k), with the spread inside a week added by squares
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from capacity.engine.answer import NoAnswer
from capacity.engine.forecast.events import events_apply, events_remove, sunday_factors
from capacity.engine.forecast.history import season_of
from capacity.engine.forecast.records import LEVELS, Actuals, Backtest, Event, Forecast, ShortHistory, plural
from capacity.engine.forecast.supply import series_check
from capacity.engine.grid import DAY_SECONDS, Floats, grid_times, row_medians, row_quantiles

WEEK_SECONDS, MONTH_DAYS = 7 * DAY_SECONDS, 365.25 / 12
WEEKS_LEAST, WEEKS_THIN, WEEKS_MOST = 4, 12, 52
SHAPE_WEEKS = 4
LONGEST_DAYS, STEPS_MOST = 400, 20_000
DAMPINGS = (0.0, 0.8, 0.9, 0.95, 0.98, 1.0)  # phi: 0 = the level stays, 1 = the trend goes on for ever
NEVER_WORSE = 0.97  # a stronger trend must err at most this share of what the weaker one does
ZERO_SHARE = 0.02  # of the mean level, added before the logarithm
MOST_LOG, CAP = np.log(4.0), 5.0  # the median at most 4 times or a quarter of today's level; no quantile above 5 x the highest value


@dataclass(frozen=True)
class Scenario:
    """What the user assumes. growth_per_month replaces the trend found: 0.05 = 5 % a month, from the last level on."""

    growth_per_month: float | None = None
    events: Sequence[Event] = ()

    def __post_init__(self) -> None:
        if self.growth_per_month is not None and not -0.9 <= self.growth_per_month <= 2.0:
            raise ValueError(f"growth_per_month must be from -0.9 to 2 (200 %), got {self.growth_per_month}")


@dataclass(frozen=True)
class Weeks:
    """Whole weeks up to the end of the series."""

    values: Floats  # (w, s) unit of the series
    levels: Floats  # (w,) log of the mean and a little; NaN = less than half known
    small: float  # what was added

    @property
    def shape(self) -> Floats:
        """(s,): each step of the week over the week's level, median of the last weeks; 1 where unknown."""
        ratios = self.ratios[-SHAPE_WEEKS:]
        usual = row_medians(ratios.T)
        return np.where(np.isfinite(usual), usual, 1.0)

    @property
    def ratios(self) -> Floats:
        return np.asarray((self.values + self.small) / np.exp(self.levels)[:, None])


def trend_forecast(
    values: Floats, *, start_seconds: float, step_seconds: float, horizon: int, scenario: Scenario | None = None
) -> Forecast | NoAnswer:
    """Forecast months: up to 400 days and 20,000 steps, at LEVELS.

    values: (n,) one value a step, oldest first, at least 0; NaN is a gap; steps of at most a day. Else ValueError.
    Returns ShortHistory under four whole weeks; flag "thin" under twelve. Flag "trend" always, "scenario" when growth was given.
    """
    scenario = scenario or Scenario()
    series_check(values, step_seconds=step_seconds)
    if not 1 <= horizon <= min(STEPS_MOST, LONGEST_DAYS * DAY_SECONDS / step_seconds):
        raise ValueError(f"horizon must be 1 to {STEPS_MOST:,} steps and 400 days at most, got {horizon} of {step_seconds:g} s")
    times = grid_times(start_seconds, step_seconds=step_seconds, count=values.size)
    clean = events_remove(values, times=times, events=scenario.events)
    weeks = weeks_of(clean, week=season_of(step_seconds).week)
    known = int(np.isfinite(weeks.levels).sum()) if weeks else 0
    if weeks is None or known < WEEKS_LEAST:
        return ShortHistory("too_short", have=known * 168, need=WEEKS_LEAST * 168, horizon_seconds=horizon * step_seconds, cycle="weekly")
    damping, errors = damping_choose(weeks.levels)
    targets = grid_times(float(times[-1]) + step_seconds, step_seconds=step_seconds, count=horizon)
    ahead = np.arange(1.0, horizon + 1) * (step_seconds / WEEK_SECONDS)
    quantiles = quantiles_of(weeks, ahead=ahead, damping=damping, atoms=atoms_of(errors), growth=scenario.growth_per_month)
    sundays = sunday_factors(clean, times=times, targets=targets, season=season_of(step_seconds))
    return Forecast(
        start_seconds=float(targets[0]),
        step_seconds=step_seconds,
        levels=np.array(LEVELS),
        quantiles=events_apply(quantiles, times=targets, events=scenario.events, sundays=sundays),
        method="trend",
        flags=flags_of(scenario, known=known),
        trained_from_seconds=float(times[-1]) + step_seconds - weeks.levels.size * WEEK_SECONDS,
        trained_until_seconds=float(times[-1]) + step_seconds,
        backtest=trend_backtest(weeks, errors=errors, end_seconds=float(times[-1]) + step_seconds),
        note=note_of(known, damping=damping, growth=scenario.growth_per_month),
    )


def weeks_of(values: Floats, *, week: int) -> Weeks | None:
    count = min(values.size // week, WEEKS_MOST)
    if count == 0:
        return None
    rows = values[values.size - count * week :].reshape(count, week)
    known = np.isfinite(rows).sum(axis=1)
    means = np.divide(np.nansum(rows, axis=1), known, out=np.full(count, np.nan), where=known >= week / 2)
    usual = means[np.isfinite(means)]
    small = ZERO_SHARE * float(usual.mean()) if usual.size and usual.mean() > 0 else 1.0
    return Weeks(rows, np.log(means + small), small)


def slope_of(levels: Floats) -> float:
    """Theil and Sen: the median of the slopes of all pairs of weeks."""
    weeks = np.flatnonzero(np.isfinite(levels))
    if weeks.size < 2:
        return 0.0
    first, second = np.triu_indices(weeks.size, k=1)
    rises = (levels[weeks[second]] - levels[weeks[first]]) / (weeks[second] - weeks[first])
    return float(np.median(rises))


def path_of(levels: Floats, *, ahead: Floats, damping: float) -> Floats:
    """(h,) level so many weeks ahead of the last one known."""
    known = levels[np.isfinite(levels)]
    if damping == 0.0:
        return np.full(ahead.size, known[-1])
    reach = ahead if damping == 1.0 else damping * (1 - damping**ahead) / (1 - damping)
    return np.asarray(known[-1] + np.clip(slope_of(levels) * reach, -MOST_LOG, MOST_LOG))


def errors_of(levels: Floats, *, damping: float) -> Floats:
    """(w, w): row o, column k - 1: error k weeks ahead of a forecast made after week o; NaN = not known."""
    errors = np.full((levels.size, levels.size), np.nan)
    for origin in range(1, levels.size - 1):
        past = levels[: origin + 1]
        if np.isfinite(past).sum() >= 2:
            count = levels.size - origin - 1
            errors[origin, :count] = levels[origin + 1 :] - path_of(past, ahead=np.arange(1.0, count + 1), damping=damping)
    return errors


def scaled(errors: Floats) -> Floats:
    return np.asarray(errors / np.sqrt(np.arange(1, errors.shape[1] + 1)))


def damping_choose(levels: Floats) -> tuple[float, Floats]:
    """The damping that erred least over past weeks, a weaker trend preferred; and its errors."""
    chosen, best, least = DAMPINGS[0], errors_of(levels, damping=DAMPINGS[0]), np.inf
    for damping in DAMPINGS:
        errors = errors_of(levels, damping=damping)
        size = float(np.nanmean(np.abs(scaled(errors))))
        if size < least * (NEVER_WORSE if np.isfinite(least) else 1.0):
            chosen, best, least = damping, errors, size
    return chosen, best


def atoms_of(errors: Floats) -> Floats:
    """Errors of one week, both ways round: which way a trend breaks is not known. Widened for their small number."""
    found = scaled(errors)
    independent = max(1, np.isfinite(found[:, 0]).sum())
    atoms = found[np.isfinite(found)] * np.sqrt(1 + 1 / independent)
    return np.asarray(np.r_[atoms, -atoms])


def level_quantiles(atoms: Floats, levels: Floats) -> Floats:
    """(q,)"""
    return np.asarray(row_quantiles(atoms[None, :], weights=np.ones((1, atoms.size)), levels=levels)[:, 0])


def quantiles_of(weeks: Weeks, *, ahead: Floats, damping: float, atoms: Floats, growth: float | None) -> Floats:
    """(LEVELS, h) in the unit of the series."""
    asked = np.array(LEVELS)
    # The shape of the week has the growth within a week already: levels are those of whole weeks, else growth is a sawtooth.
    whole = np.ceil(ahead - 1e-9)
    path = path_of(weeks.levels, ahead=whole, damping=damping)
    if growth is not None:
        path = path_of(weeks.levels, ahead=whole, damping=0.0) + np.log1p(growth) * whole * 7 / MONTH_DAYS
    shape = np.tile(weeks.shape, -(-ahead.size // weeks.shape.size))[: ahead.size]
    # Counted back from the end, weeks begin where the forecast begins.
    inside = (np.log(weeks.ratios[-SHAPE_WEEKS:]) - np.log(np.maximum(weeks.shape, 1e-9))).ravel()
    spread = level_quantiles(inside[np.isfinite(inside)], asked)
    level = level_quantiles(atoms, asked)[:, None] * np.sqrt(np.maximum(ahead, 1.0))
    away = np.sign(asked - 0.5)[:, None] * np.hypot(level, spread[:, None])
    found = np.exp(path + away) * shape - weeks.small
    highest = CAP * float(np.nanmax(weeks.values)) * max(1.0, (1 + (growth or 0.0)) ** (float(ahead[-1]) * 7 / MONTH_DAYS))
    return np.asarray(np.maximum.accumulate(np.clip(found, 0.0, highest), axis=0))


def trend_backtest(weeks: Weeks, *, errors: Floats, end_seconds: float) -> Backtest:
    """By week: forecasts made after each week, all weeks ahead; bands of each half of the origins from the other half."""
    found, asked = scaled(errors), np.array([0.05, 0.95, 0.99])
    half = errors.shape[0] // 2
    inside, above = [], []
    for mine, other in ((found[:half], found[half:]), (found[half:], found[:half])):
        own = mine[np.isfinite(mine)]
        if own.size and np.isfinite(other).any():
            low, high, top = level_quantiles(atoms_of_rows(other), asked)
            inside += [(own >= low - 1e-9) & (own <= high + 1e-9)]
            above += [own > top + 1e-9]
    naive = np.nanmean(np.abs(errors_of(weeks.levels, damping=0.0)))
    return Backtest(
        origins=int(np.isfinite(errors).any(axis=1).sum()),
        mase=float(np.nanmean(np.abs(errors)) / naive) if naive > 0 else np.nan,
        weighted_loss=np.nan,
        coverage_90=float(np.concatenate(inside).mean()) if inside else np.nan,
        above_99=float(np.concatenate(above).mean()) if above else np.nan,
        method_errors=(),
        actuals=week_actuals(weeks, errors=errors, end_seconds=end_seconds),
    )


def atoms_of_rows(rows: Floats) -> Floats:
    known = rows[np.isfinite(rows)]
    return np.asarray(np.r_[known, -known])


def week_actuals(weeks: Weeks, *, errors: Floats, end_seconds: float) -> Actuals:
    """The weekly levels of the last four weeks beside what was forecast one week before."""
    last = np.arange(max(0, weeks.levels.size - SHAPE_WEEKS), weeks.levels.size)
    actual = weeks.levels[last]
    median = actual - errors[last - 1, 0]
    low, high = level_quantiles(atoms_of(errors), np.array([0.05, 0.95]))
    times = grid_times(end_seconds - last.size * WEEK_SECONDS, step_seconds=WEEK_SECONDS, count=last.size)
    level = [np.maximum(np.exp(part) - weeks.small, 0.0) for part in (actual, median, median + low, median + high)]
    return Actuals(times, *level)


def flags_of(scenario: Scenario, *, known: int) -> tuple[str, ...]:
    flags = {"trend": True, "thin": known < WEEKS_THIN, "scenario": scenario.growth_per_month is not None, "events": bool(scenario.events)}
    return tuple(name for name, holds in flags.items() if holds)


def note_of(known: int, *, damping: float, growth: float | None) -> str:
    """What the line is made of, in one sentence."""
    from_weeks = f"from {known} {plural('week', known)}"
    if growth is not None:
        return f"A scenario: {growth:+.1%} a month on the last level, {from_weeks}; the band is the trend's."
    if damping == 0.0:
        return f"No trend that held in the backtest: the last level goes on, {from_weeks}."
    return f"A trend {from_weeks}, damped by {damping:g} a week, the best of {len(DAMPINGS)} in the backtest."

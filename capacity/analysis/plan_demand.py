"""Demand of a plan: the busiest hour of each day, a week hour by hour and then a trend, with events and growth."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from capacity.analysis.forecast_events import KnownEvents
from capacity.analysis.forecast_series import DEMAND
from capacity.analysis.plan_assumed import Assumed, Planned
from capacity.analysis.plan_nights import past_bands
from capacity.analysis.plan_records import Demand
from capacity.analysis.plan_telemetry import Hours
from capacity.engine.answer import NoAnswer
from capacity.engine.forecast import LEVELS, Event, Forecast, Scenario, condition, fit, trend_forecast
from capacity.engine.forecast.events import events_apply, events_remove, sunday_factors
from capacity.engine.forecast.history import season_of
from capacity.engine.grid import DAY_SECONDS, HOUR_SECONDS, Floats, grid_times
from capacity.engine.sizing.opinions import Bands

WEEK_DAYS = 7
HORIZONS = (168, 72, 24)  # hours
SPANS = {168: "Seven days", 72: "Three days", 24: "One day"}
DAY_KNOWN_HOURS = 16  # of which a day's busiest hour is told
SHOWN_DAYS = 183
NARROW = 1.2816 / 1.6449  # an 80 % band beside the 90 % band the backtest keeps
GROWTH_DAYS = 28


@dataclass(frozen=True)
class DemandBase:
    """What the past alone says, before planned events and scenarios: made once for all what-ifs of the same inputs."""

    now: float
    hours: Hours
    first_day: float
    peaks: Floats  # (d,) busiest hour of each UTC day up to yesterday, NaN = not known
    begun: tuple[Event, ...]  # events that began already, as the engine takes them; those that are over are gaps
    clean: Floats  # (d,) peaks without the days of events that are over
    week: Forecast | NoAnswer
    lift: float  # a day's busiest hour over the highest of its hours' medians
    nights: dict[tuple[float, int], tuple[Bands | None, ...]] = field(default_factory=dict)  # learned once, for every what-if

    def past_bands(self, end: float, days: int) -> tuple[Bands | None, ...]:
        """A forecast for each of the last days before `end`."""
        if (end, days) not in self.nights:
            self.nights[end, days] = past_bands(self.hours, end=end, days=days)
        return self.nights[end, days]


@dataclass(frozen=True)
class DemandLine:
    """The busiest hour of each day to come."""

    times: Floats  # (d,) starts of UTC days, today first
    levels: Floats  # (q,)
    quantiles: Floats  # (q, d)
    plain: Floats  # (q, d) without the planned events
    coming: tuple[Planned, ...]
    sources: tuple[Forecast | NoAnswer, Forecast | NoAnswer]  # week, months
    flags: tuple[str, ...]

    def at(self, level: float) -> Floats:
        return np.asarray(self.quantiles[int(np.argmin(np.abs(self.levels - level)))])

    @property
    def median(self) -> Floats:
        return self.at(0.5)

    @property
    def peak_place(self) -> int:
        return int(np.argmax(self.median))

    @property
    def peak(self) -> float:
        return float(self.median[self.peak_place])

    def event_at(self, place: int) -> Planned | None:
        """The planned event that raises demand on that day most."""
        day = float(self.times[place])
        touching = [event for event in self.coming if touches(event, day)]
        return max(touching, key=lambda event: (event.factor or 1.0, event.added), default=None)


def touches(event: Planned, day: float) -> bool:
    """More demand counts on every day it touches, less only on days it covers whole."""
    raises = (event.factor or 1.0) > 1.0 or event.added > 0
    if raises:
        return event.start < day + DAY_SECONDS and event.end > day
    return event.start <= day and event.end >= day + DAY_SECONDS


def demand_base(hours: Hours, *, told: KnownEvents, now: float) -> DemandBase:
    """One fit of the week: half a second."""
    first_day, peaks = day_peaks(hours, now=now)
    begun = tuple(event for event in told.of(DEMAND, step=HOUR_SECONDS, now=now) if event.start_seconds < now)
    by_day = [event for event in told.of(DEMAND, step=DAY_SECONDS, now=now) if event.factor == 0 and event.end_seconds <= now + DAY_SECONDS]
    days = grid_times(first_day, step_seconds=DAY_SECONDS, count=peaks.size)
    return DemandBase(
        now, hours, first_day, peaks, begun, events_remove(peaks, times=days, events=by_day), week_fit(hours, begun), lift_of(hours)
    )


def week_fit(hours: Hours, events: Sequence[Event]) -> Forecast | NoAnswer:
    """Seven days; of a younger deployment three days or one."""
    refusal = NoAnswer("no_data", have=0, need=1)
    for horizon in HORIZONS:
        fitted = fit(hours.values, start_seconds=hours.start, step_seconds=HOUR_SECONDS, horizon=horizon, events=events)
        if not isinstance(fitted, NoAnswer):
            return condition(fitted, hours.values, start_seconds=hours.start, events=events)
        refusal = fitted
    return refusal


def days_covered(week: Forecast, *, now: float) -> int:
    """UTC days, the rest of today among them, whose end the hourly forecast reaches."""
    end = week.start_seconds + week.quantiles.shape[1] * HOUR_SECONDS
    return max(1, int((end - now // DAY_SECONDS * DAY_SECONDS) // DAY_SECONDS))


def day_peaks(hours: Hours, *, now: float) -> tuple[float, Floats]:
    """Start of the first UTC day, and the busiest hour of each day up to yesterday; whole weeks, the first days perhaps unknown."""
    today = now // DAY_SECONDS * DAY_SECONDS
    first = hours.start // DAY_SECONDS * DAY_SECONDS
    lead = round((hours.start - first) / HOUR_SECONDS)
    size = round((today - first) / HOUR_SECONDS)
    values = np.r_[np.full(lead, np.nan), hours.values][:size]
    days = np.r_[values, np.full(size - values.size, np.nan)].reshape(-1, 24)
    known = np.isfinite(days).sum(axis=1)
    peaks = np.where(known >= DAY_KNOWN_HOURS, np.nanmax(np.where(np.isfinite(days), days, -np.inf), axis=1), np.nan)
    weeks = max(1, -(-peaks.size // WEEK_DAYS))
    missing = weeks * WEEK_DAYS - peaks.size
    return first - missing * DAY_SECONDS, np.r_[np.full(missing, np.nan), peaks]


def lift_of(hours: Hours) -> float:
    """Scatter of hours lifts a day's busiest hour over the smooth course that medians show: the median of that over the last weeks."""
    values = hours.values[-28 * 24 :]
    rows = values[values.size % 24 :].reshape(-1, 24)
    rows = rows[np.isfinite(rows).all(axis=1) & (rows.max(axis=1, initial=0.0) > 0)]
    if len(rows) < 3:
        return 1.0
    smooth = np.median(np.stack([np.roll(rows, shift, axis=1) for shift in (-1, 0, 1)]), axis=0)
    top = smooth.max(axis=1)
    usable = top > 0
    return float(np.median(rows.max(axis=1)[usable] / top[usable])) if usable.any() else 1.0


def demand_line(base: DemandBase, *, assumed: Assumed, planned: Sequence[Planned]) -> DemandLine | NoAnswer:
    """Days 0 to 6 from the week's forecast, the others from the trend of daily peaks; where one of them is refused, the other alone."""
    coming = tuple(event for event in (*planned, *assumed.events) if event.start >= base.now and event.end > base.now)
    days = assumed.horizon_days + 1
    months = months_forecast(base, days=days, growth=assumed.growth_per_month)
    today = base.now // DAY_SECONDS * DAY_SECONDS
    if isinstance(months, NoAnswer) and isinstance(base.week, NoAnswer):
        return base.week
    if isinstance(months, NoAnswer) and not isinstance(base.week, NoAnswer):
        days = min(days, days_covered(base.week, now=base.now))
    times = grid_times(today, step_seconds=DAY_SECONDS, count=days)
    plain = np.zeros((len(LEVELS), days)) if isinstance(months, NoAnswer) else months.quantiles[:, :days].copy()
    full = plain if isinstance(months, NoAnswer) else day_events(base, plain, times=times, events=coming)
    if not isinstance(base.week, NoAnswer):
        near = min(days, days_covered(base.week, now=base.now))
        plain[:, :near] = week_peaks(base, base.week, events=())[:, :near]
        full = full.copy()
        full[:, :near] = week_peaks(base, base.week, events=coming)[:, :near]
    found = (base.week, months)
    return DemandLine(times, np.array(LEVELS), full, plain, coming, found, flags_of(found, coming=coming, assumed=assumed))


def months_forecast(base: DemandBase, *, days: int, growth: float | None) -> Forecast | NoAnswer:
    if not np.isfinite(base.clean).any():
        return NoAnswer("no_data", have=0, need=28)
    going_on = [day_event(event) for event in base.begun if event.end_seconds > base.now]
    scenario = Scenario(growth_per_month=growth, events=going_on)
    return trend_forecast(base.clean, start_seconds=base.first_day, step_seconds=DAY_SECONDS, horizon=days, scenario=scenario)


def day_event(made: Event) -> Event:
    """On whole days, for series of daily peaks."""
    start = made.start_seconds // DAY_SECONDS * DAY_SECONDS
    end = made.end_seconds if made.end_seconds == np.inf else -(-made.end_seconds // DAY_SECONDS) * DAY_SECONDS
    return Event(made.name, start, end, made.factor, made.added)


def day_events(base: DemandBase, quantiles: Floats, *, times: Floats, events: Sequence[Planned]) -> Floats:
    past = grid_times(base.first_day, step_seconds=DAY_SECONDS, count=base.peaks.size)
    sundays = sunday_factors(base.peaks, times=past, targets=times, season=season_of(DAY_SECONDS))
    counted = [day_event(event.event) for event in events if any(touches(event, float(day)) for day in times)]
    return events_apply(quantiles, times=times, events=counted, sundays=sundays)


def week_hours(base: DemandBase, week: Forecast, *, events: Sequence[Planned]) -> tuple[Floats, Floats]:
    """Times, and (levels, 168) quantiles of each hour with the events."""
    times = grid_times(week.start_seconds, step_seconds=HOUR_SECONDS, count=week.quantiles.shape[1])
    past = grid_times(base.hours.start, step_seconds=HOUR_SECONDS, count=base.hours.values.size)
    sundays = sunday_factors(base.hours.values, times=past, targets=times, season=season_of(HOUR_SECONDS))
    return times, events_apply(week.quantiles, times=times, events=[event.event for event in events], sundays=sundays)


def week_peaks(base: DemandBase, week: Forecast, *, events: Sequence[Planned]) -> Floats:
    """(levels, 7): hours of a day are taken to rise and fall together; what came today already counts."""
    times, hourly = week_hours(base, week, events=events)
    hourly = hourly * base.lift
    past = grid_times(base.hours.start, step_seconds=HOUR_SECONDS, count=base.hours.values.size)
    today = base.now // DAY_SECONDS * DAY_SECONDS
    day = np.floor((times - today) / DAY_SECONDS).astype(np.int64)
    found = np.stack([hourly[:, day == each].max(axis=1, initial=0.0) for each in range(WEEK_DAYS)], axis=1)
    came = base.hours.values[past >= today]
    return np.asarray(np.maximum(found, np.r_[np.nanmax(np.r_[came, 0.0]), np.zeros(WEEK_DAYS - 1)]))


def flags_of(found: tuple[Forecast | NoAnswer, ...], *, coming: tuple[Planned, ...], assumed: Assumed) -> tuple[str, ...]:
    flags = {flag for each in found if isinstance(each, Forecast) for flag in each.flags}
    flags |= {"events"} if coming else set()
    flags |= {"scenario"} if assumed.is_scenario else set()
    return tuple(sorted(flags))


def demand_section(base: DemandBase, line: DemandLine, *, assumed: Assumed) -> Demand:
    place, first = line.peak_place, max(0, base.peaks.size - SHOWN_DAYS)
    known = np.flatnonzero(np.isfinite(base.peaks))
    first = max(first, int(known[0]) if known.size else 0)
    past = grid_times(base.first_day, step_seconds=DAY_SECONDS, count=base.peaks.size)
    error, naive, coverage = backtest_words(line)
    hours = np.flatnonzero(np.isfinite(base.hours.values))
    return Demand(
        past_times=tuple(past[first:].tolist()),
        past_rates=tuple(None if not np.isfinite(rate) else float(rate) for rate in base.peaks[first:]),
        times=tuple(line.times.tolist()),
        levels=tuple(line.levels.tolist()),
        quantiles=tuple(tuple(row) for row in np.round(line.quantiles, 6).tolist()),
        plain_median=tuple(np.round(line.plain[LEVELS.index(0.5)], 6).tolist()),
        growth_per_week=growth_of(line),
        peak_time=float(line.times[place]),
        peak_low=float(line.at(0.1)[place]),
        peak=line.peak,
        peak_high=float(line.at(0.9)[place]),
        error_ratio=error,
        naive_error_ratio=naive,
        coverage_80=coverage,
        history_days=float((base.hours.values.size - hours[0]) / 24.0) if hours.size else 0.0,
        method=method_words(line, assumed=assumed),
        flags=line.flags,
    )


def growth_of(line: DemandLine) -> float | None:
    """Of the trend's weekly means, without events; None where there is no trend."""
    months = line.sources[1]
    if isinstance(months, NoAnswer) or months.quantiles.shape[1] < 2 * WEEK_DAYS:
        return None
    median = months.at_level(0.5)
    weeks = median[: min(median.size, GROWTH_DAYS) // WEEK_DAYS * WEEK_DAYS].reshape(-1, WEEK_DAYS).mean(axis=1)
    return float((weeks[-1] / weeks[0]) ** (1.0 / (weeks.size - 1)) - 1.0) if weeks[0] > 0 else None


def backtest_words(line: DemandLine) -> tuple[float | None, float | None, float | None]:
    """Mean absolute error over mean demand, the same of "as yesterday", share inside the 80 % band; of the forecasts replayed."""
    source = next((each for each in line.sources if isinstance(each, Forecast) and each.backtest.actuals.actual.size), None)
    if source is None:
        return None, None, None
    actuals = source.backtest.actuals
    known = np.isfinite(actuals.actual) & np.isfinite(actuals.median)
    came, said = actuals.actual[known], actuals.median[known]
    if not came.size or not came.mean() > 0:
        return None, None, None
    error = float(np.abs(came - said).mean() / came.mean())
    naive = error / source.backtest.mase if np.isfinite(source.backtest.mase) and source.backtest.mase > 0 else None
    low = said - NARROW * (said - actuals.lower[known])
    high = said + NARROW * (actuals.upper[known] - said)
    return error, naive, float(((came >= low - 1e-9) & (came <= high + 1e-9)).mean())


def method_words(line: DemandLine, *, assumed: Assumed) -> str:
    week, months = line.sources
    parts = []
    if isinstance(week, Forecast):
        name = "blend of methods" if week.method == "blend" else week.method.replace("_", " ")
        span, learned = SPANS[week.quantiles.shape[1]], (week.trained_until_seconds - week.trained_from_seconds) / DAY_SECONDS
        parts.append(f"{span} hour by hour ({name}), from {learned:.0f} days.")
        parts += [week.note] if week.note else []
    else:
        parts.append(week.sentence())
    if isinstance(months, Forecast):
        parts.append(months.note if not isinstance(week, Forecast) else f"Then: {months.note[0].lower()}{months.note[1:]}")
    else:
        parts.append(f"No months ahead: {months.sentence()}")
    return " ".join(parts)

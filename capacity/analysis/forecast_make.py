"""From stored series to forecasts: learned in the night, conditioned on what is newer in the hours."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from capacity.analysis.forecast_events import KnownEvents, events_load
from capacity.analysis.forecast_series import DAY_SECONDS, DEMAND, Floats, Window, busiest_hours, series_load, window_until
from capacity.analysis.forecasts import backtest_json
from capacity.engine import forecast as engine
from capacity.engine.answer import NoAnswer
from capacity.engine.forecast import (
    Event,
    Fitted,
    Forecast,
    Scenario,
    ShortHistory,
    condition,
    fit,
    fitted_pack,
    fitted_unpack,
    stock_forecast,
    trend_forecast,
)
from capacity.models import ForecastRun, Horizon
from monitoring.catalog.records import Entity

TOKENS = "output_tokens_per_second"
QUANTITIES: dict[Entity, tuple[str, ...]] = {
    Entity.DEPLOYMENT: (DEMAND, TOKENS),
    Entity.NODE: ("disk_used_bytes", "memory_used_bytes"),
    Entity.ACCELERATOR: ("gpu_memory_used_bytes",),
}
SAID_SECONDS = 3 * 3600.0
SAID_LEVELS = (0.5, 0.99)


@dataclass(frozen=True)
class Course:
    """One horizon: how long its steps are, how many, and how much of the past is read to learn it and to condition it."""

    horizon: Horizon
    step: float
    steps: int
    learn_days: float
    newest_days: float
    words: str


# Two hours, so that a step was forecast an hour before it began at the latest, though the forecast is made once an hour.
HOUR = Course(Horizon.HOUR, 300.0, 24, 14, 14, "1-hour")
DAY = Course(Horizon.DAY, 3600.0, 24, 56, 36, "24-hour")
WEEK = Course(Horizon.WEEK, 3600.0, 168, 56, 36, "7-day")
YEAR = Course(Horizon.YEAR, DAY_SECONDS, 400, 53 * 7, 53 * 7, "Months")  # busiest hours of days, from hourly means
COURSES = (HOUR, DAY, WEEK, YEAR)
BY_HORIZON = {course.horizon: course for course in COURSES}
FILLING = {*QUANTITIES[Entity.NODE], *QUANTITIES[Entity.ACCELERATOR]}
LEARNED: dict[str, tuple[Course, ...]] = {DEMAND: COURSES, TOKENS: (DAY, WEEK, YEAR)}  # of others only the months


@dataclass(frozen=True)
class Read:
    """What was read of one entity: quantity -> values, by the step of the window."""

    entity: Entity
    pk: int
    series: dict[float, tuple[Window, dict[str, Floats]]]
    events: KnownEvents = field(default_factory=KnownEvents)
    said: dict[str, Any] = field(default_factory=dict)  # of the stored forecast of the hour

    def values(self, quantity: str, course: Course) -> tuple[Floats, float]:
        """(n,) of the course's steps, and when the first begins."""
        window, columns = self.series[min(course.step, 3600.0)]
        values = columns[quantity]
        if course.horizon is Horizon.YEAR:
            return busiest_hours(values, start_seconds=window.start)
        first = max(0, values.size - round(course.learn_days * DAY_SECONDS / course.step))
        return values[first:], window.start + first * window.step

    def first_known(self, quantity: str, course: Course) -> datetime | None:
        values, start = self.values(quantity, course)
        known = np.flatnonzero(np.isfinite(values))
        return moment(start + int(known[0]) * course.step) if known.size else None

    def events_of(self, quantity: str, course: Course) -> tuple[Event, ...]:
        window, _ = self.series[min(course.step, 3600.0)]
        return self.events.of(quantity, step=course.step, now=window.end)


def read_to_learn(entity: Entity, ids: Sequence[int], *, now: datetime) -> dict[int, Read]:
    """All that a night needs of these entities. Some eight queries, however many."""
    windows = [window_until(now, days=YEAR.learn_days, step=DAY.step)]
    if entity is Entity.DEPLOYMENT:
        windows.append(window_until(now, days=HOUR.learn_days, step=HOUR.step))
    return read_many(entity, ids, windows, now=now)


def read_newest(ids: Sequence[int], *, now: datetime) -> dict[int, Read]:
    """All that an hour needs of these deployments."""
    windows = [window_until(now, days=course.newest_days, step=course.step) for course in (DAY, HOUR)]
    return read_many(Entity.DEPLOYMENT, ids, windows, now=now)


def read_many(entity: Entity, ids: Sequence[int], windows: Sequence[Window], *, now: datetime) -> dict[int, Read]:
    found = {}
    for window in windows:
        names = (DEMAND,) if window.step == HOUR.step else QUANTITIES[entity]
        found[window.step] = (window, series_load(entity, ids, names, window=window))
    series = {pk: {step: (window, by_id[pk]) for step, (window, by_id) in found.items()} for pk in ids}
    if entity is not Entity.DEPLOYMENT:
        return {pk: Read(entity, pk, series[pk]) for pk in ids}
    events = events_load(ids, now=now)
    told = ForecastRun.objects.filter(deployment__in=ids, quantity=DEMAND, horizon=Horizon.HOUR)
    said = dict(told.values_list("deployment_id", "said"))
    return {pk: Read(entity, pk, series[pk], events[pk], said.get(pk, {})) for pk in ids}


def runs_learn(read: Read, *, now: datetime) -> list[ForecastRun]:
    """Every quantity that was ever measured, over each of its horizons; of a deployment's requests also why there is nothing."""
    runs = []
    for quantity in QUANTITIES[read.entity]:
        courses = LEARNED.get(quantity, (YEAR,))
        if quantity == DEMAND or any(np.isfinite(read.values(quantity, course)[0]).any() for course in courses):
            runs += [run_learn(read, quantity, course, now=now) for course in courses]
    return runs


def run_learn(read: Read, quantity: str, course: Course, *, now: datetime) -> ForecastRun:
    values, start = read.values(quantity, course)
    events = read.events_of(quantity, course)
    fitted, result = learned(values, course, start=start, events=events, fills=quantity in FILLING)
    run = ForecastRun(quantity=quantity, horizon=course.horizon, step_seconds=course.step, fitted_at=now)
    setattr(run, f"{read.entity.value}_id", read.pk)
    run.fitted = fitted_pack(fitted) if fitted else None
    run.said = read.said if course is HOUR else {}
    run_put(run, result, now=now)
    run.backtest = backtest_json(result.backtest) if isinstance(result, Forecast) else {}
    run.inputs_digest = digest_of(values, start=start, events=events)
    return run


def learned(
    values: Floats, course: Course, *, start: float, events: Sequence[Event] = (), fills: bool = False
) -> tuple[Fitted | None, Forecast | NoAnswer]:
    """What the hours need, and the forecast as of now. Months are learned and forecast at once; fills: of a disk or a memory."""
    if not np.isfinite(values).any():
        return None, NoAnswer("no_data", have=0, need=1)
    if course.horizon is Horizon.YEAR and fills:
        return None, stock_forecast(values, start_seconds=start, step_seconds=course.step, horizon=course.steps)
    if course.horizon is Horizon.YEAR:
        scenario = Scenario(events=events)
        return None, trend_forecast(values, start_seconds=start, step_seconds=course.step, horizon=course.steps, scenario=scenario)
    fitted = fit(values, start_seconds=start, step_seconds=course.step, horizon=course.steps, events=events)
    if isinstance(fitted, NoAnswer):
        return None, fitted
    return fitted, condition(fitted, values, start_seconds=start, events=events)


def run_condition(run: ForecastRun, read: Read, *, now: datetime) -> bool:
    """The run as of now; False when what the night learned cannot be read any more and must be learned again."""
    fitted = fitted_unpack(bytes(run.fitted or b""))
    if fitted is None:
        return False
    course = BY_HORIZON[Horizon(run.horizon)]
    values, start = read.values(run.quantity, course)
    events = read.events_of(run.quantity, course)
    run_put(run, condition(fitted, values, start_seconds=start, events=events), now=now)
    run.inputs_digest = digest_of(values, start=start, events=events)
    return True


def run_put(run: ForecastRun, result: Forecast | NoAnswer, *, now: datetime) -> None:
    run.made_at, run.code_version = now, code_version()
    if isinstance(result, NoAnswer):
        run.refusal, run.quantiles, run.levels = refusal_words(result, BY_HORIZON[Horizon(run.horizon)]), [], []
        run.start_at, run.flags, run.note = None, [], ""
        return
    run.refusal, run.method, run.flags, run.note = "", result.method, list(result.flags), result.note
    run.start_at = moment(result.start_seconds)
    run.levels, run.quantiles = result.levels.tolist(), result.quantiles.ravel().tolist()
    run.trained_from, run.trained_until = moment(result.trained_from_seconds), moment(result.trained_until_seconds)
    if run.horizon == Horizon.HOUR:
        run.said = said_on(run.said, result)


def refusal_words(answer: NoAnswer, course: Course) -> str:
    if isinstance(answer, ShortHistory):
        return answer.sentence()
    steps = {300.0: "five-minute steps", 3600.0: "hours", DAY_SECONDS: "days"}[course.step]
    if answer.reason == "no_data":
        return f"{course.words} forecast: nothing was measured in the last {course.learn_days:g} days."
    return f"{course.words} forecast: too many gaps, {answer.have:,} {steps} are known and {answer.need:,} are needed."


def said_on(said: dict[str, Any], result: Forecast) -> dict[str, Any]:
    """What was said of each step of the last hours when it was first forecast, followed by what is said now of steps not forecast before.

    So that a forecast that has learned of a surge is not taken for one that foresaw it.
    """
    step, paths = result.step_seconds, {f"p{level * 100:g}": result.at_level(level).tolist() for level in SAID_LEVELS}
    start = result.start_seconds
    kept = round((start - said["start"]) / step) if said.get("step") == step else -1
    if not said or not 0 <= kept <= len(said["p50"]):  # nothing before, or a pause since
        return {"start": start, "step": step, **paths}
    known = len(said["p50"]) - kept  # steps of this forecast that were said before
    dropped = max(0, kept - round(SAID_SECONDS / step))
    return {
        "start": said["start"] + dropped * step,
        "step": step,
        **{name: [*said[name][dropped:], *path[known:]] for name, path in paths.items()},
    }


def digest_of(values: Floats, *, start: float, events: Sequence[Event]) -> str:
    found = hashlib.sha256(np.ascontiguousarray(values).tobytes())
    found.update(f"{start} {events}".encode())
    return found.hexdigest()


@cache
def code_version() -> str:
    """Of the arithmetic: it changes with every change of the engine's forecasts, so that a stored figure tells what made it."""
    folder = Path(engine.__path__[0])
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()[:12]


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)

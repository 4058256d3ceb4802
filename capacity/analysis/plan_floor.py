"""The floor by hour of the coming week under the autoscaler, and how it and others would have done on past days."""

import numpy as np

from capacity.analysis.plan_assumed import Known
from capacity.analysis.plan_demand import DemandBase, week_hours
from capacity.analysis.plan_model import Gap
from capacity.analysis.plan_records import Floor
from capacity.analysis.plan_server import SEED, startup_now
from capacity.analysis.plan_sized import Sized, kept_or
from capacity.analysis.plan_telemetry import Stretch
from capacity.engine.answer import NoAnswer
from capacity.engine.forecast import Forecast
from capacity.engine.grid import DAY_SECONDS, HOUR_SECONDS, Floats, Ints
from capacity.engine.sizing.hold import minute_price, replicas_needed
from capacity.engine.sizing.loop import Reactive, Trial, demand_noisy
from capacity.engine.sizing.opinions import Bands
from capacity.engine.sizing.paths import paths_from_bands

HOURS, MONDAY = 24, 4  # days since 1970 less 4 start a week on Mondays
WEEKDAYS, WEEKEND = (0, 1, 2, 3, 4), (5, 6)
LOW = 0.1
COURSES, SIZES = 48, 12
CALM = 0.01  # of an hour's cost: cheaper by less is noise
CLAIRVOYANT_SHARE = 0.001
TARGET = 0.7
LEAST_WINDOW = 5
SAME = 0.15  # kinds of days whose busiest hours differ by no more are one kind


def reactive_of(startup: Known) -> Reactive:
    """Scaling down waits for twice the start-up time, and five minutes at least."""
    minutes = int(np.ceil(startup.value / 60.0))
    return Reactive(target_ratio=TARGET, startup_minutes=minutes, stabilisation_minutes=max(LEAST_WINDOW, 2 * minutes))


def floor_section(sized: Sized, *, base: DemandBase) -> Floor | Gap:
    week = base.week
    if isinstance(week, NoAnswer):
        return Gap(f"A floor by hour needs the forecast of a week. {week.sentence()}")
    if week.quantiles.shape[1] < 7 * HOURS:
        return Gap("A floor by hour needs the forecast of a week, and history is too short for it: 135 h are needed at least.")
    startup = startup_now(sized.base, assumed=sized.assumed)
    reactive = reactive_of(startup)
    key = (sized.question, reactive, sized.line.coming)
    found: Ints | NoAnswer = kept_or(sized.kept, key, lambda: week_floors(sized, base=base, week=week, reactive=reactive))
    if isinstance(found, NoAnswer):
        return Gap(f"A floor by hour needs three whole days of counts. {found.sentence()}")
    limited = floors_limited(np.maximum(found, sure_needs(sized, base=base, week=week, rows=len(found))), sized=sized)
    most = max(sized.answer.needed, int(limited.max()))
    if sized.inputs.hand.most_replicas is not None:
        most = min(most, sized.inputs.hand.most_replicas)
    return Floor(
        replicas=tuple(int(n) for n in limited.ravel()),
        most=most,
        target_ratio=reactive.target_ratio,
        stabilisation_minutes=reactive.stabilisation_minutes,
        startup_seconds=startup.value,
        startup_basis=startup.basis,
        running_per_replica=round(reactive.target_ratio * sized.model.server.slots, 2),
    )


def sure_needs(sized: Sized, *, base: DemandBase, week: Forecast, rows: int) -> Ints:
    """(rows, 24) replicas that even the low demand (10 %) of each hour needs: the autoscaler would run them anyway."""
    times, hourly = week_hours(base, week, events=sized.line.coming)
    low = hourly[int(np.argmin(np.abs(week.levels - LOW)))]
    needs = np.array([max(1, sized.model.curve.replicas(float(rate))) for rate in low], dtype=np.int64)
    hour, weekday = (times % DAY_SECONDS // HOUR_SECONDS).astype(np.int64), ((times // DAY_SECONDS - MONDAY) % 7).astype(np.int64)
    found = np.ones((7, HOURS), dtype=np.int64)
    found[weekday, hour] = needs
    return found if rows == 7 else found.min(axis=0)[None, :]


def floors_limited(floors: Ints, *, sized: Sized) -> Ints:
    hand = sized.inputs.hand
    return np.clip(floors, hand.least_replicas if hand.least_replicas is not None else 1, hand.most_replicas or None)


def week_floors(sized: Sized, *, base: DemandBase, week: Forecast, reactive: Reactive) -> Ints | NoAnswer:
    """(1, 24) where all days are alike, else (7, 24), Monday first: each kind of day's cheapest numbers under the autoscaler."""
    times, hourly = week_hours(base, week, events=sized.line.coming)
    steps = sized.inputs.steps
    counts = whole_days(steps, column="requests_per_second") * steps.step
    price = minute_price(sized.model.minute, rates=hour_peaks(steps))
    rng = np.random.default_rng(SEED)
    days = [day_bands(week, times=times, hourly=hourly, weekday=day) for day in range(7)]
    found: list[Ints] = []
    for kind in kinds_of(days):
        drawn = [paths_from_bands(days[day], counts=counts, step_seconds=steps.step, rng=rng) for day in kind]
        paths = [each for each in drawn if not isinstance(each, NoAnswer)]
        if not paths:
            return next(each for each in drawn if isinstance(each, NoAnswer))
        found.append(day_floor(sized, paths=np.concatenate(paths), price=price, reactive=reactive))
    return found[0][None, :] if len(found) == 1 else np.stack([*[found[0]] * len(WEEKDAYS), *[found[1]] * len(WEEKEND)])


def day_bands(week: Forecast, *, times: Floats, hourly: Floats, weekday: int) -> Bands:
    """The forecast of one weekday; of today's, what is left of today and the first hours in a week."""
    own = np.flatnonzero((times // DAY_SECONDS - MONDAY) % 7 == weekday)
    return Bands(week.levels, hourly[:, own[np.argsort(times[own] % DAY_SECONDS)]])


def kinds_of(days: list[Bands]) -> tuple[tuple[int, ...], ...]:
    """Weekdays and weekends apart where their busiest hours differ, else all days as one."""
    peaks = np.array([bands.at(np.full((1, HOURS), 0.5)).max() for bands in days])
    work, rest = float(np.median(peaks[list(WEEKDAYS)])), float(np.median(peaks[list(WEEKEND)]))
    alike = abs(work - rest) <= SAME * max(work, rest)
    return ((*WEEKDAYS, *WEEKEND),) if alike else (WEEKDAYS, WEEKEND)


def day_floor(sized: Sized, *, paths: Floats, price: float, reactive: Reactive) -> Ints:
    """(24,) calm: what saves next to nothing is not worth a change of the number."""
    server, table = sized.model.server, sized.model.minute
    rng = np.random.default_rng(SEED)
    chosen = np.ascontiguousarray(paths[rng.permutation(len(paths))[:COURSES]])
    trial = Trial(demand_noisy(chosen, burstiness=server.burstiness, rng=rng), server, table)
    most = max(1, int(replicas_needed(table, rates=np.array([chosen.max()]), share=CLAIRVOYANT_SHARE)[0]))
    sizes = np.unique(np.linspace(1, most, SIZES).round().astype(np.int64))
    flat = [trial.floored(np.full(HOURS, size, dtype=np.int64), reactive=reactive).cost(minute_price=price) for size in sizes]
    costs = np.stack(flat)
    enough = costs <= costs.min(axis=0) + CALM * float(costs.min(axis=0).mean())
    return calmed(np.asarray(sizes[np.argmax(enough, axis=0)], dtype=np.int64))


def calmed(floors: Ints) -> Ints:
    """Dips of one or two hours are filled: a number that stands is worth more than an hour of a replica. The day goes round."""
    found = floors
    for width in (1, 2):
        sides = [np.minimum(np.roll(found, shift), np.roll(found, shift - width - 1)) for shift in range(1, width + 1)]
        found = np.maximum(found, np.max(sides, axis=0))
    return np.asarray(found)


def whole_days(steps: Stretch, *, column: str) -> Floats:
    """Whole UTC days up to today's midnight."""
    first = int(round((-steps.start % DAY_SECONDS) / steps.step))
    per_day = int(DAY_SECONDS / steps.step)
    values = np.asarray(steps[column])[first:]
    return values[: values.size // per_day * per_day]


def hour_peaks(steps: Stretch) -> Floats:
    """The busiest five minutes of each hour."""
    per_hour = int(HOUR_SECONDS / steps.step)
    values = steps.rates[: steps.rates.size // per_hour * per_hour].reshape(-1, per_hour)
    known = np.isfinite(values)
    return np.where(known.any(axis=1), np.where(known, values, 0.0).max(axis=1), np.nan)


def by_hour_needs(sized: Sized, *, shape: Floats) -> Floats:
    """(7, 24) replicas each hour of the peak's week needs; shape: an hour over its day's busiest."""
    curve = sized.model.curve
    return np.array([[max(1, curve.replicas(float(sized.high * part))) for part in day] for day in shape], dtype=np.float64)

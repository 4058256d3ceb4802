"""Policies replayed over days that were: what each would have lost of the SLO and cost in replica-hours, the product's plan among them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from capacity.engine.answer import NoAnswer
from capacity.engine.sizing.broken import BrokenTable, Server
from capacity.engine.sizing.hold import price_of, replicas_needed
from capacity.engine.sizing.loop import MINUTES_PER_HOUR, Demand, Reactive, Trial, demand_noisy
from capacity.engine.sizing.opinions import DAYS, Bands
from capacity.engine.sizing.paths import MIN_DAYS, MINUTES_PER_DAY, days_of, paths_pooled
from capacity.engine.sizing.tables import broken_share

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HOURS = 24
SETTLE_MINUTES = 5  # a count of one minute scatters by itself; over five it is the load
CLAIRVOYANT_SHARE = 0.001  # of the busiest minute of an hour: practically none
HISTORY_DAYS = 42  # told to a midnight
COURSES = 24  # of the night's courses a floor is tried on
SIZES = 24  # floors tried at a midnight
NEAR_RATIO = 0.01  # of floors that cost the same, the autoscaler being above them, the highest: it holds if the day turns out otherwise
DETAILS = {
    "ran": "The replicas that served, minute by minute.",
    "static": "One number all the time: the least that holds the busiest five minutes of these very days, known only afterwards.",
    "hpa70": "An HPA at 70 % busy slots from 1 replica on, with the same start-up time.",
    "plan": "Our floor by hour, made each midnight from the days before it alone, under its autoscaler.",
    "clairvoyant": "The least number of each hour that breaks no minute of it, knowing each day before it came.",
}


@dataclass(frozen=True)
class PastDays:
    """Whole days from a UTC midnight on, minute by minute; the last `replay_days` are replayed, those before serve the first plans."""

    rates: Floats  # (minutes,) requests per second; NaN is a gap
    replay_days: int
    replicas: Floats | None = None  # (minutes,) that served; NaN is not known and taken as the minute before
    step_seconds: float = 60.0  # of the counts the rates come from

    def __post_init__(self) -> None:
        if self.rates.ndim != 1 or self.rates.size == 0 or self.rates.size % MINUTES_PER_DAY:
            raise ValueError(f"needed whole days of {MINUTES_PER_DAY} minutes, got {self.rates.size} minutes")
        if (self.rates < 0).any():
            raise ValueError(f"rates must be 0 or more requests/s, got {np.nanmin(self.rates):g}")
        if self.replay_days < 1 or not self.step_seconds > 0:
            raise ValueError(f"needed 1 day or more and a step above 0 s, got {self.replay_days} and {self.step_seconds}")
        if self.replicas is not None and (self.replicas.shape != self.rates.shape or (self.replicas < 0).any()):
            raise ValueError(f"needed replicas of 0 or more for each of {self.rates.size} minutes, got {self.replicas.size}")

    @property
    def days(self) -> int:
        return self.rates.size // MINUTES_PER_DAY


@dataclass(frozen=True)
class PolicySettings:
    """What the plan runs under."""

    reactive: Reactive  # its start-up time is also the HPA's
    minute_price: float | None = None  # replica-hours of a broken minute; None: 1 % of them weigh as much as 10 % of the usual bill
    bands: tuple[Bands | None, ...] = ()  # a forecast for each replayed day, made from before its midnight; or none at all


@dataclass(frozen=True)
class PolicyRun:
    """One policy, day by day."""

    key: str  # one of DETAILS
    lost_minutes: Floats  # (days,)
    replica_hours: Floats  # (days,)
    floors: Ints | None = None  # (days, 24), of the plan


@dataclass(frozen=True)
class PolicyReplay:
    """All policies over the same minutes; an hour that is wholly unknown counts for none of them."""

    runs: tuple[PolicyRun, ...]
    known_minutes: Floats  # (days,) minutes with requests
    first_day: int  # of the past, counted from 0: the first replayed
    static_replicas: int

    def run(self, key: str) -> PolicyRun | None:
        return next((run for run in self.runs if run.key == key), None)


def minutes_of(counts: Floats, *, step_seconds: float) -> Floats:
    """(minutes,) requests per second of each minute: finer steps are added up, coarser ones joined by lines from middle to middle.

    counts: (n,) requests of each step, oldest first; NaN is a gap and stays one, also where a finer step of the minute has none.
    ValueError for a negative count or a step that neither divides a minute nor is whole minutes.
    """
    counts = np.asarray(counts, dtype=np.float64)
    if (counts < 0).any():
        raise ValueError(f"counts of requests must be 0 or more, got {np.nanmin(counts):g}")
    if not step_seconds > 0:
        raise ValueError(f"needed a step above 0 s, got {step_seconds}")
    within, of = 60.0 / step_seconds, step_seconds / 60.0
    if step_seconds <= 60.0 and within == int(within):
        whole = counts[: counts.size // int(within) * int(within)]
        return np.asarray(whole.reshape(-1, int(within)).sum(axis=1) / 60.0)
    if of != int(of):
        raise ValueError(f"needed a step that divides a minute or is whole minutes, got {step_seconds} s")
    known = np.isfinite(counts)
    minutes = np.arange(counts.size * int(of)) + 0.5
    if not known.any():
        return np.full(minutes.size, np.nan)
    middles = (np.arange(counts.size) + 0.5) * of
    rates = np.interp(minutes, middles[known], counts[known] / step_seconds)
    return np.where(np.repeat(known, int(of)), rates, np.nan)


def policies_replay(
    past: PastDays, *, server: Server, table: BrokenTable, settings: PolicySettings, rng: np.random.Generator
) -> PolicyReplay | NoAnswer:
    """Replay every policy over the last days, each minute at its own rate through the table of broken minutes.

    table: `minute_table` (or the token servers'), up to 1.3 times the highest of the past or more.
    NoAnswer("too_short") under four known days: a plan needs three before it. ValueError for bands that are not one a day.
    """
    first = first_day(past)
    if first >= past.days:
        return NoAnswer("too_short", have=known_days(past.rates), need=MIN_DAYS + 1)
    count = past.days - first
    if settings.bands and len(settings.bands) != past.replay_days:
        raise ValueError(f"needed a forecast (or None) for each of {past.replay_days} replayed days, got {len(settings.bands)}")
    course = course_of(past, first=first, burstiness=server.burstiness, rng=rng)
    trial = Trial(course.demand, server, table)
    static = int(replicas_needed(table, rates=np.array([course.peak]))[0])
    floors = Planner(server, table, settings).floors(past, first=first, rng=rng)
    plain = Reactive(startup_minutes=settings.reactive.startup_minutes)
    runs = [
        *ran(past, course=course, table=table),
        course.fixed("static", replicas=np.full(count * HOURS, static), table=table),
        course.floored("hpa70", trial=trial, floors=np.ones((count, HOURS), dtype=np.int64), reactive=plain),
        course.floored("plan", trial=trial, floors=floors, reactive=settings.reactive),
        course.fixed("clairvoyant", replicas=course.least(table), table=table),
    ]
    return PolicyReplay(runs=tuple(runs), known_minutes=course.known_minutes, first_day=first, static_replicas=static)


def first_day(past: PastDays) -> int:
    """The first day of those to replay that has three known days before it; past.days where there is none."""
    first = past.days - min(past.replay_days, past.days)
    while first < past.days and known_days(past.rates[: first * MINUTES_PER_DAY]) < MIN_DAYS:
        first += 1
    return first


def known_days(rates: Floats) -> int:
    return len(days_of(rates, step_seconds=60.0))


@dataclass(frozen=True)
class DaysCourse:
    """The replayed days as one course, and which of its hours count."""

    demand: Demand  # one path; 0 requests/s where nothing is known, while the autoscaler sees a line across the gap
    counted: NDArray[np.bool_]  # (hours,)
    known_minutes: Floats  # (days,)
    peak: float  # requests per second over the busiest five minutes

    def run(self, key: str, *, lost: Floats, paid: Floats, floors: Ints | None = None) -> PolicyRun:
        """lost: (hours,) minutes; paid: (hours,) replica-hours."""
        lost_days, paid_days = (np.where(self.counted, hours, 0.0).reshape(-1, HOURS).sum(axis=1) for hours in (lost, paid))
        return PolicyRun(key=key, lost_minutes=lost_days, replica_hours=paid_days, floors=floors)

    def fixed(self, key: str, *, replicas: Ints, table: BrokenTable) -> PolicyRun:
        """replicas: (hours,), all of them serving."""
        lost = broken_share(table, rates=self.demand.rates[0], replicas=np.repeat(replicas, MINUTES_PER_HOUR).astype(np.float64))
        return self.run(key, lost=by_hour(lost), paid=replicas.astype(np.float64))

    def floored(self, key: str, *, trial: Trial, floors: Ints, reactive: Reactive) -> PolicyRun:
        """floors: (days, 24), under the autoscaler."""
        course = trial.floored(np.ascontiguousarray(floors.ravel()), reactive=reactive)
        return self.run(key, lost=course.broken_minutes, paid=course.replica_hours, floors=floors if key == "plan" else None)

    def least(self, table: BrokenTable) -> Ints:
        """(hours,) the least replicas that hold each hour's busiest minute."""
        return replicas_needed(table, rates=self.demand.rates[0].reshape(-1, MINUTES_PER_HOUR).max(axis=1), share=CLAIRVOYANT_SHARE)


def course_of(past: PastDays, *, first: int, burstiness: float, rng: np.random.Generator) -> DaysCourse:
    raw = past.rates[first * MINUTES_PER_DAY :]
    known = np.isfinite(raw)
    filled = np.interp(np.arange(raw.size), np.flatnonzero(known), raw[known]) if known.any() else np.zeros(raw.size)
    load = np.where(known, settled(filled, burstiness=burstiness) if past.step_seconds <= 60.0 else filled, 0.0)
    # A coarse count hides how a minute's own scatters, and the autoscaler reacts to that.
    seen = filled if past.step_seconds <= 60.0 else demand_noisy(filled[None, :], burstiness=burstiness, rng=rng).measured[0]
    return DaysCourse(
        demand=Demand(rates=np.ascontiguousarray(load[None, :]), measured=np.ascontiguousarray(seen[None, :])),
        counted=np.asarray(known.reshape(-1, MINUTES_PER_HOUR).any(axis=1)),
        known_minutes=(known & (raw > 0)).reshape(-1, MINUTES_PER_DAY).sum(axis=1).astype(np.float64),
        peak=float(load.reshape(-1, SETTLE_MINUTES).mean(axis=1).max()),
    )


def settled(rates: Floats, *, burstiness: float) -> Floats:
    """(minutes,) the load behind each minute's count: its scatter is in the table of broken minutes already and must not count twice.

    A minute is drawn towards the mean of the five around it by the share of their differences that mere scatter explains
    (variance burstiness x rate / 60): a real surge of a minute stays, a count of few requests is smoothed.
    """
    kernel = np.ones(SETTLE_MINUTES)
    around = np.convolve(rates, kernel, mode="same") / np.convolve(np.ones(rates.size), kernel, mode="same")
    apart = rates - around
    scatter = burstiness * np.mean(rates) / 60.0 * (1.0 - 1.0 / SETTLE_MINUTES)
    kept = max(0.0, 1.0 - float(scatter) / max(float(np.mean(apart**2)), 1e-12))
    return np.asarray(around + kept * apart)


def ran(past: PastDays, *, course: DaysCourse, table: BrokenTable) -> list[PolicyRun]:
    """The replicas that served, if any are known: a minute that is not takes those of the minute before, the first those after."""
    if past.replicas is None:
        return []
    replicas = past.replicas[-course.demand.rates.shape[1] :]
    known = np.isfinite(replicas)
    if not known.any():
        return []
    places = np.maximum.accumulate(np.where(known, np.arange(replicas.size), int(np.argmax(known))))
    lost = broken_share(table, rates=course.demand.rates[0], replicas=replicas[places])
    return [course.run("ran", lost=by_hour(lost), paid=by_hour(replicas[places]) / MINUTES_PER_HOUR)]


def by_hour(minutes: Floats) -> Floats:
    return np.asarray(minutes.reshape(-1, MINUTES_PER_HOUR).sum(axis=1))


def five_minutes(rates: Floats) -> Floats:
    """Mean of what is known in each five minutes, NaN where nothing is."""
    groups = rates.reshape(-1, SETTLE_MINUTES)
    known = np.isfinite(groups)
    sums, counts = np.where(known, groups, 0.0).sum(axis=1), known.sum(axis=1)
    return np.asarray(np.divide(sums, counts, out=np.full(counts.size, np.nan), where=counts > 0))


@dataclass(frozen=True)
class Planner:
    """Makes a floor at a midnight, as the nightly plan does but on fewer courses and with the same size tried in all hours."""

    server: Server
    table: BrokenTable
    settings: PolicySettings

    def floors(self, past: PastDays, *, first: int, rng: np.random.Generator) -> Ints:
        """(days, 24) the floor of each day from `first` on, made from the days before it alone; a night that knows too little
        keeps the last one's."""
        count = past.days - first
        rates = five_minutes(past.rates)
        per_day = rates.size // past.days
        needs = self.needs(rates)
        bands = self.settings.bands[-count:] if self.settings.bands else (None,) * count
        floors = np.ones((count, HOURS), dtype=np.int64)
        for night, child in enumerate(rng.spawn(count)):
            day = first + night
            before = rates[max(0, day - HISTORY_DAYS) * per_day : day * per_day]
            usual = needs[max(0, day - DAYS) * HOURS : day * HOURS]
            price = price_of(usual) if self.settings.minute_price is None else self.settings.minute_price
            found = self.floor(before, bands=bands[night], minute_price=price, rng=child)
            floors[night] = floors[max(night - 1, 0)] if found is None else found
        return floors

    def needs(self, rates: Floats) -> Floats:
        """(hours,) replicas the busiest five minutes of each hour need; NaN where nothing is known."""
        hours = rates.reshape(-1, MINUTES_PER_HOUR // SETTLE_MINUTES)
        known = np.isfinite(hours)
        busiest = np.where(known, hours, 0.0).max(axis=1)
        return np.where(known.any(axis=1), replicas_needed(self.table, rates=busiest), np.nan)

    def floor(self, before: Floats, *, bands: Bands | None, minute_price: float, rng: np.random.Generator) -> Ints | None:
        """(24,) each hour's cheapest floor on courses of the day to come; None where too little is known for any."""
        step = 60.0 * SETTLE_MINUTES
        paths = paths_pooled(bands, counts=before * step, step_seconds=step, rng=rng)
        if isinstance(paths, NoAnswer):
            return None
        chosen = np.ascontiguousarray(paths[:: max(1, len(paths) // COURSES)])
        trial = Trial(demand_noisy(chosen, burstiness=self.server.burstiness, rng=rng), self.server, self.table)
        most = int(replicas_needed(self.table, rates=np.array([chosen.max()]), share=CLAIRVOYANT_SHARE)[0])
        sizes = np.unique(np.linspace(1, most, SIZES).round().astype(np.int64))
        flat = [trial.floored(np.full(HOURS, size, dtype=np.int64), reactive=self.settings.reactive) for size in sizes]
        costs = np.array([course.cost(minute_price=minute_price) for course in flat])
        near = costs <= costs.min(axis=0) * (1.0 + NEAR_RATIO)
        return np.asarray(sizes[len(sizes) - 1 - np.argmax(near[::-1], axis=0)], dtype=np.int64)

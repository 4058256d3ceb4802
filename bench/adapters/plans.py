"""The product's plans behind the yardstick's signature: the day ahead by hour, alone and as a floor under its autoscaler."""

from typing import Protocol

import numpy as np

from capacity.engine.answer import NoAnswer
from capacity.engine.forecast import condition, fit
from capacity.engine.grid import Floats, Ints
from capacity.engine.queueing.service import service_measured
from capacity.engine.sizing.broken import Server
from capacity.engine.sizing.loop import Reactive, Trial, demand_noisy
from capacity.engine.sizing.opinions import DAYS, Bands
from capacity.engine.sizing.paths import LEARNED, POOL, POOL_FIXED, paths_pooled
from capacity.engine.sizing.plan import minute_price_default, plan_fixed, plan_floor
from capacity.engine.sizing.replicas import Promise
from capacity.engine.sizing.tables import minute_table

STEP_SECONDS, STEPS_PER_HOUR = 300.0, 12
LEVELS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995)
TABLE_MINUTES = 60  # a minute in a hundred matters
TOP_RATIO = 1.05  # the table reaches a little beyond the courses
MOST_CV = 3.0  # the yardstick's own arrivals are no burstier (its README)


class Past(Protocol):
    """What the yardstick hands over at midnight."""

    load: Floats  # requests per 5 minutes
    start_epoch: float
    service_s: Floats
    arrival_cv: float
    slots: int
    slo_s: float
    slo_q: float


def plan(past: Past) -> Ints:
    trial, price = trial_of(past, size=POOL_FIXED)
    return plan_fixed(trial, minute_price=price).floors


def floor(past: Past) -> Ints:
    trial, price = trial_of(past)
    return plan_floor(trial, reactive=Reactive(), minute_price=price).floors


def trial_of(past: Past, *, size: int = POOL) -> tuple[Trial, float]:
    """Courses of the day to come, and the price of a broken minute."""
    rng = np.random.default_rng(0)
    counts = past.load[past.load.size % STEPS_PER_HOUR :]
    start = past.start_epoch + (past.load.size - counts.size) * STEP_SECONDS
    bands, *past_bands = bands_of(counts, start=start)
    known = counts[-(DAYS + LEARNED + 1) * 288 :]
    rates = paths_pooled(bands, counts=known, step_seconds=STEP_SECONDS, rng=rng, past_bands=past_bands, size=size)
    if isinstance(rates, NoAnswer):
        raise LookupError(rates.sentence())
    server = Server(service_measured(past.service_s), past.slots, min(past.arrival_cv, MOST_CV) ** 2)
    promise = Promise(past.slo_q, past.slo_s, kind="wait")
    table = minute_table(rates.max() * TOP_RATIO, server=server, promise=promise, rng=rng, minutes=TABLE_MINUTES)
    price = minute_price_default(table, rates=rates.reshape(-1, 60).max(axis=1))
    return Trial(demand_noisy(rates, burstiness=server.burstiness, rng=rng), server, table), price


def bands_of(counts: Floats, *, start: float) -> list[Bands | None]:
    """The product's forecast of the hours to come, then of past midnights, yesterday's first; None where it refuses."""
    hours = counts.reshape(-1, STEPS_PER_HOUR).sum(axis=1)
    kept = hours[-DAYS * 24 :]
    begin = start + (hours.size - kept.size) * 3600.0
    fitted = fit(kept, start_seconds=begin, step_seconds=3600.0, horizon=24)
    if isinstance(fitted, NoAnswer):
        return [None]
    found: list[Bands | None] = []
    for known in (kept[: kept.size - 24 * day] for day in range(min(LEARNED, kept.size // 24 - 2) + 1)):
        said = condition(fitted, known, start_seconds=begin, levels=LEVELS)
        found.append(None if isinstance(said, NoAnswer) else Bands(np.array(LEVELS), said.quantiles / 3600.0))
    return found

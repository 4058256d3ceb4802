"""What rate so many replicas hold: the table of broken minutes read the other way round, by the minute and by the mean of an hour."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from capacity.engine.queueing.replay import WARM_UP_RATIO, replay
from capacity.engine.sizing.broken import BrokenTable, Server
from capacity.engine.sizing.plan import BILL_PER_BROKEN
from capacity.engine.sizing.replicas import Promise, lost_ratio
from capacity.engine.sizing.tables import avoidable, rising

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SHARE = 0.01  # of minutes that may break where a rate "is held"
MINUTES_PER_HOUR = 60
BUSIEST_RATIO = 0.1  # of the hours lend their minutes
MOST_SHAPES = 200
MOST_PEAK = 5.0  # a minute over its hour's mean; above that a count of few requests speaks, not the load
HELD_MINUTES = 100  # replayed to find one rate
HELD_REQUESTS = (3000, 150_000)  # but at least and at most so many
HALVINGS = 8
NINETY = 1.645  # standard errors either side of a 90 % interval
SCV_LIMITS = (0.25, 64.0)


@dataclass(frozen=True)
class HeldCurve:
    """The rate that 0, 1, 2, ... replicas hold."""

    rates: Floats  # (m,) requests per second by replicas 0 to m - 1, none below the one before

    def rate(self, replicas: float) -> float:
        """Requests per second that `replicas` hold, between two whole numbers on their line; beyond the curve in proportion.

        In proportion is on the safe side: a larger queue is never worse by the replica. ValueError for a negative number.
        """
        if not replicas >= 0:
            raise ValueError(f"needed 0 replicas or more, got {replicas}")
        last = self.rates.size - 1
        if replicas > last:
            return float(self.rates[-1] * replicas / last)
        return float(np.interp(replicas, np.arange(self.rates.size), self.rates))

    def replicas(self, rate: float) -> int:
        """The least number of replicas that hold `rate` requests per second; ValueError where none does, or for a negative rate."""
        if not rate >= 0:
            raise ValueError(f"needed a rate of 0 or more requests/s, got {rate}")
        place = int(np.searchsorted(self.rates, rate * (1.0 - 1e-12)))
        if place < self.rates.size:
            return place
        if not self.rates[-1] > 0:
            raise ValueError("no number of replicas holds the promise at any rate; needed a threshold further above the service time")
        return int(np.ceil((self.rates.size - 1) * rate / self.rates[-1] - 1e-9))

    def scaled(self, ratio: float) -> "HeldCurve":
        """The curve corrected by what was measured: measured over predicted of the number of replicas that run now."""
        if not (ratio > 0 and np.isfinite(ratio)):
            raise ValueError(f"needed a ratio above 0, got {ratio}")
        return HeldCurve(self.rates * ratio)


def held_curve(table: BrokenTable, *, share: float = SHARE) -> HeldCurve:
    """For each number of replicas the highest rate with at most `share` of minutes broken that more replicas would save.

    Above the table's top rate the curve goes on in proportion to the replicas. ValueError for a share outside [0, 1).
    """
    check_share(share)
    sizes, shares = np.arange(table.most + 1), avoidable(table)
    held = np.array([0.0] + [rate_of_column(table.rates, shares=shares[:, n], share=share) for n in sizes[1:]])
    full = np.flatnonzero(held >= table.rates[-1])
    if full.size and full[0] > 0:
        held[full] = table.rates[-1] * sizes[full] / full[0]
    return HeldCurve(np.maximum.accumulate(held))


def rate_of_column(rates: Floats, *, shares: Floats, share: float) -> float:
    """The rate at which a column of rising shares reaches `share`; the highest where it never does, 0 where it is above it at once."""
    over = np.flatnonzero(shares > share)
    if over.size == 0:
        return float(rates[-1])
    above = int(over[0])
    if above == 0:
        return 0.0
    part = (share - shares[above - 1]) / (shares[above] - shares[above - 1])
    return float(rates[above - 1] + part * (rates[above] - rates[above - 1]))


def rate_held(table: BrokenTable, *, replicas: float, share: float = SHARE) -> float:
    """Requests per second that so many replicas hold with at most `share` of minutes broken."""
    return held_curve(table, share=share).rate(replicas)


def replicas_needed(table: BrokenTable, *, rates: Floats, share: float = SHARE) -> Ints:
    """(n,) least replicas that hold each of `rates` (requests per second, 0 or more, no gaps), at least 1, at most the table's."""
    curve = held_curve(table, share=share)
    return np.clip(np.searchsorted(curve.rates, rates * (1.0 - 1e-12)), 1, table.most).astype(np.int64)


def minute_price(table: BrokenTable, *, rates: Floats) -> float:
    """Replica-hours of one broken minute such that 1 % of broken minutes weigh as much as 10 % of the usual bill.

    rates: (n,) requests per second, the busiest five minutes of each hour of the past, NaN = gap; the usual bill is what these
    hours needed. ValueError where no hour is known.
    """
    known = np.asarray(rates)[np.isfinite(rates)]
    if known.size == 0:
        raise ValueError("needed at least one hour of the past with a known rate, got none")
    return price_of(replicas_needed(table, rates=known).astype(np.float64))


def price_of(needs: Floats) -> float:
    """Replica-hours of one broken minute where these replicas were needed, NaN = not known."""
    return BILL_PER_BROKEN * max(float(np.nanmean(needs)), 1.0) / MINUTES_PER_HOUR


def hour_shapes(rates: Floats, *, busiest_ratio: float = BUSIEST_RATIO) -> Floats:
    """Courses within the busiest hours of a past: (k, 60) each minute's rate over its hour's mean.

    rates: (minutes,) requests per second by minute, oldest first, from a full hour on; NaN is a gap, an hour with one is left out.
    At most 200 of them. Without any hour: one even hour. ValueError for a negative rate.
    """
    rates = np.asarray(rates, dtype=np.float64)
    if (rates < 0).any():
        raise ValueError(f"rates must be 0 or more requests/s, got {np.nanmin(rates):g}")
    hours = rates[: rates.size // MINUTES_PER_HOUR * MINUTES_PER_HOUR].reshape(-1, MINUTES_PER_HOUR)
    hours = hours[np.isfinite(hours).all(axis=1)]
    means = hours.mean(axis=1) if len(hours) else np.zeros(0)
    busy = np.flatnonzero(means > 0)
    if busy.size == 0:
        return np.ones((1, MINUTES_PER_HOUR))
    count = int(np.clip(np.ceil(busiest_ratio * busy.size), 1, MOST_SHAPES))
    chosen = busy[np.argsort(means[busy])[-count:]]
    return np.minimum(hours[chosen] / means[chosen, None], MOST_PEAK)


def table_hourly(table: BrokenTable, *, shapes: Floats) -> BrokenTable:
    """The share of an hour's minutes broken by the hour's MEAN rate: minutes of a busy hour lie above it.

    shapes: (k, 60) as `hour_shapes`. The new table ends where the highest minute would leave the old one.
    """
    most = max(float(shapes.max()), 1.0)
    factors, weights = np.unique(np.round(shapes.ravel(), 2), return_counts=True)
    rates = np.concatenate([table.rates[:1], table.rates[table.rates > table.rates[0] * most] / most])
    rows = table.rows((rates[:, None] * factors[None, :]).ravel())
    below = np.clip(np.floor(rows).astype(np.int64), 0, table.rates.size - 1)
    above = np.minimum(below + 1, table.rates.size - 1)
    part = np.clip(rows - below, 0.0, 1.0)[:, None]
    shares = table.broken[below] * (1.0 - part) + table.broken[above] * part
    shares = np.where(rows[:, None] < 0, 0.0, shares).reshape(rates.size, factors.size, -1)
    hourly = np.einsum("rfn,f->rn", shares, weights / weights.sum())
    return rising(rates, broken=hourly)


@dataclass(frozen=True)
class Holding:
    """The steady rate so many replicas hold, with a 90 % interval by what is not known of the burstiness."""

    replicas: int
    rate: float  # requests per second
    low: float
    high: float


def holding_find(replicas: int, *, server: Server, promise: Promise, burst_error: float, rng: np.random.Generator) -> Holding:
    """The rate that `replicas` hold, by replays of steady traffic, and again for the least and the most burstiness that may be.

    burst_error: standard error of ln(burstiness), `Burstiness.log_error`; the server's burstiness is one of these above the best
    guess. ValueError for fewer than 1 replica or a negative error.
    """
    if replicas < 1 or not burst_error >= 0:
        raise ValueError(f"needed 1 replica or more and an error of 0 or more, got {replicas} and {burst_error}")
    seed = int(rng.integers(2**32))
    factors = np.exp(burst_error * np.array([0.0, NINETY - 1.0, -NINETY - 1.0]))
    bursts = [float(np.clip(server.burstiness * factor, *SCV_LIMITS)) if factor != 1 else server.burstiness for factor in factors]
    rate, low, high = (rate_found(replicas, server=replace(server, burstiness=scv), promise=promise, seed=seed) for scv in bursts)
    return Holding(replicas=replicas, rate=rate, low=min(rate, low), high=max(rate, high))


def rate_found(replicas: int, *, server: Server, promise: Promise, seed: int) -> float:
    """The highest rate with at most `SHARE` of minutes broken that more replicas would save, to half a per cent of all slots busy."""
    rng = np.random.default_rng(seed)
    most = server.capacity_rate(replicas)
    count = int(np.clip(most * 60.0 * HELD_MINUTES, *HELD_REQUESTS))
    # The same clumps and the same requests at each rate: what differs is the rate alone.
    clumps = np.cumsum(rng.gamma(1.0 / server.burstiness, server.burstiness, size=count))
    service = server.service.draw(count, rng=rng)
    cut = int(count * WARM_UP_RATIO)

    def holds(rate: float) -> bool:
        arrivals = clumps / rate
        wait = replay(arrivals, service=service, capacity=replicas * server.slots)[cut:]
        lost, alone = (
            lost_ratio(arrivals[cut:], late=seconds > promise.threshold_seconds, promise=promise)
            for seconds in ((wait, np.zeros(wait.size)) if promise.kind == "wait" else (wait + service[cut:], service[cut:]))
        )
        return lost - alone <= SHARE * (1.0 - alone)

    low, high = 0.0, most
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def check_share(share: float) -> None:
    if not 0 <= share < 1:
        raise ValueError(f"needed a share of minutes between 0 and 1, got {share}")

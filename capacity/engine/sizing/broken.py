"""How often a minute breaks its promise, for each rate and each number of replicas: one table, made by replay, that plans look up."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from capacity.engine.queueing.replay import WARM_UP_RATIO, replay
from capacity.engine.queueing.service import ServiceTimes
from capacity.engine.sizing.replicas import Promise, lost_ratio

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RATES = 18
LEAST_RATE_RATIO = 0.003  # of the top rate; below it one row serves
MIN_MINUTES = 25
MIN_REQUESTS = 3000
REPLICA_STEP = 0.05  # sizes are tried this far apart, in between is interpolated


@dataclass(frozen=True)
class Server:
    """One replica of a deployment and how its requests come."""

    service: ServiceTimes
    slots: int
    burstiness: float  # squared coefficient of variation of the gaps between arrivals

    def capacity_rate(self, replicas: float) -> float:
        """Requests per second that keep all slots busy."""
        return replicas * self.slots / self.service.mean_seconds


@dataclass(frozen=True)
class BrokenTable:
    """Share of minutes broken at a steady rate."""

    rates: Floats  # (r,) requests per second, ascending
    broken: Floats  # (r, n + 1) by replicas 0 to n: falls with replicas, rises with the rate

    @property
    def most(self) -> int:
        return int(self.broken.shape[1]) - 1

    def rows(self, rates: Floats) -> Floats:
        """Where the rates lie between the table's rows; a rate of 0 is -1."""
        logs = np.log(np.maximum(rates, 1e-300))
        return np.asarray(np.where(rates > 0, np.interp(logs, np.log(self.rates), np.arange(self.rates.size)), -1.0))

    def share(self, rates: Floats, *, replicas: int) -> Floats:
        """Share of minutes broken at each of `rates` with so many replicas; 0 where nothing comes."""
        column = self.broken[:, min(replicas, self.most)]
        return np.where(rates > 0, np.interp(self.rows(rates), np.arange(column.size), column), 0.0)

    def needed(self, rate: float, *, share: float) -> int:
        """Least replicas with at most `share` of minutes broken at a steady rate; the table's most where none has."""
        row = float(self.rows(np.array([rate]))[0])
        if row < 0:
            return 1
        below = int(row)
        above = min(below + 1, self.rates.size - 1)
        column = self.broken[below] + (row - below) * (self.broken[above] - self.broken[below])
        held = np.flatnonzero(column <= share)
        return max(1, int(held[0])) if held.size else self.most


def broken_table(top_rate: float, *, server: Server, promise: Promise, rng: np.random.Generator) -> BrokenTable:
    """Replay steady traffic at rates up to `top_rate` (requests per second, above 0) through every size that matters."""
    if not top_rate > 0 or not np.isfinite(top_rate):
        raise ValueError(f"needed a top rate above 0 requests/s, got {top_rate}")
    rates = top_rate * np.geomspace(LEAST_RATE_RATIO, 1.0, RATES)
    curves = [broken_curve(rate, server=server, promise=promise, rng=rng) for rate in rates]
    width = max(curve.size for curve in curves)
    table = np.stack([np.pad(curve, (0, width - curve.size)) for curve in curves])
    # A longer replay would be smooth; noise must not make more replicas or less load look worse.
    return BrokenTable(rates=rates, broken=np.maximum.accumulate(table, axis=0))


def broken_curve(rate: float, *, server: Server, promise: Promise, rng: np.random.Generator, minutes: int = MIN_MINUTES) -> Floats:
    """Share of minutes broken by replicas 0, 1, 2, ... until none is; replayed for `minutes` at least."""
    minutes = int(max(minutes, np.ceil(MIN_REQUESTS / (rate * 60.0))))
    arrivals = steady_arrivals(rate, minutes=minutes, burstiness=server.burstiness, rng=rng)
    service = server.service.draw(arrivals.size, rng=rng)
    least = max(1, int(0.85 * rate / server.capacity_rate(1.0)))
    sizes, shares = [0, least - 1], [1.0, 1.0]
    cut = int(arrivals.size * WARM_UP_RATIO)
    replicas = least
    while arrivals.size and shares[-1] > 0:
        wait = replay(arrivals, service=service, capacity=replicas * server.slots)
        seconds = wait if promise.kind == "wait" else wait + service
        late = seconds[cut:] > promise.threshold_seconds
        sizes.append(replicas)
        shares.append(min(lost_ratio(arrivals[cut:], late=late, promise=promise), shares[-1]))
        if wait.max() == 0:  # the service alone is over the threshold: more replicas change nothing
            break
        replicas = max(replicas + 1, int(replicas * (1.0 + REPLICA_STEP)))
    return np.asarray(np.interp(np.arange(sizes[-1] + 1), sizes, shares))


def steady_arrivals(rate: float, *, minutes: int, burstiness: float, rng: np.random.Generator) -> Floats:
    """A gamma renewal process."""
    count = int(rate * 60.0 * minutes) + 1
    return np.cumsum(rng.gamma(1.0 / burstiness, burstiness / rate, size=count))

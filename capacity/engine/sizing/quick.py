"""The table of broken minutes of busy services: a slower clock tells the same story with fewer requests."""

from dataclasses import dataclass, replace

import numpy as np

from capacity.engine.queueing.replay import WARM_UP_RATIO, replay
from capacity.engine.queueing.service import ServiceTimes
from capacity.engine.sizing.broken import MIN_MINUTES, BrokenTable, Server, steady_arrivals
from capacity.engine.sizing.hold import SHARE
from capacity.engine.sizing.replicas import Promise, lost_ratio
from capacity.engine.sizing.tables import minute_table

MOST_REQUESTS = 120_000.0  # a replay of the top rate
JUDGED_MINUTES, JUDGED_REQUESTS = 100, 60_000.0  # replayed to judge one rate, the fewer of both
LONGEST_SERVICE = 1.0  # seconds on the slowed clock: a "minute" then still holds sixty of them


@dataclass(frozen=True)
class Clock:
    """How much slower the replay's clock goes; times are multiplied by it, rates divided."""

    factor: float

    def server(self, server: Server) -> Server:
        slowed = ServiceTimes(values=server.service.values * self.factor, basis=server.service.basis)
        return replace(server, service=slowed)

    def promise(self, promise: Promise) -> Promise:
        return replace(promise, threshold_seconds=promise.threshold_seconds * self.factor)


def clock_of(top_rate: float, *, server: Server) -> Clock:
    """Slow enough for MOST_REQUESTS in a replay of the top rate, never so slow that a request fills a minute."""
    wanted = top_rate * 60.0 * MIN_MINUTES / MOST_REQUESTS
    return Clock(float(max(1.0, min(wanted, LONGEST_SERVICE / server.service.mean_seconds))))


def minute_table_quick(top_rate: float, *, server: Server, promise: Promise, rng: np.random.Generator) -> BrokenTable:
    """`minute_table` in a second at any rate. Arguments, result and errors as there.

    Scaling time and rate together changes nothing but the length of a minute: of very busy services shorter stretches are
    judged, which break a little more often than whole minutes do (on the safe side).
    """
    if not top_rate > 0 or not np.isfinite(top_rate):
        raise ValueError(f"needed a top rate above 0 requests/s, got {top_rate}")
    clock = clock_of(top_rate, server=server)
    table = minute_table(top_rate / clock.factor, server=clock.server(server), promise=clock.promise(promise), rng=rng)
    return BrokenTable(rates=table.rates * clock.factor, broken=table.broken)


def held_at(rate: float, *, replicas: int, server: Server, promise: Promise, rng: np.random.Generator) -> bool:
    """Do so many replicas hold a steady rate, with at most 1 % of minutes broken? One replay.

    rate: requests per second, above 0; ValueError for fewer than 1 replica.
    """
    if replicas < 1 or not rate > 0:
        raise ValueError(f"needed 1 replica or more and a rate above 0, got {replicas} and {rate}")
    clock = clock_of(rate, server=server)
    slowed, aim = clock.server(server), clock.promise(promise)
    slow_rate = rate / clock.factor
    minutes = int(np.clip(JUDGED_REQUESTS / (slow_rate * 60.0), 2, JUDGED_MINUTES))
    arrivals = steady_arrivals(slow_rate, minutes=minutes, burstiness=server.burstiness, rng=rng)
    service = slowed.service.draw(arrivals.size, rng=rng)
    cut = int(arrivals.size * WARM_UP_RATIO)
    wait = replay(arrivals, service=service, capacity=replicas * server.slots)
    late = (wait if promise.kind == "wait" else wait + service)[cut:] > aim.threshold_seconds
    return lost_ratio(arrivals[cut:], late=late, promise=promise) <= SHARE

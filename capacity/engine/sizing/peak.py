"""The busiest hour at a rate it may reach: its latency by number of replicas."""

from dataclasses import dataclass

import numpy as np

from capacity.engine.grid import Floats
from capacity.engine.queueing.arrivals import arrivals_rebuild
from capacity.engine.queueing.replay import WARM_UP_RATIO, replay
from capacity.engine.queueing.service import ServiceTimes
from capacity.engine.sizing.broken import Server
from capacity.engine.sizing.quick import clock_of

MINUTE_SECONDS = 60.0
HOURS_REPLAYED = 3  # different courses of such an hour
MOST_REQUESTS = 60_000.0  # an hour; minutes are left out of very busy ones


@dataclass(frozen=True)
class PeakHour:
    """Requests of some busy hours, on a clock that may go slower (`factor`): divide seconds by it."""

    server: Server  # on the slowed clock
    hours: tuple[tuple[Floats, Floats], ...]  # arrivals and service times
    factor: float


@dataclass(frozen=True)
class PeakLatency:
    """Seconds of the promised kind."""

    p50: float
    p95: float
    p99: float
    promised: float
    late_ratio: float


def peak_hour(rate: float, *, server: Server, shapes: Floats, rng: np.random.Generator) -> PeakHour:
    """rate: requests per second, mean of the hour, above 0 else ValueError; shapes: (k, 60) minutes of busy hours over their mean."""
    if not (rate > 0 and np.isfinite(rate)):
        raise ValueError(f"needed a rate above 0 requests/s, got {rate}")
    clock = clock_of(rate, server=server)
    slowed = clock.server(server)
    kept = int(np.clip(MOST_REQUESTS / (rate / clock.factor * MINUTE_SECONDS), 5, 60))
    hours = []
    for shape in shapes[rng.integers(0, len(shapes), HOURS_REPLAYED)]:
        counts = shape[np.linspace(0, 59, kept).round().astype(np.int64)] * rate / clock.factor * MINUTE_SECONDS
        arrivals = arrivals_rebuild(counts, step_seconds=MINUTE_SECONDS, burstiness=server.burstiness, rng=rng)
        hours.append((arrivals, slowed.service.draw(arrivals.size, rng=rng)))
    return PeakHour(slowed, tuple(hours), clock.factor)


def peak_latency(
    hour: PeakHour, *, replicas: int, own: ServiceTimes | None, aim: tuple[float, float], rng: np.random.Generator
) -> PeakLatency:
    """own: what the promised latency adds to the wait, e.g. the time to the first token; None: the time of the request itself.
    aim: quantile and threshold in seconds.

    NaN everywhere where no request came.
    """
    found = []
    for arrivals, service in hour.hours:
        wait = replay(arrivals, service=service, capacity=replicas * hour.server.slots)
        added = service / hour.factor if own is None else own.draw(arrivals.size, rng=rng)
        seconds = wait / hour.factor + added
        found.append(seconds[int(seconds.size * WARM_UP_RATIO) :])
    every, (quantile, threshold) = np.concatenate(found), aim
    if not every.size:
        return PeakLatency(*[float("nan")] * 5)
    p50, p95, p99, promised = np.quantile(every, [0.5, 0.95, 0.99, quantile])
    return PeakLatency(float(p50), float(p95), float(p99), float(promised), float((every > threshold).mean()))

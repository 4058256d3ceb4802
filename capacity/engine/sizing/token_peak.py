"""The busiest hour of token servers: latency of the promised kind by number of replicas."""

from dataclasses import replace

import numpy as np

from capacity.engine.queueing.replay import WARM_UP_RATIO
from capacity.engine.queueing.tokens import TokenServer, tokens_replay
from capacity.engine.sizing.broken import BrokenTable, steady_arrivals
from capacity.engine.sizing.peak import PeakLatency
from capacity.engine.sizing.replicas import SECONDS_PER_MINUTE
from capacity.engine.sizing.token_table import MIN_MINUTES, TokenTraffic, token_broken_table
from capacity.engine.sizing.tokens import TokenPromise

REQUESTS = 6000
MOST_REQUESTS = 15_000.0  # a replay of the top rate of a table
LEAST_MINUTES = 5


def token_table_quick(
    top_rate: float, *, server: TokenServer, promises: tuple[TokenPromise, ...], traffic: TokenTraffic, rng: np.random.Generator
) -> BrokenTable:
    """`token_broken_table` in a second or two at any rate, on a slower clock. Arguments, result and errors as there.

    Scaling time and rate together changes nothing but the length of a minute: of busy servers shorter stretches are judged.
    """
    if not (top_rate > 0 and np.isfinite(top_rate)):
        raise ValueError(f"needed a top rate above 0 requests/s, got {top_rate}")
    factor = max(1.0, top_rate * SECONDS_PER_MINUTE * MIN_MINUTES / MOST_REQUESTS)
    slowed = replace(server, speed=replace(server.speed, correction=server.speed.correction * factor))
    aims = tuple(replace(promise, threshold_seconds=promise.threshold_seconds * factor) for promise in promises)
    table = token_broken_table(top_rate / factor, server=slowed, promises=aims, traffic=traffic, rng=rng)
    return BrokenTable(rates=table.rates * factor, broken=table.broken)


def token_latency(
    rate: float, *, replicas: int, server: TokenServer, traffic: TokenTraffic, promise: TokenPromise, rng: np.random.Generator
) -> PeakLatency:
    """Replay steady traffic of `rate` requests per second through `replicas`; seconds of the promise's kind.

    ValueError for a rate not above 0, fewer than 1 replica, or a request larger than the KV cache.
    """
    if not (rate > 0 and np.isfinite(rate)):
        raise ValueError(f"needed a rate above 0 requests/s, got {rate}")
    minutes = int(max(LEAST_MINUTES, np.ceil(REQUESTS / (rate * 60.0)))) if rate * 60.0 * LEAST_MINUTES < REQUESTS else LEAST_MINUTES
    arrivals = steady_arrivals(rate, minutes=minutes, burstiness=traffic.burstiness, rng=rng)[: 4 * REQUESTS]
    latencies = tokens_replay(traffic.requests(arrivals, rng=rng), server=server, replicas=replicas)
    seconds = promise.seconds(latencies)[int(arrivals.size * WARM_UP_RATIO) :]
    p50, p95, p99, promised = np.quantile(seconds, [0.5, 0.95, 0.99, promise.quantile])
    return PeakLatency(float(p50), float(p95), float(p99), float(promised), float((seconds > promise.threshold_seconds).mean()))

"""The services of `make bench-night`: their demand, and what their replicas then ran, queued and took, written in bulk.

Even ones serve tokens: the more requests share a replica, the slower each. The others have slots and a queue before them.
"""

from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from capacity.analysis.forecast_make import TOKENS
from capacity.analysis.forecast_series import DEMAND
from capacity.models import Price, PriceKind
from monitoring.catalog.records import Entity, Latency
from monitoring.models import Accelerator, Deployment, Placement, PlacementMethod, Replica, Slo
from monitoring.store import Histograms, RollupRows, Rows, histograms_write, rollups_write, rows_write

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
STEP, MINUTES, HOUR_STEPS = 300.0, 5, 12
TOKENS_IN, TOKENS_OUT = 600.0, 300.0
SHAPE, GAP_SHAPE = 4.0, 20.0  # of log-logistic latencies: p95 of requests 2.1 times the median, of gaps between tokens 1.16 times
FULL = 0.95  # a replica is never told to be busier
CARD, RATE = "H200", Decimal("3.50")
BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0)
GAP_BOUNDS = (0.005, 0.0075, 0.01, 0.0125, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.5)


@dataclass(frozen=True)
class Servers:
    """What does not change of each service: (numbers, 1) each."""

    tokens: NDArray[np.bool_]  # does it serve tokens?
    alone: Floats  # seconds of a request by itself, mean
    room: Floats  # slots of a replica; of token servers the requests that halve its speed
    most: Floats  # replicas at the busiest
    moves: NDArray[np.bool_]  # does the number of replicas follow demand?
    share: Floats  # of its capacity used at the busiest
    promised: Floats  # seconds in which 95 % of requests are to be answered


@dataclass(frozen=True)
class Load:
    """How it went: (numbers, times) each."""

    replicas: Floats
    running: Floats
    waiting: Floats
    seconds: Floats  # of a request, mean
    gap: Floats  # seconds between two tokens, where there are any
    cache: Floats  # share of the KV cache in use, NaN where there is none

    def taken(self, chosen: NDArray[np.bool_]) -> "Load":
        return Load(*(getattr(self, each.name)[:, chosen] for each in fields(self)))


def demand_make(size: int, *, times: Floats, rng: np.random.Generator) -> Floats:
    """(size, times) requests per second: a day and a week of each one's own, growth, slow wandering, counts that scatter."""
    mean = np.exp(rng.uniform(np.log(0.5), np.log(200.0), (size, 1)))
    day = 1 + rng.uniform(0.1, 0.8, (size, 1)) * np.sin(2 * np.pi * (times / 86400.0 + rng.random((size, 1))))
    week = 1 - rng.uniform(0, 0.6, (size, 1)) * ((times // 86400.0 + 3) % 7 >= 5)
    growth = np.exp(rng.normal(0, 0.05, (size, 1)) * (times - times[-1]) / (7 * 86400.0))
    wander = np.exp(np.cumsum(rng.normal(0, 0.003, (size, times.size)), axis=1))
    return np.asarray(rng.poisson(mean * day * week * growth * wander * STEP) / STEP, dtype=np.float64)


def servers_make(rates: Floats, *, rng: np.random.Generator) -> Servers:
    """So many replicas that the busiest steps take half to most of what they can."""
    shape = (rates.shape[0], 1)
    tokens = np.arange(shape[0])[:, None] % 2 == 0
    top = np.quantile(rates, 0.995, axis=1, keepdims=True)
    alone = np.where(tokens, TOKENS_OUT * rng.uniform(0.008, 0.015, shape), np.exp(rng.uniform(np.log(0.1), np.log(2.0), shape)))
    share = np.where(tokens, rng.uniform(0.35, 0.6, shape), rng.uniform(0.5, 0.85, shape))
    widest = np.where(tokens, rng.uniform(40.0, 120.0, shape), 64.0)
    most = np.maximum(rng.integers(2, 6, shape), np.ceil(top * alone / (widest * share)))
    room = np.where(tokens, widest, np.maximum(1.0, np.ceil(top * alone / (most * share))))
    slowed = np.where(tokens, 1.0 / (1.0 - share), 1.0)
    promised = alone * slowed * latency_ratio(0.95) * np.where(tokens, rng.uniform(1.1, 1.6, shape), rng.uniform(1.5, 3.0, shape))
    return Servers(tokens, alone, room, most, rng.random(shape) < 1 / 3, share, promised)


def latency_ratio(quantile: float) -> float:
    """Of a log-logistic's quantile to its mean."""
    return float((quantile / (1.0 - quantile)) ** (1.0 / SHAPE) * np.sin(np.pi / SHAPE) / (np.pi / SHAPE))


def load_make(servers: Servers, rates: Floats, *, rng: np.random.Generator) -> Load:
    """Batches of token servers by their fixed point, queues of the others by Sakasegawa's formula, both with a little noise."""
    replicas = np.broadcast_to(servers.most, rates.shape)
    hours = np.arange(rates.shape[1]) // HOUR_STEPS
    busiest = np.maximum.reduceat(rates, np.flatnonzero(np.r_[True, np.diff(hours) > 0]), axis=1)[:, hours]
    follows = np.clip(np.ceil(servers.most * busiest / rates.max(axis=1, keepdims=True)), 1.0, servers.most)
    replicas = np.where(servers.moves, follows, replicas)
    each = rates / replicas
    used = np.minimum(each * servers.alone / servers.room, FULL)
    batch = used * servers.room / np.where(servers.tokens, 1.0 - used, 1.0)  # token servers: b = rate x alone x (1 + b / room)
    queue = np.where(servers.tokens, 0.0, used ** np.sqrt(2.0 * (servers.room + 1.0)) / (1.0 - used))
    slowed = np.where(servers.tokens, 1.0 + batch / servers.room, 1.0) * rng.lognormal(0.0, 0.01, rates.shape)
    wait = queue / np.maximum(each, 1e-9)
    filled = batch / (1.3 * batch.max(axis=1, keepdims=True))
    return Load(
        replicas=replicas,
        running=batch * replicas,
        waiting=queue * replicas,
        seconds=servers.alone * slowed + wait,
        gap=servers.alone * slowed / TOKENS_OUT,
        cache=np.where(servers.tokens, filled, np.nan),
    )


def columns_of(servers: Servers, rates: Floats, load: Load) -> dict[str, Floats]:
    tokens = np.where(servers.tokens, rates, np.nan)
    return {
        DEMAND: rates,
        TOKENS: tokens * TOKENS_OUT,
        "input_tokens_per_second": tokens * TOKENS_IN,
        "requests_running": load.running,
        "requests_waiting": load.waiting,
        "replicas_ready": load.replicas,
        "kv_cache_usage_ratio": load.cache,
    }


def latencies_write(numbers: Ints, *, times: Floats, servers: Servers, rates: Floats, load: Load, rng: np.random.Generator) -> None:
    """Of each five-minute step: all requests by their seconds, and of token servers by their seconds a token."""
    kinds = (
        (Latency.REQUEST_DURATION, BOUNDS, load.seconds, SHAPE, np.ones(numbers.size, dtype=bool)),
        (Latency.TIME_PER_OUTPUT_TOKEN, GAP_BOUNDS, load.gap, GAP_SHAPE, servers.tokens[:, 0]),
    )
    for kind, bounds, means, shape, having in kinds:
        if not having.any() or not times.size:
            continue
        mean, requests = means[having].ravel(), np.round(rates[having] * STEP).astype(np.int64).ravel()
        median = mean * np.sin(np.pi / shape) / (np.pi / shape)
        below = 1.0 / (1.0 + (np.asarray(bounds) / median[:, None]) ** -shape)
        parts = np.diff(below, axis=1, prepend=0.0, append=1.0)
        counts = rng.multinomial(requests, parts).astype(np.float64)
        ids = np.repeat(numbers[having], times.size)
        histograms_write(
            Histograms(kind, ids, np.zeros_like(ids), np.tile(times, int(having.sum())), bounds, counts, mean * requests), table="5m"
        )


def rollups_plant(entity: Entity, numbers: Ints, columns: dict[str, Floats], *, times: Floats) -> None:
    """columns: (numbers, times) each; times: ends of five-minute steps."""
    ids = np.repeat(numbers, times.size)
    values = {name: column.ravel() for name, column in columns.items()}
    counts = {name: np.where(np.isfinite(value), 5.0, 0.0) for name, value in values.items()}
    sums = {name: value * 5.0 for name, value in values.items()}
    versions = np.zeros_like(ids) if entity is Entity.DEPLOYMENT else None
    if times.size:
        rollups_write(RollupRows(entity, ids, np.tile(times, numbers.size), counts, sums, values, values, versions))


def minutes_plant(numbers: Ints, columns: dict[str, Floats], *, times: Floats, rng: np.random.Generator) -> None:
    """The same steps minute by minute: requests fall into any of the five, what else there is stays as it is."""
    if not times.size:
        return
    came = np.round(columns[DEMAND] * STEP).astype(np.int64)
    rates = rng.multinomial(came, [1.0 / MINUTES] * MINUTES).reshape(numbers.size, -1) * (MINUTES / STEP)
    values = {name: np.repeat(column, MINUTES, axis=1) for name, column in columns.items()}
    values |= {DEMAND: rates, TOKENS: np.where(np.isfinite(values[TOKENS]), rates * TOKENS_OUT, np.nan)}
    ids = np.repeat(numbers, times.size * MINUTES)
    ends = (times[:, None] - STEP + (STEP / MINUTES) * np.arange(1, MINUTES + 1)).ravel()
    raw = {name: value.ravel() for name, value in values.items()}
    rows_write(Rows(Entity.DEPLOYMENT, ids, np.tile(ends, numbers.size), raw, np.zeros_like(ids)), overwrite=True)


def owned_plant(deployments: list[Deployment], servers: Servers, *, until: datetime) -> None:
    """The promise of each, and its replicas on a priced accelerator each. No node is told of these: nobody forecasts their memory."""
    cluster, since = deployments[0].cluster, until - timedelta(days=40)
    Price.objects.get_or_create(kind=PriceKind.ACCELERATOR, name=CARD, valid_from=since.date(), defaults={"hourly_rate": RATE})
    promised = servers.promised[:, 0].tolist()
    Slo.objects.bulk_create(
        Slo(deployment=row, latency=Latency.REQUEST_DURATION, threshold_seconds=float(f"{seconds:.2g}"))
        for row, seconds in zip(deployments, promised, strict=True)
    )
    owners = [row for row, most in zip(deployments, servers.most[:, 0].astype(int).tolist(), strict=True) for _ in range(most)]
    cards = Accelerator.objects.bulk_create(
        Accelerator(cluster=cluster, uuid=f"GPU-{row.pk}-{place}", model_name=CARD) for place, row in enumerate(owners)
    )
    replicas = Replica.objects.bulk_create(
        Replica(deployment=row, name=f"{row.name}-{place}", first_seen_at=since, last_seen_at=until) for place, row in enumerate(owners)
    )
    Placement.objects.bulk_create(
        Placement(replica=replica, accelerator=card, method=PlacementMethod.POD_LABEL, valid_from=since)
        for replica, card in zip(replicas, cards, strict=True)
    )

"""Broken minutes by formula, where a rate and a mean service time are all that is known: on the safe side, and labelled."""

import numpy as np
from numpy.typing import NDArray

from capacity.engine.queueing.formulas import erlang_c
from capacity.engine.queueing.service import GRID_POINTS, ServiceTimes
from capacity.engine.sizing.broken import LEAST_RATE_RATIO, BrokenTable, Server
from capacity.engine.sizing.replicas import Promise
from capacity.engine.sizing.tables import table_refined, table_stacked

Floats = NDArray[np.float64]

RATES = 18
REPLICA_STEP = 0.05
ENOUGH = 1e-4  # share of minutes broken at which a row ends
SERVICE_POINTS = 200
FORMULA = "No latency histogram: by formula (Hayward), with an exponential service time. A rough guide only."


def service_assumed(mean_seconds: float) -> ServiceTimes:
    """Exponential service times of this mean, basis "assumed". ValueError for a mean not above 0."""
    if not (mean_seconds > 0 and np.isfinite(mean_seconds)):
        raise ValueError(f"needed a mean service time above 0 s, got {mean_seconds}")
    values = -np.log1p(-(np.arange(GRID_POINTS) + 0.5) / GRID_POINTS)
    return ServiceTimes(values=values * (mean_seconds / values.mean()), basis="assumed")


def table_formula(top_rate: float, *, server: Server, promise: Promise) -> BrokenTable:
    """The table of broken minutes without a replay; `FORMULA` says so on the screen.

    A request is late with probability P by Hayward's formula, peakedness (burstiness + 1) / 2, and a without any wait. Of a
    minute's many requests more than 1 - quantile are late with probability (P - a) / (1 - quantile - a) at most (Markov's bound
    on what waiting adds): that stands for the share of broken minutes.
    ValueError for a top rate not above 0, or where the service time alone breaks the promise.
    """
    if not (top_rate > 0 and np.isfinite(top_rate)):
        raise ValueError(f"needed a top rate above 0 requests/s, got {top_rate}")
    if spare_chance(server, promise=promise) <= 0:
        raise ValueError(
            f"no number of replicas holds {promise.threshold_seconds:g} s for {promise.quantile:.0%} of requests: a service time of "
            f"{server.service.mean_seconds:.3g} s on average is {server.service.quantile(promise.quantile):.3g} s there; "
            "needed a threshold above that, or a faster replica"
        )
    rates = top_rate * np.geomspace(LEAST_RATE_RATIO, 1.0, RATES)
    curves = [formula_row(rate, server=server, promise=promise) for rate in rates]
    return table_refined(table_stacked(rates, curves=curves))


def formula_row(rate: float, *, server: Server, promise: Promise) -> Floats:
    """Bound of the share of minutes broken by replicas 0, 1, 2, ... until it is next to none."""
    least = max(1, int(rate / server.capacity_rate(1.0)))
    spare = spare_chance(server, promise=promise)
    alone = 1.0 - promise.quantile - spare
    sizes, shares = [0, least - 1], [1.0, 1.0]
    replicas = least
    while shares[-1] > ENOUGH:
        late = late_chance(rate, replicas=replicas, server=server, promise=promise)
        sizes.append(replicas)
        shares.append(min(shares[-1], max(0.0, late - alone) / spare))
        replicas = max(replicas + 1, int(replicas * (1.0 + REPLICA_STEP)))
    return np.asarray(np.interp(np.arange(sizes[-1] + 1), sizes, shares))


def spare_chance(server: Server, *, promise: Promise) -> float:
    """How many more requests may be late than are without any wait, as a share of all; 0 or less where nothing is to spare."""
    return 1.0 - promise.quantile - late_chance(0.0, replicas=1, server=server, promise=promise)


def late_chance(rate: float, *, replicas: int, server: Server, promise: Promise) -> float:
    """Probability that a request is late: its wait alone, or its wait and its service, is over the threshold."""
    slots, mean = float(replicas * server.slots), server.service.mean_seconds
    load, peakedness = rate * mean, max(1.0, 0.5 * (server.burstiness + 1.0))
    if load >= slots:
        return 1.0
    waiting = erlang_c(slots / peakedness, load=load / peakedness)
    decay = mean * peakedness / (slots - load)
    if promise.kind == "wait":
        return float(waiting * np.exp(-promise.threshold_seconds / decay))
    service = server.service.values[:: max(1, server.service.values.size // SERVICE_POINTS)]
    left = promise.threshold_seconds - service
    return float(np.mean(np.where(left < 0, 1.0, waiting * np.exp(-np.maximum(left, 0.0) / decay))))

"""The textbook's queues: a labelled fallback where only a rate is known, and the shape of the curve.

On recorded AI and web arrivals they meet a p95 SLO in a quarter to two thirds of cases: replay (replay.py) where counts exist.
Offered load A = rate x mean service time, in Erlangs; c servers.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from capacity.engine.queueing.service import ServiceTimes

Floats = NDArray[np.float64]

GRID = (np.arange(200) + 0.5) / 200
NODES, WEIGHTS = np.polynomial.laguerre.laggauss(60)


def erlang_b(servers: float, *, load: float) -> float:
    """Share of requests lost by `servers` without a queue; servers may be a fraction.

    B(x+1) = A B(x) / (x + 1 + A B(x)), from the integral 1/B(x) = int_0^inf e^-u (1 + u/A)^x du for x in [0, 1).
    Source: Jagerman (1974), Bell System Technical Journal 53, 525-551.
    """
    if load <= 0:
        return 0.0
    count = servers % 1.0
    lost = 1.0 / float(np.dot(WEIGHTS, (1.0 + NODES / load) ** count))
    while count < servers - 1e-9:
        count += 1.0
        lost = load * lost / (count + load * lost)
    return lost


def erlang_c(servers: float, *, load: float) -> float:
    """Share of requests that wait in M/M/c: B / (1 - rho (1 - B)); 1 where the load is not carried."""
    if load >= servers:
        return 1.0
    lost = erlang_b(servers, load=load)
    return lost / (1.0 - load / servers * (1.0 - lost))


@dataclass(frozen=True)
class Station:
    """A rate, a service time and how both vary; ca2, cs2: squared coefficients of variation of gaps and of service times."""

    rate: float  # requests per second
    mean_seconds: float
    ca2: float = 1.0
    cs2: float = 1.0

    def __post_init__(self) -> None:
        if self.rate < 0 or not self.mean_seconds > 0 or self.ca2 < 0 or self.cs2 < 0:
            raise ValueError(
                f"needed a rate of 0 or more, a service time above 0 and variations of 0 or more, "
                f"got {self.rate:g}/s, {self.mean_seconds:g} s, {self.ca2:g} and {self.cs2:g}"
            )

    @property
    def load(self) -> float:
        return self.rate * self.mean_seconds

    @property
    def variation(self) -> float:
        return (self.ca2 + self.cs2) / 2.0


def wait_mean(station: Station, *, servers: int) -> float:
    """Mean wait in seconds by Allen and Cunneen: C S / (c - A) x (ca2 + cs2) / 2; inf where the load is not carried."""
    if station.load >= servers:
        return float("inf")
    return erlang_c(servers, load=station.load) * station.mean_seconds / (servers - station.load) * station.variation


def wait_quantile(station: Station, *, servers: int, quantile: float) -> float:
    """Quantile of the wait in seconds, exact for M/M/c: P(W > t) = C exp(-t / d), d = S / (c - A) x (ca2 + cs2) / 2."""
    if station.load >= servers:
        return float("inf")
    waiting = erlang_c(servers, load=station.load)
    decay = station.mean_seconds / (servers - station.load) * station.variation
    return max(0.0, decay * float(np.log(waiting / (1.0 - quantile)))) if waiting > 0 else 0.0


def sakasegawa(station: Station, *, servers: int) -> float:
    """Mean wait in seconds in one line: (ca2 + cs2) / 2 x rho^(sqrt(2 (c + 1)) - 1) / (c (1 - rho)) x S; too high below rho 0.7."""
    rho = station.load / servers
    if rho >= 1:
        return float("inf")
    return station.variation * math.pow(rho, math.sqrt(2.0 * (servers + 1)) - 1.0) / (servers * (1.0 - rho)) * station.mean_seconds


def hayward_quantile(station: Station, *, servers: int, quantile: float, peakedness: float) -> float:
    """Quantile of the wait for bursty arrivals: Erlang C with c / z servers and load A / z (Hayward), z at least 1."""
    z = max(peakedness, 1.0)
    if station.load >= servers:
        return float("inf")
    waiting = erlang_c(servers / z, load=station.load / z)
    decay = station.mean_seconds * z / (servers - station.load)
    return max(0.0, decay * float(np.log(waiting / (1.0 - quantile)))) if waiting > 0 else 0.0


def response_quantile(station: Station, *, servers: int, quantile: float, service: ServiceTimes) -> float:
    """Quantile of wait plus service, both on a grid of 200: percentiles of parts do not add."""
    if station.load >= servers:
        return float("inf")
    waits = np.array([wait_quantile(station, servers=servers, quantile=float(q)) for q in GRID])
    return float(np.quantile(np.add.outer(waits, np.quantile(service.values, GRID)), quantile))

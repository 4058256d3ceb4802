"""How many replicas hold a latency promise: the smallest number that would have held it in every quarter of the past."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from capacity.engine.queueing.replay import WARM_UP_RATIO, replay
from capacity.engine.sizing.traffic import Requests, Traffic

Floats = NDArray[np.float64]

# The margin, from the past's own parts: holding on average over the past is a coin's toss for the time to come.
PARTS = 4  # it must hold in each quarter by itself
MEAN_BLOCKS = 10  # and at a mean rate higher by what the past's mean is uncertain, judged by its tenths (by its days, if long)
MEAN_ERRORS = 1.5  # standard errors of the difference of two such means: the past's and the time's to come
MOST_STRETCH_RATIO = 0.15  # beyond this it is no scatter but a trend, and a forecast's matter
DAY_SECONDS = 86400.0
MIN_PART_REQUESTS = 20
MOST_SLOTS = 1_000_000
SECONDS_PER_MINUTE = 60.0
CURVE_POINTS = 12


@dataclass(frozen=True)
class Promise:
    """A latency SLO: `quantile` of the requests within `threshold_seconds`."""

    quantile: float
    threshold_seconds: float
    kind: str = "latency"  # "latency" (wait and service) or "wait"

    def __post_init__(self) -> None:
        if not 0 < self.quantile < 1 or not self.threshold_seconds > 0 or self.kind not in ("latency", "wait"):
            raise ValueError(
                "needed a quantile between 0 and 1, a threshold above 0 s and the kind latency or wait, "
                f"got {self.quantile}, {self.threshold_seconds} s and {self.kind}"
            )


@dataclass(frozen=True)
class Shape:
    """What one replica is."""

    slots: int  # requests it serves at the same time
    hourly_rate: float | None = None  # price of a replica-hour; None: costs are in replica-hours

    def __post_init__(self) -> None:
        if self.slots < 1 or (self.hourly_rate is not None and self.hourly_rate < 0):
            raise ValueError(f"needed 1 slot or more and a price of 0 or more, got {self.slots} and {self.hourly_rate}")


@dataclass(frozen=True)
class Point:
    """One number of replicas on the curve, over the whole past."""

    replicas: int
    utilisation_ratio: float  # mean share of slots busy; above 1 the queue grows without end
    latency_p50: float  # seconds of wait and service (of the wait alone, where the promise is of the wait)
    latency_p95: float
    latency_p99: float
    late_ratio: float  # share of requests over the threshold
    lost_minutes_per_day: float
    cost_per_hour: float  # money, or replica-hours where no price is known
    holds: bool  # in every part of the past


@dataclass(frozen=True)
class Sizing:
    """The smallest size that holds, and the curve around it."""

    replicas: int
    curve: tuple[Point, ...]
    parts: int  # parts of the past in each of which the promise held
    stretch_ratio: float  # how much more than the asked rate it held
    priced: bool
    basis: str
    sentence: str


def replicas_size(traffic: Traffic, *, promise: Promise, shape: Shape) -> Sizing:
    """Find the smallest number of replicas by replay and draw the curve around it.

    ValueError where no number of replicas can hold the promise: the service time itself is over it.
    """
    check_reachable(traffic, promise)
    parts, stretch = parts_of(traffic), stretch_ratio(traffic)
    replicas = smallest_replicas(traffic, promise=promise, slots=shape.slots)
    curve = tuple(point(traffic, replicas=n, promise=promise, shape=shape) for n in curve_sizes(replicas))
    return Sizing(
        replicas=replicas,
        curve=curve,
        parts=parts,
        stretch_ratio=stretch,
        priced=shape.hourly_rate is not None,
        basis=traffic.basis,
        sentence=f"{traffic.sentence} {replicas} is the least that holds in each of {parts} parts of the past at {stretch:.1%} more load.",
    )


def smallest_replicas(traffic: Traffic, *, promise: Promise, slots: int) -> int:
    """The least number that holds in every part; bisection, since more replicas never wait longer."""

    def holds(replicas: int) -> bool:
        return bool(part_late(traffic, slots=replicas * slots, promise=promise).max() <= 1.0 - promise.quantile + 1e-12)

    low, high = 1, max(1, int(np.ceil(1.2 * traffic.load / slots)))
    while not holds(high):
        low, high = high + 1, high * 2
        if high * slots > MOST_SLOTS:
            raise ValueError(f"no size under {MOST_SLOTS:,} slots holds {promise.threshold_seconds:g} s at {promise.quantile:.0%}")
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def part_late(traffic: Traffic, *, slots: int, promise: Promise) -> Floats:
    """Share of late requests in each part of the stretched past, mean over the reconstructions."""
    parts, stretch = parts_of(traffic), stretch_ratio(traffic)
    pasts = [Requests(arrivals=past.arrivals / (1.0 + stretch), service=past.service) for past in traffic.pasts]
    return np.asarray(np.mean([late_by_part(past, slots=slots, promise=promise, parts=parts) for past in pasts], axis=0))


def late_by_part(past: Requests, *, slots: int, promise: Promise, parts: int) -> Floats:
    late = latencies(past, slots=slots, kind=promise.kind) > promise.threshold_seconds
    return np.array([part.mean() for part in np.array_split(late[int(late.size * WARM_UP_RATIO) :], parts)])


def latencies(past: Requests, *, slots: int, kind: str) -> Floats:
    wait = replay(past.arrivals, service=past.service, capacity=slots)
    return wait if kind == "wait" else wait + past.service


def parts_of(traffic: Traffic) -> int:
    fewest = min(past.arrivals.size for past in traffic.pasts)
    return int(np.clip(fewest // MIN_PART_REQUESTS, 1, PARTS))


def stretch_ratio(traffic: Traffic) -> float:
    """How much the mean rate of a time like this past may differ from this past's: its standard error by blocks."""
    arrivals = traffic.pasts[0].arrivals
    seconds = arrivals[-1] - arrivals[0]
    blocks = MEAN_BLOCKS if seconds < MEAN_BLOCKS * DAY_SECONDS else int(seconds // DAY_SECONDS)
    counts = np.histogram(arrivals, bins=blocks)[0]
    error = counts.std(ddof=1) / counts.mean() / np.sqrt(blocks)
    return float(min(MEAN_ERRORS * np.sqrt(2.0) * error, MOST_STRETCH_RATIO))


def check_reachable(traffic: Traffic, promise: Promise) -> None:
    if promise.kind == "wait":
        return
    alone = np.concatenate([past.service for past in traffic.pasts])
    if (alone > promise.threshold_seconds).mean() > 1.0 - promise.quantile:
        raise ValueError(
            f"no number of replicas holds {promise.threshold_seconds:g} s for {promise.quantile:.0%} of requests: their service time alone "
            f"is {np.quantile(alone, promise.quantile):.3g} s there; needed a threshold above that, or a faster replica"
        )


def curve_sizes(replicas: int) -> list[int]:
    """Sizes around the answer: half of it to half as much again, at most `CURVE_POINTS` of them, the answer among them."""
    low, high = max(1, replicas // 2), max(replicas + 3, int(replicas * 1.5))
    return sorted({*np.linspace(low, high, CURVE_POINTS).astype(int).tolist(), max(1, replicas - 1), replicas, replicas + 1})


def point(traffic: Traffic, *, replicas: int, promise: Promise, shape: Shape) -> Point:
    slots = replicas * shape.slots
    runs = [latencies(past, slots=slots, kind=promise.kind) for past in traffic.pasts]
    seconds = np.concatenate([run[int(run.size * WARM_UP_RATIO) :] for run in runs])
    p50, p95, p99 = np.quantile(seconds, [0.5, 0.95, 0.99])
    broken = [run > promise.threshold_seconds for run in runs]
    lost = np.mean([lost_ratio(past.arrivals, late=late, promise=promise) for past, late in zip(traffic.pasts, broken, strict=True)])
    return Point(
        replicas=replicas,
        utilisation_ratio=traffic.load / slots,
        latency_p50=float(p50),
        latency_p95=float(p95),
        latency_p99=float(p99),
        late_ratio=float((seconds > promise.threshold_seconds).mean()),
        lost_minutes_per_day=float(lost) * 1440.0,
        cost_per_hour=replicas * (1.0 if shape.hourly_rate is None else shape.hourly_rate),
        holds=bool(part_late(traffic, slots=slots, promise=promise).max() <= 1.0 - promise.quantile + 1e-12),
    )


def lost_ratio(arrivals: Floats, *, late: NDArray[np.bool_], promise: Promise) -> float:
    """Share of the minutes with requests in which more of them were late than the promise allows."""
    minutes = ((arrivals - arrivals[0]) / SECONDS_PER_MINUTE).astype(np.int64)  # never below 0; // of floats takes ten times as long
    requests = np.bincount(minutes)
    broken = np.bincount(minutes, weights=late) > (1.0 - promise.quantile) * requests
    return float(broken[requests > 0].mean())

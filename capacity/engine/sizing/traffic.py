"""What a size is tried against: requests of the past, recorded or rebuilt, as the queue will see them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from capacity.engine.answer import NoAnswer
from capacity.engine.queueing.arrivals import arrivals_rebuild, burstiness_measure
from capacity.engine.queueing.service import ServiceTimes

Floats = NDArray[np.float64]

MIN_REQUESTS = 200  # fifty for each quarter of the past
REBUILDS = 2  # reconstructions a size is tried against: more change little, each costs as much again


@dataclass(frozen=True)
class Requests:
    """One replayable past."""

    arrivals: Floats  # (n,) seconds, ascending
    service: Floats  # (n,) seconds


@dataclass(frozen=True)
class Traffic:
    """The past, once if recorded, several times if rebuilt from counts, and how it is known."""

    pasts: tuple[Requests, ...]
    rate: float  # requests per second, mean
    mean_service_seconds: float
    basis: str  # "recorded" or "counts"
    sentence: str  # for the screen

    @property
    def load(self) -> float:
        """Mean slots busy."""
        return self.rate * self.mean_service_seconds


@dataclass(frozen=True)
class Counted:
    """Requests as a metrics store knows them."""

    counts: Floats  # (n,) requests of each step, oldest first; NaN is a gap
    step_seconds: float
    in_flight: Floats | None = None  # (n,) requests being served at the end of each step, NaN where requests queued


def traffic_recorded(arrivals: Floats, *, service: Floats, rate: float | None = None) -> Traffic | NoAnswer:
    """arrivals: (n,) seconds, ascending; service: (n,) seconds in that order; rate: requests per second to stretch the past to."""
    arrivals, service = np.asarray(arrivals, dtype=np.float64), np.asarray(service, dtype=np.float64)
    check_rate(rate)
    if arrivals.shape != service.shape:
        raise ValueError(f"needed one service time for each arrival, got {arrivals.size} arrivals and {service.size} service times")
    known = np.isfinite(arrivals) & np.isfinite(service)
    arrivals, service = arrivals[known], service[known]
    if arrivals.size < MIN_REQUESTS or arrivals[-1] <= arrivals[0]:
        return NoAnswer("too_short", have=int(arrivals.size), need=MIN_REQUESTS)
    past_rate = (arrivals.size - 1) / (arrivals[-1] - arrivals[0])
    arrivals = (arrivals - arrivals[0]) * (1.0 if rate is None else past_rate / rate)
    return Traffic(
        pasts=(Requests(arrivals=arrivals, service=service),),
        rate=float(past_rate if rate is None else rate),
        mean_service_seconds=float(service.mean()),
        basis="recorded",
        sentence="Replayed with recorded arrivals.",
    )


def traffic_counted(counted: Counted, *, service: ServiceTimes, rng: np.random.Generator, rate: float | None = None) -> Traffic | NoAnswer:
    """Rebuild arrivals from counts; `rate`: requests per second to which the counts are scaled, None for as they were."""
    check_rate(rate)
    counts = np.asarray(counted.counts, dtype=np.float64)
    if not counted.step_seconds > 0:
        raise ValueError(f"step_seconds must be above 0, got {counted.step_seconds}")
    if counts.size and np.nanmin(np.append(counts, np.inf)) < 0:
        raise ValueError(f"counts of requests must be 0 or more, got {np.nanmin(counts):g}")
    if np.nansum(counts) < MIN_REQUESTS:
        return NoAnswer("no_data" if np.nansum(counts) == 0 else "too_short", have=int(np.nansum(counts)), need=MIN_REQUESTS)
    bursts = burstiness_measure(counts, step_seconds=counted.step_seconds, service=service, in_flight=counted.in_flight, rng=rng)
    past_rate = float(np.nanmean(counts)) / counted.step_seconds
    scaled = counts if rate is None else counts * rate / past_rate

    def rebuilt() -> Requests:
        arrivals = arrivals_rebuild(scaled, step_seconds=counted.step_seconds, burstiness=bursts.scv, rng=rng)
        return Requests(arrivals=arrivals, service=service.draw(arrivals.size, rng=rng))

    return Traffic(
        pasts=tuple(rebuilt() for _ in range(REBUILDS)),
        rate=past_rate if rate is None else rate,
        mean_service_seconds=service.mean_seconds,
        basis="counts",
        sentence=f"Arrivals rebuilt from counts per {counted.step_seconds:g} s. {bursts.sentence()}",
    )


def check_rate(rate: float | None) -> None:
    if rate is not None and not (rate > 0 and np.isfinite(rate)):
        raise ValueError(f"needed a rate above 0 requests/s, got {rate}")

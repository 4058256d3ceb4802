"""The product's sizing behind the yardstick's signature, told everything or told what a Prometheus would know."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from capacity.engine.answer import NoAnswer
from capacity.engine.grid import Floats
from capacity.engine.queueing.arrivals import in_flight_at
from capacity.engine.queueing.service import service_histogram
from capacity.engine.sizing.replicas import Promise, smallest_replicas
from capacity.engine.sizing.traffic import Counted, Traffic, traffic_counted, traffic_recorded

# The buckets of vLLM's end-to-end latency histogram, seconds.
BUCKETS = np.array([0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680, np.inf])


class Question(Protocol):
    """What the yardstick hands over; its arrivals are stretched to the asked rate already."""

    arrivals: Floats
    service_s: Floats
    rate: float
    slo_s: float
    slo_q: float


def size(question: Question) -> int:
    """With true arrivals and service times."""
    return answer(traffic_recorded(question.arrivals, service=question.service_s), question)


def size_counted(step_seconds: float) -> Callable[[Question], int]:
    """With nothing but counts, requests in flight at each scrape and a histogram of service times."""

    def counted(question: Question) -> int:
        arrivals, service = question.arrivals, question.service_s
        steps = int(arrivals[-1] // step_seconds)
        counts = np.histogram(arrivals, bins=np.arange(steps + 1) * step_seconds)[0].astype(np.float64)
        in_flight = in_flight_at(np.arange(1, steps + 1) * step_seconds, arrivals=arrivals, service=service)
        buckets = np.bincount(np.searchsorted(BUCKETS, service), minlength=BUCKETS.size).astype(np.float64)
        known = service_histogram(BUCKETS, counts=buckets, total_seconds=float(service.sum()))
        rng = np.random.default_rng(0)
        return answer(traffic_counted(Counted(counts, step_seconds, in_flight), service=known, rng=rng), question)

    return counted


def answer(traffic: Traffic | NoAnswer, question: Question) -> int:
    if isinstance(traffic, NoAnswer):
        raise LookupError(traffic.sentence())
    return smallest_replicas(traffic, promise=Promise(question.slo_q, question.slo_s, kind="wait"), slots=1)

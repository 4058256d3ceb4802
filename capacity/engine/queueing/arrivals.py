"""Arrival times rebuilt from counts per step: what a Prometheus keeps is how many came, not when.

Within a step the gaps between arrivals are drawn from a gamma distribution whose squared coefficient of variation is the
*burstiness*: 1 is a Poisson process, 0 an even beat, 16 clumps of sixteen. The counts themselves are kept exactly. The
burstiness is found from the requests in flight: clumps within a step cannot be seen in its count, but they are seen in
how far the requests in flight scatter around what the counts let expect.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from capacity.engine.queueing.service import ServiceTimes

Floats = NDArray[np.float64]

PRIOR = 1.4  # median over 25 production and web traces: cv of the gaps 1.17, squared
PRIOR_SPREAD = 1.2  # standard deviation of its logarithm over the same traces: mostly 1 to 2, now and then 10 or 100
MIN_READINGS = 8  # below this no scatter is computed at all
MODEL_ERROR = 0.15  # of ln(scatter): real arrivals are no gamma process, service times are not independent
UPPER = 1.0  # standard errors above the best guess that are used: too much costs a server, too little the SLO
CANDIDATES = np.array([0.25, 1.0, 4.0, 16.0, 64.0])


@dataclass(frozen=True)
class Burstiness:
    """How clumped arrivals are within a step, and how that is known."""

    scv: float  # squared coefficient of variation of the gaps
    basis: str  # "in_flight", "counts" or "prior"
    log_error: float = 0.0  # standard error of ln(scv); scv itself lies `UPPER` of them above the best guess

    def sentence(self) -> str:
        return BASES[self.basis].format(scv=self.scv)


BASES = {
    "in_flight": "Burstiness within a step {scv:.2g}, from the scatter of requests in flight.",
    "counts": "Burstiness within a step {scv:.2g}, from the scatter of counts; requests in flight would sharpen it.",
    "prior": "Burstiness within a step {scv:.2g} is assumed: too few readings to measure it.",
}


def arrivals_rebuild(counts: Floats, *, step_seconds: float, burstiness: float, rng: np.random.Generator) -> Floats:
    """Arrival times that have exactly these counts.

    counts: (n,) requests of each step, oldest first; NaN is a gap and counts as none; a fraction is rounded at random.
    burstiness: above 0, squared coefficient of variation of the gaps. Returns ascending seconds from the first step's start.
    ValueError for a negative count.
    """
    whole = counts_whole(counts, rng=rng)
    # n arrivals cut a step into n + 1 gamma gaps, scaled to fill it: a gamma renewal process that knows its count.
    gaps = np.maximum(rng.gamma(1.0 / burstiness, size=int(whole.sum()) + whole.size), 1e-300)
    first = np.concatenate([[0], np.cumsum(whole + 1)])
    gaps /= np.repeat(np.add.reduceat(gaps, first[:-1]), whole + 1) if whole.size else 1.0
    ends = np.cumsum(gaps)  # after the last gap of step i it is i + 1
    last = np.zeros(gaps.size, dtype=bool)
    last[first[1:] - 1] = True
    steps = np.repeat(np.arange(whole.size), whole)
    return np.asarray(np.clip(ends[~last], steps, steps + 1) * step_seconds)  # ends and bounds ascend: so do they


def counts_whole(counts: Floats, *, rng: np.random.Generator) -> NDArray[np.int64]:
    counts = np.nan_to_num(np.asarray(counts, dtype=np.float64), nan=0.0)
    if (counts < 0).any():
        raise ValueError(f"counts of requests must be 0 or more, got {counts.min():g}")
    return np.asarray(np.floor(counts + rng.random(counts.size)), dtype=np.int64)


@dataclass(frozen=True)
class Guess:
    """One reading of ln(burstiness) with its standard error."""

    basis: str
    log: float
    error: float


def burstiness_measure(
    counts: Floats, *, step_seconds: float, service: ServiceTimes, in_flight: Floats | None, rng: np.random.Generator
) -> Burstiness:
    """Weigh what requests in flight, counts and other services' traces say of the burstiness, each by its error.

    counts: (n,) requests of each step; in_flight: (n,) requests being served at the END of each step, taken while nobody
    queued (NaN elsewhere), or None. The basis names the reading that weighs most.
    """
    counts = np.asarray(counts, dtype=np.float64)
    guesses = [Guess("prior", float(np.log(PRIOR)), PRIOR_SPREAD), *guess_counted(counts)]
    if in_flight is not None:
        trial = Trial(counts, step_seconds, service)
        guesses += trial.guess(np.asarray(in_flight, dtype=np.float64), rng=rng)
    weights = np.array([guess.error**-2 for guess in guesses])
    best = float(np.dot(weights, [guess.log for guess in guesses]) / weights.sum())
    error = float(weights.sum() ** -0.5)
    return Burstiness(scv=float(np.exp(best + UPPER * error)), basis=guesses[int(np.argmax(weights))].basis, log_error=error)


def guess_counted(counts: Floats) -> list[Guess]:
    """From neighbouring counts: E (n2 - n1)^2 / (n2 + n1) is the dispersion, free of slow changes of the rate."""
    sums, steps = counts[1:] + counts[:-1], counts[1:] - counts[:-1]
    known = np.isfinite(sums) & (sums > 0)
    if known.sum() < MIN_READINGS:
        return []
    dispersion = float(np.sum(steps[known] ** 2) / np.sum(sums[known]))
    # What varies within a step is seen by its edges only, and a count of few requests hides clumps of more.
    error = np.hypot(np.sqrt(4.0 / known.sum()), 0.5)
    return [Guess("counts", float(np.log(np.clip(dispersion, CANDIDATES[0], CANDIDATES[-1]))), float(error))]


@dataclass(frozen=True)
class Trial:
    """Reconstructions tried against the requests in flight."""

    counts: Floats
    step_seconds: float
    service: ServiceTimes

    def guess(self, in_flight: Floats, *, rng: np.random.Generator) -> list[Guess]:
        """The burstiness that scatters requests in flight as measured; the flatter that curve, the larger the error."""
        expected = in_flight_expected(self.counts, step_seconds=self.step_seconds, service=self.service)
        known = np.isfinite(in_flight) & np.isfinite(expected) & (expected > 0)
        if known.sum() < MIN_READINGS:
            return []
        logs = np.log(CANDIDATES)
        curve = np.array([np.log(scatter(self.rebuilt(value, rng=rng)[known], expected[known])) for value in CANDIDATES])
        slope = np.polyfit(logs, curve, 1)[0]
        rising = np.maximum.accumulate(curve) + np.arange(curve.size) * 1e-9
        measured = np.log(max(scatter(in_flight[known], expected[known]), 1e-9))
        # Readings closer than a service time repeat each other.
        readings = known.sum() * min(1.0, self.step_seconds / (2.0 * self.service.mean_seconds))
        error = np.hypot(np.sqrt(4.0 / readings), MODEL_ERROR) / max(float(slope), 1e-3)
        return [Guess("in_flight", float(np.interp(measured, rising, logs)), float(error))]

    def rebuilt(self, burstiness: float, *, rng: np.random.Generator) -> Floats:
        """Requests in flight at the end of each step of one reconstruction with room for all."""
        arrivals = arrivals_rebuild(self.counts, step_seconds=self.step_seconds, burstiness=burstiness, rng=rng)
        ends = np.arange(1.0, self.counts.size + 1) * np.float64(self.step_seconds)
        return in_flight_at(ends, arrivals=arrivals, service=self.service.draw(arrivals.size, rng=rng))


def in_flight_expected(counts: Floats, *, step_seconds: float, service: ServiceTimes) -> Floats:
    """Requests in flight at the end of each step if arrivals were even within steps and nobody queued; NaN until it has settled."""
    lags = int(np.ceil(service.values[-1] / step_seconds)) + 1
    weights = np.diff(service.survival_integral(np.arange(lags + 1.0) * np.float64(step_seconds))) / step_seconds
    expected = np.convolve(np.nan_to_num(counts), weights)[: counts.size]
    settle = int(np.ceil(service.quantile(0.99) / step_seconds))
    expected[:settle] = np.nan
    gaps = np.convolve(np.isnan(counts).astype(np.float64), np.ones(settle + 1))[: counts.size] > 0.5
    return np.where(gaps, np.nan, expected)


def in_flight_at(times: Floats, *, arrivals: Floats, service: Floats) -> Floats:
    """Requests being served at each of `times` with room for all. times, arrivals: ascending; service: (n,) as arrivals."""
    came = np.searchsorted(arrivals, times, side="right")
    seen_gone = np.searchsorted(times, arrivals + service)  # the first of `times` that sees it gone; to sort takes twice as long
    left = np.cumsum(np.bincount(seen_gone, minlength=times.size)[: times.size])
    return np.asarray(came - left, dtype=np.float64)


def scatter(in_flight: Floats, expected: Floats) -> float:
    """Variance of requests in flight around what the counts let expect, over its mean: about 1 for a Poisson process or less."""
    return float(np.sum((in_flight - expected) ** 2) / np.sum(expected))

"""Replicas against latency, SLO minutes and cost at the peak of the horizon."""

import numpy as np

from capacity.analysis.plan_inputs import PlanInputs
from capacity.analysis.plan_records import Curve, CurvePoint
from capacity.analysis.plan_server import SEED, own_times
from capacity.analysis.plan_sized import Sized
from capacity.analysis.plan_texts import rate_words
from capacity.analysis.plan_tokens import token_promise
from capacity.engine.grid import Floats
from capacity.engine.sizing.peak import PeakHour, PeakLatency, peak_hour, peak_latency
from capacity.engine.sizing.tables import broken_share
from capacity.engine.sizing.token_peak import token_latency
from monitoring.catalog.records import Latency

MONTH_HOURS = 730.0
LATENCY_LIMIT = 1e6  # seconds; a queue without end has no percentile
POINTS = 9
PAST_HOURS = 28 * 24
KINDS = {
    Latency.REQUEST_DURATION: "end to end",
    Latency.TIME_TO_FIRST_TOKEN: "first token",
    Latency.TIME_PER_OUTPUT_TOKEN: "per output token",
    Latency.QUEUE_TIME: "in the queue",
}


def sizes_around(needed: int, *, now: int) -> list[int]:
    """The answer and its neighbours, today's number among them where it is near."""
    low, high = max(1, min(int(needed * 0.7), needed - 2)), max(needed + 3, int(needed * 1.4))
    near = {now} if low // 2 <= now <= high * 2 and now >= 1 else set()
    spread = np.linspace(low, high, POINTS).round().astype(int).tolist()
    return sorted({*spread, max(1, needed - 1), needed, needed + 1, *near})


def scaled_hours(inputs: PlanInputs, *, peak: float) -> tuple[Floats, float]:
    """The past weeks hour by hour, raised or lowered until their busiest hour is the peak; and their mean rate then."""
    hours = inputs.hours.values[-PAST_HOURS:]
    known = hours[np.isfinite(hours)]
    most = float(known.max()) if known.size else 0.0
    scaled = known * (peak / most) if most > 0 else np.zeros(0)
    return scaled, float(scaled.mean()) if scaled.size else 0.0


def curve_section(sized: Sized) -> Curve:
    past, mean = scaled_hours(sized.inputs, peak=sized.high)
    rng = np.random.default_rng(SEED)
    model = sized.model
    hour = None if model.tokens else peak_hour(sized.high / model.ratio, server=model.server, shapes=model.shapes, rng=rng)
    sizes = sizes_around(sized.answer.needed, now=int(sized.inputs.replicas_now or 0))
    return Curve(
        rate=mean,
        peak_rate=sized.high,
        needed=sized.answer.needed,
        points=tuple(point(sized, replicas=size, hour=hour, past=past) for size in sizes),
        slo_kind=KINDS[sized.promised.kind],
        slo_percentile=sized.promised.percentile,
        slo_seconds=sized.promised.threshold_seconds,
        basis=sized.model.curve_basis,
        sentence=f"At {rate_words(sized.high)}, the 90 % quantile of the busiest hour ahead. {sized.model.sentence}",
    )


def point(sized: Sized, *, replicas: int, hour: PeakHour | None, past: Floats) -> CurvePoint:
    model = sized.model
    found = latency_at(sized, replicas=replicas, hour=hour)
    lost = broken_share(model.hourly, rates=past, replicas=np.full(past.size, float(replicas)))
    return CurvePoint(
        replicas=replicas,
        utilisation_ratio=sized.high / model.ratio / model.server.capacity_rate(replicas),
        latency_p50=bounded(found.p50),
        latency_p95=bounded(found.p95),
        latency_p99=bounded(found.p99),
        promised=bounded(found.promised),
        late_ratio=found.late_ratio if np.isfinite(found.late_ratio) else 0.0,
        lost_minutes_per_month=float(lost.mean()) * MONTH_HOURS * 60.0 if past.size else 0.0,
        cost_per_month=None if sized.hourly_rate is None else replicas * sized.hourly_rate * MONTH_HOURS,
        holds=model.curve.rate(replicas) >= sized.high * (1.0 - 1e-9),
    )


def latency_at(sized: Sized, *, replicas: int, hour: PeakHour | None) -> PeakLatency:
    """Through token servers where they are fitted, else through slots."""
    model, promised = sized.model, sized.promised
    rng = np.random.default_rng(SEED + replicas)
    if model.tokens is not None or hour is None:
        tokens, aim = model.tokens, token_promise(promised)
        assert tokens is not None and aim is not None  # a model of tokens has both
        rate = sized.high / model.ratio
        return token_latency(rate, replicas=replicas, server=tokens.server, traffic=tokens.traffic, promise=aim, rng=rng)
    own = own_times(sized.base, promised=promised, speed_ratio=model.speed_ratio)
    return peak_latency(hour, replicas=replicas, own=own, aim=(promised.percentile, promised.threshold_seconds), rng=rng)


def bounded(seconds: float) -> float:
    return float(min(seconds, LATENCY_LIMIT)) if np.isfinite(seconds) else 0.0

"""From demand to what the servers would show: load, waiting, tokens, errors, latency. Latency rises with load, as in a queue."""

from dataclasses import dataclass, replace

import numpy as np

from capacity.demo.fleet import CHAT, CHAT_RELEASE, EDGE_SILENT, FRAUD_DRIFT_START, TTS, TTS_INCIDENT_END, TTS_INCIDENT_START, VISION
from capacity.demo.noise import Floats, normal, wobble
from capacity.demo.records import Release, Service, Spread
from capacity.demo.shapes import plateau, ramp
from monitoring.catalog.records import Latency

OVERLOAD_START, OVERLOAD_FULL = 0.85, 1.1
KV_FULL = 0.98


@dataclass(frozen=True)
class Flow:
    """What passes through a deployment: arrays of one shape (n,), a step each."""

    times: Floats  # Unix seconds, END of the step
    step: float
    anchor: float
    requests: Floats  # per second, finished, failed ones included
    load: Floats  # offered over capacity; above 1 = overload
    replicas: Floats
    desired: Floats
    work: Floats  # of a request, against the deployment's usual
    prompt: Floats  # mean prompt length against the usual
    error_ratio: Floats
    overload: Floats  # 0 to 1

    @property
    def held(self) -> Floats:
        """Load as far as it can be served."""
        return np.minimum(self.load, 1.0)


def flow_make(service: Service, times: Floats, *, step: float, anchor: float) -> Flow:
    middle = times - step / 2
    shape = service.shape(middle, anchor)
    requests = service.peak_requests * shape * wobble(service.stream, times, step, service.restlessness)
    replicas = replicas_at(service, middle, anchor)
    prompt, work = request_size(service, middle, anchor)
    if service is VISION:
        requests = requests * (1.0 - 0.25 * (middle > anchor + EDGE_SILENT))
    offered = requests if service.peak_requests else shape * wobble(service.stream, times, step, 0.01)
    load = offered * work / (service.capacity * replicas)
    overload = np.clip((load - OVERLOAD_START) / (OVERLOAD_FULL - OVERLOAD_START), 0.0, 1.0)
    return Flow(
        times=times,
        step=step,
        anchor=anchor,
        requests=np.maximum(requests, 0.0),
        load=np.maximum(load, 0.0),
        replicas=replicas,
        desired=desired_at(service, middle, anchor),
        work=work,
        prompt=prompt,
        error_ratio=errors_at(service, middle, anchor, overload=overload, step=step),
        overload=overload,
    )


def replicas_at(service: Service, middle: Floats, anchor: float) -> Floats:
    starts = np.array([scale.start for scale in service.scales]) + anchor
    counts = np.array([scale.replicas for scale in service.scales], dtype=np.float64)
    return counts[np.searchsorted(starts, middle, side="right") - 1]


def desired_at(service: Service, middle: Floats, anchor: float) -> Floats:
    """Losses are not wished for: while replicas are lost, the orchestrator still asks for the full number."""
    if service in (TTS, VISION):
        return np.full(middle.shape, float(service.scales[0].replicas))
    return replicas_at(service, middle, anchor)


def request_size(service: Service, middle: Floats, anchor: float) -> tuple[Floats, Floats]:
    """Prompt length and work of a request, each against the usual."""
    ones = np.ones(middle.shape)
    if service is CHAT:
        longer = middle >= anchor + CHAT_RELEASE
        return ones + longer, 1.0 + 0.95 * ramp(middle, anchor + CHAT_RELEASE + 210.0, 840.0)
    if service.drift_ratio:
        days = np.clip((middle - anchor - FRAUD_DRIFT_START) / -FRAUD_DRIFT_START, 0.0, 1.0)
        return ones, 1.0 + service.drift_ratio * days
    return ones, ones


def errors_at(service: Service, middle: Floats, anchor: float, *, overload: Floats, step: float) -> Floats:
    """A background of errors, and time-outs where the deployment cannot keep up."""
    background = service.error_ratio * wobble(service.stream + 5, middle, step, 0.4)
    lost = 0.08 * plateau(middle, anchor + TTS_INCIDENT_START, anchor + TTS_INCIDENT_END, 60.0) if service is TTS else 0.0
    return np.clip(background + 0.1 * overload**2 + lost, 0.0, 0.5)


def release_weights(service: Service, times: Floats, *, step: float, anchor: float) -> list[tuple[Release, Floats]]:
    """Each release with its share of the traffic at each step; a release with share 1 takes all from those before it."""
    middle = times - step / 2
    weights: list[tuple[Release, Floats]] = []
    for release in service.releases:
        share = np.where(middle >= anchor + release.start, release.share, 0.0)
        weights = [(earlier, weight * (1.0 - share)) for earlier, weight in weights] + [(release, share)]
    return weights


def columns_make(service: Service, flow: Flow) -> dict[str, Floats]:
    """The deployment's columns with all its traffic; `columns_share` cuts them by version."""
    cores = flow.replicas * service.cores_requested
    used = flow.replicas * (0.15 + service.cores_full * np.minimum(flow.load, 1.05)) * noisy(service, flow, 6, 0.03)
    columns = {
        "replicas_ready": flow.replicas,
        "replicas_desired": flow.desired,
        "cpu_usage_cores": used,
        "cpu_requested_cores": cores,
        "cpu_throttled_ratio": np.clip(0.02 * flow.held**4 * noisy(service, flow, 7, 0.5), 0.0, 1.0),
        "memory_used_bytes": flow.replicas * service.memory_bytes * (0.72 + 0.1 * flow.held) * noisy(service, flow, 8, 0.01),
        "memory_requested_bytes": flow.replicas * service.memory_bytes,
        "restarts_per_second": np.zeros(flow.times.shape),
    }
    if service.peak_requests:
        columns |= traffic_columns(service, flow)
    if service.tokens:
        columns |= token_columns(service, flow)
    return columns


def traffic_columns(service: Service, flow: Flow) -> dict[str, Floats]:
    duration = next(spread for spread in service.spreads if spread.latency is Latency.REQUEST_DURATION)
    p50, p95 = latency_make(service, flow, duration)
    mean = lognormal_mean(p50, p95)
    wait = mean * 0.05 * growth(flow.load, 0.6)
    columns = {
        "requests_per_second": flow.requests,
        "errors_per_second": flow.requests * flow.error_ratio,
        "requests_running": flow.requests * (mean - wait),
        "requests_waiting": flow.requests * wait * 0.05 + waiting(service, flow),
        "request_seconds_per_second": flow.requests * mean,
        "queue_seconds_per_second": flow.requests * wait,
        "network_receive_bytes_per_second": flow.requests * 9e3 * flow.prompt,
        "network_transmit_bytes_per_second": flow.requests * 5e3,
    }
    if service.batch_full:
        batch = 1.0 + service.batch_full * flow.held**1.5
        columns |= {"batched_requests_per_second": flow.requests, "batches_per_second": flow.requests / batch}
    return columns


def waiting(service: Service, flow: Flow) -> Floats:
    queue = 48.0 if service is CHAT else 2.5 * service.capacity
    return queue * flow.overload * noisy(service, flow, 9, 0.04)


def token_columns(service: Service, flow: Flow) -> dict[str, Floats]:
    assert service.tokens is not None
    answered = flow.requests * (1.0 - flow.error_ratio)
    prompts = flow.requests * service.tokens.prompt * flow.prompt * noisy(service, flow, 10, 0.03)
    return {
        "input_tokens_per_second": prompts,
        "output_tokens_per_second": answered * service.tokens.answer * noisy(service, flow, 11, 0.02),
        "kv_cache_usage_ratio": np.minimum(KV_FULL, 0.97 * flow.load + 0.02) * noisy(service, flow, 12, 0.004),
        "cache_queries_per_second": prompts,
        "cache_hits_per_second": prompts * service.tokens.cache_hits / flow.prompt * noisy(service, flow, 13, 0.02),
        "preemptions_per_second": 1.2 * flow.overload,
    }


def noisy(service: Service, flow: Flow, stream: int, size: float) -> Floats:
    """A factor around 1, of the size for one-minute steps; longer steps average it away."""
    index = np.round(flow.times).astype(np.int64)
    draw = normal(service.stream + stream, index) * np.sqrt(60.0 / flow.step)
    return np.asarray(np.maximum(0.05, 1.0 + size * draw), dtype=np.float64)


def growth(load: Floats, strength: float) -> Floats:
    """How a wait grows with load: flat at first, steep near 1."""
    held = np.minimum(load, 1.0)
    return np.asarray(1.0 + strength * held**4 / (1.05 - held), dtype=np.float64)


def latency_make(service: Service, flow: Flow, spread: Spread) -> tuple[Floats, Floats]:
    """Median and 95th percentile of each step in seconds."""
    per_token = spread.latency is Latency.TIME_PER_OUTPUT_TOKEN
    strength = 0.02 if per_token else 0.6
    high = np.minimum(growth(flow.load, strength), service.wait_ceiling)
    low = 1.0 + (high - 1.0) * 0.6
    work = 1.0 + (flow.work - 1.0) * (0.0 if service is CHAT else 1.0)
    shake = noisy(service, flow, 20 + int(spread.latency), 0.015)
    return spread.p50 * low * work * shake, spread.p95 * high * work * shake


def lognormal_mean(p50: Floats, p95: Floats) -> Floats:
    sigma = np.log(p95 / p50) / Z95
    return np.asarray(p50 * np.exp(sigma**2 / 2), dtype=np.float64)


Z95 = 1.6448536269514722

ADDITIVE_NOT = frozenset({"kv_cache_usage_ratio", "cpu_throttled_ratio"})


def columns_share(columns: dict[str, Floats], weight: Floats, *, keep: np.ndarray) -> dict[str, Floats]:
    """The part of a version: quantities that add up are split by its share, ratios stay."""
    return {name: (values if name in ADDITIVE_NOT else values * weight)[keep] for name, values in columns.items()}


def flow_cut(flow: Flow, keep: np.ndarray) -> Flow:
    """The same flow, only at the steps kept."""
    cut = {name: getattr(flow, name)[keep] for name in Flow.__dataclass_fields__ if isinstance(getattr(flow, name), np.ndarray)}
    return replace(flow, **cut)

"""Planted history: four weeks of a vLLM-, a Triton- and a DCGM-shaped fleet as OpenMetrics text, and the truth behind it.

Counts are drawn from daily and weekly cycles with a seed; every number of the truth is what was written, not what was
meant. Two vLLM deployments (one of two replicas that goes from 0.10 to 0.12, with the renames of metrics between), one
Triton pod with two models (one gets a version 2), a GPU for each pod, kube-state-metrics about all of them, and a gap
in which nothing was scraped.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from monitoring.catalog.records import Latency

Array = NDArray[np.float64]
DAY_SECONDS = 86_400.0

BOUNDS: dict[Latency, tuple[float, ...]] = {
    Latency.REQUEST_DURATION: (0.3, 0.8, 1.5, 2.5, 5.0, 10.0, 20.0),
    Latency.TIME_TO_FIRST_TOKEN: (0.02, 0.04, 0.08, 0.1, 0.25, 0.5, 1.0),
    Latency.TIME_PER_OUTPUT_TOKEN: (0.01, 0.025, 0.05, 0.1, 0.2, 0.4),
    Latency.QUEUE_TIME: (0.3, 0.8, 1.5, 2.5, 5.0),
}
MEDIANS = {
    Latency.REQUEST_DURATION: 1.1,
    Latency.TIME_TO_FIRST_TOKEN: 0.07,
    Latency.TIME_PER_OUTPUT_TOKEN: 0.03,
    Latency.QUEUE_TIME: 0.2,
}
SPREAD = 0.6  # sigma of the lognormal


@dataclass(frozen=True)
class Pod:
    """One replica: alive in the steps first..last (exclusive); its metric names are those of `era`."""

    name: str
    node: str
    image: str
    version: str
    era: str
    gpu: str
    first: int
    last: int


@dataclass
class Deployment:
    """The truth about one deployment, by step; a step is named by its end.

    requests, errors, input_tokens, output_tokens: counts of the step; running, waiting, kv_cache: at its end.
    counts: latency -> (m, bounds + 1) observations of the step, not cumulative; seconds: their sums.
    """

    system: str
    namespace: str
    workload: str
    model: str
    pods: list[Pod]
    requests: Array
    errors: Array
    input_tokens: Array
    output_tokens: Array
    running: Array
    waiting: Array
    kv_cache: Array
    seconds: Array
    queue_seconds: Array
    counts: dict[Latency, Array] = field(default_factory=dict)
    versions: list[tuple[str, float, float]] = field(default_factory=list)  # name, from, to


@dataclass
class Accelerator:
    """The truth about one GPU at the end of each step."""

    uuid: str
    node: str
    utilization: Array
    power_watts: Array
    memory_used_bytes: Array


@dataclass
class Truth:
    """All that was planted. `scraped`: (m,) False in the gap; times: (m,) ends of the steps."""

    times: Array
    step: float
    scraped: NDArray[np.bool_]
    deployments: list[Deployment] = field(default_factory=list)
    accelerators: list[Accelerator] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    series: int = 0
    samples: int = 0

    def deployment(self, model: str) -> Deployment:
        return next(one for one in self.deployments if one.model == model)


class Writer:
    """OpenMetrics text, one series at a time."""

    def __init__(self, file: TextIO, truth: Truth) -> None:
        self.file = file
        self.truth = truth
        self.tails = np.array([f" {stamp:.0f}\n" for stamp in truth.times.tolist()], dtype=object)

    def series(self, name: str, labels: dict[str, str], values: Array, *, first: int = 0, last: int | None = None, every: int = 1) -> None:
        """`values` of the steps first..last where something was scraped; each `every`th only."""
        steps = np.flatnonzero(self.truth.scraped)
        steps = steps[(steps >= first) & (steps < (last if last is not None else self.truth.times.size)) & (steps % every == 0)]
        text = ",".join(f'{label}="{value}"' for label, value in labels.items())
        prefix, tails = f"{name}{{{text}}} ", self.tails[steps].tolist()
        numbers = np.round(values[steps], 6).tolist()
        self.file.write("".join([f"{prefix}{value}{tail}" for value, tail in zip(numbers, tails, strict=True)]))
        self.truth.series += 1
        self.truth.samples += steps.size

    def counter(self, name: str, labels: dict[str, str], counts: Array, *, pod: Pod) -> None:
        """Counts a step as a counter that starts at 0 with its pod."""
        own = np.where(np.arange(counts.size) > pod.first, counts, 0.0)
        own[: pod.first] = 0.0
        self.series(name, labels, np.cumsum(own), first=pod.first, last=pod.last)

    def gauge(self, name: str, labels: dict[str, str], values: Array, *, pod: Pod) -> None:
        self.series(name, labels, values, first=pod.first, last=pod.last)

    def histogram(
        self, name: str, labels: dict[str, str], counts: Array, seconds: Array, *, bounds: Sequence[float], pod: Pod, scale: float = 1.0
    ) -> None:
        rising = np.cumsum(counts, axis=1)
        for at, bound in enumerate([*bounds, np.inf]):
            le = "+Inf" if bound == np.inf else f"{bound * scale:.12g}"
            self.counter(f"{name}_bucket", {**labels, "le": le}, rising[:, at], pod=pod)
        self.counter(f"{name}_count", labels, rising[:, -1], pod=pod)
        self.counter(f"{name}_sum", labels, seconds * scale, pod=pod)


def demand(times: Array, *, peak_per_second: float, rng: np.random.Generator) -> Array:
    """Requests a second: a daily cycle with its peak at 14:00 UTC, quieter weekends, and noise."""
    daily = 0.55 + 0.45 * np.cos(2 * np.pi * (times / DAY_SECONDS - 14 / 24))
    weekday = (np.floor(times / DAY_SECONDS) + 4) % 7  # 0 = Sunday
    weekly = np.where((weekday == 0) | (weekday == 6), 0.5, 1.0)
    return peak_per_second * daily * weekly * np.exp(rng.normal(0, 0.08, times.size))


def normal_cdf(values: Array) -> Array:
    """Good to 1e-4, which is enough to draw from."""
    return 1 / (1 + np.exp(-1.702 * values))


def latency_counts(requests: Array, load: Array, kind: Latency, rng: np.random.Generator) -> Array:
    """Observations in each bucket: lognormal, slower under load."""
    medians = MEDIANS[kind] * (1 + load)
    edges = np.log(np.array(BOUNDS[kind]))[None, :] - np.log(medians)[:, None]
    cumulative = np.c_[np.zeros(requests.size), normal_cdf(edges / SPREAD), np.ones(requests.size)]
    shares = np.maximum(np.diff(cumulative, axis=1), 0)
    return rng.multinomial(requests.astype(np.int64), shares / shares.sum(axis=1, keepdims=True)).astype(np.float64)


def bucket_seconds(counts: Array, kind: Latency) -> Array:
    """Sums that belong to the counts: every observation in the middle of its bucket."""
    bounds = np.array([0.0, *BOUNDS[kind]])
    middles = np.r_[(bounds[1:] + bounds[:-1]) / 2, bounds[-1] * 1.2]
    return counts @ middles


def deployment_draw(truth: Truth, rng: np.random.Generator, *, peak_per_second: float, **names: object) -> Deployment:
    wished = demand(truth.times, peak_per_second=peak_per_second, rng=rng)
    load = wished / peak_per_second
    requests = rng.poisson(wished * truth.step).astype(np.float64)
    counts = {kind: latency_counts(requests, load, kind, rng) for kind in Latency}
    size = truth.times.size
    return Deployment(
        **names,  # type: ignore[arg-type]
        requests=requests,
        errors=rng.binomial(requests.astype(np.int64), 0.01).astype(np.float64),
        input_tokens=requests * np.round(300 + 60 * rng.random(size)),
        output_tokens=requests * np.round(30 + 10 * rng.random(size)),  # at their times about as long as a request
        running=np.round(wished * 3),
        waiting=np.round(np.maximum(0, load - 0.9) * 40),
        kv_cache=np.clip(0.1 + 0.7 * load, 0, 1),
        seconds=bucket_seconds(counts[Latency.REQUEST_DURATION], Latency.REQUEST_DURATION),
        queue_seconds=bucket_seconds(counts[Latency.QUEUE_TIME], Latency.QUEUE_TIME),
        counts=counts,
    )


def shares(deployment: Deployment, pod: Pod) -> float:
    """The part of the requests a pod takes: equal among those alive with it."""
    return 1 / sum(other.first == pod.first for other in deployment.pods)


def pod_part(values: Array, deployment: Deployment, pod: Pod) -> Array:
    """Whole numbers of a pod's part; the first pod of a generation takes the remainder."""
    mates = [other for other in deployment.pods if other.first == pod.first]
    part = np.floor(values / len(mates))
    return values - part * (len(mates) - 1) if pod == mates[0] else part


def target_labels(deployment: Deployment, pod: Pod, *, port: int) -> dict[str, str]:
    return {
        "namespace": deployment.namespace,
        "pod": pod.name,
        "container": deployment.system,
        "job": deployment.workload,
        "instance": f"{pod.name}:{port}",
        "node": pod.node,
    }


VLLM_HISTOGRAMS = {
    Latency.REQUEST_DURATION: "vllm:e2e_request_latency_seconds",
    Latency.TIME_TO_FIRST_TOKEN: "vllm:time_to_first_token_seconds",
    Latency.QUEUE_TIME: "vllm:request_queue_time_seconds",
}
VLLM_TOKEN_TIMES = {
    "0.10": ("vllm:time_per_output_token_seconds",),
    "0.12": ("vllm:request_time_per_output_token_seconds", "vllm:inter_token_latency_seconds"),
    "0.33": ("vllm:request_time_per_output_token_seconds", "vllm:inter_token_latency_seconds"),
}
VLLM_GAUGES = {
    "0.10": ("vllm:gpu_cache_usage_perc", "vllm:kv_cache_usage_perc"),
    "0.12": ("vllm:kv_cache_usage_perc",),
    "0.33": ("vllm:kv_cache_usage_perc",),
}


def vllm_write(writer: Writer, deployment: Deployment) -> None:
    for pod in deployment.pods:
        labels = {**target_labels(deployment, pod, port=8000), "model_name": deployment.model, "engine": "0"}

        def part(values: Array, pod: Pod = pod) -> Array:
            return pod_part(values, deployment, pod)

        errors = part(deployment.errors)
        stopped = part(deployment.requests) - errors
        writer.counter("vllm:request_success_total", {**labels, "finished_reason": "stop"}, stopped, pod=pod)
        writer.counter("vllm:request_success_total", {**labels, "finished_reason": "error"}, errors, pod=pod)
        writer.counter("vllm:prompt_tokens_total", labels, part(deployment.input_tokens), pod=pod)
        writer.counter("vllm:generation_tokens_total", labels, part(deployment.output_tokens), pod=pod)
        if pod.era == "0.33":
            source = {**labels, "source": "local_compute"}
            writer.counter("vllm:prompt_tokens_by_source_total", source, part(deployment.input_tokens), pod=pod)
        writer.gauge("vllm:num_requests_running", labels, part(deployment.running), pod=pod)
        writer.gauge("vllm:num_requests_waiting", labels, part(deployment.waiting), pod=pod)
        for name in VLLM_GAUGES[pod.era]:
            writer.gauge(name, labels, deployment.kv_cache, pod=pod)
        names = list(VLLM_HISTOGRAMS.items())
        names += [(Latency.TIME_PER_OUTPUT_TOKEN, name) for name in VLLM_TOKEN_TIMES[pod.era]]
        for kind, name in names:
            counts = np.stack([part(column) for column in deployment.counts[kind].T], axis=1)
            writer.histogram(name, labels, counts, bucket_seconds(counts, kind), bounds=BOUNDS[kind], pod=pod)


def triton_write(writer: Writer, deployment: Deployment) -> None:
    for pod in deployment.pods:
        labels = {**target_labels(deployment, pod, port=8002), "model": deployment.model, "version": pod.version}
        good = deployment.requests - deployment.errors
        writer.counter("nv_inference_request_success", labels, good, pod=pod)
        writer.counter("nv_inference_request_failure", {**labels, "reason": "BACKEND"}, deployment.errors, pod=pod)
        writer.counter("nv_inference_count", labels, good * 4, pod=pod)
        writer.counter("nv_inference_exec_count", labels, good, pod=pod)
        writer.counter("nv_inference_request_duration_us", labels, np.round(deployment.seconds * 1e6), pod=pod)
        writer.counter("nv_inference_queue_duration_us", labels, np.round(deployment.queue_seconds * 1e6), pod=pod)
        writer.gauge("nv_inference_pending_request_count", labels, deployment.waiting, pod=pod)


def dcgm_write(writer: Writer, truth: Truth, rng: np.random.Generator) -> None:
    """One GPU for each name the pods hold, busy as its deployment is."""
    holders = [(deployment, pod) for deployment in truth.deployments for pod in deployment.pods]
    for position, uuid in enumerate(sorted({pod.gpu for _, pod in holders})):
        mine = [(deployment, pod) for deployment, pod in holders if pod.gpu == uuid]
        busy = np.clip(mine[0][0].kv_cache * 1.1 + rng.normal(0, 0.02, truth.times.size), 0, 1)
        busy = np.round(busy, 2)
        gpu = Accelerator(uuid, mine[0][1].node, busy, np.round(80 + 600 * busy), np.full(truth.times.size, 70_000.0 * 1048576))
        truth.accelerators.append(gpu)
        for deployment, pod in {(pod.first, pod.name): (deployment, pod) for deployment, pod in mine}.values():
            gpu_write(writer, gpu, deployment, pod, position=position)


def gpu_write(writer: Writer, gpu: Accelerator, deployment: Deployment, pod: Pod, *, position: int) -> None:
    labels = {
        "UUID": gpu.uuid,
        "gpu": str(position % 2),
        "device": f"nvidia{position % 2}",
        "modelName": "NVIDIA H100 80GB HBM3",
        "Hostname": gpu.node,
        "namespace": deployment.namespace,
        "pod": pod.name,
        "container": deployment.system,
        "job": "dcgm-exporter",
        "instance": f"{gpu.node}:9400",
    }
    joules = gpu.power_watts * writer.truth.step
    for name, values in (
        ("DCGM_FI_DEV_GPU_UTIL", gpu.utilization * 100),
        ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", gpu.utilization),
        ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", gpu.utilization * 0.3),
        ("DCGM_FI_PROF_DRAM_ACTIVE", gpu.utilization * 0.5),
        ("DCGM_FI_DEV_FB_USED", gpu.memory_used_bytes / 1048576),
        ("DCGM_FI_DEV_FB_FREE", 81_559.0 - gpu.memory_used_bytes / 1048576),
        ("DCGM_FI_DEV_POWER_USAGE", gpu.power_watts),
        ("DCGM_FI_DEV_GPU_TEMP", np.round(35 + 40 * gpu.utilization)),
    ):
        writer.gauge(name, labels, values, pod=pod)
    energy = np.cumsum(joules) * 1000
    writer.series("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", labels, energy, first=pod.first, last=pod.last)


def kube_write(writer: Writer, deployment: Deployment) -> None:
    ones = np.ones(writer.truth.times.size)
    ksm = {"job": "kube-state-metrics", "instance": "ksm:8080", "namespace": deployment.namespace}
    seen: set[str] = set()
    for pod in deployment.pods:
        replicaset = pod.name.rpartition("-")[0]
        own = {**ksm, "pod": pod.name}
        container = {**own, "container": deployment.system}
        rows = [
            ("kube_pod_info", {**own, "node": pod.node, "created_by_kind": "ReplicaSet", "created_by_name": replicaset}, 1.0),
            ("kube_pod_owner", {**own, "owner_kind": "ReplicaSet", "owner_name": replicaset}, 1.0),
            (
                "kube_replicaset_owner",
                {**ksm, "replicaset": replicaset, "owner_kind": "Deployment", "owner_name": deployment.workload},
                1.0,
            ),
            ("kube_pod_container_info", {**container, "image": pod.image}, 1.0),
            ("kube_pod_container_resource_requests", {**container, "resource": "cpu", "unit": "core"}, 8.0),
            ("kube_pod_container_resource_requests", {**container, "resource": "memory", "unit": "byte"}, 64.0 * 2**30),
            ("kube_pod_container_resource_requests", {**container, "resource": "nvidia_com_gpu", "unit": "integer"}, 1.0),
        ]
        for name, labels, value in rows:
            if name == "kube_replicaset_owner":
                if replicaset in seen:
                    continue
                seen.add(replicaset)
            writer.series(name, labels, ones * value, first=pod.first, last=pod.last, every=2)
    replicas = sum(pod.first == 0 for pod in deployment.pods)
    for name in ("kube_deployment_spec_replicas", "kube_deployment_status_replicas_ready"):
        writer.series(name, {**ksm, "deployment": deployment.workload}, ones * replicas, every=2)


def generations(
    truth: Truth, *, workload: str, replicas: int, releases: Sequence[tuple[float, str, str, str]], gpus: Sequence[str]
) -> list[Pod]:
    """Pods of a deployment: releases are (day of start, image, version, era), oldest first."""
    size = truth.times.size
    starts = [min(size, round(day * DAY_SECONDS / truth.step)) for day, *_ in releases] + [size]
    return [
        Pod(
            name=f"{workload}-{6 + at}d5f7c9b{at}-{'abcdefgh'[at]}{replica}x7k",
            node=f"gpu-{1 + int(gpus[replica][-1]) // 2}",
            image=image,
            version=version,
            era=era,
            gpu=gpus[replica],
            first=starts[at],
            last=starts[at + 1],
        )
        for at, (_, image, version, era) in enumerate(releases)
        for replica in range(replicas)
    ]


def spans(truth: Truth, pods: Sequence[Pod]) -> list[tuple[str, float, float]]:
    """Versions with their first and last instant."""
    return [
        (version, float(truth.times[first]), float(truth.times[last - 1]))
        for version, first, last in dict.fromkeys((pod.version, pod.first, pod.last) for pod in pods)
    ]


def plan(truth: Truth, days: float) -> Iterator[tuple[float, dict[str, object]]]:
    """Peak requests a second, and the names, of each deployment."""
    vllm = "vllm/vllm-openai"
    chat = ((0.0, f"{vllm}:v0.10.2", "v0.10.2", "0.10"), (days * 4 / 7, f"{vllm}:v0.12.0", "v0.12.0", "0.12"))
    code = ((0.0, f"{vllm}:v0.33.0", "v0.33.0", "0.33"),)
    image = "nvcr.io/nvidia/tritonserver:26.06-py3"
    resnet = ((0.0, image, "1", ""), (days * 3 / 4, image, "2", ""))
    rows = (
        (6.0, "vllm", "chat", "llama-chat", "llama-3.1-8b", 2, chat, ("GPU-0", "GPU-1")),
        (1.5, "vllm", "code", "coder", "qwen-coder-7b", 1, code, ("GPU-2",)),
        (20.0, "triton", "vision", "triton-vision", "resnet50", 1, resnet, ("GPU-3",)),
        (4.0, "triton", "vision", "triton-vision", "detector", 1, ((0.0, image, "1", ""),), ("GPU-3",)),
    )
    for peak, system, namespace, workload, model, replicas, releases, gpus in rows:
        pods = generations(truth, workload=workload, replicas=replicas, releases=releases, gpus=gpus)
        yield (
            peak,
            {"system": system, "namespace": namespace, "workload": workload, "model": model, "pods": pods, "versions": spans(truth, pods)},
        )


def fleet_write(folder: Path, *, end: float, days: float = 28.0, step: float = 120.0, seed: int = 7) -> Truth:
    """Write the history that ends at `end` into files for promtool; the same seed gives the same fleet."""
    rng = np.random.default_rng(seed)
    times = end - step * np.arange(round(days * DAY_SECONDS / step))[::-1]
    scraped = np.ones(times.size, dtype=bool)
    gap = round(times.size * 5 / 7)
    scraped[gap : gap + round(min(3 * 3600, days * 3600) / step)] = False
    truth = Truth(times, step, scraped)
    truth.deployments = [deployment_draw(truth, rng, peak_per_second=peak, **names) for peak, names in plan(truth, days)]
    truth.files = [folder / "first.om", folder / "second.om"]  # of about one size: promtool runs on both at once
    for path, mine in zip(truth.files, (truth.deployments[:1], truth.deployments[1:]), strict=True):
        with path.open("w") as file:
            writer = Writer(file, truth)
            for deployment in mine:
                (vllm_write if deployment.system == "vllm" else triton_write)(writer, deployment)
            if path == truth.files[-1]:
                infrastructure_write(writer, truth, rng)
            file.write("# EOF\n")
    return truth


def infrastructure_write(writer: Writer, truth: Truth, rng: np.random.Generator) -> None:
    dcgm_write(writer, truth, rng)
    for deployment in {one.workload: one for one in truth.deployments}.values():
        pods = {pod.name: pod for one in truth.deployments if one.workload == deployment.workload for pod in one.pods}
        kube_write(writer, replace(deployment, pods=list(pods.values())))

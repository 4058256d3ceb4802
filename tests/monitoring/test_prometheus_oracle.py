"""Our assembled queries beside the expressions a person would write, in a real Prometheus.

Every signal of tests/data/oracle.yaml that we read is compared, on the recorded bodies of real servers and on made-up
series of all fourteen systems (two pods, every label the expressions look at).
"""

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from monitoring.catalog.columns import COLUMNS
from monitoring.catalog.records import Fold, Kind, Latency, Series, System
from monitoring.catalog.systems import SYSTEMS
from monitoring.prometheus import Prometheus, buckets_split, series_query
from tests.servers.bodies import counter_history, gauge_history, recorded_history
from tests.servers.prometheus import PrometheusServer
from tests.servers.rates import LOOPBACK

ORACLE: dict[str, Any] = yaml.safe_load((Path(__file__).resolve().parents[1] / "data" / "oracle.yaml").read_text())
END = 1_795_300_200.0
WINDOW = 120
RECORDED = {
    "kserve": "kserve-0.21.0",
    "bentoml": "bentoml-1.4.39",
    "mlserver": "mlserver-1.7.1",
    "torchserve": "torchserve-0.12.0",
    "node_exporter": "node_exporter-1.5.0",
    "ray_serve": "ray-serve-2.60.0",
}

# Oracle signal -> our column, or (numerator, denominator).
SIGNALS: dict[str, str | tuple[str, str]] = {
    "request_rate": "requests_per_second",
    "error_rate": "errors_per_second",
    "in_flight": "requests_running",
    "queue_depth": "requests_waiting",
    "latency_mean": ("request_seconds_per_second", "requests_per_second"),
    "queue_time_mean": ("queue_seconds_per_second", "requests_per_second"),
    "input_tokens_rate": "input_tokens_per_second",
    "output_tokens_rate": "output_tokens_per_second",
    "kv_cache_usage": "kv_cache_usage_ratio",
    "cache_hit_ratio": ("cache_hits_per_second", "cache_queries_per_second"),
    "preemption_rate": "preemptions_per_second",
    "retraction_rate": "preemptions_per_second",
    "batch_size": ("batched_requests_per_second", "batches_per_second"),
    "target_replicas": "replicas_desired",
    "replicas_desired": "replicas_desired",
    "replicas_ready": "replicas_ready",
    "cpu_requested": "cpu_requested_cores",
    "memory_requested": "memory_requested_bytes",
    "gpu_requested": "accelerators_requested",
    "cpu_cores_used": "cpu_usage_cores",
    "cpu_throttled_ratio": "cpu_throttled_ratio",
    "memory_working_set": "memory_used_bytes",
    "net_rx": "network_receive_bytes_per_second",
    "net_tx": "network_transmit_bytes_per_second",
    "cpu_utilization": "cpu_utilization_ratio",
    "cpu_cores": "cpu_cores",
    "memory_total": "memory_total_bytes",
    "gpu_utilization": "gpu_utilization_ratio",
    "gr_engine_active": "gr_engine_active_ratio",
    "sm_active": "sm_active_ratio",
    "sm_occupancy": "sm_occupancy_ratio",
    "tensor_active": "tensor_active_ratio",
    "dram_active": "dram_active_ratio",
    "memory_used": "gpu_memory_used_bytes",
    "power": "power_watts",
    "power_from_energy": "energy_joules_per_second",
    "temperature": "temperature_celsius",
    "sm_clock": "sm_clock_hertz",
    "xid_last": "xid_code",
    "pcie_tx": "pcie_transmit_bytes_per_second",
    "pcie_rx": "pcie_receive_bytes_per_second",
}
QUANTILES = {
    "latency_p50": (Latency.REQUEST_DURATION, 0.5),
    "latency_p95": (Latency.REQUEST_DURATION, 0.95),
    "latency_p99": (Latency.REQUEST_DURATION, 0.99),
    "ttft_p50": (Latency.TIME_TO_FIRST_TOKEN, 0.5),
    "ttft_p95": (Latency.TIME_TO_FIRST_TOKEN, 0.95),
    "ttft_p99": (Latency.TIME_TO_FIRST_TOKEN, 0.99),
    "tpot_p50": (Latency.TIME_PER_OUTPUT_TOKEN, 0.5),
    "tpot_p95": (Latency.TIME_PER_OUTPUT_TOKEN, 0.95),
    "tpot_p99": (Latency.TIME_PER_OUTPUT_TOKEN, 0.99),
    "queue_time_p95": (Latency.QUEUE_TIME, 0.95),
}
# Where we mean something else on purpose.
OURS_DIFFERS = {
    ("triton", "latency_p50"): "a summary, the worst replica: not mergeable, so we give the mean only",
    ("triton", "latency_p95"): "as above",
    ("triton", "latency_p99"): "as above",
    ("triton", "in_flight"): "the queue standing in for what runs",
    ("triton", "gpu_utilization"): "read from DCGM",
    ("torchserve", "gpu_utilization"): "read from DCGM",
    ("ray_serve", "gpu_utilization"): "read from DCGM",
    ("tgi", "ttft_p95"): "a sum of two quantiles is no quantile",
    ("mlserver", "queue_depth"): "a histogram at arrivals, not a gauge",
    ("vllm", "batch_size"): "requests_running says the same",
    ("sglang", "batch_size"): "as above",
    ("tgi", "batch_size"): "as above",
    ("ray_serve", "batch_size"): "ours is for each deployment; the sum over deployments has another meaning",
    ("triton", "latency_mean"): "ours is over all requests, failed ones included; Triton times the successful ones",
    ("triton", "queue_time_mean"): "as above",
}
# Only the recorded bodies have these right, because two metrics of one server must agree.
MADE_UP_WRONG = {
    ("mlserver", "latency_mean"): "the made-up duration count differs from the request counters",
    ("bentoml", "latency_mean"): "as above",
    ("ray_serve", "target_replicas"): "made up on two instances, where one controller exports it",
}

# Labels of the made-up series, beyond the pod's: every combination is one series.
VARIANTS: dict[str, dict[str, tuple[str, ...]]] = {
    "vllm:request_success_total": {"finished_reason": ("stop", "error")},
    "sglang:http_responses_total": {"status_code": ("200", "503")},
    "sglang:num_running_reqs": {"priority": ("",)},
    ":tensorflow:serving:request_count": {"status": ("OK", "INTERNAL")},
    "bentoml_service_request_total": {"http_response_code": ("200", "500"), "endpoint": ("/a", "/b")},
    "rest_server_request_duration_seconds": {"path": ("/v2/models/{model_name}/infer", "/v2/health/live")},
    "tgi_request_failure": {"err": ("validation", "generation")},
    "nv_inference_request_failure": {"reason": ("BACKEND", "REJECTED")},
    "node_cpu_seconds_total": {"cpu": ("0", "1"), "mode": ("idle", "user", "iowait")},
    "node_network_receive_bytes_total": {"device": ("eth0", "lo", "veth12")},
    "node_network_transmit_bytes_total": {"device": ("eth0", "lo", "veth12")},
    "container_cpu_usage_seconds_total": {"container": ("server", "", "POD")},
    "container_cpu_cfs_throttled_periods_total": {"container": ("server", "")},
    "container_cpu_cfs_periods_total": {"container": ("server", "")},
    "container_memory_working_set_bytes": {"container": ("server", "", "POD")},
    "container_network_receive_bytes_total": {"interface": ("eth0", "eth1")},
    "kube_pod_container_resource_requests": {"resource": ("cpu", "memory", "nvidia_com_gpu", "nvidia_com_mig_1g_10gb")},
}
BOUNDS = ("0.01", "0.1", "0.5", "2.5", "10", "+Inf")
PARTS = (0.1, 0.35, 0.6, 0.85, 0.95, 1.0)


@dataclass(frozen=True)
class Asked:
    """A Prometheus with the history in it, and the names it knows."""

    client: Prometheus
    names: set[str]

    def ours(self, system: System, series: Series, *, job: str) -> Any:
        query = series_query(system, series, names_present=self.names, selector=f'job="{job}"', window_seconds=WINDOW)
        return self.client.query(query, at=END) if query else None

    def oracle(self, expr: str, *, job: str) -> float:
        text = expr.replace("$SEL", f'job="{job}"').replace("$WIN", f"{WINDOW}s")
        found = self.client.query(text, at=END).values
        return float(found[0, 0]) if found.size else float("nan")


def pod_labels(system: System, pod: int) -> dict[str, str]:
    """Target labels and identity labels of one made-up pod; a GPU exporter has one GPU for each pod."""
    labels = {"job": f"made-{system.slug}", "instance": f"10.0.0.{pod}:80", "namespace": "prod", "pod": f"pod-{pod}", "node": "node-1"}
    own = {label: f"{label}-{pod if label in ('UUID', 'replica', 'engine') else 0}" for label in system.identity if "exported" not in label}
    own.pop("tp_rank", None)
    return {**labels, **own, **({"deployment": "d"} if system.slug == "kube_state_metrics" else {})}


def steady(name: str, labels: dict[str, str]) -> float:
    """A rate or value of its own for each metric and variant; the pod scales all of its series alike."""
    rest = sorted((key, value) for key, value in labels.items() if key not in ("instance", "pod", "UUID", "replica", "engine"))
    digest = hashlib.sha256(repr((name, rest)).encode()).digest()
    share = 0.05 + digest[0] / 300
    return share * (1 + 0.5 * (labels["pod"] == "pod-2"))


def made_history(system: System) -> Iterator[str]:
    times = [END - 300 + 15 * scrape for scrape in range(21)]
    for name, kind in ORACLE[system.slug]["metrics"].items():
        variants = VARIANTS.get(name, {})
        for pod, values in itertools.product((1, 2), itertools.product(*variants.values())):
            labels = {**pod_labels(system, pod), **dict(zip(variants, values, strict=True))}
            yield from one_history(name, kind, labels, times)


def one_history(name: str, kind: str, labels: dict[str, str], times: list[float]) -> Iterator[str]:
    rate = steady(name, labels)
    if kind == "histogram":
        for le, part in zip(BOUNDS, PARTS, strict=True):
            yield from counter_history(f"{name}_bucket", {**labels, "le": le}, per_second=rate * part, times=times)
    if kind in ("histogram", "summary"):
        yield from counter_history(f"{name}_sum", labels, per_second=rate * 0.7, times=times)
        yield from counter_history(f"{name}_count", labels, per_second=rate, times=times)
    elif kind == "counter":
        yield from counter_history(name, labels, per_second=rate, times=times)
    else:
        yield from gauge_history(name, labels, value=rate, times=times)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    folder = tmp_path_factory.mktemp("oracle")
    history = folder / "history.om"
    with history.open("w") as file:
        for system in SYSTEMS.values():
            file.writelines(made_history(system))
        for name in RECORDED.values():
            file.writelines(recorded_history(name, end=END))
        file.write("# EOF\n")
    server = PrometheusServer(folder / "prometheus")
    server.backfill([history])
    with server:
        client = Prometheus(server.url, allowed=LOOPBACK)
        yield Asked(client, client.names())


def column_total(asked: Asked, system: System, target: str, *, job: str) -> float:
    """One figure for the whole selection, folded as the column says; NaN where there is nothing."""
    fold = next(column.fold for column in COLUMNS[system.entity] if column.name == target)
    for series in system.series:
        if series.target == target and (found := asked.ours(system, series, job=job)) is not None and found.values.size:
            values = found.values[:, 0] * series.scale
            return float({Fold.SUM: np.nansum, Fold.MAX: np.nanmax, Fold.MEAN: np.nanmean}[fold](values))
    return 0.0 if any(series.target == target and series.absent_is_zero for series in system.series) else float("nan")


def our_signal(asked: Asked, system: System, signal: str, *, job: str) -> float:
    if signal in QUANTILES:
        latency, share = QUANTILES[signal]
        return merged_quantile(asked, system, latency, share, job=job)
    target = SIGNALS[signal]
    if isinstance(target, str):
        return column_total(asked, system, target, job=job)
    numerator, denominator = (column_total(asked, system, name, job=job) for name in target)
    return numerator / denominator if denominator else float("nan")


def merged_quantile(asked: Asked, system: System, latency: Latency, share: float, *, job: str) -> float:
    """The quantile of all label sets together, linear inside the bucket, as histogram_quantile does it."""
    series = next(series for series in system.series if series.target == latency)
    rows = buckets_split(asked.ours(system, series, job=job), scale=series.scale)
    bounds, counts = rows[0].bounds, np.nansum([row.counts[0] for row in rows], axis=0)
    rising = np.cumsum(counts)
    wanted = share * rising[-1]
    at = int(np.searchsorted(rising, wanted))
    if at >= len(bounds):
        return bounds[-1]
    low, below = (bounds[at - 1], rising[at - 1]) if at else (0.0, 0.0)
    return float(low + (bounds[at] - low) * (wanted - below) / counts[at])


def comparable() -> list[tuple[str, str, str]]:
    """(system, signal, job) of everything that can be compared."""
    known = set(SIGNALS) | set(QUANTILES)
    pairs = [(slug, signal) for slug in SYSTEMS for signal in ORACLE[slug]["signals"] if signal in known]
    pairs = [pair for pair in pairs if pair not in OURS_DIFFERS]
    made = [(slug, signal, f"made-{slug}") for slug, signal in pairs if (slug, signal) not in MADE_UP_WRONG]
    return made + [(slug, signal, RECORDED[slug]) for slug, signal in pairs if slug in RECORDED]


@pytest.mark.parametrize(("slug", "signal", "job"), comparable())
def test_it_reads_what_the_hand_written_expression_reads(asked: Asked, slug: str, signal: str, job: str) -> None:
    system = SYSTEMS[slug]
    expected = asked.oracle(ORACLE[slug]["signals"][signal]["expr"], job=job)
    unit = {"MHz": 1e6}.get(ORACLE[slug]["signals"][signal]["unit"], 1.0)
    assert our_signal(asked, system, signal, job=job) == pytest.approx(expected * unit, rel=1e-6, abs=1e-9, nan_ok=True)


def test_the_comparison_is_not_about_nothing(asked: Asked) -> None:
    """Of the made-up series every comparison must have a number on both sides."""
    made = [(slug, signal, job) for slug, signal, job in comparable() if job.startswith("made-")]
    empty = [(slug, signal) for slug, signal, job in made if not np.isfinite(our_signal(asked, SYSTEMS[slug], signal, job=job))]
    assert empty == []
    assert len(made) > 80


def test_every_signal_of_the_oracle_is_compared_or_has_a_reason() -> None:
    """Beside those without a column in our store, nothing is left out."""
    no_column = {
        "abort_rate", "http_error_rate", "rejection_rate", "itl_p95", "input_tokens_computed_rate", "tokens_per_step", "model_up",
        "engine_awake", "flops_per_gpu_rate", "gpu_busy_ratio", "model_load_time", "gpu_power", "runtime_latency_p95",
        "replica_utilization", "gpu_memory_used", "gpu_count", "memory_used_ratio", "energy", "clock_events", "remapped_rows",
        "nvlink_total", "by_pod", "by_pod_exported", "by_workload", "iowait", "load1_per_core", "disk_free_ratio", "memory_rss",
        "memory_peak", "restarts_seen", "replicas_unavailable", "memory_limit", "gpu_allocatable", "restarts", "oom_killed",
        "pods_pending", "pod_to_deployment", "node_price_class",
    }  # fmt: skip
    known = set(SIGNALS) | set(QUANTILES) | no_column
    assert {signal for slug in SYSTEMS for signal in ORACLE[slug]["signals"]} - known == set()


def test_each_histogram_kind_of_the_catalogue_has_one_column_of_its_sum_or_none() -> None:
    for system in SYSTEMS.values():
        latencies = [series.target for series in system.series if series.kind is Kind.HISTOGRAM]
        assert len(latencies) == len(set(latencies))

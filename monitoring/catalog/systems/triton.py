"""NVIDIA Triton Inference Server."""

from monitoring.catalog.records import Combine, Entity, Kind, Latency, Series, System

SCRAPE = "scrape /metrics of port 8002 and start Triton without --allow-metrics=false"

SERIES = (
    Series(
        "requests_per_second",
        ("nv_inference_request_success",),
        Kind.COUNTER,
        other=("nv_inference_request_failure",),
        combine=Combine.EITHER,
        required=True,
        without="no request rate, so no cost for each request and no forecast of demand",
        remedy=SCRAPE,
    ),
    Series(
        "errors_per_second",
        ("nv_inference_request_failure",),
        Kind.COUNTER,
        absent_is_zero=True,
        note="Label reason: REJECTED, CANCELED, BACKEND, OTHER.",
    ),
    Series(
        "requests_waiting",
        ("nv_inference_pending_request_count",),
        Kind.GAUGE,
        required=True,
        without="no queue on the page",
        remedy="older releases of Triton do not export it: update",
        note="Requests that await execution.",
    ),
    Series(
        "request_seconds_per_second",
        ("nv_inference_request_duration_us",),
        Kind.COUNTER,
        scale=1e-6,
        required=True,
        without="no mean duration",
        remedy=SCRAPE,
        note="Summed microseconds of successful requests, the only latency with default settings; the mean reads low by the error share.",
    ),
    Series(
        "queue_seconds_per_second", ("nv_inference_queue_duration_us",), Kind.COUNTER, scale=1e-6, without="no mean wait", remedy=SCRAPE
    ),
    Series(
        "batched_requests_per_second",
        ("nv_inference_count",),
        Kind.COUNTER,
        without="no batch size",
        note="Inferences (items of a batch); answers from the response cache are not in it.",
    ),
    Series("batches_per_second", ("nv_inference_exec_count",), Kind.COUNTER, without="no batch size"),
    Series(
        "cache_hits_per_second",
        ("nv_cache_num_hits_per_model",),
        Kind.COUNTER,
        without="no response cache hit rate",
        note="Response cache in requests, not a prefix cache; only when it is enabled.",
    ),
    Series(
        "cache_queries_per_second",
        ("nv_cache_num_hits_per_model",),
        Kind.COUNTER,
        other=("nv_cache_num_misses_per_model",),
        combine=Combine.EITHER,
        without="no response cache hit rate",
    ),
    Series(
        Latency.TIME_TO_FIRST_TOKEN,
        ("nv_inference_first_response_histogram_ms",),
        Kind.HISTOGRAM,
        scale=1e-3,
        quality="approx",
        without="no time to first response",
        remedy="start Triton with --metrics-config histogram_latencies=true (decoupled models only)",
        note="Default buckets of 100, 500, 2000 and 5000 ms are coarse.",
    ),
)

SYSTEM = System(
    slug="triton",
    name="Triton Inference Server",
    kind="serving",
    entity=Entity.DEPLOYMENT,
    detect=("nv_inference_count", "nv_inference_request_success"),
    series=SERIES,
    identity=("model", "version"),
    model_label="model",
    version_label="version",
    endpoint=":8002/metrics",
    source="triton-inference-server/core: metric families of metric_model_reporter.cc; docs/user_guide/metrics.md",
    seen_version="core main of June 2026",
    costs="no model servers of Triton",
    lacks={
        Latency.REQUEST_DURATION: "counters of summed time only: a mean, never a percentile; its summaries cannot be merged over replicas",
        "requests_running": "no gauge of requests in execution",
        Latency.TIME_PER_OUTPUT_TOKEN: "not measured by the core",
        "input_tokens_per_second": "the core knows no tokens",
        "output_tokens_per_second": "the core knows no tokens",
        "kv_cache_usage_ratio": "the core knows no KV cache",
    },
    traps=(
        "Latency counters, histograms and summaries are three switches; only counters are on by default.",
        "nv_inference_count counts items of a batch, nv_inference_request_success counts requests.",
        "An ensemble appears as a model beside its parts: adding all models counts a request several times.",
        "With the vLLM backend the port exports vllm: series too.",
        "nv_gpu_utilization is 0 to 1, where DCGM_FI_DEV_GPU_UTIL is 0 to 100.",
    ),
)

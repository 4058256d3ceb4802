"""Hugging Face text-generation-inference."""

from monitoring.catalog.records import Combine, Entity, Fold, Kind, Latency, Series, System

SCRAPE = "scrape /metrics of the router port"

SERIES = (
    Series(
        "requests_per_second",
        ("tgi_request_count",),
        Kind.COUNTER,
        required=True,
        without="no request rate",
        remedy=SCRAPE,
        note="A counter without the suffix _total.",
    ),
    Series(
        "errors_per_second",
        ("tgi_request_failure",),
        Kind.COUNTER,
        absent_is_zero=True,
        note="Validation errors of the caller are in it (label err).",
    ),
    Series(
        "requests_running",
        ("tgi_batch_current_size",),
        Kind.GAUGE,
        required=True,
        without="no load on the page",
        remedy=SCRAPE,
        note="Sequences in the running batch.",
    ),
    Series("requests_waiting", ("tgi_queue_size",), Kind.GAUGE, required=True, without="no queue on the page", remedy=SCRAPE),
    Series(
        "kv_cache_usage_ratio",
        ("tgi_batch_current_max_tokens",),
        Kind.GAUGE,
        fold=Fold.MAX,
        other=("tgi_batch_max_total_tokens",),
        combine=Combine.OVER,
        quality="proxy",
        without="no token budget on the page",
        note="Token budget reserved by the running batch over the whole budget, not blocks in use.",
    ),
    Series(
        "input_tokens_per_second", ("tgi_request_input_length_sum",), Kind.COUNTER, without="no input tokens", note="Sum of a histogram."
    ),
    Series(
        "output_tokens_per_second",
        ("tgi_request_generated_tokens_sum",),
        Kind.COUNTER,
        without="no output tokens",
        note="Sum of a histogram, added when a request ends.",
    ),
    Series("request_seconds_per_second", ("tgi_request_duration_sum",), Kind.COUNTER, without="no mean duration"),
    Series("queue_seconds_per_second", ("tgi_request_queue_duration_sum",), Kind.COUNTER, without="no mean wait"),
    Series(
        Latency.REQUEST_DURATION,
        ("tgi_request_duration",),
        Kind.HISTOGRAM,
        required=True,
        without="no latency percentiles, so no latency SLO",
        remedy=SCRAPE,
    ),
    Series(
        Latency.TIME_PER_OUTPUT_TOKEN, ("tgi_request_mean_time_per_token_duration",), Kind.HISTOGRAM, without="no time per output token"
    ),
    Series(Latency.QUEUE_TIME, ("tgi_request_queue_duration",), Kind.HISTOGRAM, without="queueing is not told apart from slow answers"),
)

SYSTEM = System(
    slug="tgi",
    name="Text Generation Inference",
    kind="serving",
    entity=Entity.DEPLOYMENT,
    detect=("tgi_queue_size",),
    series=SERIES,
    identity=(),
    endpoint="/metrics on the router port",
    source="huggingface/text-generation-inference: router/src/server.rs, router/src/infer, docs/source/reference/metrics.md",
    seen_version="main of January 2026 (maintenance mode)",
    costs="no language model servers of text-generation-inference",
    lacks={
        Latency.TIME_TO_FIRST_TOKEN: "not measured; queue and prefill quantiles do not add up to one",
        "cache_hits_per_second": "no prefix cache counter",
    },
    traps=(
        "No model label anywhere: the model comes from the target (pod, service).",
        "The gauge is described as tgi_batch_total_tokens but set under tgi_batch_max_total_tokens.",
        "In maintenance mode by its own README: plan for vLLM or SGLang.",
    ),
)

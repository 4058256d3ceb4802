"""TorchServe: counters of summed microseconds, no histogram."""

from monitoring.catalog.records import Combine, Entity, Kind, Latency, Series, System

MODE = "start TorchServe with metrics_mode=prometheus and scrape port 8082"

SERIES = (
    Series(
        "requests_per_second",
        ("ts_inference_requests_total",),
        Kind.COUNTER,
        required=True,
        without="no request rate",
        remedy=MODE,
        note="Failed predictions are counted too.",
    ),
    Series(
        "errors_per_second",
        ("Requests5XX",),
        Kind.COUNTER,
        other=("Requests4XX",),
        combine=Combine.EITHER,
        server_wide=True,
        absent_is_zero=True,
        without="no errors",
        remedy=MODE,
        note="Of the whole server, without a model label. An exception in the handler is a 503; a wrong request is a 4xx.",
    ),
    Series(
        "request_seconds_per_second",
        ("ts_inference_latency_microseconds",),
        Kind.COUNTER,
        scale=1e-6,
        required=True,
        without="no mean duration",
        remedy=MODE,
    ),
    Series("queue_seconds_per_second", ("ts_queue_latency_microseconds",), Kind.COUNTER, scale=1e-6, without="no mean wait", remedy=MODE),
)

SYSTEM = System(
    slug="torchserve",
    name="TorchServe",
    kind="serving",
    entity=Entity.DEPLOYMENT,
    detect=("ts_inference_requests_total", "WorkerLoadTime"),
    series=SERIES,
    identity=("model_name", "model_version"),
    model_label="model_name",
    version_label="model_version",
    version_unknown=("default",),
    endpoint=":8082/metrics",
    source="pytorch/serve: ts/configs/metrics.yaml; checked against a running server",
    seen_version="0.12.0, the last release",
    costs="no model servers of TorchServe",
    lacks={
        Latency.REQUEST_DURATION: "no histogram: a mean, never a percentile",
        "requests_running": "no gauge",
        "requests_waiting": "no gauge; QueueTime is that of the last request only",
        "batches_per_second": "not exported by default",
    },
    traps=(
        "Requests2XX counts every answer, the scrapes included: never a request rate.",
        "No model series before the first request; an idle model shows only as WorkerLoadTime.",
        'model_version is "default" unless the caller names one in the URL.',
        "HandlerTime, PredictionTime and QueueTime hold the last value: their average is no mean latency.",
        "No longer developed.",
    ),
)

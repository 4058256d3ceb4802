"""MLServer."""

from monitoring.catalog.records import Combine, Entity, Kind, Latency, Series, System

SCRAPE = "scrape /metrics of metrics_port (8082)"

SERIES = (
    Series(
        "requests_per_second",
        ("model_infer_request_success_total",),
        Kind.COUNTER,
        other=("model_infer_request_failure_total",),
        combine=Combine.EITHER,
        required=True,
        without="no request rate",
        remedy=SCRAPE,
    ),
    Series("errors_per_second", ("model_infer_request_failure_total",), Kind.COUNTER, absent_is_zero=True),
    Series(
        "requests_running",
        ("rest_server_requests_in_progress",),
        Kind.GAUGE,
        server_wide=True,
        without="no load on the page",
        remedy="keep the default metrics_rest_server_prefix",
        note="REST only; the prefix rest_server is configurable.",
    ),
    Series(
        "request_seconds_per_second",
        ("model_infer_request_duration_sum",),
        Kind.COUNTER,
        required=True,
        without="no mean duration",
        remedy=SCRAPE,
        note="Of a summary without quantiles; REST and gRPC, failures included.",
    ),
    Series(
        Latency.REQUEST_DURATION,
        ("rest_server_request_duration_seconds",),
        Kind.HISTOGRAM,
        matchers='path=~".*/infer"',
        server_wide=True,
        quality="approx",
        without="no latency percentiles, so no latency SLO",
        remedy="keep the default metrics_rest_server_prefix",
        note="The path is the template of the route, so there is no model label.",
    ),
)

SYSTEM = System(
    slug="mlserver",
    name="MLServer",
    kind="serving",
    entity=Entity.DEPLOYMENT,
    detect=("model_infer_request_success_total", "model_infer_request_duration_count"),
    series=SERIES,
    identity=("model", "version"),
    model_label="model",
    version_label="version",
    version_unknown=("None",),
    endpoint=":8082/metrics",
    source="SeldonIO/MLServer: mlserver/metrics, mlserver/rest/app.py; checked against a running server",
    seen_version="1.7.1",
    costs="no MLServer models",
    lacks={
        "requests_waiting": "parallel_request_queue is a histogram at each arrival that counts itself, not a gauge",
        "batches_per_second": "only the length of the batch queue",
    },
    traps=(
        "No model series before the first request.",
        'version is the text "None" unless the caller names one.',
        "The REST prefix is configurable.",
    ),
)

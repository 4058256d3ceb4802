"""BentoML service."""

from monitoring.catalog.records import Entity, Kind, Latency, Series, System

SCRAPE = "scrape /metrics of the service port and keep metrics enabled in the service"

SERIES = (
    Series(
        "requests_per_second",
        ("bentoml_service_request_total",),
        Kind.COUNTER,
        required=True,
        without="no request rate",
        remedy=SCRAPE,
        note="All endpoints of the service.",
    ),
    Series(
        "errors_per_second", ("bentoml_service_request_total",), Kind.COUNTER, matchers='http_response_code=~"5.."', absent_is_zero=True
    ),
    Series(
        "requests_running",
        ("bentoml_service_request_in_progress",),
        Kind.GAUGE,
        required=True,
        without="no load on the page",
        remedy=SCRAPE,
    ),
    Series(
        "request_seconds_per_second",
        ("bentoml_service_request_duration_seconds_sum",),
        Kind.COUNTER,
        without="no mean duration",
        remedy=SCRAPE,
    ),
    Series(
        Latency.REQUEST_DURATION,
        ("bentoml_service_request_duration_seconds",),
        Kind.HISTOGRAM,
        required=True,
        without="no latency percentiles, so no latency SLO",
        remedy=SCRAPE,
    ),
    Series("batched_requests_per_second", ("bentoml_service_adaptive_batch_size_sum",), Kind.COUNTER, without="no batch size"),
    Series("batches_per_second", ("bentoml_service_adaptive_batch_size_count",), Kind.COUNTER, without="no batch size"),
)

SYSTEM = System(
    slug="bentoml",
    name="BentoML",
    kind="serving",
    entity=Entity.DEPLOYMENT,
    detect=("bentoml_service_request_total",),
    series=SERIES,
    identity=("service_name", "service_version"),
    model_label="service_name",
    version_label="service_version",
    version_unknown=("not available", ""),
    endpoint="/metrics on the service port",
    source="bentoml/BentoML: src/bentoml/_internal/server/http/instruments.py, src/_bentoml_impl/server/app.py",
    seen_version="1.4.40; 1.4.39 checked against a running server",
    costs="no BentoML services",
    lacks={"requests_waiting": "no queue gauge"},
    traps=(
        'service_version is "not available" when served from source.',
        "Counters start at 0 for each endpoint with a row for code 500: a series is no proof of traffic.",
        "Before 1.2 the names were bentoml_api_server_* and bentoml_runner_*; the namespace is configurable.",
        "service_name is the name of the bento, not of a model.",
    ),
)

"""KServe model server (Python SDK)."""

from monitoring.catalog.records import Entity, Kind, Latency, Series, System

SCRAPE = "scrape /metrics of the model server port; in serverless mode through the queue-proxy or the qpext aggregator"

SERIES = (
    Series(
        "requests_per_second",
        ("request_predict_seconds_count",),
        Kind.COUNTER,
        required=True,
        without="no request rate",
        remedy=SCRAPE,
        note="Calls of predict, failed ones included.",
    ),
    Series(
        "request_seconds_per_second",
        ("request_predict_seconds_sum",),
        Kind.COUNTER,
        required=True,
        without="no mean duration",
        remedy=SCRAPE,
        note="The predict step alone, below what a client sees.",
    ),
    Series(
        Latency.REQUEST_DURATION,
        ("request_predict_seconds",),
        Kind.HISTOGRAM,
        required=True,
        without="no latency percentiles, so no latency SLO",
        remedy=SCRAPE,
        note="The predict step alone; coarse buckets.",
    ),
)

SYSTEM = System(
    slug="kserve",
    name="KServe",
    kind="serving",
    entity=Entity.DEPLOYMENT,
    detect=("request_predict_seconds_count", "request_predict_seconds_bucket"),
    series=SERIES,
    identity=("model_name",),
    model_label="model_name",
    endpoint="/metrics on the model server port",
    source="kserve/kserve: python/kserve/kserve/metrics.py; checked against a running server",
    seen_version="0.21.0",
    costs="no KServe model servers",
    lacks={
        "errors_per_second": "no error counter in the SDK; the gateway or Knative has it",
        "requests_running": "Knative has it",
        "requests_waiting": "Knative has it",
        "batches_per_second": "not exported",
    },
    traps=(
        "No series before the first request, only HELP and TYPE: an idle server shows in the metadata of its target.",
        "Names are generic: the model_name label tells it from others.",
        "The pod label serving.kserve.io/inferenceservice is the best key of a deployment.",
    ),
)

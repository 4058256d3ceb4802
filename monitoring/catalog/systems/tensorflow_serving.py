"""TensorFlow Serving: names begin with a colon, times are microseconds."""

from monitoring.catalog.records import Entity, Kind, Latency, Series, System

ENABLE = "start it with --monitoring_config_file that enables prometheus_config"
BATCHING = "only with batching on (--enable_batching)"

SERIES = (
    Series(
        "requests_per_second", (":tensorflow:serving:request_count",), Kind.COUNTER, required=True, without="no request rate", remedy=ENABLE
    ),
    Series(
        "errors_per_second",
        (":tensorflow:serving:request_count",),
        Kind.COUNTER,
        matchers='status!="OK"',
        absent_is_zero=True,
        note="status is the name of the absl code.",
    ),
    Series(
        "request_seconds_per_second", (":tensorflow:serving:request_latency_sum",), Kind.COUNTER, scale=1e-6, without="no mean duration"
    ),
    Series(
        Latency.REQUEST_DURATION,
        (":tensorflow:serving:request_latency",),
        Kind.HISTOGRAM,
        scale=1e-6,
        required=True,
        without="no latency percentiles, so no latency SLO",
        remedy=ENABLE,
        note="Microseconds on the wire.",
    ),
    Series(
        Latency.QUEUE_TIME,
        (":tensorflow:serving:batching_session:queuing_latency",),
        Kind.HISTOGRAM,
        scale=1e-6,
        server_wide=True,
        without="no queue time",
        remedy=BATCHING,
    ),
    Series(
        "batched_requests_per_second",
        (":tensorflow:serving:batching_session:processed_batch_size_sum",),
        Kind.COUNTER,
        server_wide=True,
        without="no batch size",
        remedy=BATCHING,
        note="Examples, not requests.",
    ),
    Series(
        "batches_per_second",
        (":tensorflow:serving:batching_session:processed_batch_size_count",),
        Kind.COUNTER,
        server_wide=True,
        without="no batch size",
        remedy=BATCHING,
    ),
)

SYSTEM = System(
    slug="tensorflow_serving",
    name="TensorFlow Serving",
    kind="serving",
    entity=Entity.DEPLOYMENT,
    detect=(":tensorflow:serving:request_count",),
    series=SERIES,
    identity=("model_name",),
    model_label="model_name",
    endpoint="/monitoring/prometheus/metrics on the REST port",
    source="tensorflow/serving: tensorflow_serving/servables/tensorflow/util.cc, batching/batching_session.cc",
    seen_version="master of July 2026",
    costs="no model servers of TensorFlow Serving",
    lacks={
        "requests_running": "no gauge",
        "requests_waiting": "no gauge; only the queue time, with batching on",
    },
    traps=(
        "Names begin with a colon: some tools drop them.",
        "No model version label.",
        "A model appears after its first request.",
    ),
)

"""Ray Serve."""

from monitoring.catalog.records import Entity, Fold, Kind, Latency, Series, System

SCRAPE = "scrape the metrics agent port of every Ray node"

SERIES = (
    Series(
        "requests_per_second",
        ("ray_serve_deployment_processing_latency_ms_count",),
        Kind.COUNTER,
        required=True,
        without="no request rate",
        remedy=SCRAPE,
        note="Failures included; ray_serve_deployment_request_counter_total counts successes only.",
    ),
    Series(
        "errors_per_second",
        ("ray_serve_deployment_error_counter_total",),
        Kind.COUNTER,
        absent_is_zero=True,
        note="An exception counts in the deployment that raised it and in every caller above.",
    ),
    Series(
        "requests_running",
        ("ray_serve_replica_processing_queries",),
        Kind.GAUGE,
        required=True,
        without="no load on the page",
        remedy=SCRAPE,
    ),
    Series(
        "requests_waiting",
        ("ray_serve_deployment_queued_queries",),
        Kind.GAUGE,
        required=True,
        without="no queue on the page",
        remedy=SCRAPE,
        note="Waiting in handles for a replica.",
    ),
    Series(
        "request_seconds_per_second",
        ("ray_serve_deployment_processing_latency_ms_sum",),
        Kind.COUNTER,
        scale=1e-3,
        quality="approx",
        without="no mean duration",
        note="Rebuilt from bucket midpoints by Ray: an estimate.",
    ),
    Series(
        Latency.REQUEST_DURATION,
        ("ray_serve_deployment_processing_latency_ms",),
        Kind.HISTOGRAM,
        scale=1e-3,
        required=True,
        without="no latency percentiles, so no latency SLO",
        remedy=SCRAPE,
        note="Inside the replica; milliseconds on the wire.",
    ),
    Series(
        "batched_requests_per_second",
        ("ray_serve_deployment_processing_latency_ms_count",),
        Kind.COUNTER,
        quality="approx",
        without="no batch size",
        note="For deployments with one batch function called once a request.",
    ),
    Series(
        "batches_per_second",
        ("ray_serve_batches_processed_total",),
        Kind.COUNTER,
        quality="approx",
        without="no batch size",
        note="ray_serve_actual_batch_size is no base: its sum is made of bucket midpoints.",
    ),
    Series(
        "replicas_ready", ("ray_serve_deployment_replica_healthy",), Kind.GAUGE, required=True, without="no replica count", remedy=SCRAPE
    ),
    Series(
        "replicas_desired",
        ("ray_serve_autoscaling_target_replicas",),
        Kind.GAUGE,
        fold=Fold.MAX,
        without="no wished replica count",
        note="The fixed count for a deployment without autoscaling.",
    ),
)

SYSTEM = System(
    slug="ray_serve",
    name="Ray Serve",
    kind="serving",
    entity=Entity.DEPLOYMENT,
    detect=("ray_serve_deployment_replica_healthy",),
    series=SERIES,
    identity=("application", "deployment", "replica"),
    model_label="deployment",
    endpoint="the Ray metrics agent port of every node",
    source="ray-project/ray: python/ray/serve/_private/replica.py, router.py, deployment_state.py; python/ray/_private/metrics_agent.py",
    seen_version="2.60.0, checked against a running server",
    costs="no deployments of Ray Serve",
    lacks={
        Latency.TIME_TO_FIRST_TOKEN: "only with the LLM API of Ray Serve",
        "input_tokens_per_second": "only with the LLM API of Ray Serve",
        "output_tokens_per_second": "only with the LLM API of Ray Serve",
        "kv_cache_usage_ratio": "only with the LLM API of Ray Serve",
    },
    traps=(
        "Each request counts once in every deployment of a composed application it passes.",
        "Every histogram sum is rebuilt from bucket midpoints: a mean from it is an estimate (89 ms read where clients saw 81).",
        "Values move every 10 s whatever the scrape interval: use windows of 2 minutes or more.",
        "Older exporters sent each counter a second time as a gauge without _total: ask the _total names only.",
        "An idle node sends about 700 KB a scrape: keep ray_serve_.* and ray_node_.* only.",
    ),
)

"""cAdvisor inside the kubelet."""

from monitoring.catalog.records import Combine, Entity, Fold, Kind, Series, System

CONTAINER = 'container!="",container!="POD"'
SCRAPE = "scrape /metrics/cadvisor of every kubelet"

SERIES = (
    Series(
        "cpu_usage_cores",
        ("container_cpu_usage_seconds_total",),
        Kind.COUNTER,
        matchers=CONTAINER,
        required=True,
        without="no CPU of the deployments",
        remedy=SCRAPE,
    ),
    Series(
        "cpu_throttled_ratio",
        ("container_cpu_cfs_throttled_periods_total",),
        Kind.COUNTER,
        matchers=CONTAINER,
        fold=Fold.SUM,
        other=("container_cpu_cfs_periods_total",),
        other_matchers=CONTAINER,
        combine=Combine.OVER,
        without="throttled CPU is not seen",
        note="Only for containers with a CPU limit.",
    ),
    Series(
        "memory_used_bytes",
        ("container_memory_working_set_bytes",),
        Kind.GAUGE,
        matchers=CONTAINER,
        required=True,
        without="no memory of the deployments",
        remedy=SCRAPE,
        note="Working set: what the OOM killer looks at.",
    ),
    Series(
        "network_receive_bytes_per_second",
        ("container_network_receive_bytes_total",),
        Kind.COUNTER,
        dropped=("container",),
        without="no network of the deployments",
        note="Of the pod; with hostNetwork that of the node.",
    ),
    Series(
        "network_transmit_bytes_per_second",
        ("container_network_transmit_bytes_total",),
        Kind.COUNTER,
        dropped=("container",),
        without="no network of the deployments",
        note="Of the pod; with hostNetwork that of the node.",
    ),
)

SYSTEM = System(
    slug="cadvisor",
    name="cAdvisor",
    kind="infrastructure",
    entity=Entity.DEPLOYMENT,
    detect=("container_cpu_usage_seconds_total",),
    series=SERIES,
    identity=("exported_namespace", "exported_pod", "exported_container"),
    priority=40,
    endpoint="kubelet /metrics/cadvisor",
    source="google/cadvisor: docs/storage/prometheus.md",
    seen_version="docs as stored",
    costs="no CPU, memory or network of the deployments",
    traps=(
        'Without container!="" the cgroup of the pod is added to its containers.',
        "container_accelerator_* is gone from current kubelets.",
    ),
)

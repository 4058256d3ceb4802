"""kube-state-metrics: replicas, requests, restarts, and who owns which pod."""

from monitoring.catalog.records import Entity, Fold, Kind, Series, System

SCRAPE = "scrape kube-state-metrics (port 8080)"
ALLOWLIST = "start kube-state-metrics with --metric-labels-allowlist=pods=[*]"
GPU = 'resource=~"nvidia_com_gpu.*|nvidia_com_mig_.*|amd_com_gpu"'  # slash, dot and dash became underscores

SERIES = (
    Series(
        "replicas_desired",
        ("kube_deployment_spec_replicas",),
        Kind.GAUGE,
        fold=Fold.MAX,
        labels=("deployment",),
        required=True,
        without="no wished replica count",
        remedy=SCRAPE,
    ),
    Series("replicas_desired", ("kube_statefulset_replicas",), Kind.GAUGE, fold=Fold.MAX, labels=("statefulset",)),
    Series(
        "replicas_ready",
        ("kube_deployment_status_replicas_ready",),
        Kind.GAUGE,
        fold=Fold.MAX,
        labels=("deployment",),
        required=True,
        without="replicas are counted from their series, without those that do not answer",
        remedy=SCRAPE,
    ),
    Series("replicas_ready", ("kube_statefulset_status_replicas_ready",), Kind.GAUGE, fold=Fold.MAX, labels=("statefulset",)),
    Series(
        "restarts_per_second", ("kube_pod_container_status_restarts_total",), Kind.COUNTER, without="restarts are not seen", remedy=SCRAPE
    ),
    Series(
        "cpu_requested_cores",
        ("kube_pod_container_resource_requests",),
        Kind.GAUGE,
        matchers='resource="cpu"',
        required=True,
        without="requested and used CPU are not compared",
        remedy=SCRAPE,
    ),
    Series(
        "memory_requested_bytes",
        ("kube_pod_container_resource_requests",),
        Kind.GAUGE,
        matchers='resource="memory"',
        required=True,
        without="requested and used memory are not compared",
        remedy=SCRAPE,
    ),
    Series(
        "accelerators_requested",
        ("kube_pod_container_resource_requests",),
        Kind.GAUGE,
        matchers=GPU,
        absent_is_zero=True,
        without="GPUs requested and GPUs used are not compared",
        remedy=SCRAPE,
        note="MIG slices and shared GPUs included.",
    ),
    Series(
        "pod",
        ("kube_pod_info",),
        Kind.INFO,
        required=True,
        without="no node of a pod, so no placement without GPU pod labels",
        remedy=SCRAPE,
        note="node, host_ip, pod_ip, uid, created_by_kind, created_by_name.",
    ),
    Series(
        "pod_owner",
        ("kube_pod_owner",),
        Kind.INFO,
        required=True,
        without="pods are grouped by their name, not by their owner",
        remedy=SCRAPE,
        note="owner_kind, owner_name.",
    ),
    Series(
        "replicaset_owner",
        ("kube_replicaset_owner",),
        Kind.INFO,
        required=True,
        without="the name of the workload is cut from the name of the ReplicaSet",
        remedy=SCRAPE,
    ),
    Series(
        "container",
        ("kube_pod_container_info",),
        Kind.INFO,
        required=True,
        without="no versions from image tags",
        remedy=SCRAPE,
        note="image, image_spec, container_id.",
    ),
    Series("pod_labels", ("kube_pod_labels",), Kind.INFO, without="no team rules by pod label", remedy=ALLOWLIST, note="label_*."),
    Series(
        "node", ("kube_node_info",), Kind.INFO, without="nodes are not joined by their address", remedy=SCRAPE, note="node, internal_ip."
    ),
    Series(
        "node_labels",
        ("kube_node_labels",),
        Kind.INFO,
        without="no instance types, so no prices by type",
        remedy="start kube-state-metrics with --metric-labels-allowlist=nodes=[*]",
        note="label_node_kubernetes_io_instance_type.",
    ),
)

SYSTEM = System(
    slug="kube_state_metrics",
    name="kube-state-metrics",
    kind="infrastructure",
    entity=Entity.DEPLOYMENT,
    detect=("kube_pod_info", "kube_deployment_spec_replicas"),
    series=SERIES,
    identity=("exported_namespace", "exported_pod", "exported_container"),
    priority=40,
    endpoint=":8080/metrics",
    source="kubernetes/kube-state-metrics: docs/metrics/workload/pod-metrics.md, deployment-metrics.md, cluster/node-metrics.md",
    seen_version="docs as stored",
    costs="no owner names, no replica counts, no requests, no versions from image tags",
    traps=(
        "With honor_labels: false the subject is in exported_namespace and exported_pod.",
        "kube_pod_container_resource_requests has one series a resource, the unit in a label.",
        "Completed pods keep their series.",
    ),
)

"""Whose series is this: pure functions from a label set to a replica of a deployment, an accelerator or a node.

A deployment is (cluster, namespace, workload, model name). The workload comes from the owner of the pod where
kube-state-metrics tells it, else from the pattern of the pod's name, else from the scrape job.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from monitoring.catalog.records import Entity, System
from monitoring.models import WorkloadKind

Labels = Mapping[str, str]

# The alphabet Kubernetes draws the random parts of names from: no vowels, no 0, 1, 3.
SAFE = "[bcdfghjklmnpqrstvwxz2456789]"
REPLICA_SET = re.compile(rf"^(?P<workload>.+)-{SAFE}{{6,10}}-{SAFE}{{5}}$")
RANDOM_END = re.compile(rf"^(?P<workload>.+)-{SAFE}{{5}}$")
STATEFUL = re.compile(r"^(?P<workload>.+)-\d{1,4}$")
HASH_END = re.compile(r"^(?P<workload>.+)-[a-z0-9]{6,10}$")
HOST_PORT = re.compile(r"^\[?(?P<host>.*?)\]?(?::\d+)?$")
ENVIRONMENTS = (
    ("production", re.compile(r"(^|[-_.])(prod|production|prd|live)([-_.\d]|$)")),
    ("staging", re.compile(r"(^|[-_.])(stag|staging|stage|stg|uat|preprod|pre-prod|canary)([-_.\d]|$)")),
    ("development", re.compile(r"(^|[-_.])(dev|develop|development|sandbox|test|testing|qa|playground)([-_.\d]|$)")),
)
ENVIRONMENT_LABELS = ("environment", "env", "label_environment", "label_env", "label_app_kubernetes_io_environment")
WORKLOAD_LABELS = ("label_serving_kserve_io_inferenceservice", "label_ray_io_cluster", "label_leaderworkerset_sigs_k8s_io_name")
TRAINING_OWNERS = frozenset({"job", "cronjob", "pytorchjob", "tfjob", "mpijob", "trainjob", "rayjob", "xgboostjob", "workflow"})
TRAINING_NAME = re.compile(r"(^|[-_])(train|training|trainer|finetune|fine-tune|pretrain|sft|dpo|rlhf)([-_\d]|$)")
SIDECARS = frozenset({"istio-proxy", "linkerd-proxy", "queue-proxy", "POD", "kube-rbac-proxy", "envoy"})
EXPORTER = re.compile(r"dcgm|gpu-exporter|nvidia-exporter|gpu-operator")
UNKNOWN_VERSIONS = frozenset({"", "none", "not available", "unknown", "latest", "null", "-1"})


@dataclass(frozen=True)
class Pod:
    """What kube-state-metrics tells about one pod."""

    namespace: str
    name: str
    workload: str = ""
    owner_kind: str = ""
    node: str = ""
    images: tuple[tuple[str, str], ...] = ()  # (container, image)
    labels: Labels = field(default_factory=dict)
    accelerators: float = 0.0  # GPUs or MIG slices requested
    uid: str = ""


@dataclass(frozen=True)
class Facts:
    """All that is known beside the label set: pods by (namespace, name), node names by host or address."""

    cluster: str
    pods: Mapping[tuple[str, str], Pod] = field(default_factory=dict)
    hosts: Mapping[str, str] = field(default_factory=dict)
    node_labels: Mapping[str, Labels] = field(default_factory=dict)


@dataclass(frozen=True)
class DeploymentKey:
    cluster: str
    namespace: str
    workload: str
    model: str


@dataclass(frozen=True)
class ReplicaIdentity:
    key: DeploymentKey
    replica: str
    version: str = ""
    node: str = ""
    environment: str = ""
    kind: WorkloadKind = WorkloadKind.SERVING


@dataclass(frozen=True)
class AcceleratorIdentity:
    cluster: str
    uuid: str
    parent: str = ""
    node: str = ""
    model_name: str = ""
    mig_profile: str = ""
    position: int | None = None
    pod: tuple[str, str] | None = None


@dataclass(frozen=True)
class NodeIdentity:
    cluster: str
    name: str


Identity = ReplicaIdentity | AcceleratorIdentity | NodeIdentity


def first_label(labels: Labels, *names: str) -> str:
    return next((labels[name] for name in names if labels.get(name)), "")


def pod_of(labels: Labels, *, exported_first: bool) -> tuple[str, str] | None:
    """(namespace, pod). An exporter scraped without honorLabels has the workload in `exported_*` and itself in `pod`."""
    pairs = (("exported_namespace", "exported_pod"), ("namespace", "pod"))
    for namespace, pod in pairs if exported_first else reversed(pairs):
        if labels.get(pod):
            return labels.get(namespace, ""), labels[pod]
    return None


def workload_guess(pod: str) -> str:
    """The workload by the pattern of the pod's name: ReplicaSet hash, StatefulSet ordinal, random end; else the name."""
    for pattern in (REPLICA_SET, STATEFUL, RANDOM_END):
        match = pattern.match(pod)
        if match:
            return match["workload"]
    return pod


def workload_of_replica_set(name: str) -> str:
    match = HASH_END.match(name)
    return match["workload"] if match else name


def host_of(instance: str) -> str:
    match = HOST_PORT.match(instance)
    return match["host"] if match else instance


def environment_of(labels: Labels, *, namespace: str, cluster: str) -> str:
    told = first_label(labels, *ENVIRONMENT_LABELS)
    for text in (told, namespace, cluster):
        for name, pattern in ENVIRONMENTS:
            if pattern.search(text.lower()):
                return name
    return told.lower()[:40]


def workload_kind_of(pod: Pod | None, *, serving: bool) -> WorkloadKind:
    """A pod that answers requests is serving; one that only holds accelerators is training or other."""
    if serving:
        return WorkloadKind.SERVING
    if pod is None:
        return WorkloadKind.OTHER
    if pod.owner_kind.lower() in TRAINING_OWNERS or TRAINING_NAME.search(pod.workload.lower()):
        return WorkloadKind.TRAINING
    return WorkloadKind.OTHER


def image_version(image: str) -> str:
    """The tag of an image, or the first 12 digits of its digest; empty when it tells nothing."""
    path, _, digest = image.partition("@")
    tag = path.rpartition("/")[2].partition(":")[2]
    if tag.lower() not in UNKNOWN_VERSIONS:
        return tag[:200]
    return digest.partition(":")[2][:12]


def pod_version(pod: Pod | None, container: str) -> str:
    if pod is None:
        return ""
    own = [image for name, image in pod.images if name == container]
    others = [image for name, image in sorted(pod.images) if name not in SIDECARS]
    images = own or others
    return image_version(images[0]) if images else ""


def version_of(labels: Labels, *, system: System, pod: Pod | None) -> str:
    told = labels.get(system.version_label or "", "")
    if told and told.lower() not in UNKNOWN_VERSIONS and told not in system.version_unknown:
        return told[:200]
    return pod_version(pod, labels.get("container", ""))


def node_name(labels: Labels, *, facts: Facts, pod: Pod | None = None) -> str:
    """The node's name: told, or the pod's, or the one known under the host part of `instance`; empty when unknown."""
    told = first_label(labels, "node", "nodename", "Hostname", "hostname", "kubernetes_node")
    if told:
        return facts.hosts.get(told, told)
    if pod is not None and pod.node:
        return pod.node
    return facts.hosts.get(host_of(labels.get("instance", "")), "")


def workload_of(labels: Labels, *, pod: Pod | None) -> str:
    if pod is not None and pod.workload:
        return pod.workload
    if labels.get("pod"):
        return workload_guess(labels["pod"])
    return first_label(labels, "container", "service", "job", "instance") or "unknown"


def cluster_of(labels: Labels, *, facts: Facts) -> str:
    return labels.get("cluster", "")[:120] or facts.cluster


def replica_identify(labels: Labels, *, system: System, facts: Facts) -> ReplicaIdentity | None:
    """The replica a serving series belongs to; None where it names no model though its system does."""
    at = pod_of(labels, exported_first=False)
    pod = facts.pods.get(at) if at else None
    namespace = at[0] if at else labels.get("namespace", "")
    cluster = cluster_of(labels, facts=facts)
    model = labels.get(system.model_label or "", "")
    replica = at[1] if at else first_label(labels, "instance", "job")
    if not replica or (system.model_label and not model):
        return None
    return ReplicaIdentity(
        key=DeploymentKey(cluster, namespace[:253], workload_of(labels, pod=pod)[:253], model[:253]),
        replica=replica[:253],
        version=version_of(labels, system=system, pod=pod),
        node=node_name(labels, facts=facts, pod=pod)[:253],
        environment=environment_of({**(pod.labels if pod else {}), **labels}, namespace=namespace, cluster=cluster),
    )


def holder_identify(at: tuple[str, str], *, facts: Facts, cluster: str) -> ReplicaIdentity:
    """A pod that holds accelerators and serves no known metric, so that its GPUs are named."""
    pod = facts.pods.get(at)
    workload = (pod.workload if pod else "") or workload_guess(at[1])
    known = pod or Pod(at[0], at[1], workload=workload)
    return ReplicaIdentity(
        key=DeploymentKey(cluster, at[0][:253], workload[:253], ""),
        replica=at[1][:253],
        version=pod_version(pod, ""),
        node=known.node[:253],
        environment=environment_of(known.labels, namespace=at[0], cluster=cluster),
        kind=workload_kind_of(known, serving=False),
    )


def accelerator_identify(labels: Labels, *, facts: Facts) -> AcceleratorIdentity | None:
    """A GPU, or with GPU_I_ID its MIG instance, named by the GPU's UUID and the instance."""
    uuid = first_label(labels, "UUID", "gpu_uuid", "uuid")
    if not uuid:
        return None
    instance = labels.get("GPU_I_ID", "")
    position = first_label(labels, "gpu", "gpu_id", "index")
    return AcceleratorIdentity(
        cluster=cluster_of(labels, facts=facts),
        uuid=(f"{uuid}/{instance}" if instance else uuid)[:120],
        parent=uuid[:120] if instance else "",
        node=node_name({**labels, "node": accelerator_host(labels)}, facts=facts)[:253],
        model_name=first_label(labels, "modelName", "model_name", "card_series")[:120],
        mig_profile=labels.get("GPU_I_PROFILE", "")[:40],
        position=int(position) if position.isdigit() else None,
        pod=held_by(labels),
    )


def held_by(labels: Labels) -> tuple[str, str] | None:
    """The pod that holds the accelerator. An idle GPU carries the exporter's own pod, which holds nothing."""
    at = pod_of(labels, exported_first=True)
    return None if at is None or EXPORTER.search(at[1]) else at


def accelerator_host(labels: Labels) -> str:
    """The host the exporter names itself by comes before the labels of its own target."""
    return first_label(labels, "Hostname", "hostname", "node", "nodename")


def node_identify(labels: Labels, *, facts: Facts) -> NodeIdentity | None:
    name = node_name(labels, facts=facts) or host_of(labels.get("instance", ""))
    return NodeIdentity(cluster_of(labels, facts=facts), name[:253]) if name else None


def identify(labels: Labels, *, system: System, facts: Facts) -> Identity | None:
    """Which row a label set of a serving, accelerator or node system feeds; None: of none."""
    if system.entity is Entity.ACCELERATOR:
        return accelerator_identify(labels, facts=facts)
    if system.entity is Entity.NODE:
        return node_identify(labels, facts=facts)
    return replica_identify(labels, system=system, facts=facts)

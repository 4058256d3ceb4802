"""What kube-state-metrics and node_exporter tell about pods and nodes, read in a fixed number of queries."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from monitoring.prometheus import Prometheus, instant_selector, selector_text
from monitoring.sources.identity import WORKLOAD_LABELS, Facts, Labels, Pod, first_label, host_of, pod_of, workload_of_replica_set

WORKLOAD_NAMES = (
    "kube_pod_info",
    "kube_pod_owner",
    "kube_replicaset_owner",
    "kube_pod_container_info",
    "kube_pod_labels",
    "kube_pod_container_resource_requests",
)
NODE_NAMES = ("kube_node_info", "kube_node_labels", "node_uname_info")
GPU_REQUESTS = 'resource=~"nvidia_com_gpu.*|nvidia_com_mig_.*|amd_com_gpu"'

Infos = Mapping[str, Sequence[Labels]]


def facts_load(client: Prometheus, *, cluster: str, names: Iterable[str], at: float, window_seconds: int) -> Facts:
    """Pods and nodes that were there at any moment of the window that ends at `at`."""
    present = set(names)
    infos: dict[str, Sequence[Labels]] = {}
    requests: dict[tuple[str, str], float] = {}
    for name in (*WORKLOAD_NAMES, *NODE_NAMES):
        if name not in present:
            continue
        gpus = name == "kube_pod_container_resource_requests"
        selector = instant_selector(name, GPU_REQUESTS if gpus else "", selector_text(client.selector))
        matrix = client.query(f"last_over_time({selector}[{window_seconds}s])", at=at)
        infos[name] = matrix.labels
        if gpus:
            for labels, value in zip(matrix.labels, matrix.values[:, -1].tolist(), strict=True):
                key = pod_of(labels, exported_first=True)
                if key:
                    requests[key] = requests.get(key, 0.0) + value
    return facts_of(infos, requests=requests, cluster=cluster)


def facts_of(infos: Infos, *, requests: Mapping[tuple[str, str], float], cluster: str) -> Facts:
    owners = replica_set_owners(infos.get("kube_replicaset_owner", ()))
    pods: dict[tuple[str, str], Pod] = {}
    for name in WORKLOAD_NAMES:
        for labels in infos.get(name, ()):
            key = pod_of(labels, exported_first=True)
            if key and name != "kube_replicaset_owner":
                pods[key] = pod_with(pods.get(key, Pod(*key)), name=name, labels=labels, owners=owners)
    for key, count in requests.items():
        pods[key] = replace(pods.get(key, Pod(*key)), accelerators=count)
    return Facts(
        cluster=cluster,
        pods={key: named_workload(pod) for key, pod in pods.items()},
        hosts=host_names(infos),
        node_labels={first_label(one, "node"): one for one in infos.get("kube_node_labels", ())},
    )


def replica_set_owners(infos: Iterable[Labels]) -> dict[tuple[str, str], str]:
    return {
        (first_label(one, "exported_namespace", "namespace"), one.get("replicaset", "")): one.get("owner_name", "")
        for one in infos
        if one.get("owner_kind") == "Deployment"
    }


def pod_with(pod: Pod, *, name: str, labels: Labels, owners: Mapping[tuple[str, str], str]) -> Pod:
    """The pod with what one more info series says."""
    if name == "kube_pod_info":
        return replace(pod, node=labels.get("node", "") or pod.node, uid=labels.get("uid", "") or pod.uid)
    if name == "kube_pod_labels":
        return replace(pod, labels={key: value for key, value in labels.items() if key.startswith("label_")})
    if name == "kube_pod_container_info":
        container = first_label(labels, "exported_container", "container")
        image = first_label(labels, "image_spec", "image")
        return replace(pod, images=tuple(sorted({*pod.images, (container, image)})))
    if name == "kube_pod_owner":
        return owned(pod, kind=labels.get("owner_kind", ""), owner=labels.get("owner_name", ""), owners=owners)
    return pod


def owned(pod: Pod, *, kind: str, owner: str, owners: Mapping[tuple[str, str], str]) -> Pod:
    if kind in ("", "<none>", "Node") or not owner:
        return pod
    if kind != "ReplicaSet":
        return replace(pod, workload=owner, owner_kind=kind)
    told = owners.get((pod.namespace, owner), "")
    return replace(pod, workload=told or workload_of_replica_set(owner), owner_kind="Deployment")


def named_workload(pod: Pod) -> Pod:
    """Where a serving operator labels its pods, its name is the better workload: it outlives roll-outs."""
    told = first_label(pod.labels, *WORKLOAD_LABELS)
    return replace(pod, workload=told) if told else pod


def host_names(infos: Infos) -> dict[str, str]:
    """Node names by host part of a target's instance, and by internal address."""
    hosts: dict[str, str] = {}
    for one in infos.get("node_uname_info", ()):
        name = first_label(one, "node", "nodename")
        if name:
            hosts[host_of(one.get("instance", ""))] = name
    for one in infos.get("kube_node_info", ()):
        if one.get("internal_ip") and one.get("node"):
            hosts[one["internal_ip"]] = one["node"]
    return hosts

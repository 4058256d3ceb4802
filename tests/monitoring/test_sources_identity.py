"""Label sets to deployments, versions, accelerators and nodes: pure functions, one table a question."""

import pytest

from monitoring.catalog.records import Entity, System
from monitoring.catalog.systems import SYSTEMS
from monitoring.models import WorkloadKind
from monitoring.sources.identity import (
    AcceleratorIdentity,
    DeploymentKey,
    Facts,
    NodeIdentity,
    Pod,
    ReplicaIdentity,
    environment_of,
    holder_identify,
    host_of,
    identify,
    image_version,
    pod_of,
    workload_guess,
)

VLLM, TRITON, DCGM, NODE, TGI = (SYSTEMS[slug] for slug in ("vllm", "triton", "dcgm_exporter", "node_exporter", "tgi"))
POD = Pod(
    "chat",
    "llama-7d9f8b6c5d-x2x7k",
    workload="llama",
    owner_kind="Deployment",
    node="gpu-1",
    images=(("istio-proxy", "istio/proxyv2:1.20"), ("vllm", "vllm/vllm-openai:v0.12.0")),
)
FACTS = Facts("prod-eu", pods={("chat", POD.name): POD}, hosts={"10.0.0.7": "gpu-7"})


@pytest.mark.parametrize(
    ("pod", "workload"),
    [
        ("llama-7d9f8b6c5d-x2x7k", "llama"),
        ("llama-70b-chat-6c8d4f7b9-z9qwr", "llama-70b-chat"),
        ("ranker-0", "ranker"),
        ("ranker-12", "ranker"),
        ("dcgm-exporter-k8x2z", "dcgm-exporter"),
        ("train-job-4xk9d", "train-job"),
        ("notebook", "notebook"),
        ("model-v2", "model-v2"),
        ("embed-large", "embed-large"),
    ],
)
def test_a_workload_is_cut_from_the_name_of_its_pod(pod: str, workload: str) -> None:
    assert workload_guess(pod) == workload


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("vllm/vllm-openai:v0.12.0", "v0.12.0"),
        ("registry.example.com:5000/team/model:2026-11-01", "2026-11-01"),
        ("registry.example.com:5000/team/model", ""),
        ("model@sha256:0123456789abcdef0123", "0123456789ab"),
        ("model:v3@sha256:0123456789abcdef0123", "v3"),
        ("model:latest", ""),
        ("", ""),
    ],
)
def test_the_version_is_the_tag_or_the_digest(image: str, version: str) -> None:
    assert image_version(image) == version


@pytest.mark.parametrize(
    ("labels", "namespace", "cluster", "environment"),
    [
        ({}, "chat-prod", "eu", "production"),
        ({}, "staging-2", "eu", "staging"),
        ({}, "dev", "prod-eu", "development"),
        ({}, "chat", "prod-eu", "production"),
        ({"env": "stg"}, "chat-prod", "eu", "staging"),
        ({"label_environment": "Blue"}, "chat", "eu", "blue"),
        ({}, "product", "developers-of-eu", ""),
        ({}, "chat", "eu", ""),
    ],
)
def test_the_environment_is_told_or_read_from_names(labels: dict[str, str], namespace: str, cluster: str, environment: str) -> None:
    assert environment_of(labels, namespace=namespace, cluster=cluster) == environment


@pytest.mark.parametrize(("instance", "host"), [("10.0.0.7:9100", "10.0.0.7"), ("gpu-1", "gpu-1"), ("[fd00::1]:9100", "fd00::1"), ("", "")])
def test_the_host_is_the_instance_without_its_port(instance: str, host: str) -> None:
    assert host_of(instance) == host


def test_an_exporter_without_honor_labels_has_its_subject_in_the_exported_labels() -> None:
    labels = {"namespace": "monitoring", "pod": "ksm-0", "exported_namespace": "chat", "exported_pod": "llama-0"}
    assert pod_of(labels, exported_first=True) == ("chat", "llama-0")
    assert pod_of(labels, exported_first=False) == ("monitoring", "ksm-0")


def replica(labels: dict[str, str], *, system: System = VLLM, facts: Facts = FACTS) -> ReplicaIdentity:
    found = identify(labels, system=system, facts=facts)
    assert isinstance(found, ReplicaIdentity)
    return found


def test_a_known_pod_gives_workload_version_and_node() -> None:
    labels = {"namespace": "chat", "pod": POD.name, "container": "vllm", "model_name": "llama-3", "engine": "0", "job": "vllm"}
    found = replica(labels)
    assert found.key == DeploymentKey("prod-eu", "chat", "llama", "llama-3")
    assert (found.replica, found.version, found.node, found.environment) == (POD.name, "v0.12.0", "gpu-1", "production")
    assert found.kind is WorkloadKind.SERVING


def test_a_sidecar_does_not_give_the_version() -> None:
    assert replica({"namespace": "chat", "pod": POD.name, "model_name": "llama-3"}).version == "v0.12.0"


def test_an_unknown_pod_gives_the_workload_by_its_name_and_no_version() -> None:
    found = replica({"namespace": "chat", "pod": "coder-6c8d4f7b9-z9qwr", "model_name": "qwen"})
    assert found.key == DeploymentKey("prod-eu", "chat", "coder", "qwen")
    assert (found.version, found.node) == ("", "")


def test_a_target_outside_kubernetes_is_its_job_and_its_instance() -> None:
    found = replica({"job": "chat", "instance": "10.0.0.7:8000", "model_name": "llama-3"})
    assert found.key == DeploymentKey("prod-eu", "", "chat", "llama-3")
    assert (found.replica, found.node) == ("10.0.0.7:8000", "gpu-7")


def test_the_cluster_label_overrides_the_cluster_of_the_source() -> None:
    assert replica({"cluster": "us", "job": "chat", "instance": "a:1", "model_name": "m"}).key.cluster == "us"


def test_a_system_without_a_model_label_is_known_by_its_workload() -> None:
    found = replica({"job": "tgi", "instance": "a:1"}, system=TGI)
    assert found.key == DeploymentKey("prod-eu", "", "tgi", "")


def test_a_series_without_the_model_its_system_names_belongs_to_nobody() -> None:
    assert identify({"job": "chat", "instance": "a:1"}, system=VLLM, facts=FACTS) is None


def test_the_version_label_comes_before_the_image() -> None:
    labels = {"namespace": "chat", "pod": POD.name, "model": "resnet", "version": "3"}
    assert replica(labels, system=TRITON).version == "3"


@pytest.mark.parametrize("told", ["", "None", "not available", "-1"])
def test_a_version_label_that_tells_nothing_leaves_the_image(told: str) -> None:
    labels = {"namespace": "chat", "pod": POD.name, "model": "resnet", "version": told}
    assert replica(labels, system=TRITON).version == "v0.12.0"


def accelerator(**labels: str) -> AcceleratorIdentity:
    found = identify({"UUID": "GPU-1", "gpu": "0", "modelName": "H100", **labels}, system=DCGM, facts=FACTS)
    assert isinstance(found, AcceleratorIdentity)
    return found


def test_a_gpu_is_known_by_its_uuid_and_host() -> None:
    found = accelerator(Hostname="gpu-1", instance="10.0.0.7:9400")
    assert (found.uuid, found.node, found.position, found.model_name, found.parent) == ("GPU-1", "gpu-1", 0, "H100", "")


def test_a_mig_instance_has_its_gpu_as_parent() -> None:
    found = accelerator(GPU_I_ID="3", GPU_I_PROFILE="1g.10gb")
    assert (found.uuid, found.parent, found.mig_profile) == ("GPU-1/3", "GPU-1", "1g.10gb")


@pytest.mark.parametrize(
    ("labels", "pod"),
    [
        ({"namespace": "chat", "pod": "llama-0"}, ("chat", "llama-0")),
        (
            {"namespace": "gpu", "pod": "nvidia-dcgm-exporter-8xk2z", "exported_namespace": "chat", "exported_pod": "llama-0"},
            ("chat", "llama-0"),
        ),
        ({"namespace": "gpu", "pod": "nvidia-dcgm-exporter-8xk2z", "container": "exporter"}, None),
        ({}, None),
    ],
)
def test_the_pod_of_the_exporter_holds_nothing(labels: dict[str, str], pod: tuple[str, str] | None) -> None:
    assert accelerator(**labels).pod == pod


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        ({"instance": "10.0.0.7:9100"}, "gpu-7"),
        ({"instance": "10.0.0.8:9100"}, "10.0.0.8"),
        ({"instance": "10.0.0.8:9100", "node": "worker-8"}, "worker-8"),
    ],
)
def test_a_node_is_told_known_by_its_address_or_named_by_it(labels: dict[str, str], name: str) -> None:
    assert NODE.entity is Entity.NODE
    assert identify(labels, system=NODE, facts=FACTS) == NodeIdentity("prod-eu", name)


@pytest.mark.parametrize(
    ("owner_kind", "workload", "kind"),
    [
        ("Job", "nightly", WorkloadKind.TRAINING),
        ("PyTorchJob", "llm", WorkloadKind.TRAINING),
        ("StatefulSet", "finetune-llama", WorkloadKind.TRAINING),
        ("StatefulSet", "notebook", WorkloadKind.OTHER),
        ("", "constrained", WorkloadKind.OTHER),
    ],
)
def test_a_pod_that_only_holds_gpus_is_training_or_other(owner_kind: str, workload: str, kind: WorkloadKind) -> None:
    facts = Facts("eu", pods={("ml", "p"): Pod("ml", "p", workload=workload, owner_kind=owner_kind)})
    found = holder_identify(("ml", "p"), facts=facts, cluster="eu")
    assert (found.kind, found.key) == (kind, DeploymentKey("eu", "ml", workload, ""))

"""All systems Headroom recognises, by slug, in the order in which screens name them."""

from monitoring.catalog.records import System
from monitoring.catalog.systems import (
    bentoml,
    cadvisor,
    dcgm_exporter,
    kserve,
    kube_state_metrics,
    mlserver,
    node_exporter,
    ray_serve,
    sglang,
    tensorflow_serving,
    tgi,
    torchserve,
    triton,
    vllm,
)

MODULES = (
    vllm,
    sglang,
    tgi,
    triton,
    tensorflow_serving,
    torchserve,
    ray_serve,
    kserve,
    mlserver,
    bentoml,
    dcgm_exporter,
    node_exporter,
    cadvisor,
    kube_state_metrics,
)

SYSTEMS: dict[str, System] = {module.SYSTEM.slug: module.SYSTEM for module in MODULES}

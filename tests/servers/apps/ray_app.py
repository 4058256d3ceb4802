"""A Ray Serve application of two deployments; Ingress calls Scorer. Runs in its own environment and namespace."""

import asyncio
import signal
import sys

import ray
from ray import serve


@serve.deployment(ray_actor_options={"num_cpus": 0.2})
class Scorer:
    async def __call__(self, text: str) -> str:
        await asyncio.sleep(0.02)
        if text == "fail":
            raise ValueError("asked to fail")
        return "1"


@serve.deployment(ray_actor_options={"num_cpus": 0.2})
class Ingress:
    def __init__(self, scorer):
        self.scorer = scorer

    async def __call__(self, request) -> str:
        return await self.scorer.remote(request.query_params["text"])


if __name__ == "__main__":
    http_port, metrics_port = int(sys.argv[1]), int(sys.argv[2])
    ray.init(
        include_dashboard=False,
        _metrics_export_port=metrics_port,
        num_cpus=2,
        object_store_memory=80 * 2**20,
        _node_ip_address="127.0.0.1",
    )
    serve.start(http_options={"host": "127.0.0.1", "port": http_port})
    serve.run(Ingress.bind(Scorer.bind()), name="shop", route_prefix="/predict")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()

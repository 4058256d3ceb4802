"""A KServe model that answers after 20 ms and fails on demand; runs in its own environment, on the loopback."""

import asyncio
import sys

import kserve
import uvicorn


class LoopbackConfig(uvicorn.Config):
    """KServe hard-codes 0.0.0.0; the tests listen on the loopback only."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{**kwargs, "host": "127.0.0.1"})


uvicorn.Config = LoopbackConfig


class Tiny(kserve.Model):
    def load(self):
        self.ready = True

    async def predict(self, payload, headers=None, response_headers=None):
        await asyncio.sleep(0.02)
        if payload["instances"][0] == "fail":
            raise RuntimeError("asked to fail")
        return {"predictions": [1]}


if __name__ == "__main__":
    model = Tiny("tiny")
    model.load()
    kserve.ModelServer(http_port=int(sys.argv[1]), enable_grpc=False, workers=1).start([model])

"""An MLServer model that answers after 20 ms and fails on demand; runs in its own environment."""

import asyncio

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Iris(MLModel):
    async def load(self) -> bool:
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        await asyncio.sleep(0.02)
        if payload.inputs[0].data[0] == 0:
            raise RuntimeError("asked to fail")
        output = ResponseOutput(name="kind", shape=[1], datatype="INT64", data=[1])
        return InferenceResponse(model_name=self.name, outputs=[output])

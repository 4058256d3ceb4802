"""A BentoML service that answers after 20 ms and fails on demand; runs in its own environment."""

import time

import bentoml


@bentoml.service(name="iris_clf", workers=1, metrics={"enabled": True})
class IrisClf:
    @bentoml.api
    def classify(self, text: str) -> str:
        time.sleep(0.02)
        if text == "fail":
            raise RuntimeError("asked to fail")
        return "setosa"

"""A TorchServe handler that answers after 20 ms and fails on demand; packed into an archive by the tests."""

import time

READY = {}


def handle(batch, context):
    if batch is None:
        return None
    time.sleep(0.02)
    body = batch[0].get("body") or batch[0].get("data")
    text = body.decode() if isinstance(body, bytes | bytearray) else str(body)
    if "fail" in text:
        raise RuntimeError("asked to fail")
    return ["1"]

"""What the tests of the door share: a sender with a key, bodies, and what lies in the tables."""

import gzip
import json
import time
from typing import Any

from django.test import Client

from monitoring.access import key_create
from monitoring.models import Cluster, Key, Scope
from tests.factories import make_cluster

STEP = 15.0


def grid(count: int = 4, *, ago: float = 0.0) -> list[float]:
    """So many instants of the 15-second grid up to now, oldest first."""
    end = (time.time() - ago) // STEP * STEP
    return [end - STEP * (count - 1 - n) for n in range(count)]


def gpu(key: str = "GPU-0", **told: Any) -> dict[str, Any]:
    return {"kind": "accelerator", "key": key, "model_name": "NVIDIA H100 80GB HBM3", "position": 0, "memory_bytes": 85520809984, **told}


def body_of(
    columns: dict[str, Any] | None = None, *, node: str = "gpu-7", times: list[float] | None = None, **parts: Any
) -> dict[str, Any]:
    """A batch of one node and one GPU, or of what is given."""
    times = grid() if times is None else times
    entities = parts.pop("entities", None) or [{"kind": "node", "key": node}, gpu()]
    agent = {"node": node, "version": "0.1.0", "started_at": 1795322400.0, "interval_seconds": STEP, **parts.pop("agent", {})}
    if columns is None:
        columns = {"power_watts": [None, [400.0 + n for n in range(len(times))]], "load1": [[1.5] * len(times), None]}
    return {"agent": agent, "seq": 1, "sent_at": time.time(), "times": times, "entities": entities, "columns": columns, **parts}


class Sender:
    """An agent of the tests: posts bodies with its key."""

    def __init__(self, *, cluster: Cluster | None = None, **fields: Any) -> None:
        self.cluster = cluster or make_cluster()
        self.key: Key
        self.key, self.text = key_create("agent", scope=fields.pop("scope", Scope.INGEST), created_by=None, cluster=self.cluster, **fields)
        self.client = Client()

    def post(self, body: Any, *, packed: bool = False, **headers: str) -> Any:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.text}", **headers}
        if packed:
            raw, headers = gzip.compress(raw), {**headers, "Content-Encoding": "gzip"}
        kind = headers.pop("Content-Type", "application/json")
        return self.client.post("/api/v1/ingest", data=raw, content_type=kind, headers=headers)

    def send(self, *args: Any, packed: bool = False, **parts: Any) -> dict[str, Any]:
        """Post a body of these parts; the counts."""
        answer = self.post(body_of(*args, **parts), packed=packed)
        assert answer.status_code == 200, answer.content
        counts: dict[str, Any] = answer.json()
        return counts

    def refused(self, body: Any, status: int, **headers: str) -> str:
        """The sentence of a refusal, which must be a problem."""
        answer = self.post(body, **headers)
        assert answer.status_code == status, answer.content
        assert answer["Content-Type"] == "application/problem+json"
        return str(answer.json()["detail"])

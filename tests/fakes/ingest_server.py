"""A fake of the ingest door that keeps samples by (entity, time), and the faults a network has between it and an agent."""

import gzip
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from tests.servers.loopback import Handler, Seen

KEY = "hr_ag_abcdefgh_" + "k" * 43
Sample = tuple[str, str, float, str]  # kind, key, time, column


@dataclass
class Fault:
    """What happens to a request: refused before it is read, answered with a status, or stored with its answer lost."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    ack_lost: bool = False
    body: bytes = b'{"detail": "fault"}'


@dataclass
class FakeIngest:
    """`fault` decides about each request by its number; None lets it through."""

    fault: Callable[[int], Fault | None] = lambda number: None
    clock: Callable[[], float] = lambda: 1_795_322_400.0
    samples: dict[Sample, float] = field(default_factory=dict)
    stored_at: dict[float, float] = field(default_factory=dict)  # time of a reading -> when it arrived
    bodies: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0
    guard: threading.Lock = field(default_factory=threading.Lock)

    def respond(self, handler: Handler) -> None:
        handler.date_time_string = lambda timestamp=None: formatdate(self.clock(), usegmt=True)  # type: ignore[method-assign]
        with self.guard:
            self.requests += 1
            fault = self.fault(self.requests)
            if fault is not None and not fault.ack_lost:
                if not fault.status:
                    handler.close_connection = True
                    handler.connection.close()
                    return
                handler.reply(fault.status, fault.body, fault.headers)
                return
            answer = self.store(handler.server.seen[-1])
        if fault is not None:
            handler.close_connection = True
            handler.connection.close()
            return
        handler.reply(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def store(self, seen: Seen) -> dict[str, Any]:
        assert seen.path == "/api/v1/ingest" and seen.headers["Authorization"] == f"Bearer {KEY}"
        text = gzip.decompress(seen.body) if seen.headers.get("Content-Encoding") == "gzip" else seen.body
        body = json.loads(text)
        assert body["times"] == sorted(set(body["times"])) and len(text) <= 32 * 2**20
        self.bodies.append(body)
        accepted = duplicate = 0
        for name, rows in body["columns"].items():
            for entity, row in zip(body["entities"], rows, strict=True):
                for time, value in zip(body["times"], row or [None] * len(body["times"]), strict=True):
                    if value is None:
                        continue
                    sample = (entity["kind"], entity["key"], time, name)
                    duplicate, accepted = duplicate + (sample in self.samples), accepted + (sample not in self.samples)
                    self.samples.setdefault(sample, value)
        for time in body["times"]:
            self.stored_at.setdefault(time, self.clock())
        assert accepted + duplicate <= 10_000
        return {"accepted": accepted, "duplicate": duplicate, "rejected": 0, "errors": [], "received_at": self.clock()}

    @property
    def times(self) -> list[float]:
        return sorted(self.stored_at)

"""The other side of a webhook: a real HTTP server that writes down what it took, holds an answer back, or behaves badly."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from tests.telemetry import NOON_SECONDS

STEP = 4200.0  # seconds from one incident to the next: flapping counts the edges of an hour
KEY = re.compile(rb"headroom-\d+-\d+-\d+")


class Edge(NamedTuple):
    """What must be told."""

    channel: str
    deployment: str
    incident: int
    event: str


class Delivery(NamedTuple):
    edge: Edge
    key: str
    at: float  # monotonic seconds


class Door(BaseHTTPRequestHandler):
    server: "Receiver"

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) == length:  # else whoever sent it is dead, and it never was here
            self.server.take(self, body)

    def answer(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "2", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None:
        return


class Receiver(ThreadingHTTPServer):
    """`refuse` deals with a message in its own way and says so, or leaves it. Message number `hold` gets no answer: `held` is set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Door)
        self.deliveries: list[Delivery] = []
        self.messages: dict[str, list[bytes]] = {}
        self.refuse: Callable[[Door], bool] = lambda door: False
        self.hold = 0
        self.held, self.release = threading.Event(), threading.Event()
        self.lock = threading.Lock()

    @property
    def port(self) -> int:
        return int(self.server_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def take(self, door: Door, body: bytes) -> None:
        if self.refuse(door):
            return
        channel = door.path.strip("/").split("/")[0]
        with self.lock:
            self.messages.setdefault(channel, []).append(body)
            self.deliveries += deliveries_of(channel, body)
            self.hold -= 1
            keep_back = self.hold == 0
        if keep_back:
            self.held.set()
            self.release.wait()
        door.answer(200)

    def handle_error(self, request: object, client_address: object) -> None:
        """A sender that is killed hangs up."""


def deliveries_of(channel: str, body: bytes) -> list[Delivery]:
    found = json.loads(body)
    if "data" not in found:  # other kinds than webhooks are counted only
        return []
    return [
        Delivery(
            Edge(channel, told["labels"]["deployment"], int((told["started_at"] - NOON_SECONDS) // STEP), told["event"]),
            told["dedup_key"],
            time.monotonic(),
        )
        for told in found["data"]["alerts"]
    ]


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.release.set()
        receiver.shutdown()
        thread.join(5)
        receiver.server_close()

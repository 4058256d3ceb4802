"""A proxy in front of a real server that answers some requests wrongly, and one that answers nothing but what it is told."""

import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from tests.servers.processes import free_port


@dataclass(frozen=True)
class Fault:
    """An answer in place of the server's."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Rule = Callable[[str, str], Fault | None]  # (path, decoded query and form) -> fault, or None to pass it on


class FaultProxy:
    """Passes requests on to `target`, except where `rule` has another answer; a context manager."""

    def __init__(self, target: str, rule: Rule) -> None:
        self.target = target
        self.rule = rule
        self.asked: list[str] = []
        self.port = free_port(low=9100, high=9999)
        self.server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "FaultProxy":
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(b"")

            def do_POST(self) -> None:
                self.answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

            def answer(self, body: bytes) -> None:
                fault = proxy.answer(self.path, body, self.headers.get("Content-Type", ""))
                self.send_response(fault.status)
                for name, value in {**fault.headers, "Content-Length": str(len(fault.body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(fault.body)

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.server:
            self.server.shutdown()
            self.server.server_close()

    def answer(self, path: str, body: bytes, content_type: str) -> Fault:
        words = urllib.parse.unquote_plus(f"{path} {body.decode()}")
        self.asked.append(words)
        fault = self.rule(urllib.parse.urlsplit(path).path, words)
        return fault or self.passed_on(path, body, content_type)

    def passed_on(self, path: str, body: bytes, content_type: str) -> Fault:
        headers = {"Content-Type": content_type} if content_type else {}
        request = urllib.request.Request(self.target + path, data=body or None, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return Fault(reply.status, reply.read(), {"Content-Type": reply.headers.get("Content-Type", "")})
        except urllib.error.HTTPError as error:
            return Fault(error.code, error.read(), {"Content-Type": "application/json"})


def only(fault: Fault) -> FaultProxy:
    """A server that gives one answer to everything."""
    return FaultProxy("http://127.0.0.1:9", lambda path, words: fault)

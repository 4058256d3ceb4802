"""Two gates in front of the application, so that pages never starve ingest nor ingest the pages.

Each lets so many in at once. Over its number an ingest is told 503 at once, as the agent keeps its batch and comes again; a page
waits a little, and only so many wait. The web server has more threads than both gates let in and wait, so neither takes the other's.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from threading import BoundedSemaphore, Lock
from typing import Any

INGEST_PATH = "/api/v1/ingest"
# Not counted: what must answer while all else is busy, and files, which need no database.
FREE = ("/healthz", "/readyz", "/metrics", "/static/")
PAGE_WAIT_SECONDS = 10.0
PAGES_WAITING = 8
AGAIN_SECONDS = 2

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class Gate:
    """So many at once, so many waiting, for so long."""

    def __init__(self, *, most: int, waiting: int = 0, wait_seconds: float = 0.0) -> None:
        self.places, self.most_waiting, self.wait_seconds = BoundedSemaphore(most), waiting, wait_seconds
        self.waiting, self.lock = 0, Lock()

    def enter(self) -> bool:
        if self.places.acquire(blocking=False):
            return True
        with self.lock:
            if self.waiting >= self.most_waiting:
                return False
            self.waiting += 1
        try:
            return self.places.acquire(timeout=self.wait_seconds)
        finally:
            with self.lock:
                self.waiting -= 1

    def leave(self) -> None:
        self.places.release()


class Leaving:
    """A response that leaves its gate when it has been sent or given up."""

    def __init__(self, response: Iterable[bytes], gate: Gate) -> None:
        self.response, self.gate = response, gate

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.response)

    def close(self) -> None:
        try:
            close = getattr(self.response, "close", None)
            if close is not None:
                close()
        finally:
            self.gate.leave()


class Gates:
    """The application behind its gates."""

    def __init__(self, application: Application, *, pushes: Application | None = None, ingests: int, pages: int) -> None:
        self.application, self.pushes = application, pushes or application
        self.ingests = Gate(most=ingests)
        self.pages = Gate(most=pages, waiting=PAGES_WAITING, wait_seconds=PAGE_WAIT_SECONDS)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path.startswith(FREE):
            return self.application(environ, start_response)
        pushed = path == INGEST_PATH
        gate, application = (self.ingests, self.pushes) if pushed else (self.pages, self.application)
        if not gate.enter():
            return busy(path, start_response)
        try:
            return Leaving(application(environ, start_response), gate)
        except BaseException:
            gate.leave()
            raise


def busy(path: str, start_response: Callable[..., Any]) -> Iterable[bytes]:
    text = "Too much at once. Nothing is lost; try again in a few seconds."
    kind, body = "text/plain; charset=utf-8", text.encode()
    if path.startswith("/api/"):
        kind = "application/problem+json"
        body = json.dumps({"type": "about:blank", "title": "Service Unavailable", "status": 503, "detail": text}).encode()
    headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Retry-After", str(AGAIN_SECONDS))]
    start_response("503 Service Unavailable", headers)
    return [body]

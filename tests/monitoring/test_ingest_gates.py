"""Pages never starve ingest nor ingest the pages: the gates alone, and behind a real gunicorn."""

import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from monitoring.api.gates import Gate, Gates
from tests.servers.processes import free_port, wait_until

ROOT = Path(__file__).resolve().parents[2]
HOLD_SECONDS = 3.0  # how long the slow requests of these tests hold their places
# An application whose every request takes as long as its query says, behind the real gates.
APPLICATION = """
import time
from monitoring.api.gates import Gates
def slow(environ, start_response):
    time.sleep(float(environ["QUERY_STRING"] or 0))
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
application = Gates(slow, ingests=2, pages=2)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("gates"), free_port()
    (folder / "slow_app.py").write_text(APPLICATION)
    command = [sys.executable, "-m", "gunicorn", "slow_app:application", "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread"]
    command += ["--workers", "1", "--threads", "24", "--no-control-socket"]
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: asked(f"{url}/readyz")[0] == 200, seconds=30, what="gunicorn")
        yield url
    finally:
        process.terminate()
        process.wait(10)


def asked(url: str) -> tuple[int, float, str]:
    """Status, seconds, Retry-After."""
    began = time.monotonic()
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            status, again = answer.status, ""
    except urllib.error.HTTPError as error:
        status, again = error.code, error.headers.get("Retry-After", "")
    except OSError:
        return 0, time.monotonic() - began, ""
    return status, time.monotonic() - began, again


def crowd(pool: ThreadPoolExecutor, url: str, *, count: int) -> list[Future[tuple[int, float, str]]]:
    """So many slow requests, under way when this returns."""
    return [pool.submit(asked, f"{url}?{HOLD_SECONDS}") for _ in range(count)]


def test_slow_pages_do_not_delay_ingest(server: str) -> None:
    with ThreadPoolExecutor(12) as pool:
        crowd(pool, f"{server}/deployments/1/", count=8)
        wait_until(lambda: asked(f"{server}/healthz")[0] == 200, seconds=5, what="a free thread")
        for _ in range(10):
            status, seconds, _ = asked(f"{server}/api/v1/ingest")
            assert status == 200 and seconds < HOLD_SECONDS / 3


def test_slow_ingests_do_not_delay_pages_and_more_of_them_are_told_to_come_again(server: str) -> None:
    with ThreadPoolExecutor(12) as pool:
        waits = crowd(pool, f"{server}/api/v1/ingest", count=3)  # two hold both places, and the third hears so at once
        wait_until(lambda: any(wait.done() for wait in waits), seconds=2, what="both places to be taken")
        status, seconds, again = asked(f"{server}/api/v1/ingest")
        assert (status, again) == (503, "2") and seconds < HOLD_SECONDS / 3
        for _ in range(10):
            status, seconds, _ = asked(f"{server}/deployments/1/")
            assert status == 200 and seconds < HOLD_SECONDS / 3


def test_a_page_waits_its_turn_and_not_for_ever() -> None:
    gate = Gate(most=1, waiting=1, wait_seconds=0.05)
    assert gate.enter() and not gate.enter()
    timer = threading.Timer(0.02, gate.leave)
    timer.start()
    gate.wait_seconds = 5.0
    assert gate.enter()


def test_nobody_waits_where_nobody_may() -> None:
    gate = Gate(most=1, wait_seconds=60.0)
    began = time.monotonic()
    assert gate.enter() and not gate.enter() and time.monotonic() - began < 1


class TestPlaces:
    """A place is given back however a request ends."""

    def gates(self, fail: bool) -> Gates:
        def application(environ: dict[str, object], start_response: object) -> list[bytes]:
            if fail:
                raise ValueError("broken")
            return [b"ok"]

        return Gates(application, ingests=1, pages=1)

    def test_when_it_is_answered(self) -> None:
        gates = self.gates(fail=False)
        for _ in range(3):
            response = gates({"PATH_INFO": "/api/v1/ingest"}, lambda *_: None)
            assert list(response) == [b"ok"]
            response.close()  # type: ignore[attr-defined]

    def test_when_it_breaks(self) -> None:
        gates = self.gates(fail=True)
        for _ in range(3):
            with pytest.raises(ValueError, match="broken"):
                gates({"PATH_INFO": "/api/v1/ingest"}, lambda *_: None)

    def test_when_it_is_over_the_number_it_is_told_so(self) -> None:
        gates = self.gates(fail=False)
        said: list[object] = []
        first = gates({"PATH_INFO": "/api/v1/ingest"}, lambda *_: None)
        body = gates({"PATH_INFO": "/api/v1/ingest"}, lambda status, headers: said.append((status, dict(headers)["Retry-After"])))
        assert said == [("503 Service Unavailable", "2")] and b"try again" in b"".join(body)
        first.close()  # type: ignore[attr-defined]

"""Debian's Prometheus over back-filled blocks: the peer of `make bench-read`."""

import http.client
import json
import shutil
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capacity.supervisor.postgres import port_free

Floats = NDArray[np.float64]
START_SECONDS = 120.0
BLOCK = "--max-block-duration=54h"  # as Prometheus itself would compact a month; promtool reads the text once for each block


def lines_of(name: str, times: Floats, values: Floats) -> Iterator[str]:
    """One series as OpenMetrics text."""
    for value, at in zip(values.tolist(), times.tolist(), strict=True):
        yield f"{name} {value:.7g} {at:.0f}\n"


class Peer:
    """promtool makes blocks of a text file; Prometheus serves them on a free port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = port_free()
        self.process: subprocess.Popen[bytes] | None = None
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def fill(self, text: Path) -> None:
        subprocess.run(
            ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", BLOCK, text, self.folder / "blocks"], check=True
        )

    def start(self) -> None:
        config = self.folder / "prometheus.yml"
        config.write_text("global: {}\n")
        self.process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={self.folder / 'blocks'}",
                "--storage.tsdb.retention.time=10y",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--log.level=error",
            ]
        )
        ending = time.monotonic() + START_SECONDS
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > ending:
                raise RuntimeError("Prometheus did not start; its words stand above")
            time.sleep(0.2)

    def ready(self) -> bool:
        try:
            return self.get("/-/ready")[0] == 200
        except OSError:
            self.connection.close()
            return False

    def get(self, path: str) -> tuple[int, bytes]:
        self.connection.request("GET", path)
        reply = self.connection.getresponse()
        return reply.status, reply.read()

    def query(self, expression: str, *, at: float) -> list[dict[str, Any]]:
        return self.ask("/api/v1/query", {"query": expression, "time": f"{at:.0f}"})

    def query_range(self, expression: str, *, start: float, end: float, step: float) -> list[dict[str, Any]]:
        return self.ask("/api/v1/query_range", {"query": expression, "start": f"{start:.0f}", "end": f"{end:.0f}", "step": f"{step:.0f}"})

    def ask(self, path: str, parameters: dict[str, str]) -> list[dict[str, Any]]:
        status, body = self.get(f"{path}?{urllib.parse.urlencode(parameters)}")
        reply = json.loads(body)
        if status != 200:
            raise RuntimeError(f"Prometheus refused {parameters}: {reply}")
        result: list[dict[str, Any]] = reply["data"]["result"]
        return result

    def stop(self) -> None:
        self.connection.close()
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=30)


def peer_missing() -> str | None:
    """A sentence when Debian's Prometheus is not here."""
    gone = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
    return f"{' and '.join(gone)} not found: apt-get install prometheus" if gone else None

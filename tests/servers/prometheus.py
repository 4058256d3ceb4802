"""A real Prometheus (Debian's) on the loopback, with back-filled history and live targets."""

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from tests.servers.processes import Process, free_port, wait_until

MISSING = "{program} is not installed; run: apt-get install --no-install-recommends prometheus prometheus-node-exporter"


@dataclass(frozen=True)
class Target:
    """One scrape job with one target; `labels` are added to each of its series."""

    job: str
    address: str  # host:port
    path: str = "/metrics"
    labels: Mapping[str, str] = field(default_factory=dict)


def program(name: str) -> str:
    found = shutil.which(name)
    if not found:
        raise RuntimeError(MISSING.format(program=name))
    return found


class PrometheusServer:
    """Debian's Prometheus in a folder of its own; a context manager.

    `port` lies among those the guarded client takes without asking (9100 to 9999).
    """

    def __init__(self, folder: Path, *, targets: Sequence[Target] = (), scrape_seconds: float = 1.0, port: int | None = None) -> None:
        self.folder = folder
        self.targets = list(targets)
        self.scrape_seconds = scrape_seconds
        self.port = port or free_port(low=9100, high=9999)
        self.process: Process | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "PrometheusServer":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def backfill(self, files: Iterable[Path], *, block_hours: int = 1458) -> None:
        """Make blocks from OpenMetrics files, before the start. promtool reads its file once for each block, hence big blocks."""
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda path: self.backfill_one(path, block_hours=block_hours), files))

    def backfill_one(self, path: Path, *, block_hours: int) -> None:
        command = [program("promtool"), "tsdb", "create-blocks-from", "openmetrics", "--quiet"]
        command += [f"--max-block-duration={block_hours}h", str(path), str(self.folder / "data")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"promtool could not read {path}: {done.stderr[-2000:]}")

    def start(self) -> None:
        config = self.folder / "prometheus.yml"
        config.write_text(json.dumps(self.config()))  # JSON is YAML
        self.process = Process(
            [
                program("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={self.folder / 'data'}",
                "--storage.tsdb.retention.time=100d",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--web.enable-lifecycle",
                "--log.level=warn",
            ],
            folder=self.folder,
            name="prometheus",
        )
        self.process.start()
        self.process.wait_for(self.is_ready, seconds=60, what=f"Prometheus on port {self.port}")

    def config(self) -> dict[str, object]:
        every = f"{round(self.scrape_seconds * 1000)}ms"
        jobs = [
            {
                "job_name": target.job,
                "metrics_path": target.path,
                "honor_labels": True,
                "static_configs": [{"targets": [target.address], "labels": dict(target.labels)}],
            }
            for target in self.targets
        ]
        return {"global": {"scrape_interval": every, "scrape_timeout": every}, "scrape_configs": jobs}

    def reload(self, targets: Sequence[Target]) -> None:
        """Other targets, without a restart."""
        self.targets = list(targets)
        (self.folder / "prometheus.yml").write_text(json.dumps(self.config()))
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/-/reload", method="POST"), timeout=10).close()

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def pause(self) -> None:
        """Frozen: it takes connections and answers nothing, and scrapes nothing."""
        if self.process:
            self.process.pause()

    def resume(self) -> None:
        if self.process:
            self.process.resume()

    def stop(self) -> None:
        if self.process:
            self.process.stop()
            self.process = None

    def value(self, expr: str) -> float | None:
        """One number by a direct question, past our own client; None where there is no answer."""
        url = f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': expr})}"
        with urllib.request.urlopen(url, timeout=10) as reply:
            result = json.load(reply)["data"]["result"]
        return float(result[0]["value"][1]) if result else None

    def wait_for_value(self, expr: str, *, seconds: float = 30.0) -> float:
        """The first answer of an expression."""
        wait_until(lambda: self.value(expr) is not None, seconds=seconds, what=f"a value of {expr}")
        found = self.value(expr)
        assert found is not None
        return found

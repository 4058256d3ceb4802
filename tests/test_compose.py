"""docker-compose.yml without Docker: its shape, and each service's own command in a clean environment.

A real Postgres, a real Redis, a real Prometheus; two web, two workers and two beats at once: nothing is run twice.
"""

import http.client
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from capacity.supervisor.postgres import port_free
from tests.compose import ROOT, compose_read, dockerfile_steps, image_environment, image_files
from tests.embedded import postgres_end, postgres_start
from tests.servers.model_servers import node_exporter
from tests.servers.processes import Process, wait_until
from tests.servers.prometheus import PrometheusServer

pytestmark = pytest.mark.xdist_group("compose")
GIVEN = {
    "POSTGRES_PASSWORD": "p",
    "HEADROOM_SECRET_KEY": "compose-compose-compose-compose-compose-compose-compose",
    "HEADROOM_ENCRYPTION_KEY": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    "HEADROOM_PUBLIC_URL": "https://headroom.example.com",
    "HEADROOM_ADMIN_EMAIL": "ann@example.com",
    "HEADROOM_ADMIN_PASSWORD": "a-long-enough-password",
}
OURS = ("prepare", "web", "worker", "beat")
SERVICE_KEYS = {
    *("image", "build", "command", "environment", "depends_on", "ports", "volumes", "healthcheck", "restart", "profiles", "configs"),
    *("init", "read_only", "tmpfs", "cap_drop", "security_opt", "stop_grace_period", "shm_size"),
}
RESTARTS = {"no", "always", "on-failure", "unless-stopped"}
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}
STEP_SECONDS = 15


class TestTheShape:
    file = compose_read(GIVEN)
    services: dict[str, dict[str, Any]] = file["services"]

    def test_it_has_the_services_of_an_install(self) -> None:
        assert set(self.services) == {*OURS, "postgres", "redis", "prometheus"}
        assert set(self.file) - {"x-headroom", "x-environment"} == {"services", "volumes", "configs"}
        assert self.services["prometheus"]["profiles"] == ["prometheus"]

    @pytest.mark.parametrize("name", services)
    def test_a_service_has_only_words_of_compose_in_their_types(self, name: str) -> None:
        service = self.services[name]
        assert set(service) <= SERVICE_KEYS
        assert isinstance(service["image"], str) and service["restart"] in RESTARTS
        assert isinstance(service["command"], list) and all(isinstance(word, str) for word in service["command"])
        assert all(isinstance(value, str) for value in service.get("environment", {}).values())
        assert all(isinstance(port, str) and port.startswith("127.0.0.1:") for port in service.get("ports", []))

    @pytest.mark.parametrize("name", services)
    def test_what_a_service_names_exists(self, name: str) -> None:
        service = self.services[name]
        for needed, how in service.get("depends_on", {}).items():
            assert needed in self.services and how["condition"] in CONDITIONS
            assert how["condition"] != "service_healthy" or "healthcheck" in self.services[needed]
        for mount in service.get("volumes", []):
            assert mount.split(":")[0] in self.file["volumes"]
        for config in service.get("configs", []):
            assert config["source"] in self.file["configs"]

    def test_nothing_starts_without_its_secrets(self) -> None:
        for name in (
            "POSTGRES_PASSWORD",
            "HEADROOM_SECRET_KEY",
            "HEADROOM_ENCRYPTION_KEY",
            "HEADROOM_PUBLIC_URL",
            "HEADROOM_ADMIN_PASSWORD",
        ):
            with pytest.raises(KeyError, match=name):
                compose_read({**GIVEN, name: ""})

    def test_every_setting_it_passes_on_stands_in_the_example(self) -> None:
        example = (ROOT / "deploy" / "compose.env.example").read_text()
        assert all(f"{name}=" in example for name in GIVEN)

    def test_the_image_runs_as_an_ordinary_user_and_has_no_secret(self) -> None:
        assert dockerfile_steps("USER") == ["10001"]
        assert not [name for name in image_environment() if "KEY" in name or "PASSWORD" in name]


class Stack:
    """The services of our image, each started by its own command, with the image's files and nothing of ours around."""

    def __init__(self, folder: Path, *, database: str, redis_port: int) -> None:
        self.folder, self.app = folder, folder / "app"
        self.database = database
        self.services = compose_read(GIVEN)["services"]
        self.redis_url = f"redis://127.0.0.1:{redis_port}/0"
        self.app.mkdir()
        for name in image_files():
            target = self.app / name
            target.parent.mkdir(parents=True, exist_ok=True)
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, target, ignore=ignore) if (ROOT / name).is_dir() else shutil.copy(ROOT / name, target)

    def environment(self, name: str) -> dict[str, str]:
        given = dict(self.services[name]["environment"]) if name in self.services else {}
        given |= {"DATABASE_URL": self.database, "CELERY_BROKER_URL": self.redis_url, "HEADROOM_ALLOW_LOOPBACK": "1"}
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        return {"PATH": path, **image_environment(), "HEADROOM_STATIC_ROOT": str(self.folder / "static"), **given}

    def build(self) -> None:
        """The image's own last step."""
        for step in dockerfile_steps("RUN")[1:]:
            environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", **image_environment()}
            environment["HEADROOM_STATIC_ROOT"] = str(self.folder / "static")
            self.run(["/bin/sh", "-c", step], environment)

    def run(self, command: list[str], environment: dict[str, str]) -> str:
        done = subprocess.run(command, cwd=self.app, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def prepare(self) -> str:
        return self.run(self.services["prepare"]["command"], self.environment("prepare"))

    def source_add(self, address: str) -> None:
        """A source of 15 s steps that is due now, made by the image's own Python."""
        program = (
            "from monitoring.models import Cluster, Source\n"
            "cluster = Cluster.objects.create(name='real')\n"
            f"Source.objects.create(name='real', url='{address}', cluster=cluster, step_seconds={STEP_SECONDS})"
        )
        self.run(["python", "manage.py", "shell", "-c", program], self.environment("worker"))

    def start(self, name: str, *, number: int, port: int = 0) -> Process:
        here = {"0.0.0.0:8080": f"127.0.0.1:{port}", "/tmp/beat-schedule": str(self.folder / f"beat-schedule{number}")}
        words = [here.get(word, word) for word in self.services[name]["command"]]
        process = CleanProcess(words, folder=self.app, name=f"{name}{number}", environ=self.environment(name))
        process.log = self.folder / f"{name}{number}.log"
        process.start()
        return process


class CleanProcess(Process):
    """With its own environment only."""

    def __init__(self, command: list[str], *, folder: Path, name: str, environ: dict[str, str]) -> None:
        super().__init__(command, folder=folder, name=name)
        self.environ = environ


def status(port: int, path: str, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers={"Host": "localhost", **headers})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    server = postgres_start()
    yield server.url
    postgres_end(server)


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The command of the compose file, on a port and a folder of the test's own."""
    found, port = shutil.which("redis-server", path="/usr/bin:/usr/local/bin"), port_free()
    assert found, "redis-server is not installed; run: apt-get install --no-install-recommends redis-server"
    words = compose_read(GIVEN)["services"]["redis"]["command"][1:]
    folder = tmp_path_factory.mktemp("redis")
    process = Process([found, "--port", str(port), "--bind", "127.0.0.1", *words], folder=folder, name="redis")
    process.start()
    process.wait_for(lambda: "Ready to accept" in process.log.read_text(), seconds=20, what="Redis")
    yield port
    process.stop()


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


def test_two_of_each_service_run_by_their_own_commands_and_do_nothing_twice(tmp_path: Path, postgres_url: str, redis_port: int) -> None:
    stack = Stack(tmp_path, database=postgres_url, redis_port=redis_port)
    stack.build()
    assert "admin made" in stack.prepare()
    assert "admin made" not in stack.prepare()  # a second start changes nothing
    with ExitStack() as closing:
        prometheus = closing.enter_context(
            PrometheusServer(tmp_path / "prometheus", targets=[closing.enter_context(node_exporter(tmp_path))], scrape_seconds=2.0)
        )
        stack.source_add(prometheus.url)
        ports = [port_free(), port_free()]
        processes = [stack.start("web", number=n, port=port) for n, port in enumerate(ports)]
        processes += [stack.start(name, number=n) for name in ("worker", "beat") for n in (0, 1)]
        for process in processes:
            closing.callback(process.stop)
        for process, port in zip(processes, ports, strict=False):
            process.wait_for(lambda port=port: status(port, "/readyz") == 200, seconds=90, what="web")  # type: ignore[misc]
            assert status(port, "/accounts/login/", **{"X-Forwarded-Proto": "https"}) == 200
            assert status(port, "/accounts/login/") == 301  # to https
        watch(postgres_url)
        assert all(process.is_running for process in processes)
    nothing_twice(postgres_url)


def watch(url: str) -> None:
    """Until the source was polled twice and both workers took part."""

    def enough() -> bool:
        slots = rows(url, "SELECT owner, summary FROM monitoring_jobslot WHERE finished_at IS NOT NULL")
        polls = [summary for _, summary in slots if "sources polled" in summary]
        return len(polls) >= 2 and len({owner for owner, _ in slots}) >= 2

    wait_until(enough, seconds=120.0, what="two polls by two workers")


def nothing_twice(url: str) -> None:
    slots = rows(url, "SELECT job, slot_time, error FROM monitoring_jobslot")
    assert max(Counter((job, at) for job, at, _ in slots).values()) == 1
    assert not [error for _, _, error in slots if error]
    polls = rows(url, "SELECT started_at FROM monitoring_jobslot WHERE summary LIKE '%sources polled%' ORDER BY started_at")
    gaps = [(later[0] - earlier[0]).total_seconds() for earlier, later in zip(polls, polls[1:], strict=False)]
    assert min(gaps) > STEP_SECONDS / 2  # each cycle once, whoever took it
    assert rows(url, "SELECT count(*) > 0, count(*) = count(DISTINCT (node_id, time)) FROM node_sample") == [(True, True)]

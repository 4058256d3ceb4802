"""Real model servers from PyPI, each in its own environment, as context managers on the loopback."""

import http.client
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.environments import environment
from tests.servers.load import Call, call_once
from tests.servers.processes import Process, free_port
from tests.servers.prometheus import Target, program

APPS = Path(__file__).resolve().parent / "apps"


@dataclass(frozen=True)
class ModelServer:
    """A running server: where it answers, where it is scraped, and the requests that succeed and fail."""

    system: str
    model: str
    url: str
    target: Target
    good: Call
    bad: Call


def body(value: object) -> bytes:
    return json.dumps(value).encode()


def answers(address: str, path: str) -> bool:
    connection = http.client.HTTPConnection(address, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def answers_well(address: str, call: Call) -> bool:
    """True once a request succeeds; a worker that still loads may keep us waiting, or cut us off."""
    try:
        return call_once(address, call)
    except OSError:
        return False


@contextmanager
def running(process: Process, server: ModelServer, *, ready_path: str, seconds: float) -> Iterator[ModelServer]:
    """Start, wait until it is ready, send the one request that makes its series appear, stop."""
    address = server.url.removeprefix("http://")
    process.start()
    try:
        process.wait_for(lambda: answers(address, ready_path), seconds=seconds, what=f"{server.system} on {server.url}")
        process.wait_for(lambda: answers_well(address, server.good), seconds=seconds, what=f"a first answer of {server.system}")
        yield server
    finally:
        process.stop()


@contextmanager
def kserve_server(folder: Path) -> Iterator[ModelServer]:
    port = free_port()
    process = Process([environment("kserve") / "bin" / "python", APPS / "kserve_app.py", str(port)], folder=folder, name="kserve")
    path = "/v1/models/tiny:predict"
    server = ModelServer(
        system="kserve",
        model="tiny",
        url=f"http://127.0.0.1:{port}",
        target=Target("kserve", f"127.0.0.1:{port}"),
        good=Call(path, body({"instances": ["fine"]})),
        bad=Call(path, body({"instances": ["fail"]}), fails=True),
    )
    with running(process, server, ready_path="/v1/models/tiny", seconds=60) as ready:
        yield ready


@contextmanager
def bentoml_server(folder: Path) -> Iterator[ModelServer]:
    port = free_port()
    place = environment("bentoml")
    command = [place / "bin" / "bentoml", "serve", "bentoml_app:IrisClf", "--host", "127.0.0.1", "-p", str(port)]
    environ = {"BENTOML_HOME": str(folder / "bentoml"), "PYTHONPATH": str(APPS), "PATH": f"{place / 'bin'}:/usr/bin:/bin"}
    shutil.copy(APPS / "bentoml_app.py", folder)
    process = Process(command, folder=folder, name="bentoml", environ=environ)
    server = ModelServer(
        system="bentoml",
        model="iris_clf",
        url=f"http://127.0.0.1:{port}",
        target=Target("bentoml", f"127.0.0.1:{port}"),
        good=Call("/classify", body({"text": "fine"})),
        bad=Call("/classify", body({"text": "fail"}), fails=True),
    )
    with running(process, server, ready_path="/readyz", seconds=90) as ready:
        yield ready


@contextmanager
def mlserver_server(folder: Path) -> Iterator[ModelServer]:
    http_port, grpc_port, metrics_port = free_port(), free_port(), free_port()
    place = environment("mlserver")
    settings = {
        "host": "127.0.0.1",
        "http_port": http_port,
        "grpc_port": grpc_port,
        "metrics_port": metrics_port,
        "metrics_endpoint": "/metrics",
        "parallel_workers": 0,
        "metrics_dir": str(folder),
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "iris").mkdir()
    (folder / "iris" / "model-settings.json").write_text(json.dumps({"name": "iris", "implementation": "mlserver_app.Iris"}))
    environ = {"PYTHONPATH": str(APPS), "PATH": f"{place / 'bin'}:/usr/bin:/bin"}
    process = Process([place / "bin" / "mlserver", "start", str(folder)], folder=folder, name="mlserver", environ=environ)

    def request(value: int) -> bytes:
        return body({"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [value]}]})

    server = ModelServer(
        system="mlserver",
        model="iris",
        url=f"http://127.0.0.1:{http_port}",
        target=Target("mlserver", f"127.0.0.1:{metrics_port}"),
        good=Call("/v2/models/iris/infer", request(1)),
        bad=Call("/v2/models/iris/infer", request(0), fails=True),
    )
    with running(process, server, ready_path="/v2/models/iris/ready", seconds=90) as ready:
        yield ready


@contextmanager
def ray_server(folder: Path) -> Iterator[ModelServer]:
    """Ray opens ports on every interface whatever it is told; run the tests of it where that is no harm."""
    port, metrics_port = free_port(), free_port()
    place = environment("ray")
    patient = {  # its own limit of 30 s is short for a busy machine
        "RAY_agent_register_timeout_ms": "150000",
        "RAY_raylet_start_wait_time_s": "150",
        "RAY_worker_register_timeout_seconds": "150",
        "RAY_gcs_server_port_wait_time_s": "150",
    }
    environ = {"PATH": f"{place / 'bin'}:/usr/bin:/bin", "RAY_TMPDIR": "/tmp", **patient}
    command = [place / "bin" / "python", APPS / "ray_app.py", str(port), str(metrics_port)]
    process = Process(command, folder=folder, name="ray", environ=environ)
    server = ModelServer(
        system="ray_serve",
        model="Ingress",
        url=f"http://127.0.0.1:{port}",
        target=Target("ray", f"127.0.0.1:{metrics_port}"),
        good=Call("/predict?text=fine", method="GET"),
        bad=Call("/predict?text=fail", method="GET", fails=True),
    )
    with running(process, server, ready_path="/predict?text=fine", seconds=240) as ready:
        yield ready


@contextmanager
def torchserve_server(folder: Path) -> Iterator[ModelServer]:
    """SIGTERM to the launcher orphans Java, so the session is ended as a whole by `Process.stop`."""
    place = environment("torchserve")
    program("java")
    ports = [free_port() for _ in range(5)]
    (folder / "store").mkdir()
    archive = [place / "bin" / "torch-model-archiver", "--model-name", "lin", "--version", "1.0"]
    archive += ["--handler", APPS / "torchserve_handler.py", "--export-path", folder / "store"]
    environ = {"PATH": f"{place / 'bin'}:/usr/bin:/bin", "LOG_LOCATION": str(folder), "METRICS_LOCATION": str(folder)}
    subprocess.run([str(part) for part in archive], check=True, capture_output=True)
    (folder / "config.properties").write_text(
        "\n".join(
            (
                *(
                    f"{kind}_address=http://127.0.0.1:{port}"
                    for kind, port in zip(("inference", "management", "metrics"), ports, strict=False)
                ),
                f"grpc_inference_address=127.0.0.1\ngrpc_inference_port={ports[3]}",
                f"grpc_management_address=127.0.0.1\ngrpc_management_port={ports[4]}",
                "metrics_mode=prometheus\ndefault_workers_per_model=1\nload_models=lin.mar",
                f"model_store={folder / 'store'}",
            )
        )
    )
    command = [place / "bin" / "torchserve", "--start", "--foreground", "--ncs", "--disable-token-auth"]
    command += ["--ts-config", folder / "config.properties"]
    process = Process(command, folder=folder, name="torchserve", environ=environ)
    server = ModelServer(
        system="torchserve",
        model="lin",
        url=f"http://127.0.0.1:{ports[0]}",
        target=Target("torchserve", f"127.0.0.1:{ports[2]}"),
        good=Call("/predictions/lin", b"fine", content_type="text/plain"),
        bad=Call("/predictions/lin", b"fail", content_type="text/plain", fails=True),
    )
    with running(process, server, ready_path="/ping", seconds=120) as ready:
        yield ready


@contextmanager
def mlflow_server(folder: Path) -> Iterator[ModelServer]:
    """A tracking server: no model traffic, its own HTTP counter only."""
    port = free_port()
    place = environment("mlflow")
    environ = {"PATH": f"{place / 'bin'}:/usr/bin:/bin", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = [place / "bin" / "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'm.db'}", "--expose-prometheus", folder / "prometheus"]
    process = Process(command, folder=folder, name="mlflow", environ=environ)
    search = "/api/2.0/mlflow/experiments/search"
    server = ModelServer(
        system="mlflow",
        model="",
        url=f"http://127.0.0.1:{port}",
        target=Target("mlflow", f"127.0.0.1:{port}"),
        good=Call(search, body({"max_results": 1})),
        bad=Call(search, body({"max_results": -1}), fails=True),
    )
    with running(process, server, ready_path="/health", seconds=180) as ready:
        yield ready


@contextmanager
def node_exporter(folder: Path) -> Iterator[Target]:
    port = free_port()
    process = Process([program("prometheus-node-exporter"), f"--web.listen-address=127.0.0.1:{port}"], folder=folder, name="node_exporter")
    process.start()
    try:
        process.wait_for(lambda: answers(f"127.0.0.1:{port}", "/"), seconds=20, what="node_exporter")
        yield Target("node", f"127.0.0.1:{port}")
    finally:
        process.stop()

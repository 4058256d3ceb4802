"""The catalogue against the heavy servers: `make test-servers` only."""

from pathlib import Path

import pytest

from monitoring.prometheus import Prometheus
from tests.servers.load import load_run
from tests.servers.model_servers import mlflow_server, mlserver_server, ray_server, torchserve_server
from tests.servers.processes import wait_until
from tests.servers.prometheus import PrometheusServer
from tests.servers.rates import LOOPBACK, load_seen


def test_it_reads_requests_and_errors_of_a_real_mlserver(tmp_path: Path) -> None:
    with mlserver_server(tmp_path) as server:
        seen = load_seen(tmp_path, server)
    assert seen.requests_per_second == pytest.approx(seen.true_requests_per_second, rel=0.05)
    assert seen.errors_per_second == pytest.approx(seen.true_errors_per_second, abs=0.3)
    assert 0.018 < seen.mean_seconds <= seen.true_mean_seconds


def test_it_reads_requests_and_errors_of_a_real_torchserve(tmp_path: Path) -> None:
    with torchserve_server(tmp_path) as server:
        seen = load_seen(tmp_path, server)
    assert seen.requests_per_second == pytest.approx(seen.true_requests_per_second, rel=0.05)
    assert seen.errors_per_second == pytest.approx(seen.true_errors_per_second, abs=0.3)
    assert 0.018 < seen.mean_seconds <= seen.true_mean_seconds


def test_it_reads_the_request_rate_of_a_real_ray_serve_application(tmp_path: Path) -> None:
    """Its values move every 10 s, so the window is long and the tolerance is what 2 minutes allow."""
    with ray_server(tmp_path) as server:
        seen = load_seen(tmp_path, server, per_second=15, seconds=150, window_seconds=120)
    assert seen.requests_per_second == pytest.approx(seen.true_requests_per_second, rel=0.1)
    assert seen.errors_per_second == pytest.approx(seen.true_errors_per_second, rel=0.3)


def test_a_real_mlflow_tracking_server_is_up_and_counted(tmp_path: Path) -> None:
    """Server health only: MLflow's tracking server has no model traffic, so there is no catalogue entry."""
    with mlflow_server(tmp_path) as server, PrometheusServer(tmp_path / "prometheus", targets=[server.target]) as prometheus:
        client = Prometheus(prometheus.url, allowed=LOOPBACK)
        wait_until(lambda: "mlflow_http_request_total" in client.names(), seconds=30, what="series of MLflow")
        posts = 'sum(mlflow_http_request_total{method="POST"})'
        before = prometheus.wait_for_value(posts)
        done = load_run(server.url, good=server.good, per_second=10, seconds=5)
        wait_until(lambda: prometheus.value(posts) == before + len(done.times), seconds=15, what="all requests in the counter")
        assert not done.failed

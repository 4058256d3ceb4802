"""The catalogue against real servers under a known load: KServe, BentoML and node_exporter."""

import os
import time
from pathlib import Path

import pytest

from monitoring.catalog.systems import SYSTEMS
from monitoring.prometheus import Prometheus, series_query
from tests.servers.model_servers import bentoml_server, kserve_server, node_exporter
from tests.servers.processes import wait_until
from tests.servers.prometheus import PrometheusServer
from tests.servers.rates import LOOPBACK, load_seen

# rate() extrapolates to the edges of its window: one scrape of 1 s in 15 s, half of it on each side.
TOLERANCE = 0.05


def test_it_reads_the_request_rate_of_a_real_kserve_server(tmp_path: Path) -> None:
    with kserve_server(tmp_path) as server:
        seen = load_seen(tmp_path, server)
    assert seen.requests_per_second == pytest.approx(seen.true_requests_per_second, rel=TOLERANCE)
    assert 0.018 < seen.mean_seconds <= seen.true_mean_seconds  # the predict step alone


def test_it_reads_requests_and_errors_of_a_real_bentoml_service(tmp_path: Path) -> None:
    with bentoml_server(tmp_path) as server:
        seen = load_seen(tmp_path, server)
    assert seen.requests_per_second == pytest.approx(seen.true_requests_per_second, rel=TOLERANCE)
    assert seen.errors_per_second == pytest.approx(seen.true_errors_per_second, abs=0.3)  # one error more or less in the window
    assert 0.018 < seen.mean_seconds <= seen.true_mean_seconds


def test_it_reads_cpus_and_memory_of_this_machine_from_node_exporter(tmp_path: Path) -> None:
    system = SYSTEMS["node_exporter"]
    with node_exporter(tmp_path) as target, PrometheusServer(tmp_path / "prometheus", targets=[target]) as server:
        client = Prometheus(server.url, allowed=LOOPBACK)
        wait_until(lambda: server.value("count_over_time(node_load1[1m]) > 3") is not None, seconds=20, what="four scrapes")
        names, now = client.names(), time.time()
        found = {
            str(series.target): client.query(query, at=now).values
            for series in system.series
            if (query := series_query(system, series, names_present=names, window_seconds=60))
        }
    total_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert found["cpu_cores"][0, 0] == os.cpu_count()
    assert found["memory_total_bytes"][0, 0] == pytest.approx(total_bytes, rel=0.01)
    assert 0 <= found["cpu_utilization_ratio"][0, 0] <= 1
    assert 0 < found["memory_used_bytes"][0, 0] < total_bytes

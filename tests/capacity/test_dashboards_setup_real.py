"""Add a source, allow its address, test it, import it: the pages against a real Prometheus, nothing stands in for anything."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from monitoring.models import Cluster, ImportRun, Source, SourceState
from tests.factories import make_admin
from tests.servers.processes import free_port
from tests.servers.prometheus import PrometheusServer, Target

pytestmark = pytest.mark.django_db
METRICS = """# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="chat-70b"} 3
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{model_name="chat-70b"} 1
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{model_name="chat-70b"} 0.4
# TYPE vllm:request_success counter
vllm:request_success_total{model_name="chat-70b",finished_reason="stop"} 100
"""


class Exporter(BaseHTTPRequestHandler):
    """What a vLLM server says on /metrics, cut short."""

    def do_GET(self) -> None:
        body = METRICS.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Not into the output of the tests."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    exporter = ThreadingHTTPServer(("127.0.0.1", free_port()), Exporter)
    threading.Thread(target=exporter.serve_forever, daemon=True).start()
    folder: Path = tmp_path_factory.mktemp("prometheus")
    labels = {"namespace": "assist", "pod": "chat-70b-0"}
    with PrometheusServer(folder, targets=[Target("vllm", f"127.0.0.1:{exporter.server_port}", labels=labels)]) as running:
        running.wait_for_value("vllm:num_requests_running")
        yield running
    exporter.shutdown()


def test_from_the_address_to_the_import(server: PrometheusServer) -> None:
    client = Client()
    client.force_login(make_admin())
    typed = {"name": "prod-eu", "url": server.url, "cluster_name": "prod-eu", "auth": "none", "step_seconds": "60"}

    blocked = client.post("/sources/new/", typed | {"test": "1"}).content.decode()
    assert f"Allow 127.0.0.1:{server.port}" in blocked

    found = client.post("/sources/new/", typed | {"allow": f"127.0.0.1:{server.port}"}).content.decode()
    assert "What Test found" in found
    assert "vLLM" in found
    assert "node_exporter" in found  # named as missing
    assert not Source.objects.exists() and not Cluster.objects.exists()

    saved = client.post("/sources/new/", typed | {"import": "1"}, follow=True)
    source = Source.objects.get()
    assert (source.state, source.cluster.name, saved.redirect_chain[-1][0]) == (SourceState.OK, "prod-eu", f"/sources/{source.pk}/")
    assert ImportRun.objects.get().chunks.count() == 1

    setup = client.get("/setup/").content.decode()
    assert "vLLM" in setup
    assert "0 of 1 day" in setup


def test_another_server_that_is_no_prometheus_is_named_as_such() -> None:
    exporter = ThreadingHTTPServer(("127.0.0.1", free_port(low=9100, high=9999)), Exporter)
    threading.Thread(target=exporter.serve_forever, daemon=True).start()
    client = Client()
    client.force_login(make_admin())
    typed = {"name": "x", "url": f"http://127.0.0.1:{exporter.server_port}", "cluster_name": "x", "auth": "none", "step_seconds": "60"}
    page = client.post("/sources/new/", typed | {"allow": f"127.0.0.1:{exporter.server_port}"})
    exporter.shutdown()
    assert page.context["tested"].state == SourceState.WRONG
    assert "Test did not get through" in page.content.decode()

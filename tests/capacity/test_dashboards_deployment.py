"""One deployment: answers with their proof, honest gaps, tables and CSV, in a fixed number of queries."""

import csv
import io
import json
import re
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from capacity.analysis.status import status_update
from monitoring.catalog.records import Entity, Latency
from monitoring.ingest import Histograms, Rows, histograms_ingest, rows_ingest
from monitoring.models import Deployment, Slo, Version
from tests.factories import make_accelerator, make_admin, make_deployment, make_node, make_placement, make_replica

pytestmark = pytest.mark.django_db
BOUNDS = (0.1, 0.5, 1.0, 2.0)
MINUTES = 90


def times() -> np.ndarray:
    newest = timezone.now().timestamp() // 60 * 60
    return newest - 60.0 * np.arange(MINUTES - 1, -1, -1)


def feed(entity: Entity, pk: int, **columns: float) -> None:
    rows = Rows(entity, np.full(MINUTES, pk), times(), {name: np.full(MINUTES, value) for name, value in columns.items()})
    assert not rows_ingest(rows, overwrite=True, now=timezone.now()).rejected


def feed_latency(pk: int, latency: Latency, *, bucket: int) -> None:
    counts = np.zeros((MINUTES, len(BOUNDS) + 1))
    counts[:, bucket] = 100.0
    own, zeros = np.full(MINUTES, pk), np.zeros(MINUTES, dtype=np.int64)
    histograms_ingest(Histograms(latency, own, zeros, times(), BOUNDS, counts, np.full(MINUTES, np.nan)), now=timezone.now())


def model(*, slow: bool = True, **fields: Any) -> Deployment:
    """A language model with 90 minutes behind it; its first token takes between 1 and 2 s, or under 0.1 s."""
    row = make_deployment("chat-70b", system="vllm", **fields)
    feed(Entity.DEPLOYMENT, row.pk, requests_per_second=10.0, errors_per_second=0.5, kv_cache_usage_ratio=0.97, requests_waiting=40.0)
    feed_latency(row.pk, Latency.TIME_TO_FIRST_TOKEN, bucket=3 if slow else 0)
    Slo.objects.create(deployment=row, latency=Latency.TIME_TO_FIRST_TOKEN, threshold_seconds=0.8)
    return row


def page_of(client: Client, row: Deployment, query: str = "") -> str:
    client.force_login(make_admin())
    reply = client.get(f"/deployments/{row.pk}/{query}")
    assert reply.status_code == 200
    return re.sub(r"\s+", " ", reply.content.decode())


def test_a_broken_promise_is_answered_with_no_and_its_numbers(client: Client) -> None:
    row = model()
    status_update(now=timezone.now())
    page = page_of(client, row, "?from=now-1h&to=now")
    assert "Breaks SLO" in page
    assert re.search(r"<b>No\.</b> p95 is 1\.\d\d s, SLO 0\.80 s", page)
    assert re.search(r"\d\d SLO minutes lost in 1 h", page)


def test_a_kept_promise_is_answered_with_yes(client: Client) -> None:
    page = page_of(client, model(slow=False), "?from=now-1h&to=now")
    assert "<b>Yes.</b> p95 is 95 ms, SLO 0.80 s. No SLO minute lost in 1 h." in page


def test_the_limit_is_named_and_the_unseen_is_hatched(client: Client) -> None:
    page = page_of(client, model())
    assert "KV cache." in page
    assert page.count("not seen") >= 4


def test_figures_stand_in_the_page_as_json_and_each_has_a_sentence(client: Client) -> None:
    page = page_of(client, model())
    figures = [json.loads(text) for text in re.findall(r'<script id="figure-[\w-]+" type="application/json">(.*?)</script>', page)]
    assert len(figures) == 3  # latency, traffic, cache: nothing else was measured
    assert "Is the first token fast enough? 6 h at steps of 2 min" in page
    assert "<script>" not in page


def test_a_server_of_means_shows_no_percentile(client: Client) -> None:
    row = make_deployment("fraud-score", system="triton")
    feed(Entity.DEPLOYMENT, row.pk, requests_per_second=10.0, request_seconds_per_second=0.2)
    page = page_of(client, row)
    assert "The mean is 20 ms; this server gives no histogram, so no percentile is known." in page
    assert "p95 is" not in page


def test_what_is_missing_says_which_name_was_asked(client: Client) -> None:
    page = page_of(client, model())
    assert "vllm:" in page
    assert "No data</h3>" not in page


def test_before_it_was_first_seen_nothing_is_missing(client: Client) -> None:
    row = model()
    client.force_login(make_admin())
    page = client.get(f"/deployments/{row.pk}/?from=now-900d&to=now-800d").content.decode()
    assert "Not measured in this range" in page
    assert "vllm:" not in page
    assert "runs on CPU" not in page  # an empty window does not say so


def test_a_folded_panel_is_not_queried_before_it_is_opened(client: Client) -> None:
    row = model()
    page = page_of(client, row)
    assert "Does power hold it back?" in page or "Does work wait?" in page
    assert 'id="figure-queue"' not in page
    opened = client.get(f"/deployments/{row.pk}/panels/queue/", headers={"HX-Request": "true"}).content.decode()
    assert 'id="figure-queue"' in opened
    assert client.get(f"/deployments/{row.pk}/panels/queue/").headers["Location"].endswith("?open=queue#fold-queue")


def test_table_and_csv_carry_what_the_plot_shows(client: Client) -> None:
    row = model()
    client.force_login(make_admin())
    table = client.get(f"/deployments/{row.pk}/panels/cache/table/?from=now-1h&to=now").content.decode()
    assert table.count("97 %") >= 50
    lines = list(csv.reader(io.StringIO(client.get(f"/deployments/{row.pk}/panels/cache.csv?from=now-1h&to=now").content.decode())))
    assert lines[0] == ["time", "cache [ratio]"]
    assert {value for _, value in lines[1:] if value} == {"0.97"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", lines[1][0])


def test_an_old_sample_is_called_old(client: Client) -> None:
    row = model()
    page = page_of(client, row, "?from=now-1h&to=now")
    assert "The newest sample is old" not in page
    row.step_seconds = 15
    silent = make_deployment("silent")
    early = Rows(Entity.DEPLOYMENT, np.array([silent.pk]), np.array([times()[0]]), {"requests_per_second": np.array([1.0])})
    rows_ingest(early, overwrite=True, now=timezone.now())
    assert "The newest sample is old" in page_of(client, silent)


def test_versions_are_flags_on_the_rail_and_filter_the_page(client: Client) -> None:
    row = model()
    now = timezone.now()
    Version.objects.create(deployment=row, name="v3.1", first_seen_at=now - timedelta(days=9))
    newest = Version.objects.create(deployment=row, name="v3.2", first_seen_at=now - timedelta(minutes=30))
    page = page_of(client, row)
    assert re.search(r"<strong[^>]*>v3\.2 \d\d:\d\d</strong>", page)
    assert "Not measured in this range" in page_of(client, row, f"?version={newest.pk}")


def test_the_number_of_queries_does_not_grow_with_what_the_deployment_has(client: Client) -> None:
    row = model()
    page_of(client, row)
    few = count_of(client, row)
    node = make_node(cluster=row.cluster)
    for _ in range(12):
        card = make_accelerator(node)
        make_placement(make_replica(row), accelerator=card)
        feed(Entity.ACCELERATOR, card.pk, gr_engine_active_ratio=0.8)
    some = count_of(client, row)
    for _ in range(12):
        make_placement(make_replica(row), accelerator=make_accelerator(node))
    assert count_of(client, row) == some
    assert few <= some <= 85


def count_of(client: Client, row: Deployment) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(f"/deployments/{row.pk}/").status_code == 200
    return len(captured)

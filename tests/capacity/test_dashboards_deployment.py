"""One deployment: answers with their proof, honest gaps, tables and CSV, in a fixed number of queries."""

import csv
import io
import json
import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from capacity.analysis.status import status_update
from capacity.models import Price, SaturationRun, prices_ship
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


class TestWhatLimitsIt:
    """The section by the stored answer, and what stands there without one."""

    def section(self, client: Client, row: Deployment, query: str = "") -> str:
        page = page_of(client, row, query)
        return page[page.index('aria-labelledby="limits"') : page.index('class="split"')]

    def judged(self, row: Deployment, **fields: Any) -> SaturationRun:
        """Full cache now, nothing at the peaks."""
        evidence = [
            {"name": "kv_cache_usage_ratio", "value": 0.96, "unit": "ratio", "threshold": 0.9, "direction": "above"},
            {"name": "preemptions_per_second", "value": 4.0, "unit": "1/s", "threshold": 0.02, "direction": "above"},
            {"name": "sm_active_ratio", "value": 0.31, "unit": "ratio", "threshold": None, "direction": ""},
        ]
        now = {"limit": "kv_cache", "share": 0.22, "confidence": 0.93, "evidence": evidence, "beside": ["compute"]}
        peaks = {"limit": None, "share": None, "confidence": 0.65, "evidence": [], "missing": ["network_receive_bytes_per_second"]}
        kept = {"verdicts": {"now": now, "peaks": peaks, "steps": 288}, "limit_now": "kv_cache", "confidence_now": 0.93}
        at = timezone.now()
        stored = {"made_at": at, "as_of": at, "window_start": at - timedelta(days=1), "window_end": at}
        return SaturationRun.objects.create(**{"deployment": row} | stored | kept | fields)

    def test_now_and_the_peaks_with_figures_thresholds_and_confidence(self, client: Client) -> None:
        row = model()
        status_update(now=timezone.now())
        self.judged(row)
        text = self.section(client, row)
        assert "<b>KV cache.</b>" in text and "93 % sure" in text
        assert "KV cache <b>96 %</b> <small>limit 90 %</small>" in text and "preemptions <b>4/s</b> <small>limit 0.02/s</small>" in text
        assert "SM active <b>31 %</b></li>" in text
        assert "Reached in 22 % of the window. Near a limit too: compute." in text
        assert "<b>Nothing, as far as it is measured.</b>" in text and "Not measured: no network traffic (cAdvisor or agent)." in text
        assert "Neither: KV cache, now." in text and "24 h in steps of 5 min, as of" in text
        assert '<div data-s="crit">KV cache<b>97 %</b>' in text

    def test_what_cannot_be_told_says_what_is_missing(self, client: Client) -> None:
        row = model()
        why = "requests wait, and what decides is not measured: no DRAM activity (before Hopper it needs DCGM profiling)"
        blind = {"limit": None, "confidence": 0.0, "cannot_tell": why, "missing": ["dram_active_ratio"]}
        self.judged(row, verdicts={"now": blind, "peaks": blind}, limit_now="", confidence_now=0.0)
        text = self.section(client, row)
        assert f"Cannot tell: {why}." in text and 'data-s="crit"' not in text

    def test_a_guess_is_called_one(self, client: Client) -> None:
        row = model()
        guess = {"limit": "network", "confidence": 0.62, "share": 0.3}
        self.judged(row, verdicts={"now": guess, "peaks": guess}, limit_now="network", confidence_now=0.62)
        assert "<b>Perhaps network.</b>" in self.section(client, row)

    def test_uneven_replicas_come_first(self, client: Client) -> None:
        row = model()
        run = self.judged(row, skew_replica="chat-70b-3", skew_ratio=2.1)
        run.verdicts = run.verdicts | {"skew": {"ratio": 2.1, "replica": 3, "replicas": 6}}
        run.save()
        text = self.section(client, row)
        assert "Balance first: the busiest of 6 replicas works on 2.1 times the requests of the median one. It is chat-70b-3." in text

    def test_an_old_answer_gives_way_to_the_means_and_says_so(self, client: Client) -> None:
        row = model()
        self.judged(row, made_at=timezone.now() - timedelta(hours=3))
        text = self.section(client, row)
        assert "What limits it was judged 3 h ago, too long to speak of now; this is the nearest ceiling by means." in text
        assert "<b>KV cache.</b>" in text and "93 % sure" not in text

    @pytest.mark.parametrize(
        ("fields", "query", "words"),
        [
            ({}, "", "What limits it is not judged yet"),
            ({"workload_kind": "training"}, "", "Only what serves requests is judged"),
            ({}, "?from=now-2h&to=now-1h", "judged for now only"),
        ],
    )
    def test_without_an_answer_it_says_why(self, client: Client, fields: dict[str, str], query: str, words: str) -> None:
        row = make_deployment("m", system="vllm", **fields)
        feed(Entity.DEPLOYMENT, row.pk, requests_per_second=10.0, kv_cache_usage_ratio=0.5)
        if query:
            self.judged(row)
        assert words in self.section(client, row, query)

    def test_the_table_of_the_fleet_says_the_same(self, client: Client) -> None:
        row = model()
        self.judged(row, limit_now="network")
        status_update(now=timezone.now())
        client.force_login(make_admin())
        assert "Network full" in client.get("/").content.decode()


class TestPrice:
    def line(self, client: Client, row: Deployment) -> str:
        found = re.search(r'<span class="dim">Price</span>(.*?)</p>', page_of(client, row))
        return re.sub(r"<[^>]+>", "", found[1]).strip() if found else ""

    def placed(self, row: Deployment, *, instance_type: str = "p5.48xlarge", cards: int = 2, replicas: int = 3, share: float = 1.0) -> None:
        node = make_node(cluster=row.cluster, instance_type=instance_type)
        for _ in range(replicas):
            replica = make_replica(row, last_seen_at=timezone.now())
            for _ in range(cards):
                card = make_accelerator(node, model_name="NVIDIA H100 80GB HBM3", last_seen_at=timezone.now())
                make_placement(replica, accelerator=card, share=share)

    def price(self, kind: str, name: str, rate: str) -> None:
        long_ago = timezone.now().date() - timedelta(days=30)
        Price.objects.create(kind=kind, name=name, hourly_rate=Decimal(rate), currency="USD", valid_from=long_ago)

    def test_one_replica_and_all_of_them_a_month(self, client: Client) -> None:
        row = model()
        self.placed(row)
        self.price("instance", "p5.48xlarge", "60")
        assert self.line(client, row) == "1 replica = 2 × H100, 20.00 USD/h, your own price; 3 replicas 43,800 USD/month Prices"

    def test_a_list_price_is_an_estimate(self, client: Client) -> None:
        row = model()
        self.placed(row)
        prices_ship(now=timezone.now())
        assert re.search(r"1 replica = 2 × H100, \d+\.\d\d USD/h, list price, estimated; 3 replicas", self.line(client, row))

    def test_without_a_price_it_counts_replica_hours_and_offers_to_set_one(self, client: Client) -> None:
        row = model()
        self.placed(row, instance_type="", cards=1, replicas=2, share=0.4)
        assert self.line(client, row) == "1 replica = 40 % of 1 H100, no price; 2 replicas 1,460 replica-hours/month Set a price"

    def test_where_no_replica_is_told_apart_there_is_no_line(self, client: Client) -> None:
        assert self.line(client, model()) == ""


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

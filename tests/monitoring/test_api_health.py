"""Liveness, readiness, the product's own metrics, and reports of the CSP."""

import re
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from monitoring.api import health
from monitoring.api.metrics import GAUGES
from monitoring.models import FillState, Heartbeat, JobSlot
from tests.factories import make_source

pytestmark = pytest.mark.django_db


class TestReady:
    def test_it_is_ready_with_its_migrations(self, client: Client) -> None:
        assert client.get("/readyz").json() == {"ready": True}

    def test_it_is_not_with_one_missing(self, client: Client) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM django_migrations WHERE app = 'capacity'")
        answer = client.get("/readyz")
        assert answer.status_code == 503 and "not applied" in answer.json()["why"]

    def test_it_is_not_without_the_database(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        def away() -> int:
            raise OperationalError("connection refused")

        monkeypatch.setattr(health, "migrations_missing", away)
        answer = client.get("/readyz")
        assert answer.status_code == 503 and answer.json() == {"ready": False, "why": "database: OperationalError"}


class TestHealth:
    def test_a_fresh_install_is_well(self, client: Client) -> None:
        assert client.get("/healthz").json()["ok"] is True

    @pytest.mark.parametrize("name", ["monitoring.poll", "queue:import"])
    def test_a_silent_loop_is_not(self, client: Client, name: str) -> None:
        Heartbeat.objects.beat(name, now=timezone.now() - timedelta(minutes=4), detail={})
        answer = client.get("/healthz")
        assert answer.status_code == 503 and answer.json()["stale"] == [name]

    def test_a_job_that_runs_once_a_day_may_be_silent(self, client: Client) -> None:
        Heartbeat.objects.beat("monitoring.partitions_drop", now=timezone.now() - timedelta(hours=20), detail={})
        assert client.get("/healthz").status_code == 200

    def test_it_tells_the_oldest_canary_to_the_supervisor(self, client: Client) -> None:
        for queue, seconds in (("poll", 30), ("upkeep", 90)):
            Heartbeat.objects.beat(f"queue:{queue}", now=timezone.now() - timedelta(seconds=seconds), detail={})
        assert client.get("/healthz").json()["oldest_canary_seconds"] == pytest.approx(90, abs=5)


class TestMetrics:
    def test_every_metric_is_there_with_its_help(self, client: Client) -> None:
        text = client.get("/metrics").content.decode()
        assert re.findall(r"^# HELP (headroom_\w+) .+\.$", text, re.MULTILINE) == [gauge.name for gauge in GAUGES]

    def test_names_end_in_their_unit(self) -> None:
        counted = ("_up", "_messages", "_chunks", "_windows", "_deployments", "_errors")
        assert [g.name for g in GAUGES if not g.name.endswith(("_seconds", "_bytes", *counted))] == []

    def test_the_numbers_are_those_of_the_tables(self, client: Client) -> None:
        now = timezone.now()
        make_source("east", state="ok", watermark=now - timedelta(seconds=60))
        make_source("west", state="down")
        FillState.objects.create(table="node_5m", end_time=now - timedelta(minutes=10))
        JobSlot.objects.create(job="monitoring.poll", slot_time=now, error="KeyError: 'x'")
        text = client.get("/metrics").content.decode()
        lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        assert lines['headroom_source_up{source="east"}'] == "1.0" and lines['headroom_source_up{source="west"}'] == "0.0"
        assert float(lines['headroom_poll_lag_seconds{source="east"}']) == pytest.approx(60, abs=10)
        assert float(lines['headroom_rollup_lag_seconds{table="node_5m"}']) == pytest.approx(600, abs=10)
        assert lines['headroom_job_errors{job="monitoring.poll"}'] == "1.0"

    def test_a_name_of_a_source_cannot_break_the_text(self, client: Client) -> None:
        make_source('a"b\nc\\d', state="ok")
        assert r'headroom_source_up{source="a\"b\nc\\d"} 1.0' in client.get("/metrics").content.decode()


class TestWhoMayScrape:
    def test_this_machine_may(self, client: Client) -> None:
        assert client.get("/metrics").status_code == 200

    @pytest.mark.parametrize(
        "extra", [{"REMOTE_ADDR": "10.0.0.9"}, {"HTTP_X_FORWARDED_FOR": "203.0.113.9"}, {"HTTP_FORWARDED": "for=203.0.113.9"}]
    )
    def test_another_one_may_not(self, client: Client, extra: dict[str, str]) -> None:
        answer = client.get("/metrics", **extra)  # type: ignore[arg-type]
        assert answer.status_code == 401 and "HEADROOM_METRICS_TOKEN" in answer.content.decode()

    def test_another_one_may_with_the_token_only(self, client: Client, settings: Settings) -> None:
        settings.METRICS_TOKEN = "secret"
        codes = [
            client.get("/metrics", REMOTE_ADDR="10.0.0.9", HTTP_AUTHORIZATION=f"Bearer {token}").status_code
            for token in ("secret", "wrong", "sécret")
        ]
        assert codes == [200, 401, 401]


class TestCspReports:
    def test_one_is_taken_from_anybody(self, client: Client) -> None:
        health.csp_reports.clear()
        sent = client.post("/csp-report", {"csp-report": {"blocked-uri": "inline"}}, content_type="application/json")
        assert sent.status_code == 204 and list(health.csp_reports) == [{"csp-report": {"blocked-uri": "inline"}}]

    @pytest.mark.parametrize("body", [b"no json", b"\xff\xfe", b"[" * 5000, b'{"a": "' + b"x" * 9000 + b'"}'])
    def test_rubbish_is_refused(self, client: Client, body: bytes) -> None:
        assert client.post("/csp-report", body, content_type="application/csp-report").status_code == 400

    def test_every_page_names_the_address(self, client: Client) -> None:
        assert "report-uri /csp-report" in client.get("/accounts/login/")["Content-Security-Policy"]

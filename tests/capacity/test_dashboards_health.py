"""What every page says when Headroom's own loops are behind."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from capacity.dashboards.health import health_load
from monitoring.models import Cluster, FillState, Heartbeat
from tests.capacity.pages import client_of, text_of
from tests.factories import make_admin, make_source

pytestmark = pytest.mark.django_db
NOW = timezone.now().replace(microsecond=0)


def ago(**span: float) -> dict[str, object]:
    return {"at": NOW - timedelta(**span)}


def test_a_healthy_install_says_nothing() -> None:
    Heartbeat.objects.create(name="queue:celery", **ago(seconds=50))
    Heartbeat.objects.create(name="capacity.status_update", **ago(seconds=100))
    FillState.objects.create(table="deployment_5m", end_time=NOW - timedelta(minutes=9))
    make_source("prod", watermark=NOW - timedelta(minutes=2))
    found = health_load(now=NOW)
    assert (found.troubles, found.demo) == ([], False)


def test_each_loop_that_stands_still_is_a_sentence() -> None:
    Heartbeat.objects.create(name="queue:celery", **ago(minutes=7))
    Heartbeat.objects.create(name="capacity.status_update", **ago(minutes=6))
    FillState.objects.create(table="deployment_5m", end_time=NOW - timedelta(minutes=40))
    make_source("prod {eu}", watermark=NOW - timedelta(hours=3))
    assert sorted(health_load(now=NOW).troubles) == [
        "No worker has taken the queue celery for 7 min.",
        "The job capacity.status_update has not ended well for 6 min.",
        "The rollup deployment_5m is 40 min behind.",
        "prod {eu} is 3 h behind.",
    ]


def test_what_is_paused_demo_or_no_longer_scheduled_is_not_missed() -> None:
    make_source("paused", watermark=NOW - timedelta(days=3), enabled=False)
    make_source("demo", watermark=NOW - timedelta(days=3), demo=True)
    Heartbeat.objects.create(name="a.job.of.an.older.release", **ago(days=9))
    Cluster.objects.create(name="demo-eu", demo=True)
    found = health_load(now=NOW)
    assert (found.troubles, found.demo) == ([], True)


def test_it_is_one_query() -> None:
    with CaptureQueriesContext(connection) as captured:
        health_load(now=NOW)
    assert len(captured) == 1


@pytest.mark.parametrize(("path", "said"), [("/", True), ("/keys/", True), ("/status/", False)])
def test_every_page_says_it_and_status_says_it_in_full(path: str, said: bool) -> None:
    Heartbeat.objects.create(name="queue:celery", at=timezone.now() - timedelta(minutes=7))
    page = text_of(client_of(make_admin()).get(path))
    assert ("What you see may be old." in page) is said
    assert "No worker has taken the queue celery for 7 min." in page


def test_a_stranger_is_told_nothing(client: Client) -> None:
    Heartbeat.objects.create(name="queue:celery", at=timezone.now() - timedelta(minutes=7))
    assert "What you see may be old." not in text_of(client.get("/accounts/login/"))

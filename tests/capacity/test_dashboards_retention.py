"""How long things are kept, by Django's client."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from monitoring.models import AuditEvent, Setting, setting_get
from monitoring.series.sizes import day_bytes
from monitoring.store.partitions import partitions_ensure, span_start
from monitoring.store.schema import FAMILIES, LEVELS, RAW, table_name
from tests.capacity.pages import client_of, queries, text_of, toasts, undo_of
from tests.factories import make_admin, make_member, make_team

pytestmark = pytest.mark.django_db
PATH = "/setup/retention/"


@pytest.fixture
def empty() -> None:
    """Rows that another test's rollback took back still take their place on disk."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE " + ", ".join(table_name(family, level) for family in FAMILIES for level in LEVELS))


def test_only_admins_of_the_install_may() -> None:
    assert client_of(make_member(make_team("search"))).get(PATH).status_code == 403


def test_a_longer_time_is_kept_audited_and_undone() -> None:
    client = client_of(make_admin())
    done = client.post(PATH, {"name": "retention_raw_days", "value": "30"}, follow=True)
    assert toasts(done) == ["Raw samples are kept for 30 days."]
    assert setting_get("retention_raw_days") == 30
    event = AuditEvent.objects.get(action="setting.change")
    assert (event.subject, event.before, event.after) == ("setting retention_raw_days", {"value": 14.0}, {"value": 30})
    client.post(undo_of(done))
    assert setting_get("retention_raw_days") == 14
    assert not Setting.objects.filter(name="retention_raw_days").exists()


def test_undo_writes_the_former_value_back() -> None:
    client = client_of(make_admin())
    client.post(PATH, {"name": "retention_1h_months", "value": "30"}, follow=True)
    done = client.post(PATH, {"name": "retention_1h_months", "value": "40"}, follow=True)
    client.post(undo_of(done))
    assert setting_get("retention_1h_months") == 30


def test_a_shorter_time_deletes_and_is_asked_about_first() -> None:
    client = client_of(make_admin())
    asked = client.post(PATH, {"name": "retention_5m_days", "value": "60"})
    assert "does not come back" in text_of(asked)
    assert setting_get("retention_5m_days") == 90
    client.post(PATH, {"name": "retention_5m_days", "value": "60", "confirm": "1"})
    assert setting_get("retention_5m_days") == 60


@pytest.mark.parametrize(
    ("value", "said"), [("0", "It can be 1 to 365 days, not 0."), ("400", "not 400."), ("x", "Enter a whole number of days, 1 to 365.")]
)
def test_what_cannot_be_is_said_in_words(value: str, said: str) -> None:
    response = client_of(make_admin()).post(PATH, {"name": "retention_raw_days", "value": value})
    assert response.status_code == 422
    assert said in text_of(response)
    assert setting_get("retention_raw_days") == 14


def test_only_retention_is_changed_here() -> None:
    client_of(make_admin()).post(PATH, {"name": "rollup_lag_seconds", "value": "7"})
    assert not Setting.objects.exists()


@pytest.mark.usefixtures("empty")
def test_the_page_says_what_it_costs_in_a_fixed_number_of_queries() -> None:
    client = client_of(make_admin())
    assert queries(client, PATH) <= 10
    assert "not known before a day of it has come in" in text_of(client.get(PATH))


@pytest.mark.usefixtures("empty")
def test_a_day_is_measured_by_the_newest_partition_that_has_ended() -> None:
    now = datetime(2031, 5, 20, 12, tzinfo=UTC)
    days = [span_start(RAW, now - timedelta(days=back)) for back in (0, 1, 2)]
    partitions_ensure("node", RAW, days)
    with connection.cursor() as cursor:
        for day, rows in zip(days, (5000, 2000, 9000), strict=True):
            cursor.execute(
                "INSERT INTO node_sample (node_id, time) SELECT n, %s FROM generate_series(1, %s) AS n", [day + timedelta(minutes=1), rows]
            )
        cursor.execute("SELECT pg_total_relation_size(%s::regclass)", [f"node_sample_{days[1]:%Y%m%d}"])
        (size,) = cursor.fetchone()
    assert day_bytes(now=now)["sample"] == pytest.approx(size)


def test_nothing_stored_is_not_zero_bytes() -> None:
    assert "sample" not in day_bytes(now=timezone.now() - timedelta(days=4000))

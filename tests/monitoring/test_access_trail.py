from datetime import timedelta
from typing import Any

import pytest
from django.db import ProgrammingError, transaction
from django.test import RequestFactory
from django.utils import timezone

from monitoring.access import access_clean, address_of, audit, audit_cut, user_actor
from monitoring.models import AuditEvent, RateCount, UserSession
from tests.factories import make_admin

pytestmark = pytest.mark.django_db


def test_an_entry_tells_who_what_and_from_where_without_secrets() -> None:
    request = RequestFactory().post("/", REMOTE_ADDR="192.0.2.7")
    before = {"url": "http://a", "secret": "hunter2hunter2", "auth": {"password": "x", "username": "u"}}
    after = {"url": "http://b", "token": "", "networks": ["10.0.0.0/8"], "at": timedelta(1)}
    audit(user_actor(make_admin("anna@example.com")), "source.change", "source prod", before=before, after=after, request=request)
    row = AuditEvent.objects.get()
    assert (row.actor, row.action, row.subject, row.address) == ("anna@example.com", "source.change", "source prod", "192.0.2.7")
    assert row.before == {"url": "http://a", "secret": "(hidden)", "auth": {"password": "(hidden)", "username": "u"}}
    assert row.after == {"url": "http://b", "token": "", "networks": ["10.0.0.0/8"], "at": "1 day, 0:00:00"}


@pytest.mark.parametrize("days", [0, 31])
def test_the_database_refuses_to_change_or_delete_an_entry(days: int) -> None:
    row = AuditEvent.objects.create(actor="anna", action="x", subject="y", address="192.0.2.7", at=timezone.now() - timedelta(days=days))
    with pytest.raises(ProgrammingError, match="append-only"), transaction.atomic():
        AuditEvent.objects.filter(pk=row.pk).update(actor="bert", address=None)
    with pytest.raises(ProgrammingError, match="append-only"), transaction.atomic():
        row.delete()


def test_retention_cuts_addresses_after_30_days_and_rows_after_400() -> None:
    now = timezone.now()
    for days in (1, 31, 401):
        AuditEvent.objects.create(actor=f"{days}", action="x", subject="y", address="192.0.2.7", at=now - timedelta(days=days))
    assert audit_cut(now=now) == "audit: 2 addresses cut, 1 rows dropped"
    assert list(AuditEvent.objects.values_list("actor", "address")) == [("1", "192.0.2.7"), ("31", None)]


def test_upkeep_drops_ended_sessions_and_past_counts() -> None:
    now = timezone.now()
    for key, hours in (("ended", -1), ("live", 1)):
        UserSession.objects.create(session_key=key, session_data="", expire_date=now + timedelta(hours=hours))
        RateCount.objects.hit(key, window=int((now + timedelta(hours=hours - 1)).timestamp() // 60))
    assert access_clean(now=now).endswith("1 sessions and 1 counts dropped")
    assert [UserSession.objects.get().session_key, RateCount.objects.get().name] == ["live", "live"]


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        (0, "203.0.113.9", "192.0.2.7"),
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "6.6.6.6, 203.0.113.9", "203.0.113.9"),
        (1, "", "192.0.2.7"),
        (1, "6.6.6.6, nonsense", None),
    ],
)
def test_the_address_is_the_one_our_own_proxy_wrote(settings: Any, proxies: int, forwarded: str, expected: str | None) -> None:
    settings.PROXIES = proxies
    request = RequestFactory().get("/", REMOTE_ADDR="192.0.2.7", HTTP_X_FORWARDED_FOR=forwarded)
    assert address_of(request) == expected

from datetime import UTC, datetime, timedelta

import pytest

from monitoring.access import key_create, key_revoke, key_verify
from monitoring.models import Key, Scope

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 21, 3, 12, tzinfo=UTC)


@pytest.mark.parametrize(("scope", "kind"), [(Scope.INGEST, "ag"), (Scope.READ, "ro"), (Scope.ADMIN, "rw")])
def test_a_key_has_the_documented_shape_and_only_its_digest_is_kept(scope: Scope, kind: str) -> None:
    key, text = key_create("ci", scope=scope, created_by=None)
    app, shown_kind, prefix, secret = text.split("_")
    assert (app, shown_kind, prefix, len(secret)) == ("hr", kind, key.prefix, 43)
    assert secret not in str(Key.objects.values().get(pk=key.pk))
    assert key_verify(text, now=NOW) == key


def test_a_key_with_another_kind_or_secret_is_refused() -> None:
    _, text = key_create("ci", scope=Scope.READ, created_by=None)
    for wrong in (text.replace("_ro_", "_rw_"), text[:-1] + ("a" if text[-1] != "a" else "b"), text + "a", text[:-1]):
        assert key_verify(wrong, now=NOW) is None


@pytest.mark.parametrize("text", ["", "hr", "hr_ro_x", "hr_ro_\0_x", "hr_ro_" + "x" * 200 + "_y", "hr_ro_ä_y", "a_b_c_d_e"])
def test_nonsense_is_refused(text: str) -> None:
    assert key_verify(text, now=NOW) is None


def test_an_expired_key_is_refused() -> None:
    _, text = key_create("ci", scope=Scope.READ, created_by=None, expires_at=NOW)
    assert key_verify(text, now=NOW - timedelta(seconds=1)) is not None
    assert key_verify(text, now=NOW) is None


def test_a_revoked_key_is_refused_and_revoked_once() -> None:
    key, text = key_create("ci", scope=Scope.READ, created_by=None)
    assert [key_revoke(key, now=NOW), key_revoke(key, now=NOW)] == [True, False]
    assert key_verify(text, now=NOW) is None


def test_the_last_use_is_written_at_most_each_five_minutes() -> None:
    key, text = key_create("ci", scope=Scope.READ, created_by=None)
    seen = []
    for seconds in (0, 299, 301, 400):
        key_verify(text, now=NOW + timedelta(seconds=seconds))
        key.refresh_from_db()
        assert key.last_used_at is not None
        seen.append((key.last_used_at - NOW).total_seconds())
    assert seen == [0, 0, 301, 301]

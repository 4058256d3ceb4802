import base64
from io import StringIO
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command

from monitoring.access.secrets import SecretError, ciphers, secret_decrypt, secret_encrypt, secret_tail, secrets_rotate
from tests.factories import make_source

OLD, NEW = (base64.urlsafe_b64encode(letter * 32).decode() for letter in (b"o", b"n"))
TEXT = "bearer-token-of-prometheus-9f3a"


def test_a_secret_comes_back_and_is_not_readable_at_rest() -> None:
    stored = secret_encrypt(TEXT)
    assert TEXT not in stored and secret_decrypt(stored) == TEXT
    assert secret_encrypt(TEXT) != stored  # equal secrets do not look equal


def test_no_secret_stays_empty() -> None:
    assert secret_encrypt("") == "" and secret_decrypt("") == "" and secret_tail("") == ""


def test_the_tail_is_the_last_four_of_a_long_secret_only() -> None:
    assert secret_tail(secret_encrypt(TEXT)) == "9f3a"
    assert secret_tail(secret_encrypt("short-one")) == ""


def test_an_old_key_still_reads_and_a_removed_one_says_so(settings: Any) -> None:
    settings.ENCRYPTION_KEYS = [OLD]
    stored = secret_encrypt(TEXT)
    settings.ENCRYPTION_KEYS = [NEW, f" {OLD} "]
    assert secret_decrypt(stored) == TEXT
    settings.ENCRYPTION_KEYS = [NEW]
    with pytest.raises(SecretError, match="not in HEADROOM_ENCRYPTION_KEY"):
        secret_decrypt(stored)


def test_a_changed_text_is_refused() -> None:
    stored = secret_encrypt(TEXT)
    with pytest.raises(SecretError, match="changed outside"):
        secret_decrypt(stored[:-6] + "AAAAA=")


@pytest.mark.parametrize("keys", [[], [""], ["too-short"], ["not base64 at all" * 3]])
def test_a_missing_or_malformed_key_refuses_to_start(settings: Any, keys: list[str]) -> None:
    settings.ENCRYPTION_KEYS = keys
    with pytest.raises(ImproperlyConfigured, match="HEADROOM_ENCRYPTION_KEY"):
        ciphers()


@pytest.mark.django_db
def test_rotation_writes_all_with_the_first_key_and_is_done_when_done(settings: Any) -> None:
    settings.ENCRYPTION_KEYS = [OLD]
    source = make_source(secret=secret_encrypt(TEXT))
    make_source(secret="")
    settings.ENCRYPTION_KEYS = [NEW, OLD]
    out = StringIO()
    call_command("secrets_rotate", stdout=out)
    assert "1 secret" in out.getvalue()
    assert secrets_rotate() == 0
    settings.ENCRYPTION_KEYS = [NEW]
    source.refresh_from_db()
    assert secret_decrypt(source.secret) == TEXT

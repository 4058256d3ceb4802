"""Secrets at rest: Fernet with the key's id in front; the first key of HEADROOM_ENCRYPTION_KEY writes, all read."""

import hashlib
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from monitoring.models import Channel, Source

ADVICE = (
    "HEADROOM_ENCRYPTION_KEY must hold one key or, newest first, several with commas between; each 32 random bytes in URL-safe base64. "
    'Make one: python -c "import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())"'
)
SECRET_FIELDS: tuple[tuple[type[Source] | type[Channel], str], ...] = ((Source, "secret"), (Channel, "secret"))
SHORTEST_WITH_TAIL = 12  # the last four of a shorter secret would give too much of it away


class SecretError(Exception):
    """A stored secret cannot be read: its key is gone or the text was changed."""


def secret_encrypt(text: str) -> str:
    if not text:
        return ""
    key_id, cipher = next(iter(ciphers().items()))
    return f"{key_id}:{cipher.encrypt(text.encode()).decode()}"


def secret_decrypt(stored: str) -> str:
    if not stored:
        return ""
    key_id, _, token = stored.partition(":")
    cipher = ciphers().get(key_id)
    if cipher is None:
        raise SecretError(
            f"the secret was encrypted with the key {key_id[:8]}, which is not in HEADROOM_ENCRYPTION_KEY; add it or enter it again"
        )
    try:
        return cipher.decrypt(token.encode()).decode()
    except InvalidToken:
        raise SecretError("the stored secret was changed outside Headroom; enter it again") from None


def secret_tail(stored: str) -> str:
    """The last four characters, to recognise a secret by; nothing of a short one."""
    text = secret_decrypt(stored)
    return text[-4:] if len(text) >= SHORTEST_WITH_TAIL else ""


def secrets_rotate() -> int:
    """Write every secret again with the first key; how many were not."""
    newest = next(iter(ciphers()))
    count = 0
    for model, name in SECRET_FIELDS:
        with transaction.atomic():
            for row in model._default_manager.select_for_update().exclude(**{name: ""}):
                stored = getattr(row, name)
                if not stored.startswith(f"{newest}:"):
                    setattr(row, name, secret_encrypt(secret_decrypt(stored)))
                    row.save(update_fields=[name])
                    count += 1
    return count


def ciphers() -> dict[str, Fernet]:
    return _ciphers(tuple(key.strip() for key in settings.ENCRYPTION_KEYS if key.strip()))


@lru_cache(maxsize=8)
def _ciphers(keys: tuple[str, ...]) -> dict[str, Fernet]:
    if not keys:
        raise ImproperlyConfigured(f"HEADROOM_ENCRYPTION_KEY is empty. {ADVICE}")
    try:
        return {hashlib.sha256(key.encode()).hexdigest()[:8]: Fernet(key) for key in keys}
    except ValueError:
        raise ImproperlyConfigured(ADVICE) from None

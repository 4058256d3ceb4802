"""API keys `hr_<kind>_<prefix>_<secret>`: shown once, kept as SHA-256."""

import hashlib
import hmac
import secrets
import string
from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone

from monitoring.models import Cluster, Key, Scope, Team, User

KINDS = {Scope.INGEST: "ag", Scope.READ: "ro", Scope.ADMIN: "rw"}
PREFIX_LETTERS = string.ascii_lowercase + string.digits
SECRET_LETTERS = string.ascii_letters + string.digits
PREFIX_LENGTH, SECRET_LENGTH = 8, 43  # 43 letters of 62 are 256 bits
USED_EVERY = timedelta(minutes=5)


def key_create(
    name: str,
    *,
    scope: str,
    created_by: User | None,
    team: Team | None = None,
    cluster: Cluster | None = None,
    expires_at: datetime | None = None,
) -> tuple[Key, str]:
    """A new key and its text, which is shown this once. Who may make it is decided by the caller (`can_manage`)."""
    prefix = "".join(secrets.choice(PREFIX_LETTERS) for _ in range(PREFIX_LENGTH))
    secret = "".join(secrets.choice(SECRET_LETTERS) for _ in range(SECRET_LENGTH))
    text = f"hr_{KINDS[Scope(scope)]}_{prefix}_{secret}"
    key = Key.objects.create(
        name=name,
        prefix=prefix,
        secret_digest=key_digest(text),
        scope=scope,
        team=team,
        cluster=cluster,
        created_by=created_by,
        expires_at=expires_at,
    )
    return key, text


def key_verify(text: str, *, now: datetime | None = None) -> Key | None:
    """The live key of this text, else None; the last use is written at most each five minutes."""
    now = now or timezone.now()
    parts = text.split("_")
    if len(parts) != 4 or parts[0] != "hr" or not text.isascii() or len(text) > 100 or "\0" in text:
        return None
    key = Key.objects.select_related("team", "cluster").filter(prefix=parts[2]).first()
    if key is None or not hmac.compare_digest(key.secret_digest, key_digest(text)):
        return None
    if not key_live(key, now=now):
        return None
    if key.last_used_at is None or key.last_used_at < now - USED_EVERY:
        stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=now - USED_EVERY)
        Key.objects.filter(stale, pk=key.pk).update(last_used_at=now)
    return key


def key_live(key: Key, *, now: datetime) -> bool:
    return key.revoked_at is None and (key.expires_at is None or key.expires_at > now)


def key_revoke(key: Key, *, now: datetime | None = None) -> bool:
    """End the key; False when it was revoked before."""
    return Key.objects.filter(pk=key.pk, revoked_at__isnull=True).update(revoked_at=now or timezone.now()) == 1


def key_digest(text: str) -> str:
    # The secret has 256 random bits, so a fast hash is enough; the kind and prefix are hashed with it.
    return hashlib.sha256(text.encode()).hexdigest()

"""The audit trail. Rows are only added: a trigger refuses every change but the cuts of retention."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from monitoring.access.actors import Actor
from monitoring.models import AuditEvent

SECRET_NAME = re.compile(r"secret|password|token|digest|authorization|cookie|private|tls_ca", re.IGNORECASE)
HIDDEN = "(hidden)"
KEEP_ADDRESS = timedelta(days=30)  # the same spans stand in the trigger of the migration
KEEP = timedelta(days=400)


def audit(
    actor: Actor | str,
    action: str,
    subject: str,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    request: HttpRequest | None = None,
) -> AuditEvent:
    """Write down who did what, e.g. `audit(actor, "source.create", "source prod-eu", after={...}, request=request)`."""
    return AuditEvent.objects.create(
        actor=(actor if isinstance(actor, str) else actor.name)[:254],
        action=action,
        subject=subject[:200],
        before=without_secrets(before or {}),
        after=without_secrets(after or {}),
        address=address_of(request) if request is not None else None,
    )


def audit_cut(*, now: datetime) -> str:
    """Retention: addresses go after 30 days, rows after 400."""
    cut = AuditEvent.objects.filter(at__lt=now - KEEP_ADDRESS, address__isnull=False).update(address=None)
    gone, _ = AuditEvent.objects.filter(at__lt=now - KEEP).delete()
    return f"audit: {cut} addresses cut, {gone} rows dropped"


def without_secrets(value: Any, name: str = "") -> Any:
    """The value as JSON can hold it, with everything hidden that is named like a secret."""
    if isinstance(value, Mapping):
        return {str(key): without_secrets(part, str(key)) for key, part in value.items()}
    if SECRET_NAME.search(name):
        return HIDDEN if value else ""
    if isinstance(value, (list, tuple, set)):
        return [without_secrets(part) for part in value]
    return value if isinstance(value, (bool, int, float)) or value is None else str(value)


def address_of(request: HttpRequest) -> str | None:
    """The caller's address; behind a proxy (HEADROOM_BEHIND_PROXY) the last of X-Forwarded-For, which the proxy wrote."""
    address = request.META.get("REMOTE_ADDR") or None
    proxies = settings.PROXIES
    forwarded = [part.strip() for part in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if part.strip()]
    if proxies and forwarded:
        address = forwarded[-min(proxies, len(forwarded))]
    return address_checked(address)


def address_checked(text: str | None) -> str | None:
    try:
        return str(ip_address(text)) if text else None
    except ValueError:
        return None

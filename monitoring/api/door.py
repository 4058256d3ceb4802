"""Who comes in: keys and sessions, what they may do, and how often."""

import time
from collections.abc import Collection
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated, PermissionDenied, Throttled
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from monitoring.access import Actor, actor_of, address_of, key_verify
from monitoring.models import Key, RateCount, Scope

WINDOW_SECONDS = 60
ACCESSES = ("member", "admin", "person")


class KeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer hr_ro_...`; a wrong key is refused and never falls back to the session."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, Key] | None:
        header = request.headers.get("Authorization")
        if header is None:
            return None
        scheme, _, text = header.partition(" ")
        address_hit(request)  # before the look into the table, so that guessing is slow
        key = key_verify(text.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            raise AuthenticationFailed("The key is unknown, expired or revoked. Send it as `Authorization: Bearer hr_...`.")
        return AnonymousUser(), key

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="headroom"'


class PageSession(SessionAuthentication):
    """The session of the pages, with its CSRF token for everything that changes something."""


class DoorPermission(BasePermission):
    """Deny by default: a view says who it is for by `access` = member, admin or person, else nobody comes in."""

    def has_permission(self, request: Request, view: Any) -> bool:
        actor = actor_of(request)
        if not actor.known:
            raise NotAuthenticated("Sign in, or send a key as `Authorization: Bearer hr_...`.")
        if actor.key is not None:
            key_check(actor.key, request.method or "", asks=getattr(view, "asks", ()))
        access_check(actor, access_of(view, request.method or ""))
        return True


def key_check(key: Key, method: str, *, asks: Collection[str] = ()) -> None:
    """asks: methods that only ask, though with a body: they change nothing, so a key that reads may use them."""
    if key.scope == Scope.INGEST:
        raise PermissionDenied("This key can only send telemetry.")
    if method not in SAFE_METHODS and method not in asks and key.scope != Scope.ADMIN:
        raise PermissionDenied("This key can only read. Changing needs a key with the scope admin.")


def access_check(actor: Actor, access: str) -> None:
    if access not in ACCESSES:
        raise PermissionDenied("This door is not open to anybody.")
    if access == "admin" and not actor.admin:
        raise PermissionDenied("This needs an admin of the install.")
    if access == "person" and actor.user is None:
        raise PermissionDenied("This needs a person, not a key.")


def access_of(view: Any, method: str) -> str:
    """`access` of the view, or of the method where reading and changing differ: {"GET": "member", "*": "admin"}."""
    access: Any = getattr(view, "access", "")
    if isinstance(access, dict):
        access = access.get("GET" if method == "HEAD" else method, access.get("*", ""))
    return str(access)


class CallerThrottle(BaseThrottle):
    """So many calls a minute per key or person, counted in Postgres for all web processes together."""

    def allow_request(self, request: Request, view: Any) -> bool:
        actor = actor_of(request)
        name = f"key {actor.key.pk}" if actor.key else f"user {actor.user.pk}" if actor.user else ""
        if name:
            hit(name, limit=settings.API_CALLS_PER_MINUTE)
        return True


def address_hit(request: Request) -> None:
    hit(f"address {address_of(request)}", limit=settings.API_CALLS_PER_MINUTE_AND_ADDRESS)


def hit(name: str, *, limit: int) -> None:
    now = time.time()
    window = int(now // WINDOW_SECONDS)
    if RateCount.objects.hit(name, window=window) > limit:
        raise Throttled(wait=WINDOW_SECONDS - now % WINDOW_SECONDS, detail=f"More than {limit} calls in a minute.")

"""What a view answers: pages, toasts with an Undo, and refusals that say who can help."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import wraps
from typing import Any, Concatenate

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from monitoring.access import actor_of
from monitoring.models import User

UNDO_SALT = "headroom.undo"

View = Callable[Concatenate[HttpRequest, ...], HttpResponse]


def show(request: HttpRequest, template: str, context: Mapping[str, Any], *, status: int = 200) -> HttpResponse:
    return render(request, template, {"actor": actor_of(request), **context}, status=status)


def toast(request: HttpRequest, text: str, *, undo: str = "") -> None:
    """Say what happened; `undo` is the address of `undo_url`. base.html shows it with an Undo button."""
    messages.success(request, text, extra_tags=undo)


def complain(request: HttpRequest, text: str) -> None:
    messages.error(request, text)


def denied(request: HttpRequest, text: str) -> HttpResponse:
    """403 with the reason and the people who can: never a bare "forbidden"."""
    admins = User.objects.filter(is_superuser=True, is_active=True).order_by("email")[:5]
    return show(request, "setup/denied.html", {"text": text, "admins": admins, "contact": settings.CONTACT}, status=403)


def guarded(view: View) -> View:
    """For people who are logged in; what one may not do is explained on a page of its own."""

    @login_required
    @wraps(view)
    def inner(request: HttpRequest, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, **kwargs)
        except PermissionDenied as refusal:
            return denied(request, str(refusal) or "You may not do this.")

    return inner


def snapshot(row: Model, *names: str) -> dict[str, Any]:
    """The columns of a row, as plain values that can be written back."""
    fields = (row._meta.get_field(name) for name in names)
    return {field.attname: plain(getattr(row, field.attname)) for field in fields}  # type: ignore[union-attr]


def plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else str(value) if isinstance(value, Decimal) else value


def undo_url(kind: str, *, pk: int, fields: Mapping[str, Any] | None) -> str:
    """The address that puts `fields` back; None = the row was made just now and goes again."""
    return reverse("undo", args=[signing.dumps({"kind": kind, "pk": pk, "fields": fields}, salt=UNDO_SALT, compress=True)])

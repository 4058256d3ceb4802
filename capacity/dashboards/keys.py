"""API keys: made once, shown once, revoked at once; and the audit log for admins."""

from datetime import datetime, timedelta

from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from capacity.dashboards.forms.people import KeyForm
from capacity.dashboards.replies import guarded, show, toast
from monitoring.access import (
    Actor,
    actor_of,
    admin_require,
    audit,
    audit_for,
    key_create,
    key_get,
    key_live,
    key_revoke,
    keys_for,
    person_require,
    teams_for,
)
from monitoring.models import Key, Scope

ROTATION = timedelta(days=1)  # the old key lives on until its users have the new one
PAGE_ROWS = 100


@guarded
@require_http_methods(["GET", "POST"])
def keys(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    form = key_form(actor, data=request.POST if request.method == "POST" else None)
    if request.method == "POST":
        manager_require(actor)
        if form.is_valid():
            return key_keep(request, form=form)
    return keys_page(request, form=form)


def manages_keys(actor: Actor) -> bool:
    return actor.admin or bool(actor.managed_team_ids)


def manager_require(actor: Actor) -> None:
    if not manages_keys(actor):
        admin_require(actor)


def key_form(actor: Actor, *, data: object = None) -> KeyForm:
    rows = teams_for(actor) if actor.admin else teams_for(actor).filter(pk__in=actor.managed_team_ids)
    return KeyForm(data, teams=rows, admin=actor.admin)


def keys_page(request: HttpRequest, *, form: KeyForm | None = None, shown: str = "", key: Key | None = None) -> HttpResponse:
    """The secret stands in this one answer and nowhere else: no redirect, no session, no log."""
    actor, now = actor_of(request), timezone.now()
    rows = [(row, key_state(row, now=now)) for row in keys_for(actor)]
    context = {"keys": rows, "form": form or key_form(actor), "manages": manages_keys(actor), "shown": shown, "key": key}
    response = show(request, "keys/keys.html", context, status=422 if form and form.errors else 200)
    if shown:
        response["Cache-Control"] = "no-store"
    return response


def key_state(key: Key, *, now: datetime) -> str:
    if key.revoked_at:
        return "revoked"
    return "live" if key_live(key, now=now) else "ended"


def key_keep(request: HttpRequest, *, form: KeyForm) -> HttpResponse:
    actor, cleaned = actor_of(request), form.cleaned_data
    days = cleaned["lifetime_days"]
    with transaction.atomic():
        key, text = key_create(
            cleaned["name"],
            scope=Scope(cleaned["scope"]),
            created_by=person_require(actor),
            team=cleaned["team"],
            expires_at=timezone.now() + timedelta(days=days) if days else None,
        )
        audit(actor, "key.create", f"key {key.prefix}", after=key_facts(key), request=request)
    return keys_page(request, shown=text, key=key)


def key_facts(key: Key) -> dict[str, object]:
    return {"name": key.name, "scope": key.scope, "team": key.team.name if key.team else "all teams", "ends": key.expires_at}


@guarded
@require_POST
def key_end(request: HttpRequest, *, pk: int) -> HttpResponse:
    actor = actor_of(request)
    key = key_get(actor, pk)
    if key_revoke(key):
        audit(actor, "key.revoke", f"key {key.prefix}", before=key_facts(key), request=request)
    toast(request, f"{key.name} is revoked; whoever uses it is refused from now on.")
    return redirect("keys")


@guarded
@require_POST
def key_rotate(request: HttpRequest, *, pk: int) -> HttpResponse:
    """A new key like this one; the old one ends in a day, so that both work while it is exchanged."""
    actor, now = actor_of(request), timezone.now()
    old = key_get(actor, pk)
    if not key_live(old, now=now):
        toast(request, f"{old.name} has ended already; make a new key.")
        return redirect("keys")
    lifetime = old.expires_at - old.created_at if old.expires_at else None
    with transaction.atomic():
        key, text = key_create(
            old.name,
            scope=Scope(old.scope),
            created_by=person_require(actor),
            team=old.team,
            cluster=old.cluster,
            expires_at=now + lifetime if lifetime else None,
        )
        ends = min(old.expires_at or now + ROTATION, now + ROTATION)
        Key.objects.filter(pk=old.pk).update(expires_at=ends)
        audit(actor, "key.rotate", f"key {old.prefix}", after={**key_facts(key), "new": key.prefix, "old_ends": ends}, request=request)
    return keys_page(request, shown=text, key=key)


@guarded
@require_GET
def audit_log(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    admin_require(actor)
    query = request.GET.get("q", "").strip()[:100]
    rows = audit_for(actor)
    if query:
        rows = rows.filter(Q(actor__icontains=query) | Q(action__icontains=query) | Q(subject__icontains=query))
    page = Paginator(rows, PAGE_ROWS).get_page(request.GET.get("page"))
    return show(request, "keys/audit.html", {"rows": page, "query": query})

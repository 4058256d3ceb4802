"""API keys: made once, shown once, revoked at once; and the audit log for admins."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from capacity.dashboards import words
from capacity.dashboards.forms.people import KeyForm
from capacity.dashboards.replies import guarded, show, toast
from monitoring.access import (
    Actor,
    actor_of,
    admin_require,
    agents_for,
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


@dataclass(frozen=True)
class KeyRow:
    """A key, whether it works, how many agents used it last, and the newer key of the same use that takes over."""

    key: Key
    state: str
    agents: int
    successor: Key | None

    @property
    def rolling(self) -> bool:
        """Both keys work: the agents are on their way from this one to its successor."""
        return self.state == "live" and self.successor is not None


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
    actor = actor_of(request)
    context = {
        "keys": key_rows(actor, now=timezone.now()),
        "form": form or key_form(actor),
        "manages": manages_keys(actor),
        "shown": shown,
        "key": key,
    }
    response = show(request, "keys/keys.html", context, status=422 if form and form.errors else 200)
    if shown:
        response["Cache-Control"] = "no-store"
    return response


def key_rows(actor: Actor, *, now: datetime) -> list[KeyRow]:
    """Two queries, however many keys and agents."""
    keys = list(keys_for(actor))
    used = dict(agents_for(actor).order_by().filter(key__isnull=False).values_list("key").annotate(count=Count("pk")))
    newest: dict[tuple[int, str], Key] = {}
    for key in keys:  # the newest come first
        if key.scope == Scope.INGEST and key.cluster_id and key_live(key, now=now):
            newest.setdefault((key.cluster_id, key.name), key)
    return [KeyRow(key, key_state(key, now=now), used.get(key.pk, 0), successor(key, newest)) for key in keys]


def successor(key: Key, newest: Mapping[tuple[int, str], Key]) -> Key | None:
    found = newest.get((key.cluster_id or 0, key.name)) if key.scope == Scope.INGEST else None
    return found if found is not None and found.pk != key.pk else None


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
            cluster=cleaned.get("cluster"),
            expires_at=timezone.now() + timedelta(days=days) if days else None,
        )
        audit(actor, "key.create", f"key {key.prefix}", after=key_facts(key), request=request)
    return keys_page(request, shown=text, key=key)


def key_facts(key: Key) -> dict[str, object]:
    facts: dict[str, object] = {"name": key.name, "scope": key.scope, "ends": key.expires_at}
    facts["team"] = key.team.name if key.team else "all teams"
    return {**facts, "cluster": key.cluster.name} if key.cluster else facts


@guarded
@require_POST
def key_end(request: HttpRequest, *, pk: int) -> HttpResponse:
    actor = actor_of(request)
    key = key_get(actor, pk)
    if key_revoke(key):
        audit(actor, "key.revoke", f"key {key.prefix}", before=key_facts(key), request=request)
    cut = agents_for(actor).filter(key=key).count()
    who = f"{words.count(cut, 'agent')} that used it {'is' if cut == 1 else 'are'}" if cut else "whoever uses it is"
    toast(request, f"{key.name} is revoked; {who} refused from now on.")
    return redirect("keys")


@guarded
@require_POST
def key_rotate(request: HttpRequest, *, pk: int) -> HttpResponse:
    """A new key like this one; both work while it is exchanged. The old one ends in a day, but that of agents only by hand:
    a host that was missed in the exchange must not fall silent."""
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
        ends = old.expires_at if old.scope == Scope.INGEST else min(old.expires_at or now + ROTATION, now + ROTATION)
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

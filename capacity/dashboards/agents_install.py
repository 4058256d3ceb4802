"""Install an agent: pick a cluster, make its key, copy the commands, watch the first reading come in."""

from datetime import UTC, datetime
from typing import Any

from django import forms
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods

from capacity.dashboards.agents_texts import KEY_PLACEHOLDER, WAYS, way_of
from capacity.dashboards.keys import key_facts
from capacity.dashboards.replies import guarded, show
from capacity.dashboards.status import headroom_version
from monitoring.access import Actor, actor_of, admin_require, agents_for, audit, clusters_for, key_create, person_require
from monitoring.models import Agent, Cluster, Scope, User

NAMES_MOST = 5
CLUSTER_HINT = "Where the hosts stand; nodes are told apart within it. The name of the cluster in Prometheus joins both."


class InstallForm(forms.Form):
    """The cluster the new key is of: one that is there, or a new one by its name."""

    cluster = forms.CharField(
        max_length=120,
        strip=True,
        help_text=CLUSTER_HINT,
        widget=forms.TextInput(attrs={"list": "clusters", "autocomplete": "off", "placeholder": "prod-eu"}),
    )

    def clean_cluster(self) -> str:
        name: str = self.cleaned_data["cluster"]
        if Cluster.objects.filter(name=name, demo=True).exists():
            raise forms.ValidationError("This cluster belongs to the demo fleet and goes with it. Name your own.")
        return name


@guarded
@require_http_methods(["GET", "POST"])
def agents_install(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    if request.method == "POST":
        admin_require(actor)
        form = InstallForm(request.POST)
        if form.is_valid():
            return key_made(request, form=form)
        return install_page(request, form=form, status=422)
    name = request.GET.get("cluster", "")[:120]
    return install_page(request, form=InstallForm(initial={"cluster": name}), cluster=clusters_own(actor).filter(name=name).first())


def clusters_own(actor: Actor) -> QuerySet[Cluster]:
    return clusters_for(actor).filter(demo=False)


def key_made(request: HttpRequest, *, form: InstallForm) -> HttpResponse:
    """The secret stands in this one answer, filled into the commands, and nowhere else."""
    actor = actor_of(request)
    with transaction.atomic():
        cluster, new = Cluster.objects.get_or_create(name=form.cleaned_data["cluster"])
        if new:
            audit(actor, "cluster.create", f"cluster {cluster.name}", request=request)
        key, text = key_create(f"agents of {cluster.name}"[:120], scope=Scope.INGEST, created_by=person_require(actor), cluster=cluster)
        audit(actor, "key.create", f"key {key.prefix}", after=key_facts(key), request=request)
    response = install_page(request, form=form, cluster=cluster, key=text, prefix=key.prefix)
    response["Cache-Control"] = "no-store"
    return response


def install_page(
    request: HttpRequest, *, form: InstallForm, cluster: Cluster | None = None, key: str = "", prefix: str = "", status: int = 200
) -> HttpResponse:
    actor, now = actor_of(request), timezone.now()
    words = {"url": settings.PUBLIC_URL, "key": key or KEY_PLACEHOLDER, "version": headroom_version()}
    way = request.POST.get("way") or request.GET.get("way", "")
    context = {
        "form": form,
        "clusters": clusters_own(actor).order_by("name"),
        "cluster": cluster,
        "key": key,
        "prefix": prefix,
        "ways": [way_of(each, words) for each in WAYS],
        "way": way if way in {each.slug for each in WAYS} else WAYS[0].slug,
        "admins": None if actor.admin else User.objects.filter(is_superuser=True, is_active=True).order_by("email")[:5],
        "contact": settings.CONTACT,
        "loopback": settings.PUBLIC_HOST in ("localhost", "127.0.0.1", "::1"),
        "address": settings.PUBLIC_URL,
        **tick(actor, cluster_id=cluster.pk if cluster else None, prefix=prefix, since=now),
    }
    return show(request, "agents/install.html", context, status=status)


@guarded
@require_GET
def install_live(request: HttpRequest) -> HttpResponse:
    """Has an agent reported since the page was opened?"""
    actor = actor_of(request)
    found = tick(
        actor, cluster_id=number(request.GET.get("cluster")), prefix=request.GET.get("key", "")[:12], since=moment(request.GET.get("since"))
    )
    if request.GET.get("seen") == found["tick_seen"]:
        return HttpResponse(status=204)  # nothing jumps, nothing is read aloud again
    return show(request, "agents/install_live.html", found)


def number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


def moment(text: str | None) -> datetime:
    """Unix seconds from the address; what cannot be read counts from now."""
    seconds = number(text)
    return datetime.fromtimestamp(seconds, tz=UTC) if seconds is not None and seconds < 2**32 else timezone.now()


def tick(actor: Actor, *, cluster_id: int | None, prefix: str, since: datetime) -> dict[str, Any]:
    """With a key: whoever reports by it. Without: whoever reports for the first time, in the cluster if one is chosen."""
    rows = agents_for(actor).filter(node__cluster__demo=False)
    rows = rows.filter(key__prefix=prefix) if prefix else rows.filter(first_seen_at__gte=since)
    rows = rows.filter(node__cluster=cluster_id) if cluster_id else rows
    found: list[Agent] = list(rows.order_by("first_seen_at")[: NAMES_MOST + 1])
    more = rows.count() - NAMES_MOST if len(found) > NAMES_MOST else 0
    return {
        "reported": found[:NAMES_MOST],
        "more": more,
        "since": int(since.timestamp()),
        "cluster_id": cluster_id or "",
        "tick_key": prefix,
        "tick_seen": ",".join(str(agent.pk) for agent in found),
        "trouble": next((agent for agent in found if agent.rejected_count and agent.newest_sample_at is None), None),
    }

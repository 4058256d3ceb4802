"""Sources: the list, the page of one, and the form whose Test runs before anything is saved."""

from copy import copy

from django.db import transaction
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from capacity.dashboards import words
from capacity.dashboards.forms.sources import AllowForm, ImportForm, SourceForm
from capacity.dashboards.imports import IMPORT_DAYS, days_there, import_facts
from capacity.dashboards.replies import complain, guarded, show, snapshot, toast, undo_url
from monitoring.access import SecretError, actor_of, admin_require, allowed_for, audit, row_get, secret_tail, source_get, sources_for
from monitoring.models import Cluster, Deployment, DeploymentState, Source
from monitoring.sources.allow import NeverAllowed, address_allow
from monitoring.sources.detect import source_test
from monitoring.sources.imports import import_start

AUDITED = ("name", "url", "cluster", "auth", "username", "header_name", "selector", "step_seconds", "enabled")
LIVE_SECONDS, CALM_SECONDS = 2, 15


@guarded
@require_GET
def sources(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    admin_require(actor)
    rows = sources_for(actor).annotate(deployments=Count("cluster__deployments", distinct=True))
    return show(request, "sources/sources.html", {"sources": rows, "allowed": allowed_for(actor).select_related("allowed_by")})


@guarded
@require_POST
def address_refuse(request: HttpRequest, *, pk: int) -> HttpResponse:
    """Take an address off the allow list."""
    actor = actor_of(request)
    admin_require(actor)
    row = row_get(allowed_for(actor), pk)
    audit(actor, "address.refuse", f"{row.network} port {row.port}", before=snapshot(row, "network", "port"), request=request)
    row.delete()
    toast(request, f"{row.network} is no longer allowed; a source there stops at its next poll.")
    return redirect("sources")


@guarded
@require_http_methods(["GET", "POST"])
def source_new(request: HttpRequest) -> HttpResponse:
    admin_require(actor_of(request))
    return source_form(request, source=Source())


@guarded
@require_http_methods(["GET", "POST"])
def source_edit(request: HttpRequest, *, pk: int) -> HttpResponse:
    return source_form(request, source=source_get(actor_of(request), pk))


def source_form(request: HttpRequest, *, source: Source) -> HttpResponse:
    """Test, Allow and Save are buttons of one form: what was typed is tested as it stands."""
    before = snapshot(source, *AUDITED) if source.pk else {}
    form = SourceForm(request.POST or None, instance=source)
    if request.method == "GET" or not form.is_valid():
        return form_page(request, form=form)
    if "test" in request.POST or "allow" in request.POST:
        if "allow" in request.POST and not allow_wish(request):
            return form_page(request, form=form)
        tested = copy(form.source())
        tested.pk = None  # nothing of this Test is stored, also not on a source that is there already
        source_test(tested, now=timezone.now())
        return form_page(request, form=form, tested=tested)
    return source_keep(request, form=form, before=before)


def form_page(request: HttpRequest, *, form: SourceForm, tested: Source | None = None) -> HttpResponse:
    pk = form.instance.pk
    context = {
        "form": form,
        "source": form.instance if pk else None,
        "tested": tested,
        "import_days": days_there(tested.finding) if tested else IMPORT_DAYS,
        "tail": tail_of(form.instance) if pk else "",
        "clusters": Cluster.objects.filter(demo=False),
        "contact_shown": not actor_of(request).admin,
    }
    fragment = request.headers.get("HX-Request") and request.method == "POST"
    wrong = bool(form.errors)
    template = "sources/tested.html" if fragment and not wrong else "sources/form_fields.html" if fragment else "sources/form.html"
    return show(request, template, context, status=422 if wrong and not fragment else 200)


def tail_of(source: Source) -> str:
    try:
        return secret_tail(source.secret)
    except SecretError:
        return "?"


def source_keep(request: HttpRequest, *, form: SourceForm, before: dict[str, object]) -> HttpResponse:
    actor = actor_of(request)
    with transaction.atomic():
        source = form.keep()
        action = "source.change" if before else "source.create"
        audit(actor, action, f"source {source.name}", before=before, after=snapshot(source, *AUDITED), request=request)
    # The look costs seconds: it belongs to the same press of the button only for a new source.
    source_test(source, now=timezone.now())
    if "import" in request.POST:
        days = days_wished(request.POST["import"])
        import_start(source, days=days, user=actor.user, now=timezone.now())
        toast(request, f"{source.name} saved. {words.count(days, 'day')} come in now, newest first; you can leave this page.")
    else:
        toast(request, f"{source.name} saved. It is polled from now on.")
    return redirect("source", pk=source.pk)


def days_wished(text: str) -> int:
    form = ImportForm({"days": text})
    return int(form.cleaned_data["days"]) if form.is_valid() else IMPORT_DAYS


def allow_wish(request: HttpRequest) -> bool:
    """Let Headroom call one private address and port; audited. The client itself never calls metadata addresses."""
    actor = actor_of(request)
    admin_require(actor)
    host, _, number = request.POST["allow"].rpartition(":")
    form = AllowForm({"address": host.strip("[]"), "port": number})
    if not form.is_valid():
        complain(request, "This address cannot be allowed: it is no address with a port.")
        return False
    address, port = form.cleaned_data["address"], form.cleaned_data["port"]
    try:
        row, new = address_allow(address, port=port, by=actor.user)
    except NeverAllowed as refusal:
        complain(request, str(refusal))
        return False
    if new:
        audit(actor, "address.allow", f"{row.network} port {port}", after={"network": row.network, "port": port}, request=request)
    return True


@guarded
@require_GET
def source(request: HttpRequest, *, pk: int) -> HttpResponse:
    return show(request, "sources/source.html", page_facts(request, pk=pk))


@guarded
@require_GET
def source_live(request: HttpRequest, *, pk: int) -> HttpResponse:
    return show(request, "sources/live.html", page_facts(request, pk=pk))


def page_facts(request: HttpRequest, *, pk: int) -> dict[str, object]:
    row, now = source_get(actor_of(request), pk), timezone.now()
    facts = import_facts(row, now=now)
    return {
        "source": row,
        "facts": facts,
        "now": now,
        "lag_seconds": (now - row.watermark).total_seconds() if row.watermark else None,
        "live_seconds": LIVE_SECONDS if facts and facts.open else CALM_SECONDS,
        "import_form": ImportForm(initial={"days": days_there(row.finding)}),
        "deployments": Deployment.objects.filter(cluster=row.cluster, state=DeploymentState.ACTIVE).count(),
        "tail": tail_of(row),
        "next": "source",
    }


@guarded
@require_POST
def source_test_again(request: HttpRequest, *, pk: int) -> HttpResponse:
    """Ask the saved source once more; with `allow`, allow its private address first."""
    row = source_get(actor_of(request), pk)
    if "allow" not in request.POST or allow_wish(request):
        source_test(row, now=timezone.now())
        audit(actor_of(request), "source.test", f"source {row.name}", after={"state": row.state}, request=request)
    return redirect(f"/sources/{row.pk}/#found")


@guarded
@require_POST
def source_switch(request: HttpRequest, *, pk: int, verb: str) -> HttpResponse:
    """Pause polling, or go on; the gap is filled from the source when it goes on."""
    actor = actor_of(request)
    row = source_get(actor, pk)
    undo = undo_url("source", pk=row.pk, fields=snapshot(row, "enabled", "next_poll_at"))
    row.enabled, row.next_poll_at = verb == "resume", timezone.now()
    row.save(update_fields=("enabled", "next_poll_at"))
    audit(actor, f"source.{verb}", f"source {row.name}", after={"enabled": row.enabled}, request=request)
    text = "Polling goes on; the time in between is read from the source." if row.enabled else "Polling is paused. What is stored stays."
    toast(request, text, undo=undo)
    return redirect("source", pk=row.pk)


@guarded
@require_http_methods(["GET", "POST"])
def source_delete(request: HttpRequest, *, pk: int) -> HttpResponse:
    actor = actor_of(request)
    row = source_get(actor, pk)
    if request.method == "POST":
        with transaction.atomic():
            audit(actor, "source.delete", f"source {row.name}", before=snapshot(row, *AUDITED), request=request)
            row.delete()
        toast(request, f"{row.name} is removed. Its deployments and their history stay.")
        return redirect("sources")
    kept = Deployment.objects.filter(cluster=row.cluster).count()
    return show(request, "sources/delete.html", {"source": row, "kept": kept, "imports": row.imports.count()})

"""SLOs: the form of one deployment with its suggestion and preview, and the list that sets many at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from capacity.analysis.plan_due import plans_due
from capacity.analysis.slo import SloSuggest, slo_minutes, slo_suggest
from capacity.dashboards import words
from capacity.dashboards.forms.slo import Promise, SloForm, slo_initial
from capacity.dashboards.replies import complain, guarded, show, snapshot, toast, undo_url
from capacity.engine.answer import NoAnswer
from monitoring.access import Actor, actor_of, audit, deployment_edit_get, editable_for
from monitoring.catalog.columns import LATENCY_LABELS
from monitoring.catalog.records import Latency
from monitoring.models import Deployment, DeploymentState, Slo
from monitoring.series import latency_kinds

FIELDS = tuple(Promise.__dataclass_fields__)
PREVIEW_DAYS = 28
DASH = words.DASH
OBJECTIVE_RATIO = 0.995


@guarded
@require_http_methods(["GET", "POST"])
def deployment_slo(request: HttpRequest, *, pk: int) -> HttpResponse:
    actor, now = actor_of(request), timezone.now()
    deployment = deployment_edit_get(actor, pk)
    slo = Slo.objects.filter(deployment=deployment).first()
    suggestion = suggestion_text(deployment, now=now)
    initial = suggestion.initial if "suggested" in request.GET else slo_initial(slo)
    form = SloForm(request.POST or None, kinds=latency_kinds(deployment.pk), initial=initial)
    if request.method == "POST" and form.is_valid():
        slo_keep(request, deployment=deployment, promise=form.promise())
        return redirect("deployment_slo", pk=deployment.pk)
    context = {
        "deployment": deployment,
        "slo": slo,
        "form": form,
        "suggestion": suggestion,
        "preview": first_preview(deployment, slo=slo, wish=suggestion.promise if "suggested" in request.GET else None, now=now),
    }
    return show(request, "slo/slo.html", context, status=422 if form.errors else 200)


def first_preview(deployment: Deployment, *, slo: Slo | None, wish: Promise | None, now: datetime) -> "Preview | None":
    """Of the suggestion just taken over, else of the SLO that stands."""
    promise = wish or (promise_of(slo) if slo else None)
    return preview_text(deployment, promise=promise, now=now) if promise else None


def promise_of(slo: Slo) -> Promise:
    return Promise(**{name: getattr(slo, name) for name in FIELDS})


def slo_keep(request: HttpRequest, *, deployment: Deployment, promise: Promise) -> None:
    actor = actor_of(request)
    with transaction.atomic():
        fields = slo_write(deployment, promise=promise, actor=actor)
        plans_due([deployment], now=timezone.now())
        audit(actor, "slo.set", f"deployment {deployment.name}", before=fields or {}, after=vars(promise), request=request)
    row = Slo.objects.get(deployment=deployment)
    toast(request, f"The SLO of {deployment.name} is set. It is judged within a minute.", undo=undo_url("slo", pk=row.pk, fields=fields))


def slo_write(deployment: Deployment, *, promise: Promise, actor: Actor) -> dict[str, object] | None:
    """Keep the promise; returns the former values, None when there was none."""
    slo = Slo.objects.select_for_update().filter(deployment=deployment).first()
    before = snapshot(slo, "deployment", *FIELDS, "set_by", "updated_at") if slo else None
    slo = promise.write(slo or Slo(deployment=deployment))
    slo.set_by, slo.updated_at = actor.name, timezone.now()
    slo.save()
    return before


@guarded
@require_POST
def slo_remove(request: HttpRequest, *, pk: int) -> HttpResponse:
    actor = actor_of(request)
    deployment = deployment_edit_get(actor, pk)
    slo = Slo.objects.filter(deployment=deployment).first()
    if slo is not None:
        fields = snapshot(slo, "deployment", *FIELDS, "set_by", "updated_at")
        former = slo.pk
        with transaction.atomic():
            slo.delete()
            plans_due([deployment], now=timezone.now())
            audit(actor, "slo.remove", f"deployment {deployment.name}", before=fields, request=request)
        toast(request, f"{deployment.name} promises nothing now.", undo=undo_url("slo", pk=former, fields=fields))
    return redirect("deployment_slo", pk=deployment.pk)


@dataclass(frozen=True)
class Suggestion:
    """The suggestion in words, and as a promise where there is one."""

    text: str
    promise: Promise | None = None

    @property
    def initial(self) -> dict[str, object]:
        return vars(self.promise) if self.promise else {}


def suggestion_text(deployment: Deployment, *, now: datetime) -> Suggestion:
    answer = slo_suggest(deployment, now=now)
    if isinstance(answer, NoAnswer):
        return Suggestion(f"No suggestion yet. {answer.sentence()} A window is 5 minutes with traffic.")
    return Suggestion(answer.sentence, suggested_promise(answer))


def suggested_promise(answer: SloSuggest) -> Promise:
    return Promise(int(answer.latency), answer.percentile, answer.threshold_seconds, OBJECTIVE_RATIO, None, PREVIEW_DAYS)


@dataclass(frozen=True)
class Preview:
    """What the promise would have cost; tone: ok, warn, none."""

    text: str
    tone: str


@guarded
@require_GET
def slo_preview(request: HttpRequest, *, pk: int) -> HttpResponse:
    deployment = deployment_edit_get(actor_of(request), pk)
    form = SloForm(request.GET, kinds=latency_kinds(deployment.pk))
    valid = form.is_valid()
    preview = preview_text(deployment, promise=form.promise(), now=timezone.now()) if valid else Preview(first_error(form), "none")
    return show(request, "slo/preview.html", {"preview": preview})


def first_error(form: SloForm) -> str:
    return str(next(iter(form.errors.values()))[0])


def preview_text(deployment: Deployment, *, promise: Promise, now: datetime) -> Preview:
    """Lost minutes of the last 28 days, had the promise stood; nothing is saved."""
    if promise.latency is None:
        return Preview("Without a latency promise no minutes are counted; the availability is judged by requests.", "none")
    answer = slo_minutes(deployment, start=now - timedelta(days=PREVIEW_DAYS), end=now, slo=promise.write(Slo()))
    if isinstance(answer, NoAnswer) or answer.measured == 0:
        return Preview("Cannot tell yet: no minute of the last 28 days had enough traffic to be judged.", "none")
    budget = answer.budget * PREVIEW_DAYS / promise.window_days
    verdict, tone = ("It would have broken", "warn") if answer.lost > budget else ("It would have held", "ok")
    stretches = f", in {words.count(len(answer.breaches), 'stretch', 'stretches')}" if answer.breaches else ""
    judged = words.span(60 * answer.measured)
    lost = f"{answer.lost:,.0f} minutes lost of a budget of {budget:,.0f} in the last 28 days{stretches}"
    return Preview(f"{verdict}: {lost}. Judged: {judged} with traffic.", tone)


@guarded
@require_GET
def slos(request: HttpRequest) -> HttpResponse:
    return show(request, "slo/slos.html", list_facts(request, form=bulk_form(None)))


def bulk_form(data: object) -> SloForm:
    return SloForm(data, kinds=list(Latency))


@dataclass(frozen=True)
class Row:
    """A deployment in the list, its promise in words; a share keeps its decimals: 99.5 % is not 100 %."""

    deployment: Deployment
    latency: str = ""
    share: str = ""
    availability: str = ""


def row_of(deployment: Deployment) -> Row:
    slo: Slo | None = getattr(deployment, "slo", None)
    if slo is None:
        return Row(deployment)
    latency = share = DASH
    if slo.latency is not None:
        latency = (
            f"{LATENCY_LABELS[Latency(slo.latency)]} p{100 * slo.percentile:g} \u2264 {words.figure(slo.threshold_seconds, 'seconds')}"
        )
        share = f"{100 * slo.objective_ratio:.6g} % of {slo.window_days} days"
    available = DASH if slo.availability_ratio is None else f"{100 * slo.availability_ratio:.6g} %"
    return Row(deployment, latency, share, available)


def list_facts(request: HttpRequest, *, form: SloForm) -> dict[str, object]:
    rows = editable(actor_of(request)).select_related("team", "cluster", "slo")
    missing = request.GET.get("show") == "missing"
    return {
        "rows": [row_of(row) for row in (rows.filter(slo=None) if missing else rows)],
        "missing": missing,
        "form": form,
        "ticked": request.POST.getlist("deployment"),
    }


def editable(actor: Actor) -> QuerySet[Deployment]:
    return editable_for(actor).filter(state=DeploymentState.ACTIVE)


@guarded
@require_POST
def slos_set(request: HttpRequest) -> HttpResponse:
    """One promise, or each its own suggestion, for all that are ticked; a foreign id is simply not among them."""
    actor = actor_of(request)
    ids = [int(text) for text in request.POST.getlist("deployment") if text.isascii() and text.isdigit() and len(text) < 19]
    rows = list(editable(actor).filter(pk__in=ids))
    if not rows:
        complain(request, "Tick at least one deployment.")
        return redirect("slos")
    if "suggested" in request.POST:
        return suggested_set(request, rows=rows)
    form = bulk_form(request.POST)
    if not form.is_valid():
        return show(request, "slo/slos.html", list_facts(request, form=form), status=422)
    promise = form.promise()
    fitting = [row for row in rows if promise.latency is None or Latency(promise.latency) in latency_kinds(row.pk)]
    return many_keep(request, promises=[(row, promise) for row in fitting], skipped=len(rows) - len(fitting))


def suggested_set(request: HttpRequest, *, rows: Sequence[Deployment]) -> HttpResponse:
    now, promises = timezone.now(), []
    for row in rows:
        answer = slo_suggest(row, now=now)
        if not isinstance(answer, NoAnswer):
            promises.append((row, suggested_promise(answer)))
    return many_keep(request, promises=promises, skipped=len(rows) - len(promises))


def many_keep(request: HttpRequest, *, promises: Sequence[tuple[Deployment, Promise]], skipped: int) -> HttpResponse:
    actor = actor_of(request)
    with transaction.atomic():
        for deployment, promise in promises:
            before = slo_write(deployment, promise=promise, actor=actor)
            audit(actor, "slo.set", f"deployment {deployment.name}", before=before or {}, after=vars(promise), request=request)
        plans_due([deployment for deployment, _ in promises], now=timezone.now())
    text = f"Set for {words.count(len(promises), 'deployment')}."
    if skipped:
        text += f" Left out {skipped}: this latency is not measured there, or there is not enough data yet."
    toast(request, text)
    return redirect("slos")

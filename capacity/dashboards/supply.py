"""Supply: which accelerators and nodes there are by cluster, which are free, what is reserved and on order."""

from collections.abc import Sequence
from datetime import UTC, date

from django.core.paginator import Paginator
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from capacity.analysis.supply import ClusterSupply, order_label, supply_load
from capacity.analysis.supply_change import OPEN_STATES, SupplyError, order_close, order_keep
from capacity.dashboards.forms.supply import OrderForm, order_initial
from capacity.dashboards.replies import complain, guarded, show, snapshot, toast, undo_url
from capacity.dashboards.words import count
from capacity.models import SupplyOrder, SupplyState
from monitoring.access import (
    Actor,
    accelerators_for,
    actor_of,
    admin_require,
    audit,
    clusters_for,
    deployments_for,
    nodes_for,
    row_get,
    sees_install,
)

ROWS = 50
NAMES_OFFERED = 200
FIELDS = (
    *("cluster", "accelerator_model", "instance_type", "accelerators", "nodes", "state"),
    *("arrives_on", "note", "set_by"),
)
SHOWN = (("open", "Open"), ("arrived", "Arrived"), ("cancelled", "Cancelled"))
CLOSED = {"arrive": SupplyState.ARRIVED, "cancel": SupplyState.CANCELLED}


@guarded
@require_GET
def supply(request: HttpRequest) -> HttpResponse:
    actor, now = actor_of(request), timezone.now()
    found = supply_load(
        clusters_for(actor),
        accelerators=accelerators_for(actor, now=now),
        nodes=nodes_for(actor, now=now),
        own=deployments_for(actor, hidden=True),
        now=now,
    )
    shown = request.GET.get("show", "open")
    states = list(OPEN_STATES) if shown not in CLOSED_WORDS else [shown]
    orders = SupplyOrder.objects.filter(cluster__in=clusters_for(actor), state__in=states).select_related("cluster")
    orders = orders.order_by("arrives_on", "pk") if states == list(OPEN_STATES) else orders.order_by("-updated_at", "pk")
    rows = Paginator(orders, ROWS).get_page(request.GET.get("page"))
    today = now.astimezone(UTC).date()
    context = {
        "sentence": supply_words(found, today=today, whole=sees_install(actor)),
        "found": sorted(found, key=lambda each: not each.stocks),  # those without accelerators last
        "whole": sees_install(actor),
        "rows": rows,
        "pages": rows,
        "pager_base": f"?show={shown}&",
        "shown": shown if shown in CLOSED_WORDS else "open",
        "chips": SHOWN,
        "now": now,
        "today": today,
    }
    return show(request, "supply/supply.html", context)


CLOSED_WORDS = tuple(state.value for state in CLOSED.values())


def supply_words(found: Sequence[ClusterSupply], *, today: date, whole: bool) -> str:
    stocks = [stock for each in found for stock in each.stocks]
    there = sum(stock.there for stock in stocks)
    if not there:
        return "No accelerator is known yet." if whole else "No accelerator is known on which a deployment of yours lies."
    held = sum(stock.own + stock.others for stock in stocks)
    parts = [f"{share_words(held)} held by deployments", f"{sum(stock.free for stock in stocks)} free"]
    parts += [f"{n} busy with nobody known on them" for n in [sum(stock.unattributed for stock in stocks)] if n]
    parts += [f"{n} not measured" for n in [sum(stock.unmeasured for stock in stocks)] if n]
    places = [each.cluster.name for each in found if any(stock.there for stock in each.stocks)]
    where = f" in {count(len(places), 'cluster')}" if len(places) > 1 else f" in {places[0]}"
    text = f"{count(there, 'accelerator')}{where}{'' if whole else ' on which your deployments lie'}: {', '.join(parts)}."
    coming = sum(stock.on_order for stock in stocks)
    days = [order.arrives_on for each in found for order in each.orders if order.arrives_on and order.arrives_on >= today]
    if coming:
        text += f" {coming} on order{f', the next on {min(days):%-d %b}' if days else ', no day known'}."
    return text


def share_words(share: float) -> str:
    """4, or 3.5 where somebody shares one."""
    return f"{share:.1f}".removesuffix(".0")


@guarded
@require_http_methods(["GET", "POST"])
def order_new(request: HttpRequest) -> HttpResponse:
    actor, now = actor_of(request), timezone.now()
    admin_require(actor)
    if request.method == "POST":
        form = OrderForm(request.POST, clusters=clusters_for(actor), now=now)
        return order_kept(request, form=form) if form.is_valid() else order_page(request, form=form, status=422)
    cluster = request.GET.get("cluster", "")
    initial = {
        "cluster": cluster if cluster.isascii() and cluster.isdigit() else None,
        "accelerator_model": request.GET.get("model", "")[:120],
    }
    return order_page(request, form=OrderForm(initial=initial, clusters=clusters_for(actor), now=now))


@guarded
@require_http_methods(["GET", "POST"])
def order(request: HttpRequest, *, pk: int) -> HttpResponse:
    actor, now = actor_of(request), timezone.now()
    admin_require(actor)
    row = row_get(SupplyOrder.objects.select_related("cluster"), pk)
    if row.state not in OPEN_STATES:
        complain(request, f"This order is {row.get_state_display().lower()} and stays as it is. Enter a new one.")
        return redirect("supply")
    if request.method == "POST":
        form = OrderForm(request.POST, clusters=clusters_for(actor), now=now, order=row)
        return order_kept(request, form=form, before=row) if form.is_valid() else order_page(request, form=form, row=row, status=422)
    return order_page(request, form=OrderForm(initial=order_initial(row), clusters=clusters_for(actor), now=now, order=row), row=row)


def order_page(request: HttpRequest, *, form: OrderForm, row: SupplyOrder | None = None, status: int = 200) -> HttpResponse:
    actor = actor_of(request)
    context = {"form": form, "order": row, "models": offered(actor, "model_name"), "types": offered(actor, "instance_type")}
    return show(request, "supply/order.html", context, status=status)


def offered(actor: Actor, name: str) -> list[str]:
    rows = accelerators_for(actor) if name == "model_name" else nodes_for(actor)
    return list(rows.exclude(**{name: ""}).values_list(name, flat=True).distinct().order_by(name)[:NAMES_OFFERED])


def order_kept(request: HttpRequest, *, form: OrderForm, before: SupplyOrder | None = None) -> HttpResponse:
    actor, made = actor_of(request), form.made
    assert made is not None  # the form is valid
    fields = snapshot(before, *FIELDS) if before else None
    with transaction.atomic():
        if before is None:
            made.cluster = form.cleaned_data["cluster"]
        order_keep(made, by=actor.name, now=timezone.now())
        action = "supply.change" if before else "supply.create"
        audit(actor, action, f"order for {made.cluster.name}", before=fields, after=snapshot(made, *FIELDS), request=request)
    text = f"{order_label(made)} in {made.cluster.name}{f' on {made.arrives_on:%-d %b %Y}' if made.arrives_on else ', no day known'}."
    toast(request, text, undo=undo_url("supply_order", pk=made.pk, fields=fields))
    return redirect("supply")


@guarded
@require_POST
def order_end(request: HttpRequest, *, pk: int, verb: str) -> HttpResponse:
    """It arrived, or it does not come."""
    actor = actor_of(request)
    admin_require(actor)
    row = row_get(SupplyOrder.objects.select_related("cluster"), pk)
    fields = snapshot(row, *FIELDS)
    try:
        with transaction.atomic():
            order_close(row, CLOSED[verb], by=actor.name, now=timezone.now())
            audit(actor, f"supply.{verb}", f"order for {row.cluster.name}", before=fields, after=snapshot(row, *FIELDS), request=request)
    except SupplyError as error:
        complain(request, str(error))
        return redirect("supply")
    text = "It arrived. It counts as there as soon as its telemetry is seen." if verb == "arrive" else "The order is cancelled."
    toast(request, text, undo=undo_url("supply_order", pk=row.pk, fields=fields))
    return redirect("supply")

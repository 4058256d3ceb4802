"""Prices: what the nodes cost and why, the table of prices, rates between currencies. Everybody reads, admins of the install change."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from django.core.paginator import Paginator
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from capacity.analysis.prices import Certainty, HourPrice, PriceBook, node_prices, price_book, rate_words
from capacity.analysis.prices_change import PriceError, currency_read, price_end, price_keep, rate_keep
from capacity.dashboards.forms.prices import PriceForm, RateForm, price_initial
from capacity.dashboards.replies import complain, guarded, show, snapshot, toast, undo_url
from capacity.dashboards.words import count
from capacity.models import CURRENCY_SETTING, CurrencyRate, Price, PriceKind, PriceQuerySet, currency_get, currency_set
from monitoring.access import Actor, accelerators_for, actor_of, admin_require, audit, nodes_for, row_get
from monitoring.models import Node, Setting

ROWS = 50
NAMES_OFFERED = 200
FIELDS = ("kind", "name", "node", "hourly_rate", "currency", "provider", "region", "valid_from", "valid_to", "source", "set_by")
RATE_FIELDS = ("currency", "into", "rate", "valid_from", "source", "set_by")
SHOWN = (("used", "In use here"), ("own", "Own"), ("list", "List prices"), ("ended", "Ended"))


@dataclass(frozen=True)
class Covered:
    """Nodes that cost the same for the same reason."""

    instance_type: str
    nodes: Sequence[Node]
    hour: HourPrice

    @property
    def rate(self) -> str:
        """To the cent where that is less than a percent; the sentence has all decimals."""
        if self.hour.shown is None:
            return ""
        return f"{self.hour.shown:,.2f}" if self.hour.shown >= 1 else rate_words(self.hour.shown)

    @property
    def sentence(self) -> str:
        bare = self.hour.reason == "no_price" and not self.instance_type and len(self.nodes) > 1
        return (
            "They have no instance type and no price by hand. What runs on them is told in replica-hours." if bare else self.hour.sentence
        )


@guarded
@require_GET
def prices(request: HttpRequest) -> HttpResponse:
    return prices_page(request)


def prices_page(request: HttpRequest, *, rate_form: RateForm | None = None, currency_problem: str = "") -> HttpResponse:
    actor, now = actor_of(request), timezone.now()
    book = price_book(at=now)
    covered = coverage(actor, book=book, now=now)
    used = {pk for group in covered for pk in group.hour.prices}
    shown = request.GET.get("show") or "used"
    query = request.GET.get("q", "").strip()[:120]
    found = Price.objects.of_nodes(nodes_for(actor, now=now)).select_related("node__cluster")
    rows = Paginator(searched(found, shown=shown, used=used, query=query, day=now.date()), ROWS).get_page(request.GET.get("page"))
    rates = list(CurrencyRate.objects.filter(into=book.currency))
    context = {
        "sentence": coverage_words(covered),
        "covered": covered,
        "rows": [(row, rate_words(row.hourly_rate), row.pk in used) for row in rows],
        "pages": rows,
        "pager_base": f"?show={shown}&q={query}&",
        "shown": shown,
        "chips": SHOWN,
        "query": query,
        "today": now.date(),
        "currency": book.currency,
        "rates": [(rate, rate_words(rate.rate)) for rate in rates],
        "rate_form": rate_form or RateForm(into=book.currency, initial={"valid_from": now.date().isoformat()}),
        "currency_problem": currency_problem,
    }
    wrong = bool(currency_problem or (rate_form and rate_form.errors))
    return show(request, "prices/prices.html", context, status=422 if wrong else 200)


def searched(found: PriceQuerySet, *, shown: str, used: set[int], query: str, day: date) -> QuerySet[Price]:
    over = Q(valid_to__isnull=False, valid_to__lte=day)
    kept = {"own": ~over & Q(shipped=False), "list": ~over & Q(shipped=True), "ended": over}.get(shown, Q(pk__in=used))
    words = Q(name__icontains=query) | Q(provider__icontains=query) | Q(source__icontains=query)
    return found.filter(kept & words if query else kept)


def coverage(actor: Actor, *, book: PriceBook, now: datetime) -> list[Covered]:
    """What the nodes one sees cost now, the unpriced first, then the dearest."""
    nodes = list(nodes_for(actor, now=now).select_related("cluster").order_by("name"))
    hours = node_prices(nodes, book=book)
    groups: dict[tuple[object, ...], tuple[list[Node], HourPrice]] = {}
    for node in nodes:
        hour = hours[node.pk]
        groups.setdefault((node.instance_type, hour.prices, hour.reason, hour.shown), ([], hour))[0].append(node)
    found = [Covered(key[0] if isinstance(key[0], str) else "", nodes, hour) for key, (nodes, hour) in groups.items()]
    return sorted(found, key=lambda each: (each.hour.shown is not None, -(each.hour.shown or 0), each.instance_type))


def coverage_words(covered: Sequence[Covered]) -> str:
    total = sum(len(group.nodes) for group in covered)
    if not total:
        return "No node is known yet; what stands here will price them when they come."
    counts = {kind: sum(len(group.nodes) for group in covered if group.hour.certainty == kind) for kind in Certainty}
    priced = total - counts[Certainty.UNKNOWN]
    parts = []
    if counts[Certainty.MEASURED]:
        parts.append(f"{counts[Certainty.MEASURED]} by your own prices")
    if counts[Certainty.ESTIMATED]:
        parts.append(f"{counts[Certainty.ESTIMATED]} estimated from list prices")
    text = f"{priced} of {count(total, 'node')} {'has' if priced == 1 else 'have'} a price{': ' + ', '.join(parts) if parts else ''}."
    missing = counts[Certainty.UNKNOWN]
    return f"{text} What runs on the other {missing} is told in replica-hours." if missing else text


@guarded
@require_http_methods(["GET", "POST"])
def price_new(request: HttpRequest) -> HttpResponse:
    """Empty, for a node or type named in the address, or filled from a price to take over."""
    actor = actor_of(request)
    admin_require(actor)
    if request.method == "POST":
        form = PriceForm(request.POST)
        return price_kept(request, form=form) if form.is_valid() else price_page(request, form=form, status=422)
    taken = row_get(Price.objects.filter(shipped=True), request.GET["take"]) if request.GET.get("take") else None
    initial = price_initial(taken, currency=currency_get(), today=timezone.now().date())
    if "node" in request.GET:
        node = row_get(nodes_for(actor).select_related("cluster"), request.GET["node"])
        initial |= {"kind": PriceKind.NODE, "name": f"{node.cluster.name}/{node.name}"}
    elif "type" in request.GET:
        initial |= {"kind": PriceKind.INSTANCE, "name": request.GET["type"][:80]}
    return price_page(request, form=PriceForm(initial=initial), taken=taken)


@guarded
@require_http_methods(["GET", "POST"])
def price(request: HttpRequest, *, pk: int) -> HttpResponse:
    """Correct an own price. What costs something else from now on is a new price with a later first day."""
    admin_require(actor_of(request))
    row = row_get(Price.objects.select_related("node__cluster"), pk)
    if row.shipped:
        complain(request, "This list price came with Headroom and stays as it was read. Take it over to change it, or end it.")
        return redirect("prices")
    if request.method == "POST":
        form = PriceForm(request.POST, price=row)
        return price_kept(request, form=form, before=row) if form.is_valid() else price_page(request, form=form, row=row, status=422)
    initial = price_initial(row, currency=row.currency, today=timezone.now().date())
    return price_page(request, form=PriceForm(initial=initial, price=row), row=row)


def price_page(
    request: HttpRequest, *, form: PriceForm, row: Price | None = None, taken: Price | None = None, status: int = 200
) -> HttpResponse:
    actor = actor_of(request)
    types = nodes_for(actor).exclude(instance_type="").values_list("instance_type", flat=True).distinct().order_by("instance_type")
    models = accelerators_for(actor).exclude(model_name="").values_list("model_name", flat=True).distinct().order_by("model_name")
    names = [*types[:NAMES_OFFERED], *models[:NAMES_OFFERED]]
    return show(request, "prices/price.html", {"form": form, "price": row, "taken": taken, "names": names}, status=status)


def price_kept(request: HttpRequest, *, form: PriceForm, before: Price | None = None) -> HttpResponse:
    actor, made = actor_of(request), form.made
    assert made is not None  # the form is valid
    fields = snapshot(before, *FIELDS) if before else None
    try:
        with transaction.atomic():
            price_keep(made, by=actor.name, now=timezone.now())
            action = "price.change" if before else "price.create"
            audit(actor, action, f"price of {made.name}", before=fields, after=snapshot(made, *FIELDS), request=request)
    except IntegrityError:  # two people at once
        form.add_error("valid_from", "Somebody entered a price for the same and the same day just now. Look at it first.")
        return price_page(request, form=form, row=before, status=422)
    text = f"{made.name} costs {rate_words(made.hourly_rate)} {made.currency} an hour from {made.valid_from} on."
    toast(request, text, undo=undo_url("price", pk=made.pk, fields=fields))
    return redirect("prices")


@guarded
@require_POST
def price_over(request: HttpRequest, *, pk: int) -> HttpResponse:
    """From today on, or from the day given: also for a list price, which then prices nothing more."""
    actor, now = actor_of(request), timezone.now()
    admin_require(actor)
    row = row_get(Price.objects.all(), pk)
    fields = snapshot(row, *FIELDS)
    try:
        with transaction.atomic():
            price_end(row, request.POST.get("valid_to") or max(now.date(), row.valid_from), by=actor.name, now=now)
            audit(actor, "price.end", f"price of {row.name}", before=fields, after=snapshot(row, *FIELDS), request=request)
    except PriceError as error:
        complain(request, str(error))
        return redirect("prices")
    toast(request, f"The price of {row.name} no longer holds from {row.valid_to} on.", undo=undo_url("price", pk=row.pk, fields=fields))
    return redirect("prices")


@guarded
@require_POST
def rate_add(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    admin_require(actor)
    form = RateForm(request.POST, into=currency_get())
    if not form.is_valid() or form.made is None:
        return prices_page(request, rate_form=form)
    try:
        with transaction.atomic():
            rate = rate_keep(form.made, by=actor.name, now=timezone.now())
            audit(actor, "rate.create", f"rate for {rate.currency}", after=snapshot(rate, *RATE_FIELDS), request=request)
    except IntegrityError:
        form.add_error("valid_from", "Somebody entered a rate for the same day just now. Look at it first.")
        return prices_page(request, rate_form=form)
    text = f"1 {rate.currency} is {rate_words(rate.rate)} {rate.into} from {rate.valid_from} on."
    toast(request, text, undo=undo_url("rate", pk=rate.pk, fields=None))
    return redirect("prices")


@guarded
@require_POST
def rate_remove(request: HttpRequest, *, pk: int) -> HttpResponse:
    actor = actor_of(request)
    admin_require(actor)
    rate = row_get(CurrencyRate.objects.all(), pk)
    fields, former = snapshot(rate, *RATE_FIELDS), rate.pk
    with transaction.atomic():
        rate.delete()
        audit(actor, "rate.remove", f"rate for {rate.currency}", before=fields, request=request)
    text = f"The rate for {rate.currency} from {rate.valid_from} is gone."
    toast(request, text, undo=undo_url("rate", pk=former, fields=fields))
    return redirect("prices")


@guarded
@require_POST
def currency_change(request: HttpRequest) -> HttpResponse:
    """All money is told in it from now on; prices stay in the currency they were entered in."""
    actor, now = actor_of(request), timezone.now()
    admin_require(actor)
    try:
        code = currency_read(request.POST.get("currency"))
    except PriceError as error:
        return prices_page(request, currency_problem=str(error))
    before = currency_get()
    with transaction.atomic():
        former = Setting.objects.select_for_update().filter(name=CURRENCY_SETTING).first()
        fields = snapshot(former, "name", "value", "updated_by", "updated_at") if former else None
        row = currency_set(code, by=actor.name, now=now)
        audit(actor, "currency.change", "currency", before={"currency": before}, after={"currency": code}, request=request)
    toast(request, f"Money is told in {code} now.", undo=undo_url("setting", pk=row.pk, fields=fields))
    return redirect("prices")

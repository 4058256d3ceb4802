"""Channels: the list with what the other side last said, and the form whose Test sends a real message before anything is saved."""

import base64
import secrets
from dataclasses import dataclass

from django.db.models import Count, Max, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from capacity.dashboards.forms.alerts import ChannelForm
from capacity.dashboards.replies import complain, guarded, show, toast
from capacity.dashboards.sources import allow_wish
from capacity.dashboards.words import count
from monitoring.access import Actor, actor_of, channel_edit_get, channel_get, channels_for, connect_require, may_connect, teams_for
from monitoring.alerts.channel_setup import (
    ChannelSetupError,
    KindOffer,
    TestResult,
    channel_delete,
    channel_make,
    channel_save,
    channel_switch,
    channel_test,
    kinds_offered,
    secret_tails,
)
from monitoring.models import AddressOff, Channel, ChannelKind, Notification, NotificationState, Team


@dataclass(frozen=True)
class ChannelRow:
    channel: Channel
    state: str  # ok, failed, off, new
    word: str
    said: str
    goes: str  # where to: tails of secrets, addresses
    takes: str  # which alerts
    waiting: int
    dead: int
    may_change: bool


@guarded
@require_GET
def channels(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    unsent = Q(notifications__state__in=(NotificationState.WAITING, NotificationState.SENDING))
    rows = channels_for(actor).annotate(
        waiting=Count("notifications", filter=unsent),
        dead=Count("notifications", filter=Q(notifications__state=NotificationState.DEAD)),
        last_sent=Max("notifications__sent_at"),
    )
    context = {
        "rows": [channel_row(channel, actor=actor) for channel in rows.order_by("name")],
        "offers": kinds_offered(),
        "may_make": actor.admin or bool(teams_connecting(actor)),
    }
    return show(request, "alerts/channels.html", context)


def teams_connecting(actor: Actor) -> list[Team]:
    return [team for team in teams_for(actor).order_by("name") if may_connect(actor, team.pk)]


def channel_row(channel: Channel, *, actor: Actor) -> ChannelRow:
    state, word, said = state_words(channel)
    numbers = (getattr(channel, "waiting", 0), getattr(channel, "dead", 0))
    return ChannelRow(channel, state, word, said, goes_words(channel), takes_words(channel), *numbers, may_connect(actor, channel.team_id))


def state_words(channel: Channel) -> tuple[str, str, str]:
    """Its state for the symbol, the word, and what the other side said."""
    if not channel.enabled:
        return "off", "Off", "Switched off by hand; what fires meanwhile is not told by it."
    if channel.switched_off_why:
        return "failed", "Switched itself off", channel.switched_off_why
    if channel.test_ok is None:
        return "new", "Not tested", ""
    return ("ok", "Works", channel.test_said) if channel.test_ok else ("failed", "Test failed", channel.test_said)


def goes_words(channel: Channel) -> str:
    """Where it leads to, of secrets only the tail."""
    told = [", ".join(value) if isinstance(value, list) else str(value) for value in channel.options.values() if value]
    return "; ".join([*told, *(f"{name} {tail}" for name, tail in secret_tails(channel).items())])


def takes_words(channel: Channel) -> str:
    """Which alerts go by it."""
    grave = ", ".join(channel.severities) if channel.severities else "all severities"
    labels = ", ".join(f"{label}={pattern}" for label, pattern in channel.matchers.items())
    return f"{grave}{f', where {labels}' if labels else ''}{', weekly digest' if channel.weekly_digest else ''}"


# --- The form --------------------------------------------------------------------------------------------------------------


@guarded
@require_http_methods(["GET", "POST"])
def channel_new(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    if not actor.admin and not teams_connecting(actor):
        connect_require(actor, None)
    kind = request.GET.get("kind", "")
    offer = next((offer for offer in kinds_offered() if offer.kind == kind), None)
    if offer is None:
        return show(request, "alerts/channel_kinds.html", {"offers": kinds_offered()})
    return channel_page(request, channel=None, offer=offer)


@guarded
@require_http_methods(["GET", "POST"])
def channel(request: HttpRequest, *, pk: int) -> HttpResponse:
    """To read for all who see it; to change, with Test, for those who may."""
    actor = actor_of(request)
    row = channel_edit_get(actor, pk) if request.method == "POST" else channel_get(actor, pk)
    offer = next(offer for offer in kinds_offered() if offer.kind == row.kind)
    return channel_page(request, channel=row, offer=offer)


def channel_page(request: HttpRequest, *, channel: Channel | None, offer: KindOffer) -> HttpResponse:
    """Test, Allow and Save are buttons of one form: what was typed is tested as it stands."""
    form = channel_form(request, channel=channel, offer=offer)
    made = channel_typed(request, form=form, channel=channel) if request.method == "POST" and form.is_valid() else None
    if made is None:
        return form_page(request, form=form, channel=channel)
    if "test" in request.POST or "allow" in request.POST:
        if "allow" in request.POST and not allow_wish(request):
            return form_page(request, form=form, channel=channel)
        made.pk = None  # nothing of this Test is stored, also not on a channel that is there already
        return form_page(request, form=form, channel=channel, result=channel_test(made, now=timezone.now()))
    return channel_keep(request, made, new=channel is None)


def channel_form(request: HttpRequest, *, channel: Channel | None, offer: KindOffer) -> ChannelForm:
    actor = actor_of(request)
    others = channels_for(actor).exclude(pk=channel.pk).filter(team=channel.team_id) if channel is not None else channels_for(actor)
    teams = teams_connecting(actor)
    return ChannelForm(
        request.POST if request.method == "POST" else None,
        teams=teams,
        everybody=actor.admin,
        offer=offer,
        channel=channel,
        others=list(others.order_by("name")),
        initial=first_values(request, offer) if channel is None else {},
    )


def first_values(request: HttpRequest, offer: KindOffer) -> dict[str, str]:
    """A newcomer types as little as can be: a name, and for e-mail the own address."""
    actor = actor_of(request)
    own = {"to": actor.user.email} if actor.user is not None and offer.kind == ChannelKind.EMAIL else {}
    return {"name": offer.label, "owner": actor.user.email if actor.user is not None else ""} | own


def channel_typed(request: HttpRequest, *, form: ChannelForm, channel: Channel | None) -> Channel | None:
    """The channel as typed, checked and not saved; None: the form says what is wrong."""
    team = channel.team if channel is not None else form.team_chosen()
    if channel is None:
        connect_require(actor_of(request), team.pk if team is not None else None)
    try:
        return channel_make(form.told(), form.secrets(), team=team, channel=channel)
    except ChannelSetupError as error:
        form.problems_add(error.problems)
        return None


def form_page(request: HttpRequest, *, form: ChannelForm, channel: Channel | None, result: TestResult | None = None) -> HttpResponse:
    actor = actor_of(request)
    context = {
        "form": form,
        "channel": channel,
        "row": channel_row(channel, actor=actor) if channel is not None else None,
        "offer": form.offer,
        "offers": kinds_offered(),
        "result": result,
        "block": block_of(result),
        "tails": secret_tails(channel).items() if channel is not None else (),
        "may_change": channel is None or may_connect(actor, channel.team_id),
        "off": list(AddressOff.objects.filter(channel=channel).order_by("address")) if channel is not None else [],
        "fresh_signing": f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}" if form.offer.kind == ChannelKind.WEBHOOK else "",
        "told": form.is_bound,
    }
    if request.headers.get("HX-Request") and request.method == "POST":
        problems = [(form.fields[name].label if name in form.fields else "", errors[0]) for name, errors in form.errors.items()]
        return show(request, "alerts/channel_tested.html", context | {"problems": problems})
    return show(request, "alerts/channel.html", context, status=422 if form.errors else 200)


def block_of(result: TestResult | None) -> dict[str, str] | None:
    """The private address and port, as the block of sources shows them."""
    if result is None or not result.block:
        return None
    address, _, port = result.block.rpartition(":")
    return {"address": address, "port": port}


def channel_keep(request: HttpRequest, made: Channel, *, new: bool) -> HttpResponse:
    actor, now = actor_of(request), timezone.now()
    try:
        saved = channel_save(made, by=actor.name, now=now)
    except ChannelSetupError as error:
        complain(request, str(error))
        return redirect("channels")
    if not new:
        toast(request, f"{saved.name} is changed.")
        return redirect("channel", pk=saved.pk)
    # A channel nobody has heard by is a hope: the first save sends a test message.
    result = channel_test(saved, now=now)
    if result.ok:
        toast(request, f"{saved.name} is saved, and its test message arrived.")
    else:
        complain(request, f"{saved.name} is saved, but its test message did not arrive. {result.sentence}")
    return redirect("channel", pk=saved.pk)


# --- Test, on, off, away -----------------------------------------------------------------------------------------------------


@guarded
@require_POST
def channel_test_again(request: HttpRequest, *, pk: int) -> HttpResponse:
    """Send a real message by the channel as stored; with `allow`, allow its private address first."""
    row = channel_edit_get(actor_of(request), pk)
    if "allow" in request.POST and not allow_wish(request):
        return redirect("channel", pk=pk)
    result = channel_test(row, now=timezone.now())
    if result.ok:
        toast(request, f"{row.name}: {result.sentence}")
    elif not result.block:
        complain(request, f"{row.name}: {result.sentence}")
    if result.block:
        context = {"channel": row, "result": result, "block": block_of(result), "row": channel_row(row, actor=actor_of(request))}
        return show(request, "alerts/channel_blocked.html", context)
    return redirect("channel", pk=pk)


@guarded
@require_POST
def switch(request: HttpRequest, *, pk: int, verb: str) -> HttpResponse:
    actor = actor_of(request)
    row = channel_switch(channel_edit_get(actor, pk), verb == "on", by=actor.name, now=timezone.now())
    waits = row.notifications.filter(state=NotificationState.WAITING).count()
    more = f" {count(waits, 'message')} that waited go out now." if waits else ""
    toast(request, f"{row.name} is on.{more}" if verb == "on" else f"{row.name} is off: nothing is told by it until you switch it on.")
    return redirect("channel", pk=pk)


@guarded
@require_http_methods(["GET", "POST"])
def delete(request: HttpRequest, *, pk: int) -> HttpResponse:
    actor = actor_of(request)
    row = channel_edit_get(actor, pk)
    if request.method == "POST":
        name = row.name
        channel_delete(row, by=actor.name, now=timezone.now())
        toast(request, f"{name} is deleted.")
        return redirect("channels")
    told = Notification.objects.filter(channel=row)
    unsent = told.unsent().count()
    return show(request, "alerts/channel_delete.html", {"channel": row, "told": told.count(), "unsent": unsent})

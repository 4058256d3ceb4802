"""What a thumb does to an alert: acknowledge it, silence it, take either back."""

from datetime import datetime, timedelta

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from capacity.dashboards.alerts_words import subject_words
from capacity.dashboards.pages import zone_of
from capacity.dashboards.replies import complain, guarded, toast, undo_url
from capacity.dashboards.words import moment
from monitoring.access import actor_of, alert_act_get
from monitoring.alerts.acting import ActError, SilenceError, acknowledge_end, alert_acknowledge, alert_silence
from monitoring.models import Alert

# word of the form -> how long; "end": until it is over
SPANS = {"1h": timedelta(hours=1), "4h": timedelta(hours=4), "24h": timedelta(hours=24), "7d": timedelta(days=7)}
MORNING = 9  # "tomorrow" ends then, in the reader's zone


@guarded
@require_POST
def acknowledge(request: HttpRequest, *, pk: int) -> HttpResponse:
    actor, now = actor_of(request), timezone.now()
    alert = alert_act_get(actor, pk)
    wish = request.POST.get("until", "4h")
    try:
        until = None if wish == "end" else until_of(wish, request=request, now=now)
        alert_acknowledge(alert, until=until, by=actor.name, now=now)
    except ActError as refusal:
        complain(request, str(refusal))
        return back(request, alert)
    lasts = f"until {moment(until, now=now, zone=zone_of(request))}" if until else "until it ends"
    text = f"{subject(alert)} is acknowledged {lasts}: it is not repeated and not escalated."
    toast(request, text, undo=undo_url("alert", pk=alert.pk, fields={}))
    return back(request, alert)


@guarded
@require_POST
def unacknowledge(request: HttpRequest, *, pk: int) -> HttpResponse:
    actor = actor_of(request)
    alert = alert_act_get(actor, pk)
    try:
        acknowledge_end(alert, by=actor.name, now=timezone.now())
        toast(request, f"{subject(alert)} is told again.")
    except ActError as refusal:
        complain(request, str(refusal))
    return back(request, alert)


@guarded
@require_POST
def silence(request: HttpRequest, *, pk: int) -> HttpResponse:
    """This rule on this subject, for a while; others go on."""
    actor, now = actor_of(request), timezone.now()
    alert = alert_act_get(actor, pk)
    try:
        until = until_of(request.POST.get("until", "1h"), request=request, now=now)
        made = alert_silence(alert, until=until, by=actor.name, reason=request.POST.get("reason", "").strip()[:300], now=now)
    except (ActError, SilenceError) as refusal:
        complain(request, str(refusal))
        return back(request, alert)
    text = f"{alert.rule_name} of {subject(alert)} is silent until {moment(until, now=now, zone=zone_of(request))}."
    toast(request, text, undo=undo_url("silence", pk=made.pk, fields={}))
    return back(request, alert)


def until_of(wish: str, *, request: HttpRequest, now: datetime) -> datetime:
    """ "4h", "tomorrow", or a time as a form's field gives it, in the reader's zone."""
    if wish in SPANS:
        return now + SPANS[wish]
    zone = zone_of(request)
    if wish == "tomorrow":
        return (now.astimezone(zone) + timedelta(days=1)).replace(hour=MORNING, minute=0, second=0, microsecond=0)
    try:
        found = datetime.fromisoformat(wish)
    except ValueError:
        raise ActError(f"It can be done until a time such as 2026-11-23T09:00; {wish[:40]!r} was given.") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=zone)


def subject(alert: Alert) -> str:
    return subject_words(alert.labels, fallback=alert.rule_name)


def back(request: HttpRequest, alert: Alert) -> HttpResponse:
    """To where the button was pressed, at the same row."""
    wish = request.POST.get("next", "")
    if url_has_allowed_host_and_scheme(wish, allowed_hosts=None) and wish.startswith("/alerts/"):
        return redirect(f"{wish}#alert-{alert.pk}")
    return redirect(reverse("alert", kwargs={"pk": alert.pk}))

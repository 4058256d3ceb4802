"""Silences: what holds now, what comes, what is over; make one, end one."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods, require_POST

from capacity.dashboards.alerts_rules import teams_acting
from capacity.dashboards.forms.alerts import SilenceForm, field_time
from capacity.dashboards.pages import zone_of
from capacity.dashboards.replies import guarded, show, snapshot, toast, undo_url
from capacity.dashboards.words import moment, span
from monitoring.access import Actor, act_require, actor_of, may_act, silence_edit_get, silences_for
from monitoring.alerts.acting import SilenceError, silence_end, silence_make
from monitoring.alerts.silences import silence_holds
from monitoring.models import Silence

OVER_MOST = 20
SHOWN_MOST = 300


@dataclass(frozen=True)
class SilenceRow:
    silence: Silence
    standing: str  # now, coming, over
    when: str
    may_end: bool


@guarded
@require_http_methods(["GET", "POST"])
def silences(request: HttpRequest) -> HttpResponse:
    actor, now, zone = actor_of(request), timezone.now(), zone_of(request)
    teams = teams_acting(actor)
    may_make = actor.admin or bool(teams)
    form = SilenceForm(
        request.POST if request.method == "POST" else None,
        teams=teams,
        everybody=actor.admin,
        initial=first_values(request, now=now, zone=zone),
    )
    if request.method == "POST":
        if not may_make:
            act_require(actor, None)
        if form.is_valid() and silence_keep(request, form=form, now=now):
            return redirect("silences")
    rows = [silence_row(silence, actor=actor, now=now, zone=zone) for silence in silences_for(actor).order_by("-start_at")[:SHOWN_MOST]]
    context = {
        "groups": [
            ("Hold now", [row for row in rows if row.standing == "now"]),
            ("Coming", [row for row in reversed(rows) if row.standing == "coming"]),
            ("Over", [row for row in rows if row.standing == "over"][:OVER_MOST]),
        ],
        "form": form,
        "may_make": may_make,
        "zone_name": now.astimezone(zone).tzname(),
    }
    return show(request, "alerts/silences.html", context, status=422 if form.errors else 200)


def first_values(request: HttpRequest, *, now: datetime, zone: ZoneInfo) -> dict[str, str]:
    """Two hours from now; what an address asks for stands there already."""
    asked = {name: request.GET[name] for name in ("matchers", "reason", "team") if name in request.GET}
    return {"end_at": field_time(now + timedelta(hours=2), zone=zone), "repeat_days": "0"} | asked


def silence_keep(request: HttpRequest, *, form: SilenceForm, now: datetime) -> bool:
    actor, team = actor_of(request), form.team_chosen()
    act_require(actor, team.pk if team is not None else None)
    try:
        made = silence_make(form.told(zone=zone_of(request)), team=team, by=actor.name, now=now)
    except SilenceError as error:
        form.problems_add(error.problems)
        return False
    toast(request, "The silence is made; it takes effect within a round.", undo=undo_url("silence", pk=made.pk, fields={}))
    return True


def silence_row(silence: Silence, *, actor: Actor, now: datetime, zone: ZoneInfo) -> SilenceRow:
    standing = standing_of(silence, now=now)
    when = f"{moment(silence.start_at, now=now, zone=zone)} to {moment(silence.end_at, now=now, zone=zone)}"
    if silence.repeat_days:
        length = span((silence.end_at - silence.start_at).total_seconds())
        local = silence.start_at.astimezone(ZoneInfo(silence.zone or "UTC"))
        each = f"each day at {local:%H:%M}" if silence.repeat_days == 1 else f"each {local:%A} at {local:%H:%M}"
        until = f", until {moment(silence.repeat_until, now=now, zone=zone)}" if silence.repeat_until else ""
        when = f"{each} {local.tzname()} for {length}{until}"
    return SilenceRow(silence, standing, when, standing != "over" and may_act(actor, silence.team_id))


def standing_of(silence: Silence, *, now: datetime) -> str:
    if silence_holds(silence, now=now):
        return "now"
    last = silence.repeat_until if silence.repeat_days else silence.end_at
    return "over" if last is not None and last <= now else "coming"


@guarded
@require_POST
def end(request: HttpRequest, *, pk: int) -> HttpResponse:
    """From now on it mutes nothing; what fires still is told."""
    actor = actor_of(request)
    silence = silence_edit_get(actor, pk)
    fields = snapshot(silence, *(field.name for field in Silence._meta.concrete_fields if field.name != "id"))
    silence_end(silence, by=actor.name, now=timezone.now())
    toast(request, "The silence is ended; what fires still is told again.", undo=undo_url("silence", pk=pk, fields=fields))
    wish = request.POST.get("next", "")
    return redirect(wish if wish.startswith("/alerts/") and url_has_allowed_host_and_scheme(wish, allowed_hosts=None) else "silences")

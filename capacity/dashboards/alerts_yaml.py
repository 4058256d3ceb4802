"""Rules as YAML: all that one sees to take along, and others to take over after a look at what would change."""

from collections.abc import Sequence

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods

from capacity.dashboards.alerts_rules import teams_acting
from capacity.dashboards.replies import guarded, show, toast
from capacity.dashboards.words import count
from monitoring.access import act_require, actor_of, alert_rules_for
from monitoring.alerts.rules_yaml import rules_export, rules_import
from monitoring.models import Team

LONGEST_YAML = 200_000


@guarded
@require_http_methods(["GET", "POST"])
def alert_rules_file(request: HttpRequest) -> HttpResponse:
    """Paste rules, see what would change and what is wrong line by line, then take them over."""
    actor = actor_of(request)
    teams = teams_acting(actor)
    if not actor.admin and not teams:
        act_require(actor, None)
    text = request.POST.get("text", "")[:LONGEST_YAML]
    context: dict[str, object] = {"text": text, "teams": teams, "everybody": actor.admin, "team_chosen": request.POST.get("team", "")}
    if request.method == "POST":
        team = team_wished(request.POST.get("team", ""), teams) or (None if actor.admin else teams[0])
        act_require(actor, team.pk if team is not None else None)
        write = "write" in request.POST
        found = rules_import(text, team=team, by=actor.name, now=timezone.now(), write=write)
        if write and found.made + found.changed:
            toast(request, f"{count(len(found.made), 'rule')} made, {len(found.changed)} changed, {len(found.unchanged)} as they were.")
        if write and not found.problems:
            return redirect("alert_rules")
        context["problems"] = [(rule, " ".join(sentences)) for rule, sentences in found.problems.items()]
        context["written"] = write
        context["found"] = found
    return show(request, "alerts/rules_file.html", context)


def team_wished(text: str, teams: Sequence[Team]) -> Team | None:
    return next((team for team in teams if str(team.pk) == text), None)


@guarded
@require_GET
def alert_rules_download(request: HttpRequest) -> HttpResponse:
    """The rules the reader sees, ready to be taken over elsewhere."""
    text = rules_export(alert_rules_for(actor_of(request)).order_by("name"))
    headers = {"Content-Disposition": 'attachment; filename="headroom-rules.yaml"'}
    return HttpResponse(text, content_type="application/yaml; charset=utf-8", headers=headers)

"""Ordered rules that give deployments to teams: preview before saving, and the list of the unassigned."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Max
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from capacity.dashboards import words
from capacity.dashboards.forms.people import RuleForm
from capacity.dashboards.replies import complain, guarded, show, snapshot, toast, undo_url
from monitoring.access import actor_of, admin_require, audit, deployments_for, row_get, rules_for, teams_for
from monitoring.models import Deployment, DeploymentState, Team, TeamRule
from monitoring.sources.teams import rule_matches, team_assign, team_rules_apply

RULE = ("position", "cluster", "namespace", "workload", "label", "label_value", "team")
EXAMPLES = 5


@dataclass(frozen=True)
class Effect:
    """What the rules would do now, in words."""

    gained: int
    moved: int
    names: tuple[str, ...]
    text: str


@guarded
@require_http_methods(["GET", "POST"])
def team_rules(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    admin_require(actor)
    form = RuleForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        return rule_keep(request, form=form)
    rules = list(rules_for(actor))
    loose = deployments_for(actor).filter(team=None, state=DeploymentState.ACTIVE).select_related("cluster")
    context = {
        "form": form,
        "rules": [(rule, hits) for rule, hits in zip(rules, hits_of(rules, deployments=candidates()), strict=True)],
        "unassigned": loose[:200],
        "teams": teams_for(actor),
    }
    return show(request, "teams/rules.html", context, status=422 if form.errors else 200)


def candidates() -> list[Deployment]:
    """What rules may move: everything active whose team was not given by hand."""
    return list(
        Deployment.objects.filter(state=DeploymentState.ACTIVE, team_by_hand=False, cluster__demo=False).select_related("cluster", "team")
    )


def first_match(rules: Sequence[TeamRule], *, deployment: Deployment) -> TeamRule | None:
    return next((rule for rule in rules if rule_matches(rule, deployment=deployment)), None)


def hits_of(rules: Sequence[TeamRule], *, deployments: Sequence[Deployment]) -> list[int]:
    """How many deployments each rule is the first to match."""
    firsts = (first_match(rules, deployment=deployment) for deployment in deployments)
    hits = Counter(id(rule) for rule in firsts if rule is not None)
    return [hits[id(rule)] for rule in rules]


@guarded
@require_GET
def rule_preview(request: HttpRequest) -> HttpResponse:
    """What a rule as typed would add, at the end of the list; nothing is saved."""
    actor = actor_of(request)
    admin_require(actor)
    form = RuleForm(request.GET)
    if not form.is_valid():
        return show(request, "teams/preview.html", {"effect": None, "problem": "Choose a team."})
    rules = [*rules_for(actor), form.save(commit=False)]
    return show(request, "teams/preview.html", {"effect": effect_of(rules)})


def effect_of(rules: Sequence[TeamRule]) -> Effect:
    last = rules[-1]
    hits = [deployment for deployment in candidates() if first_match(rules, deployment=deployment) is last]
    moved = [deployment for deployment in hits if deployment.team_id not in (None, last.team_id)]
    gained = sum(deployment.team_id is None for deployment in hits)
    text = f"Would give {words.count(len(hits), 'deployment')} to {last.team.name}"
    if moved:
        text += f"; {words.count(len(moved), 'of them has', 'of them have')} another team now"
    return Effect(gained, len(moved), tuple(deployment.name for deployment in hits[:EXAMPLES]), text + ".")


def rule_keep(request: HttpRequest, *, form: RuleForm) -> HttpResponse:
    actor = actor_of(request)
    with transaction.atomic():
        rule = form.save(commit=False)
        rule.position = (TeamRule.objects.aggregate(last=Max("position"))["last"] or 0) + 1
        rule.save()
        changed = team_rules_apply()
        audit(actor, "rule.create", f"rule for team {rule.team.name}", after=snapshot(rule, *RULE), request=request)
    toast(request, f"Rule added; {words.count(changed, 'deployment')} changed team.", undo=undo_url("rule", pk=rule.pk, fields=None))
    return redirect("team_rules")


@guarded
@require_POST
def rule_move(request: HttpRequest, *, pk: int, way: str) -> HttpResponse:
    actor = actor_of(request)
    admin_require(actor)
    rule = row_get(rules_for(actor), pk)
    with transaction.atomic():
        rules = list(TeamRule.objects.select_for_update())
        at = next(index for index, row in enumerate(rules) if row.pk == rule.pk)
        to = max(0, min(len(rules) - 1, at + (-1 if way == "up" else 1)))
        rules.insert(to, rules.pop(at))
        for position, row in enumerate(rules, start=1):
            row.position = position
        TeamRule.objects.bulk_update(rules, ["position"])
        changed = team_rules_apply()
        audit(actor, "rule.move", f"rule for team {rule.team.name}", before={"place": at + 1}, after={"place": to + 1}, request=request)
    toast(request, f"Moved to place {to + 1}; {words.count(changed, 'deployment')} changed team.")
    return redirect("team_rules")


@guarded
@require_POST
def rule_remove(request: HttpRequest, *, pk: int) -> HttpResponse:
    actor = actor_of(request)
    admin_require(actor)
    rule = row_get(rules_for(actor), pk)
    fields, name = snapshot(rule, *RULE), rule.team.name
    with transaction.atomic():
        rule.delete()
        changed = team_rules_apply()
        audit(actor, "rule.delete", f"rule for team {name}", before=fields, request=request)
    text = f"Rule removed; {words.count(changed, 'deployment')} changed team."
    toast(request, text, undo=undo_url("rule", pk=pk, fields=fields))
    return redirect("team_rules")


@guarded
@require_POST
def teams_assign(request: HttpRequest) -> HttpResponse:
    """Give the ticked deployments to one team by hand."""
    actor = actor_of(request)
    admin_require(actor)
    ids = [int(text) for text in request.POST.getlist("deployment") if text.isascii() and text.isdigit() and len(text) < 19]
    rows = list(deployments_for(actor).filter(pk__in=ids))
    if not rows:
        complain(request, "Tick at least one deployment.")
        return redirect("team_rules")
    team: Team = row_get(teams_for(actor), request.POST.get("team", ""))
    with transaction.atomic():
        for deployment in rows:
            team_assign(deployment, team=team)
        names = [deployment.name for deployment in rows]
        audit(actor, "deployment.assign", f"team {team.name}", after={"deployments": names}, request=request)
    toast(request, f"{words.count(len(rows), 'deployment')} given to {team.name} by hand.")
    return redirect("team_rules")

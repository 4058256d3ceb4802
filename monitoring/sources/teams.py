"""Which team a deployment belongs to: the first rule whose patterns all match, unless somebody said so by hand."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from monitoring.models import Deployment, Team, TeamRule


def rule_matches(rule: TeamRule, *, deployment: Deployment) -> bool:
    """`*` and `?` as in a shell, case counts; a rule with a label needs the deployment to carry it."""
    if rule.label and rule.label not in deployment.labels:
        return False
    pairs = (
        (deployment.cluster.name, rule.cluster),
        (deployment.namespace, rule.namespace),
        (deployment.workload, rule.workload),
        (str(deployment.labels.get(rule.label, "")), rule.label_value if rule.label else "*"),
    )
    return all(fnmatchcase(value, pattern) for value, pattern in pairs)


def team_of(deployment: Deployment, *, rules: Iterable[TeamRule]) -> Team | None:
    """The team of the first rule that matches, in the order given; None = unassigned."""
    return next((rule.team for rule in rules if rule_matches(rule, deployment=deployment)), None)


def team_rules_apply() -> int:
    """Give every deployment not assigned by hand the team of its rule. Returns how many changed."""
    rules = list(TeamRule.objects.select_related("team"))
    changed = []
    for deployment in Deployment.objects.filter(team_by_hand=False, cluster__demo=False).select_related("cluster"):
        team = team_of(deployment, rules=rules)
        if deployment.team_id != (team.pk if team else None):
            deployment.team = team
            changed.append(deployment)
    Deployment.objects.bulk_update(changed, ["team"], batch_size=500)
    return len(changed)


def team_assign(deployment: Deployment, *, team: Team | None) -> None:
    """By hand; None gives the deployment back to the rules."""
    rules = TeamRule.objects.select_related("team")
    deployment.team_by_hand = team is not None
    deployment.team = team or team_of(deployment, rules=rules)
    deployment.save(update_fields=["team", "team_by_hand"])

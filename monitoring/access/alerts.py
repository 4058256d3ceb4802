"""Alerts, their rules, silences, channels and deliveries: a team has its own, what is of no team is the admins'."""

from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet

from monitoring.access.actors import EDITORS, Actor
from monitoring.access.rows import deployments_for, row_get, sees_install
from monitoring.models import Alert, AlertQuerySet, Channel, Notification, NotificationQuerySet, Role, Rule, Silence

NEEDS_EDITOR = "This needs an editor of its team; what is of no team needs an admin of the install."
NEEDS_CHIEF = "This needs an admin of its team; what is of no team needs an admin of the install."


def alerts_for(actor: Actor) -> AlertQuerySet:
    """Those of visible deployments, wherever these moved since; of no deployment, those of the actor's teams."""
    rows = Alert.objects.all()
    if sees_install(actor):
        return rows
    return rows.filter(Q(deployment__in=deployments_for(actor)) | Q(deployment__isnull=True, team__in=whole_teams(actor)))


def alert_rules_for(actor: Actor) -> QuerySet[Rule]:
    """The rules for everybody, and those of the actor's teams."""
    rows = Rule.objects.select_related("team")
    return rows if sees_install(actor) else rows.filter(Q(team=None) | Q(team__in=actor.team_ids))


def silences_for(actor: Actor) -> QuerySet[Silence]:
    rows = Silence.objects.select_related("team")
    return rows if sees_install(actor) else rows.filter(team__in=whole_teams(actor))


def channels_for(actor: Actor) -> QuerySet[Channel]:
    rows = Channel.objects.select_related("team")
    return rows if sees_install(actor) else rows.filter(team__in=whole_teams(actor))


def whole_teams(actor: Actor) -> list[int]:
    """A key of one cluster sees no team as a whole."""
    return [] if actor.key is not None and actor.key.cluster_id is not None else actor.team_ids


def notifications_for(actor: Actor) -> NotificationQuerySet:
    """Of visible alerts by visible channels: what an install's own channel was told stays with its admins."""
    rows = Notification.objects.select_related("channel__team", "alert__deployment")
    return rows if sees_install(actor) else rows.filter(alert__in=alerts_for(actor), channel__in=channels_for(actor))


def may_act(actor: Actor, team_id: int | None) -> bool:
    """May it acknowledge, silence, and change rules of this team? None: of all teams."""
    return actor.admin or (team_id is not None and actor.roles.get(team_id) in EDITORS)


def may_connect(actor: Actor, team_id: int | None) -> bool:
    """May it change the channels of this team, and what they hold?"""
    return actor.admin or (team_id is not None and actor.roles.get(team_id) == Role.ADMIN)


def act_require(actor: Actor, team_id: int | None) -> None:
    if not may_act(actor, team_id):
        raise PermissionDenied(NEEDS_EDITOR)


def connect_require(actor: Actor, team_id: int | None) -> None:
    if not may_connect(actor, team_id):
        raise PermissionDenied(NEEDS_CHIEF)


def team_of_alert(alert: Alert) -> int | None:
    """Who looks after it now: a deployment may have moved since it fired."""
    return alert.deployment.team_id if alert.deployment is not None else alert.team_id


def alert_get(actor: Actor, pk: object) -> Alert:
    return row_get(alerts_for(actor).select_related("rule__team", "deployment__team", "deployment__cluster", "team", "silenced_by"), pk)


def alert_act_get(actor: Actor, pk: object) -> Alert:
    """The alert, for who may acknowledge and silence it: 404 when foreign, 403 when only readable."""
    alert = alert_get(actor, pk)
    act_require(actor, team_of_alert(alert))
    return alert


def alert_rule_get(actor: Actor, pk: object) -> Rule:
    return row_get(alert_rules_for(actor), pk)


def alert_rule_edit_get(actor: Actor, pk: object) -> Rule:
    rule = alert_rule_get(actor, pk)
    act_require(actor, rule.team_id)
    return rule


def silence_edit_get(actor: Actor, pk: object) -> Silence:
    silence = row_get(silences_for(actor), pk)
    act_require(actor, silence.team_id)
    return silence


def channel_get(actor: Actor, pk: object) -> Channel:
    return row_get(channels_for(actor), pk)


def channel_edit_get(actor: Actor, pk: object) -> Channel:
    channel = channel_get(actor, pk)
    connect_require(actor, channel.team_id)
    return channel


def notification_edit_get(actor: Actor, pk: object) -> Notification:
    row = row_get(notifications_for(actor), pk)
    act_require(actor, row.channel.team_id)
    return row

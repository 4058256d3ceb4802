"""The rows an actor may see, and no others. A foreign id looks like one that does not exist."""

from datetime import datetime, timedelta
from typing import TypeVar

from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.db.models import Model, Q, QuerySet, Sum
from django.http import Http404
from django.utils import timezone

from monitoring.access.actors import EDITORS, Actor, admin_require, can_edit, can_manage
from monitoring.models import (
    Accelerator,
    AcceleratorProcess,
    Agent,
    AgentQuerySet,
    AllowedAddress,
    AuditEvent,
    Cluster,
    Deployment,
    DeploymentState,
    Event,
    ImportRun,
    Invite,
    Key,
    Membership,
    Node,
    Placement,
    Replica,
    Source,
    Team,
    TeamRule,
)

SHOWN = (DeploymentState.ACTIVE, DeploymentState.ARCHIVED)
# A node stays visible this long after the last replica left it, so that last month's charts keep their links.
LINGER = timedelta(days=28)
WHOLE = 0.995  # shares are floats: a whole accelerator is at least this much of one
LARGEST_ID = 2**63 - 1

Row = TypeVar("Row", bound=Model)


def deployments_for(actor: Actor, *, hidden: bool = False) -> QuerySet[Deployment]:
    """Active and archived deployments of the actor's teams, of an admin all; `hidden` adds ignored and merged ones."""
    rows = Deployment.objects.all() if actor.sees_all else Deployment.objects.filter(team__in=actor.team_ids)
    if actor.key is not None and actor.key.cluster_id is not None:
        rows = rows.filter(cluster=actor.key.cluster_id)
    return rows if hidden else rows.filter(state__in=SHOWN)


def editable_for(actor: Actor) -> QuerySet[Deployment]:
    """What the actor may change, ignored and merged ones included."""
    rows = deployments_for(actor, hidden=True)
    return rows if actor.admin else rows.filter(team__in=[team for team, role in actor.roles.items() if role in EDITORS])


def placements_for(actor: Actor, *, now: datetime | None = None) -> QuerySet[Placement]:
    since = (now or timezone.now()) - LINGER
    rows = Placement.objects.filter(Q(valid_to__isnull=True) | Q(valid_to__gt=since))
    return rows.filter(replica__deployment__in=deployments_for(actor))


def accelerators_for(actor: Actor, *, now: datetime | None = None) -> QuerySet[Accelerator]:
    """Accelerators (and the GPU of a MIG instance) on which a visible deployment lies or lately lay."""
    if sees_install(actor):
        return Accelerator.objects.all()
    placed = placements_for(actor, now=now).filter(accelerator__isnull=False)
    return Accelerator.objects.filter(Q(pk__in=placed.values("accelerator")) | Q(pk__in=placed.values("accelerator__parent")))


def nodes_for(actor: Actor, *, now: datetime | None = None) -> QuerySet[Node]:
    if sees_install(actor):
        return Node.objects.all()
    now = now or timezone.now()
    placed = placements_for(actor, now=now)
    replicas = Replica.objects.filter(deployment__in=deployments_for(actor), last_seen_at__gt=now - LINGER, node__isnull=False)
    return Node.objects.filter(
        Q(pk__in=placed.values("node")) | Q(pk__in=placed.values("accelerator__node")) | Q(pk__in=replicas.values("node"))
    )


def agents_for(actor: Actor, *, now: datetime | None = None) -> AgentQuerySet:
    """Agents of the nodes one sees."""
    rows = Agent.objects.select_related("node__cluster")
    return rows if sees_install(actor) else rows.filter(node__in=nodes_for(actor, now=now))


def processes_for(actor: Actor, *, now: datetime | None = None) -> QuerySet[AcceleratorProcess]:
    """Processes by name. Of a team only where the whole accelerator is its own now, and was nobody else's when they were seen:
    a process does not say whose it is."""
    rows = AcceleratorProcess.objects.all()
    if sees_install(actor):
        return rows
    now = now or timezone.now()
    own = placements_for(actor, now=now).filter(accelerator__isnull=False)
    held = own.filter(valid_to__isnull=True).values("accelerator").annotate(total=Sum("share")).filter(total__gte=WHOLE)
    lately = Placement.objects.filter(Q(valid_to__isnull=True) | Q(valid_to__gt=now - LINGER), accelerator__isnull=False)
    foreign = lately.exclude(replica__deployment__in=deployments_for(actor, hidden=True))
    return rows.filter(accelerator__in=held.values("accelerator")).exclude(accelerator__in=foreign.values("accelerator"))


def sees_install(actor: Actor) -> bool:
    """All of it: not a team, and not one cluster only."""
    return actor.sees_all and (actor.key is None or actor.key.cluster_id is None)


def clusters_for(actor: Actor) -> QuerySet[Cluster]:
    return Cluster.objects.all() if sees_install(actor) else Cluster.objects.filter(pk__in=deployments_for(actor).values("cluster"))


def clusters_whole_for(actor: Actor) -> QuerySet[Cluster]:
    """Those of which the actor sees everything, so that sums over all in it tell nothing of another team."""
    if sees_install(actor):
        return Cluster.objects.all()
    foreign = Deployment.objects.exclude(pk__in=deployments_for(actor, hidden=True).values("pk"))
    return clusters_for(actor).exclude(pk__in=foreign.values("cluster"))


def events_for(actor: Actor) -> QuerySet[Event]:
    """Events of visible deployments; those of no deployment are the admins'."""
    return Event.objects.all() if sees_install(actor) else Event.objects.filter(deployment__in=deployments_for(actor))


def replicas_for(actor: Actor) -> QuerySet[Replica]:
    return Replica.objects.filter(deployment__in=deployments_for(actor))


def teams_for(actor: Actor) -> QuerySet[Team]:
    return Team.objects.all() if actor.sees_all else Team.objects.filter(pk__in=actor.team_ids)


def memberships_for(actor: Actor) -> QuerySet[Membership]:
    return Membership.objects.filter(team__in=teams_for(actor)).select_related("user", "team")


def keys_for(actor: Actor) -> QuerySet[Key]:
    """Keys of the teams the actor manages; keys of no team are the admins'."""
    rows = Key.objects.select_related("team", "cluster", "created_by")
    return rows if actor.admin else rows.filter(team__in=actor.managed_team_ids)


def invites_for(actor: Actor) -> QuerySet[Invite]:
    rows = Invite.objects.select_related("team", "invited_by").order_by("-created_at")
    return rows if actor.admin else rows.filter(team__in=actor.managed_team_ids)


def sources_for(actor: Actor) -> QuerySet[Source]:
    return admins_only(actor, Source.objects.select_related("cluster"))


def imports_for(actor: Actor) -> QuerySet[ImportRun]:
    return admins_only(actor, ImportRun.objects.select_related("source"))


def rules_for(actor: Actor) -> QuerySet[TeamRule]:
    return admins_only(actor, TeamRule.objects.select_related("team"))


def allowed_for(actor: Actor) -> QuerySet[AllowedAddress]:
    return admins_only(actor, AllowedAddress.objects.order_by("network", "port"))


def audit_for(actor: Actor) -> QuerySet[AuditEvent]:
    return admins_only(actor, AuditEvent.objects.all())


def admins_only(actor: Actor, rows: "QuerySet[Row]") -> "QuerySet[Row]":
    return rows if actor.admin else rows.none()


def row_get(rows: "QuerySet[Row]", pk: object) -> Row:
    """The row of a scoped selection, else 404: also for an id that is no number or too large for the table."""
    text = str(pk)
    if not (text.isascii() and text.isdigit()) or int(text[:20]) > LARGEST_ID:
        raise Http404("There is no such page.")
    try:
        return rows.get(pk=int(text))
    except ObjectDoesNotExist:
        raise Http404("There is no such page.") from None


def deployment_get(actor: Actor, pk: object, *beside: str) -> Deployment:
    """beside: what else is to come in the same query."""
    return row_get(deployments_for(actor).select_related("cluster", "team", *beside), pk)


def deployment_edit_get(actor: Actor, pk: object) -> Deployment:
    """The deployment, hidden ones included for those who may change it: 404 when foreign, 403 when only readable."""
    deployment = row_get(deployments_for(actor, hidden=True).select_related("cluster", "team"), pk)
    if can_edit(actor, deployment):
        return deployment
    if deployment.state not in SHOWN:
        raise Http404("There is no such page.")
    raise PermissionDenied("This needs an editor of the deployment's team.")


def accelerator_get(actor: Actor, pk: object) -> Accelerator:
    return row_get(accelerators_for(actor).select_related("cluster", "node", "parent"), pk)


def node_get(actor: Actor, pk: object) -> Node:
    return row_get(nodes_for(actor).select_related("cluster"), pk)


def agent_get(actor: Actor, pk: object) -> Agent:
    return row_get(agents_for(actor), pk)


def team_get(actor: Actor, pk: object) -> Team:
    return row_get(teams_for(actor), pk)


def team_manage_get(actor: Actor, pk: object) -> Team:
    """The team, for those who may change its members and keys: 404 when foreign, 403 when only readable."""
    team = team_get(actor, pk)
    if not can_manage(actor, team):
        raise PermissionDenied("This needs an admin of the team.")
    return team


def key_get(actor: Actor, pk: object) -> Key:
    return row_get(keys_for(actor), pk)


def source_get(actor: Actor, pk: object) -> Source:
    """For admins only: 403 before any look, so that the answer does not tell which ids exist."""
    admin_require(actor)
    return row_get(sources_for(actor), pk)


def import_get(actor: Actor, pk: object) -> ImportRun:
    admin_require(actor)
    return row_get(imports_for(actor), pk)

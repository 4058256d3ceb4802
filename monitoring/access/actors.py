"""Who asks: a person with memberships, or an API key."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from monitoring.models import Deployment, Key, Membership, Role, Scope, Team, User

EDITORS = (Role.EDITOR, Role.ADMIN)


@dataclass(frozen=True)
class Actor:
    """A person or a key with what it may do; `roles` maps a team's id to the role in it."""

    name: str  # as the audit trail writes it
    admin: bool = False  # of the whole install
    sees_all: bool = False  # every team, for reading
    roles: Mapping[int, str] = field(default_factory=dict)
    user: User | None = None
    key: Key | None = None

    @property
    def known(self) -> bool:
        return self.user is not None or self.key is not None

    @property
    def team_ids(self) -> list[int]:
        return list(self.roles)

    @property
    def managed_team_ids(self) -> list[int]:
        return [team for team, role in self.roles.items() if role == Role.ADMIN]


NOBODY = Actor("nobody")


def actor_of(request: HttpRequest) -> Actor:
    """The actor of a request, found once; a key (set by the API's authentication) goes before the session."""
    known: Actor | None = getattr(request, "_actor", None)
    if known is None:
        key = getattr(request, "auth", None)
        known = key_actor(key) if isinstance(key, Key) else user_actor(request.user)
        request._actor = known  # type: ignore[attr-defined]
    return known


def user_actor(user: User | AnonymousUser) -> Actor:
    if not isinstance(user, User) or not user.is_active:
        return NOBODY
    roles = dict(Membership.objects.filter(user=user).values_list("team_id", "role"))
    return Actor(user.email, admin=user.is_superuser, sees_all=user.is_superuser, roles=roles, user=user)


def key_actor(key: Key) -> Actor:
    """A key of a team acts in that team only; one without a team acts for the install. An ingest key sees nothing."""
    name = f"key {key.prefix} ({key.name})"
    if key.scope == Scope.INGEST:
        return Actor(name, key=key)
    if key.team_id is None:
        # A key bound to a cluster is never an admin of the install, which is more than a cluster.
        return Actor(name, admin=key.scope == Scope.ADMIN and key.cluster_id is None, sees_all=True, key=key)
    return Actor(name, roles={key.team_id: Role.ADMIN if key.scope == Scope.ADMIN else Role.VIEWER}, key=key)


def is_admin(actor: Actor) -> bool:
    return actor.admin


def can_edit(actor: Actor, deployment: Deployment) -> bool:
    """May it change the deployment, its SLO and its events? The deployment must come from `deployments_for`."""
    return actor.admin or (deployment.team_id is not None and actor.roles.get(deployment.team_id) in EDITORS)


def can_manage(actor: Actor, team: Team) -> bool:
    """May it change the members, invitations and keys of the team? Only people may: no key makes a key."""
    return actor.user is not None and (actor.admin or actor.roles.get(team.pk) == Role.ADMIN)


def admin_require(actor: Actor) -> None:
    if not actor.admin:
        raise PermissionDenied("This needs an admin of the install.")


def person_require(actor: Actor) -> User:
    """Keys and invitations are made by people, so that a leaked key cannot outlive its revocation."""
    if actor.user is None:
        raise PermissionDenied("This needs a person, not a key.")
    return actor.user

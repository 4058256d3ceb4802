"""Teams, members, invitations, keys and the rules that give deployments to teams."""

from datetime import datetime
from typing import Any

import django_filters
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.text import slugify
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_serializer
from rest_framework import generics, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from capacity.api.strict import Door, IdFilter, Nothing, Strict, StrictModel, body_read
from monitoring.access import (
    Actor,
    actor_of,
    admin_require,
    audit,
    clusters_for,
    invite_create,
    invite_withdraw,
    invites_for,
    key_create,
    key_get,
    key_revoke,
    keys_for,
    memberships_for,
    person_require,
    row_get,
    rules_for,
    team_get,
    team_manage_get,
    teams_for,
)
from monitoring.api.problems import Conflict
from monitoring.models import Invite, Key, Membership, Role, Scope, Team, TeamRule
from monitoring.sources import team_rules_apply


class MeShape(serializers.Serializer[Any]):
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=["person", "key"])
    admin = serializers.BooleanField(help_text="Of the whole install.")
    time_zone = serializers.CharField()
    teams = serializers.DictField(child=serializers.ChoiceField(choices=Role.choices), help_text="Id of a team to the role in it.")


class Me(Door):
    access = "member"

    @extend_schema(responses=MeShape)
    def get(self, request: Request) -> Response:
        """Who asks, and what it may do."""
        actor = actor_of(request)
        kind, zone = ("person", actor.user.time_zone) if actor.user else ("key", "")
        return Response({"name": actor.name, "kind": kind, "admin": actor.admin, "time_zone": zone, "teams": dict(actor.roles)})


class TeamBody(StrictModel):
    class Meta:
        model = Team
        fields = ("name",)

    def validate_name(self, name: str) -> str:
        slug = slugify(name)
        if not slug:
            raise serializers.ValidationError("A team name needs a letter or a digit, e.g. Search.")
        others = Team.objects.exclude(pk=self.instance.pk) if isinstance(self.instance, Team) else Team.objects.all()
        if others.filter(slug=slug).exists():
            raise serializers.ValidationError("A team with nearly this name is there already.")
        return name


class TeamShape(serializers.ModelSerializer[Team]):
    role = serializers.SerializerMethodField(help_text="The caller's own role; empty for an admin of the install who is no member.")

    class Meta:
        model = Team
        fields = ("id", "name", "slug", "demo", "created_at", "role")

    def get_role(self, row: Team) -> str:
        return str(actor_of(self.context["request"]).roles.get(row.pk, ""))


class TeamList(generics.ListAPIView[Team]):
    """The caller's teams; an admin of the install sees all."""

    access = {"GET": "member", "POST": "admin"}
    serializer_class = TeamShape

    def get_queryset(self) -> QuerySet[Team]:
        return teams_for(actor_of(self.request)).order_by("name")

    @extend_schema(request=TeamBody, responses={201: TeamShape})
    def post(self, request: Request) -> Response:
        """Make a team; admins of the install only."""
        name = body_read(TeamBody, request)["name"]
        with transaction.atomic():
            team = Team.objects.create(name=name, slug=slugify(name))
            audit(actor_of(request), "team.create", f"team {name}", after={"name": name}, request=request)
        return Response(TeamShape(team, context={"request": request}).data, status=status.HTTP_201_CREATED)


class TeamOne(Door):
    access = {"GET": "member", "PATCH": "person", "DELETE": "admin"}

    @extend_schema(responses=TeamShape)
    def get(self, request: Request, pk: int) -> Response:
        return Response(TeamShape(team_get(actor_of(request), pk), context={"request": request}).data)

    @extend_schema(request=TeamBody, responses=TeamShape)
    def patch(self, request: Request, pk: int) -> Response:
        """Rename; needs an admin of the team."""
        actor = actor_of(request)
        team = team_manage_get(actor, pk)
        before, name = team.name, body_read(TeamBody, request, instance=team)["name"]
        with transaction.atomic():
            team.name, team.slug = name, slugify(name)
            team.save(update_fields=["name", "slug"])
            audit(actor, "team.rename", f"team {name}", before={"name": before}, after={"name": name}, request=request)
        return Response(TeamShape(team, context={"request": request}).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Delete the team, its memberships, keys and rules; its deployments become unassigned."""
        actor = actor_of(request)
        admin_require(actor)
        team = team_get(actor, pk)
        if team.demo:
            raise Conflict("This is a team of the demo fleet; remove the demo fleet instead.")
        with transaction.atomic():
            audit(actor, "team.delete", f"team {team.name}", before={"name": team.name}, request=request)
            team.delete()
        return Response(status=status.HTTP_204_NO_CONTENT)


class MembershipShape(serializers.ModelSerializer[Membership]):
    email = serializers.EmailField(source="user.email")
    name = serializers.CharField(source="user.name")

    class Meta:
        model = Membership
        fields = ("id", "team", "user", "email", "name", "role")


class MembershipFilter(django_filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    team = IdFilter(field_name="team_id", label="Id of the team.")

    class Meta:
        model = Membership
        fields = ("role",)


class MembershipList(generics.ListAPIView[Membership]):
    """Members of the caller's teams. New ones come by invitation."""

    access = "member"
    serializer_class = MembershipShape
    filterset_class = MembershipFilter

    def get_queryset(self) -> QuerySet[Membership]:
        return memberships_for(actor_of(self.request)).order_by("team__name", "user__email", "pk")


class RoleBody(Strict):
    role = serializers.ChoiceField(choices=Role.choices)


class MembershipOne(Door):
    access = {"GET": "member", "*": "person"}

    @extend_schema(responses=MembershipShape)
    def get(self, request: Request, pk: int) -> Response:
        return Response(MembershipShape(row_get(memberships_for(actor_of(request)), pk)).data)

    @extend_schema(request=RoleBody, responses=MembershipShape)
    def patch(self, request: Request, pk: int) -> Response:
        """Give another role; needs an admin of the team."""
        actor = actor_of(request)
        member = member_get(actor, pk)
        before, role = member.role, body_read(RoleBody, request)["role"]
        if role != Role.ADMIN:
            last_admin_keep(actor, member)
        with transaction.atomic():
            member.role = role
            member.save(update_fields=["role"])
            subject = f"{member.user.email} in team {member.team.name}"
            audit(actor, "member.role", subject, before={"role": before}, after={"role": role}, request=request)
        return Response(MembershipShape(member).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Take the person out of the team; needs an admin of the team."""
        actor = actor_of(request)
        member = member_get(actor, pk)
        last_admin_keep(actor, member)
        with transaction.atomic():
            subject = f"{member.user.email} in team {member.team.name}"
            audit(actor, "member.remove", subject, before={"role": member.role}, request=request)
            member.delete()
        return Response(status=status.HTTP_204_NO_CONTENT)


def member_get(actor: Actor, pk: int) -> Membership:
    member = row_get(memberships_for(actor), pk)
    team_manage_get(actor, member.team_id)
    return member


def last_admin_keep(actor: Actor, member: Membership) -> None:
    others = Membership.objects.filter(team=member.team_id, role=Role.ADMIN).exclude(pk=member.pk)
    if member.role == Role.ADMIN and not actor.admin and not others.exists():
        raise Conflict("This is the last admin of the team. Make somebody else admin first.")


class InviteShape(serializers.ModelSerializer[Invite]):
    invited_by = serializers.CharField(source="invited_by.email", default=None, allow_null=True)

    class Meta:
        model = Invite
        fields = ("id", "email", "team", "role", "install_admin", "invited_by", "created_at", "expires_at", "accepted_at")


class NewInviteShape(InviteShape):
    link = serializers.SerializerMethodField(help_text="Shown this once; works once and for seven days.")

    class Meta(InviteShape.Meta):
        fields = (*InviteShape.Meta.fields, "link")  # type: ignore[assignment]

    def get_link(self, row: Invite) -> str:
        return f"{settings.PUBLIC_URL}{reverse('invite', args=[self.context['token']])}"


@extend_schema_serializer(
    examples=[OpenApiExample("typical", {"email": "anna@example.com", "team": 1, "role": "editor"}, request_only=True)]
)
class InviteBody(Strict):
    email = serializers.EmailField(max_length=254)
    team = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=1, help_text="null: admins of the install only."
    )
    role = serializers.ChoiceField(choices=Role.choices, default=Role.VIEWER)
    install_admin = serializers.BooleanField(default=False, help_text="Admins of the install only.")


class InviteList(generics.ListAPIView[Invite]):
    """Invitations into teams the caller manages, the newest first."""

    access = {"GET": "member", "*": "person"}
    serializer_class = InviteShape

    def get_queryset(self) -> QuerySet[Invite]:
        return invites_for(actor_of(self.request)).order_by("-created_at", "pk")

    @extend_schema(request=InviteBody, responses={201: NewInviteShape})
    def post(self, request: Request) -> Response:
        """Invite a person; answers with the link to hand over."""
        actor = actor_of(request)
        body = body_read(InviteBody, request)
        team = team_manage_get(actor, body["team"]) if body["team"] is not None else None
        if team is None or body["install_admin"]:
            admin_require(actor)
        with transaction.atomic():
            invite, token = invite_create(
                body["email"], invited_by=person_require(actor), team=team, role=body["role"], install_admin=body["install_admin"]
            )
            audit(actor, "invite.create", f"invitation of {invite.email}", after=body, request=request)
        return Response(NewInviteShape(invite, context={"token": token}).data, status=status.HTTP_201_CREATED)


class InviteOne(Door):
    access = "person"

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Withdraw an invitation that was not taken yet."""
        actor = actor_of(request)
        invite = row_get(invites_for(actor), pk)
        if not invite_withdraw(invite):
            raise Conflict("The invitation was taken already.")
        audit(actor, "invite.withdraw", f"invitation of {invite.email}", request=request)
        return Response(status=status.HTTP_204_NO_CONTENT)


class KeyShape(serializers.ModelSerializer[Key]):
    created_by = serializers.CharField(source="created_by.email", default=None, allow_null=True)

    class Meta:
        model = Key
        fields = (
            "id",
            "name",
            "prefix",
            "scope",
            "team",
            "cluster",
            "created_by",
            "created_at",
            "expires_at",
            "last_used_at",
            "revoked_at",
        )


class NewKeyShape(KeyShape):
    key = serializers.SerializerMethodField(help_text="Shown this once.")

    class Meta(KeyShape.Meta):
        fields = (*KeyShape.Meta.fields, "key")  # type: ignore[assignment]

    def get_key(self, row: Key) -> str:
        return str(self.context["text"])


@extend_schema_serializer(examples=[OpenApiExample("typical", {"name": "release pipeline", "scope": "read", "team": 1}, request_only=True)])
class KeyBody(Strict):
    name = serializers.CharField(max_length=120, help_text="What uses it.")
    scope = serializers.ChoiceField(choices=Scope.choices)
    team = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=1, help_text="null: all teams, admins of the install only."
    )
    cluster = serializers.IntegerField(required=False, allow_null=True, default=None, min_value=1)
    expires_at = serializers.DateTimeField(required=False, allow_null=True, default=None)

    def validate_expires_at(self, value: datetime | None) -> datetime | None:
        if value is not None and value <= timezone.now():
            raise serializers.ValidationError("must lie in the future")
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["scope"] == Scope.INGEST and attrs["cluster"] is None:
            raise serializers.ValidationError({"cluster": "A key that sends belongs to one cluster: give its id."})
        if attrs["scope"] == Scope.INGEST and attrs["team"] is not None:
            raise serializers.ValidationError({"team": "A key that sends belongs to a cluster, not to a team: leave it out."})
        return attrs


class KeyList(generics.ListAPIView[Key]):
    """Keys of teams the caller manages, without their secrets."""

    access = {"GET": "member", "*": "person"}
    serializer_class = KeyShape

    def get_queryset(self) -> QuerySet[Key]:
        return keys_for(actor_of(self.request)).order_by("-created_at", "pk")

    @extend_schema(request=KeyBody, responses={201: NewKeyShape})
    def post(self, request: Request) -> Response:
        """Make a key; people only, so that no key makes keys."""
        actor = actor_of(request)
        body = body_read(KeyBody, request)
        team = team_manage_get(actor, body["team"]) if body["team"] is not None else None
        if team is None:
            admin_require(actor)
        cluster = row_get(clusters_for(actor), body["cluster"]) if body["cluster"] is not None else None
        fields = {"scope": body["scope"], "team": team, "cluster": cluster, "expires_at": body["expires_at"]}
        with transaction.atomic():
            key, text = key_create(body["name"], created_by=person_require(actor), **fields)
            audit(actor, "key.create", f"key {key.prefix}", after={"name": key.name, **fields}, request=request)
        answer = Response(NewKeyShape(key, context={"text": text}).data, status=status.HTTP_201_CREATED)
        answer["Cache-Control"] = "no-store"
        return answer


class KeyOne(Door):
    access = {"GET": "member", "*": "person"}

    @extend_schema(responses=KeyShape)
    def get(self, request: Request, pk: int) -> Response:
        return Response(KeyShape(key_get(actor_of(request), pk)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Revoke the key at once; its row stays in the list."""
        actor = actor_of(request)
        key = key_get(actor, pk)
        if not key_revoke(key):
            raise Conflict("The key was revoked before.")
        audit(actor, "key.revoke", f"key {key.prefix}", before={"name": key.name, "scope": key.scope}, request=request)
        return Response(status=status.HTTP_204_NO_CONTENT)


class RuleShape(serializers.ModelSerializer[TeamRule]):
    class Meta:
        model = TeamRule
        fields = ("id", "position", "cluster", "namespace", "workload", "label", "label_value", "team")


class RuleBody(Strict):
    position = serializers.IntegerField(min_value=0, max_value=100_000, help_text="The first rule that matches wins.")
    cluster = serializers.CharField(max_length=120, default="*", help_text="* and ? as in a shell.")
    namespace = serializers.CharField(max_length=120, default="*")
    workload = serializers.CharField(max_length=200, default="*")
    label = serializers.CharField(max_length=120, default="", allow_blank=True)  # type: ignore[assignment]  # shadows the option
    label_value = serializers.CharField(max_length=200, default="*")
    team = serializers.IntegerField(min_value=1)


class RuleList(generics.ListAPIView[TeamRule]):
    """The rules in their order; admins of the install only."""

    access = "admin"
    serializer_class = RuleShape

    def get_queryset(self) -> QuerySet[TeamRule]:
        return rules_for(actor_of(self.request)).order_by("position", "pk")

    @extend_schema(request=RuleBody, responses={201: RuleShape})
    def post(self, request: Request) -> Response:
        rule = rule_keep(request, TeamRule())
        return Response(RuleShape(rule).data, status=status.HTTP_201_CREATED)


class RuleOne(Door):
    access = "admin"

    @extend_schema(responses=RuleShape)
    def get(self, request: Request, pk: int) -> Response:
        return Response(RuleShape(row_get(rules_for(actor_of(request)), pk)).data)

    @extend_schema(request=RuleBody, responses=RuleShape)
    def put(self, request: Request, pk: int) -> Response:
        return Response(RuleShape(rule_keep(request, row_get(rules_for(actor_of(request)), pk))).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        actor = actor_of(request)
        rule = row_get(rules_for(actor), pk)
        with transaction.atomic():
            audit(actor, "rule.delete", f"rule {rule.pk}", before=dict(RuleShape(rule).data), request=request)
            rule.delete()
        return Response(status=status.HTTP_204_NO_CONTENT)


def rule_keep(request: Request, rule: TeamRule) -> TeamRule:
    actor = actor_of(request)
    body = body_read(RuleBody, request)
    before = dict(RuleShape(rule).data) if rule.pk else {}
    team = row_get(teams_for(actor), body.pop("team"))
    with transaction.atomic():
        for name, value in body.items():
            setattr(rule, name, value)
        rule.team = team
        rule.save()
        audit(
            actor, "rule.change" if before else "rule.create", f"rule {rule.pk}", before=before, after=RuleShape(rule).data, request=request
        )
    return rule


class AppliedShape(serializers.Serializer[Any]):
    changed = serializers.IntegerField(help_text="Deployments that got another team.")


class RulesApply(Door):
    access = "admin"

    @extend_schema(request=Nothing, responses=AppliedShape)
    def post(self, request: Request) -> Response:
        """Go through all deployments not assigned by hand now; else discovery does it."""
        body_read(Nothing, request)
        with transaction.atomic():
            changed = team_rules_apply()
            audit(actor_of(request), "rules.apply", "team rules", after={"changed": changed}, request=request)
        return Response({"changed": changed})

"""Channels: list, make, change, test, delete. Secrets go in and never come out."""

from typing import Any

import django_filters
from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_serializer
from rest_framework import generics, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from capacity.api.strict import Door, IdFilter, Nothing, Strict, body_read
from monitoring.access import Actor, actor_of, channel_edit_get, channel_get, channels_for, connect_require, team_get
from monitoring.alerts.channel_setup import (
    ChannelSetupError,
    channel_delete,
    channel_make,
    channel_save,
    channel_switch,
    channel_test,
    secret_tails,
)
from monitoring.models import Channel, ChannelKind, Severity, Team


class ChannelShape(serializers.ModelSerializer[Channel]):
    severities = serializers.ListField(child=serializers.ChoiceField(choices=Severity.choices), help_text="Empty: all.")
    matchers = serializers.DictField(child=serializers.CharField(allow_blank=True))
    options = serializers.DictField(help_text="What its kind asks for and is no secret, e.g. `to` of an e-mail.")
    secret_tails = serializers.SerializerMethodField(help_text="The last four characters of each stored secret.")

    class Meta:
        model = Channel
        fields = (
            *("id", "name", "kind", "team", "severities", "matchers", "options", "secret_tails", "owner"),
            *("group_wait_seconds", "group_interval_seconds", "repeat_critical_seconds", "repeat_warning_seconds"),
            *("escalate_to", "escalate_after_seconds", "weekly_digest", "enabled", "switched_off_why", "switched_off_at"),
            *("tested_at", "test_ok", "test_said", "created_at"),
        )

    def get_secret_tails(self, row: Channel) -> dict[str, str]:
        return secret_tails(row)


class ChannelChange(Strict):
    """The checks stand in one place for pages and API; here only the types."""

    name = serializers.CharField(max_length=120, required=False)
    severities = serializers.ListField(child=serializers.ChoiceField(choices=Severity.choices), required=False)
    matchers = serializers.DictField(child=serializers.CharField(max_length=200, allow_blank=True), required=False)
    options = serializers.DictField(
        child=serializers.JSONField(), required=False, help_text="e.g. to: [ops@example.com]; channel: C0123456789."
    )
    secrets = serializers.DictField(
        child=serializers.JSONField(),
        required=False,
        write_only=True,
        help_text="e.g. url, token, signing, bearer; kept encrypted, never shown again.",
    )
    owner = serializers.CharField(max_length=254, required=False, allow_blank=True, help_text="Address that hears when it is switched off.")
    group_wait_seconds = serializers.IntegerField(required=False, min_value=0, max_value=10**6)
    group_interval_seconds = serializers.IntegerField(required=False, min_value=0, max_value=10**6)
    repeat_critical_seconds = serializers.IntegerField(required=False, min_value=0, max_value=10**6)
    repeat_warning_seconds = serializers.IntegerField(required=False, min_value=0, max_value=10**6)
    escalate_to = serializers.IntegerField(required=False, allow_null=True)
    escalate_after_seconds = serializers.IntegerField(required=False, min_value=0, max_value=10**6)
    weekly_digest = serializers.BooleanField(required=False)
    enabled = serializers.BooleanField(required=False)


@extend_schema_serializer(
    examples=[
        OpenApiExample("e-mail", {"name": "ops", "kind": "email", "team": 3, "options": {"to": ["ops@example.com"]}}, request_only=True)
    ]
)
class ChannelBody(ChannelChange):
    name = serializers.CharField(max_length=120)
    kind = serializers.ChoiceField(choices=ChannelKind.choices)
    team = serializers.IntegerField(required=False, allow_null=True, default=None, help_text="null: alerts of all teams, by admins.")


class ChannelFilter(django_filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    team = IdFilter(field_name="team_id", label="Id of the team.")

    class Meta:
        model = Channel
        fields = ("kind", "enabled")


class ChannelList(generics.ListAPIView[Channel]):
    """The channels of one's teams, by name; those of all teams are seen by admins."""

    access = "member"
    serializer_class = ChannelShape
    filterset_class = ChannelFilter
    queryset = Channel.objects.none()

    def get_queryset(self) -> QuerySet[Channel]:
        return channels_for(actor_of(self.request)).order_by("name", "pk")

    @extend_schema(request=ChannelBody, responses={201: ChannelShape})
    def post(self, request: Request) -> Response:
        """Make a channel. Test it next: nothing is sent here."""
        saved = channel_kept(request, body_read(ChannelBody, request), channel=None)
        return Response(ChannelShape(saved).data, status=status.HTTP_201_CREATED)


def team_connected(actor: Actor, pk: int | None) -> Team | None:
    team = team_get(actor, pk) if pk is not None else None
    connect_require(actor, pk)
    return team


def channel_kept(request: Request, body: dict[str, Any], *, channel: Channel | None) -> Channel:
    """Check, save, and switch on or off where that is asked."""
    actor, now = actor_of(request), timezone.now()
    team = team_connected(actor, body.pop("team", None)) if channel is None else channel.team
    enabled = body.pop("enabled", None)
    secrets = {
        str(name): "\n".join(map(str, text)) if isinstance(text, list) else str(text) for name, text in body.pop("secrets", {}).items()
    }
    try:
        if body or secrets or channel is None:
            made = channel_make(body.pop("options", {}) | body, secrets, team=team, channel=channel)
            channel = channel_save(made, by=actor.name, now=now)
    except ChannelSetupError as error:
        raise serializers.ValidationError({name: [sentence] for name, sentence in error.problems.items()}) from None
    if enabled is not None and channel is not None and (enabled != channel.enabled or (enabled and channel.switched_off_why)):
        channel = channel_switch(channel, enabled, by=actor.name, now=now)
    assert channel is not None
    return channel


class ChannelOne(Door):
    access = "member"

    @extend_schema(responses=ChannelShape)
    def get(self, request: Request, pk: int) -> Response:
        return Response(ChannelShape(channel_get(actor_of(request), pk)).data)

    @extend_schema(request=ChannelChange, responses=ChannelShape)
    def patch(self, request: Request, pk: int) -> Response:
        """Change what is given; a secret that is not given stays. `enabled` switches it, also one that switched itself off."""
        row = channel_edit_get(actor_of(request), pk)
        return Response(ChannelShape(channel_kept(request, body_read(ChannelChange, request), channel=row)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """With what it was told and was to be told."""
        actor = actor_of(request)
        channel_delete(channel_edit_get(actor, pk), by=actor.name, now=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)


class TestShape(serializers.Serializer[Any]):
    __test__ = False  # no test of pytest

    ok = serializers.BooleanField()
    sentence = serializers.CharField()
    response = serializers.CharField(help_text="What the other side said.")
    block = serializers.CharField(help_text="A private address and port that an admin may allow; empty: none.")


class ChannelTest(Door):
    access = "member"

    @extend_schema(request=Nothing, responses=TestShape)
    def post(self, request: Request, pk: int) -> Response:
        """Send a real message, and say what the other side answered; takes up to 12 seconds."""
        row = channel_edit_get(actor_of(request), pk)
        body_read(Nothing, request)
        return Response(TestShape(channel_test(row, now=timezone.now())).data)

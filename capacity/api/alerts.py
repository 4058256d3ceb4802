"""Alerts, silences and deliveries: read, acknowledge, silence, replay."""

from datetime import datetime
from typing import Any

import django_filters
from django.db.models import Q, QuerySet
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_field, extend_schema_serializer
from rest_framework import generics, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from capacity.api.strict import Door, IdFilter, Nothing, Strict, body_read
from monitoring.access import (
    Actor,
    act_require,
    actor_of,
    alert_act_get,
    alert_get,
    alerts_for,
    notification_edit_get,
    notifications_for,
    row_get,
    silence_edit_get,
    silences_for,
    team_get,
)
from monitoring.alerts.acting import ActError, SilenceError, acknowledge_end, alert_acknowledge, alert_silence, silence_end, silence_make
from monitoring.alerts.outbox import dead_replay
from monitoring.alerts.silences import silence_holds
from monitoring.api.problems import Conflict
from monitoring.models import Alert, AlertTransition, Notification, Silence, Team


class AlertShape(serializers.ModelSerializer[Alert]):
    rule = serializers.CharField(source="rule_name", help_text="Name of the rule.")
    rule_id = serializers.IntegerField(allow_null=True, help_text="null: the rule was deleted since.")
    labels = serializers.DictField(child=serializers.CharField(allow_blank=True))
    context = serializers.DictField(help_text="What was known of its surroundings when it fired.")  # type: ignore[assignment]
    acknowledged = serializers.SerializerMethodField(help_text="Now, by somebody, until acknowledged_until or its end.")
    silenced_by = serializers.IntegerField(source="silenced_by_id", allow_null=True, help_text="Id of the silence that mutes it.")

    class Meta:
        model = Alert
        fields = (
            *("id", "rule", "rule_id", "labels", "deployment", "team", "severity", "state", "fired", "flapping", "finding"),
            *("summary", "consequence", "first_action", "runbook_url", "value", "worst_value", "money", "currency", "context"),
            *("started_at", "fired_at", "resolved_at", "closed_at", "known_at"),
            *("acknowledged", "acknowledged_by", "acknowledged_at", "acknowledged_until", "silenced_by", "inhibited_by"),
        )

    def get_acknowledged(self, row: Alert) -> bool:
        return row.is_acknowledged(now=timezone.now())


class TransitionShape(serializers.ModelSerializer[AlertTransition]):
    class Meta:
        model = AlertTransition
        fields = ("number", "at", "from_state", "to_state", "edge", "value", "note")


class AlertDetail(AlertShape):
    transitions = serializers.SerializerMethodField(help_text="What it went through, oldest first; at most the last 200 steps.")

    class Meta(AlertShape.Meta):
        fields = (*AlertShape.Meta.fields, "transitions")  # type: ignore[assignment]

    @extend_schema_field(TransitionShape(many=True))
    def get_transitions(self, row: Alert) -> Any:
        return TransitionShape(list(row.transitions.order_by("-number")[:200])[::-1], many=True).data


class AlertFilter(django_filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    open = django_filters.BooleanFilter(field_name="closed_at", lookup_expr="isnull", label="Not over yet.")
    team = IdFilter(field_name="team_id", label="Id of the team.")
    deployment = IdFilter(field_name="deployment_id", label="Id of the deployment.")
    rule = django_filters.CharFilter(field_name="rule_name", label="Name of the rule.")
    since = django_filters.IsoDateTimeFilter(field_name="started_at", lookup_expr="gte", label="Began not before this time.")

    class Meta:
        model = Alert
        fields = ("state", "severity", "fired")


class AlertList(generics.ListAPIView[Alert]):
    """Alerts, the newest first. What fires now: `open=true&fired=true`."""

    access = "member"
    serializer_class = AlertShape
    filterset_class = AlertFilter
    queryset = Alert.objects.none()

    def get_queryset(self) -> QuerySet[Alert]:
        return alerts_for(actor_of(self.request)).order_by("-started_at", "-pk")


class AlertOne(Door):
    access = "member"

    @extend_schema(responses=AlertDetail)
    def get(self, request: Request, pk: int) -> Response:
        return Response(AlertDetail(alert_get(actor_of(request), pk)).data)


@extend_schema_serializer(examples=[OpenApiExample("typical", {"until": "2026-11-24T08:00:00Z"}, request_only=True)])
class AcknowledgeBody(Strict):
    until = serializers.DateTimeField(required=False, allow_null=True, default=None, help_text="null: until it ends.")


class AlertAcknowledge(Door):
    access = "member"

    @extend_schema(request=AcknowledgeBody, responses=AlertDetail)
    def post(self, request: Request, pk: int) -> Response:
        """Say that somebody looks after it: no repeats, no escalation. The same twice changes nothing."""
        actor = actor_of(request)
        alert = alert_act_get(actor, pk)
        until = body_read(AcknowledgeBody, request)["until"]
        try:
            alert_acknowledge(alert, until=until, by=actor.name, now=timezone.now())
        except ActError as refusal:
            raise Conflict(str(refusal)) from None
        return Response(AlertDetail(alert_get(actor, pk)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """It is told again; one that is not acknowledged stays as it is."""
        actor = actor_of(request)
        try:
            acknowledge_end(alert_act_get(actor, pk), by=actor.name, now=timezone.now())
        except ActError as refusal:
            raise Conflict(str(refusal)) from None
        return Response(status=status.HTTP_204_NO_CONTENT)


# --- Silences --------------------------------------------------------------------------------------------------------------


class SilenceShape(serializers.ModelSerializer[Silence]):
    matchers = serializers.DictField(child=serializers.CharField(allow_blank=True), help_text="Label to pattern with * and ?.")
    holds = serializers.SerializerMethodField(help_text="Now.")

    class Meta:
        model = Silence
        fields = (
            *("id", "team", "matchers", "start_at", "end_at", "repeat_days", "repeat_until", "zone", "reason"),
            *("created_by", "created_at", "holds"),
        )

    def get_holds(self, row: Silence) -> bool:
        return silence_holds(row, now=timezone.now())


@extend_schema_serializer(
    examples=[OpenApiExample("typical", {"until": "2026-11-22T18:00:00Z", "reason": "Rolling update"}, request_only=True)]
)
class AlertSilenceBody(Strict):
    until = serializers.DateTimeField()
    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=300)


class AlertSilence(Door):
    access = "member"

    @extend_schema(request=AlertSilenceBody, responses={200: SilenceShape, 201: SilenceShape})
    def post(self, request: Request, pk: int) -> Response:
        """Tell nobody of this rule on this subject until then. 200 with the silence that is there where it holds until the same time."""
        actor = actor_of(request)
        alert = alert_act_get(actor, pk)
        body = body_read(AlertSilenceBody, request)
        if alert.silenced_by is not None and alert.silenced_by.end_at == body["until"]:
            return Response(SilenceShape(alert.silenced_by).data)
        try:
            made = alert_silence(alert, until=body["until"], by=actor.name, reason=body["reason"], now=timezone.now())
        except ActError as refusal:
            raise Conflict(str(refusal)) from None
        except SilenceError as error:
            raise serializers.ValidationError({"until": list(error.problems.values())}) from None
        return Response(SilenceShape(made).data, status=status.HTTP_201_CREATED)


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "a window each Sunday",
            {
                "team": 3,
                "matchers": {"cluster": "prod-eu"},
                "start_at": "2026-11-22T02:00:00Z",
                "end_at": "2026-11-22T04:00:00Z",
                "repeat_days": 7,
                "zone": "Europe/Berlin",
                "reason": "Maintenance",
            },
            request_only=True,
        )
    ]
)
class SilenceBody(Strict):
    team = serializers.IntegerField(required=False, allow_null=True, default=None, help_text="null: alerts of all teams, for admins.")
    matchers = serializers.DictField(child=serializers.CharField(max_length=200, allow_blank=True))
    start_at = serializers.DateTimeField(required=False, allow_null=True, default=None, help_text="Now when left out.")
    end_at = serializers.DateTimeField()
    repeat_days = serializers.ChoiceField(choices=[0, 1, 7], default=0)
    repeat_until = serializers.DateTimeField(required=False, allow_null=True, default=None)
    zone = serializers.CharField(
        required=False, allow_blank=True, default="", max_length=64, help_text="IANA name; a repeating one keeps its time of day there."
    )
    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=300)


class SilenceFilter(django_filters.FilterSet):  # type: ignore[misc]
    team = IdFilter(field_name="team_id", label="Id of the team.")
    over = django_filters.BooleanFilter(method="by_over", label="Whether it will not hold any more.")

    class Meta:
        model = Silence
        fields = ()

    def by_over(self, rows: QuerySet[Silence], name: str, value: bool) -> QuerySet[Silence]:
        now: datetime = timezone.now()
        over = Q(repeat_days=0, end_at__lte=now) | Q(repeat_days__gt=0, repeat_until__lte=now)
        return rows.filter(over) if value else rows.exclude(over)


class SilenceList(generics.ListAPIView[Silence]):
    """Silences and maintenance windows, the latest first."""

    access = "member"
    serializer_class = SilenceShape
    filterset_class = SilenceFilter
    queryset = Silence.objects.none()

    def get_queryset(self) -> QuerySet[Silence]:
        return silences_for(actor_of(self.request)).order_by("-start_at", "-pk")

    @extend_schema(request=SilenceBody, responses={201: SilenceShape})
    def post(self, request: Request) -> Response:
        """Make one; a label that is missing counts as empty."""
        actor = actor_of(request)
        body = body_read(SilenceBody, request)
        team = team_acted(actor, body.pop("team"))
        try:
            made = silence_make(body, team=team, by=actor.name, now=timezone.now())
        except SilenceError as error:
            raise serializers.ValidationError({name: [sentence] for name, sentence in error.problems.items()}) from None
        return Response(SilenceShape(made).data, status=status.HTTP_201_CREATED)


def team_acted(actor: Actor, pk: int | None) -> Team | None:
    """The team for which something is made: 404 when foreign, 403 when only readable; None: all teams, for admins."""
    team = team_get(actor, pk) if pk is not None else None
    act_require(actor, pk)
    return team


class SilenceOne(Door):
    access = "member"

    @extend_schema(responses=SilenceShape)
    def get(self, request: Request, pk: int) -> Response:
        return Response(SilenceShape(row_get(silences_for(actor_of(request)), pk)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """End it now; one that is over stays as it is."""
        actor, now = actor_of(request), timezone.now()
        silence = silence_edit_get(actor, pk)
        silence_end(silence, by=actor.name, now=now)
        return Response(status=status.HTTP_204_NO_CONTENT)


# --- Deliveries --------------------------------------------------------------------------------------------------------------


class DeliveryShape(serializers.ModelSerializer[Notification]):
    channel_name = serializers.CharField(source="channel.name")

    class Meta:
        model = Notification
        fields = (
            *("id", "alert", "channel", "channel_name", "edge", "edge_number", "number", "state", "attempts", "dedup_key"),
            *("created_at", "run_after", "sent_at", "response", "last_error", "suppressed_by"),
        )


class DeliveryFilter(django_filters.FilterSet):  # type: ignore[misc]
    alert = IdFilter(field_name="alert_id", label="Id of the alert.")
    channel = IdFilter(field_name="channel_id", label="Id of the channel.")

    class Meta:
        model = Notification
        fields = ("state", "edge")


class DeliveryList(generics.ListAPIView[Notification]):
    """The delivery log: one row for each step of an alert and channel, the newest first."""

    access = "member"
    serializer_class = DeliveryShape
    filterset_class = DeliveryFilter
    queryset = Notification.objects.none()

    def get_queryset(self) -> QuerySet[Notification]:
        return notifications_for(actor_of(self.request)).order_by("-created_at", "-pk")


class DeliveryReplay(Door):
    access = "member"

    @extend_schema(request=Nothing, responses=DeliveryShape)
    def post(self, request: Request, pk: int) -> Response:
        """Try one that was given up again, under the same key, for another day; 409 for any other."""
        row = notification_edit_get(actor_of(request), pk)
        body_read(Nothing, request)
        if not dead_replay(Notification.objects.filter(pk=row.pk), now=timezone.now()):
            raise Conflict(f"This delivery is {row.get_state_display().lower()}, not given up; there is nothing to replay.")
        row.refresh_from_db()
        return Response(DeliveryShape(row).data)

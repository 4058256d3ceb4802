"""Planned events: a launch, a customer, a maintenance, a holiday; of a deployment for all its scenarios, or of one scenario."""

from typing import Any

import django_filters
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_serializer
from rest_framework import generics, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from capacity.analysis.scenarios import event_change, event_create, event_delete
from capacity.api.refusals import refusing
from capacity.api.scenarios import scenario_edit_get
from capacity.api.strict import Door, IdFilter, Strict, body_read
from capacity.models import PlannedEvent, PlannedKind, Scenario
from monitoring.access import actor_of, audit, clusters_whole_for, deployment_edit_get, deployments_for, row_get
from monitoring.models import Deployment


class PlannedEventShape(serializers.ModelSerializer[PlannedEvent]):
    class Meta:
        model = PlannedEvent
        fields = (
            *("id", "deployment", "scenario", "kind", "name", "start_at", "end_at", "factor", "added_requests_per_second"),
            *("set_by", "created_at"),
        )


class PlannedEventChange(Strict):
    """The checks stand in one place for pages and API; here only the types."""

    kind = serializers.ChoiceField(choices=PlannedKind.choices, required=False)
    name = serializers.CharField(max_length=120, required=False)
    start_at = serializers.DateTimeField(required=False)
    end_at = serializers.DateTimeField(required=False, allow_null=True, help_text="null: from then on; a maintenance needs one.")
    factor = serializers.FloatField(
        required=False, allow_null=True, help_text="Of the demand, 0 or more; null: 1, of a holiday learned from Sundays."
    )
    added_requests_per_second = serializers.FloatField(required=False, help_text="On top, 0 or more.")


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "typical",
            {"deployment": 7, "kind": "launch", "name": "Nordwind launch", "start_at": "2026-12-08T09:00:00Z", "factor": 3},
            request_only=True,
        )
    ]
)
class PlannedEventBody(PlannedEventChange):
    deployment = serializers.IntegerField(required=False, min_value=1, help_text="Either this or scenario.")
    scenario = serializers.IntegerField(required=False, min_value=1)
    kind = serializers.ChoiceField(choices=PlannedKind.choices)
    name = serializers.CharField(max_length=120)
    start_at = serializers.DateTimeField()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("deployment" in attrs) == ("scenario" in attrs):
            raise serializers.ValidationError({"deployment": ["give either a deployment or a scenario"]})
        return attrs


class PlannedEventFilter(django_filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    deployment = IdFilter(field_name="deployment_id", label="Id of the deployment.")
    scenario = IdFilter(field_name="scenario_id", label="Id of the scenario.")
    until = django_filters.IsoDateTimeFilter(field_name="start_at", lookup_expr="lt", label="Begins before this time.")

    class Meta:
        model = PlannedEvent
        fields = ("kind",)


def events_seen(request: Request) -> QuerySet[PlannedEvent]:
    actor = actor_of(request)
    return PlannedEvent.objects.of_deployments(deployments_for(actor, hidden=True), clusters=clusters_whole_for(actor))


def subject_words(event: PlannedEvent) -> str:
    owner: Deployment | Scenario | None = event.deployment or event.scenario
    return f"{'deployment' if event.deployment else 'scenario'} {owner}"


class PlannedEventList(generics.ListAPIView[PlannedEvent]):
    """Planned events of the deployments and scenarios the caller sees, the earliest first."""

    access = "member"
    serializer_class = PlannedEventShape
    filterset_class = PlannedEventFilter
    queryset = PlannedEvent.objects.none()

    def get_queryset(self) -> QuerySet[PlannedEvent]:
        return events_seen(self.request).order_by("start_at", "pk")

    @extend_schema(request=PlannedEventBody, responses={201: PlannedEventShape})
    def post(self, request: Request) -> Response:
        """Plan an event; one that is over is refused. Needs an editor of all teams it concerns."""
        actor, body = actor_of(request), body_read(PlannedEventBody, request)
        scenario, deployment = body.pop("scenario", None), body.pop("deployment", None)
        owner: Deployment | Scenario = deployment_edit_get(actor, deployment) if scenario is None else scenario_edit_get(request, scenario)
        with refusing(), transaction.atomic():
            event = event_create(owner, body, by=actor.name, now=timezone.now())
            audit(actor, "planned_event.create", subject_words(event), after=dict(PlannedEventShape(event).data), request=request)
        return Response(PlannedEventShape(event).data, status=status.HTTP_201_CREATED)


def event_edit_get(request: Request, pk: int) -> PlannedEvent:
    """404 when foreign, 403 when only readable."""
    event = row_get(events_seen(request).select_related("deployment", "scenario"), pk)
    if event.deployment_id is not None:
        deployment_edit_get(actor_of(request), event.deployment_id)
    else:
        scenario_edit_get(request, event.scenario_id)
    return event


class PlannedEventOne(Door):
    access = "member"

    @extend_schema(responses=PlannedEventShape)
    def get(self, request: Request, pk: int) -> Response:
        return Response(PlannedEventShape(row_get(events_seen(request), pk)).data)

    @extend_schema(request=PlannedEventChange, responses=PlannedEventShape)
    def patch(self, request: Request, pk: int) -> Response:
        """Change what is given; the event is checked as a whole."""
        actor, event = actor_of(request), event_edit_get(request, pk)
        before, body = dict(PlannedEventShape(event).data), body_read(PlannedEventChange, request)
        with refusing(), transaction.atomic():
            event = event_change(event, body, by=actor.name, now=timezone.now())
            after = dict(PlannedEventShape(event).data)
            audit(actor, "planned_event.change", subject_words(event), before=before, after=after, request=request)
        return Response(PlannedEventShape(event).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """The plan forgets it."""
        actor, event = actor_of(request), event_edit_get(request, pk)
        with transaction.atomic():
            audit(actor, "planned_event.delete", subject_words(event), before=dict(PlannedEventShape(event).data), request=request)
            event_delete(event, now=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)

"""Deployments, their parts and events, accelerators and nodes."""

import secrets
from typing import Any

import django_filters
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_serializer
from rest_framework import generics, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from capacity.api.shapes import (
    AcceleratorDetail,
    AcceleratorShape,
    DeploymentShape,
    EventShape,
    NodeDetail,
    NodeShape,
    PlacementShape,
    ReplicaShape,
    VersionShape,
)
from capacity.api.strict import Door, IdFilter, Strict, body_read
from capacity.models import Verdict
from monitoring.access import (
    accelerator_get,
    accelerator_shares,
    accelerators_for,
    actor_of,
    audit,
    deployment_edit_get,
    deployment_get,
    deployments_for,
    editable_for,
    events_for,
    node_get,
    node_shares,
    nodes_for,
    row_get,
    teams_for,
)
from monitoring.api.problems import Conflict
from monitoring.models import Accelerator, Deployment, DeploymentState, Event, EventKind, Node, Placement, Replica, Version, WorkloadKind
from monitoring.sources import (
    deployment_archive,
    deployment_ignore,
    deployment_merge,
    deployment_rename,
    deployment_restore,
    missing_metrics,
    team_assign,
)

MOVES = {
    DeploymentState.ACTIVE: deployment_restore,
    DeploymentState.ARCHIVED: deployment_archive,
    DeploymentState.IGNORED: deployment_ignore,
}


class DeploymentFilter(django_filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    search = django_filters.CharFilter(field_name="name", lookup_expr="icontains", label="Part of the name.")
    cluster = django_filters.CharFilter(field_name="cluster__name", label="Name of the cluster.")
    verdict = django_filters.ChoiceFilter(field_name="status__verdict", choices=Verdict.choices, label="What the status says.")
    team = IdFilter(field_name="team_id", label="Id of the team.")

    class Meta:
        model = Deployment
        fields = ("name", "namespace", "workload", "model_name", "environment", "workload_kind", "state", "system")


class DeploymentList(generics.ListAPIView[Deployment]):
    """Deployments of the caller's teams, active and archived, by name."""

    access = "member"
    serializer_class = DeploymentShape
    filterset_class = DeploymentFilter

    def get_queryset(self) -> QuerySet[Deployment]:
        return deployments_for(actor_of(self.request)).select_related("cluster", "team", "status", "slo").order_by("name", "pk")


class DeploymentChange(Strict):
    """What a person may change by hand; what is left out stays."""

    name = serializers.CharField(max_length=253, required=False, help_text="Renames it; discovery keeps the new name.")
    environment = serializers.CharField(max_length=40, required=False, allow_blank=True)
    workload_kind = serializers.ChoiceField(choices=WorkloadKind.choices, required=False)
    state = serializers.ChoiceField(choices=[state.value for state in MOVES], required=False)
    team = serializers.IntegerField(
        required=False, allow_null=True, min_value=1, help_text="One of your teams; null gives it back to the rules."
    )


class DeploymentDetail(Door):
    access = "member"

    @extend_schema(responses=DeploymentShape)
    def get(self, request: Request, pk: int) -> Response:
        rows = deployments_for(actor_of(request)).select_related("cluster", "team", "status", "slo")
        return Response(DeploymentShape(row_get(rows, pk)).data)

    @extend_schema(request=DeploymentChange, responses=DeploymentShape)
    def patch(self, request: Request, pk: int) -> Response:
        """Rename, assign, archive, ignore or restore; needs an editor of the team."""
        deployment = deployment_edit_get(actor_of(request), pk)
        change = body_read(DeploymentChange, request)
        before = {name: str(getattr(deployment, name)) for name in change}
        with transaction.atomic():
            deployment_change(request, deployment, change)
            audit(actor_of(request), "deployment.change", f"deployment {deployment.name}", before=before, after=change, request=request)
        deployment.refresh_from_db()
        return Response(DeploymentShape(deployment).data)


def deployment_change(request: Request, deployment: Deployment, change: dict[str, Any]) -> None:
    if "team" in change:
        team_assign(deployment, team=None if change["team"] is None else row_get(teams_for(actor_of(request)), change["team"]))
    if "name" in change:
        deployment_rename(deployment, name=change["name"])
    plain = [name for name in ("environment", "workload_kind") if name in change]
    if plain:
        for name in plain:
            setattr(deployment, name, change[name])
        deployment.save(update_fields=plain)
    if "state" in change and change["state"] != deployment.state:
        if deployment.state == DeploymentState.MERGED and change["state"] != DeploymentState.ACTIVE:
            raise Conflict("This deployment is merged into another one; restore it first by the state active.")
        MOVES[DeploymentState(change["state"])](deployment)


class MergeBody(Strict):
    into = serializers.IntegerField(min_value=1, help_text="Id of the deployment that takes over history and replicas.")


class DeploymentMerge(Door):
    access = "member"

    @extend_schema(request=MergeBody, responses=DeploymentShape)
    def post(self, request: Request, pk: int) -> Response:
        """Fold a deployment into another one, e.g. after it was renamed in its cluster; answers with the other one."""
        actor = actor_of(request)
        deployment = deployment_edit_get(actor, pk)
        into = row_get(editable_for(actor).filter(state=DeploymentState.ACTIVE), body_read(MergeBody, request)["into"])
        if into == deployment:
            raise Conflict("A deployment cannot be merged into itself.")
        with transaction.atomic():
            deployment_merge(deployment, target=into)
            audit(actor, "deployment.merge", f"deployment {deployment.name}", after={"into": into.name}, request=request)
        return Response(DeploymentShape(into).data)


class OfDeployment:
    """Lists below one deployment: a foreign one is not found before anything is read."""

    access = "member"

    def deployment(self) -> Deployment:
        request, kwargs = vars(self)["request"], vars(self)["kwargs"]
        return deployment_get(actor_of(request), kwargs["pk"])


class VersionList(OfDeployment, generics.ListAPIView[Version]):
    """Versions seen, oldest first."""

    serializer_class = VersionShape
    queryset = Version.objects.none()

    def get_queryset(self) -> QuerySet[Version]:
        return self.deployment().versions.all()


class ReplicaList(OfDeployment, generics.ListAPIView[Replica]):
    """Pods or processes seen, the newest first."""

    serializer_class = ReplicaShape
    queryset = Replica.objects.none()

    def get_queryset(self) -> QuerySet[Replica]:
        return self.deployment().replicas.select_related("version", "node").order_by("-last_seen_at", "pk")


class PlacementList(OfDeployment, generics.ListAPIView[Placement]):
    """Which share of which accelerator or node a replica had, the newest first."""

    serializer_class = PlacementShape
    queryset = Placement.objects.none()

    def get_queryset(self) -> QuerySet[Placement]:
        placements = Placement.objects.filter(replica__deployment=self.deployment())
        return placements.select_related("replica").order_by("-valid_from", "pk")


class EventFilter(django_filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    since = django_filters.IsoDateTimeFilter(field_name="at", lookup_expr="gte", label="Not before this time.")
    before = django_filters.IsoDateTimeFilter(field_name="at", lookup_expr="lt", label="Before this time.")

    class Meta:
        model = Event
        fields = ("kind",)


@extend_schema_serializer(
    examples=[OpenApiExample("typical", {"kind": "launch", "title": "New customer", "at": "2026-11-24T08:00:00Z"}, request_only=True)]
)
class EventBody(Strict):
    kind = serializers.ChoiceField(choices=[EventKind.INCIDENT.value, EventKind.LAUNCH.value, EventKind.NOTE.value])
    at = serializers.DateTimeField(required=False, help_text="Now when left out.")
    end_at = serializers.DateTimeField(required=False, allow_null=True)
    title = serializers.CharField(max_length=200)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs.setdefault("at", timezone.now())
        if attrs.get("end_at") and attrs["end_at"] <= attrs["at"]:
            raise serializers.ValidationError({"end_at": ["must lie after at"]})
        return attrs


class EventList(OfDeployment, generics.ListAPIView[Event]):
    """What happened, the newest first."""

    serializer_class = EventShape
    filterset_class = EventFilter
    queryset = Event.objects.none()

    def get_queryset(self) -> QuerySet[Event]:
        return self.deployment().events.select_related("version").order_by("-at", "pk")

    @extend_schema(request=EventBody, responses={201: EventShape})
    def post(self, request: Request, pk: int) -> Response:
        """Write an incident, a launch or a note onto the time axis; needs an editor of the team."""
        deployment = deployment_edit_get(actor_of(request), pk)
        event = Event.objects.create(
            deployment=deployment,
            dedup_key=f"hand {secrets.token_hex(12)}",
            detail={"by": actor_of(request).name},
            **body_read(EventBody, request),
        )
        audit(actor_of(request), "event.create", f"deployment {deployment.name}", after={"title": event.title}, request=request)
        return Response(EventShape(event).data, status=status.HTTP_201_CREATED)


class EventDetail(Door):
    access = "member"

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Take an incident, a launch or a note off the time axis; what Headroom saw itself stays."""
        actor = actor_of(request)
        event = row_get(events_for(actor), pk)
        deployment = deployment_edit_get(actor, event.deployment_id)
        if not event.dedup_key.startswith("hand "):
            raise Conflict("Headroom saw this itself; only incidents, launches and notes can be deleted.")
        event.delete()
        audit(actor, "event.delete", f"deployment {deployment.name}", before={"title": event.title}, request=request)
        return Response(status=status.HTTP_204_NO_CONTENT)


class AcceleratorFilter(django_filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    cluster = django_filters.CharFilter(field_name="cluster__name", label="Name of the cluster.")
    node = IdFilter(field_name="node_id", label="Id of the node.")

    class Meta:
        model = Accelerator
        fields = ("uuid", "model_name", "mig_profile")


class AcceleratorList(generics.ListAPIView[Accelerator]):
    """Accelerators on which a visible deployment lies, or lay in the last 28 days."""

    access = "member"
    serializer_class = AcceleratorShape
    filterset_class = AcceleratorFilter

    def get_queryset(self) -> QuerySet[Accelerator]:
        return accelerators_for(actor_of(self.request)).select_related("cluster", "node").order_by("node__name", "position", "pk")


class AcceleratorOne(Door):
    access = "member"

    @extend_schema(responses=AcceleratorDetail)
    def get(self, request: Request, pk: int) -> Response:
        actor = actor_of(request)
        row = accelerator_get(actor, pk)
        shares = accelerator_shares(actor, [row.pk], at=timezone.now()).get(row.pk, [])
        return Response(AcceleratorDetail(row, context={"shares": shares}).data)


class NodeFilter(django_filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    cluster = django_filters.CharFilter(field_name="cluster__name", label="Name of the cluster.")

    class Meta:
        model = Node
        fields = ("name", "instance_type")


class NodeList(generics.ListAPIView[Node]):
    """Nodes on which a visible deployment lies, or lay in the last 28 days."""

    access = "member"
    serializer_class = NodeShape
    filterset_class = NodeFilter

    def get_queryset(self) -> QuerySet[Node]:
        return nodes_for(actor_of(self.request)).select_related("cluster").order_by("cluster__name", "name", "pk")


class NodeOne(Door):
    access = "member"

    @extend_schema(responses=NodeDetail)
    def get(self, request: Request, pk: int) -> Response:
        actor = actor_of(request)
        row = node_get(actor, pk)
        shares = node_shares(actor, [row.pk], at=timezone.now()).get(row.pk, [])
        return Response(NodeDetail(row, context={"shares": shares}).data)


class MissingShape(serializers.Serializer[Any]):
    column = serializers.CharField(help_text="The column or latency kind that stays empty.")
    label = serializers.CharField()  # type: ignore[assignment]  # shadows the field option
    asked = serializers.ListField(child=serializers.CharField(), help_text="The metric names that were looked for.")
    last_seen = serializers.DateTimeField(allow_null=True, help_text="null: never.")
    text = serializers.CharField(help_text="What it means and what to do.")


class MissingMetrics(Door):
    access = "member"

    @extend_schema(responses=MissingShape(many=True))
    def get(self, request: Request, pk: int) -> Response:
        """Which metrics of the catalogue this deployment lacks, and what can be done about it."""
        deployment = deployment_get(actor_of(request), pk)
        names = ("column", "label", "asked", "last_seen", "text")
        return Response([{name: getattr(missing, name) for name in names} for missing in missing_metrics(deployment)])

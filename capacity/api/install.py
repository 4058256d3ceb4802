"""The install as a whole: the fleet in one answer, the health of Headroom itself, the audit trail, the demo fleet."""

from datetime import datetime, timedelta
from typing import Any

import django_filters
from django.db import transaction
from django.db.models import Count, F, Max, QuerySet, Sum
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import generics, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from capacity.api.shapes import EventShape
from capacity.api.strict import Door, Nothing, body_read
from capacity.models import DemoAction, DemoRun, DeploymentStatus, Verdict
from monitoring.access import Actor, accelerators_for, actor_of, audit, audit_for, deployments_for, events_for, nodes_for, sources_for
from monitoring.api.problems import Conflict
from monitoring.catalog.records import Entity
from monitoring.models import AuditEvent, Cluster, DeploymentState, FillState, Heartbeat
from monitoring.series import coverage_load

CHANGED = timedelta(hours=24)
MOST_LINES = 20
BURNING = (Verdict.BREAKS, Verdict.WARNING)


class BurningShape(serializers.ModelSerializer[DeploymentStatus]):
    name = serializers.CharField(source="deployment.name")

    class Meta:
        model = DeploymentStatus
        fields = ("deployment", "name", "verdict", "since", "as_of", "text", "limit_name", "limit_ratio")


class FleetShape(serializers.Serializer[Any]):
    as_of = serializers.DateTimeField(allow_null=True, help_text="Of the newest sample behind the statuses.")
    deployments = serializers.IntegerField(help_text="Active ones the caller sees.")
    accelerators = serializers.IntegerField()
    nodes = serializers.IntegerField()
    verdicts = serializers.DictField(child=serializers.IntegerField(), help_text="Number of deployments by verdict.")
    requests_per_second = serializers.FloatField(allow_null=True, help_text="Of all together, last five minutes.")
    errors_per_second = serializers.FloatField(allow_null=True)
    replicas = serializers.FloatField(allow_null=True)
    burning = BurningShape(many=True, help_text="Broken or warned, the worst first; at most 20.")
    changed = EventShape(many=True, help_text="Events of the last 24 hours, the newest first; at most 20.")


class Fleet(Door):
    access = "member"

    @extend_schema(responses=FleetShape)
    def get(self, request: Request) -> Response:
        """What is on fire and what changed, over the deployments the caller sees."""
        return Response(fleet_facts(actor_of(request), now=timezone.now()))


def fleet_facts(actor: Actor, *, now: datetime) -> dict[str, Any]:
    active = deployments_for(actor).filter(state=DeploymentState.ACTIVE)
    statuses = DeploymentStatus.objects.filter(deployment__in=active)
    sums = statuses.aggregate(
        newest=Max("as_of"),
        requests=Sum("requests_per_second"),
        errors=Sum(F("requests_per_second") * F("error_ratio")),
        copies=Sum("replicas"),
    )
    burning = statuses.filter(verdict__in=BURNING).select_related("deployment").order_by("verdict", F("since").asc(nulls_last=True))
    changed = events_for(actor).filter(at__gte=now - CHANGED).select_related("version").order_by("-at")
    return {
        "as_of": sums["newest"],
        "requests_per_second": sums["requests"],
        "errors_per_second": sums["errors"],
        "replicas": sums["copies"],
        "deployments": active.count(),
        "accelerators": accelerators_for(actor).count(),
        "nodes": nodes_for(actor).count(),
        "verdicts": dict.fromkeys(Verdict.values, 0)
        | dict(statuses.values("verdict").annotate(count=Count("pk")).values_list("verdict", "count").order_by()),
        "burning": BurningShape(burning[:MOST_LINES], many=True).data,
        "changed": EventShape(changed[:MOST_LINES], many=True).data,
    }


class LoopShape(serializers.Serializer[Any]):
    name = serializers.CharField()
    at = serializers.DateTimeField(help_text="Its last sign of life.")
    age_seconds = serializers.FloatField()


class FillShape(serializers.Serializer[Any]):
    table = serializers.CharField()
    end_time = serializers.DateTimeField(help_text="Filled up to here.")
    lag_seconds = serializers.FloatField()
    done = serializers.BooleanField(help_text="false: a fill is under way or was cut off.")


class SourceLagShape(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    state = serializers.CharField()
    state_text = serializers.CharField()
    watermark = serializers.DateTimeField(allow_null=True, help_text="Polled and stored up to here.")
    lag_seconds = serializers.FloatField(allow_null=True)


class InstallStatusShape(serializers.Serializer[Any]):
    now = serializers.DateTimeField()
    loops = LoopShape(many=True)
    rollups = FillShape(many=True)
    sources = SourceLagShape(many=True, help_text="Empty for everybody but admins of the install.")
    coverage = serializers.DictField(
        child=serializers.DictField(child=serializers.IntegerField()),
        help_text="For admins: entity to column to how many had a value in the last ten minutes.",
    )


class InstallStatus(Door):
    access = "member"

    @extend_schema(responses=InstallStatusShape)
    def get(self, request: Request) -> Response:
        """Is Headroom itself well? How far behind are polling and rollups, and what is measured at all."""
        return Response(status_facts(actor_of(request), now=timezone.now()))


def status_facts(actor: Actor, *, now: datetime) -> dict[str, Any]:
    sources = sources_for(actor).filter(demo=False)
    return {
        "now": now,
        "loops": [{"name": beat.name, "at": beat.at, "age_seconds": age(beat.at, now)} for beat in Heartbeat.objects.order_by("name")],
        "rollups": [
            {"table": fill.table, "end_time": fill.end_time, "lag_seconds": age(fill.end_time, now), "done": fill.done}
            for fill in FillState.objects.order_by("table")
        ],
        "sources": [
            {
                "id": source.pk,
                "name": source.name,
                "state": source.state,
                "state_text": source.state_text,
                "watermark": source.watermark,
                "lag_seconds": age(source.watermark, now) if source.watermark else None,
            }
            for source in sources
        ],
        "coverage": {entity.value: coverage_load(entity, now=now) for entity in Entity} if actor.admin else {},
    }


def age(at: datetime, now: datetime) -> float:
    return round((now - at).total_seconds(), 1)


class AuditShape(serializers.ModelSerializer[AuditEvent]):
    before = serializers.DictField()
    after = serializers.DictField()

    class Meta:
        model = AuditEvent
        fields = ("id", "at", "actor", "action", "subject", "before", "after", "address")


class AuditFilter(django_filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    since = django_filters.IsoDateTimeFilter(field_name="at", lookup_expr="gte", label="Not before this time.")
    before = django_filters.IsoDateTimeFilter(field_name="at", lookup_expr="lt", label="Before this time.")

    class Meta:
        model = AuditEvent
        fields = ("actor", "action", "subject")


class AuditList(generics.ListAPIView[AuditEvent]):
    """Who changed what, the newest first; admins of the install only."""

    access = "admin"
    serializer_class = AuditShape
    filterset_class = AuditFilter

    def get_queryset(self) -> QuerySet[AuditEvent]:
        return audit_for(actor_of(self.request)).order_by("-at", "-pk")


class DemoShape(serializers.Serializer[Any]):
    loaded = serializers.BooleanField()
    action = serializers.ChoiceField(choices=DemoAction.choices, allow_null=True, help_text="The last wish; null: none yet.")
    state = serializers.CharField(allow_null=True)
    progress_ratio = serializers.FloatField(allow_null=True)
    text = serializers.CharField(allow_null=True)
    error = serializers.CharField(allow_null=True)


class Demo(Door):
    access = {"GET": "member", "*": "admin"}

    @extend_schema(responses=DemoShape)
    def get(self, request: Request) -> Response:
        """Is the demo fleet here, and how far is the last wish to load or remove it?"""
        return Response(demo_facts())

    @extend_schema(request=Nothing, responses={202: DemoShape})
    def post(self, request: Request) -> Response:
        """Load the demo fleet; a worker does it within a minute or two."""
        return demo_wish(request, DemoAction.LOAD)

    @extend_schema(responses={202: DemoShape})
    def delete(self, request: Request) -> Response:
        """Remove the demo fleet without a trace."""
        return demo_wish(request, DemoAction.REMOVE)


def demo_wish(request: Request, action: DemoAction) -> Response:
    body_read(Nothing, request)
    with transaction.atomic():
        if DemoRun.objects.unfinished().exists():
            raise Conflict("The demo fleet is being loaded or removed already.")
        DemoRun.objects.create(action=action)
        audit(actor_of(request), f"demo.{action}", "demo fleet", request=request)
    return Response(demo_facts(), status=status.HTTP_202_ACCEPTED)


def demo_facts() -> dict[str, Any]:
    run = DemoRun.objects.order_by("-created_at").first()
    names = ("action", "state", "progress_ratio", "text", "error")
    return {"loaded": Cluster.objects.filter(demo=True).exists()} | {name: getattr(run, name, None) for name in names}

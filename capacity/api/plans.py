"""Plans: the newest of each deployment and scenario, made anew on demand, and what the people of a deployment know."""

from typing import Any

import django_filters
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_serializer
from rest_framework import generics, serializers, status
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from capacity.analysis.plan_due import plan_due
from capacity.analysis.scenarios import settings_change
from capacity.api.plan_shapes import PlanDetailShape, PlanRunShape, plan_told
from capacity.api.refusals import refusing
from capacity.api.scenarios import scenarios_seen
from capacity.api.strict import Door, IdFilter, Nothing, Strict, body_read
from capacity.models import PlanRun, PlanSettings, Scope
from monitoring.access import (
    actor_of,
    audit,
    clusters_whole_for,
    deployment_edit_get,
    deployment_get,
    deployments_for,
    row_get,
)


class PlanFilter(django_filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    deployment = IdFilter(field_name="deployment_id", label="Id of the deployment.")
    scenario = IdFilter(field_name="scenario_id", label="Id of the scenario.")
    scope = django_filters.ChoiceFilter(field_name="scenario__scope", choices=Scope.choices, label="What its scenario is about.")
    base = django_filters.BooleanFilter(field_name="scenario", lookup_expr="isnull", label="true: as things are, of no scenario.")
    runs_out_before = django_filters.DateFilter(field_name="runs_out_early_on", lookup_expr="lt", label="For 1 in 10 courses of demand.")
    order_before = django_filters.DateFilter(field_name="order_by", lookup_expr="lt", label="To be ordered before this day.")

    class Meta:
        model = PlanRun
        fields = ("currency",)


class PlanList(generics.ListAPIView[PlanRun]):
    """The newest plans of the deployments and scenarios the caller sees, who runs out first at the top."""

    access = "member"
    serializer_class = PlanRunShape
    filterset_class = PlanFilter
    queryset = PlanRun.objects.none()

    def get_queryset(self) -> QuerySet[PlanRun]:
        actor = actor_of(self.request)
        rows = PlanRun.objects.of_deployments(deployments_for(actor), clusters=clusters_whole_for(actor))
        return rows.defer("result").order_by("runs_out_early_on", "pk")


class PlanDueShape(serializers.Serializer[Any]):
    due_at = serializers.DateTimeField(help_text="Since when it is its turn.")
    made_at = serializers.DateTimeField(allow_null=True, help_text="Of the plan before; null: there is none.")


class DeploymentPlan(Door):
    access = "member"

    @extend_schema(responses=PlanDetailShape)
    def get(self, request: Request, pk: int) -> Response:
        """The newest plan as things are; 404 while none was made."""
        deployment = deployment_get(actor_of(request), pk)
        run = PlanRun.objects.filter(deployment=deployment, scenario=None).first()
        if run is None:
            raise NotFound("This deployment has no plan yet. POST makes one next; else it comes with the night.")
        return Response(plan_told(run))

    @extend_schema(request=Nothing, responses={202: PlanDueShape})
    def post(self, request: Request, pk: int) -> Response:
        """Make it next: a free worker takes it within a minute. GET has it when its made_at is later than due_at."""
        actor, now = actor_of(request), timezone.now()
        deployment = deployment_edit_get(actor, pk)
        body_read(Nothing, request)
        due_at = plan_due(deployment, now=now)
        audit(actor, "plan.make", f"plan of {deployment.name}", request=request)
        made_at = PlanRun.objects.filter(deployment=deployment, scenario=None).values_list("made_at", flat=True).first()
        return Response(PlanDueShape({"due_at": due_at, "made_at": made_at}).data, status=status.HTTP_202_ACCEPTED)


class ScenarioPlan(Door):
    access = "member"

    @extend_schema(responses=PlanDetailShape)
    def get(self, request: Request, pk: int) -> Response:
        """The newest plan under a scenario's assumptions; 404 while none was made."""
        scenario = row_get(scenarios_seen(request), pk)
        run = PlanRun.objects.filter(scenario=scenario).first()
        if run is None:
            raise NotFound("This scenario has no plan yet; it comes with the next round.")
        return Response(plan_told(run))


class PlanSettingsShape(serializers.ModelSerializer[PlanSettings]):
    updated_at = serializers.DateTimeField(allow_null=True, help_text="null: never set.")

    class Meta:
        model = PlanSettings
        fields = (
            *("lead_time_days", "approval_days", "startup_seconds", "slots", "least_replicas", "most_replicas"),
            *("set_by", "updated_at"),
        )


UNSET = dict.fromkeys(PlanSettingsShape.Meta.fields) | {"set_by": ""}


@extend_schema_serializer(examples=[OpenApiExample("typical", {"lead_time_days": 21, "most_replicas": 12}, request_only=True)])
class PlanSettingsBody(Strict):
    lead_time_days = serializers.FloatField(required=False, allow_null=True, help_text="From order to running; null: the default.")
    approval_days = serializers.FloatField(required=False, allow_null=True)
    startup_seconds = serializers.FloatField(required=False, allow_null=True, help_text="null: measured from its own starts.")
    slots = serializers.IntegerField(required=False, allow_null=True, help_text="Requests one replica serves at once; null: measured.")
    least_replicas = serializers.IntegerField(required=False, allow_null=True)
    most_replicas = serializers.IntegerField(required=False, allow_null=True)


class DeploymentPlanSettings(Door):
    access = "member"

    @extend_schema(responses=PlanSettingsShape)
    def get(self, request: Request, pk: int) -> Response:
        """What people set for its plans; null: measured, or the default."""
        deployment = deployment_get(actor_of(request), pk)
        row = PlanSettings.objects.filter(deployment=deployment).first()
        return Response(PlanSettingsShape(row).data if row else UNSET)

    @extend_schema(request=PlanSettingsBody, responses=PlanSettingsShape)
    def patch(self, request: Request, pk: int) -> Response:
        """Change what is given; null gives it back to what is measured."""
        actor = actor_of(request)
        deployment = deployment_edit_get(actor, pk)
        body = body_read(PlanSettingsBody, request)
        old = PlanSettings.objects.filter(deployment=deployment).first()
        before = dict(PlanSettingsShape(old).data) if old else {}
        with refusing(), transaction.atomic():
            row = settings_change(deployment, body, by=actor.name, now=timezone.now())
            audit(actor, "plan_settings.change", f"deployment {deployment.name}", before=before, after=body, request=request)
        return Response(PlanSettingsShape(row).data)

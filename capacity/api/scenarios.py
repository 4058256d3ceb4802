"""Scenarios: assumptions with a name, of a deployment, a cluster or a group; save, change, clone, choose, compare."""

from typing import Any

import django_filters
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_serializer
from rest_framework import generics, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from capacity.analysis.scenarios import (
    MOST_MEMBERS,
    Subject,
    scenario_change,
    scenario_choose,
    scenario_clone,
    scenario_create,
    scenario_delete,
    subject_of,
)
from capacity.api.plan_shapes import PlanRunShape
from capacity.api.refusals import refusing
from capacity.api.strict import Door, IdFilter, Nothing, Strict, WordsField, body_read
from capacity.models import PlanRun, Scenario, Scope
from monitoring.access import (
    Actor,
    actor_of,
    audit,
    can_edit,
    clusters_whole_for,
    deployment_edit_get,
    deployments_for,
    row_get,
)
from monitoring.api.problems import QueryError

MOST_COMPARED = 10


class ScenarioShape(serializers.ModelSerializer[Scenario]):
    members = serializers.PrimaryKeyRelatedField[Any](many=True, read_only=True, help_text="Ids of the deployments of a group.")
    hourly_rate = serializers.DecimalField(max_digits=14, decimal_places=6, allow_null=True, help_text="Of a replica; null: today's.")
    growth_per_month = serializers.FloatField(allow_null=True, help_text="As a ratio, 0.1 for 10 %; null: the trend found.")

    class Meta:
        model = Scenario
        fields = (
            *("id", "name", "scope", "deployment", "cluster", "members", "team", "horizon_days", "growth_per_month", "replicas"),
            *("by_hour", "slo_threshold_seconds", "startup_seconds", "lead_time_days", "approval_days", "speed_ratio", "hardware"),
            *("hourly_rate", "note", "chosen", "created_by", "created_at", "updated_at"),
        )


class AssumptionBody(Strict):
    """What may be assumed; the checks stand in one place for pages and API, here only the types."""

    horizon_days = serializers.IntegerField(required=False, help_text="1 to 400.")
    growth_per_month = serializers.FloatField(required=False, allow_null=True, help_text="As a ratio, 0.1 for 10 %; null: the trend found.")
    replicas = serializers.IntegerField(required=False, allow_null=True, help_text="A fixed number; null: as many as run now.")
    by_hour = serializers.BooleanField(required=False, help_text="A floor by hour under the autoscaler instead of a fixed number.")
    slo_threshold_seconds = serializers.FloatField(required=False, allow_null=True, help_text="null: the SLO.")
    startup_seconds = serializers.FloatField(required=False, allow_null=True)
    lead_time_days = serializers.FloatField(required=False, allow_null=True)
    approval_days = serializers.FloatField(required=False, allow_null=True)
    speed_ratio = serializers.FloatField(required=False, help_text="Speed of a replica against today's, for other hardware.")
    hardware = serializers.CharField(max_length=120, required=False, allow_blank=True)
    hourly_rate = serializers.CharField(
        max_length=40, required=False, allow_null=True, help_text='Of a replica, as a decimal string, e.g. "2.50"; null: today\'s.'
    )


class ScenarioChange(AssumptionBody):
    name = serializers.CharField(max_length=120, required=False)
    note = serializers.CharField(max_length=400, required=False, allow_blank=True)
    members = serializers.ListField(
        child=serializers.IntegerField(min_value=1), max_length=MOST_MEMBERS, required=False, help_text="Of a group, as a whole."
    )


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "typical",
            {"deployment": 7, "name": "Launch in December", "growth_per_month": 0.1, "by_hour": True, "lead_time_days": 21},
            request_only=True,
        )
    ]
)
class ScenarioBody(ScenarioChange):
    name = serializers.CharField(max_length=120)
    deployment = serializers.IntegerField(required=False, min_value=1, help_text="What it is about: this, cluster or members.")
    cluster = serializers.IntegerField(required=False, min_value=1, help_text="A whole cluster; admins of the install.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        given = [name for name in ("deployment", "cluster", "members") if name in attrs]
        if len(given) != 1:
            raise serializers.ValidationError({"deployment": [f"give one of deployment, cluster and members, got {len(given)}"]})
        return attrs


class ScenarioFilter(django_filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    deployment = IdFilter(field_name="deployment_id", label="Id of the deployment.")
    cluster = IdFilter(field_name="cluster_id", label="Id of the cluster.")

    class Meta:
        model = Scenario
        fields = ("name", "scope", "chosen")


def scenarios_seen(request: Request) -> QuerySet[Scenario]:
    actor = actor_of(request)
    rows = Scenario.objects.of_deployments(deployments_for(actor, hidden=True), clusters=clusters_whole_for(actor))
    return rows.select_related("deployment__team", "cluster", "team").prefetch_related("members")


def may_change(actor: Actor, subject: Subject) -> bool:
    """Editors of the deployment, of a group of every member; what is about a whole cluster is for admins of the install."""
    if subject.scope == Scope.CLUSTER:
        return actor.admin
    members = [subject.deployment] if subject.deployment else list(subject.members)
    return bool(members) and all(can_edit(actor, member) for member in members)


def scenario_edit_get(request: Request, pk: object) -> Scenario:
    """404 when foreign, 403 when only readable."""
    scenario = row_get(scenarios_seen(request), pk)
    if not may_change(actor_of(request), subject_of(scenario)):
        raise PermissionDenied("This needs an editor of every deployment it is about; of a whole cluster, an admin of the install.")
    return scenario


def subject_read(request: Request, body: dict[str, Any]) -> Subject:
    """What the scenario is about, taken out of the body: only what the caller may change."""
    actor = actor_of(request)
    if "deployment" in body:
        return Subject(deployment=deployment_edit_get(actor, body.pop("deployment")))
    if "cluster" in body:
        cluster = row_get(clusters_whole_for(actor), body.pop("cluster"))
        if not actor.admin:
            raise PermissionDenied("A scenario of a whole cluster needs an admin of the install.")
        return Subject(cluster=cluster)
    return Subject(members=[deployment_edit_get(actor, pk) for pk in dict.fromkeys(body.pop("members"))])


def told(scenario: Scenario) -> dict[str, Any]:
    return dict(ScenarioShape(scenario).data)


class ScenarioList(generics.ListAPIView[Scenario]):
    """Scenarios of what the caller sees, of a group only with every member, in the order they were saved."""

    access = "member"
    serializer_class = ScenarioShape
    filterset_class = ScenarioFilter
    queryset = Scenario.objects.none()

    def get_queryset(self) -> QuerySet[Scenario]:
        return scenarios_seen(self.request).order_by("created_at", "pk")

    @extend_schema(request=ScenarioBody, responses={201: ScenarioShape})
    def post(self, request: Request) -> Response:
        """Save assumptions under a name; needs an editor of every deployment it is about."""
        body = body_read(ScenarioBody, request)
        actor, subject = actor_of(request), subject_read(request, body)
        with refusing(), transaction.atomic():
            scenario = scenario_create(subject, body, by=actor.name, now=timezone.now())
            audit(actor, "scenario.create", f"scenario {scenario.name}", after=told(scenario), request=request)
        return Response(told(scenario), status=status.HTTP_201_CREATED)


class ScenarioOne(Door):
    access = "member"

    @extend_schema(responses=ScenarioShape)
    def get(self, request: Request, pk: int) -> Response:
        return Response(told(row_get(scenarios_seen(request), pk)))

    @extend_schema(request=ScenarioChange, responses=ScenarioShape)
    def patch(self, request: Request, pk: int) -> Response:
        """Change what is given."""
        actor, scenario = actor_of(request), scenario_edit_get(request, pk)
        before, body = told(scenario), body_read(ScenarioChange, request)
        members = list(subject_read(request, body).members) if "members" in body else None
        with refusing(), transaction.atomic():
            scenario = scenario_change(scenario, body, members=members, by=actor.name, now=timezone.now())
            audit(actor, "scenario.change", f"scenario {scenario.name}", before=before, after=told(scenario), request=request)
        return Response(told(scenario))

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Its events and its plan go with it."""
        actor, scenario = actor_of(request), scenario_edit_get(request, pk)
        with transaction.atomic():
            audit(actor, "scenario.delete", f"scenario {scenario.name}", before=told(scenario), request=request)
            scenario_delete(scenario)
        return Response(status=status.HTTP_204_NO_CONTENT)


class CloneBody(Strict):
    name = serializers.CharField(max_length=120, required=False, default="", help_text="When left out, named after the original.")


class ScenarioClone(Door):
    access = "member"

    @extend_schema(request=CloneBody, responses={201: ScenarioShape})
    def post(self, request: Request, pk: int) -> Response:
        """A copy beside it, with its events."""
        actor, scenario = actor_of(request), scenario_edit_get(request, pk)
        name = body_read(CloneBody, request)["name"]
        with refusing(), transaction.atomic():
            copy = scenario_clone(scenario, name=name, by=actor.name, now=timezone.now())
            audit(actor, "scenario.clone", f"scenario {scenario.name}", after=told(copy), request=request)
        return Response(told(copy), status=status.HTTP_201_CREATED)


class ScenarioChoose(Door):
    access = "member"

    @extend_schema(request=Nothing, responses=ScenarioShape)
    def post(self, request: Request, pk: int) -> Response:
        """The one that counts; another of the same deployment or cluster is chosen no longer."""
        return chosen(request, pk, chosen=True)

    @extend_schema(responses=ScenarioShape)
    def delete(self, request: Request, pk: int) -> Response:
        """Chosen no longer."""
        return chosen(request, pk, chosen=False)


def chosen(request: Request, pk: int, *, chosen: bool) -> Response:
    actor, scenario = actor_of(request), scenario_edit_get(request, pk)
    body_read(Nothing, request)
    with transaction.atomic():
        scenario = scenario_choose(scenario, chosen=chosen, now=timezone.now())
        audit(actor, "scenario.choose", f"scenario {scenario.name}", after={"chosen": chosen}, request=request)
    return Response(told(scenario))


class CompareQuery(Strict):
    ids = WordsField(most=MOST_COMPARED, max_length=200, help_text="Ids with commas between, at most 10.")


class ComparedShape(serializers.Serializer[Any]):
    scenario = ScenarioShape()
    plan = PlanRunShape(allow_null=True, help_text="Its newest plan; null: not made yet.")


class ScenarioCompare(Door):
    access = "member"
    query = CompareQuery

    @extend_schema(parameters=[CompareQuery], responses=ComparedShape(many=True))
    def get(self, request: Request) -> Response:
        """Scenarios side by side, in the order asked, each with the figures of its newest plan."""
        wanted = [row_id(word) for word in self.asked["ids"]]
        rows = {row.pk: row for row in scenarios_seen(request).filter(pk__in=wanted)}
        if missing := [pk for pk in wanted if pk not in rows]:
            raise Http404(f"There is no scenario {missing[0]}.")
        plans = {plan.scenario_id: plan for plan in PlanRun.objects.filter(scenario__in=wanted).defer("result")}
        found = [{"scenario": rows[pk], "plan": plans.get(pk)} for pk in wanted]
        return Response(ComparedShape(found, many=True).data)


def row_id(word: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) <= 18):
        raise QueryError({"ids": [f"ids are whole numbers with commas between, got {word[:20]!r}"]})
    return int(word)

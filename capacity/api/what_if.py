"""Questions to a plan, of which nothing is stored: what if, does it fit, and the plan as the files an autoscaler reads."""

from dataclasses import asdict
from typing import Any

from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from capacity.analysis.fields import FieldError
from capacity.analysis.fit import Fit, asked_read, fit_check
from capacity.analysis.plan_metric import followed_metric
from capacity.analysis.plan_records import PlanResult, record_json
from capacity.analysis.plan_store import plan_newest, plan_read
from capacity.analysis.plan_whatif import what_if
from capacity.analysis.scenarios import MOST_EVENTS, ScenarioError, event_values, scenario_values
from capacity.api.plan_shapes import PlanResultShape, record_shape
from capacity.api.planned_events import PlannedEventChange
from capacity.api.refusals import refusing
from capacity.api.scenarios import AssumptionBody, scenarios_seen
from capacity.api.strict import Door, Strict, body_read
from capacity.exports.hpa import hpa_yaml
from capacity.exports.keda import keda_yaml
from capacity.exports.names import Names
from capacity.exports.plan_json import plan_json
from capacity.models import PlannedEvent, PlannedKind, Scenario
from monitoring.access import actor_of, deployment_get, row_get
from monitoring.api.problems import Conflict, QueryError
from monitoring.models import Deployment


class EventAssumed(PlannedEventChange):
    kind = serializers.ChoiceField(choices=PlannedKind.choices)
    name = serializers.CharField(max_length=120, default="Assumed")
    start_at = serializers.DateTimeField()


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "typical",
            {
                "growth_per_month": 0.1,
                "by_hour": True,
                "events": [{"kind": "launch", "name": "Nordwind launch", "start_at": "2026-12-08T09:00:00Z", "factor": 3}],
            },
            request_only=True,
        )
    ]
)
class WhatIfBody(AssumptionBody):
    scenario = serializers.IntegerField(required=False, min_value=1, help_text="A saved scenario of it to start from.")
    events = EventAssumed(many=True, required=False, help_text="Beside the deployment's own; when left out, those of the saved scenario.")


class PlanWhatIf(Door):
    access = "member"
    asks = ("POST",)

    @extend_schema(request=WhatIfBody, responses=PlanResultShape)
    def post(self, request: Request, pk: int) -> Response:
        """The plan under assumptions, in about two seconds; nothing is stored, so a key that reads may ask."""
        deployment = deployment_get(actor_of(request), pk)
        body, now = body_read(WhatIfBody, request), timezone.now()
        saved: Scenario | None = None
        if "scenario" in body:
            saved = row_get(scenarios_seen(request).filter(deployment=deployment), body.pop("scenario"))
        events = events_read(body.pop("events"), now=now) if "events" in body else None
        with refusing():
            assumed = scenario_values(body, scenario=saved)
        return Response(record_json(what_if(deployment, assumed, events=events, now=now)))


def events_read(bodies: list[dict[str, Any]], *, now: Any) -> list[PlannedEvent]:
    if len(bodies) > MOST_EVENTS:
        raise serializers.ValidationError({"events": [f"at most {MOST_EVENTS}, got {len(bodies)}"]})
    found, wrong = [], dict[str, dict[str, list[str]]]()
    for place, body in enumerate(bodies):
        try:
            found.append(event_values(body, now=now))
        except ScenarioError as error:
            wrong[str(place)] = {name or "non_field_errors": [sentence] for name, sentence in error.problems.items()}
    if wrong:
        raise serializers.ValidationError({"events": wrong})
    return found


class ExportQuery(Strict):
    format = serializers.ChoiceField(choices=["hpa", "keda", "json"], default="keda", help_text="For which autoscaler, or the plan whole.")


class PlanExport(Door):
    access = "member"
    query = ExportQuery

    @extend_schema(
        parameters=[ExportQuery],
        responses={(200, "application/yaml"): OpenApiTypes.STR, (200, "application/json"): OpenApiTypes.OBJECT},
    )
    def get(self, request: Request, pk: int) -> HttpResponse:
        """The newest plan as a file: an HPA, a KEDA ScaledObject with the floor of each hour, or JSON. 409 where it has no floor."""
        deployment = deployment_get(actor_of(request), pk)
        run = plan_newest(deployment)
        if run is None or not run.result:
            raise NotFound("This deployment has no plan yet, so there is nothing to export.")
        form = str(self.asked["format"])
        try:
            text = export_text(plan_read(run), deployment, form=form)
        except ValueError as error:
            raise Conflict(str(error)) from None
        ending, kind = ("json", "application/json") if form == "json" else ("yaml", "application/yaml")
        headers = {"Content-Disposition": f'attachment; filename="deployment-{deployment.pk}-{form}.{ending}"'}
        return HttpResponse(text, content_type=f"{kind}; charset=utf-8", headers=headers)


def export_text(result: PlanResult, deployment: Deployment, *, form: str) -> str:
    """ValueError with a sentence where there is nothing to write."""
    followed = followed_metric(deployment)
    if form == "json":
        try:
            return plan_json(result, names=names_of(deployment, followed.metric, query=followed.query))
        except ValueError:  # its names cannot stand in a manifest: the plan itself still can
            return plan_json(result)
    if not followed.metric:
        raise ValueError(followed.why)
    write = {"hpa": hpa_yaml, "keda": keda_yaml}[form]
    return write(result, names=names_of(deployment, followed.metric, query=followed.query))


def names_of(deployment: Deployment, metric: str, *, query: str) -> Names:
    return Names(deployment.namespace or "default", deployment.workload, metric, query=query)


FitShape = record_shape(Fit)


class FitQuery(Strict):
    """The checks stand in one place for API and command; here only the types."""

    # Not required here: whether one sees the deployment comes before what is missing.
    requests_per_second = serializers.FloatField(required=False, help_text="Needed: mean of the busiest hour, above 0.")
    slo_threshold_seconds = serializers.FloatField(required=False, help_text="To hold; when left out, the SLO's.")
    percentile = serializers.FloatField(required=False, help_text="0.5 to 0.999; when left out, the SLO's.")
    version = serializers.CharField(
        max_length=200, required=False, default="", help_text="Whose own speed counts, where enough of its requests are known."
    )


@extend_schema_serializer(
    examples=[OpenApiExample("typical", {"requests_per_second": 200, "slo_threshold_seconds": 0.8}, request_only=True)]
)
class FitBody(FitQuery):
    requests_per_second = serializers.FloatField(help_text="Mean of the busiest hour, above 0.")


class DeploymentFit(Door):
    access = "member"
    query = FitQuery
    asks = ("POST",)

    @extend_schema(parameters=[FitQuery], responses=FitShape)
    def get(self, request: Request, pk: int) -> Response:
        """Does it hold its SLO at a rate, with how many replicas, at which cost? The same as POST, for those who can only GET."""
        deployment = deployment_get(actor_of(request), pk)
        try:
            asked = asked_read(self.asked)
        except FieldError as error:
            raise QueryError({name or "non_field_errors": [text] for name, text in error.problems.items()}) from None
        return Response(asdict(fit_check(deployment, asked, now=timezone.now())))

    @extend_schema(request=FitBody, responses=FitShape)
    def post(self, request: Request, pk: int) -> Response:
        """Does it hold its SLO at a rate, with how many replicas, at which cost? `fits` is the gate; `known` false: it cannot be told."""
        deployment = deployment_get(actor_of(request), pk)
        with refusing():
            asked = asked_read(body_read(FitBody, request))
        return Response(asdict(fit_check(deployment, asked, now=timezone.now())))

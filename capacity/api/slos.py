"""The SLO of a deployment: read, set, take away; what its history suggests; what it cost of the budget."""

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from capacity.analysis.plan_due import plans_due
from capacity.analysis.slo import slo_minutes, slo_suggest
from capacity.api.shapes import LatencyField, SloShape
from capacity.api.strict import Door, RangeQuery, Strict, body_read
from capacity.engine.answer import NoAnswer
from capacity.engine.slo import MIN_WINDOWS
from monitoring.access import actor_of, audit, deployment_edit_get, deployment_get
from monitoring.api.problems import QueryError
from monitoring.catalog.records import Latency
from monitoring.models import Deployment, Slo

MOST_DAYS = 92


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "typical",
            {"latency": "time_to_first_token", "percentile": 0.95, "threshold_seconds": 0.8, "objective_ratio": 0.995},
            request_only=True,
        )
    ]
)
class SloBody(Strict):
    latency = LatencyField(required=False, allow_null=True, default=None, help_text="null: no latency promise.")
    percentile = serializers.FloatField(default=0.95, min_value=0.5, max_value=0.999)
    threshold_seconds = serializers.FloatField(required=False, allow_null=True, default=None, min_value=0.0001, max_value=3600.0)
    objective_ratio = serializers.FloatField(
        default=0.995, min_value=0.5, max_value=1.0, help_text="Share of minutes in which the percentile holds."
    )
    availability_ratio = serializers.FloatField(
        required=False, allow_null=True, default=None, min_value=0.5, max_value=1.0, help_text="Share of requests without an error."
    )
    window_days = serializers.IntegerField(default=28, min_value=1, max_value=MOST_DAYS)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if (attrs["latency"] is None) != (attrs["threshold_seconds"] is None):
            missing = "latency" if attrs["latency"] is None else "threshold_seconds"
            raise serializers.ValidationError({missing: ["latency and threshold_seconds are set together or not at all"]})
        if attrs["latency"] is None and attrs["availability_ratio"] is None:
            raise serializers.ValidationError({"latency": ["promise a latency, an availability_ratio, or both"]})
        return attrs


class DeploymentSlo(Door):
    access = "member"

    @extend_schema(responses=SloShape)
    def get(self, request: Request, pk: int) -> Response:
        """The promise; 404 while none is set."""
        return Response(SloShape(slo_get(deployment_get(actor_of(request), pk))).data)

    @extend_schema(request=SloBody, responses=SloShape)
    def put(self, request: Request, pk: int) -> Response:
        """Set the promise as a whole; needs an editor of the team."""
        actor = actor_of(request)
        deployment = deployment_edit_get(actor, pk)
        body = body_read(SloBody, request)
        old = Slo.objects.filter(deployment=deployment).first()
        before = dict(SloShape(old).data) if old else {}
        with transaction.atomic():
            signed = {"set_by": actor.name[:254], "updated_at": timezone.now()}
            slo, _ = Slo.objects.update_or_create(deployment=deployment, defaults=body | signed)
            plans_due([deployment], now=timezone.now())
            audit(actor, "slo.set", f"deployment {deployment.name}", before=before, after=body, request=request)
        return Response(SloShape(slo).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Take the promise away; 404 while none is set."""
        actor = actor_of(request)
        deployment = deployment_edit_get(actor, pk)
        slo = slo_get(deployment)
        with transaction.atomic():
            audit(actor, "slo.remove", f"deployment {deployment.name}", before=dict(SloShape(slo).data), request=request)
            slo.delete()
            plans_due([deployment], now=timezone.now())
        return Response(status=204)


def slo_get(deployment: Deployment) -> Slo:
    slo = Slo.objects.filter(deployment=deployment).first()
    if slo is None:
        raise NotFound("This deployment has no SLO.")
    return slo


class SuggestionShape(serializers.Serializer[Any]):
    answer = serializers.BooleanField(help_text="false: see reason.")
    sentence = serializers.CharField()
    reason = serializers.CharField(help_text="Why there is none: no_data or too_short; empty with an answer.")
    have = serializers.IntegerField(help_text="Five-minute windows with traffic.")
    need = serializers.IntegerField()
    latency = LatencyField(allow_null=True)
    percentile = serializers.FloatField(allow_null=True)
    threshold_seconds = serializers.FloatField(allow_null=True)
    percentile_seconds = serializers.FloatField(allow_null=True, help_text="What the history measured.")
    held_ratio = serializers.FloatField(allow_null=True, help_text="Share of windows in which the threshold would have held.")
    days = serializers.FloatField(allow_null=True)


class SuggestionQuery(Strict):
    latency = LatencyField(required=False, help_text="When left out, first token, else request duration.")
    percentile = serializers.FloatField(default=0.95, min_value=0.5, max_value=0.999)


class SloSuggestion(Door):
    access = "member"
    query = SuggestionQuery

    @extend_schema(parameters=[SuggestionQuery], responses=SuggestionShape)
    def get(self, request: Request, pk: int) -> Response:
        """A threshold the last 28 days would have held, or why there is none."""
        deployment = deployment_get(actor_of(request), pk)
        query = self.asked
        kind = Latency(query["latency"]) if "latency" in query else None
        found = slo_suggest(deployment, now=timezone.now(), latency=kind, percentile=query["percentile"])
        if isinstance(found, NoAnswer):
            text = f"There is no suggestion yet: {found.have} five-minute windows with traffic, {found.need} are needed."
            nothing = dict.fromkeys(("latency", "percentile", "threshold_seconds", "percentile_seconds", "held_ratio", "days"))
            return Response({"answer": False, "sentence": text, "reason": found.reason, "have": found.have, "need": found.need} | nothing)
        facts = {name: getattr(found, name) for name in ("percentile", "threshold_seconds", "percentile_seconds", "held_ratio", "days")}
        windows = round(found.days * 288)
        head = {"answer": True, "sentence": found.sentence, "reason": "", "have": windows, "need": min(windows, MIN_WINDOWS)}
        return Response(head | {"latency": found.latency.name.lower()} | facts)


class BreachShape(serializers.Serializer[Any]):
    start = serializers.DateTimeField()
    end = serializers.DateTimeField()


class MinutesShape(serializers.Serializer[Any]):
    answer = serializers.BooleanField(help_text="false: no latency is promised.")
    start = serializers.DateTimeField()
    end = serializers.DateTimeField()
    lost_minutes = serializers.FloatField(allow_null=True)
    measured_minutes = serializers.FloatField(allow_null=True, help_text="Minutes with enough requests to judge.")
    budget_minutes = serializers.FloatField(allow_null=True, help_text="Of the SLO's whole window.")
    step_seconds = serializers.FloatField(allow_null=True)
    breaches = BreachShape(many=True)


class SloMinutesLost(Door):
    access = "member"
    query = RangeQuery

    @extend_schema(parameters=[RangeQuery], responses=MinutesShape)
    def get(self, request: Request, pk: int) -> Response:
        """How many minutes of a range broke the promise, and when; at most 92 days."""
        deployment = deployment_get(actor_of(request), pk)
        query = self.asked
        start, end = query["start"], query["end"]
        if end - start > timedelta(days=MOST_DAYS):
            raise QueryError({"from": [f"at most {MOST_DAYS} days, got {(end - start).days}"]})
        found = slo_minutes(deployment, start=start, end=end)
        if isinstance(found, NoAnswer):
            nothing = dict.fromkeys(("lost_minutes", "measured_minutes", "budget_minutes", "step_seconds"))
            return Response({"answer": False, "start": start, "end": end, "breaches": []} | nothing)
        return Response(
            {
                "answer": True,
                "start": start,
                "end": end,
                "lost_minutes": found.lost,
                "measured_minutes": found.measured,
                "budget_minutes": found.budget,
                "step_seconds": found.step_seconds,
                "breaches": [{"start": first, "end": last} for first, last in found.breaches],
            }
        )

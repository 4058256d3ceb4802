"""Alert rules: list, make, change, delete, what one would have done, and YAML in and out."""

from typing import Any

import django_filters
from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_serializer
from rest_framework import generics, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from capacity.api.alerts import team_acted
from capacity.api.strict import Door, IdFilter, Strict, body_read
from monitoring.access import actor_of, alert_rule_edit_get, alert_rule_get, alert_rules_for, deployments_for
from monitoring.alerts.preview import rule_preview
from monitoring.alerts.rules import RuleError, rule_delete, rule_make, rule_save, signals_offered
from monitoring.alerts.rules_yaml import rules_export, rules_import
from monitoring.api.problems import Conflict
from monitoring.models import Comparison, Rule, RuleEntity, Severity

PREVIEW_DAYS = 14


class AlertRuleShape(serializers.ModelSerializer[Rule]):
    matchers = serializers.DictField(child=serializers.CharField(allow_blank=True), help_text="Label to pattern with * and ?.")

    class Meta:
        model = Rule
        fields = (
            *("id", "name", "kind", "team", "entity", "matchers", "signal", "comparison", "threshold"),
            *("window_seconds", "for_seconds", "keep_firing_seconds", "severity", "family", "owner"),
            *("summary", "consequence", "first_action", "runbook_url", "enabled", "shipped"),
        )


class AlertRuleChange(Strict):
    """The checks of names, units and limits stand in one place for pages, YAML and API; here only the types."""

    name = serializers.CharField(max_length=80, required=False)
    entity = serializers.ChoiceField(choices=RuleEntity.choices, required=False)
    matchers = serializers.DictField(child=serializers.CharField(max_length=200, allow_blank=True), required=False)
    signal = serializers.CharField(max_length=60, required=False, help_text="A name of GET /alert-rules/signals.")
    comparison = serializers.ChoiceField(choices=Comparison.choices, required=False)
    threshold = serializers.FloatField(required=False, help_text="In the signal's unit; ratios from 0 to 1.")
    window_seconds = serializers.IntegerField(required=False, min_value=0, max_value=10**7)
    for_seconds = serializers.IntegerField(required=False, min_value=0, max_value=10**7)
    keep_firing_seconds = serializers.IntegerField(required=False, min_value=0, max_value=10**7)
    severity = serializers.ChoiceField(choices=Severity.choices, required=False)
    family = serializers.CharField(
        max_length=80, required=False, allow_blank=True, help_text="The critical one of a family mutes the others."
    )
    owner = serializers.CharField(max_length=120, required=False, allow_blank=True)
    summary = serializers.CharField(max_length=300, required=False)
    consequence = serializers.CharField(max_length=500, required=False, allow_blank=True)
    first_action = serializers.CharField(max_length=500, required=False, allow_blank=True)
    runbook_url = serializers.CharField(max_length=500, required=False, allow_blank=True)
    enabled = serializers.BooleanField(required=False)


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "typical",
            {
                "name": "queue-too-long",
                "team": 3,
                "entity": "deployment",
                "signal": "requests_waiting",
                "comparison": "above",
                "threshold": 20,
                "severity": "warning",
                "summary": "Too many requests wait",
            },
            request_only=True,
        )
    ]
)
class AlertRuleBody(AlertRuleChange):
    team = serializers.IntegerField(required=False, allow_null=True, default=None, help_text="null: for all teams, by admins.")


class AlertRuleFilter(django_filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    team = IdFilter(field_name="team_id", label="Id of the team.")

    class Meta:
        model = Rule
        fields = ("name", "entity", "severity", "enabled", "shipped", "kind")


class AlertRuleList(generics.ListAPIView[Rule]):
    """The rules for everybody and those of one's teams, by name."""

    access = "member"
    serializer_class = AlertRuleShape
    filterset_class = AlertRuleFilter
    queryset = Rule.objects.none()

    def get_queryset(self) -> QuerySet[Rule]:
        return alert_rules_for(actor_of(self.request)).order_by("name")

    @extend_schema(request=AlertRuleBody, responses={201: AlertRuleShape})
    def post(self, request: Request) -> Response:
        """Make a rule; it is looked at from the next round on."""
        rule = rule_read(request, AlertRuleBody, rule=None)
        return Response(AlertRuleShape(rule_kept(request, rule)).data, status=status.HTTP_201_CREATED)


def rule_read(request: Request, kind: type[Strict], *, rule: Rule | None) -> Rule:
    """The rule of the body, checked and not saved."""
    body = body_read(kind, request)
    team = team_acted(actor_of(request), body.pop("team", None)) if rule is None else rule.team
    try:
        return rule_make(body, team=team, rule=rule)
    except RuleError as error:
        raise refused(error) from None


def refused(error: RuleError) -> serializers.ValidationError:
    return serializers.ValidationError({name or "non_field_errors": [sentence] for name, sentence in error.problems.items()})


def rule_kept(request: Request, rule: Rule) -> Rule:
    try:
        return rule_save(rule, by=actor_of(request).name, now=timezone.now())
    except RuleError as error:
        raise refused(error) from None


class AlertRuleOne(Door):
    access = "member"

    @extend_schema(responses=AlertRuleShape)
    def get(self, request: Request, pk: int) -> Response:
        return Response(AlertRuleShape(alert_rule_get(actor_of(request), pk)).data)

    @extend_schema(request=AlertRuleChange, responses=AlertRuleShape)
    def patch(self, request: Request, pk: int) -> Response:
        """Change what is given; switched off, its open alerts end."""
        rule = alert_rule_edit_get(actor_of(request), pk)
        return Response(AlertRuleShape(rule_kept(request, rule_read(request, AlertRuleChange, rule=rule))).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Its open alerts end; a rule that Headroom ships can be switched off only."""
        actor = actor_of(request)
        rule = alert_rule_edit_get(actor, pk)
        try:
            rule_delete(rule, by=actor.name, now=timezone.now())
        except RuleError as refusal:
            raise Conflict(str(refusal)) from None
        return Response(status=status.HTTP_204_NO_CONTENT)


class SignalShape(serializers.Serializer[Any]):
    name = serializers.CharField()
    entity = serializers.ChoiceField(choices=RuleEntity.choices)
    unit = serializers.CharField()
    meaning = serializers.CharField()


class SignalList(Door):
    access = "member"

    @extend_schema(responses=SignalShape(many=True))
    def get(self, request: Request) -> Response:
        """All that a rule's signal may be."""
        return Response(SignalShape(signals_offered(), many=True).data)


class FiringShape(serializers.Serializer[Any]):
    labels = serializers.DictField(child=serializers.CharField(allow_blank=True))
    deployment = serializers.IntegerField(source="deployment_id", allow_null=True)
    start = serializers.DateTimeField()
    end = serializers.DateTimeField()
    minutes = serializers.FloatField()
    worst = serializers.FloatField(allow_null=True)


class PreviewShape(serializers.Serializer[Any]):
    sentence = serializers.CharField()
    missing = serializers.CharField(help_text="What could not be judged; empty: nothing.")
    count = serializers.IntegerField()
    minutes = serializers.FloatField()
    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    judged_subjects = serializers.IntegerField()
    firings = FiringShape(many=True)


class AlertRulePreview(Door):
    access = "member"

    @extend_schema(request=AlertRuleBody, responses=PreviewShape)
    def post(self, request: Request) -> Response:
        """What a rule would have done in the last 14 days to the deployments one sees; nothing is saved."""
        actor = actor_of(request)
        rule = rule_read(request, AlertRuleBody, rule=None)
        seen = None if actor.admin else set(deployments_for(actor).values_list("pk", flat=True))
        return Response(PreviewShape(rule_preview(rule, now=timezone.now(), days=PREVIEW_DAYS, deployments=seen)).data)


class YamlShape(serializers.Serializer[Any]):
    yaml = serializers.CharField()


class YamlBody(Strict):
    yaml = serializers.CharField(max_length=200_000, trim_whitespace=False)
    team = serializers.IntegerField(
        required=False, allow_null=True, default=None, help_text="Whose rules they become; null: for all teams."
    )
    write = serializers.BooleanField(default=False, help_text="false: only say what would change.")


class ImportProblemShape(serializers.Serializer[Any]):
    rule = serializers.CharField(help_text="Its name, or its place in the text.")
    sentences = serializers.ListField(child=serializers.CharField())


class ImportedShape(serializers.Serializer[Any]):
    made = serializers.ListField(child=serializers.CharField(), help_text="Names of rules.")
    changed = serializers.ListField(child=serializers.CharField())
    unchanged = serializers.ListField(child=serializers.CharField())
    problems = ImportProblemShape(many=True)


class AlertRuleYaml(Door):
    access = "member"

    @extend_schema(responses=YamlShape)
    def get(self, request: Request) -> Response:
        """The rules one sees as one YAML document, ready to be taken over elsewhere."""
        return Response({"yaml": rules_export(alert_rules_for(actor_of(request)).order_by("name"))})

    @extend_schema(request=YamlBody, responses=ImportedShape)
    def post(self, request: Request) -> Response:
        """Take rules over by their names: the same twice changes nothing, and a bad rule loses nothing of the others."""
        actor = actor_of(request)
        body = body_read(YamlBody, request)
        team = team_acted(actor, body["team"])
        found = rules_import(body["yaml"], team=team, by=actor.name, now=timezone.now(), write=body["write"])
        if "" in found.problems:  # no YAML, or no rules in it
            raise serializers.ValidationError({"yaml": list(found.problems[""])})
        problems = [{"rule": rule, "sentences": list(sentences)} for rule, sentences in found.problems.items()]
        told = {name: list(getattr(found, name)) for name in ("made", "changed", "unchanged")}
        return Response(told | {"problems": problems})

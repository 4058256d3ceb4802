"""What a plan looks like outside: its figures as columns, its result in full as `plan_records` has it."""

from dataclasses import fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from rest_framework import serializers

from capacity.analysis.plan_records import PlanResult, record_json, record_read
from capacity.models import PlanRun

PLAIN: dict[Any, type[serializers.Field[Any, Any, Any, Any]]] = {
    float: serializers.FloatField,
    int: serializers.IntegerField,
    str: serializers.CharField,
    bool: serializers.BooleanField,
}


@cache
def record_shape(kind: Any) -> type[serializers.Serializer[Any]]:
    """A serializer of a record, for the document: the records are the one place where a plan is described."""
    hints = get_type_hints(kind)
    made: dict[str, Any] = {each.name: field_of(hints[each.name]) for each in fields(kind)}
    # A record of the engine's words may be called as a shape of another door is: "Plan" before it tells them apart.
    return type(f"Plan{kind.__name__.removeprefix('Plan')}", (serializers.Serializer,), made)


def field_of(hint: Any, **options: Any) -> Any:
    if get_origin(hint) in (Union, UnionType):
        return field_of(next(part for part in get_args(hint) if part is not type(None)), allow_null=True)
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        nested = isinstance(inner, type) and is_dataclass(inner)
        return record_shape(inner)(many=True) if nested else serializers.ListField(child=field_of(inner), **options)
    if isinstance(hint, type) and is_dataclass(hint):
        return record_shape(hint)(**options)
    if hint in PLAIN:
        return PLAIN[hint](**options)
    return serializers.DictField(child=serializers.CharField())


PlanResultShape = record_shape(PlanResult)


class PlanRunShape(serializers.ModelSerializer[PlanRun]):
    cost_per_month = serializers.DecimalField(max_digits=16, decimal_places=2, allow_null=True, help_text="Of the plan, in `currency`.")
    verdict = serializers.CharField(allow_null=True, help_text="holds, breaks or unknown; null: there is no plan.")
    headline = serializers.CharField(allow_null=True, help_text="The plan in a sentence.")
    refusal = serializers.CharField(help_text="Why there is no plan; empty: there is one.")
    runs_out_on = serializers.DateField(allow_null=True, help_text="The median demand outgrows what runs; null: not within the horizon.")
    runs_out_early_on = serializers.DateField(allow_null=True, help_text="The 90 % quantile of demand does.")
    order_by = serializers.DateField(allow_null=True, help_text="The latest day to order, from the early date.")
    lost_minutes_risk = serializers.FloatField(allow_null=True, help_text="SLO minutes a month, doing nothing.")

    class Meta:
        model = PlanRun
        fields = (
            *(
                "id",
                "deployment",
                "scenario",
                "made_at",
                "as_of",
                "verdict",
                "headline",
                "refusal",
                "runs_out_on",
                "runs_out_early_on",
                "order_by",
            ),
            *("replicas_now", "replicas_needed", "cost_per_month", "currency", "lost_minutes_risk", "seconds", "code_version"),
        )


class PlanDetailShape(PlanRunShape):
    result = PlanResultShape(allow_null=True, help_text="Times in Unix seconds, rates in requests a second; null with a refusal.")

    class Meta(PlanRunShape.Meta):
        fields = (*PlanRunShape.Meta.fields, "result")  # type: ignore[assignment]


def plan_told(run: PlanRun) -> dict[str, Any]:
    """With the result as its records read it today, so that fields added since have their default."""
    result = record_json(record_read(PlanResult, run.result)) if run.result else None
    return dict(PlanRunShape(run).data) | {"result": result}

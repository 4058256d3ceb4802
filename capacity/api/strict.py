"""Strict input: an unknown field or parameter is an error, because it is a typing mistake or a wrong hope."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import django_filters
from django.db.models import Model, QuerySet
from django.forms import IntegerField
from django.utils import timezone
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.views import APIView

from capacity.analysis.ranges import EXAMPLES, RangeError, range_parse
from monitoring.api.problems import QueryError

PAGING = ("limit", "offset")
Row = TypeVar("Row", bound=Model)


class Strict(serializers.Serializer[Any]):
    """A body or a query in which only known names may stand."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            known = [name for name, field in self.fields.items() if not field.read_only]
            unknown = {name: [f"unknown field; known are {', '.join(known)}"] for name in data if name not in known}
            if unknown:
                raise ValidationError(unknown)
        return super().to_internal_value(data)


class StrictModel(Strict, serializers.ModelSerializer[Any]):
    pass


class RangeQuery(Strict):
    """`from` and `to` as on the pages; Grafana's grammar, in UTC."""

    to = serializers.CharField(default="now", max_length=60, help_text=f"End of the range: {EXAMPLES}.")

    def get_fields(self) -> dict[str, Any]:
        start = serializers.CharField(default="now-6h", max_length=60, help_text=f"Start of the range: {EXAMPLES}.")
        return {"from": start, **super().get_fields()}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        try:
            attrs["start"], attrs["end"] = range_parse(attrs["from"], attrs["to"], now=timezone.now(), zone=ZoneInfo("UTC"))
        except RangeError as error:
            raise ValidationError({error.name: [str(error)]}) from None
        return attrs


class WordsField(serializers.CharField):
    """Words with commas between: `columns=requests_per_second,error_ratio`."""

    def __init__(self, *, known: Iterable[str] = (), most: int, **kwargs: Any) -> None:
        self.known, self.most = frozenset(known), most
        super().__init__(**kwargs)

    def get_default(self) -> Any:
        return self.to_internal_value(super().get_default())

    def to_internal_value(self, data: Any) -> Any:
        words = list(dict.fromkeys(word.strip() for word in str(super().to_internal_value(data)).split(",") if word.strip()))
        if len(words) > self.most:
            raise ValidationError(f"at most {self.most}, got {len(words)}")
        if self.known and (wrong := [word for word in words if word not in self.known]):
            raise ValidationError(f"unknown: {', '.join(wrong)[:200]}; known are {', '.join(sorted(self.known))}")
        return words


def query_read(kind: type[Strict], request: Request) -> dict[str, Any]:
    """The query string, checked; each parameter at most once."""
    twice = {name: ["stands more than once"] for name, values in request.query_params.lists() if len(values) > 1}
    if twice:
        raise QueryError(twice)
    reader = kind(data=request.query_params.dict(), context={"request": request})
    if not reader.is_valid():
        raise QueryError(reader.errors)
    values: dict[str, Any] = reader.validated_data
    return values


def body_read(kind: type[Strict], request: Request, **kwargs: Any) -> dict[str, Any]:
    reader = kind(data=request.data, context={"request": request}, **kwargs)
    reader.is_valid(raise_exception=True)
    values: dict[str, Any] = reader.validated_data
    return values


class Door(APIView):
    """A view whose query string is read strictly before anything else; `asked` holds it."""

    query: type[Strict] = Strict
    asked: dict[str, Any]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self.asked = query_read(self.query if request.method in SAFE_METHODS else Strict, request)


class IdFilter(django_filters.NumberFilter):  # type: ignore[misc]  # django-filter has no types
    field_class = IntegerField

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=1, max_value=2**63 - 1, **kwargs)


class Nothing(Strict):
    """A call without a body, or with an empty object."""


class Filters(DjangoFilterBackend):  # type: ignore[misc]
    """django-filter, but a parameter nobody knows is an error."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Row], view: APIView) -> QuerySet[Row]:
        filterset = self.get_filterset(request, queryset, view)
        known = [*(filterset.filters if filterset else ()), *PAGING]
        unknown = {name: [f"unknown parameter; known are {', '.join(known)}"] for name in request.query_params if name not in known}
        if unknown:
            raise QueryError(unknown)
        if filterset is None:
            return queryset
        if not filterset.is_valid():
            raise QueryError(filterset.errors)
        found: QuerySet[Row] = filterset.qs
        return found


def unix_utc(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, tz=UTC)

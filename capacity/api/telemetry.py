"""Numbers over time, read through the one door of `monitoring.series`."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from capacity.api.shapes import LATENCY_WORDS, LatencyField
from capacity.api.strict import Door, RangeQuery, WordsField, unix_utc
from monitoring.access import accelerator_get, actor_of, deployment_get, node_get
from monitoring.api.problems import QueryError
from monitoring.catalog.columns import COLUMNS, LATENCY_LABELS, RATIOS
from monitoring.catalog.records import Entity, Latency
from monitoring.models import Deployment
from monitoring.series import Lines, latency_kinds, latency_load, lines_load

MOST_POINTS, MOST_COLUMNS, MOST_QUANTILES, MOST_VERSIONS = 2000, 20, 10, 50
DEFAULTS = {
    Entity.DEPLOYMENT: "requests_per_second,error_ratio",
    Entity.ACCELERATOR: "gpu_utilization_ratio,gpu_memory_used_bytes",
    Entity.NODE: "cpu_utilization_ratio,memory_used_bytes",
}


def names_of(entity: Entity) -> list[str]:
    columns = [column.name for column in COLUMNS[entity]]
    return columns + ([ratio.name for ratio in RATIOS] if entity is Entity.DEPLOYMENT else [])


class PointsQuery(RangeQuery):
    points = serializers.IntegerField(default=500, min_value=1, max_value=MOST_POINTS, help_text="At most so many steps.")
    versions = WordsField(most=MOST_VERSIONS, required=False, help_text="Names of versions with commas between; all when left out.")


class DeploymentSeriesQuery(PointsQuery):
    columns = WordsField(known=names_of(Entity.DEPLOYMENT), most=MOST_COLUMNS, default=DEFAULTS[Entity.DEPLOYMENT])


class AcceleratorSeriesQuery(RangeQuery):
    points = serializers.IntegerField(default=500, min_value=1, max_value=MOST_POINTS)
    columns = WordsField(known=names_of(Entity.ACCELERATOR), most=MOST_COLUMNS, default=DEFAULTS[Entity.ACCELERATOR])


class NodeSeriesQuery(RangeQuery):
    points = serializers.IntegerField(default=500, min_value=1, max_value=MOST_POINTS)
    columns = WordsField(known=names_of(Entity.NODE), most=MOST_COLUMNS, default=DEFAULTS[Entity.NODE])


class LatencyQuery(PointsQuery):
    kind = LatencyField(required=False, help_text="When left out, the first kind the deployment has.")
    quantiles = WordsField(most=MOST_QUANTILES, default="0.5,0.95,0.99", help_text="Numbers between 0 and 1 with commas between.")

    def validate_quantiles(self, words: Any) -> list[float]:
        try:
            numbers = [float(word) for word in words]
        except ValueError:
            raise serializers.ValidationError("write numbers like 0.5,0.95,0.99") from None
        if not numbers or not all(0 < number < 1 for number in numbers):
            raise serializers.ValidationError("each must lie between 0 and 1, e.g. 0.95")
        return numbers


class LineShape(serializers.Serializer[Any]):
    unit = serializers.CharField()
    times = serializers.ListField(child=serializers.FloatField(), help_text="Unix seconds, the END of each step.")
    mean = serializers.ListField(child=serializers.FloatField(allow_null=True), help_text="null: not measured.")
    low = serializers.ListField(child=serializers.FloatField(allow_null=True))
    high = serializers.ListField(child=serializers.FloatField(allow_null=True))


class Header(serializers.Serializer[Any]):
    start = serializers.DateTimeField()
    end = serializers.DateTimeField()
    step_seconds = serializers.FloatField()
    table = serializers.ChoiceField(choices=["sample", "5m", "15m", "1h", "1d"], help_text="The level it was read from.")
    as_of = serializers.DateTimeField(allow_null=True, help_text="Time of the newest sample; null: none in the range.")


class SeriesShape(Header):
    columns = serializers.DictField(child=LineShape(), help_text="One line per asked column.")


class LatencyShape(Header):
    kind = LatencyField(allow_null=True, help_text="null: this deployment has no latency histogram.")
    label = serializers.CharField()  # type: ignore[assignment]  # shadows the field option
    unit = serializers.CharField()
    times = serializers.ListField(child=serializers.FloatField(), help_text="Unix seconds, the END of each step.")
    count = serializers.ListField(child=serializers.FloatField(allow_null=True), help_text="Requests in each step.")
    mean = serializers.ListField(child=serializers.FloatField(allow_null=True))
    quantiles = serializers.DictField(
        child=serializers.ListField(child=serializers.FloatField(allow_null=True)),
        help_text="Of the merged histograms, never an average of percentiles.",
    )
    limited = serializers.DictField(
        child=serializers.ListField(child=serializers.BooleanField()), help_text="true: the bucket layout decides, not the data."
    )


class DeploymentSeries(Door):
    access = "member"
    query = DeploymentSeriesQuery

    @extend_schema(parameters=[DeploymentSeriesQuery], responses=SeriesShape)
    def get(self, request: Request, pk: int) -> Response:
        """Rates, queue, cache and the like of one deployment, with mean, least and greatest in each step."""
        deployment = deployment_get(actor_of(request), pk)
        query = self.asked
        lines = lines_load(
            Entity.DEPLOYMENT,
            deployment.pk,
            query["columns"],
            start=query["start"],
            end=query["end"],
            points=query["points"],
            versions=versions_of(deployment, query),
        )
        return Response(series_shape(lines, query))


class AcceleratorSeries(Door):
    access = "member"
    query = AcceleratorSeriesQuery

    @extend_schema(parameters=[AcceleratorSeriesQuery], responses=SeriesShape)
    def get(self, request: Request, pk: int) -> Response:
        """Activity, memory, power and temperature of one accelerator."""
        row = accelerator_get(actor_of(request), pk)
        query = self.asked
        return Response(place_series(Entity.ACCELERATOR, row.pk, query))


class NodeSeries(Door):
    access = "member"
    query = NodeSeriesQuery

    @extend_schema(parameters=[NodeSeriesQuery], responses=SeriesShape)
    def get(self, request: Request, pk: int) -> Response:
        """Processor, memory, disk and network of one node."""
        row = node_get(actor_of(request), pk)
        query = self.asked
        return Response(place_series(Entity.NODE, row.pk, query))


class DeploymentLatency(Door):
    access = "member"
    query = LatencyQuery

    @extend_schema(parameters=[LatencyQuery], responses=LatencyShape)
    def get(self, request: Request, pk: int) -> Response:
        """Percentiles over time, from merged histograms of all replicas and of the versions asked for."""
        deployment = deployment_get(actor_of(request), pk)
        query = self.asked
        kind = Latency(query["kind"]) if "kind" in query else next(iter(latency_kinds(deployment.pk)), None)
        lines = latency_load(
            deployment.pk,
            kind or Latency.REQUEST_DURATION,
            start=query["start"],
            end=query["end"],
            points=query["points"],
            versions=versions_of(deployment, query),
        )
        quantiles = {f"{q:g}": lines.quantile(q) for q in query["quantiles"]}
        limited = {f"{q:g}": lines.limited(q) for q in query["quantiles"]}
        return Response(
            header(lines, query)
            | {"kind": kind.name.lower() if kind else None, "label": LATENCY_LABELS[kind] if kind else "No latency histogram"}
            | {
                "unit": "seconds",
                "times": lines.times,
                "count": lines.count,
                "mean": lines.mean,
                "quantiles": quantiles,
                "limited": limited,
            }
        )


def place_series(entity: Entity, pk: int, query: dict[str, Any]) -> dict[str, Any]:
    lines = lines_load(entity, pk, query["columns"], start=query["start"], end=query["end"], points=query["points"])
    return series_shape(lines, query)


def series_shape(lines: Lines, query: dict[str, Any]) -> dict[str, Any]:
    columns = {
        name: {"unit": line.unit, "times": line.times, "mean": line.mean, "low": line.low, "high": line.high}
        for name, line in lines.columns.items()
    }
    return header(lines, query) | {"columns": columns}


def header(lines: Any, query: dict[str, Any]) -> dict[str, Any]:
    return {
        "start": query["start"],
        "end": query["end"],
        "step_seconds": lines.step,
        "table": lines.table,
        "as_of": unix_utc(lines.as_of),
    }


def versions_of(deployment: Deployment, query: dict[str, Any]) -> list[int] | None:
    """Ids of the versions named; "unknown" is what carried no version."""
    names = query.get("versions")
    if not names:
        return None
    known = {"unknown": 0} | dict(deployment.versions.values_list("name", "pk"))
    wrong = [name for name in names if name not in known]
    if wrong:
        raise QueryError({"versions": [f"{deployment.name} has no version {', '.join(wrong)[:200]}"]})
    return [known[name] for name in names]


class ColumnShape(serializers.Serializer[Any]):
    name = serializers.CharField()
    unit = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # shadows the field option
    meaning = serializers.CharField()


class CatalogueShape(serializers.Serializer[Any]):
    columns = serializers.DictField(child=ColumnShape(many=True), help_text="By entity: deployment, replica, accelerator, node.")
    latencies = serializers.DictField(child=serializers.CharField(), help_text="Kind to the words of the screen.")


class Catalogue(Door):
    access = "member"

    @extend_schema(responses=CatalogueShape)
    def get(self, request: Request) -> Response:
        """What can be asked for: every column with its unit and meaning, and the latency kinds."""
        columns = {entity.value: [column_shape(column) for column in COLUMNS[entity]] for entity in COLUMNS}
        columns["deployment"] += [column_shape(ratio) for ratio in RATIOS]
        return Response({"columns": columns, "latencies": {word: LATENCY_LABELS[kind] for word, kind in LATENCY_WORDS.items()}})


def column_shape(column: Any) -> dict[str, str]:
    return {"name": column.name, "unit": column.unit, "label": column.label, "meaning": column.meaning}

"""Agents and the processes they see on accelerators."""

from datetime import timedelta
from typing import Any

import django_filters
from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from capacity.api.strict import Door, IdFilter
from monitoring.access import accelerator_get, accelerators_for, actor_of, agents_for, processes_for, row_get, sees_install
from monitoring.models import AcceleratorProcess, Agent, AgentGap, AgentState

DROPPED = timedelta(days=7)
GAPS_MOST = 100


class GapShape(serializers.ModelSerializer[AgentGap]):
    class Meta:
        model = AgentGap
        fields = ("count", "start_at", "end_at", "reported_at")


class AgentShape(serializers.ModelSerializer[Agent]):
    node = serializers.IntegerField(source="node_id", help_text="Id of the node it runs on.")
    node_name = serializers.CharField(source="node.name")
    cluster = serializers.CharField(source="node.cluster.name")
    state = serializers.SerializerMethodField(help_text="late: nothing new for 3 minutes; silent: not heard of for 15.")
    skew_seconds = serializers.FloatField(allow_null=True, help_text="Its clock minus the server's; null: not known yet.")
    waiting_count = serializers.IntegerField(help_text="Readings in its spool.")
    waiting_since = serializers.DateTimeField(allow_null=True, help_text="Time of the oldest of them.")
    dropped_count = serializers.SerializerMethodField(help_text="Readings it had to drop in gaps of the last 7 days.")
    rejected_count = serializers.IntegerField(help_text="Samples refused since it is known.")
    duplicate_count = serializers.IntegerField(help_text="Samples sent again and kept once.")

    class Meta:
        model = Agent
        fields = (
            "id",
            "node",
            "node_name",
            "cluster",
            "state",
            "version",
            "started_at",
            "interval_seconds",
            "first_seen_at",
            "last_seen_at",
            "newest_sample_at",
            "skew_seconds",
            "waiting_count",
            "waiting_bytes",
            "waiting_since",
            "dropped_count",
            "trouble",
            "duplicate_count",
            "rejected_count",
        )

    @extend_schema_field(serializers.ChoiceField(choices=AgentState.choices))
    def get_state(self, row: Agent) -> str:
        return row.state(now=timezone.now())

    def get_dropped_count(self, row: Agent) -> int:
        return getattr(row, "lost", None) or 0


class AgentDetail(AgentShape):
    rejected_text = serializers.SerializerMethodField(help_text="The newest reason; told to those who see the whole install.")
    host = serializers.SerializerMethodField(help_text="Kernel, driver, processors and the like; facts of a GPU are named by its UUID.")
    capabilities = serializers.SerializerMethodField(help_text="UUID of an accelerator to calls that give nothing there, with the reason.")
    gaps = serializers.SerializerMethodField(help_text="What it had to drop, the newest first; at most 100.")

    class Meta(AgentShape.Meta):
        fields = (*AgentShape.Meta.fields, "rejected_text", "host", "capabilities", "gaps")  # type: ignore[assignment]

    def get_rejected_text(self, row: Agent) -> str:
        return row.rejected_text if sees_install(self.context["actor"]) else ""

    @extend_schema_field({"type": "object", "additionalProperties": {}})
    def get_host(self, row: Agent) -> Any:
        return self.own_part(row, row.host)

    @extend_schema_field(
        {"type": "object", "additionalProperties": {"type": "object", "additionalProperties": {"type": "string"}}},
    )
    def get_capabilities(self, row: Agent) -> Any:
        return self.own_part(row, row.capabilities)

    def own_part(self, row: Agent, facts: dict[str, Any]) -> dict[str, Any]:
        """What is said of foreign accelerators of a shared node is left out."""
        actor = self.context["actor"]
        if sees_install(actor):
            return facts
        own = set(accelerators_for(actor).filter(node=row.node_id).values_list("uuid", flat=True))
        return {name: fact for name, fact in facts.items() if name.split(" ")[0] in own or not name.startswith(("GPU-", "MIG-"))}

    @extend_schema_field(GapShape(many=True))
    def get_gaps(self, row: Agent) -> Any:
        return GapShape(row.gaps.order_by("-start_at")[:GAPS_MOST], many=True).data


class AgentFilter(django_filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    cluster = django_filters.CharFilter(field_name="node__cluster__name", label="Name of the cluster.")
    node = IdFilter(field_name="node_id", label="Id of the node.")
    state = django_filters.ChoiceFilter(choices=AgentState.choices, method="by_state", label="live, late or silent.")

    class Meta:
        model = Agent
        fields = ("version",)

    def by_state(self, rows: Any, name: str, state: str) -> Any:
        return rows.in_state(state, now=timezone.now())


class AgentList(generics.ListAPIView[Agent]):
    """Agents of the nodes one sees, by cluster and node."""

    access = "member"
    serializer_class = AgentShape
    filterset_class = AgentFilter

    def get_queryset(self) -> QuerySet[Agent]:
        rows = agents_for(actor_of(self.request)).defer("host", "capabilities")
        return rows.with_drops(since=timezone.now() - DROPPED).order_by("node__cluster__name", "node__name", "pk")


class AgentOne(Door):
    access = "member"

    @extend_schema(responses=AgentDetail)
    def get(self, request: Request, pk: int) -> Response:
        actor = actor_of(request)
        row = row_get(agents_for(actor).with_drops(since=timezone.now() - DROPPED), pk)
        return Response(AgentDetail(row, context={"actor": actor}).data)


class ProcessShape(serializers.ModelSerializer[AcceleratorProcess]):
    sm_ratio = serializers.FloatField(allow_null=True, help_text="Share of the SMs, over 0 to 1; null: not known. Always an estimate.")
    share_method = serializers.CharField(help_text="process_utilization: sampled by the driver; memory: only its memory is known.")
    job = serializers.CharField(help_text="Of Slurm.")
    unit = serializers.CharField(help_text="Of systemd.")

    class Meta:
        model = AcceleratorProcess
        fields = (
            "id",
            "pid",
            "started_at",
            "name",
            "kinds",
            "memory_bytes",
            "sm_ratio",
            "share_method",
            "container_id",
            "pod_uid",
            "unit",
            "job",
            "model_name",
            "first_seen_at",
            "last_seen_at",
        )


class ProcessFilter(django_filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    since = django_filters.IsoDateTimeFilter(field_name="last_seen_at", lookup_expr="gte", label="Seen at or after this time.")

    class Meta:
        model = AcceleratorProcess
        fields = ("pid", "pod_uid", "unit")


class ProcessList(generics.ListAPIView[AcceleratorProcess]):
    """Processes seen on an accelerator, the newest first. A team sees them where the whole accelerator is its own."""

    access = "member"
    serializer_class = ProcessShape
    filterset_class = ProcessFilter
    queryset = AcceleratorProcess.objects.none()

    def get_queryset(self) -> QuerySet[AcceleratorProcess]:
        actor = actor_of(self.request)
        accelerator = accelerator_get(actor, self.kwargs["pk"])
        return processes_for(actor).filter(accelerator=accelerator).order_by("-last_seen_at", "pk")

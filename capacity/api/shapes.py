"""What the inventory looks like in JSON: names with units, ratios from 0 to 1, latency kinds by their catalogue word."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from capacity.models import DeploymentStatus
from monitoring.access import Share
from monitoring.catalog.records import Latency
from monitoring.models import Accelerator, Deployment, Event, Node, Placement, Replica, Slo, Team, Version

LATENCY_WORDS = {kind.name.lower(): kind for kind in Latency}


class LatencyField(serializers.ChoiceField):
    """`time_to_first_token` in JSON, its number in the table."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=list(LATENCY_WORDS), **kwargs)

    def to_internal_value(self, data: Any) -> Any:
        return int(LATENCY_WORDS[super().to_internal_value(data)])

    def to_representation(self, value: Any) -> Any:
        return None if value is None else Latency(value).name.lower()


class TeamName(serializers.ModelSerializer[Team]):
    class Meta:
        model = Team
        fields = ("id", "name")


class StatusShape(serializers.ModelSerializer[DeploymentStatus]):
    latency = LatencyField(allow_null=True, help_text="The kind shown beside the SLO.")

    class Meta:
        model = DeploymentStatus
        exclude = ("id", "deployment")


class SloShape(serializers.ModelSerializer[Slo]):
    latency = LatencyField(allow_null=True)

    class Meta:
        model = Slo
        exclude = ("id", "deployment")


class DeploymentShape(serializers.ModelSerializer[Deployment]):
    cluster = serializers.CharField(source="cluster.name", help_text="Name of the cluster.")
    team = TeamName(allow_null=True, help_text="null: unassigned, seen by admins only.")
    labels = serializers.DictField(help_text="Labels as the sources give them.")
    providers = serializers.DictField(help_text="Column to the system that fills it.")
    status = serializers.SerializerMethodField(help_text="null: not looked at yet.")
    slo = serializers.SerializerMethodField(help_text="null: none is set.")

    class Meta:
        model = Deployment
        fields = (
            "id",
            "name",
            "cluster",
            "namespace",
            "workload",
            "model_name",
            "environment",
            "workload_kind",
            "team",
            "state",
            "merged_into",
            "system",
            "system_version",
            "labels",
            "providers",
            "step_seconds",
            "first_seen_at",
            "last_seen_at",
            "status",
            "slo",
        )

    @extend_schema_field(StatusShape(allow_null=True))
    def get_status(self, row: Deployment) -> Any:
        return StatusShape(row.status).data if hasattr(row, "status") else None

    @extend_schema_field(SloShape(allow_null=True))
    def get_slo(self, row: Deployment) -> Any:
        return SloShape(row.slo).data if hasattr(row, "slo") else None


class VersionShape(serializers.ModelSerializer[Version]):
    class Meta:
        model = Version
        fields = ("id", "name", "first_seen_at", "last_seen_at")


class ReplicaShape(serializers.ModelSerializer[Replica]):
    version = serializers.CharField(source="version.name", default=None, allow_null=True)
    node = serializers.CharField(source="node.name", default=None, allow_null=True)

    class Meta:
        model = Replica
        fields = ("id", "name", "version", "node", "first_seen_at", "last_seen_at")


class PlacementShape(serializers.ModelSerializer[Placement]):
    replica = serializers.CharField(source="replica.name")
    share = serializers.FloatField(help_text="Share of the accelerator or node, over 0 to 1.")

    class Meta:
        model = Placement
        fields = ("id", "replica", "accelerator", "node", "share", "method", "valid_from", "valid_to")


class EventShape(serializers.ModelSerializer[Event]):
    version = serializers.CharField(source="version.name", default=None, allow_null=True)
    detail = serializers.DictField()

    class Meta:
        model = Event
        fields = ("id", "deployment", "version", "kind", "at", "end_at", "title", "detail")


class ShareShape(serializers.Serializer[Share]):
    deployment = serializers.IntegerField(
        source="deployment.pk", default=None, allow_null=True, help_text="null on the line of all others."
    )
    name = serializers.CharField(help_text='Of the deployment, or "others".')
    ratio = serializers.FloatField()
    estimated = serializers.BooleanField(help_text="By an equal split.")


class AcceleratorShape(serializers.ModelSerializer[Accelerator]):
    cluster = serializers.CharField(source="cluster.name")
    node = serializers.IntegerField(source="node_id", allow_null=True)
    node_name = serializers.CharField(source="node.name", default=None, allow_null=True)
    parent = serializers.PrimaryKeyRelatedField[Accelerator](read_only=True, allow_null=True, help_text="The GPU of a MIG instance.")  # type: ignore[assignment]
    providers = serializers.DictField()

    class Meta:
        model = Accelerator
        fields = (
            "id",
            "uuid",
            "cluster",
            "node",
            "node_name",
            "parent",
            "model_name",
            "mig_profile",
            "position",
            "memory_bytes",
            "providers",
            "first_seen_at",
            "last_seen_at",
        )


class NodeShape(serializers.ModelSerializer[Node]):
    cluster = serializers.CharField(source="cluster.name")
    labels = serializers.DictField()
    providers = serializers.DictField()

    class Meta:
        model = Node
        fields = ("id", "name", "cluster", "instance_type", "labels", "providers", "first_seen_at", "last_seen_at")


class AcceleratorDetail(AcceleratorShape):
    shares = serializers.SerializerMethodField(help_text="Now: own deployments by name, all foreign ones as one line.")

    class Meta(AcceleratorShape.Meta):
        fields = (*AcceleratorShape.Meta.fields, "shares")  # type: ignore[assignment]

    @extend_schema_field(ShareShape(many=True))
    def get_shares(self, row: Accelerator) -> Any:
        return ShareShape(self.context["shares"], many=True).data


class NodeDetail(NodeShape):
    shares = serializers.SerializerMethodField(help_text="Now: own deployments by name, all foreign ones as one line.")

    class Meta(NodeShape.Meta):
        fields = (*NodeShape.Meta.fields, "shares")  # type: ignore[assignment]

    @extend_schema_field(ShareShape(many=True))
    def get_shares(self, row: Node) -> Any:
        return ShareShape(self.context["shares"], many=True).data

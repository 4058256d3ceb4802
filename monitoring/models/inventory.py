"""What is watched: clusters, nodes, accelerators, deployments, their versions, replicas and placements."""

from django.db import models
from django.utils import timezone

from monitoring.models.people import Team


class Cluster(models.Model):
    name = models.CharField(max_length=120, unique=True)
    demo = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Node(models.Model):
    cluster = models.ForeignKey(Cluster, models.CASCADE, related_name="nodes")
    name = models.CharField(max_length=253)
    instance_type = models.CharField(max_length=80, blank=True)
    labels = models.JSONField(default=dict)
    providers = models.JSONField(default=dict)  # column -> slug of the system that fills it
    first_seen_at = models.DateTimeField(default=timezone.now)
    last_seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("cluster", "name"), name="node_once"),)
        ordering = ("cluster__name", "name")

    def __str__(self) -> str:
        return self.name


class Accelerator(models.Model):
    """A GPU, or a MIG instance whose `parent` is its GPU."""

    cluster = models.ForeignKey(Cluster, models.CASCADE, related_name="accelerators")
    node = models.ForeignKey(Node, models.SET_NULL, null=True, related_name="accelerators")
    parent = models.ForeignKey("self", models.CASCADE, null=True, blank=True, related_name="instances")
    uuid = models.CharField(max_length=120)
    model_name = models.CharField(max_length=120, blank=True)
    mig_profile = models.CharField(max_length=40, blank=True)
    position = models.IntegerField(null=True, blank=True)  # the driver's index on its node
    memory_bytes = models.BigIntegerField(null=True, blank=True)
    providers = models.JSONField(default=dict)
    first_seen_at = models.DateTimeField(default=timezone.now)
    last_seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("cluster", "uuid"), name="accelerator_once"),)
        ordering = ("node__name", "position", "uuid")

    def __str__(self) -> str:
        return self.uuid


class WorkloadKind(models.TextChoices):
    SERVING = "serving", "Serving"
    TRAINING = "training", "Training"
    OTHER = "other", "Other"


class DeploymentState(models.TextChoices):
    ACTIVE = "active", "Active"
    ARCHIVED = "archived", "Archived"
    IGNORED = "ignored", "Ignored"
    MERGED = "merged", "Merged"


class Deployment(models.Model):
    """One served model in one place: (cluster, namespace, workload, model name)."""

    cluster = models.ForeignKey(Cluster, models.CASCADE, related_name="deployments")
    namespace = models.CharField(max_length=253, blank=True)
    workload = models.CharField(max_length=253)
    model_name = models.CharField(max_length=253, blank=True)
    name = models.CharField(max_length=253, help_text="What screens call it; the model or the workload unless renamed by hand.")
    renamed = models.BooleanField(default=False)
    environment = models.CharField(max_length=40, blank=True)
    workload_kind = models.CharField(max_length=10, choices=WorkloadKind.choices, default=WorkloadKind.SERVING)
    team = models.ForeignKey(Team, models.SET_NULL, null=True, blank=True, related_name="deployments")
    team_by_hand = models.BooleanField(default=False)
    state = models.CharField(max_length=10, choices=DeploymentState.choices, default=DeploymentState.ACTIVE)
    merged_into = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, related_name="merged")
    system = models.CharField(max_length=40, blank=True)  # slug of the serving system
    system_version = models.CharField(max_length=60, blank=True)
    labels = models.JSONField(default=dict)
    providers = models.JSONField(default=dict)
    step_seconds = models.PositiveIntegerField(default=60)  # of the raw rows
    first_seen_at = models.DateTimeField(default=timezone.now)
    last_seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("cluster", "namespace", "workload", "model_name"), name="deployment_once"),)
        indexes = (models.Index(fields=("team", "state"), name="deployment_team_state"),)
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Version(models.Model):
    """A release of a deployment. In the store version 0 means unknown."""

    deployment = models.ForeignKey(Deployment, models.CASCADE, related_name="versions")
    name = models.CharField(max_length=200)
    first_seen_at = models.DateTimeField(default=timezone.now)
    last_seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("deployment", "name"), name="version_once"),)
        ordering = ("first_seen_at",)

    def __str__(self) -> str:
        return self.name


class Replica(models.Model):
    """One pod or process of a deployment."""

    deployment = models.ForeignKey(Deployment, models.CASCADE, related_name="replicas")
    version = models.ForeignKey(Version, models.SET_NULL, null=True, related_name="replicas")
    node = models.ForeignKey(Node, models.SET_NULL, null=True, related_name="replicas")
    name = models.CharField(max_length=253)
    pod_uid = models.CharField(max_length=36, blank=True)  # of Kubernetes, by which an agent's processes are told apart
    first_seen_at = models.DateTimeField(default=timezone.now)
    last_seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("deployment", "name"), name="replica_once"),)
        indexes = (models.Index(fields=("pod_uid",), name="replica_pod", condition=~models.Q(pod_uid="")),)
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class PlacementMethod(models.TextChoices):
    POD_LABEL = "pod_label", "Pod label of the GPU exporter"
    REQUEST = "request", "Scheduler request"
    CGROUP = "cgroup", "Agent, by control group"
    SM_TIME = "sm_time", "Agent, by SM time (estimated)"
    NODE_ONLY = "node", "The only deployment on the node"
    HAND = "hand", "By hand"
    EQUAL_SPLIT = "equal_split", "Equal split (estimated)"


class Placement(models.Model):
    """Which share of an accelerator (or node) a replica had, from when to when."""

    replica = models.ForeignKey(Replica, models.CASCADE, related_name="placements")
    accelerator = models.ForeignKey(Accelerator, models.CASCADE, null=True, blank=True, related_name="placements")
    node = models.ForeignKey(Node, models.CASCADE, null=True, blank=True, related_name="placements")
    share = models.FloatField(default=1.0)
    method = models.CharField(max_length=12, choices=PlacementMethod.choices)
    valid_from = models.DateTimeField()
    valid_to = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = (
            models.CheckConstraint(condition=models.Q(share__gt=0, share__lte=1), name="placement_share"),
            models.CheckConstraint(
                condition=models.Q(accelerator__isnull=False) | models.Q(node__isnull=False), name="placement_somewhere"
            ),
            models.UniqueConstraint(
                fields=("replica", "accelerator"),
                condition=models.Q(valid_to__isnull=True, accelerator__isnull=False),
                name="placement_open_accelerator",
            ),
            models.UniqueConstraint(
                fields=("replica", "node"),
                condition=models.Q(valid_to__isnull=True, accelerator__isnull=True),
                name="placement_open_node",
            ),
        )


class EventKind(models.TextChoices):
    DEPLOY = "deploy", "New version"
    SCALE = "scale", "Replicas changed"
    RESTART = "restart", "Restart"
    INCIDENT = "incident", "Incident"
    LAUNCH = "launch", "Launch"
    NOTE = "note", "Note"


class Event(models.Model):
    """Something that happened, drawn on the time axis."""

    deployment = models.ForeignKey(Deployment, models.CASCADE, null=True, blank=True, related_name="events")
    version = models.ForeignKey(Version, models.SET_NULL, null=True, blank=True)
    kind = models.CharField(max_length=10, choices=EventKind.choices)
    at = models.DateTimeField()
    end_at = models.DateTimeField(null=True, blank=True)
    title = models.CharField(max_length=200)
    detail = models.JSONField(default=dict)
    dedup_key = models.CharField(max_length=120, unique=True)

    class Meta:
        indexes = (models.Index(fields=("deployment", "-at"), name="event_deployment_at"),)
        ordering = ("-at",)


class Slo(models.Model):
    """The promise of a deployment: a latency percentile under a threshold, in a share of minutes, and availability."""

    deployment = models.OneToOneField(Deployment, models.CASCADE, related_name="slo")
    latency = models.PositiveSmallIntegerField(null=True, blank=True)  # catalog Latency; null: no latency promise
    percentile = models.FloatField(default=0.95)
    threshold_seconds = models.FloatField(null=True, blank=True)
    objective_ratio = models.FloatField(default=0.995, help_text="Share of minutes in which the percentile holds.")
    availability_ratio = models.FloatField(null=True, blank=True, help_text="Share of requests without an error.")
    window_days = models.PositiveIntegerField(default=28)
    set_by = models.CharField(max_length=254, blank=True)
    updated_at = models.DateTimeField(default=timezone.now)

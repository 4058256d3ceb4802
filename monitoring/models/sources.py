"""Where telemetry comes from, and how far it has been read."""

from django.db import models
from django.utils import timezone

from monitoring.models.inventory import Accelerator, Cluster, Node, Replica, Version
from monitoring.models.people import User


class Auth(models.TextChoices):
    NONE = "none", "None"
    BASIC = "basic", "User and password"
    BEARER = "bearer", "Bearer token"
    HEADER = "header", "Header"


class SourceState(models.TextChoices):
    NEW = "new", "Not tested"
    OK = "ok", "Reachable"
    SLOW = "slow", "Slow"
    DOWN = "down", "Down"
    WRONG = "wrong", "Wrong answer"
    EMPTY = "empty", "Nothing recognised"
    PAUSED = "paused", "Paused"


class Source(models.Model):
    """A Prometheus-compatible endpoint, polled by cycle and watermark."""

    name = models.CharField(max_length=120, unique=True)
    url = models.URLField(max_length=500)
    cluster = models.ForeignKey(Cluster, models.PROTECT, related_name="sources")
    auth = models.CharField(max_length=10, choices=Auth.choices, default=Auth.NONE)
    username = models.CharField(max_length=200, blank=True)
    header_name = models.CharField(max_length=100, blank=True)
    secret = models.TextField(blank=True)  # encrypted, see monitoring.access.secrets
    tls_ca = models.TextField(blank=True)  # PEM
    selector = models.CharField(max_length=500, blank=True, help_text='Label matchers for every query, e.g. cluster="prod".')
    step_seconds = models.PositiveIntegerField(default=60)
    scrape_interval_seconds = models.FloatField(null=True, blank=True)  # measured, the slowest system's
    scrape_seconds = models.JSONField(default=dict, blank=True)  # measured, by slug of the system
    enabled = models.BooleanField(default=True)
    demo = models.BooleanField(default=False)

    state = models.CharField(max_length=10, choices=SourceState.choices, default=SourceState.NEW)
    state_since = models.DateTimeField(default=timezone.now)
    state_text = models.TextField(blank=True)  # a sentence for people
    finding = models.JSONField(default=dict)  # what the last Test or daily look found
    tested_at = models.DateTimeField(null=True, blank=True)

    watermark = models.DateTimeField(null=True, blank=True)  # polled and stored up to here
    polled_at = models.DateTimeField(null=True, blank=True)
    poll_seconds = models.FloatField(null=True, blank=True)
    next_poll_at = models.DateTimeField(default=timezone.now)
    lease_owner = models.CharField(max_length=80, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    failures = models.PositiveIntegerField(default=0)
    discovered_at = models.DateTimeField(null=True, blank=True)  # when placements and events were last brought up to date
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class AllowedAddress(models.Model):
    """A private address an admin lets Headroom call; metadata addresses can never stand here."""

    network = models.CharField(max_length=50)  # CIDR
    port = models.PositiveIntegerField(null=True, blank=True)  # null: any port of the client's list
    reason = models.CharField(max_length=200, blank=True)
    allowed_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("network", "port"), name="allowed_address_once", nulls_distinct=False),)


class SeenMetric(models.Model):
    """A metric name of the catalogue as last seen on a source: the base of the missing-metric diagnosis."""

    source = models.ForeignKey(Source, models.CASCADE, related_name="seen_metrics")
    system = models.CharField(max_length=40)
    name = models.CharField(max_length=200)
    first_seen_at = models.DateTimeField(default=timezone.now)
    last_seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("source", "name"), name="seen_metric_once"),)


class SeriesIdentity(models.Model):
    """Which replica, accelerator or node a label set of a source is; filled by discovery, read by every poll."""

    source = models.ForeignKey(Source, models.CASCADE, related_name="identities")
    system = models.CharField(max_length=40)
    labels_digest = models.CharField(max_length=64)
    labels = models.JSONField()
    replica = models.ForeignKey(Replica, models.CASCADE, null=True, blank=True)
    version = models.ForeignKey(Version, models.SET_NULL, null=True, blank=True)  # of the replica, as this label set tells it
    accelerator = models.ForeignKey(Accelerator, models.CASCADE, null=True, blank=True)
    node = models.ForeignKey(Node, models.CASCADE, null=True, blank=True)
    last_seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("source", "system", "labels_digest"), name="series_identity_once"),)


class RunState(models.TextChoices):
    WAITING = "waiting", "Waiting"
    RUNNING = "running", "Running"
    PAUSED = "paused", "Paused"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"


class ImportRun(models.Model):
    """Bringing in N days of history, newest first, in chunks of one day."""

    source = models.ForeignKey(Source, models.CASCADE, related_name="imports")
    days = models.PositiveIntegerField()
    state = models.CharField(max_length=10, choices=RunState.choices, default=RunState.WAITING)
    end_at = models.DateTimeField()  # history ends here; polling goes on from here
    samples = models.BigIntegerField(default=0)
    queries = models.BigIntegerField(default=0)
    slowdowns = models.PositiveIntegerField(default=0)
    slowdown_text = models.CharField(max_length=200, blank=True)
    error = models.TextField(blank=True)
    started_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)  # all is stored
    rolled_up_at = models.DateTimeField(null=True, blank=True)  # and stands in the rollups, which plans and long windows read

    class Meta:
        ordering = ("-created_at",)
        constraints = (
            models.UniqueConstraint(
                fields=("source",), condition=models.Q(state__in=("waiting", "running", "paused")), name="import_one_open"
            ),
        )


class ChunkState(models.TextChoices):
    WAITING = "waiting", "Waiting"
    RUNNING = "running", "Running"
    STORED = "stored", "Stored"
    PARTIAL = "partial", "Stored in part"
    EMPTY = "empty", "The source has no data"
    FAILED = "failed", "Failed"


class ImportChunk(models.Model):
    run = models.ForeignKey(ImportRun, models.CASCADE, related_name="chunks")
    start_at = models.DateTimeField()
    end_at = models.DateTimeField()
    state = models.CharField(max_length=10, choices=ChunkState.choices, default=ChunkState.WAITING)
    samples = models.BigIntegerField(default=0)
    attempts = models.PositiveIntegerField(default=0)
    run_after = models.DateTimeField(default=timezone.now)
    lease_owner = models.CharField(max_length=80, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("run", "start_at"), name="import_chunk_once"),)
        ordering = ("-start_at",)

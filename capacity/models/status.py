"""What analysis concluded about each deployment, stored so that every page reads the same numbers."""

from django.db import models
from django.utils import timezone

from monitoring.models import Deployment


class Verdict(models.TextChoices):
    BREAKS = "breaks", "Breaks SLO"
    WARNING = "warning", "Warning"
    OK = "ok", "OK"
    NO_SLO = "no_slo", "No SLO"
    NO_DATA = "no_data", "No data"


class DeploymentStatus(models.Model):
    """The state of a deployment as of an instant; remade each minute by `capacity.analysis.status`."""

    deployment = models.OneToOneField(Deployment, models.CASCADE, related_name="status")
    verdict = models.CharField(max_length=10, choices=Verdict.choices, default=Verdict.NO_DATA)
    since = models.DateTimeField(null=True, blank=True)
    as_of = models.DateTimeField(default=timezone.now)  # of the newest sample it rests on
    text = models.CharField(max_length=300, blank=True)  # "First token p95 1.84 s, SLO 0.80 s."
    latency = models.PositiveSmallIntegerField(null=True, blank=True)  # catalog Latency shown beside the SLO
    percentile = models.FloatField(null=True, blank=True)
    latency_seconds = models.FloatField(null=True, blank=True)  # last 5 minutes
    latency_is_mean = models.BooleanField(default=False)
    requests_per_second = models.FloatField(null=True, blank=True)
    error_ratio = models.FloatField(null=True, blank=True)
    accelerator_busy_ratio = models.FloatField(null=True, blank=True)
    limit_name = models.CharField(max_length=40, blank=True)  # the column nearest to its ceiling
    limit_ratio = models.FloatField(null=True, blank=True)
    replicas = models.FloatField(null=True, blank=True)
    budget_minutes = models.FloatField(null=True, blank=True)  # of the SLO window
    lost_minutes = models.FloatField(null=True, blank=True)

"""The running account of an SLO, so that no page adds up four weeks of minutes."""

from django.db import models
from django.utils import timezone

from monitoring.models import Deployment


class SloLedger(models.Model):
    """Minutes lost and judged in the SLO's window up to `until`; made anew every few hours, carried on each minute between."""

    deployment = models.OneToOneField(Deployment, models.CASCADE, related_name="slo_ledger")
    promise = models.CharField(max_length=80)  # what was judged; another promise makes the account anew
    until = models.DateTimeField()
    lost_minutes = models.FloatField(default=0.0)
    measured_minutes = models.FloatField(default=0.0)
    made_at = models.DateTimeField(default=timezone.now)

"""The product's own book-keeping: slots, heartbeats, fill states, settings."""

from datetime import datetime, timedelta
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone


class JobSlotQuerySet(models.QuerySet["JobSlot"]):
    def take(self, job: str, *, at: datetime, owner: str, now: datetime, lease_seconds: float) -> "JobSlot | None":
        """The slot if we are the one who inserted it, else None."""
        lease_until = now + timedelta(seconds=lease_seconds)
        values = {"owner": owner, "started_at": now, "lease_until": lease_until}
        slot, created = self.get_or_create(job=job, slot_time=at, defaults=values)
        return slot if created else None

    def going(self, job: str, *, now: datetime) -> "JobSlotQuerySet":
        return self.filter(job=job, finished_at__isnull=True, lease_until__gt=now)


class JobSlot(models.Model):
    """Who inserts (job, slot_time) runs it: any number of beats is then harmless."""

    job = models.CharField(max_length=60)
    slot_time = models.DateTimeField()
    owner = models.CharField(max_length=120, blank=True)  # host:pid
    lease_until = models.DateTimeField(null=True, blank=True)  # renewed while it runs; past and unfinished: its worker died
    started_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    seconds = models.FloatField(null=True, blank=True)
    summary = models.CharField(max_length=300, blank=True)  # one line: what, how many
    error = models.TextField(blank=True)

    objects = JobSlotQuerySet.as_manager()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("job", "slot_time"), name="job_slot_once"),)
        ordering = ("-slot_time",)

    def finish(self, *, seconds: float, summary: str, now: datetime, error: str = "") -> None:
        self.seconds, self.summary, self.error, self.finished_at = seconds, summary[:300], error, now
        self.save(update_fields=("seconds", "summary", "error", "finished_at"))


# Loops that must go on -> seconds after which one that was silent is not well. Partitions are made days ahead.
LOOPS_WATCHED = {
    **dict.fromkeys(("monitoring.poll", "monitoring.rollups_fill", "capacity.status_update"), 180.0),
    **dict.fromkeys(("monitoring.alerts_evaluate", "monitoring.alerts_send", "monitoring.alerts_sweep"), 180.0),
    **dict.fromkeys(("capacity.forecasts_night", "capacity.forecasts_hour", "capacity.forecasts_missed", "capacity.plans"), 900.0),
    "monitoring.partitions_ahead": 93600.0,
}
QUEUE_SECONDS = 180.0  # a canary each minute


class HeartbeatQuerySet(models.QuerySet["Heartbeat"]):
    def beat(self, name: str, *, now: datetime, detail: dict[str, Any]) -> None:
        self.update_or_create(name=name, defaults={"at": now, "detail": detail})


class Heartbeat(models.Model):
    """The last sign of life of a loop: a job's name when it ended well, or "queue:<name>" when its worker took a canary."""

    name = models.CharField(max_length=80, unique=True)
    at = models.DateTimeField(default=timezone.now)
    detail = models.JSONField(default=dict)

    objects = HeartbeatQuerySet.as_manager()


class FillState(models.Model):
    """How far a rollup is filled. STARTED without DONE is undone and redone after a crash."""

    table = models.CharField(max_length=60, unique=True)
    start_time = models.DateTimeField(null=True, blank=True)  # where the fill that is under way began
    end_time = models.DateTimeField()
    done = models.BooleanField(default=True)


class DirtyWindow(models.Model):
    """A stretch whose rollups late data made wrong; redone and then deleted."""

    entity = models.CharField(max_length=20)  # an Entity, or "latency"
    start_at = models.DateTimeField()
    end_at = models.DateTimeField()
    ids = ArrayField(models.IntegerField(), null=True, blank=True)  # the entities concerned; null: all
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = (models.Index(fields=("entity", "start_at"), name="dirty_entity_start"),)


class BucketLayout(models.Model):
    """The upper bounds of a latency histogram's buckets in seconds; the last bucket, +Inf, is implied."""

    bounds = models.JSONField(unique=True)  # ascending list of numbers


class Setting(models.Model):
    """A setting that lives in the database; `monitoring.models.settings_known` lists them all."""

    name = models.CharField(max_length=80, unique=True)
    value = models.JSONField()
    updated_at = models.DateTimeField(default=timezone.now)
    updated_by = models.CharField(max_length=254, blank=True)

    def __str__(self) -> str:
        return self.name

"""The wish to load or remove the demo fleet, as a row that a worker claims."""

from datetime import datetime, timedelta
from typing import ClassVar, Self

from django.db import models
from django.utils import timezone

LEASE_SECONDS = 120


class DemoAction(models.TextChoices):
    LOAD = "load", "Load the demo fleet"
    REMOVE = "remove", "Remove the demo fleet"


class DemoState(models.TextChoices):
    WAITING = "waiting", "Waiting"
    RUNNING = "running", "Running"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"


class DemoRunQuerySet(models.QuerySet["DemoRun"]):
    def unfinished(self) -> Self:
        return self.filter(state__in=(DemoState.WAITING, DemoState.RUNNING))

    def claim(self, *, now: datetime) -> "DemoRun | None":
        """Take the oldest run nobody works on; a run whose worker died is taken again after its lease."""
        free = models.Q(state=DemoState.WAITING) | models.Q(state=DemoState.RUNNING, lease_until__lt=now)
        for pk in self.filter(free).order_by("created_at").values_list("pk", flat=True):
            lease_until = now + timedelta(seconds=LEASE_SECONDS)
            if self.filter(free, pk=pk).update(state=DemoState.RUNNING, lease_until=lease_until):
                return self.get(pk=pk)
        return None


class DemoRun(models.Model):
    action = models.CharField(max_length=10, choices=DemoAction.choices)
    state = models.CharField(max_length=10, choices=DemoState.choices, default=DemoState.WAITING)
    progress_ratio = models.FloatField(default=0.0)
    text = models.CharField(max_length=200, blank=True)  # "chat-70b: 12 of 28 days"
    error = models.TextField(blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[DemoRunQuerySet] = DemoRunQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ("-created_at",)
        constraints = (
            models.UniqueConstraint(models.Value(1), condition=models.Q(state__in=("waiting", "running")), name="demo_one_open"),
        )

    def progress(self, ratio: float, text: str) -> None:
        """Write how far it is, and hold the lease."""
        self.progress_ratio, self.text = ratio, text[:200]
        self.lease_until = timezone.now() + timedelta(seconds=LEASE_SECONDS)
        self.save(update_fields=("progress_ratio", "text", "lease_until"))

    def finish(self, *, now: datetime, error: str = "") -> None:
        self.state = DemoState.FAILED if error else DemoState.DONE
        self.error, self.finished_at = error, now
        self.progress_ratio = self.progress_ratio if error else 1.0
        self.save(update_fields=("state", "error", "finished_at", "progress_ratio"))

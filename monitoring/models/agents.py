"""Agents, what they say of themselves, and the processes they saw on accelerators."""

from datetime import datetime, timedelta

from django.db import models
from django.db.models import Max, Min, Q, Sum
from django.db.models.functions import Coalesce, Least
from django.utils import timezone

from monitoring.models.inventory import Accelerator, Node
from monitoring.models.people import Key

LATE = timedelta(minutes=3)  # three sendings; they come each minute
SILENT = timedelta(minutes=15)


class AgentState(models.TextChoices):
    LIVE = "live", "Live"
    LATE = "late", "Late"  # nothing new, or nothing heard, for three minutes
    SILENT = "silent", "Silent"


class AgentQuerySet(models.QuerySet["Agent"]):
    def in_state(self, state: str, *, now: datetime) -> "AgentQuerySet":
        silent = Q(last_seen_at__lt=now - SILENT)
        if state == AgentState.SILENT:
            return self.filter(silent)
        newest = Least("last_seen_at", Coalesce("newest_sample_at", "first_seen_at"))
        late = Q(newest_word__lt=now - LATE)
        return self.alias(newest_word=newest).exclude(silent).filter(late if state == AgentState.LATE else ~late)

    def state_counts(self, *, now: datetime) -> dict[str, int]:
        """How many are live, late and silent."""
        return {state.value: self.in_state(state, now=now).count() for state in AgentState}

    def with_drops(self, *, since: datetime) -> "AgentQuerySet":
        """`lost` readings, from and until when, in gaps that ended since then."""
        recent = Q(gaps__end_at__gte=since)
        return self.annotate(
            lost=Sum("gaps__count", filter=recent),
            lost_from=Min("gaps__start_at", filter=recent),
            lost_until=Max("gaps__end_at", filter=recent),
        )


class Agent(models.Model):
    """The sender of one node. All of it is what the agent said last, with the server's time of hearing it."""

    node = models.OneToOneField(Node, models.CASCADE, related_name="agent")
    key = models.ForeignKey(Key, models.SET_NULL, null=True, blank=True, related_name="agents")
    version = models.CharField(max_length=40, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    interval_seconds = models.FloatField(default=15.0)  # between two readings
    first_seen_at = models.DateTimeField(default=timezone.now)
    last_seen_at = models.DateTimeField(default=timezone.now, db_index=True)
    newest_sample_at = models.DateTimeField(null=True, blank=True)
    sequence = models.BigIntegerField(default=0)  # the highest batch number heard
    skew_seconds = models.FloatField(null=True, blank=True)  # its clock minus ours
    waiting_count = models.IntegerField(default=0)  # readings in its spool
    waiting_bytes = models.BigIntegerField(default=0)
    waiting_since = models.DateTimeField(null=True, blank=True)  # time of the oldest of them
    trouble = models.TextField(blank=True)  # in its words: a read-only spool, no driver
    duplicate_count = models.BigIntegerField(default=0)  # samples that were here already
    rejected_count = models.BigIntegerField(default=0)
    rejected_text = models.TextField(blank=True)  # the newest reason
    capabilities = models.JSONField(default=dict)  # UUID -> call -> why it gives nothing there
    host = models.JSONField(default=dict)  # kernel, driver, processors and the like

    objects = AgentQuerySet.as_manager()

    class Meta:
        ordering = ("node__cluster__name", "node__name")

    def __str__(self) -> str:
        return f"agent of {self.node}"

    def state(self, *, now: datetime) -> AgentState:
        if self.last_seen_at < now - SILENT:
            return AgentState.SILENT
        newest = min(self.last_seen_at, self.newest_sample_at or self.first_seen_at)
        return AgentState.LATE if newest < now - LATE else AgentState.LIVE


class AgentGap(models.Model):
    """Readings an agent had to drop: a gap is data."""

    agent = models.ForeignKey(Agent, models.CASCADE, related_name="gaps")
    count = models.BigIntegerField()
    start_at = models.DateTimeField()
    end_at = models.DateTimeField()
    reported_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("agent", "start_at", "end_at"), name="agent_gap_once"),)
        ordering = ("-start_at",)


class AcceleratorProcess(models.Model):
    """A process on an accelerator, told apart by (accelerator, pid, start): process numbers are used again."""

    accelerator = models.ForeignKey(Accelerator, models.CASCADE, related_name="processes")
    pid = models.BigIntegerField()
    started_at = models.DateTimeField()
    name = models.CharField(max_length=120, blank=True)  # of the program, never its command line
    kinds = models.CharField(max_length=40, blank=True)  # compute, graphics, mps; joined by +
    memory_bytes = models.BigIntegerField(null=True, blank=True)
    sm_ratio = models.FloatField(null=True, blank=True)
    share_method = models.CharField(max_length=20, blank=True)  # how sm_ratio was had
    container_id = models.CharField(max_length=64, blank=True)
    pod_uid = models.CharField(max_length=36, blank=True)
    unit = models.CharField(max_length=120, blank=True)  # of systemd
    job = models.CharField(max_length=40, blank=True)  # of Slurm
    model_name = models.CharField(max_length=253, blank=True)  # from the flags of the server, where it has one
    first_seen_at = models.DateTimeField(default=timezone.now)
    last_seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("accelerator", "pid", "started_at"), name="accelerator_process_once"),)
        indexes = (models.Index(fields=("accelerator", "-last_seen_at"), name="process_accelerator_seen"),)
        ordering = ("accelerator", "pid")

"""Rules, alerts with every transition, and the outbox of what is to be told by which channel."""

from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import Q
from django.utils import timezone

from monitoring.models.inventory import Deployment
from monitoring.models.people import Team


class Severity(models.TextChoices):
    CRITICAL = "critical", "Critical"  # pages
    WARNING = "warning", "Warning"
    INFO = "info", "Info"


class RuleKind(models.TextChoices):
    METRIC = "metric", "Metric"  # evaluated here, from telemetry
    FINDING = "finding", "Finding"  # raised by who found it


class RuleEntity(models.TextChoices):
    DEPLOYMENT = "deployment", "Deployment"
    ACCELERATOR = "accelerator", "Accelerator"
    NODE = "node", "Node"
    AGENT = "agent", "Agent"
    SOURCE = "source", "Source"


class Comparison(models.TextChoices):
    ABOVE = "above", "above"
    BELOW = "below", "below"


class Rule(models.Model):
    """What is wrong when, said as data. Rules of one family differ in severity only: the critical one mutes the others."""

    name = models.SlugField(max_length=80, unique=True)
    kind = models.CharField(max_length=10, choices=RuleKind.choices, default=RuleKind.METRIC)
    family = models.CharField(max_length=80, blank=True)
    team = models.ForeignKey(Team, models.CASCADE, null=True, blank=True, related_name="alert_rules")  # null: everybody's deployments
    entity = models.CharField(max_length=12, choices=RuleEntity.choices, default=RuleEntity.DEPLOYMENT)
    matchers = models.JSONField(default=dict, blank=True)  # label -> pattern with * and ?
    signal = models.CharField(max_length=60, blank=True)  # a column or ratio of the catalogue, or a named signal
    comparison = models.CharField(max_length=5, choices=Comparison.choices, default=Comparison.ABOVE)
    threshold = models.FloatField(default=0.0)
    window_seconds = models.PositiveIntegerField(default=300)  # over which the signal is averaged
    for_seconds = models.PositiveIntegerField(default=300)  # true for so long before it fires
    keep_firing_seconds = models.PositiveIntegerField(default=300)  # false for so long before it resolves
    severity = models.CharField(max_length=10, choices=Severity.choices, default=Severity.WARNING)
    owner = models.CharField(max_length=120, blank=True)
    summary = models.CharField(max_length=300)
    consequence = models.CharField(max_length=500, blank=True)
    first_action = models.CharField(max_length=500, blank=True)
    runbook_url = models.URLField(max_length=500, blank=True)
    enabled = models.BooleanField(default=True)
    shipped = models.BooleanField(default=False)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class AlertState(models.TextChoices):
    OK = "ok", "OK"
    PENDING = "pending", "Pending"
    FIRING = "firing", "Firing"
    RECOVERING = "recovering", "Recovering"
    RESOLVED = "resolved", "Resolved"
    NO_DATA = "no_data", "No data"
    ERROR = "error", "Error"


class Edge(models.TextChoices):
    """What is worth telling."""

    FIRE = "fire", "Fires"
    RESOLVE = "resolve", "Resolved"
    FLAPPING = "flapping", "Flapping"
    REPEAT = "repeat", "Still fires"
    ESCALATION = "escalation", "Nobody acknowledged it"
    ACK = "ack", "Acknowledged"  # changes the first message where the channel can


class AlertQuerySet(models.QuerySet["Alert"]):
    def open(self) -> "AlertQuerySet":
        return self.filter(closed_at__isnull=True)

    def firing(self) -> "AlertQuerySet":
        """Those somebody was told of and nobody was told the end of."""
        return self.open().filter(fired=True)

    def acknowledged(self, *, now: datetime) -> "AlertQuerySet":
        return self.filter(Q(acknowledged_until__isnull=True) | Q(acknowledged_until__gt=now), acknowledged_at__isnull=False)


class Alert(models.Model):
    """One trouble of one subject, from its first sign to its end. What was true when it opened is copied from the rule."""

    identity = models.CharField(max_length=64)  # of rule and labels
    rule = models.ForeignKey(Rule, models.SET_NULL, null=True, related_name="alerts")
    rule_name = models.CharField(max_length=80)
    labels = models.JSONField(default=dict)
    deployment = models.ForeignKey(Deployment, models.CASCADE, null=True, blank=True, related_name="alerts")
    team = models.ForeignKey(Team, models.SET_NULL, null=True, blank=True, related_name="alerts")

    finding = models.BooleanField(default=False)  # raised by who found it, not evaluated
    severity = models.CharField(max_length=10, choices=Severity.choices)
    summary = models.CharField(max_length=300)
    consequence = models.CharField(max_length=500, blank=True)
    first_action = models.CharField(max_length=500, blank=True)
    runbook_url = models.URLField(max_length=500, blank=True)
    money = models.DecimalField(max_digits=16, decimal_places=2, null=True, blank=True)
    currency = models.CharField(max_length=3, blank=True)
    context = models.JSONField(default=dict)  # what the enriching function knew

    state = models.CharField(max_length=10, choices=AlertState.choices, default=AlertState.PENDING)
    state_since = models.DateTimeField()
    started_at = models.DateTimeField()  # the first sign
    fired_at = models.DateTimeField(null=True, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)  # resolved, or gone before it fired
    value = models.FloatField(null=True, blank=True)
    worst_value = models.FloatField(null=True, blank=True)

    fired = models.BooleanField(default=False)  # its firing is worth telling and its end was not reached
    flapping = models.BooleanField(default=False)
    known_at = models.DateTimeField()  # the last time the condition was seen true or false
    flipped_at = models.DateTimeField()  # the last time it changed
    condition = models.BooleanField(default=True)  # as last seen
    toggles = models.JSONField(default=list)  # Unix seconds of the last hour's edges
    edge_number = models.PositiveIntegerField(default=0)
    step_number = models.PositiveIntegerField(default=0)  # of its newest transition

    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_until = models.DateTimeField(null=True, blank=True)  # null: until it ends
    acknowledged_by = models.CharField(max_length=254, blank=True)
    silenced_by = models.ForeignKey("monitoring.Silence", models.SET_NULL, null=True, blank=True, related_name="+")
    inhibited_by = models.CharField(max_length=200, blank=True)  # in words; empty: nothing mutes it

    objects = AlertQuerySet.as_manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("identity",), condition=Q(closed_at__isnull=True), name="alert_one_open"),
            models.CheckConstraint(
                condition=Q(closed_at__isnull=True, state__in=("pending", "firing", "recovering", "no_data", "error"))
                | Q(closed_at__isnull=False, state__in=("ok", "resolved")),
                name="alert_closed_when_over",
            ),
        )
        indexes = (
            models.Index(fields=("identity", "-closed_at"), name="alert_identity_closed"),
            models.Index(fields=("team", "-started_at"), name="alert_team_started"),
        )
        ordering = ("-started_at", "-pk")

    def __str__(self) -> str:
        return f"{self.rule_name} {self.state}"

    def is_acknowledged(self, *, now: datetime) -> bool:
        return self.acknowledged_at is not None and (self.acknowledged_until is None or self.acknowledged_until > now)


class AlertTransition(models.Model):
    """Append-only: what an alert went through. `number` makes a step that is written twice fail.

    The database holds it: a trigger forbids changes, and a row goes only with its alert, by the constraint of the migration.
    """

    alert = models.ForeignKey(Alert, models.DO_NOTHING, db_constraint=False, related_name="transitions")
    number = models.PositiveIntegerField()
    at = models.DateTimeField()
    from_state = models.CharField(max_length=10, choices=AlertState.choices)
    to_state = models.CharField(max_length=10, choices=AlertState.choices)
    edge = models.CharField(max_length=10, choices=Edge.choices, blank=True)
    value = models.FloatField(null=True, blank=True)
    note = models.CharField(max_length=300, blank=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("alert", "number"), name="alert_transition_once"),)
        ordering = ("alert", "number")


class ChannelKind(models.TextChoices):
    WEBHOOK = "webhook", "Webhook"
    EMAIL = "email", "E-mail"
    SLACK = "slack", "Slack webhook"
    SLACK_BOT = "slack_bot", "Slack app"
    ALERTMANAGER = "alertmanager", "Alertmanager"


class Channel(models.Model):
    """A way to tell people or programs; which alerts go by it is decided by team, severity and labels."""

    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=12, choices=ChannelKind.choices)
    team = models.ForeignKey(Team, models.CASCADE, null=True, blank=True, related_name="channels")  # null: alerts of every team
    severities = models.JSONField(default=list, blank=True)  # empty: all
    matchers = models.JSONField(default=dict, blank=True)  # label -> pattern
    options = models.JSONField(default=dict, blank=True)  # what is no secret: addresses of an e-mail and the like
    secret = models.TextField(blank=True)  # encrypted; JSON with the URL and what signs or opens it
    owner = models.EmailField(blank=True)  # who is told when it is switched off
    group_wait_seconds = models.PositiveIntegerField(default=30)  # 0: each alert at once, nothing is grouped
    group_interval_seconds = models.PositiveIntegerField(default=300)  # further alerts of a deployment just told wait so long
    repeat_critical_seconds = models.PositiveIntegerField(default=4 * 3600)  # 0: never; infos are never repeated
    repeat_warning_seconds = models.PositiveIntegerField(default=24 * 3600)
    escalate_to = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, related_name="+")  # of the same team
    escalate_after_seconds = models.PositiveIntegerField(default=900)  # told and not acknowledged for so long
    weekly_digest = models.BooleanField(default=False)  # a list of warnings and infos, whether told at once or not
    enabled = models.BooleanField(default=True)
    switched_off_why = models.CharField(max_length=500, blank=True)  # a permanent error of the other side
    switched_off_at = models.DateTimeField(null=True, blank=True)
    failures = models.PositiveIntegerField(default=0)  # tries in a row that a retry may help: one back-off for all its messages
    rests_until = models.DateTimeField(null=True, blank=True)
    tested_at = models.DateTimeField(null=True, blank=True)
    test_ok = models.BooleanField(null=True, blank=True)  # null: never tested
    test_said = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("team", "name"), name="channel_name_once", nulls_distinct=False),)
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class NotificationState(models.TextChoices):
    WAITING = "waiting", "Waiting"
    SENDING = "sending", "Sending"
    SENT = "sent", "Sent"
    FOLDED = "folded", "Told with its end"
    SUPPRESSED = "suppressed", "Suppressed"
    DEAD = "dead", "Given up"


class NotificationQuerySet(models.QuerySet["Notification"]):
    def unsent(self) -> "NotificationQuerySet":
        return self.filter(state__in=(NotificationState.WAITING, NotificationState.SENDING))

    def due(self, *, now: datetime) -> "NotificationQuerySet":
        """Waiting ones whose time has come, and those of a sender that died."""
        waiting = Q(state=NotificationState.WAITING, run_after__lte=now)
        return self.filter(waiting | Q(state=NotificationState.SENDING, lease_until__lte=now))


class Notification(models.Model):
    """The outbox: one edge of one alert by one channel, written in the transaction that changed the alert."""

    alert = models.ForeignKey(Alert, models.CASCADE, related_name="notifications")
    channel = models.ForeignKey(Channel, models.CASCADE, related_name="notifications")
    edge_number = models.PositiveIntegerField()
    edge = models.CharField(max_length=10, choices=Edge.choices)
    number = models.PositiveIntegerField(default=0)  # of a repeat or acknowledgement; edges themselves have 0
    dedup_key = models.CharField(max_length=120, unique=True)  # goes out with the message
    message_key = models.CharField(max_length=120, blank=True)  # shared by those told in one message; stays over retries
    content = models.JSONField(default=dict)  # what was true at the edge
    state = models.CharField(max_length=10, choices=NotificationState.choices, default=NotificationState.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    run_after = models.DateTimeField()
    lease_until = models.DateTimeField(null=True, blank=True)
    lease_owner = models.CharField(max_length=160, blank=True)
    last_error = models.TextField(blank=True)
    suppressed_by = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True)
    response = models.CharField(max_length=500, blank=True)  # what the other side said
    delivered_to = models.JSONField(default=list, blank=True)  # addresses that have it already, while others do not yet

    objects = NotificationQuerySet.as_manager()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("alert", "channel", "edge_number", "edge", "number"), name="notification_once"),)
        indexes = (
            models.Index(fields=("channel", "run_after"), name="notification_unsent", condition=Q(state__in=("waiting", "sending"))),
            models.Index(fields=("channel", "-sent_at"), name="notification_sent"),
        )
        ordering = ("alert", "edge_number")


class AlertThread(models.Model):
    """The first message about an alert by a channel: others refer to it, and it changes in place where the channel can."""

    alert = models.ForeignKey(Alert, models.CASCADE, related_name="threads")
    channel = models.ForeignKey(Channel, models.CASCADE, related_name="threads")
    reference = models.CharField(max_length=200)  # Slack: "channel ts"; e-mail: the Message-ID
    message_key = models.CharField(max_length=120)  # of the alerts that were told in that message

    class Meta:
        constraints = (models.UniqueConstraint(fields=("alert", "channel"), name="alert_thread_once"),)
        indexes = (models.Index(fields=("channel", "message_key"), name="alert_thread_message"),)


class AddressOff(models.Model):
    """An address of an e-mail channel that gets nothing any more."""

    channel = models.ForeignKey(Channel, models.CASCADE, related_name="addresses_off")
    address = models.EmailField()
    why = models.CharField(max_length=300)  # it unsubscribed, or what the mail server said
    at = models.DateTimeField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("channel", "address"), name="address_off_once"),)


class NoticeKind(models.TextChoices):
    DIGEST = "digest", "Weekly digest"  # by the channel itself
    SWITCHED_OFF = "off", "Channel switched off"  # a mail to its owner
    DEAD = "dead", "Messages given up"  # a mail to the admins


class NoticeQuerySet(models.QuerySet["Notice"]):
    def tell(self, channel: int, kind: str, *, period: str, content: dict[str, Any], now: datetime) -> bool:
        """Whether we are the one who inserts it; who comes second tells nothing."""
        values = {"content": content, "run_after": now, "created_at": now}
        return self.get_or_create(channel_id=channel, kind=kind, period=period, defaults=values)[1]

    def due(self, *, now: datetime) -> "NoticeQuerySet":
        waiting = Q(state=NotificationState.WAITING, run_after__lte=now)
        return self.filter(waiting | Q(state=NotificationState.SENDING, lease_until__lte=now))


class Notice(models.Model):
    """What is told once a period and not about one alert; whoever inserts the row has claimed the period."""

    channel = models.ForeignKey(Channel, models.CASCADE, related_name="notices")
    kind = models.CharField(max_length=10, choices=NoticeKind.choices)
    period = models.CharField(max_length=40)  # week of a digest, day of given-up messages, moment of a switching off
    content = models.JSONField(default=dict)
    state = models.CharField(max_length=10, choices=NotificationState.choices, default=NotificationState.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    run_after = models.DateTimeField()
    lease_until = models.DateTimeField(null=True, blank=True)
    lease_owner = models.CharField(max_length=160, blank=True)
    last_error = models.TextField(blank=True)
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True)

    objects = NoticeQuerySet.as_manager()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("channel", "kind", "period"), name="notice_once"),)
        ordering = ("-created_at",)


class Silence(models.Model):
    """Alerts whose labels match are not told from `start_at` to `end_at`, each week anew where it repeats."""

    team = models.ForeignKey(Team, models.CASCADE, null=True, blank=True, related_name="silences")
    matchers = models.JSONField(default=dict)  # label -> pattern
    start_at = models.DateTimeField()
    end_at = models.DateTimeField()
    repeat_days = models.PositiveIntegerField(default=0)  # 0: once; 1: daily; 7: weekly
    repeat_until = models.DateTimeField(null=True, blank=True)
    zone = models.CharField(max_length=64, blank=True)  # IANA; a repeating one keeps its time of day there; empty: UTC
    reason = models.CharField(max_length=300, blank=True)
    created_by = models.CharField(max_length=254, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = (models.CheckConstraint(condition=Q(end_at__gt=models.F("start_at")), name="silence_has_a_length"),)
        ordering = ("-start_at",)


class EvaluationMark(models.Model):
    """How far a kind of evaluation has come: who holds the row evaluates, and never the same moment twice."""

    name = models.CharField(max_length=40, unique=True)
    until = models.DateTimeField()
    resumed_at = models.DateTimeField(default=timezone.now)  # when it went on after we ourselves were away


class SloCount(models.Model):
    """Judged and broken minutes of a promise in the five minutes up to `end_at`: what a burn rate is taken from."""

    deployment = models.ForeignKey(Deployment, models.CASCADE, related_name="slo_counts")
    end_at = models.DateTimeField()
    judged = models.PositiveSmallIntegerField(default=0)
    broken = models.PositiveSmallIntegerField(default=0)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("end_at", "deployment"), name="slo_count_once"),)

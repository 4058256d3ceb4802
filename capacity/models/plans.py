"""What is forecast and planned: forecasts, saturation, scenarios, plans, supply, and whose turn it is to be looked at."""

from typing import ClassVar, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.fields.json import KT
from django.db.models.functions import Cast
from django.utils import timezone

from monitoring.models import Accelerator, Cluster, Deployment, Node, Team


class Horizon(models.TextChoices):
    HOUR = "hour", "1 hour"
    DAY = "day", "24 hours"
    WEEK = "week", "7 days"
    YEAR = "year", "Months"


class ForecastRun(models.Model):
    """The newest forecast of one quantity of one entity over one horizon, or the sentence why there is none."""

    deployment = models.ForeignKey(Deployment, models.CASCADE, null=True, blank=True, related_name="forecasts")
    node = models.ForeignKey(Node, models.CASCADE, null=True, blank=True, related_name="forecasts")
    accelerator = models.ForeignKey(Accelerator, models.CASCADE, null=True, blank=True, related_name="forecasts")
    quantity = models.CharField(max_length=60)  # a column of the catalogue
    horizon = models.CharField(max_length=6, choices=Horizon.choices)
    made_at = models.DateTimeField(default=timezone.now)  # conditioned on what was known then
    fitted_at = models.DateTimeField(null=True, blank=True)  # learned
    start_at = models.DateTimeField(null=True, blank=True)  # of the first step
    step_seconds = models.FloatField(default=3600.0)
    levels = ArrayField(models.FloatField(), default=list)
    quantiles = ArrayField(models.FloatField(), default=list)  # levels x steps, level by level, base unit of the quantity
    method = models.CharField(max_length=40, blank=True)
    flags = ArrayField(models.CharField(max_length=20), default=list)
    note = models.CharField(max_length=400, blank=True)
    refusal = models.CharField(max_length=400, blank=True)  # why there are no quantiles
    trained_from = models.DateTimeField(null=True, blank=True)
    trained_until = models.DateTimeField(null=True, blank=True)
    backtest = models.JSONField(default=dict)
    fitted = models.BinaryField(null=True, blank=True)  # what the night learned, for the hours
    said = models.JSONField(default=dict)  # of each step of the last hours, what was said when it was first forecast
    inputs_digest = models.CharField(max_length=64, blank=True)
    code_version = models.CharField(max_length=40, blank=True)

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(deployment__isnull=False, node=None, accelerator=None)
                | Q(deployment=None, node__isnull=False, accelerator=None)
                | Q(deployment=None, node=None, accelerator__isnull=False),
                name="forecast_of_one",
            ),
            models.UniqueConstraint(
                fields=("deployment", "node", "accelerator", "quantity", "horizon"), nulls_distinct=False, name="forecast_once"
            ),
        )


class SaturationRun(models.Model):
    """What limits a deployment at its peaks and now, with the evidence; the newest only."""

    deployment = models.OneToOneField(Deployment, models.CASCADE, related_name="saturation")
    made_at = models.DateTimeField(default=timezone.now)
    window_start = models.DateTimeField()
    window_end = models.DateTimeField()
    limit = models.CharField(max_length=20, blank=True)  # at the peaks; empty: none, or cannot tell
    limit_now = models.CharField(max_length=20, blank=True)
    as_of = models.DateTimeField(null=True, blank=True)  # newest step in which load was measured
    confidence = models.FloatField(default=0.0)
    confidence_now = models.FloatField(default=0.0)
    cannot_tell = models.CharField(max_length=600, blank=True)
    sentence = models.CharField(max_length=600, blank=True)
    sentence_now = models.CharField(max_length=600, blank=True)
    skew_ratio = models.FloatField(null=True, blank=True)
    skew_replica = models.CharField(max_length=253, blank=True)
    verdicts = models.JSONField(default=dict)  # {"peaks": {...}, "now": {...}}: limit, share, confidence, evidence, missing, beside
    # What an hour of a replica cost then: messages of alerts tell money without asking the price list.
    replica_hourly_rate = models.DecimalField(max_digits=14, decimal_places=6, null=True, blank=True)
    currency = models.CharField(max_length=3, blank=True)
    price_certainty = models.CharField(max_length=10, blank=True)  # measured, estimated, unknown
    code_version = models.CharField(max_length=40, blank=True)


class Scope(models.TextChoices):
    DEPLOYMENT = "deployment", "A deployment"
    CLUSTER = "cluster", "A cluster"
    GROUP = "group", "A group of deployments"


class PlanSettings(models.Model):
    """What the people of a deployment know and telemetry does not; null: estimated, or the install's default."""

    deployment = models.OneToOneField(Deployment, models.CASCADE, related_name="plan_settings")
    lead_time_days = models.FloatField(null=True, blank=True)
    approval_days = models.FloatField(null=True, blank=True)
    startup_seconds = models.FloatField(null=True, blank=True)
    slots = models.PositiveIntegerField(null=True, blank=True, help_text="Requests one replica serves at the same time.")
    least_replicas = models.PositiveIntegerField(null=True, blank=True)
    most_replicas = models.PositiveIntegerField(null=True, blank=True)
    set_by = models.CharField(max_length=254, blank=True)
    updated_at = models.DateTimeField(default=timezone.now)


class ScenarioQuerySet(models.QuerySet["Scenario"]):
    def of_deployments(self, deployments: QuerySet[Deployment], *, clusters: QuerySet[Cluster]) -> Self:
        """Those about what one sees: a deployment, a cluster one sees as a whole, or a group of which one sees every member.
        Give hidden deployments too: a group does not vanish because a member was archived or ignored."""
        member = Scenario.members.through.objects.filter(scenario=OuterRef("pk"))
        foreign = member.exclude(deployment__in=deployments)
        return self.filter(
            Q(scope=Scope.DEPLOYMENT, deployment__in=deployments)
            | Q(scope=Scope.CLUSTER, cluster__in=clusters)
            | Q(Exists(member), ~Exists(foreign), scope=Scope.GROUP)
        )


class Scenario(models.Model):
    """Assumptions with a name. Of a deployment, a cluster, or a group; seen by who sees all it is about."""

    name = models.CharField(max_length=120)
    scope = models.CharField(max_length=10, choices=Scope.choices, default=Scope.DEPLOYMENT)
    deployment = models.ForeignKey(Deployment, models.CASCADE, null=True, blank=True, related_name="scenarios")
    cluster = models.ForeignKey(Cluster, models.CASCADE, null=True, blank=True, related_name="scenarios")
    members = models.ManyToManyField(Deployment, blank=True, related_name="group_scenarios")
    team = models.ForeignKey(Team, models.CASCADE, null=True, blank=True, related_name="scenarios")  # whose group it is
    horizon_days = models.PositiveIntegerField(default=90)
    growth_per_month = models.FloatField(null=True, blank=True)  # null: the trend found
    replicas = models.PositiveIntegerField(null=True, blank=True, help_text="A fixed number; null: as many as run now.")
    by_hour = models.BooleanField(default=False, help_text="A floor by hour under the autoscaler instead of a fixed number.")
    slo_threshold_seconds = models.FloatField(null=True, blank=True)  # null: the SLO
    startup_seconds = models.FloatField(null=True, blank=True)
    lead_time_days = models.FloatField(null=True, blank=True)
    approval_days = models.FloatField(null=True, blank=True)
    speed_ratio = models.FloatField(default=1.0, help_text="Speed of a replica against today's, assumed for other hardware.")
    hardware = models.CharField(max_length=120, blank=True, help_text="Accelerator the speed and price are assumed for.")
    hourly_rate = models.DecimalField(max_digits=14, decimal_places=6, null=True, blank=True)  # of a replica; null: today's
    note = models.CharField(max_length=400, blank=True)
    chosen = models.BooleanField(default=False)
    created_by = models.CharField(max_length=254, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    objects: ClassVar[ScenarioQuerySet] = ScenarioQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ("created_at", "pk")
        constraints = (
            models.CheckConstraint(
                condition=Q(scope="deployment", deployment__isnull=False, cluster=None)
                | Q(scope="cluster", deployment=None, cluster__isnull=False)
                | Q(scope="group", deployment=None, cluster=None),
                name="scenario_of_its_scope",
            ),
            models.CheckConstraint(condition=Q(horizon_days__gte=1, horizon_days__lte=400), name="scenario_horizon"),
            models.CheckConstraint(condition=Q(speed_ratio__gt=0), name="scenario_speed"),
            models.UniqueConstraint(fields=("deployment",), condition=Q(chosen=True, scope="deployment"), name="scenario_chosen_once"),
        )

    def __str__(self) -> str:
        return self.name


class PlannedKind(models.TextChoices):
    LAUNCH = "launch", "Launch"
    CUSTOMER = "customer", "New customer"
    MAINTENANCE = "maintenance", "Maintenance"
    HOLIDAY = "holiday", "Holiday"


class PlannedEventQuerySet(models.QuerySet["PlannedEvent"]):
    def of_deployments(self, deployments: QuerySet[Deployment], *, clusters: QuerySet[Cluster]) -> Self:
        seen = Scenario.objects.of_deployments(deployments, clusters=clusters)
        return self.filter(Q(deployment__in=deployments) | Q(scenario__in=seen))


class PlannedEvent(models.Model):
    """Something known that will change demand. Of a deployment for every scenario of it, or of one scenario."""

    deployment = models.ForeignKey(Deployment, models.CASCADE, null=True, blank=True, related_name="planned_events")
    scenario = models.ForeignKey(Scenario, models.CASCADE, null=True, blank=True, related_name="planned_events")
    kind = models.CharField(max_length=12, choices=PlannedKind.choices, default=PlannedKind.LAUNCH)
    name = models.CharField(max_length=120)
    start_at = models.DateTimeField()
    end_at = models.DateTimeField(null=True, blank=True)  # null: from then on
    factor = models.FloatField(null=True, blank=True)  # null: 1, and of a holiday: learned from Sundays
    added_requests_per_second = models.FloatField(default=0.0)
    set_by = models.CharField(max_length=254, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects: ClassVar[PlannedEventQuerySet] = PlannedEventQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ("start_at", "pk")
        constraints = (
            models.CheckConstraint(
                condition=Q(deployment__isnull=False, scenario=None) | Q(deployment=None, scenario__isnull=False), name="planned_of_one"
            ),
            models.CheckConstraint(condition=Q(end_at=None) | Q(end_at__gt=models.F("start_at")), name="planned_ends_after"),
            models.CheckConstraint(condition=Q(factor=None) | Q(factor__gte=0), name="planned_factor"),
            models.CheckConstraint(condition=Q(added_requests_per_second__gte=0), name="planned_added"),
        )

    def __str__(self) -> str:
        return self.name


class PlanRunQuerySet(models.QuerySet["PlanRun"]):
    def of_deployments(self, deployments: QuerySet[Deployment], *, clusters: QuerySet[Cluster]) -> Self:
        seen = Scenario.objects.of_deployments(deployments, clusters=clusters)
        return self.filter(Q(scenario=None, deployment__in=deployments) | Q(scenario__in=seen))


class PlanRun(models.Model):
    """The newest plan: of a deployment as it is (scenario null), or of a scenario. `result` is a `plan_records.PlanResult`."""

    deployment = models.ForeignKey(Deployment, models.CASCADE, null=True, blank=True, related_name="plans")
    scenario = models.OneToOneField(Scenario, models.CASCADE, null=True, blank=True, related_name="plan")
    made_at = models.DateTimeField(default=timezone.now)
    as_of = models.DateTimeField(null=True, blank=True)
    refusal = models.CharField(max_length=400, blank=True)
    runs_out_on = models.DateField(null=True, blank=True)  # median demand
    runs_out_early_on = models.DateField(null=True, blank=True)  # 90 % quantile of demand
    order_by = models.DateField(null=True, blank=True)
    replicas_now = models.FloatField(null=True, blank=True)
    replicas_needed = models.PositiveIntegerField(null=True, blank=True)
    cost_per_month = models.DecimalField(max_digits=16, decimal_places=2, null=True, blank=True)
    currency = models.CharField(max_length=3, blank=True)
    lost_minutes_risk = models.FloatField(null=True, blank=True)  # a month, doing nothing
    result = models.JSONField(default=dict)
    # Kept by the database beside the long result, which lists then need not read.
    verdict = models.GeneratedField(expression=KT("result__verdict"), output_field=models.CharField(max_length=10), db_persist=True)
    headline = models.GeneratedField(expression=KT("result__headline"), output_field=models.TextField(), db_persist=True)
    forecast_error_ratio = models.GeneratedField(
        expression=Cast(KT("result__demand__error_ratio"), models.FloatField()), output_field=models.FloatField(), db_persist=True
    )
    inputs_digest = models.CharField(max_length=64, blank=True)
    code_version = models.CharField(max_length=40, blank=True)
    seconds = models.FloatField(default=0.0)

    objects: ClassVar[PlanRunQuerySet] = PlanRunQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = (
            models.CheckConstraint(condition=Q(deployment__isnull=False) | Q(scenario__isnull=False), name="plan_of_something"),
            models.UniqueConstraint(fields=("deployment",), condition=Q(scenario=None), name="plan_base_once"),
        )


class SupplyState(models.TextChoices):
    RESERVED = "reserved", "Reserved"
    ON_ORDER = "on_order", "On order"
    ARRIVED = "arrived", "Arrived"
    CANCELLED = "cancelled", "Cancelled"


class SupplyOrder(models.Model):
    """Accelerators or nodes of a cluster that are not there yet."""

    cluster = models.ForeignKey(Cluster, models.CASCADE, related_name="supply_orders")
    accelerator_model = models.CharField(max_length=120, blank=True)
    instance_type = models.CharField(max_length=80, blank=True)
    accelerators = models.PositiveIntegerField(default=0)
    nodes = models.PositiveIntegerField(default=0)
    state = models.CharField(max_length=10, choices=SupplyState.choices, default=SupplyState.ON_ORDER)
    arrives_on = models.DateField(null=True, blank=True)
    note = models.CharField(max_length=300, blank=True)
    set_by = models.CharField(max_length=254, blank=True)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("arrives_on", "pk")
        constraints = (models.CheckConstraint(condition=Q(accelerators__gt=0) | Q(nodes__gt=0), name="supply_of_something"),)


class Turn(models.Model):
    """Whose turn it is: one row a job and entity, claimed by lease, so that no two workers look at the same."""

    job = models.CharField(max_length=40)  # "forecast_fit", "forecast_hour", "plan", "saturation"
    subject = models.CharField(max_length=40)  # "deployment:12", "node:3"
    due_at = models.DateTimeField()
    lease_until = models.DateTimeField(null=True, blank=True)
    owner = models.CharField(max_length=120, blank=True)
    claimed_at = models.DateTimeField(null=True, blank=True)  # what it reads, it reads after that
    done_at = models.DateTimeField(null=True, blank=True)
    seconds = models.FloatField(null=True, blank=True)
    failures = models.PositiveIntegerField(default=0)
    error = models.CharField(max_length=400, blank=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("job", "subject"), name="turn_once"),)
        indexes = (models.Index(fields=("job", "due_at"), name="turn_due"),)

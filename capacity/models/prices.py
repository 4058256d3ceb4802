"""What an hour of an instance type, an accelerator or one node costs, since when and who says so; rates between currencies."""

from datetime import date, datetime
from typing import ClassVar, Self

from django.db import models
from django.db.models import Q
from django.utils import timezone

from capacity.models.prices_shipped import PRICE_SOURCES, SHIPPED, ShippedPrice
from monitoring.models import Node, Setting

CURRENCY = "USD"
CURRENCY_SETTING = "currency"


class PriceKind(models.TextChoices):
    INSTANCE = "instance", "Instance type"
    ACCELERATOR = "accelerator", "Accelerator"
    NODE = "node", "One node"


class PriceQuerySet(models.QuerySet["Price"]):
    def valid_on(self, day: date) -> Self:
        return self.filter(Q(valid_to=None) | Q(valid_to__gt=day), valid_from__lte=day)

    def of_nodes(self, nodes: models.QuerySet[Node]) -> Self:
        """Those for all nodes of a kind, and by hand only those of the nodes one sees."""
        return self.filter(Q(node=None) | Q(node__in=nodes))

    def pricing(self) -> Self:
        """Those that price something by themselves."""
        return self.filter(reference=False)


class Price(models.Model):
    """Holds from `valid_from` until a newer one for the same, or until `valid_to`, which is the first day it no longer holds."""

    kind = models.CharField(max_length=12, choices=PriceKind.choices)
    name = models.CharField(max_length=253, help_text="Instance type, the accelerator as its driver names it, or the node.")
    node = models.ForeignKey(Node, models.CASCADE, null=True, blank=True, related_name="prices")
    hourly_rate = models.DecimalField(max_digits=14, decimal_places=6)
    currency = models.CharField(max_length=3, default=CURRENCY)
    provider = models.CharField(max_length=40, blank=True)
    region = models.CharField(max_length=60, blank=True, help_text="Empty: everywhere.")
    valid_from = models.DateField()
    valid_to = models.DateField(null=True, blank=True)
    source = models.CharField(max_length=300, blank=True, help_text="Who says so.")
    source_url = models.CharField(max_length=500, blank=True)
    shipped = models.BooleanField(default=False, help_text="A published list price that came with Headroom.")
    shipped_key = models.CharField(max_length=200, blank=True)
    reference = models.BooleanField(default=False, help_text="Prices nothing until somebody takes it over.")
    set_by = models.CharField(max_length=254, blank=True)
    updated_at = models.DateTimeField(default=timezone.now)

    objects: ClassVar[PriceQuerySet] = PriceQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ("kind", "name", "region", "-valid_from")
        constraints = (
            models.CheckConstraint(condition=Q(hourly_rate__gt=0), name="price_above_zero"),
            models.CheckConstraint(condition=Q(valid_to=None) | Q(valid_to__gte=models.F("valid_from")), name="price_ends_after"),
            models.CheckConstraint(condition=Q(kind="node", node__isnull=False) | ~Q(kind="node") & Q(node=None), name="price_node"),
            models.UniqueConstraint(
                fields=("kind", "name", "region", "valid_from"), condition=Q(shipped=False, node=None), name="price_once_a_day"
            ),
            models.UniqueConstraint(fields=("node", "valid_from"), condition=Q(node__isnull=False), name="price_node_once_a_day"),
            models.UniqueConstraint(fields=("shipped_key",), condition=~Q(shipped_key=""), name="price_shipped_once"),
        )

    def __str__(self) -> str:
        return f"{self.name} {self.hourly_rate} {self.currency}"[:200]


class CurrencyRate(models.Model):
    """What one unit of `currency` was worth in `into`, from a day on until the next rate."""

    currency = models.CharField(max_length=3)
    into = models.CharField(max_length=3)
    rate = models.DecimalField(max_digits=18, decimal_places=8)
    valid_from = models.DateField()
    source = models.CharField(max_length=300, blank=True)
    set_by = models.CharField(max_length=254, blank=True)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("currency", "-valid_from")
        constraints = (
            models.CheckConstraint(condition=Q(rate__gt=0), name="rate_above_zero"),
            models.UniqueConstraint(fields=("currency", "into", "valid_from"), name="rate_once_a_day"),
        )

    def __str__(self) -> str:
        return f"{self.currency} in {self.into}"


def currency_get() -> str:
    """The currency in which this install speaks of money."""
    stored = Setting.objects.filter(name=CURRENCY_SETTING).values_list("value", flat=True).first()
    return str(stored or CURRENCY)


def currency_set(code: str, *, by: str, now: datetime) -> Setting:
    row, _ = Setting.objects.update_or_create(name=CURRENCY_SETTING, defaults={"value": code, "updated_by": by, "updated_at": now})
    return row


def prices_ship(*, now: datetime) -> int:
    """Put in the shipped prices that are not here yet. What was ended stays ended, also when a newer reading of it is shipped."""
    here = set(Price.objects.filter(shipped=True).values_list("shipped_key", flat=True))
    ended = set(Price.objects.filter(shipped=True, valid_to__isnull=False).values_list("name", "provider", "region"))
    new = [each for each in SHIPPED if each.key not in here and (each.name, each.provider, each.region) not in ended]
    Price.objects.bulk_create((price_shipped(each, now=now) for each in new), ignore_conflicts=True)
    return len(new)


def price_shipped(each: ShippedPrice, *, now: datetime) -> Price:
    source = PRICE_SOURCES[each.source]
    return Price(
        kind=PriceKind.ACCELERATOR if each.reference else PriceKind.INSTANCE,
        name=each.name,
        hourly_rate=each.hourly_rate,
        provider=each.provider,
        region=each.region,
        valid_from=each.read_on,
        source=source.title,
        source_url=source.url,
        shipped=True,
        shipped_key=each.key,
        reference=each.reference,
        updated_at=now,
    )

"""Notices that prices changed: by what they are and not by who changed them, so that no door is forgotten and a day that begins counts too.

The prices of now are a turn's subject: others than before are another subject, due at once and worked on by one worker only.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from math import isclose

from django.db.models.fields.json import KT

from capacity.analysis.plan_due import plans_due
from capacity.analysis.plan_inputs import price_of
from capacity.analysis.prices import HourPrice, replica_prices
from capacity.analysis.turns import Job, Keep, turns_due, turns_work
from capacity.models import CurrencyRate, PlanRun, Price, Turn, currency_get
from monitoring.models import Deployment

PRICES = Job("plan-prices", every=timedelta(days=365), lease=timedelta(seconds=60))
WORK_SECONDS = 30.0
SAME = 1e-6  # a rate went through a float
COLUMNS = ("pk", "kind", "name", "node", "region", "hourly_rate", "currency", "shipped", "valid_from", "source")
Told = tuple[float | None, str, str]  # rate of a replica, currency, certainty


def prices_seen(*, clock: Callable[[], datetime]) -> None:
    """Plans whose price is another one now are due. Four queries while prices stay as they are."""
    now = clock()
    if turns_due(PRICES, [f"prices:{prices_digest(now=now)}"], now=now):
        turns_work(PRICES, repriced_load, clock=clock, budget_seconds=WORK_SECONDS)


def prices_digest(*, now: datetime) -> str:
    currency, today = currency_get(), now.date()
    prices = Price.objects.valid_on(today).pricing().order_by("pk").values_list(*COLUMNS)
    rates = CurrencyRate.objects.filter(into=currency, valid_from__lte=today).order_by("pk").values_list("currency", "rate", "valid_from")
    return hashlib.sha256(repr((currency, list(prices), list(rates))).encode()).hexdigest()[:24]


def repriced_load(turns: Sequence[Turn], now: datetime) -> Callable[[Turn], Keep]:
    def work(turn: Turn) -> Keep:
        found = repriced(now=now)
        return lambda: plans_due(found, now=now)

    return work


def repriced(*, now: datetime) -> list[Deployment]:
    """Those whose plan tells another price than a replica has now."""
    runs = PlanRun.objects.filter(scenario=None).annotate(
        told_rate=KT("result__cost__hourly_rate"), told_currency=KT("result__cost__currency"), told_certainty=KT("result__cost__certainty")
    )
    rows = runs.filter(told_certainty__isnull=False).values_list("deployment", "told_rate", "told_currency", "told_certainty")
    told: dict[int, Told] = {pk: (None if rate is None else float(rate), currency, sure) for pk, rate, currency, sure in rows if pk}
    deployments = list(Deployment.objects.filter(pk__in=told))
    found = replica_prices(deployments, at=now)
    return [row for row in deployments if differs(told[row.pk], price_now(row, found[row.pk].hour, now=now))]


def price_now(deployment: Deployment, hour: HourPrice, *, now: datetime) -> HourPrice:
    """As a plan takes it: of what stands on no node now, by where it stood last."""
    return price_of(deployment, now=now).hour if hour.reason == "no_placement" else hour


def differs(told: Told, hour: HourPrice) -> bool:
    rate, currency, certainty = told
    if rate is None or hour.hourly_rate is None:
        return (rate is None) != (hour.hourly_rate is None)
    return (currency, certainty) != (hour.currency, hour.certainty.value) or not isclose(rate, float(hour.hourly_rate), rel_tol=SAME)

"""What `capacity` concludes and decides."""

from capacity.models.demo import DemoAction, DemoRun, DemoState
from capacity.models.prices import (
    CURRENCY,
    CURRENCY_SETTING,
    CurrencyRate,
    Price,
    PriceKind,
    PriceQuerySet,
    currency_get,
    currency_set,
    prices_ship,
)
from capacity.models.slo import SloLedger
from capacity.models.status import DeploymentStatus, Verdict

__all__ = [
    "CURRENCY",
    "CURRENCY_SETTING",
    "CurrencyRate",
    "DemoAction",
    "DemoRun",
    "DemoState",
    "DeploymentStatus",
    "Price",
    "PriceKind",
    "PriceQuerySet",
    "SloLedger",
    "Verdict",
    "currency_get",
    "currency_set",
    "prices_ship",
]

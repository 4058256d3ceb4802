"""What `capacity` concludes and decides."""

from capacity.models.demo import DemoAction, DemoRun, DemoState
from capacity.models.plans import (
    ForecastRun,
    Horizon,
    PlannedEvent,
    PlannedKind,
    PlanRun,
    PlanSettings,
    SaturationRun,
    Scenario,
    Scope,
    SupplyOrder,
    SupplyState,
    Turn,
)
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
    "ForecastRun",
    "Horizon",
    "PlanRun",
    "PlanSettings",
    "PlannedEvent",
    "PlannedKind",
    "Price",
    "PriceKind",
    "PriceQuerySet",
    "SaturationRun",
    "Scenario",
    "Scope",
    "SloLedger",
    "SupplyOrder",
    "SupplyState",
    "Turn",
    "Verdict",
    "currency_get",
    "currency_set",
    "prices_ship",
]

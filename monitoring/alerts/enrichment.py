"""The one function that may add money and context to an alert as it fires: registered by who knows of such things."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import structlog
from django.db import transaction

log = structlog.get_logger("headroom.alerts")


@dataclass(frozen=True)
class Enrichment:
    money: Decimal | None = None  # what the trouble costs
    currency: str = ""
    context: Mapping[str, Any] = field(default_factory=dict)  # what else is known, ready for JSON


Enrich = Callable[[int | None, Mapping[str, str]], Enrichment]  # (deployment, labels)
registered: list[Enrich] = []


def enrichment_register(enrich: Enrich) -> None:
    """Call once, in an app's ready(); the newest counts."""
    registered[:] = [enrich]


def enrichment_of(deployment_id: int | None, labels: Mapping[str, str]) -> Enrichment:
    """What the registered function knows. Its failure costs the money on the message, never the message."""
    if not registered:
        return Enrichment()
    try:
        with transaction.atomic():
            return registered[0](deployment_id, labels)
    except Exception:
        log.exception("an alert could not be enriched", deployment=deployment_id)
        return Enrichment()

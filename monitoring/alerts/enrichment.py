"""The one function that may add money and context to alerts as they begin and end: registered by who knows of such things.

It is asked once for all alerts that change together, so that its look-ups do not grow with them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import structlog
from django.db import transaction

from monitoring.alerts.messages import quick_statements
from monitoring.models import Alert

log = structlog.get_logger("headroom.alerts")


@dataclass(frozen=True)
class Trouble:
    """An alert as the enriching function gets it: plain values."""

    deployment: int | None
    labels: Mapping[str, str]
    started_at: datetime
    ended: bool = False
    finding: bool = False  # raised by who found it, with money of its own or none


@dataclass(frozen=True)
class Enrichment:
    money: Decimal | None = None  # what the trouble costs
    currency: str = ""
    context: Mapping[str, Any] = field(default_factory=dict)  # what else is known, ready for JSON


Enrich = Callable[[Sequence[Trouble], datetime], Sequence[Enrichment]]  # (troubles, now), in their order
registered: list[Enrich] = []


def enrichment_register(enrich: Enrich) -> None:
    """Call once, in an app's ready(); the newest counts."""
    registered[:] = [enrich]


def trouble_of(alert: Alert, *, ended: bool) -> Trouble:
    return Trouble(alert.deployment_id, alert.labels, alert.started_at, ended, alert.finding)


def enrichments_of(troubles: Sequence[Trouble], *, now: datetime) -> list[Enrichment]:
    """What the registered function knows. Its failure costs the money on the message, never the message."""
    nothing = [Enrichment() for _ in troubles]
    if not registered or not troubles:
        return nothing
    try:
        with transaction.atomic(), quick_statements():
            found = list(registered[0](troubles, now))
    except Exception:
        log.exception("alerts could not be enriched", alerts=len(troubles))
        return nothing
    return found if len(found) == len(troubles) else nothing

"""What one replica holds and costs: a line at the head of a Deployment page, with the way to its derivation."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from capacity.analysis.prices import LIVE, Certainty, ReplicaPrice, price_book, prices_held, rate_words
from capacity.analysis.words import percent_words
from capacity.dashboards.hardware import short_model
from capacity.dashboards.words import count
from capacity.models import DeploymentStatus
from monitoring.models import Placement, Replica

MONTH_HOURS = 730
CENTS, FINE = Decimal(1), Decimal("0.0001")  # a rate is told to the cent from 1 on, below it to four digits
HOW = {Certainty.MEASURED: "your own price", Certainty.ESTIMATED: "estimated"}


@dataclass(frozen=True)
class Placed:
    """A replica and what it lies on."""

    replica: Replica
    places: Sequence[Placement]
    estimated: bool


@dataclass(frozen=True)
class PriceLine:
    """ "1 replica = 2 × H100", "27.52 USD/h", "estimated", "6 replicas", "120,538 USD/month"."""

    holds: str
    rate: str
    certainty: str
    replicas: str
    month: str
    sentence: str  # which price, or why there is none


def price_line(placed: Sequence[Placed], *, status: DeploymentStatus | None, at: datetime) -> PriceLine | None:
    """None where no replica is told apart; three queries."""
    live = [each for each in placed if each.replica.last_seen_at > at - LIVE]
    if not live:
        return None
    held = {each.replica.pk: [place for place in each.places if holds_at(place, at)] for each in live}
    price = prices_held({0: held}, book=price_book(at=at))[0]
    number = round(status.replicas) if status is not None and status.replicas else len(live)
    return line_of(price, holds=f"1 replica {holdings(list(held.values()))}", number=number)


def holds_at(place: Placement, at: datetime) -> bool:
    return place.valid_from <= at and (place.valid_to is None or place.valid_to > at)


def line_of(price: ReplicaPrice, *, holds: str, number: int) -> PriceLine:
    hour, replicas = price.hour, count(number, "replica")
    if hour.hourly_rate is None or hour.shown is None:
        return PriceLine(holds, "", "no price", replicas, f"{number * MONTH_HOURS:,} replica-hours/month", hour.sentence)
    shown = f"{hour.shown:,.2f}" if hour.shown >= CENTS else rate_words(hour.shown.quantize(FINE))
    listed = "a list price" in hour.sentence
    certainty = "list price, estimated" if listed and hour.certainty == Certainty.ESTIMATED else HOW[hour.certainty]
    month = f"{hour.hourly_rate * number * MONTH_HOURS:,.0f} {hour.currency}/month"
    return PriceLine(holds, f"{shown} {hour.currency}/h", certainty, replicas, month, hour.sentence)


def holdings(held: Sequence[Sequence[Placement]]) -> str:
    """What most of its replicas hold: "= 2 × H100", "= 40 % of 1 A10G", "on a c7i.8xlarge"."""
    found = Counter(holding(places) for places in held)
    text, number = found.most_common(1)[0]
    return text if number == len(held) else f"{text}, mostly"


def holding(places: Sequence[Placement]) -> str:
    cards = Counter((short_name(place), place.share) for place in places if place.accelerator is not None)
    if cards:
        parts = (
            f"{number} × {name}" if share >= 1 else f"{percent_words(share)} of {number} {name}" for (name, share), number in cards.items()
        )
        return f"= {' and '.join(parts)}"
    node = next((place.node for place in places if place.node is not None), None)
    if node is None:
        return "on an unknown node"
    whole = f"a {node.instance_type}" if node.instance_type else "a node without an instance type"
    return f"on {whole}" if places[0].share >= 1 else f"on {percent_words(places[0].share)} of {whole}"


def short_name(place: Placement) -> str:
    card = place.accelerator
    assert card is not None
    return card.mig_profile or short_model(card.model_name)

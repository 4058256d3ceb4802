"""What an hour of a node, an accelerator or a replica costs at a moment, from which price and since when; or why it is not known."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from django.db.models import Q

from capacity.engine.prices import accelerator_rate, mig_ratio, rate_round, rate_sum
from capacity.models import CurrencyRate, Price, PriceKind, currency_get
from monitoring.models import Accelerator, Deployment, Node, Placement, PlacementMethod, Replica

GUESSED = (PlacementMethod.EQUAL_SPLIT, PlacementMethod.SM_TIME)
STAYS = timedelta(days=1)  # an accelerator not seen for longer than its neighbours was taken out
LIVE = timedelta(minutes=15)
SLICES = {"A30": 4, "RTX PRO 6000": 4}  # compute slices of GPUs that have fewer than seven; NVIDIA MIG user guide
REGION_LABELS = ("label_topology_kubernetes_io_region", "topology.kubernetes.io/region", "region")
REPLICA_HOURS = "Without it, plans speak in replica-hours."


class Certainty(StrEnum):
    """Measured: by a price this install entered. Estimated: by a published list price, or by a share that is a guess."""

    MEASURED = "measured"
    ESTIMATED = "estimated"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class HourPrice:
    """An hour of something in the install's currency, not rounded; None with a reason where it is not known."""

    hourly_rate: Decimal | None
    currency: str
    certainty: Certainty
    sentence: str  # how it was found, or what is missing
    reason: str = ""  # no_price, no_rate, no_placement, no_accelerators
    prices: tuple[int, ...] = ()  # ids of the rows it rests on

    @property
    def shown(self) -> Decimal | None:
        return None if self.hourly_rate is None else rate_round(self.hourly_rate)


@dataclass(frozen=True)
class ReplicaPrice:
    """An hour of one replica of a deployment, on average over those whose price is known."""

    hour: HourPrice
    known: int
    replicas: int


def unknown(reason: str, sentence: str, *, currency: str) -> HourPrice:
    return HourPrice(None, currency, Certainty.UNKNOWN, sentence, reason)


def model_key(name: str) -> str:
    """How an accelerator is looked up: without its maker, in small letters."""
    return name.lower().removeprefix("nvidia ").removeprefix("tesla ").strip()


def price_key(price: Price) -> tuple[str, str]:
    return price.kind, model_key(price.name) if price.kind == PriceKind.ACCELERATOR else price.name.lower()


def region_of(node: Node) -> str:
    return next((str(node.labels[name]) for name in REGION_LABELS if node.labels.get(name)), "")


def cards_in(cards: Iterable[Accelerator]) -> list[Accelerator]:
    """The GPUs in a node now: no slices, and none that was taken out."""
    whole = [card for card in cards if not card.mig_profile]
    newest = max((card.last_seen_at for card in whole), default=None)
    return [card for card in whole if newest is not None and card.last_seen_at >= newest - STAYS]


@dataclass(frozen=True)
class PriceBook:
    """The prices and rates that hold at one moment, in the install's currency."""

    at: datetime
    currency: str
    by_node: Mapping[int, Price]
    by_name: Mapping[tuple[str, str], Sequence[Price]]
    rates: Mapping[str, CurrencyRate]

    def node(self, node: Node, cards: Sequence[Accelerator]) -> HourPrice:
        """By hand, else the install's own price of its type or of all its GPUs, else the published one of its type."""
        if price := self.by_node.get(node.pk):
            return self.converted(price, f"set by hand for {node.name}")
        named = self.by_name.get((PriceKind.INSTANCE, node.instance_type.lower()), ()) if node.instance_type else ()
        if price := self.fitting(named, node=node, shipped=False):
            return self.converted(price, f"for {node.instance_type}")
        if summed := self.summed(cards_in(cards)):
            return summed
        if price := self.fitting(named, node=node, shipped=True):
            return self.listed(price, node)
        text = f"No price for {node.instance_type}" if node.instance_type else f"{node.name} has no instance type and no price by hand"
        return unknown("no_price", f"{text}. {REPLICA_HOURS}", currency=self.currency)

    def accelerator(self, card: Accelerator, *, node: Node | None, cards: Sequence[Accelerator]) -> HourPrice:
        """Its part of the node's price, shared evenly by the GPUs in it; a slice its part of its GPU."""
        ratio = self.slice_ratio(card)
        if ratio is None:
            return unknown("no_price", f"{card.mig_profile} is no known slice of a {card.model_name}.", currency=self.currency)
        part = f", the slice {card.mig_profile} of it" if card.mig_profile else ""
        whole = cards_in(cards)
        found = self.node(node, cards) if node is not None else None
        own = self.fitting(self.by_name.get((PriceKind.ACCELERATOR, model_key(card.model_name)), ()), node=node, shipped=False)
        if own and (found is None or found.hourly_rate is None or own.pk in found.prices):
            hour = self.converted(own, f"for one {card.model_name}{part}")
            return hour if hour.hourly_rate is None else replace(hour, hourly_rate=hour.hourly_rate * ratio)
        if node is None or found is None:
            return unknown("no_price", f"The node of {card.uuid} is not known, and its model has no price.", currency=self.currency)
        if found.hourly_rate is None:
            return found
        if not whole:
            return unknown("no_accelerators", f"The GPUs of {node.name} are not known, only slices.", currency=self.currency)
        rate = accelerator_rate(found.hourly_rate, accelerators=len(whole), ratio=ratio)
        shared = f"One of {len(whole)} GPUs of {node.name}{part}: {found.sentence}" if len(whole) > 1 or part else found.sentence
        return replace(found, hourly_rate=rate, sentence=shared)

    @property
    def by_cards(self) -> bool:
        """Are there own prices of GPUs, so that it matters which stand in a node?"""
        return any(kind == PriceKind.ACCELERATOR and any(not row.shipped for row in rows) for (kind, _), rows in self.by_name.items())

    def slice_ratio(self, card: Accelerator) -> Decimal | None:
        if not card.mig_profile:
            return Decimal(1)
        few = next((slices for name, slices in SLICES.items() if name in card.model_name), None)
        return mig_ratio(card.mig_profile, slices=few) if few else mig_ratio(card.mig_profile)

    def replica(self, placements: Sequence[Placement], cards: Mapping[int, Sequence[Accelerator]]) -> HourPrice:
        """The sum over what it holds; a replica with GPUs has its part of the node in their price."""
        held = [each for each in placements if each.accelerator_id] or list(placements)
        if not held:
            return unknown("no_placement", "It is not known on which node it runs.", currency=self.currency)
        parts = [(each, self.placement(each, cards)) for each in held]
        if missing := next((hour for _, hour in parts if hour.hourly_rate is None), None):
            return missing
        guessed = any(each.method in GUESSED for each in held) or any(hour.certainty == Certainty.ESTIMATED for _, hour in parts)
        total = rate_sum((hour.hourly_rate, each.share) for each, hour in parts if hour.hourly_rate is not None)
        sentences = list(dict.fromkeys(hour.sentence for _, hour in parts))
        count = f"{len(parts)} GPUs. " if len(parts) > 1 else ""
        ids = tuple(sorted({pk for _, hour in parts for pk in hour.prices}))
        certainty = Certainty.ESTIMATED if guessed else Certainty.MEASURED
        return HourPrice(total, self.currency, certainty, count + " ".join(sentences), prices=ids)

    def placement(self, placement: Placement, cards: Mapping[int, Sequence[Accelerator]]) -> HourPrice:
        card = placement.accelerator
        if card is not None:
            return self.accelerator(card, node=card.node, cards=cards.get(card.node_id or 0, ()))
        node = placement.node
        assert node is not None  # the table holds one of the two
        if cards.get(node.pk):
            text = f"It holds none of the GPUs of {node.name}, whose price is shared by those who do."
            return unknown("no_accelerators", text, currency=self.currency)
        return self.node(node, ())

    def fitting(self, prices: Sequence[Price], *, node: Node | None, shipped: bool) -> Price | None:
        """The newest one for the node's region, else for everywhere; a published one of another region is better than none."""
        region = region_of(node) if node is not None else ""

        def fit(price: Price) -> int:
            return 2 if price.region == region else 1 if not price.region or not region else 0

        mine = [price for price in prices if price.shipped == shipped and (shipped or fit(price) > 0)]
        return max(mine, key=lambda price: (fit(price), price.valid_from, price.pk), default=None)

    def summed(self, cards: Sequence[Accelerator]) -> HourPrice | None:
        """A node all of whose GPUs have a price of the install's own."""
        hours = [self.by_name.get((PriceKind.ACCELERATOR, model_key(card.model_name)), ()) for card in cards]
        rows = [self.fitting(prices, node=card.node, shipped=False) for card, prices in zip(cards, hours, strict=True)]
        chosen = [row for row in rows if row is not None]
        if not chosen or len(chosen) < len(cards):
            return None
        parts = [self.converted(row, f"for one {row.name}") for row in chosen]
        if missing := next((part for part in parts if part.hourly_rate is None), None):
            return missing
        total = rate_sum((part.hourly_rate, 1.0) for part in parts if part.hourly_rate is not None)
        words = " ".join(dict.fromkeys(part.sentence for part in parts))
        return HourPrice(total, self.currency, Certainty.MEASURED, f"{len(parts)} GPUs. {words}", prices=tuple({row.pk for row in chosen}))

    def listed(self, price: Price, node: Node) -> HourPrice:
        region = region_of(node)
        where = f", of {price.region}; the node is in {region}" if region and price.region and price.region != region else ""
        return self.converted(price, f"for {node.instance_type}, a list price{where}")

    def converted(self, price: Price, what: str) -> HourPrice:
        certainty = Certainty.ESTIMATED if price.shipped else Certainty.MEASURED
        who = f" Source: {price.source}." if price.source else ""
        text = f"{rate_words(price.hourly_rate)} {price.currency} an hour {what}, since {price.valid_from:%Y-%m-%d}.{who}"
        if price.currency == self.currency:
            return HourPrice(price.hourly_rate, self.currency, certainty, text, prices=(price.pk,))
        rate = self.rates.get(price.currency)
        if rate is None:
            missing = f"{text} There is no rate for {price.currency} into {self.currency} on {self.at:%Y-%m-%d}."
            return HourPrice(None, self.currency, Certainty.UNKNOWN, missing, "no_rate", (price.pk,))
        said = f"{text} 1 {price.currency} = {rate_words(rate.rate)} {self.currency} since {rate.valid_from:%Y-%m-%d}."
        return HourPrice(price.hourly_rate * rate.rate, self.currency, certainty, said, prices=(price.pk,))


def rate_words(rate: Decimal) -> str:
    """ "3.99", "55.04", "0.526": at least two decimals, no empty ones."""
    text = f"{rate.normalize():,f}"
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals.ljust(2, '0')}"


def price_book(*, at: datetime) -> PriceBook:
    """Two queries, and one for rates where some price is in another currency, whatever the fleet."""
    by_node: dict[int, Price] = {}
    by_name: dict[tuple[str, str], list[Price]] = defaultdict(list)
    for price in Price.objects.valid_on(at.date()).pricing().order_by("valid_from", "pk"):
        if price.node_id is not None:
            by_node[price.node_id] = price
        else:
            by_name[price_key(price)].append(price)
    currency = currency_get()
    foreign = {price.currency for price in by_node.values()} | {price.currency for prices in by_name.values() for price in prices}
    known = CurrencyRate.objects.filter(into=currency, valid_from__lte=at.date()).order_by("valid_from")
    rates = known if foreign - {currency} else known.none()
    return PriceBook(at, currency, by_node, dict(by_name), {rate.currency: rate for rate in rates})


def cards_by_node(nodes: Iterable[int]) -> dict[int, list[Accelerator]]:
    cards: dict[int, list[Accelerator]] = defaultdict(list)
    for card in Accelerator.objects.filter(node__in=list(nodes)).select_related("node"):
        cards[card.node_id or 0].append(card)
    return cards


def node_price(node: Node, *, at: datetime) -> HourPrice:
    return node_prices([node], book=price_book(at=at))[node.pk]


def node_prices(nodes: Sequence[Node], *, book: PriceBook) -> dict[int, HourPrice]:
    """Of each node: by all GPUs in it, whoever sees them. At most one query."""
    cards = cards_by_node(node.pk for node in nodes) if book.by_cards else {}
    return {node.pk: book.node(node, cards.get(node.pk, ())) for node in nodes}


def accelerator_price(card: Accelerator, *, at: datetime) -> HourPrice:
    cards = cards_by_node([card.node_id])[card.node_id] if card.node_id else [card]
    return price_book(at=at).accelerator(card, node=card.node, cards=cards)


def replica_price(deployment: Deployment, *, at: datetime) -> ReplicaPrice:
    return replica_prices([deployment], at=at)[deployment.pk]


def replica_prices(deployments: Sequence[Deployment], *, at: datetime) -> dict[int, ReplicaPrice]:
    """Of each deployment; six queries at most, however many."""
    book, ids = price_book(at=at), [deployment.pk for deployment in deployments]
    held: dict[int, dict[int, list[Placement]]] = {pk: {} for pk in ids}
    live = Replica.objects.filter(deployment__in=ids, first_seen_at__lte=at, last_seen_at__gt=at - LIVE)
    for replica, deployment in live.values_list("pk", "deployment"):
        held[deployment][replica] = []
    open_then = Q(valid_to=None) | Q(valid_to__gt=at)
    placed = Placement.objects.filter(open_then, replica__deployment__in=ids, valid_from__lte=at)
    for row in placed.select_related("accelerator__node", "node", "replica"):
        held[row.replica.deployment_id].setdefault(row.replica_id, []).append(row)
    return prices_held(held, book=book)


def prices_held(held: Mapping[int, Mapping[int, Sequence[Placement]]], *, book: PriceBook) -> dict[int, ReplicaPrice]:
    """Of each deployment, from what its replicas hold: deployment -> replica -> placements with their accelerator's node. One query."""
    rows = [row for replicas in held.values() for placements in replicas.values() for row in placements]
    nodes = {row.accelerator.node_id if row.accelerator else row.node_id for row in rows} - {None}
    cards = cards_by_node(pk for pk in nodes if pk is not None)
    return {pk: averaged([book.replica(each, cards) for each in own.values()], currency=book.currency) for pk, own in held.items()}


def averaged(hours: Sequence[HourPrice], *, currency: str) -> ReplicaPrice:
    if not hours:
        return ReplicaPrice(unknown("no_placement", "No replica was seen then.", currency=currency), 0, 0)
    known = [hour for hour in hours if hour.hourly_rate is not None]
    if not known:
        return ReplicaPrice(hours[0], 0, len(hours))
    total = rate_sum((hour.hourly_rate, 1.0) for hour in known if hour.hourly_rate is not None)
    measured = len(known) == len(hours) and all(hour.certainty == Certainty.MEASURED for hour in known)
    sentences = list(dict.fromkeys(hour.sentence for hour in known))
    words = (
        sentences[0] if len(sentences) == 1 else f"Replicas differ; {rate_words(rate_round(total / len(known)))} on average. {sentences[0]}"
    )
    if len(known) < len(hours):
        words = f"{len(hours) - len(known)} of {len(hours)} replicas have no price. {words}"
    ids = tuple(sorted({pk for hour in known for pk in hour.prices}))
    hour = HourPrice(total / len(known), currency, Certainty.MEASURED if measured else Certainty.ESTIMATED, words, prices=ids)
    return ReplicaPrice(hour, len(known), len(hours))

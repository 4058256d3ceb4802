"""What a price, a rate between currencies and the install's currency may be: one set of checks for pages and API."""

import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from django.db.models import Q

from capacity.analysis.prices import model_key, rate_words
from capacity.models import CurrencyRate, Price, PriceKind
from monitoring.models import Node

CODE = re.compile(r"[A-Z]{3}")
MOST, DECIMALS = Decimal(100_000), 6
MOST_RATE, RATE_DECIMALS = Decimal(1_000_000), 8
LENGTHS = {"name": 253, "provider": 40, "region": 60, "source": 300}
EARLIEST, LATEST = date(2000, 1, 1), date(2100, 1, 1)
EXAMPLES = {
    PriceKind.INSTANCE: "e.g. p5.48xlarge",
    PriceKind.ACCELERATOR: "e.g. NVIDIA H100 80GB HBM3",
    PriceKind.NODE: "e.g. gpu-01 or cluster/gpu-01",
}


class PriceError(Exception):
    """What is wrong, a sentence by field; "" for what concerns several."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__(" ".join(problems.values()))
        self.problems = dict(problems)


class Fields:
    """Reads fields one by one and gathers what is wrong with them."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.fields, self.problems = fields, dict[str, str]()

    def wrong(self, name: str, sentence: str) -> None:
        self.problems.setdefault(name, sentence)

    def text(self, name: str) -> str:
        text = str(self.fields.get(name) or "").strip()
        if len(text) > LENGTHS[name]:
            self.wrong(name, f"At most {LENGTHS[name]} characters, got {len(text)}.")
        if "\x00" in text:
            self.wrong(name, "A null character cannot be kept; take it out.")
        return text

    def money(self, name: str, *, most: Decimal, decimals: int, example: str) -> Decimal:
        given = str(self.fields.get(name) if self.fields.get(name) is not None else "").strip()
        try:
            value = Decimal(given)
        except InvalidOperation:
            value = Decimal("NaN")
        if not value.is_finite():
            self.wrong(name, f"{given[:40]!r} is not a number. Enter one like {example}." if given else f"Enter a number like {example}.")
            return Decimal(0)
        if value <= 0:
            self.wrong(name, f"It must be above 0, got {given[:40]}. What has no price is left without one.")
        elif value > most:
            self.wrong(name, f"It can be at most {most:,}, got {given[:40]}.")
        elif round(value, decimals) != value:
            self.wrong(name, f"At most {decimals} decimals are kept, got {given[:40]}.")
        return value

    def code(self, name: str) -> str:
        given = str(self.fields.get(name) or "").strip().upper()
        if not CODE.fullmatch(given):
            self.wrong(name, f"{given[:20]!r} is no currency code. Enter three letters, e.g. EUR.")
        return given

    def day(self, name: str, *, needed: bool) -> date | None:
        given = self.fields.get(name)
        if given in (None, ""):
            if needed:
                self.wrong(name, "Enter the first day on which it holds, e.g. 2026-11-01.")
            return None
        try:
            day = given if isinstance(given, date) else date.fromisoformat(str(given).strip())
        except ValueError:
            self.wrong(name, f"{str(given)[:40]!r} is not a day. Enter one like 2026-11-01.")
            return None
        if not EARLIEST <= day < LATEST:
            self.wrong(name, f"A day lies between {EARLIEST} and {LATEST}, got {day}.")
        return day


def price_make(fields: Mapping[str, Any], *, price: Price | None = None) -> Price:
    """The price as it would be, not saved; PriceError with a sentence for each field that cannot be."""
    if price is not None and price.shipped:
        raise PriceError({"": "This list price came with Headroom and stays as it was read. Enter your own, or end it."})
    known = {} if price is None else {name: getattr(price, name) for name in KEPT}
    read = Fields(known | dict(fields))
    made = Price(pk=price.pk if price else None, kind=str(read.fields.get("kind") or ""))
    made.name, made.provider, made.region, made.source = (read.text(name) for name in LENGTHS)
    made.hourly_rate = read.money("hourly_rate", most=MOST, decimals=DECIMALS, example="3.99")
    made.currency = read.code("currency")
    made.valid_to = read.day("valid_to", needed=False)
    start = read.day("valid_from", needed=True)
    if start is not None:
        made.valid_from = start
        end_check(made, read)
    subject_check(made, read, price)
    if not read.problems and (twin := twin_of(made)):
        shown = f"{rate_words(twin.hourly_rate)} {twin.currency}"
        read.wrong(
            "valid_from", f"{made.name} has a price from {made.valid_from} on already: {shown}. Change that one, or choose another day."
        )
    if read.problems:
        raise PriceError(read.problems)
    return made


KEPT = ("kind", *LENGTHS, "hourly_rate", "currency", "valid_from", "valid_to")


def end_check(price: Price, read: Fields) -> None:
    if price.valid_to is not None and price.valid_to < price.valid_from:
        read.wrong("valid_to", f"It cannot end on {price.valid_to}, before it begins on {price.valid_from}.")


def subject_check(made: Price, read: Fields, price: Price | None) -> None:
    if made.kind not in PriceKind.values:
        read.wrong("kind", f"A price is of one of {', '.join(PriceKind.values)}, got {made.kind[:40]!r}.")
        return
    if not made.name or (made.kind == PriceKind.ACCELERATOR and not model_key(made.name)):
        read.wrong("name", f"Enter what costs that much, {EXAMPLES[PriceKind(made.kind)]}.")
        return
    if made.kind != PriceKind.NODE or "name" in read.problems:
        return
    if price is not None and price.node is not None and made.name == price.name:
        made.node = price.node
    else:
        made.node = node_named(made.name, read)
    made.name = made.node.name if made.node else made.name
    if made.region:
        read.wrong("region", "One node stands in one place: leave the region away.")


def node_named(name: str, read: Fields) -> Node | None:
    cluster, slash, rest = name.partition("/")
    wanted = Q(name=name) | (Q(cluster__name=cluster, name=rest) if slash else Q())
    nodes = list(Node.objects.filter(wanted).select_related("cluster")[:3])
    if not nodes:
        read.wrong("name", f"No node is called {name[:80]!r}. Names are those of the page Accelerators, e.g. cluster/gpu-01.")
    elif len(nodes) > 1:
        places = " and ".join(f"{node.cluster.name}/{node.name}" for node in nodes[:2])
        read.wrong("name", f"More than one node is called that: say {places}.")
    return nodes[0] if len(nodes) == 1 else None


def twin_of(price: Price) -> Price | None:
    rows = Price.objects.filter(shipped=False, valid_from=price.valid_from).exclude(pk=price.pk)
    if price.node is not None:
        return rows.filter(node=price.node).first()
    return rows.filter(kind=price.kind, name=price.name, region=price.region).first()


def price_keep(price: Price, *, by: str, now: datetime) -> Price:
    price.set_by, price.updated_at = by[:254], now
    price.save()
    return price


def price_end(price: Price, day: object, *, by: str, now: datetime) -> Price:
    """No longer from `day` on; a published one too. What was older and still holds counts again."""
    read = Fields({"valid_to": day})
    ending = read.day("valid_to", needed=False)
    if ending is None and not read.problems:
        read.wrong("valid_to", "Enter the first day on which it no longer holds, e.g. 2026-12-01.")
    if ending is not None:
        price.valid_to = ending
        end_check(price, read)
    if read.problems:
        raise PriceError(read.problems)
    price.set_by, price.updated_at = by[:254], now
    price.save(update_fields=("valid_to", "set_by", "updated_at"))
    return price


def rate_make(fields: Mapping[str, Any], *, into: str) -> CurrencyRate:
    """What one unit of a currency is worth in the install's, from a day on; PriceError as above."""
    read = Fields(fields)
    made = CurrencyRate(currency=read.code("currency"), into=into, source=read.text("source"))
    made.rate = read.money("rate", most=MOST_RATE, decimals=RATE_DECIMALS, example="1.08")
    if made.currency == into:
        read.wrong("currency", f"{into} is the currency of this install: it needs no rate.")
    start = read.day("valid_from", needed=True)
    if start is not None:
        made.valid_from = start
        if CurrencyRate.objects.filter(currency=made.currency, into=into, valid_from=start).exists():
            read.wrong(
                "valid_from", f"There is a rate for {made.currency} from {start} on already. Remove that one, or choose another day."
            )
    if read.problems:
        raise PriceError(read.problems)
    return made


def rate_keep(rate: CurrencyRate, *, by: str, now: datetime) -> CurrencyRate:
    rate.set_by, rate.updated_at = by[:254], now
    rate.save()
    return rate


def currency_read(code: object) -> str:
    read = Fields({"currency": code})
    wanted = read.code("currency")
    if read.problems:
        raise PriceError(read.problems)
    return wanted

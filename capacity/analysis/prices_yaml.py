"""Own prices and rates between currencies as YAML, so that an install can be reproduced; a bad one loses nothing of the others."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import yaml
from django.db import IntegrityError, transaction

from capacity.analysis.prices import rate_words
from capacity.analysis.prices_change import PriceError, price_keep, price_make, rate_keep, rate_make
from capacity.models import CurrencyRate, Price, PriceKind

TEXT_MOST, ROWS_MOST = 500_000, 2000
HEAD = "# Own prices and rates of Headroom. Import changes those of the same thing and first day and makes the others; it deletes none.\n"
PRICE_FIELDS = ("kind", "name", "hourly_rate", "currency", "provider", "region", "valid_from", "valid_to", "source")
RATE_FIELDS = ("currency", "rate", "valid_from", "source")


@dataclass
class Imported:
    """What each is called; problems: the same -> one sentence a mistake."""

    made: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    problems: dict[str, tuple[str, ...]] = field(default_factory=dict)


def prices_export(prices: Iterable[Price], rates: Iterable[CurrencyRate]) -> str:
    """List prices are not written: they come with Headroom."""
    body = {
        "prices": [price_fields(price) for price in prices if not price.shipped],
        "rates": [rate_fields(rate) for rate in rates],
    }
    return HEAD + yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=140)


def price_fields(price: Price) -> dict[str, Any]:
    """As one enters it; what is empty is left out."""
    name = f"{price.node.cluster.name}/{price.node.name}" if price.node is not None else price.name
    found = {each: plain(getattr(price, each)) for each in PRICE_FIELDS} | {"name": name}
    return {each: value for each, value in found.items() if value not in ("", None)}


def rate_fields(rate: CurrencyRate) -> dict[str, Any]:
    found = {each: plain(getattr(rate, each)) for each in RATE_FIELDS}
    return {each: value for each, value in found.items() if value not in ("", None)}


def plain(value: Any) -> Any:
    """Money as text: a float would round it."""
    return rate_words(value).replace(",", "") if isinstance(value, Decimal) else value


def prices_import(text: str, *, into: str, by: str, now: datetime, write: bool) -> Imported:
    """Without `write` it only says what would be done. ValueError with a sentence where the whole cannot be read."""
    found = Imported()
    for kind, place, fields in rows_read(text):
        take = price_take if kind == "prices" else rate_take
        try:
            names_check(fields, kind=kind)
            with transaction.atomic():
                take(fields, found, into=into, by=by, now=now if write else None)
        except PriceError as error:
            found.problems[place] = tuple(f"{name}: {sentence}" if name else sentence for name, sentence in error.problems.items())
        except IntegrityError:
            found.problems[place] = ("Somebody entered the same just now. Look at it first.",)
    return found


def price_take(fields: dict[str, Any], found: Imported, *, into: str, by: str, now: datetime | None) -> None:
    """`now` None: nothing is written."""
    row = price_known(fields)
    blank = dict.fromkeys(("provider", "region", "source"), "") | {"valid_to": None}
    made = price_make(blank | fields, price=row)
    called = f"{made.name} from {made.valid_from}"
    if row is not None and price_fields(row) == price_fields(made):
        found.unchanged.append(called)
        return
    if now is not None:
        price_keep(made, by=by, now=now)
    (found.made if row is None else found.changed).append(called)


def price_known(fields: dict[str, Any]) -> Price | None:
    """The own price of the same thing and first day."""
    try:
        start = date.fromisoformat(str(fields.get("valid_from")))
    except ValueError:
        return None  # the check says so
    rows = Price.objects.filter(shipped=False, kind=str(fields.get("kind")), valid_from=start).select_related("node__cluster")
    name = str(fields.get("name"))
    if fields.get("kind") == PriceKind.NODE:
        cluster, _, node = name.partition("/")
        return rows.filter(node__cluster__name=cluster, node__name=node).first()
    return rows.filter(name=name, region=str(fields.get("region") or "")).first()


def rate_take(fields: dict[str, Any], found: Imported, *, into: str, by: str, now: datetime | None) -> None:
    """A rate is made or left as it is: one that was wrong is removed by hand first."""
    try:
        start = date.fromisoformat(str(fields.get("valid_from")))
        row = CurrencyRate.objects.filter(currency=str(fields.get("currency")), into=into, valid_from=start).first()
    except ValueError:
        row = None
    if row is not None and str(plain(row.rate)) == str(fields.get("rate")):
        found.unchanged.append(f"{row.currency} from {row.valid_from}")
        return
    made = rate_make(fields, into=into)
    if now is not None:
        rate_keep(made, by=by, now=now)
    found.made.append(f"{made.currency} from {made.valid_from}")


def rows_read(text: str) -> list[tuple[str, str, dict[str, Any]]]:
    """(prices or rates, its place in words, its fields) of each row."""
    if len(text) > TEXT_MOST:
        raise ValueError(f"The text has {len(text)} characters; at most {TEXT_MOST} are read. Split it.")
    try:
        read = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as problem:  # ValueError: a date that is none
        mark = getattr(problem, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ValueError(f"This is not YAML{where}: {getattr(problem, 'problem', None) or 'it cannot be read'}.") from problem
    lists = {kind: read.get(kind) or [] for kind in ("prices", "rates")} if isinstance(read, dict) else {}
    if not any(lists.values()) or not all(isinstance(rows, list) for rows in lists.values()):
        raise ValueError("A list is needed under the word `prices:` or `rates:`, as the export writes it.")
    rows = [(kind, f"{kind[:-1]} {number}", row) for kind, rows in lists.items() for number, row in enumerate(rows, start=1)]
    if len(rows) > ROWS_MOST:
        raise ValueError(f"The text has {len(rows)} rows; at most {ROWS_MOST} are read at once. Split it.")
    return [(kind, place, fields_read(row)) for kind, place, row in rows]


def fields_read(row: object) -> dict[str, Any]:
    """A row that is no mapping has no fields, so that the check asks for them; values of a wrong shape go on as text."""
    fields = row if isinstance(row, dict) else {}
    return {str(name): value if value is None or isinstance(value, str | date) else str(value) for name, value in fields.items()}


def names_check(fields: Iterable[str], *, kind: str) -> None:
    """A word nobody knows is a typing mistake or a wrong hope."""
    known = PRICE_FIELDS if kind == "prices" else RATE_FIELDS
    if wrong := [name for name in fields if name not in known]:
        raise PriceError({wrong[0][:40]: f"A {kind[:-1]} has no such field; it has {', '.join(known)}."})

"""Reads what people and programs enter, field by field, and gathers a sentence for each that cannot be: for pages and API alike."""

import math
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from django.utils import timezone

FIRST_YEAR, LAST_YEAR = 2000, 2100
LONGEST = 60  # characters of a given value that a sentence repeats


class FieldError(Exception):
    """What is wrong, a sentence by field; "" for what concerns several."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__(" ".join(problems.values()))
        self.problems = dict(problems)


class Reader:
    """A value may come as text from a page or typed from JSON; empty text and None are nothing given."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.fields, self.problems = fields, dict[str, str]()

    def wrong(self, name: str, sentence: str) -> None:
        self.problems.setdefault(name, sentence)

    def raw(self, name: str) -> Any:
        value = self.fields.get(name)
        value = value.strip() if isinstance(value, str) else value
        return None if value == "" else value

    def text(self, name: str, *, most: int, needed: str = "") -> str:
        """`needed`: what to enter, e.g. "Enter a name."; empty where nothing is fine too."""
        text = str(self.raw(name) or "")
        if len(text) > most:
            self.wrong(name, f"At most {most} characters, got {len(text)}.")
        if "\x00" in text:
            self.wrong(name, "A null character cannot be kept; take it out.")
        if needed and not text:
            self.wrong(name, needed)
        return text

    def number(self, name: str, *, least: float, most: float, unit: str = "", above: bool = False) -> float | None:
        """None where nothing or nothing usable is given; `above`: the least itself is too little."""
        given = self.raw(name)
        if given is None:
            return None
        try:
            value = math.nan if isinstance(given, bool) else float(given)
        except (TypeError, ValueError, OverflowError):
            value = math.nan
        if not math.isfinite(value):
            self.wrong(name, f"{shown(given)} is not a number.")
            return None
        if value < least or value > most or (above and value == least):
            bounds = f"above {least:g} and at most" if above else f"from {least:g} to"
            self.wrong(name, f"It must be {bounds} {most:,.12g}{unit and ' '}{unit}, got {shown(given)}.")
            return None
        return value

    def whole(self, name: str, *, least: int, most: int, unit: str = "") -> int | None:
        value = self.number(name, least=least, most=most, unit=unit)
        if value is not None and value != int(value):
            self.wrong(name, f"It must be a whole number, got {shown(self.raw(name))}.")
            return None
        return None if value is None else int(value)

    def money(self, name: str, *, most: Decimal, decimals: int) -> Decimal | None:
        given = self.raw(name)
        if given is None:
            return None
        try:
            value = Decimal(str(given))
        except InvalidOperation:
            value = Decimal("NaN")
        if not value.is_finite():
            self.wrong(name, f"{shown(given)} is not a number. Enter one like 3.99.")
        elif value <= 0 or value > most:
            self.wrong(name, f"It must be above 0 and at most {most:,}, got {shown(given)}.")
        elif round(value, decimals) != value:
            self.wrong(name, f"At most {decimals} decimals are kept, got {shown(given)}.")
        else:
            return value
        return None

    def flag(self, name: str) -> bool:
        given = self.raw(name)
        if given in (None, False, "false", "False", "off", "0"):
            return False
        if given in (True, "true", "True", "on", "1"):
            return True
        self.wrong(name, f"It is either true or false, got {shown(given)}.")
        return False

    def choice(self, name: str, known: Mapping[str, str] | list[str]) -> str:
        given = str(self.raw(name) or "")
        if given not in known:
            self.wrong(name, f"It must be one of {', '.join(known)}, got {shown(given)}.")
        return given

    def moment(self, name: str, *, needed: str = "") -> datetime | None:
        """A time; without a zone it is read in the reader's, which is UTC for programs."""
        given = self.raw(name)
        if given is None:
            if needed:
                self.wrong(name, needed)
            return None
        try:
            value = given if isinstance(given, datetime) else datetime.fromisoformat(str(given))
        except ValueError:
            self.wrong(name, f"{shown(given)} is not a time. Enter one like 2026-12-08T09:00.")
            return None
        if not FIRST_YEAR <= value.year < LAST_YEAR:
            self.wrong(name, f"A time lies between the years {FIRST_YEAR} and {LAST_YEAR}, got {value.year}.")
            return None
        return timezone.make_aware(value) if timezone.is_naive(value) else value

    def day(self, name: str) -> date | None:
        given = self.raw(name)
        if given is None:
            return None
        try:
            day = given if isinstance(given, date) else date.fromisoformat(str(given))
        except ValueError:
            self.wrong(name, f"{shown(given)} is not a day. Enter one like 2026-12-08.")
            return None
        if not FIRST_YEAR <= day.year < LAST_YEAR:
            self.wrong(name, f"A day lies between the years {FIRST_YEAR} and {LAST_YEAR}, got {day}.")
            return None
        return day


def shown(given: object) -> str:
    text = given.isoformat() if isinstance(given, date) else str(given)
    return repr(text[:LONGEST]) if isinstance(given, str) else text[:LONGEST]

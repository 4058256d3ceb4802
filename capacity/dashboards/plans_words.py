"""Days, money and counts in the words of plans. Days are UTC, as the forecasts are."""

import math
from datetime import UTC, date, datetime

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from capacity.analysis.plan_texts import days_between
from capacity.dashboards.words import DASH, MINUS, digits, figure

DAY = 86400.0
SOON_DAYS = 7.0  # an order within a week needs a person now
MONTH_DAYS = 30.0


def at_of(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)


def day_words(seconds: float, *, now: datetime, weekday: bool = False) -> str:
    """ "8 Dec", "Tue 8 Dec"; with the year when it is another."""
    return date_words(at_of(seconds).date(), now=now, weekday=weekday)


def date_words(day: date, *, now: datetime, weekday: bool = False) -> str:
    text = f"{day.day} {day:%b}" if day.year == now.astimezone(UTC).year else f"{day.day} {day:%b %Y}"
    return f"{day:%a} {text}" if weekday else text


def days_until(seconds: float, *, now: datetime) -> int:
    """Whole days from today (UTC)."""
    return days_between(seconds, now=now.timestamp())


def until_words(days: int) -> str:
    """ "in 17 days", "today", "3 days ago"."""
    if days == 0:
        return "today"
    unit = "day" if abs(days) == 1 else "days"
    return f"in {days} {unit}" if days > 0 else f"{-days} {unit} ago"


def days_words(days: float) -> str:
    shown = f"{days:.0f}" if days == round(days) else f"{days:.1f}"
    return f"{shown} day" if shown == "1" else f"{shown} days"


def money(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return DASH
    shown = f"{value:,.0f}" if abs(value) >= 100 else digits(value)
    return shown.replace("-", MINUS)


def per_month(currency: str) -> str:
    """The unit of a cost a month; without a price, replica-hours."""
    return f"{currency}/month" if currency else "replica-hours/month"


def signed(value: float) -> str:
    return f"+{money(value)}" if value >= 0 else money(value)


def amount(value: float | None, *, whole: bool = False) -> str:
    """6, 6.4, 1,310: counts of replicas and minutes."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{round(value):,}".replace("-", MINUS) if whole or value == round(value) or abs(value) >= 100 else digits(value)


def unit_of(number: float, unit: str) -> str:
    """1 replica, 2 replicas."""
    return unit.removesuffix("s") if number == 1 else unit


def rate(value: float | None) -> str:
    """Requests a second, without the unit."""
    return DASH if value is None or not math.isfinite(value) else digits(value)


def with_unit(number: str, unit: str) -> SafeString:
    return format_html('{} <span class="u">{}</span>', number, unit) if unit else format_html("{}", number)


def seconds_words(value: float) -> str:
    return str(figure(value, "seconds"))


def start_words(seconds: float) -> str:
    """How long a start takes: "45 s", "6 min"."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{amount(round(seconds / 60, 1))} min"


def percentile_words(percentile: float) -> str:
    return f"p{100 * percentile:g}"


def percent_signed(ratio: float) -> str:
    """ "3.0 %", "−1.5 %": growth."""
    return f"{100 * ratio:.1f} %".replace("-", MINUS)


def dash() -> SafeString:
    return mark_safe(DASH)

"""The time range grammar of pages and API: Grafana's `now-6h`, `now/d`, epoch milliseconds, ISO 8601."""

import re
from calendar import monthrange
from datetime import UTC, datetime, time, timedelta, tzinfo

LONGEST = timedelta(days=3660)
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
DEFAULT_FROM, DEFAULT_TO = "now-6h", "now"
EXAMPLES = "now-6h, now-7d/d, 2026-11-21T03:00:00Z or epoch milliseconds"

RELATIVE = re.compile(r"now((?:[+-]\d{1,5}[smhdwMy])*)((?:/[mhdwMy])?)")
STEP = re.compile(r"([+-])(\d+)([smhdwMy])")
CLOCK_SECONDS = {"s": 1, "m": 60, "h": 3600}
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class RangeError(ValueError):
    """A range that cannot be read; the text says what was given and what would do."""

    def __init__(self, message: str, *, name: str = "from") -> None:
        super().__init__(message)
        self.name = name  # the parameter to blame: "from" or "to"


def range_parse(text_from: str, text_to: str, *, now: datetime, zone: tzinfo) -> tuple[datetime, datetime]:
    """The instants of a range, in UTC; empty texts mean the last six hours.

    Days, weeks, months and years are those of `zone`; `/d` rounds down in `from` and up in `to`.
    """
    start = instant_parse(text_from or DEFAULT_FROM, now=now, zone=zone, name="from")
    end = instant_parse(text_to or DEFAULT_TO, now=now, zone=zone, name="to")
    if start >= end:
        raise RangeError(f"from must lie before to, got {text_from or DEFAULT_FROM} and {text_to or DEFAULT_TO}")
    if end - start > LONGEST:
        raise RangeError(f"a range may span {LONGEST.days} days, got {(end - start).days}")
    return start, end


def instant_parse(text: str, *, now: datetime, zone: tzinfo, name: str) -> datetime:
    text = text.strip().replace(" ", "+")  # a bare + of a query string arrives as a blank
    try:
        at = _instant(text, now=now, zone=zone, up=name == "to")
    except (ValueError, OverflowError):
        at = None
    if at is None or not EARLIEST <= at <= LATEST:
        raise RangeError(f"{name} is not a time: {text[:60]!r}; write it like {EXAMPLES}", name=name)
    return at.astimezone(UTC)


def _instant(text: str, *, now: datetime, zone: tzinfo, up: bool) -> datetime | None:
    if match := RELATIVE.fullmatch(text):
        at = now.astimezone(zone)
        for sign, count, unit in STEP.findall(match[1]):
            at = _moved(at, unit, int(count) if sign == "+" else -int(count))
        return _rounded(at, match[2][1:], up=up) if match[2] else at
    if text.isascii() and text.isdigit():
        return datetime.fromtimestamp(int(text) / 1000, UTC)
    if DATE.fullmatch(text):
        return _rounded(datetime.fromisoformat(text).replace(tzinfo=zone), "d", up=up)
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=zone)


def _moved(at: datetime, unit: str, count: int) -> datetime:
    if unit in CLOCK_SECONDS:
        return (at.astimezone(UTC) + timedelta(seconds=count * CLOCK_SECONDS[unit])).astimezone(at.tzinfo)
    if unit in "dw":
        return at + timedelta(days=count * (7 if unit == "w" else 1))
    months = at.year * 12 + at.month - 1 + count * (12 if unit == "y" else 1)
    year, month = divmod(months, 12)
    return at.replace(year=year, month=month + 1, day=min(at.day, monthrange(year, month + 1)[1]))


def _rounded(at: datetime, unit: str, *, up: bool) -> datetime:
    """The start of the unit `at` lies in, or with `up` the start of the next."""
    if unit in "mh":
        floor = at.replace(second=0, microsecond=0, minute=at.minute if unit == "m" else 0)
    else:
        day = at.date()
        back = {"d": 0, "w": day.weekday(), "M": day.day - 1, "y": day.timetuple().tm_yday - 1}[unit]
        floor = datetime.combine(day - timedelta(days=back), time(), at.tzinfo)
    return _moved(floor, unit, 1) if up else floor

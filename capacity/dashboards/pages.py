"""What every page shares: its time range, the reader's zone, how often it refreshes, and its links."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from capacity.analysis.ranges import RangeError, range_parse
from monitoring.series import watermarks_held

PRESETS = (
    ("15 min", "now-15m"),
    ("1 h", "now-1h"),
    ("6 h", "now-6h"),
    ("24 h", "now-24h"),
    ("7 d", "now-7d"),
    ("28 d", "now-28d"),
)
REFRESHES = (("off", "Off"), ("15s", "15 s"), ("30s", "30 s"), ("1m", "1 min"), ("auto", "Auto"))
SECONDS = {"15s": 15, "30s": 30, "1m": 60}
MEMORY = ("from", "to", "refresh")  # what a link to another page keeps


@dataclass(frozen=True)
class TimeRange:
    """From `start` to `end`, with the words of the address they were read from."""

    start: datetime
    end: datetime
    from_text: str
    to_text: str

    @property
    def seconds(self) -> float:
        return (self.end - self.start).total_seconds()

    @property
    def live(self) -> bool:
        return self.to_text == "now"

    @property
    def words(self) -> str:
        return span_words(self.seconds)

    @property
    def before(self) -> tuple[datetime, datetime]:
        """The window of equal length that ends where this one starts."""
        return self.start - (self.end - self.start), self.start


def span_words(seconds: float) -> str:
    """The length of a window: "15 min", "6 h", "24 h", "28 d"."""
    minutes = max(round(seconds / 60), 1)
    if minutes < 60:
        return f"{minutes} min"
    if minutes >= 2880:
        return f"{minutes / 1440:.1f}".removesuffix(".0") + " d"
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")


@dataclass(frozen=True)
class Choice:
    """One option of a picker, as a link."""

    label: str
    url: str
    current: bool


@dataclass(frozen=True)
class Page:
    """The frame of one request; templates read it as `page`."""

    now: datetime
    zone: ZoneInfo
    range: TimeRange
    query: Mapping[str, list[str]]
    refresh: str
    error: str = ""

    @property
    def refresh_seconds(self) -> int:
        """0 = off. Auto follows the range: a 24 h view gains nothing from a look each 15 s."""
        if self.refresh == "off" or not self.range.live:
            return 0
        return SECONDS.get(self.refresh) or max(15, int(self.range.seconds // 240))

    @property
    def zone_name(self) -> str:
        return self.now.astimezone(self.zone).tzname() or "UTC"

    @property
    def presets(self) -> list[Choice]:
        known = [
            Choice(label, self.url(**{"from": text, "to": "now"}), self.range.from_text == text and self.range.live)
            for label, text in PRESETS
        ]
        if not any(choice.current for choice in known):
            known.append(Choice(self.range.words, self.url(), True))
        return known

    @property
    def refreshes(self) -> list[Choice]:
        return [Choice(label, self.url(refresh=value), self.refresh == value) for value, label in REFRESHES]

    @property
    def earlier(self) -> str:
        return self.window(self.range.start - self.half, self.range.end - self.half)

    @property
    def later(self) -> str:
        return self.window(self.range.start + self.half, self.range.end + self.half)

    @property
    def wider(self) -> str:
        return self.window(self.range.start - self.half, self.range.end + self.half)

    @property
    def closer(self) -> str:
        return self.window(self.range.start + self.half / 2, self.range.end - self.half / 2)

    @property
    def half(self) -> timedelta:
        return (self.range.end - self.range.start) / 2

    def window(self, start: datetime, end: datetime) -> str:
        end = min(end, self.now)
        start = min(start, end - timedelta(minutes=2))
        return self.url(**{"from": milliseconds(start), "to": milliseconds(end)})

    def url(self, **changes: str) -> str:
        """This page's own query string with some values changed; an empty one is dropped."""
        return query_string(self.query, **changes)

    @property
    def others(self) -> list[tuple[str, str]]:
        """What a form about the time must carry along."""
        return [(name, value) for name, values in self.query.items() if name not in ("from", "to") for value in values]

    @property
    def query_but_versions(self) -> list[tuple[str, str]]:
        return [(name, value) for name, values in self.query.items() if name != "version" for value in values]

    @property
    def without_versions(self) -> str:
        return self.url(version="")

    @property
    def without_search(self) -> str:
        return self.url(q="", page="")

    @property
    def memory(self) -> str:
        """The query string that carries the range to another page; empty if nothing was chosen."""
        kept = {name: values for name, values in self.query.items() if name in MEMORY}
        return query_string(kept) if kept else ""


def milliseconds(moment: datetime) -> str:
    return str(round(moment.timestamp() * 1000))


def query_string(query: Mapping[str, list[str]], **changes: str) -> str:
    merged = {name: list(values) for name, values in query.items()} | {name: [value] for name, value in changes.items()}
    pairs = [(name, value) for name, values in merged.items() for value in values if value != ""]
    return "?" + urlencode(pairs, safe="/:") if pairs else "?"


def page_context(request: HttpRequest, *, default: str = "now-6h", now: datetime | None = None) -> Page:
    """Read range and refresh from the address; what cannot be read falls back to the default and says so."""
    now = now or timezone.now()
    zone = zone_of(request)
    query = {name: values for name, values in request.GET.lists() if all(len(value) < 500 for value in values)}
    from_text, to_text = request.GET.get("from") or default, request.GET.get("to") or "now"
    error = ""
    try:
        time_range = TimeRange(*range_parse(from_text, to_text, now=now, zone=zone), from_text, to_text)
    except RangeError as problem:
        error = str(problem)
        time_range = TimeRange(*range_parse(default, "now", now=now, zone=zone), default, "now")
    refresh = request.GET.get("refresh", "auto")
    return Page(now, zone, time_range, query, refresh if refresh in dict(REFRESHES) else "auto", error)


def screen(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """A page of many reads, for people who are signed in: how far the rollups are is looked up once."""

    @login_required
    @wraps(view)
    def inner(request: HttpRequest, **kwargs: Any) -> HttpResponse:
        with watermarks_held():
            return view(request, **kwargs)

    return inner


def zone_of(request: HttpRequest) -> ZoneInfo:
    """The zone of the account; without one the browser's, which app.js leaves in a cookie; else UTC."""
    chosen = getattr(request.user, "time_zone", "") or request.COOKIES.get("zone", "")
    try:
        return ZoneInfo(chosen.replace("%2F", "/")) if chosen else ZoneInfo("UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def seconds_utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)

"""Numbers, spans and moments in the words of the screen: three significant digits, a space, the unit."""

import math
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from django.utils.html import format_html
from django.utils.safestring import SafeString

from capacity.analysis.words import percent_number

MINUS = "−"
DASH = "–"
SI = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
BINARY = ((2.0**40, "TiB"), (2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"))
COUNTED = ("requests", "replicas", "code", "errors", "accelerators", "tokens")  # whole where they are whole
LEAST_COUNT = 0.1  # a queue of 0.0016 on average is a queue of nothing: three digits of it say no more
SHORT_UNITS = {
    "watts": "W",
    "celsius": "°C",
    "requests": "requests",
    "cores": "cores",
    "code": "",
    "errors": "errors",
    "accelerators": "",
    "replicas": "replicas",
    "processes": "",
    "tokens": "tokens",
}


class Figure(NamedTuple):
    """A number and its unit, apart, because the unit is set smaller and fainter."""

    number: str
    unit: str

    def __str__(self) -> str:
        return f"{self.number} {self.unit}".strip()


def known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def digits(value: float, *, significant: int = 3) -> str:
    """1.84, 61, 4,610, 0.0015: three significant digits, whole numbers from 100 on."""
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    decimals = max(0, significant - 1 - size)
    text = f"{round(value, min(decimals, 6)):,.{min(decimals, 6)}f}"
    if "." in text and abs(value) < 1e-3:
        text = text.rstrip("0").rstrip(".")
    return text.replace("-", MINUS)


def figure(value: float | None, unit: str = "") -> Figure:
    """The number as people read it: milliseconds under a tenth, percent for ratios, GiB for bytes."""
    if value is None or not math.isfinite(value):
        return Figure(DASH, "")
    if unit == "seconds":
        return seconds_figure(value)
    if unit == "ratio":
        return Figure(percent_number(value), "%")
    if unit.startswith("bytes"):
        return scaled(value, BINARY, "B", suffix=unit.removeprefix("bytes"))
    if unit == "hertz":
        return scaled(value, tuple((size, f"{letter}Hz") for size, letter in SI), "Hz")
    if abs(value) >= 1e6:
        return scaled(value, SI, "", suffix=f" {SHORT_UNITS.get(unit, unit)}")
    if unit in COUNTED and 0 < abs(value) < LEAST_COUNT:
        return Figure(f"<{LEAST_COUNT}", SHORT_UNITS.get(unit, unit))
    whole = unit == "celsius" or (unit in COUNTED and (value == round(value) or value >= 100))
    return Figure(f"{round(value):,}".replace("-", MINUS) if whole else digits(value), SHORT_UNITS.get(unit, unit))


def seconds_figure(value: float) -> Figure:
    if abs(value) >= 600:
        return Figure(f"{value / 60:,.0f}", "min")
    if abs(value) >= 0.1995 or value == 0:
        return Figure(f"{value:.2f}" if value < 9.995 else digits(value), "s")
    if abs(value) >= 0.0095:
        return Figure(f"{1000 * value:.0f}", "ms")
    return Figure(digits(1000 * value, significant=2), "ms")


def scaled(value: float, steps: tuple[tuple[float, str], ...], base: str, *, suffix: str = "") -> Figure:
    for size, letter in steps:
        if abs(value) >= size:
            return Figure(digits(value / size), f"{letter}{suffix}".strip())
    return Figure(digits(value), f"{base}{suffix}".strip())


def figure_html(value: float | None, unit: str = "") -> SafeString:
    shown = figure(value, unit)
    return format_html('{} <span class="u">{}</span>', shown.number, shown.unit) if shown.unit else format_html("{}", shown.number)


def span(seconds: float) -> str:
    """ "31 min", "14 h", "3 days": how long something has lasted."""
    minutes = int(seconds // 60)
    if minutes < 1:
        return f"{max(int(seconds), 0)} s"
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} days"


def moment(at: datetime, *, now: datetime, zone: ZoneInfo) -> str:
    """ "02:33" today, "Fri 18:05" within six days, else "24 Nov"."""
    local, today = at.astimezone(zone), now.astimezone(zone)
    if local.date() == today.date():
        return f"{local:%H:%M}"
    if abs((today.date() - local.date()).days) < 6:
        return f"{local:%a %H:%M}"
    return f"{local.day} {local:%b}" if local.year == today.year else f"{local.day} {local:%b %Y}"


def count(number: int, noun: str, plural: str = "") -> str:
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


class Change(NamedTuple):
    """Against the window before: how it moved ("▲ 3 %"), the same as a sentence, and whether that is for the worse."""

    short: str
    text: str
    bad: bool


def change(now_value: float | None, before: float | None, *, window: str, unit: str = "", higher_is: str = "neutral") -> Change | None:
    """ "▲ 3 % on the 24 h before"; ratios differ in points, from zero there is no percentage."""
    if now_value is None or before is None or not (math.isfinite(now_value) and math.isfinite(before)):
        return None
    difference = now_value - before
    if unit in COUNTED and max(abs(now_value), abs(before)) < LEAST_COUNT:
        return Change("steady", f"as in the {window} before", False)
    arrow = "▲" if difference > 0 else "▼"
    worse = (higher_is == "bad" and difference > 0) or (higher_is == "good" and difference < 0)
    if unit != "ratio" and before == 0 and difference:
        return Change(f"{arrow} from 0", f"0 in the {window} before", worse)
    if unit != "ratio" and before != 0 and now_value / before >= 3:
        times = digits(now_value / before, significant=2)
        return Change(f"{arrow} {times} ×", f"{arrow} {times} times the {window} before", worse)
    size = abs(100 * difference) if unit == "ratio" else abs(100 * difference / before) if before else 0.0
    if size < 0.5:
        return Change("steady", f"as in the {window} before", False)
    long = "%" if unit != "ratio" else "point" if f"{size:.0f}" == "1" else "points"
    short = "pt" if unit == "ratio" else "%"
    return Change(f"{arrow} {size:,.0f} {short}", f"{arrow} {size:,.0f} {long} on the {window} before", worse and size >= 5)

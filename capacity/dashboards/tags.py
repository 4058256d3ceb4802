"""Template words of the house; a built-in library, so that no template has to load it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from capacity.analysis.words import percent_number
from capacity.dashboards import words

register = template.Library()

# word -> (symbol, tone): shape, word and colour always come together
STATUSES = {
    "breaks": ("crit", "crit", "Breaks SLO"),
    "warning": ("warn", "warn", "Warning"),
    "ok": ("ok", "ok", "OK"),
    "no_slo": ("none", "none", "No SLO"),
    "no_data": ("none", "none", "No data"),
    "archived": ("mute", "off", "Archived"),
    "done": ("tick", "ok", "Done"),
    "open": ("ring", "none", "Not done"),
    "running": ("pend", "info", "Running"),
    "waiting": ("ring", "none", "Waiting"),
    "paused": ("mute", "off", "Paused"),
    "failed": ("crit", "crit", "Failed"),
    "down": ("crit", "crit", "Down"),
    "wrong": ("crit", "crit", "Wrong answer"),
    "slow": ("warn", "warn", "Slow"),
    "empty": ("none", "none", "Nothing recognised"),
    "new": ("ring", "none", "Not tested"),
    "silent": ("none", "none", "Silent"),
    "stale": ("none", "warn", "Stale"),
    "partial": ("pend", "warn", "Partial"),
    "info": ("info", "info", "Note"),
    "critical": ("crit", "crit", "Critical"),
    "off": ("mute", "off", "Off"),
    "sending": ("pend", "info", "On its way"),
    "sent": ("tick", "ok", "Sent"),
    "folded": ("mute", "off", "Told with its end"),
    "suppressed": ("mute", "off", "Not sent"),
    "dead": ("crit", "crit", "Given up"),
}


@register.simple_tag
def icon(name: str, label: str = "") -> SafeString:
    """A 12 px symbol of the sprite in base.html; without a label it is decoration beside a word."""
    if label:
        return format_html('<svg class="i" role="img" aria-label="{}"><use href="#{}"/></svg>', label, f"i-{name}")
    return format_html('<svg class="i" aria-hidden="true"><use href="#{}"/></svg>', f"i-{name}")


@register.simple_tag
def status(state: str, text: str = "", fill: bool = False) -> SafeString:
    """Shape, word, colour: `{% status "breaks" %}`, `{% status source.state source.get_state_display %}`."""
    symbol, tone, word = STATUSES.get(str(state), ("info", "none", str(state)))
    return format_html('<span class="st{}" data-s="{}">{}{}</span>', " fill" if fill else "", tone, icon(symbol), text or word)


@register.simple_tag(takes_context=True)
def ago(context: Mapping[str, Any], at: datetime | None, missing: str = "never") -> SafeString:
    """How long since, with the exact moment in the title: `{% ago source.polled_at %}`."""
    if at is None:
        return format_html('<span class="dim">{}</span>', missing)
    seconds = (timezone.now() - at).total_seconds()
    text = f"in {words.span(-seconds)}" if seconds < -5 else f"{words.span(seconds)} ago"
    return format_html('<time datetime="{}" title="{}">{}</time>', at.isoformat(), exact(at), text)


@register.simple_tag
def when(at: datetime | None, missing: str = "–") -> SafeString:
    """ "02:33" today, "Fri 18:05" this week, else the date; the exact moment in the title."""
    if at is None:
        return format_html('<span class="dim">{}</span>', missing)
    shown = words.moment(at, now=timezone.now(), zone=timezone.get_current_timezone())
    return format_html('<time datetime="{}" title="{}">{}</time>', at.isoformat(), exact(at), shown)


def exact(at: datetime) -> str:
    local = at.astimezone(timezone.get_current_timezone())
    return f"{local:%Y-%m-%d %H:%M:%S} {local.tzname()}"


def measured(value: float | str | None) -> float | None:
    """A name that a template does not find arrives as an empty text: it was not measured."""
    return None if value is None or isinstance(value, str) else float(value)


@register.filter
def figure(value: float | None, unit: str = "") -> SafeString:
    """`{{ 0.0614|figure:"seconds" }}` -> 61 ms, the unit set fainter."""
    return words.figure_html(measured(value), unit)


@register.filter
def plain(value: float | None, unit: str = "") -> str:
    """As `figure`, as plain text for attributes and titles."""
    return str(words.figure(measured(value), unit))


@register.filter
def span(seconds: float | None) -> str:
    return words.DASH if seconds is None else words.span(float(seconds))


@register.filter
def since(at: datetime | None) -> str:
    """How long since: "31 min"."""
    return words.DASH if at is None else words.span(max((timezone.now() - at).total_seconds(), 0))


@register.filter
def counted(number: int, noun: str) -> str:
    """`{{ 3|counted:"source" }}` -> 3 sources; `"entry,entries"` for what has its own plural."""
    single, _, plural = noun.partition(",")
    return words.count(int(number), single, plural)


@register.filter
def percent(ratio: float | None) -> SafeString:
    return words.figure_html(measured(ratio), "ratio")


@register.filter
def hundredths(ratio: float | None) -> str:
    """A ratio as a bare percent number, for columns whose heading carries the sign."""
    value = measured(ratio)
    return words.DASH if value is None else percent_number(value)

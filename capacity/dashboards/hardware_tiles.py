"""The sentence and the tiles above the accelerators, from readings that are loaded already."""

from collections.abc import Sequence

from django.utils.html import format_html
from django.utils.safestring import SafeString

from capacity.dashboards.hardware import Reading
from capacity.dashboards.pages import Page
from capacity.dashboards.sparks import share_bar
from capacity.dashboards.tiles import Tile
from capacity.dashboards.words import count, figure, figure_html


def mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def hardware_sentence(readings: Sequence[Reading], *, nodes: int) -> SafeString:
    if not readings:
        return SafeString("No accelerator is known yet.")
    idle, lost, silent = (sum(flags) for flags in zip(*((r.idle, r.rest is not None, r.silent) for r in readings), strict=True))
    busy = mean([reading.busy_now for reading in readings])
    first = format_html("<b>{} on {}</b>", count(len(readings), "accelerator"), count(nodes, "node"))
    parts = [f"{figure(busy, 'ratio')} busy now" if busy is not None else "none measured now"]
    parts += [f"{idle} idle"] if idle else []
    parts += [f"{lost} not attributed to any deployment"] if lost else []
    parts += [f"{silent} silent"] if silent else []
    return format_html("{}: {}.", first, ", ".join(parts))


def accelerator_tiles(readings: Sequence[Reading], *, page: Page) -> list[Tile]:
    busy = mean([reading.busy for reading in readings])
    idle = sum(reading.idle for reading in readings)
    measured = sum(reading.busy is not None for reading in readings)
    lost = sum(reading.rest or 0.0 for reading in readings)
    hot = max((reading.heat for reading in readings if reading.heat is not None), default=None)
    slowed = sum(reading.throttled > 0.01 for reading in readings)
    words = page.range.words
    worked = share_bar([(measured - idle, "c1"), (idle, "c2")], label="worked, idle")
    known = share_bar([(len(readings) - lost, "c1"), (lost, "c2")], label="attributed, unattributed")
    now = figure_html(mean([reading.busy_now for reading in readings]), "ratio")
    held = figure_html(total_ratio(readings, "gpu_memory_used_bytes", "gpu_memory_total_bytes"), "ratio")
    limit = f"{figure(total_ratio(readings, 'power_watts', 'power_limit_watts'), 'ratio')} of the limits"
    slow = f"{slowed} throttled" if slowed else "none throttled"
    return [
        Tile("GPU busy now", now, f"{words} {figure(busy, 'ratio')}", ""),
        Tile(f"Idle over {words}", figure_html(idle, "accelerators"), f"under 5 % busy; {measured} measured", worked, url="?show=idle"),
        Tile("Unattributed", figure_html(round(lost, 1)), "no known deployment", known, url="?show=unattributed"),
        Tile("Memory held now", held, memory_words(readings), ""),
        Tile("Power now", figure_html(total(readings, "power_watts"), "watts"), limit, ""),
        Tile("Hottest now", figure_html(hot, "celsius"), slow, "", "warn" if slowed else "", "?show=throttled" if slowed else ""),
    ]


def total(readings: Sequence[Reading], column: str) -> float | None:
    values = [value for reading in readings if (value := reading.live.get(column)) is not None]
    return sum(values) if values else None


def total_ratio(readings: Sequence[Reading], used: str, whole: str) -> float | None:
    top, bottom = total(readings, used), total(readings, whole)
    return top / bottom if top is not None and bottom else None


def memory_words(readings: Sequence[Reading]) -> str:
    return f"{figure(total(readings, 'gpu_memory_used_bytes'), 'bytes')} of {figure(total(readings, 'gpu_memory_total_bytes'), 'bytes')}"

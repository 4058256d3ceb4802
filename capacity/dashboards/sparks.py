"""Small drawings inside tables and tiles, as inline SVG from the server: sparkline, headroom bar, share bar."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from django.utils.html import escape, format_html, format_html_join
from django.utils.safestring import SafeString

from capacity.dashboards.charts import stretches

Array = npt.NDArray[np.float64]
WIDTH, HEIGHT = 84, 22
TOP, BOTTOM = 3.0, 1.0
RAIL = 72.0  # the ceiling of a headroom bar in its 76 px
POINTS_MOST = 60


def spark(
    values: Array | None, *, label: str, limit: float | None = None, area: bool = False, wide: bool = False, top: float = 0.0
) -> SafeString:
    """The course of a number from 0, a dot at its last value; `limit` is dotted, and only what lies above it is red."""
    if values is None or not np.isfinite(values).any():
        return format_html('<svg class="spark" viewBox="0 0 84 22" role="img" aria-label="{}: not seen"></svg>', label)
    width = 160 if wide else WIDTH
    top = max(top, float(np.nanmax(values)), (limit or 0.0) * 1.06, 1e-12)
    ys = (HEIGHT - BOTTOM - values / top * (HEIGHT - TOP - BOTTOM)).tolist()
    stops = stretches(np.isfinite(values))
    runs = [points(width, ys, stop) for stop in stops]
    last = stops[-1][1] - 1
    tone = ' data-s="crit"' if limit is not None and values[last] > limit else ""
    x, y = runs[-1].rpartition(" ")[2].split(",")
    drawn = "".join(
        (
            *(f'<path class="ar" d="M{run} L{run.split(" ")[-1].split(",")[0]},22 L{run.split(",")[0]},22z"/>' for run in runs if area),
            limit_line(limit, top=top, width=width),
            *(f'<polyline class="ln" points="{run}" vector-effect="non-scaling-stroke"/>' for run in runs),
            over_line(values, ys, limit=limit, width=width),
            f'<line class="pt-l" x1="{x}" x2="{x}" y1="{y}" y2="{y}" vector-effect="non-scaling-stroke"/>',
        )
    )
    # A hundred of these stand on one page: only the label needs escaping, all else is numbers.
    frame = f'<svg class="spark" viewBox="0 0 {width} 22" preserveAspectRatio="none"{tone} role="img" aria-label="'
    return SafeString(f'{frame}{escape(label)}">{drawn}</svg>')


Stop = tuple[int, int]  # of values that stand side by side: the first, and the one behind the last


def points(width: int, ys: Sequence[float], stop: Stop) -> str:
    first, end = stop
    return places(width, len(ys), stop) % tuple(ys[first:end])


@lru_cache(maxsize=1024)
def places(width: int, count: int, stop: Stop) -> str:
    """The points of a stretch, their heights still open: a hundred drawings of a page have the same steps."""
    first, end = stop
    return " ".join(f"{x:.1f},%.1f" for x in np.linspace(0, width - 3.0, count)[first:end].tolist())


def limit_line(limit: float | None, *, top: float, width: int) -> str:
    if limit is None:
        return ""
    y = f"{HEIGHT - BOTTOM - limit / top * (HEIGHT - TOP - BOTTOM):.1f}"
    return f'<line class="slo" x1="0" x2="{width}" y1="{y}" y2="{y}" vector-effect="non-scaling-stroke"/>'


def over_line(values: Array, ys: Sequence[float], *, limit: float | None, width: int) -> str:
    if limit is None:
        return ""
    above = values > limit  # a gap is not
    if not above.any():
        return ""
    known = np.isfinite(values)
    stops = ((first - 1 if first and known[first - 1] else first, end) for first, end in stretches(above))  # from where it rises
    runs = (points(width, ys, stop) for stop in stops)
    return "".join(f'<polyline class="over" points="{run}" vector-effect="non-scaling-stroke"/>' for run in runs)


def headroom_bar(typical: float | None, high: float | None, *, tone: str = "") -> SafeString:
    """Load at the limiting resource: typical solid, p95 (or the highest) lighter, the ceiling a tick, the rest open."""
    if typical is None and high is None:
        return format_html(
            '<svg viewBox="0 0 76 14" role="img" aria-label="load not seen">{}</svg>',
            SafeString('<rect class="hb-free" x="0.5" y="4.5" width="71" height="5" stroke-dasharray="2 3"/>'),
        )
    solid, light = min(typical or 0.0, 1.05), min(max(high or 0.0, typical or 0.0), 1.05)
    return format_html(
        '<svg viewBox="0 0 76 14"{} role="img" aria-label="typical {} %, high {} % of the ceiling">'
        '<rect class="hb-rail" x="0" y="4" width="72" height="6"/><rect class="hb-95" x="0" y="4" width="{}" height="6"/>'
        '<rect class="hb-50" x="0" y="4" width="{}" height="6"/><line class="hb-ceil" x1="72" x2="72" y1="1" y2="13"/></svg>',
        format_html(' data-s="{}"', tone) if tone else "",
        round(100 * solid),
        round(100 * light),
        f"{RAIL * light:.1f}",
        f"{RAIL * solid:.1f}",
    )


def share_bar(parts: Sequence[tuple[float, str]], *, label: str) -> SafeString:
    """Parts of a whole side by side: (share, colour class)."""
    total = sum(share for share, _ in parts)
    if total <= 0:
        return SafeString("")
    x, rects = 0.0, []
    for share, colour in parts:
        width = 158.0 * share / total
        if share > 0:
            rects.append((colour, f"{x:.1f}", f"{max(width - 1.5, 0.5):.1f}"))
        x += width
    return format_html(
        '<svg class="spark" viewBox="0 0 160 24" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>',
        label,
        format_html_join("", '<rect class="bx {}" x="{}" y="9" width="{}" height="7"/>', rects),
    )

"""Arrays in, a Plotly figure out, as plain dicts: typed arrays, no template, colours by the name of a CSS variable.

Drawn by static/headroom/charts.js, which puts the reader's colours in. All plots of a page share their margins and their
time range (Unix seconds on a linear axis, ticks in the reader's zone), so that they align to the pixel.
"""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from capacity.analysis.words import percent_number
from capacity.dashboards.words import MINUS, digits

Array = npt.NDArray[np.float64]
Figure = dict[str, Any]
Style = Literal["line", "heavy", "thin", "dash", "dot", "area", "bars", "step"]

LEFT, RIGHT, TOP, BOTTOM = 60, 108, 12, 8  # left and right stand in look.css too (--plot-l, --plot-r)
BOTTOM_TICKS = 24  # the lowest plot carries the clock
FLAG_HEIGHT = 10  # px above the plot for the words of flags
LABEL_GAP = 12.5  # px between labels at the line ends
WIDTHS: dict[Style, float] = {"line": 1.5, "heavy": 2.25, "thin": 1.1, "dash": 1.5, "dot": 1.5, "area": 1.5, "bars": 0, "step": 1.5}
DASHES: dict[Style, str] = {"dash": "4px,3px", "dot": "1.5px,3px"}
NICE = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
MARKS_MOST = 40  # version and event lines in one plot; more is a wall


@dataclass(frozen=True)
class Trace:
    """One line: `values` (m,) in base units, NaN = gap."""

    name: str
    values: Array
    colour: str = "d1"
    style: Style = "line"
    label: bool = True


@dataclass(frozen=True)
class Band:
    """The area between two lines, e.g. p50 and p95, or the lowest and highest value within a step."""

    low: Array
    high: Array
    colour: str = "d1-band"
    text: str = ""


@dataclass(frozen=True)
class Guide:
    """A dashed horizontal line with its words on it: the SLO."""

    value: float
    text: str


@dataclass(frozen=True)
class Flag:
    """A moment with its words above the plot; `before`: they stand to the left of their line."""

    at: float
    text: str
    before: bool = False


@dataclass(frozen=True)
class Axis:
    """How a unit is drawn: numbers are multiplied by `scale`; the top tick carries `unit`."""

    scale: float
    unit: str
    top: float | None = None  # fixed, in drawn units
    letter: str = ""  # k or M, close to the number
    whole: bool = False  # counts of things: no tick between 1 and 2


@dataclass(frozen=True)
class Plot:
    """All that one figure shows; times are Unix seconds, `first` the end of the first step."""

    title: str
    unit: str
    start: float
    end: float
    first: float
    step: float
    traces: Sequence[Trace]
    bands: Sequence[Band] = ()
    guides: Sequence[Guide] = ()
    marks: Sequence[float] = ()  # new versions
    shaded: Sequence[tuple[float, float]] = ()  # minutes in which the promise was broken
    dropped: Sequence[tuple[float, float]] = ()  # stretches whose readings were lost on the way
    flags: Sequence[Flag] = ()
    height: int = 116
    clock: bool = False
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))


def figure(plot: Plot) -> Figure:
    """The dict Plotly draws. `layout.meta` carries what charts.js needs beside: units, phone ticks, short labels."""
    axis = axis_for(plot.unit, highest(plot))
    ticks = value_ticks(axis, highest(plot) * axis.scale)
    bottom = BOTTOM_TICKS if plot.clock else BOTTOM
    margin = TOP + (FLAG_HEIGHT if plot.flags else 0)
    inner = plot.height - margin - bottom
    labels = end_labels(plot, axis=axis, top=ticks[-1], inner=inner)
    clock, clock_phone = time_ticks(plot.start, plot.end, zone=plot.zone, most=8), time_ticks(plot.start, plot.end, zone=plot.zone, most=4)
    return {
        "data": [
            *(band_trace(plot, band, axis=axis) for band in plot.bands),
            *(line_trace(plot, trace, axis=axis) for trace in plot.traces),
        ],
        "layout": {
            "height": plot.height,
            "margin": {"l": LEFT, "r": RIGHT, "t": margin, "b": bottom, "pad": 0},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"size": 11, "color": "var(--ink-3)"},
            "showlegend": False,
            "hovermode": False,
            "dragmode": "zoom",
            "bargap": 0.1,
            "xaxis": {
                "range": [plot.start, plot.end],
                "showgrid": False,
                "zeroline": False,
                "ticklen": 0,
                "showticklabels": plot.clock,
                "tickvals": [at for at, _ in clock],
                "ticktext": [text for _, text in clock],
            },
            "yaxis": {
                "range": [0, ticks[-1]],
                "fixedrange": True,
                "gridcolor": "var(--line)",
                "zeroline": True,
                "zerolinecolor": "var(--line-2)",
                "ticklen": 0,
                "tickvals": ticks,
                "ticktext": tick_words(ticks, axis),
            },
            "shapes": [*shaded_shapes(plot), *guide_shapes(plot, axis=axis), *mark_shapes(plot)],
            "annotations": [*guide_notes(plot, axis=axis), *(note for note, _ in labels), *flag_notes(plot)],
            "meta": {
                "title": plot.title,
                "unit": f"{axis.letter} {axis.unit}".strip(),
                "zone": plot.zone.key,
                "step": plot.step,
                "first": plot.first,
                "phone": {"tickvals": [at for at, _ in clock_phone], "ticktext": [text for _, text in clock_phone]},
                "guides": len(plot.guides),
                "short": [short for _, short in labels],
            },
        },
    }


def packed(values: Array) -> dict[str, str]:
    """A typed array as Plotly reads it: 250 times faster to build than a list and a sixth of its bytes."""
    return {"dtype": "f4", "bdata": base64.b64encode(values.astype("<f4").tobytes()).decode()}


# --- Axes ----------------------------------------------------------------------------------------------------------------


def highest(plot: Plot) -> float:
    """The highest number drawn, in base units."""
    arrays = (
        [trace.values for trace in plot.traces] + [band.high for band in plot.bands] + [np.array([guide.value for guide in plot.guides])]
    )
    tops = [float(np.nanmax(array)) for array in arrays if array.size and np.isfinite(array).any()]
    return max([*tops, 0.0])


def axis_for(unit: str, top: float) -> Axis:
    if unit == "ratio":
        return Axis(100.0, "%", 100.0 if top <= 1.02 else None)
    if unit == "seconds":
        return Axis(1000.0, "ms") if top < 0.6 else Axis(1.0, "s")
    if unit.startswith("bytes"):
        suffix = unit.removeprefix("bytes")
        return shortest([Axis(2.0**-power, f"{letter}{suffix}") for power, letter in BYTES], top)
    if unit == "hertz":
        return shortest([Axis(1e-6, "MHz"), Axis(1e-9, "GHz")], top)
    short = SHORT.get(unit, unit)
    plain = Axis(1.0, short, whole=unit in WHOLE)
    drawn = value_ticks(plain, top)[-1]
    if drawn >= 1000:
        return Axis(1e-3, short, letter="k") if drawn < 1e6 else Axis(1e-6, short, letter="M")
    return plain


WHOLE = ("replicas", "requests")
BARE = dict.fromkeys(("requests", "replicas", "accelerators", "processes", "errors"), "")  # the question names the unit
SHORT = {"tokens": "tok", "watts": "W", "celsius": "°C", "cores": "cores", **BARE}


BYTES = ((0, "B"), (10, "KiB"), (20, "MiB"), (30, "GiB"), (40, "TiB"))


def shortest(axes: Sequence[Axis], top: float) -> Axis:
    """The first on which no tick has four digits: beside a plot there is no room for "1,200 KiB/s"."""
    return next((axis for axis in axes if value_ticks(axis, top * axis.scale)[-1] < 1000), axes[-1])


def value_ticks(axis: Axis, top: float) -> list[float]:
    """From 0, two to four steps, the last at or above everything drawn."""
    if axis.top is not None:
        return [0.0, axis.top / 2, axis.top]
    if top <= 0:
        return [0.0, 1.0]
    rough = top * 1.04 / 3
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(nice * size for nice in NICE if nice * size >= rough * 0.999999)
    if axis.whole:
        step = float(math.ceil(step))
    return [step * i for i in range(4)]


def tick_words(ticks: Sequence[float], axis: Axis) -> list[str]:
    """Every tick with as many decimals as the step needs; the unit once, on the top tick."""
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    decimals = next((n for n in range(5) if abs(round(step, n) - step) < step * 1e-6), 5)
    texts = [f"{tick:,.{decimals}f}".replace("-", MINUS) for tick in ticks]
    lettered = ["0", *(f"{text}{axis.letter}" for text in texts[1:])]
    return [*lettered[:-1], f"{lettered[-1]} {axis.unit}".strip()]


CLOCK_STEPS = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 345600, 604800, 1209600, 2419200)


def time_ticks(start: float, end: float, *, zone: ZoneInfo, most: int) -> list[tuple[float, str]]:
    """At most `most` round moments of the reader's clock: hours within days, else dates; a date where the day turns."""
    step = next(
        (step for step in CLOCK_STEPS if (end - start) / step <= most), CLOCK_STEPS[-1] * math.ceil((end - start) / most / CLOCK_STEPS[-1])
    )
    ticks = []
    for moment in round_moments(start, end, step=step, zone=zone):
        local = moment.astimezone(zone)
        midnight = local.hour == local.minute == 0
        ticks.append((moment.timestamp(), f"{local.day} {local:%b}" if step >= 86400 or midnight else f"{local:%H:%M}"))
    return ticks


def round_moments(start: float, end: float, *, step: int, zone: ZoneInfo) -> list[datetime]:
    """Multiples of the step since local midnight, so that a change of the clock does not move them off the hour."""
    day = datetime.fromtimestamp(start, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    moments: list[datetime] = []
    skip = max(step // 86400, 1)
    while day.timestamp() <= end:
        if day.toordinal() % skip == 0:
            offsets = range(0, 86400, step) if step < 86400 else (0,)
            moments += [(day.replace(tzinfo=None) + timedelta(seconds=offset)).replace(tzinfo=zone).astimezone(UTC) for offset in offsets]
        day = (day.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=zone)
    margin = (end - start) * 0.01
    return [moment for moment in sorted(set(moments)) if start + margin <= moment.timestamp() <= end - margin]


# --- Traces --------------------------------------------------------------------------------------------------------------


def line_trace(plot: Plot, trace: Trace, *, axis: Axis) -> dict[str, Any]:
    common = {
        "x0": plot.first,
        "dx": plot.step,
        "y": packed(trace.values * axis.scale),
        "name": trace.name,
        "meta": {"unit": axis.unit},
    }
    if trace.style == "bars":
        return common | {"type": "bar", "marker": {"color": f"var(--{trace.colour})", "line": {"width": 0}}}
    line: dict[str, Any] = {
        "color": f"var(--{trace.colour})",
        "width": WIDTHS[trace.style],
        "shape": "hv" if trace.style == "step" else "linear",
    }
    if trace.style in DASHES:
        line["dash"] = DASHES[trace.style]
    filled = {"fill": "tozeroy", "fillcolor": f"var(--{trace.colour}-band)"} if trace.style == "area" else {}
    return common | {"type": "scatter", "mode": line_mode(trace.values), "marker": {"size": 3}, "line": line, "connectgaps": False} | filled


def line_mode(values: Array) -> str:
    """A point alone between two gaps has no line: then points are drawn too."""
    finite = np.isfinite(values)
    before, after = np.r_[False, finite[:-1]], np.r_[finite[1:], False]
    return "lines+markers" if (finite & ~before & ~after).any() else "lines"


def band_trace(plot: Plot, band: Band, *, axis: Axis) -> dict[str, Any]:
    """One closed polygon for each stretch without a gap."""
    times = plot.first + plot.step * np.arange(band.low.size, dtype=np.float64)
    xs: list[Array] = [np.array([])]
    ys: list[Array] = [np.array([])]
    for low, high in stretches(np.isfinite(band.low) & np.isfinite(band.high)):
        part = slice(low, high)
        xs += [times[part], times[part][::-1], np.array([np.nan])]
        ys += [band.high[part] * axis.scale, band.low[part][::-1] * axis.scale, np.array([np.nan])]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": {"dtype": "f8", "bdata": base64.b64encode(np.concatenate(xs).astype("<f8").tobytes()).decode()},
        "y": packed(np.concatenate(ys)),
        "fill": "toself",
        "fillcolor": f"var(--{band.colour})",
        "line": {"width": 0},
        "name": band.text,
        "hoverinfo": "skip",
        "meta": {"band": True},
    }


def stretches(mask: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Start and end (exclusive) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False]))))  # of booleans: where they change
    return [(low, high) for low, high in edges.reshape(-1, 2).tolist()]


# --- Words on the plot ---------------------------------------------------------------------------------------------------


def end_labels(plot: Plot, *, axis: Axis, top: float, inner: float) -> list[tuple[dict[str, Any], str]]:
    """The name and last value at the end of each line, moved apart so that none covers another; beside it the short text."""
    placed = []
    for trace in plot.traces:
        value = last_value(trace.values)
        if trace.label and value is not None:
            placed.append((trace, value * axis.scale))
    placed.sort(key=lambda each: each[1])
    pixels = spread([value / top * inner for _, value in placed], gap=LABEL_GAP, most=inner)
    return [
        (end_note(trace, value, axis=axis, top=top, height=pixel / inner), trace.name)
        for (trace, value), pixel in zip(placed, pixels, strict=True)
    ]


def end_number(value: float, *, axis: Axis, top: float) -> str:
    """As many digits as the plot can show: what lies on the baseline is about 0."""
    if 0 < abs(value) < top / 1000:
        return "≈ 0"
    if axis.unit == "%":
        return percent_number(value / 100)
    return f"{value:.0f}" if axis.whole and value == round(value) else digits(value)


def end_note(trace: Trace, value: float, *, axis: Axis, top: float, height: float) -> dict[str, Any]:
    small = axis.letter != "" and abs(value) < 1
    value, top, letter = (value / axis.scale, top / axis.scale, "") if small else (value, top, axis.letter)
    shown = end_number(value, axis=axis, top=top)
    unit = letter or (f" {axis.unit}" if 0 < len(axis.unit) <= 2 else "")
    return {
        "text": f"<b>{trace.name} {shown}{unit}</b>",
        "xref": "paper",
        "yref": "paper",
        "x": 1,
        "y": height,
        "xanchor": "left",
        "yanchor": "middle",
        "xshift": 6,
        "showarrow": False,
        "font": {"size": 11, "color": f"var(--{trace.colour}-text)"},
    }


def last_value(values: Array) -> float | None:
    known = np.flatnonzero(np.isfinite(values))
    return float(values[known[-1]]) if known.size else None


def spread(positions: Sequence[float], *, gap: float, most: float) -> list[float]:
    """Ascending positions, moved as little as needed until they are `gap` apart and within 0..most."""
    placed: list[float] = []
    for position in positions:
        placed.append(max(position, placed[-1] + gap) if placed else position)
    for i in range(len(placed) - 1, -1, -1):
        ceiling = most if i == len(placed) - 1 else placed[i + 1] - gap
        placed[i] = min(placed[i], ceiling)
    return placed


def guide_notes(plot: Plot, *, axis: Axis) -> list[dict[str, Any]]:
    return [
        {
            "text": f"<b>{guide.text}</b>",
            "xref": "paper",
            "x": 0,
            "y": guide.value * axis.scale,
            "xanchor": "left",
            "yanchor": "bottom",
            "xshift": 3,
            "yshift": -1,
            "borderpad": 1,
            "bgcolor": "var(--surface-halo)",
            "showarrow": False,
            "font": {"size": 11, "color": "var(--ink)"},
        }
        for guide in plot.guides
    ]


def guide_shapes(plot: Plot, *, axis: Axis) -> list[dict[str, Any]]:
    line = {"color": "var(--ink)", "width": 1, "dash": "5px,3px"}
    return [
        {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": guide.value * axis.scale, "y1": guide.value * axis.scale, "line": line}
        for guide in plot.guides
    ]


def mark_shapes(plot: Plot) -> list[dict[str, Any]]:
    line = {"color": "var(--ink)", "width": 1.25}
    within = [at for at in (*plot.marks, *(flag.at for flag in plot.flags)) if plot.start < at < plot.end][-MARKS_MOST:]
    return [{"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": at, "x1": at, "line": line} for at in within]


def flag_notes(plot: Plot) -> list[dict[str, Any]]:
    return [
        {
            "text": flag.text,
            "name": "flag",
            "x": flag.at,
            "yref": "paper",
            "y": 1,
            "xanchor": "right" if flag.before else "left",
            "yanchor": "bottom",
            "borderpad": 2,
            "bgcolor": "var(--ink)",
            "showarrow": False,
            "font": {"size": 11, "color": "var(--bg)"},
        }
        for flag in plot.flags
        if plot.start < flag.at < plot.end
    ]


def shaded_shapes(plot: Plot) -> list[dict[str, Any]]:
    return [
        {
            "type": "rect",
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            "x0": max(low, plot.start),
            "x1": min(high, plot.end),
            "fillcolor": colour,
            "line": {"width": 0},
            "layer": "below",
        }
        for spans, colour in ((plot.shaded, "var(--crit-shade)"), (plot.dropped, "var(--usual-band)"))
        for low, high in spans
        if high > plot.start and low < plot.end
    ]

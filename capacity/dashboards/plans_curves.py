"""Two figures of a plan: latency and cost by replicas, and the floor by hour."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from capacity.analysis.plan_records import Curve, CurvePoint, Floor
from capacity.dashboards.charts import TOP, Axis, Figure, Plot, Trace, figure, packed, tick_words, value_ticks
from capacity.dashboards.charts import axis_for as axis_of
from capacity.dashboards.plans_charts import UTC_ZONE, Layout, still
from capacity.dashboards.plans_words import money, percentile_words, seconds_words
from capacity.dashboards.words import count

CURVE_HEIGHT, FLOOR_HEIGHT = 252, 128
POINTS_AROUND = 4  # replicas more than needed that the curve shows
BEYOND = 1.3  # of the axis: what lies above is drawn as leaving it there, and its number stands beside it
SLO_MOST = 3.4  # times the SLO: the curve's axis ends there
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


# --- Latency by replicas -----------------------------------------------------------------------------------------------------


def curve_shown(curve: Curve) -> list[CurvePoint]:
    """The points around the needed number, a few below and a few above."""
    return [point for point in curve.points if curve.needed - 3 <= point.replicas <= curve.needed + POINTS_AROUND]


def curve_figure(curve: Curve, *, currency: str) -> Figure:
    """Points joined by a line, the SLO dashed, and what each costs as a grey bar with its number: bars have no axis."""
    points = curve_shown(curve)
    numbers = np.arange(points[0].replicas, points[-1].replicas + 1)
    latency = np.full(numbers.size, np.nan)
    for point in points:
        latency[point.replicas - numbers[0]] = point.promised
    most = min(SLO_MOST * curve.slo_seconds, 1.08 * max(float(np.nanmax(latency)), curve.slo_seconds))
    axis = axis_of("seconds", most)
    ticks = value_ticks(axis, most * axis.scale)
    top = ticks[-1]
    line = {
        "type": "scatter",
        "mode": "lines+markers",
        "x0": int(numbers[0]),
        "dx": 1,
        "y": packed(np.minimum(latency * axis.scale, BEYOND * top)),
        "connectgaps": True,
        "name": percentile_words(curve.slo_percentile),
        "line": {"color": "var(--d1)", "width": 2.25},
        "marker": {
            "size": [11 if n == curve.needed else 7 for n in numbers],
            "color": ["var(--d1)" if value <= curve.slo_seconds else "var(--crit)" for value in np.nan_to_num(latency)],
            "line": {"color": "var(--surface)", "width": 1.5},
        },
        "meta": {"unit": axis.unit},
    }
    layout = curve_layout(curve, numbers=numbers, ticks=ticks, unit=axis.unit)
    layout["meta"] |= {"unit": axis.unit}
    layout["annotations"] += point_notes(points, curve, top=top, scale=axis.scale)
    bars, words = cost_bars(points, top=top, currency=currency)
    layout["annotations"] += words
    layout["shapes"] = [
        {
            "type": "line",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": curve.slo_seconds * axis.scale,
            "y1": curve.slo_seconds * axis.scale,
            "line": {"color": "var(--ink)", "width": 1, "dash": "5px,3px"},
        }
    ]
    return {"data": [*bars, line], "layout": layout}


def curve_layout(curve: Curve, *, numbers: Any, ticks: Sequence[float], unit: str) -> Layout:
    texts = tick_words(ticks, Axis(1.0, unit))
    tickvals, ticktext = [int(n) for n in numbers], [str(n) for n in numbers]
    slo = {
        "text": f"<b>SLO {seconds_words(curve.slo_seconds)}</b>",
        "xref": "paper",
        "x": 1,
        "y": curve.slo_seconds * (1000.0 if unit == "ms" else 1.0),
        "xanchor": "right",
        "yanchor": "bottom",
        "bgcolor": "var(--surface-halo)",
        "showarrow": False,
        "font": {"size": 11, "color": "var(--ink)"},
    }
    return {
        "height": CURVE_HEIGHT,
        "margin": {"l": 40, "r": 34, "t": TOP + 6, "b": 24, "pad": 0},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"size": 11, "color": "var(--ink-3)"},
        "showlegend": False,
        "hovermode": False,
        "dragmode": False,
        "bargap": 0.62,
        "xaxis": {
            "range": [float(numbers[0]) - 0.5, float(numbers[-1]) + 0.5],
            "showgrid": False,
            "zeroline": False,
            "fixedrange": True,
            "ticklen": 0,
            "tickvals": tickvals,
            "ticktext": ticktext,
        },
        "yaxis": {
            "range": [0, ticks[-1]],
            "fixedrange": True,
            "gridcolor": "var(--line)",
            "zeroline": True,
            "zerolinecolor": "var(--line-2)",
            "ticklen": 0,
            "tickvals": list(ticks),
            "ticktext": texts,
        },
        "shapes": [],
        "annotations": [slo],
        "meta": {
            "title": "How many replicas?",
            "zone": "UTC",
            "step": 1,
            "first": float(numbers[0]),
            "names": [count(int(n), "replica") for n in numbers],
            "margins": {"l": 36, "r": 26},
            "phone": {"tickvals": tickvals, "ticktext": ticktext},
            "guides": 1,
            "short": [],
        },
    }


def point_notes(points: Sequence[CurvePoint], curve: Curve, *, top: float, scale: float) -> list[Layout]:
    """Beside the needed number and the one below it, and at the upper edge for what lies beyond."""
    notes = []
    leaves = max((point.replicas for point in points if point.promised * scale > top), default=None)
    for point in points:
        value = point.promised * scale
        beyond = value > top
        needed = next((each.promised for each in points if each.replicas == curve.needed), point.promised)
        if point.replicas == curve.needed - 1 and abs(point.promised - needed) * scale < 0.12 * top:
            continue  # the two would lie on each other
        if point.replicas not in (curve.needed, curve.needed - 1, leaves):
            continue
        text = f"<b>{point.replicas}: {seconds_words(point.promised)}{' ↑' if beyond else ''}</b>"
        under = not beyond and 0 < (curve.slo_seconds - point.promised) * scale < 0.14 * top  # the words of the SLO stand above it
        notes.append(
            {
                "text": text,
                "x": point.replicas,
                "y": min(value, top),
                "xanchor": "left",
                "yanchor": "top" if beyond or under else "bottom",
                "xshift": 7,
                "yshift": 0 if beyond else -3 if under else 3,
                "showarrow": False,
                "bgcolor": "var(--surface-halo)",
                "font": {"size": 11, "color": "var(--ink)" if point.holds else "var(--crit)"},
            }
        )
    return notes


def cost_bars(points: Sequence[CurvePoint], *, top: float, currency: str) -> tuple[list[dict[str, Any]], list[Layout]]:
    """Grey bars from 0 with a scale of their own, so each prints its number at its foot; none without a price."""
    priced = [(point.replicas, point.cost_per_month, point.holds) for point in points if point.cost_per_month is not None]
    if not priced:
        return [], []
    most = max(cost for _, cost, _ in priced) or 1.0
    bar = {
        "type": "bar",
        "x": [replicas for replicas, _, _ in priced],
        "y": packed(np.array([0.7 * top * cost / most for _, cost, _ in priced])),
        "marker": {"color": ["var(--d1-band)" if holds else "var(--usual-band)" for _, _, holds in priced], "line": {"width": 0}},
        "hoverinfo": "skip",
        "name": f"{currency}/month",
        "meta": {"band": True},
    }
    told = priced if len(priced) <= 5 else priced[::2]
    words = [
        {
            "text": thousands(cost),
            "x": replicas,
            "y": 0,
            "yanchor": "bottom",
            "showarrow": False,
            "font": {"size": 10, "color": "var(--ink-2)"},
        }
        for replicas, cost, _ in told
    ]
    return [bar], words


def thousands(value: float) -> str:
    return f"{value / 1000:,.0f}k" if value >= 9950 else money(value)


# --- The floor by hour -------------------------------------------------------------------------------------------------------


def floor_figure(floor: Floor) -> Figure:
    """Bars of the least replicas by hour (UTC), of a day or a week."""
    values = np.array(floor.replicas, dtype=np.float64)
    plot = Plot(
        title="Floor by hour",
        unit="replicas",
        start=-0.5,
        end=values.size - 0.5,
        first=0.0,
        step=1.0,
        traces=[Trace("floor", values, style="bars", label=False)],
        height=FLOOR_HEIGHT,
        clock=True,
        zone=UTC_ZONE,
    )
    drawn = figure(plot)
    layout = drawn["layout"]
    still(layout)
    week = values.size > 24
    ticks = [(24.0 * i, day) for i, day in enumerate(WEEKDAYS)] if week else [(float(h), f"{h:02d}:00") for h in range(0, 24, 3)]
    layout["xaxis"] |= {"tickvals": [at for at, _ in ticks], "ticktext": [text for _, text in ticks], "showticklabels": True}
    layout["margin"] |= {"l": 40, "r": 16, "b": 24}
    few = ticks[::2]
    layout["meta"] |= {
        "names": [hour_name(i, week=week) for i in range(values.size)],
        "margins": {"l": 32, "r": 12},
        "phone": {"tickvals": [at for at, _ in few], "ticktext": [text for _, text in few]},
    }
    return drawn


def hour_name(index: int, *, week: bool) -> str:
    return f"{WEEKDAYS[index // 24]} {index % 24:02d}:00" if week else f"{index:02d}:00"

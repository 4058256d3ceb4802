"""Demand against capacity over the days of a plan: history, bands, capacity, events, when it runs out and when to order."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from capacity.analysis.plan_records import PlanResult, Step
from capacity.analysis.plan_texts import holds_word
from capacity.dashboards.charts import TOP, Array, Band, Figure, Flag, Plot, Trace, figure, packed, spread
from capacity.dashboards.plans_words import DAY, amount, day_words, rate, unit_of

Layout = dict[str, Any]
DEMAND_HEIGHT = 300
FLAGS_MOST = 3
HISTORY_SHARE, HISTORY_LEAST = 0.75, 42  # days of the past beside the days to come
BAND_MOST = 2.5  # times the highest line: a band beyond is cut, else it presses all else flat
UTC_ZONE = ZoneInfo("UTC")


@dataclass(frozen=True)
class Mark:
    """A planned event on the time axis; `key` is its id, or its place among those of the address."""

    at: float
    title: str
    words: str  # "8 Dec launch ×1.35"
    short: str  # "8 Dec ×1.35"
    key: str = ""
    url: str = ""  # where it is changed; empty: the reader may not


# --- Demand ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Days:
    """All courses on one daily grid, NaN where they are not."""

    times: Array
    past: Array
    median: Array
    plain: Array
    low_80: Array
    high_80: Array
    low_50: Array
    high_50: Array
    capacity: Array
    planned: Array


def days_of(result: PlanResult) -> Days:
    """Past and future on one grid of UTC days, as much of the past as the horizon needs beside it."""
    demand = result.demand
    assert demand is not None  # the caller has looked
    start = demand.times[0] if demand.times else (demand.past_times[-1] + DAY)
    keep = max(HISTORY_LEAST, round(HISTORY_SHARE * len(demand.times))) * DAY  # whole days: the grid must stay on them
    first = max(min((*demand.past_times, start)), start - keep)
    last = demand.times[-1] if demand.times else start
    times = first + DAY * np.arange(round((last - first) / DAY) + 1, dtype=np.float64)
    future = {level: placed(times, demand.times, values) for level, values in zip(demand.levels, demand.quantiles, strict=True)}

    def level(wanted: float) -> Array:
        return future[min(future, key=lambda each: abs(each - wanted))] if future else np.full(times.size, np.nan)

    capacity = result.capacity
    steps = (*capacity.past, *capacity.steps) if capacity else ()
    return Days(
        times,
        placed(times, demand.past_times, demand.past_rates),
        level(0.5),
        placed(times, demand.times, demand.plain_median),
        level(0.1),
        level(0.9),
        level(0.25),
        level(0.75),
        stepped(times, steps),
        stepped(times, capacity.planned if capacity else ()),
    )


def placed(times: Array, at: Sequence[float], values: Sequence[float | None]) -> Array:
    """Values of days on the grid; None and what lies outside are gaps."""
    found = np.full(times.size, np.nan)
    for moment, value in zip(at, values, strict=True):
        index = round((moment - times[0]) / DAY)
        if 0 <= index < times.size and value is not None:
            found[index] = value
    return found


def stepped(times: Array, steps: Sequence[Step]) -> Array:
    """The highest capacity of each day, since its busiest hour is what is compared with it; before the first step a gap."""
    found = np.full(times.size, np.nan)
    ends = [*(each.time for each in steps[1:]), times[-1] + DAY]
    for step, after in zip(steps, ends, strict=False):  # without a step there is an end all the same
        low, high = np.floor((step.time - times[0]) / DAY), np.ceil((after - times[0]) / DAY)
        part = slice(int(max(low, 0)), int(min(max(high, 0), times.size)))
        found[part] = np.fmax(found[part], step.rate)
    return found


def demand_plot(result: PlanResult, marks: Sequence[Mark]) -> Plot:
    """Its traces are what the data table and the CSV hold too."""
    days = days_of(result)
    lines = [days.past, days.median, days.capacity, days.planned]
    top = BAND_MOST * max((float(np.nanmax(line)) for line in lines if np.isfinite(line).any()), default=1.0)
    traces = [
        Trace("came", days.past, colour="ink", style="line", label=False),
        Trace("expected", days.median, style="heavy", label=False),
        Trace("without events", days.plain, style="dot", label=False),
        Trace("capacity", days.capacity, colour="ink", style="dash", label=False),
        Trace("with the plan", days.planned, colour="d3", style="step", label=False),
        Trace("80 % low", days.low_80, label=False),
        Trace("80 % high", days.high_80, label=False),
    ]
    same = np.array_equal(np.nan_to_num(days.plain), np.nan_to_num(days.median))
    return Plot(
        title="When does demand outgrow capacity?",
        unit="req/s" if result.unit == "replicas" else result.unit,
        start=float(days.times[0]),
        end=float(days.times[-1] + DAY),
        first=float(days.times[0]),
        step=DAY,
        traces=[each for each in traces if np.isfinite(each.values).any() and not (same and each.name == "without events")],
        bands=[
            Band(days.low_80, np.minimum(days.high_80, top), text="80 % band"),
            Band(days.low_50, np.minimum(days.high_50, top), text="50 % band"),
        ],
        flags=flags_apart(marks, span=float(days.times[-1] - days.times[0])),
        marks=[mark.at for mark in marks],
        height=DEMAND_HEIGHT,
        clock=True,
        zone=UTC_ZONE,
    )


def flags_apart(marks: Sequence[Mark], *, span: float) -> list[Flag]:
    """The words of at most three events that do not lie on each other; the others keep their line and stand in the list."""
    flags: list[Flag] = []
    for mark in sorted(marks, key=lambda each: each.at):
        if len(flags) < FLAGS_MOST and (not flags or mark.at - flags[-1].at > 0.2 * span):
            flags.append(Flag(mark.at, mark.words))
    return flags


def demand_figure(result: PlanResult, marks: Sequence[Mark], *, now: datetime) -> Figure:
    plot = demand_plot(result, marks)
    drawn = figure(
        Plot(**{**plot.__dict__, "traces": [each for each in plot.traces if not each.name.startswith("80 %")]})  # they are the band
    )
    layout = drawn["layout"]
    still(layout)
    layout["shapes"] = [future_shape(now, plot), *layout["shapes"], now_shape(now), *order_shapes(result)]
    labels = demand_labels(plot, result, top=layout["yaxis"]["range"][1])
    layout["annotations"] = [*(note for note, _ in labels), *layout["annotations"], *demand_notes(result, plot, now=now)]
    layout["meta"]["short"] = [short for _, short in labels]
    shorts = {(mark.at, mark.words): mark.short for mark in marks}
    layout["meta"]["flags"] = [shorts[flag.at, flag.text] for flag in plot.flags if plot.start < flag.at < plot.end]
    drawn["data"] += run_out_points(result)
    return drawn


def still(layout: Layout) -> None:
    """No zoom: these pages choose their span by links, and a drag moves an event."""
    layout["dragmode"] = False
    layout["xaxis"]["fixedrange"] = True


def future_shape(now: datetime, plot: Plot) -> Layout:
    return {
        "type": "rect",
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "x0": now.timestamp(),
        "x1": plot.end,
        "fillcolor": "var(--future)",
        "line": {"width": 0},
        "layer": "below",
    }


def now_shape(now: datetime) -> Layout:
    at = now.timestamp()
    return {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": at, "x1": at, "line": {"color": "var(--ink-3)", "width": 1}}


def order_shapes(result: PlanResult) -> list[Layout]:
    at = result.run_out.order_time if result.run_out else None
    if at is None:
        return []
    return [{"type": "line", "yref": "paper", "y0": 0, "y1": 0.18, "x0": at, "x1": at, "line": {"color": "var(--ink)", "width": 1.5}}]


def run_out_points(result: PlanResult) -> list[dict[str, Any]]:
    """A dot where the median passes the capacity."""
    at = result.run_out.median_time if result.run_out else None
    if at is None or result.capacity is None:
        return []
    held = stepped(np.array([at // DAY * DAY]), (*result.capacity.past, *result.capacity.steps))
    return [points_trace([at], held, colour="crit", size=9)]


def points_trace(xs: Sequence[float], ys: Array, *, colour: str, size: float) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": list(xs),
        "y": packed(ys),
        "marker": {"color": f"var(--{colour})", "size": size, "line": {"color": "var(--surface)", "width": 1.5}},
        "hoverinfo": "skip",
        "cliponaxis": False,
        "meta": {"band": True},
    }


def demand_labels(plot: Plot, result: PlanResult, *, top: float) -> list[tuple[Layout, str]]:
    """At the line ends: what is expected, and what so many replicas hold; beside each the word for a phone."""
    inner = plot.height - TOP - 24
    wanted: list[tuple[float, str, str, str]] = []
    for trace in plot.traces:
        known = np.flatnonzero(np.isfinite(trace.values))
        if trace.name not in ("expected", "capacity", "with the plan") or not known.size:
            continue
        value = float(trace.values[known[-1]])
        if trace.name == "expected":
            wanted.append((value, f"median {rate(value)}", rate(value), "d1-text"))
        elif result.capacity is not None:
            step = (result.capacity.planned if trace.name == "with the plan" else (*result.capacity.past, *result.capacity.steps))[-1]
            colour = "d3-text" if "plan" in trace.name else "ink"
            if result.unit == "replicas":
                wanted.append(
                    (
                        value,
                        f"{amount(step.replicas)} {unit_of(step.replicas, result.unit)}<br>{holds_word(step.replicas)} {rate(step.rate)}",
                        f"{amount(step.replicas)}: {rate(step.rate)}",
                        colour,
                    )
                )
            else:
                wanted.append((value, f"{amount(step.replicas)}<br>{unit_of(step.replicas, result.unit)}", amount(step.replicas), colour))
    wanted.sort(key=lambda each: each[0])
    pixels = spread([value / top * inner for value, *_ in wanted], gap=26, most=inner)
    return [
        (side_note(text, height=pixel / inner, colour=colour), short)
        for (_, text, short, colour), pixel in zip(wanted, pixels, strict=True)
    ]


def side_note(text: str, *, height: float, colour: str) -> Layout:
    return {
        "text": f"<b>{text}</b>",
        "xref": "paper",
        "yref": "paper",
        "x": 1,
        "y": height,
        "xanchor": "left",
        "yanchor": "middle",
        "align": "left",
        "xshift": 6,
        "showarrow": False,
        "font": {"size": 11, "color": f"var(--{colour})"},
    }


def demand_notes(result: PlanResult, plot: Plot, *, now: datetime) -> list[Layout]:
    """Words on the plot: now, order by, the bands."""
    notes = [note("now", x=now.timestamp(), y=1, anchor="right", colour="ink-3", yref="paper", yanchor="top")]
    out = result.run_out
    if out is not None and out.order_time is not None:
        left = out.order_time < (plot.start + plot.end) / 2 and out.order_time - plot.start > 0.2 * (plot.end - plot.start)
        text = f"<b>order by {day_words(out.order_time, now=now, weekday=True)}</b><br>{amount(out.lead_time_days)} days lead time"
        notes.append(note(text, x=out.order_time, y=0.17, anchor="right" if left else "left", yref="paper", yanchor="top"))
    taken = out is not None and out.order_time is not None and out.order_time > (plot.start + plot.end) / 2
    if plot.bands and np.isfinite(plot.bands[0].low).any() and not taken:
        notes.append(note("80 % and 50 % band", x=plot.end, y=0.02, anchor="right", colour="ink-3", yref="paper", yanchor="bottom"))
    return notes


def note(text: str, *, x: float, y: float, anchor: str, **more: str) -> Layout:
    """Words at a place; `name` wide: not on a phone."""
    return {
        "text": text,
        "name": "wide" if "now" not in text else "",
        "x": x,
        "y": y,
        "xanchor": anchor,
        "xshift": -5 if anchor == "right" else 5,
        "align": anchor,
        "showarrow": False,
        "bgcolor": "var(--surface-halo)",
        "font": {"size": 11, "color": f"var(--{more.pop('colour', 'ink')})"},
        **more,
    }

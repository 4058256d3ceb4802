"""The figures of a plan: Plotly can draw them, they hold what the plan says, and never more than fits."""

import base64
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go  # type: ignore[import-untyped]
import pytest

from capacity.analysis.plan_records import Step
from capacity.dashboards.charts import Figure
from capacity.dashboards.plans_charts import Mark, days_of, demand_figure, demand_plot, flags_apart, stepped
from capacity.dashboards.plans_curves import curve_figure, floor_figure
from tests.capacity.plan_builders import NOW, make_curve, make_demand, make_floor, make_result

DAY = 86400.0
TODAY = NOW.timestamp() // DAY * DAY


def mark(days: float, name: str = "launch") -> Mark:
    return Mark(TODAY + days * DAY, name, f"{name} ×2", "×2", "1")


@pytest.mark.parametrize(
    "drawn",
    [
        demand_figure(make_result(), [mark(17)], now=NOW),
        demand_figure(make_result(run_out=None, capacity=None), [], now=NOW),
        curve_figure(make_curve(), currency="USD"),
        floor_figure(make_floor()),
        floor_figure(make_floor(replicas=tuple([3] * 168))),
    ],
)
def test_plotly_takes_each_figure(drawn: Figure) -> None:
    go.Figure(drawn)


def test_past_and_future_stand_on_one_grid_of_days() -> None:
    days = days_of(make_result())
    known = np.isfinite(days.past) & np.isfinite(days.median)
    assert not known.any() and np.diff(days.times).tolist() == [DAY] * (days.times.size - 1)
    assert np.isnan(days.past[0])  # the first day was not measured
    assert days.times[np.flatnonzero(np.isfinite(days.median))[0]] == TODAY


def test_the_capacity_of_a_day_is_its_highest() -> None:
    times = TODAY + DAY * np.arange(4.0)
    steps = (Step(TODAY, 4, 20.0), Step(TODAY + 0.3 * DAY, 6, 30.0), Step(TODAY + 1.5 * DAY, 4, 20.0))
    assert stepped(times, steps).tolist() == [30.0, 30.0, 20.0, 20.0]


def test_a_band_far_above_everything_does_not_press_the_lines_flat() -> None:
    demand = make_demand()
    wild = tuple(tuple(np.array(row) * (40.0 if level > 0.6 else 1.0)) for level, row in zip(demand.levels, demand.quantiles, strict=True))
    top = demand_figure(make_result(demand=make_demand(quantiles=wild)), [], now=NOW)["layout"]["yaxis"]["range"][1]
    assert top <= 3.5 * max(demand.quantiles[3])


def test_flags_that_would_lie_on_each_other_are_left_to_the_list() -> None:
    flags = flags_apart([mark(1, "a"), mark(2, "b"), mark(40, "c"), mark(80, "d"), mark(120, "e")], span=150 * DAY)
    assert [flag.text for flag in flags] == ["a ×2", "c ×2", "d ×2"]


def test_a_horizon_of_a_year_keeps_its_last_days() -> None:
    plot = demand_plot(make_result(demand=make_demand(days=365, history=400)), ())
    assert plot.end == TODAY + 365 * DAY and plot.start < TODAY - 200 * DAY


def test_points_beyond_the_axis_are_told_at_its_edge() -> None:
    drawn = curve_figure(make_curve(), currency="USD")
    texts = [note["text"] for note in drawn["layout"]["annotations"]]
    assert any("6: 2.90 s ↑" in text for text in texts) or drawn["layout"]["yaxis"]["range"][1] >= 2.9
    assert any("8: 0.61 s" in text for text in texts)


def test_the_line_leaves_the_axis_where_it_is_seen_and_the_last_number_says_its_seconds() -> None:
    """A point of hours beside one of a second would be a line straight up, out of nowhere."""
    steep = {5: 9000.0, 6: 0.79, 7: 0.7, 8: 0.61}
    points = tuple(replace(point, promised=steep[point.replicas]) for point in make_curve().points if point.replicas in steep)
    drawn = curve_figure(make_curve(points=points), currency="USD")
    texts = [note["text"] for note in drawn["layout"]["annotations"]]
    assert any("5: 150 min ↑" in text for text in texts)
    line = np.frombuffer(base64.b64decode(drawn["data"][-1]["y"]["bdata"]), dtype=drawn["data"][-1]["y"]["dtype"])
    assert line.max() < 2 * drawn["layout"]["yaxis"]["range"][1]


def test_without_a_price_there_are_no_bars() -> None:
    bare = make_curve(points=tuple(point.__class__(**{**point.__dict__, "cost_per_month": None}) for point in make_curve().points))
    assert [trace["type"] for trace in curve_figure(bare, currency="")["data"]] == ["scatter"]

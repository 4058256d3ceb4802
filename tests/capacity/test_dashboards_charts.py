"""Arrays to figures: Plotly accepts them, gaps stay gaps, labels do not cover each other."""

import base64
import re
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import plotly.graph_objects as go  # type: ignore[import-untyped]
import pytest

from capacity.dashboards.charts import Axis as ValueAxis
from capacity.dashboards.charts import Band, Guide, Plot, Trace, figure, spread, time_ticks, value_ticks

STATIC = Path("capacity/static/headroom")
START = 1_795_500_000.0
GAP = float("nan")


def plot(**changes: Any) -> Plot:
    values = np.array([0.5, 0.6, GAP, 1.8, 1.84])
    fields: dict[str, Any] = {
        "title": "Is the first token fast enough?",
        "unit": "seconds",
        "start": START,
        "end": START + 300,
        "first": START + 60,
        "step": 60.0,
        "traces": [Trace("p50", values / 2), Trace("p95", values, style="heavy"), Trace("p99", values * 1.2, style="dash")],
        "bands": [Band(values / 2, values)],
        "guides": [Guide(0.8, "SLO p95 0.80 s")],
        "marks": [START + 120],
        "shaded": [(START + 180, START + 400)],
    }
    return Plot(**fields | changes)


def unpacked(array: dict[str, str]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(array["bdata"]), dtype="<" + array["dtype"])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"unit": "ratio", "guides": []},
        {"unit": "bytes", "bands": []},
        {"traces": [Trace("errors", np.array([0.0, 1.0, 2.0]), style="bars")], "bands": []},
        {
            "traces": [Trace("wished", np.array([2.0, 3.0]), style="step"), Trace("waiting", np.array([1.0, 2.0]), style="area")],
            "bands": [],
        },
        {"traces": [Trace("p95", np.full(5, GAP))], "bands": [], "clock": True},
    ],
)
def test_plotly_accepts_the_figure(changes: dict[str, Any]) -> None:
    built = figure(plot(**changes))
    assert len(go.Figure(built).data) == len(built["data"])


def test_a_gap_stays_a_gap() -> None:
    line = figure(plot())["data"][2]
    assert line["connectgaps"] is False
    assert np.isnan(unpacked(line["y"])).tolist() == [False, False, True, False, False]


def test_a_band_is_one_polygon_for_each_stretch() -> None:
    band = figure(plot())["data"][0]
    assert np.isnan(unpacked(band["x"])).sum() == 2
    assert unpacked(band["x"])[:4].tolist() == [START + 60, START + 120, START + 120, START + 60]


def test_a_lone_point_between_gaps_is_drawn() -> None:
    lone = figure(plot(traces=[Trace("p95", np.array([GAP, 1.0, GAP]))], bands=[]))
    assert lone["data"][0]["mode"] == "lines+markers"


def test_ratios_are_drawn_in_percent_from_0_to_100() -> None:
    layout = figure(plot(unit="ratio", traces=[Trace("busy", np.array([0.2, 0.94]))], bands=[], guides=[]))["layout"]
    assert layout["yaxis"]["range"] == [0, 100.0]
    assert layout["yaxis"]["ticktext"] == ["0", "50", "100 %"]


def test_the_unit_stands_once_on_the_top_tick() -> None:
    texts = figure(plot())["layout"]["yaxis"]["ticktext"]
    assert [text.endswith(" s") for text in texts] == [False, False, False, True]


@pytest.mark.parametrize(
    ("unit", "highest", "top"),
    [("bytes/s", 945 * 1024, "1.2 MiB/s"), ("bytes/s", 700 * 1024, "750 KiB/s"), ("bytes", 200.0, "240 B"), ("hertz", 970e6, "1.2 GHz")],
)
def test_no_tick_of_bytes_or_clocks_has_four_digits(unit: str, highest: float, top: str) -> None:
    layout = figure(plot(unit=unit, traces=[Trace("drawn", np.array([highest / 2, highest]))], bands=[], guides=[]))["layout"]
    assert layout["yaxis"]["ticktext"][-1] == top


def test_thousands_are_told_on_every_tick() -> None:
    layout = figure(plot(unit="watts", traces=[Trace("power", np.array([900.0, 1_190.0]))], bands=[], guides=[]))["layout"]
    assert layout["yaxis"]["ticktext"] == ["0", "0.5k", "1.0k", "1.5k W"]


@pytest.mark.parametrize("top", [0.0, 1e-6, 0.37, 1.0, 8.1, 99.0, 123456.0])
def test_ticks_reach_over_the_highest_value(top: float) -> None:
    ticks = value_ticks(ValueAxis(1.0, ""), top)
    assert ticks[0] == 0
    assert ticks[-1] >= top
    assert top == 0 or ticks[-1] <= 2.1 * top


def test_end_labels_are_moved_apart() -> None:
    places = spread([50.0, 51.0, 52.0], gap=12.0, most=60.0)
    assert np.diff(places).min() >= 12.0
    assert max(places) <= 60.0


def test_the_clock_is_the_readers() -> None:
    start = 1_795_305_600.0  # 2026-11-22 00:00 UTC
    texts = [text for _, text in time_ticks(start, start + 6 * 3600, zone=ZoneInfo("Europe/Berlin"), most=8)]
    assert texts == ["02:00", "03:00", "04:00", "05:00", "06:00"]


def test_hours_stay_on_the_hour_when_the_clock_changes() -> None:
    start = 1_792_868_400.0  # 2026-10-24 19:00 UTC; Berlin leaves summer time that night
    texts = [text for _, text in time_ticks(start, start + 12 * 3600, zone=ZoneInfo("Europe/Berlin"), most=6)]
    assert all(text.endswith(":00") or text == "25 Oct" for text in texts)


def test_the_browser_is_told_to_send_nothing_away() -> None:
    script = (STATIC / "charts.js").read_text()
    assert "showSendToCloud: false" in script
    assert 'plotlyServerURL: ""' in script


def test_our_scripts_need_no_eval() -> None:
    for path in STATIC.glob("*.js"):
        assert not re.search(r"\beval\(|new Function|\.innerHTML\s*=", path.read_text()), path


def test_every_colour_of_a_figure_is_a_variable_of_the_look() -> None:
    css = (STATIC / "look.css").read_text()
    used = set(re.findall(r"var\((--[\w-]+)\)", str(figure(plot()))))
    assert used
    assert {name for name in used if f"{name}:" not in css} == set()

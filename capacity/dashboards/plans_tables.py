"""What the charts of a plan show, as tables and as CSV: the same numbers, units in the header, days in ISO 8601."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from capacity.analysis.plan_records import PlanResult
from capacity.dashboards.plans_charts import demand_plot
from capacity.dashboards.plans_curves import hour_name
from capacity.dashboards.plans_words import at_of, rate
from capacity.dashboards.words import DASH
from capacity.dashboards.words import figure as shown

Cell = str | float | None


@dataclass(frozen=True)
class Sheet:
    """Columns of (name, unit) and rows of plain values; None was not measured."""

    title: str
    columns: Sequence[tuple[str, str]]
    rows: Sequence[Sequence[Cell]]

    @property
    def header(self) -> list[str]:
        return [f"{name} [{unit}]" if unit else name for name, unit in self.columns]

    @property
    def lines(self) -> list[list[str]]:
        """As CSV writes them: base units, all digits that count."""
        return [["" if cell is None else cell if isinstance(cell, str) else f"{cell:.7g}" for cell in row] for row in self.rows]

    @property
    def words(self) -> list[list[str]]:
        """As the screen shows them."""
        return [[cell_words(cell, unit) for cell, (_, unit) in zip(row, self.columns, strict=True)] for row in self.rows]


def cell_words(cell: Cell, unit: str) -> str:
    if cell is None:
        return DASH
    if isinstance(cell, str):
        return cell
    return str(shown(cell, unit)) if unit in ("seconds", "ratio") else rate(cell)


def demand_sheet(result: PlanResult) -> Sheet | None:
    if result.demand is None:
        return None
    plot = demand_plot(result, ())
    values = np.array([trace.values for trace in plot.traces])
    rows: list[list[Cell]] = []
    for i in range(values.shape[1]):
        if np.isfinite(values[:, i]).any():
            day = at_of(plot.first + i * plot.step).date().isoformat()
            rows.append([day, *(float(value) if np.isfinite(value) else None for value in values[:, i])])
    columns = [("day", ""), *((trace.name, plot.unit) for trace in plot.traces)]
    return Sheet("Busiest hour of each day (UTC)", columns, rows)


def curve_sheet(result: PlanResult) -> Sheet | None:
    curve = result.curve
    if curve is None:
        return None
    currency = result.cost.currency if result.cost else ""
    columns = (
        ("replicas", ""),
        ("utilisation", "ratio"),
        ("p50", "seconds"),
        ("p95", "seconds"),
        ("p99", "seconds"),
        (f"p{100 * curve.slo_percentile:g} promised", "seconds"),
        ("late requests", "ratio"),
        ("SLO minutes lost a month", "min"),
        ("cost a month", currency),
        ("holds the SLO", ""),
    )
    rows: list[list[Cell]] = [
        [
            str(point.replicas),
            point.utilisation_ratio,
            point.latency_p50,
            point.latency_p95,
            point.latency_p99,
            point.promised,
            point.late_ratio,
            point.lost_minutes_per_month,
            point.cost_per_month,
            "yes" if point.holds else "no",
        ]
        for point in curve.points
    ]
    return Sheet("Replicas against latency and cost", columns, rows)


def floor_sheet(result: PlanResult) -> Sheet | None:
    floor = result.floor
    if floor is None:
        return None
    week = len(floor.replicas) > 24
    rows: list[list[Cell]] = [[f"{hour_name(i, week=week)} UTC", str(value)] for i, value in enumerate(floor.replicas)]
    return Sheet("Least replicas by hour", (("hour", ""), ("least replicas", "")), rows)


def replayed_sheet(result: PlanResult) -> Sheet | None:
    replayed = result.replayed
    if replayed is None:
        return None
    currency = result.cost.currency if result.cost else ""
    columns = (("policy", ""), ("how", ""), ("SLO minutes lost", "min"), ("replica-hours", "h"), ("cost", currency), ("measured", ""))
    rows: list[list[Cell]] = [
        [each.label, each.detail, each.lost_minutes, each.replica_hours, each.cost, "yes" if each.measured else "replayed"]
        for each in replayed.policies
    ]
    title = f"Backtest, {iso(replayed.start)} to {iso(replayed.end)}"
    return Sheet(title, columns, rows)


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).date().isoformat()


SHEETS: dict[str, Callable[[PlanResult], Sheet | None]] = {
    "demand": demand_sheet,
    "replicas": curve_sheet,
    "floor": floor_sheet,
    "backtest": replayed_sheet,
}

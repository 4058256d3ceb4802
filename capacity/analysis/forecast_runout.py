"""When a disk or a memory is full: the stored forecast of what is used against what there is."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from capacity.analysis.forecast_make import moment
from capacity.analysis.forecasts import forecast_shown
from capacity.models import ForecastRun, Horizon
from monitoring.catalog.columns import COLUMNS
from monitoring.catalog.records import Entity
from monitoring.models import Node
from monitoring.series import latest_load

TOTALS = {"disk_used_bytes": "disk_total_bytes", "memory_used_bytes": "memory_total_bytes"}
NEWEST = timedelta(days=1)
MEDIAN, EARLY = 0.5, 0.9


@dataclass(frozen=True)
class NodeRunOut:
    """The day on which what is used reaches what there is: at the median, and at the 90 % quantile, which comes sooner. None: not within
    the forecast, or not known; the sentence says which."""

    quantity: str
    median_at: datetime | None
    early_at: datetime | None
    used_bytes: float | None
    total_bytes: float | None
    flags: tuple[str, ...]
    sentence: str


def node_runs_out(node: Node, quantity: str = "disk_used_bytes", *, now: datetime) -> NodeRunOut:
    """quantity: disk_used_bytes or memory_used_bytes, else ValueError. Two queries."""
    if quantity not in TOTALS:
        raise ValueError(f"what may run out is one of {', '.join(TOTALS)}, got {quantity!r}")
    label = next(column.label for column in COLUMNS[Entity.NODE] if column.name == TOTALS[quantity])
    latest = latest_load(Entity.NODE, [node.pk], (quantity, TOTALS[quantity]), now=now, within_seconds=NEWEST.total_seconds())[node.pk]
    used, total = (latest[name].value if name in latest else None for name in (quantity, TOTALS[quantity]))
    if total is None:
        return NodeRunOut(
            quantity, None, None, used, None, (), f"How much {label.lower()} {node.name} has was not measured in the last day."
        )
    run = ForecastRun.objects.filter(node=node, quantity=quantity, horizon=Horizon.YEAR).first()
    forecast, sentence = forecast_shown(run)
    if forecast is None:
        return NodeRunOut(quantity, None, None, used, total, (), sentence)
    days = [
        day_reached(forecast.at_level(level), total, start=forecast.start_seconds, step=forecast.step_seconds) for level in (MEDIAN, EARLY)
    ]
    words = reached_words(
        label, days[0], days[1], until=moment(forecast.start_seconds + forecast.quantiles.shape[1] * forecast.step_seconds)
    )
    return NodeRunOut(quantity, days[0], days[1], used, total, forecast.flags, f"{words} {sentence}")


def day_reached(path: np.ndarray, total: float, *, start: float, step: float) -> datetime | None:
    """The first step whose forecast is at least the total."""
    full = np.flatnonzero(path >= total)
    return moment(start + float(full[0]) * step) if full.size else None


def reached_words(label: str, median: datetime | None, early: datetime | None, *, until: datetime) -> str:
    if median is None and early is None:
        return f"{label} does not run out before {until:%Y-%m-%d}."
    if median is None:
        return f"{label} runs out on {early:%Y-%m-%d} at the earliest (90 % quantile), not before {until:%Y-%m-%d} by the median."
    return f"{label} runs out on {median:%Y-%m-%d} (median), on {early:%Y-%m-%d} at the earliest (90 % quantile)."

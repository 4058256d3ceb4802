"""How near each deployment of the table was to its limiting resource over the range: the typical load and its p95."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from django.utils.safestring import SafeString

from capacity.dashboards.pages import Page
from capacity.dashboards.sparks import headroom_bar
from monitoring.catalog.records import Entity
from monitoring.models import Deployment
from monitoring.series import Lines, lines_load_many

POINTS = 48
# what the stored status calls the limit -> (column, its ceiling; "" = it is a share already)
OWN = {"kv_cache_usage_ratio": ("kv_cache_usage_ratio", ""), "cpu_usage_cores": ("cpu_usage_cores", "cpu_requested_cores")}
HARDWARE = {
    "gr_engine_active_ratio": ("gr_engine_active_ratio", ""),
    "dram_active_ratio": ("dram_active_ratio", ""),
    "power_watts": ("power_watts", "power_limit_watts"),
}
LOAD_COLUMNS = ("kv_cache_usage_ratio", "cpu_usage_cores", "cpu_requested_cores")
HARDWARE_COLUMNS = ("gr_engine_active_ratio", "dram_active_ratio", "power_watts", "power_limit_watts")

Array = npt.NDArray[np.float64]


class Load(NamedTuple):
    """Shares of the ceiling: the median and the 95th percentile of the steps of the range."""

    typical: float
    high: float


def loads_of(
    deployments: Sequence[Deployment], own: Mapping[int, Lines], cards: Mapping[int, Sequence[int]], *, page: Page
) -> dict[int, Load]:
    """Of each deployment at what limits it now; the accelerators are read only of those they limit, in one read."""
    limits = {row.pk: status.limit_name for row in deployments if (status := getattr(row, "status", None)) is not None}
    needed = sorted({card for pk, name in limits.items() if name in HARDWARE for card in cards.get(pk, ())})
    start, end = page.range.start, page.range.end
    hardware = lines_load_many(Entity.ACCELERATOR, needed, HARDWARE_COLUMNS, start=start, end=end, points=POINTS)
    found = {}
    for pk, name in limits.items():
        if name in OWN and pk in own:
            course = ratio_of([own[pk]], *OWN[name])
        elif name in HARDWARE:
            course = ratio_of([hardware[card] for card in cards.get(pk, ()) if card in hardware], *HARDWARE[name])
        else:
            continue
        if (load := load_of(course)) is not None:
            found[pk] = load
    return found


def ratio_of(lines: Sequence[Lines], column: str, ceiling: str) -> Array:
    """The mean over the lines at each step, as a share of the ceiling; NaN where nothing was measured."""
    used = mean_of(lines, column)
    if not ceiling or not used.size:
        return used
    whole = mean_of(lines, ceiling)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, used / whole, np.nan) if whole.size == used.size else np.array([])


def mean_of(lines: Sequence[Lines], column: str) -> Array:
    measured = [each.columns[column].mean for each in lines if column in each.columns]
    if not measured:
        return np.array([])
    stacked = np.vstack(measured)
    counts = np.isfinite(stacked).sum(axis=0)
    return np.where(counts > 0, np.nansum(stacked, axis=0) / np.maximum(counts, 1), np.nan)


def load_of(course: Array) -> Load | None:
    known = course[np.isfinite(course)]
    return Load(float(np.median(known)), float(np.quantile(known, 0.95))) if known.size else None


def load_bar(load: Load | None, now: float | None, *, tone: str = "") -> SafeString:
    """The headroom bar; what is full only since minutes ago shows as full, whatever the day was like."""
    if load is None:
        return headroom_bar(now, now, tone=tone)
    return headroom_bar(load.typical, max(load.high, now or 0.0), tone=tone)

"""How fast a version serves against what serves now: from its own requests, where enough came."""

from dataclasses import dataclass

import numpy as np

from capacity.analysis.plan_inputs import PlanInputs
from capacity.analysis.plan_server import ENOUGH_REQUESTS, ServerBase, queued
from capacity.analysis.plan_telemetry import instant, latencies_of
from monitoring.catalog.records import Latency
from monitoring.models import Deployment, Version
from monitoring.series import latency_load

SLOWEST, FASTEST = 0.1, 10.0
NEAR = 0.02  # as fast


@dataclass(frozen=True)
class VersionSpeed:
    ratio: float  # against what serves now
    reasons: tuple[str, ...] = ()


def version_speed(deployment: Deployment, inputs: PlanInputs, base: ServerBase, *, version: str) -> VersionSpeed:
    """1 where nothing was asked, the version never served here, or too few of its requests are known; then it says so."""
    if not version:
        return VersionSpeed(1.0)
    row = Version.objects.filter(deployment=deployment, name=version).first()
    if row is None:
        return VersionSpeed(1.0, (f"Version {version} never served here: sized as if it were as fast as what serves now.",))
    if base.service is None or base.service.basis == "assumed":
        return VersionSpeed(1.0, (f"Version {version} is not told apart: no latency histogram is stored.",))
    grid = inputs.steps
    end = grid.start + grid.rates.size * grid.step
    lines = latency_load(
        deployment.pk, Latency.REQUEST_DURATION, start=instant(grid.start), end=instant(end), points=grid.rates.size, versions=[row.pk]
    )
    own = latencies_of(lines, grid=grid, percentile=0.5)
    counts, seconds = own.merged((own.counts.sum(axis=1) > 0) & ~queued(grid) & np.isfinite(own.sums))
    if counts.sum() < ENOUGH_REQUESTS or not seconds > 0:
        known = f"{counts.sum():,.0f} requests while nobody queued are known, {ENOUGH_REQUESTS:,.0f} are needed to tell its speed"
        return VersionSpeed(1.0, (f"Of version {version} {known}: sized as if it were as fast as what serves now.",))
    ratio = float(np.clip(base.service.mean_seconds / (seconds / counts.sum()), SLOWEST, FASTEST))
    how = "as fast as" if abs(ratio - 1.0) < NEAR else f"{ratio:.2f} times as fast as"
    return VersionSpeed(
        ratio, (f"Version {version} is {how} what serves now, by {counts.sum():,.0f} of its requests while nobody queued.",)
    )

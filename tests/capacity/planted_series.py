"""Planted demand in the store, as five-minute rows of a deployment and rollups made of them."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from monitoring.catalog.records import Entity
from monitoring.rollups import rollups_fill
from monitoring.store import rollups_write
from tests.telemetry import NOON, NOON_SECONDS, make_rollups

Floats = NDArray[np.float64]
HOUR, DAY = 3600.0, 86400.0


def daily(times: Floats, *, mean: float = 40.0) -> Floats:
    """A day that swings between half and one and a half, highest at 18:00 UTC. times: Unix seconds."""
    return np.asarray(mean * (1 - 0.5 * np.sin(2 * np.pi * times / DAY)))


def demand_plant(
    pk: int,
    *,
    days: float,
    shape: Callable[[Floats], Floats] = daily,
    column: str = "requests_per_second",
    entity: Entity = Entity.DEPLOYMENT,
    noise: float = 0.1,
    until: float = 0.0,
    fill: bool = True,
) -> Floats:
    """Five-minute rows that end `until` seconds after noon; NaN of `shape` leaves a row out. Returns the means written."""
    ends = until - 300.0 * np.arange(round(days * DAY / 300))[::-1]
    rng = np.random.default_rng(pk)
    values = shape(NOON_SECONDS + ends) * rng.lognormal(0, noise, ends.size)
    known = np.isfinite(values)
    rollups_write(make_rollups(ends[known].tolist(), entity, ids=pk, **{column: values[known]}))
    while fill and "more to do" in rollups_fill(now=NOON):
        pass
    return values

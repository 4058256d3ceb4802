"""How many requests one replica serves at the same time, read from how many ran and how many waited."""

from dataclasses import dataclass

import numpy as np

from capacity.engine.answer import NoAnswer
from capacity.engine.grid import Floats
from capacity.engine.sizing.headroom import isotonic

MIN_STEPS = 50
GROUPS = 50  # of neighbouring loads, whose share of steps with a queue is taken together
QUEUED = 0.5  # requests waiting per replica from which a queue is a queue
QUEUED_SHARE = 0.05  # and of those running
HIGHEST = 0.995


@dataclass(frozen=True)
class Slots:
    """Requests at once in one replica."""

    count: int
    basis: str  # "queue": beyond it requests waited; "highest": the most seen, nobody waited


def slots_find(running: Floats, *, waiting: Floats, replicas: Floats) -> Slots | NoAnswer:
    """The number running per replica at which half of the steps have a queue, else the highest seen while nobody queued.

    running, waiting, replicas: (n,) of all replicas, one value a step, NaN = gap; waiting all NaN where no server tells it.
    NoAnswer("no_data") where nothing ran, "too_short" under 50 steps. ValueError for a negative value.
    """
    for name, values in (("running", running), ("waiting", waiting), ("replicas", replicas)):
        if (values < 0).any():
            raise ValueError(f"requests {name} must be 0 or more, got {np.nanmin(values):g}")
    known = np.isfinite(running) & np.isfinite(replicas) & (replicas > 0) & (running > 0)
    if known.sum() < MIN_STEPS:
        return NoAnswer("too_short" if known.any() else "no_data", have=int(known.sum()), need=MIN_STEPS)
    each, queue = running[known] / replicas[known], np.nan_to_num(waiting[known] / replicas[known])
    queued = queue > np.maximum(QUEUED, QUEUED_SHARE * each)
    order = np.argsort(each)
    groups = np.array_split(order, min(GROUPS, each.size))
    over = np.flatnonzero(isotonic(np.array([queued[group].mean() for group in groups])) >= 0.5)
    if over.size and np.isfinite(waiting[known]).any():
        return Slots(max(1, int(np.floor(np.median(each[groups[over[0]]])))), "queue")
    free = each[~queued]
    return Slots(max(1, int(np.ceil(np.quantile(free if free.size else each, HIGHEST)))), "highest")

"""How long a replica takes to start: from when more are wished for until they answer."""

from collections.abc import Sequence

import numpy as np

from capacity.analysis.plan_assumed import Known
from capacity.analysis.plan_telemetry import Stretch
from capacity.engine.grid import Floats

LONGEST_SECONDS = 3600.0  # what takes longer is no start but a lack of room
STARTS_QUANTILE = 0.75


def startup_measured(stretches: Sequence[Stretch]) -> Known | None:
    """The finest stretch that has a start counts. None where none was seen."""
    for stretch in stretches:
        found = starts_of(stretch["replicas_desired"], ready=stretch["replicas_ready"], step=stretch.step)
        if found:
            seconds = float(np.quantile(found, STARTS_QUANTILE))
            starts = "1 start" if len(found) == 1 else f"{len(found)} starts"
            return Known(seconds, f"measured over {starts}, to {stretch.step:g} s")
    return None


def starts_of(desired: Floats, *, ready: Floats, step: float) -> list[float]:
    """Seconds of each rise of what is wished for until as many answer; one met within its own step says only that it was quick."""
    found = []
    known = np.flatnonzero(np.isfinite(desired) & np.isfinite(ready))
    for before, at in zip(known[:-1], known[1:], strict=True):
        if desired[at] <= desired[before] or ready[at] >= desired[at]:
            continue
        window = known[(known > at) & ((known - at) * step <= LONGEST_SECONDS)]
        met = window[ready[window] >= desired[at]]
        if met.size:
            # The rise came between two readings, and so did the answer: their distance is right on average.
            found.append(float((met[0] - at) * step))
    return found

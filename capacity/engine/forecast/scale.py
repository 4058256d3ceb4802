"""The scale on which methods and errors live: between proportional and additive, and the same for any unit."""

from dataclasses import dataclass

import numpy as np

from capacity.engine.grid import Floats

# log(y / centre + OFFSET): growth in the large is proportional, an outage to zero is a step of -0.4 and not minus infinity. At 0.1 the
# outages of real series pull every average down; errors of forecasts of 27 series hardly differ from 1 to 3.
OFFSET = 2.0


@dataclass(frozen=True)
class Scale:
    """centre: the median of the positive values, in the unit of the series; 1 for a series of zeros."""

    centre: float

    def to_log(self, values: Floats) -> Floats:
        return np.log(values / self.centre + OFFSET)

    def from_log(self, levels: Floats) -> Floats:
        """Never below zero."""
        return np.asarray(np.maximum(self.centre * (np.exp(levels) - OFFSET), 0.0))


def scale_of(values: Floats) -> Scale:
    positive = values[np.isfinite(values) & (values > 0)]
    return Scale(float(np.median(positive)) if positive.size else 1.0)

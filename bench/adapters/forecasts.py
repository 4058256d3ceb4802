"""The product's forecast behind the yardstick's signature."""

from collections.abc import Sequence

import numpy as np

from capacity.engine.answer import NoAnswer
from capacity.engine.forecast import condition, fit
from capacity.engine.grid import Floats


def forecast(y: Floats, step_s: float, h: int, quantiles: Sequence[float], start_epoch: float) -> Floats:
    """(quantiles, h). A refusal is a failure here: the yardstick counts it."""
    values = np.asarray(y, dtype=np.float64)
    fitted = fit(values, start_seconds=start_epoch, step_seconds=float(step_s), horizon=h)
    if isinstance(fitted, NoAnswer):
        raise LookupError(fitted.sentence())
    found = condition(fitted, values, start_seconds=start_epoch, levels=[float(level) for level in quantiles])
    if isinstance(found, NoAnswer):
        raise LookupError(found.sentence())
    return found.quantiles

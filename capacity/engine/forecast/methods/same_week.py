"""The median of the same hour of the week over the last four weeks."""

import numpy as np

from capacity.engine.forecast.history import History
from capacity.engine.grid import Floats, phase_medians, smooth_phase

WEEKS = 4


def forecast(history: History) -> Floats:
    """(k, h) on the log scale, NaN in the first week, and all NaN before there is a day on which it could have been tried."""
    season = history.season
    if history.values.size < season.week + season.day:
        return np.full((history.origins.size, history.leads.size), np.nan)
    usual = phase_medians(history.values, period=season.week, depth=max(1, min(WEEKS, history.values.size // season.week)))
    return smooth_phase(usual, origins=history.origins, leads=history.leads, period=season.week, radius=season.radius)

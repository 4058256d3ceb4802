"""Exponential smoothing of each time of day, as the seasonal part of Holt and Winters."""

from capacity.engine.forecast.history import History
from capacity.engine.grid import Floats, phase_means, smooth_phase

WEIGHT = 0.35  # of the newest day


def forecast(history: History) -> Floats:
    """(k, h) on the log scale, NaN in the first day."""
    season = history.season
    usual = phase_means(history.values, period=season.day, weight=WEIGHT)
    return smooth_phase(usual, origins=history.origins, leads=history.leads, period=season.day, radius=season.radius)

"""The median of the same time on the last seven days, so of a whole week."""

from capacity.engine.forecast.history import DAYS_OF_MEMORY, History, days_in
from capacity.engine.grid import Floats, phase_medians, smooth_phase


def forecast(history: History) -> Floats:
    """(k, h) on the log scale, NaN in the first day."""
    season = history.season
    usual = phase_medians(history.values, period=season.day, depth=min(DAYS_OF_MEMORY, days_in(history.values.size, season)))
    return smooth_phase(usual, origins=history.origins, leads=history.leads, period=season.day, radius=season.radius)

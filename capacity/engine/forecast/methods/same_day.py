"""Seasonal naive: the same time on the last day known."""

from capacity.engine.forecast.history import History
from capacity.engine.grid import Floats, same_phase


def forecast(history: History) -> Floats:
    """(k, h) on the log scale, NaN in the first day."""
    return same_phase(history.filled, origins=history.origins, leads=history.leads, period=history.season.day)

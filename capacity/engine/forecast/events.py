"""Known events: taken out of the past, put on the future."""

from collections.abc import Sequence

import numpy as np

from capacity.engine.forecast.history import Season
from capacity.engine.forecast.records import Event
from capacity.engine.grid import Floats, row_medians

SUNDAYS = 4
SUNDAY = 3  # day of the week of the Unix epoch's day number modulo 7: 1970-01-01 was a Thursday
DAY = 86400.0


def events_remove(values: Floats, *, times: Floats, events: Sequence[Event]) -> Floats:
    """The (n,) series as it would have been without the events. A window with nothing left to scale becomes a gap."""
    clean = values.copy()
    for event in events:
        inside = (times >= event.start_seconds) & (times < event.end_seconds)
        clean[inside] = np.maximum(clean[inside] - event.added, 0.0) / event.factor if event.factor else np.nan
    return clean


def events_apply(quantiles: Floats, *, times: Floats, events: Sequence[Event], sundays: Floats) -> Floats:
    """The (q, h) forecast with the events. sundays: (h,) factor of a step on a Sunday, of `sunday_factors`."""
    result = quantiles.copy()
    for event in events:
        inside = (times >= event.start_seconds) & (times < event.end_seconds)
        factor = sundays if event.factor is None else np.full(times.size, event.factor)
        result[:, inside] = np.maximum(result[:, inside] * factor[inside] + event.added, 0.0)
    return result


def sunday_factors(values: Floats, *, times: Floats, targets: Floats, season: Season) -> Floats:
    """(h,): the same hour on the last Sundays over the same hour of the target's own weekday; 1 where either is not known.

    values, times: (n,) series and the Unix seconds of its steps; targets: (h,) Unix seconds of the steps to come.
    """
    if values.size < season.week:
        return np.ones(targets.size)
    step = times[1] - times[0]
    days_since = (np.floor(targets / DAY).astype(np.int64) - SUNDAY) % 7
    on_sunday = same_weekday(values, latest=targets - days_since * DAY, first=times[0], step=step, season=season)
    usual = same_weekday(values, latest=targets, first=times[0], step=step, season=season)
    known = np.isfinite(on_sunday) & np.isfinite(usual) & (usual > 0)
    return np.divide(on_sunday, usual, out=np.ones(targets.size), where=known)


def same_weekday(values: Floats, *, latest: Floats, first: float, step: float, season: Season) -> Floats:
    """(h,): median of the last SUNDAYS values a whole number of weeks before each of `latest`."""
    place = np.round((latest - first) / step).astype(np.int64)
    place = np.minimum(place, place - season.week * np.ceil((place - values.size + 1) / season.week).astype(np.int64))
    places = place[:, None] - season.week * np.arange(SUNDAYS)
    return row_medians(np.where(places >= 0, values[np.clip(places, 0, values.size - 1)], np.nan))

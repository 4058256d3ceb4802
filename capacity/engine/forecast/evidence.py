"""What the blend weighs: how far each method lies from the median of three days, and how far the newest hours lay off their course."""

from collections.abc import Callable

import numpy as np

from capacity.engine.forecast.history import History
from capacity.engine.forecast.methods import day_decay, day_level, day_median, day_memory, last_value, recent_level, same_day, same_week
from capacity.engine.grid import Floats, recent_means, recent_medians

# name -> method; each gives a (k, h) forecast by itself.
METHODS: dict[str, Callable[[History], Floats]] = {
    "same_day": same_day.forecast,
    "day_decay": day_decay.forecast,
    "day_memory": day_memory.forecast,
    "last_value": last_value.forecast,
    "recent_level": recent_level.forecast,
    "day_level": day_level.forecast,
    "same_week": same_week.forecast,
}
# What the newest surprises say beyond the slower one beside it.
SURPRISES = ("surprise_last", "surprise_hour", "surprise_3_hours", "surprise_day")
NAMES = (*METHODS, *SURPRISES, "week_trend")
# Weights that hold before the series has said anything: share at lead 0, hours in which it falls to a third (None: stays). Set by hand
# on 27 series of AI and web load, on windows that the bench does not score.
PRIOR: dict[str, tuple[float, float | None]] = {
    "same_day": (0.1, None),
    "day_decay": (0.1, None),
    "day_memory": (0.2, None),
    "same_week": (0.25, None),
    "surprise_last": (0.7, 1.0),
    "surprise_hour": (0.9, 4.0),
    "surprise_3_hours": (0.9, 10.0),
    "surprise_day": (0.9, 30.0),
}


def base_of(history: History) -> Floats:
    """(k, h): the median of three days, the mean of what is known where there is no day yet."""
    usual = day_median.forecast(history)
    level = recent_means(history.values, origins=history.origins, length=history.season.day)[:, None]
    return np.where(np.isfinite(usual), usual, level)


def evidence_of(history: History, *, base: Floats) -> Floats:
    """(k, h, f) in the order of NAMES; 0 where a method has no answer, so that it moves nothing."""
    columns = [method(history) - base for method in METHODS.values()]
    columns += [np.broadcast_to(column[:, None], base.shape) for column in surprises_of(history)]
    columns.append(np.broadcast_to(week_trend(history)[:, None], base.shape))
    return np.nan_to_num(np.stack(columns, axis=-1))


def surprises_of(history: History) -> list[Floats]:
    season, origins = history.season, history.origins
    last = history.surprise[origins - 1]
    hour = recent_medians(history.surprise, origins=origins, length=season.hour)
    three = recent_medians(history.surprise, origins=origins, length=3 * season.hour)
    day = recent_medians(history.surprise, origins=origins, length=season.day, stride=max(1, season.hour // 2))
    return [last - hour if season.hour > 1 else last - three, hour - three if season.hour > 1 else np.zeros(origins.size), three - day, day]


def week_trend(history: History) -> Floats:
    """(k,): median of the last day minus the mean of the last week; 0 where there is no week."""
    season, origins = history.season, history.origins
    day = recent_medians(history.filled, origins=origins, length=season.day, stride=max(1, season.hour // 2))
    week = recent_means(history.filled, origins=origins, length=season.week)
    return np.where(origins > season.week, day - week, 0.0)


def prior_of(hours: Floats) -> Floats:
    """(h, f) weights of NAMES at these leads (hours)."""
    weights = np.zeros((hours.size, len(NAMES)))
    for name, (share, third) in PRIOR.items():
        weights[:, NAMES.index(name)] = share if third is None else share * np.exp(-hours / third)
    return weights

"""Is there enough history for this horizon, and is it fit to learn from?"""

import numpy as np

from capacity.engine.answer import NoAnswer
from capacity.engine.forecast.records import ShortHistory
from capacity.engine.grid import DAY_SECONDS, HOUR_SECONDS, Floats

# horizon up to -> hours needed, of which cycle: two cycles of the season that matters over that horizon.
NEEDS = (
    (6 * HOUR_SECONDS, 24, "daily"),
    (DAY_SECONDS, 48, "daily"),
    (3 * DAY_SECONDS, 168, "weekly"),
    (14 * DAY_SECONDS, 336, "weekly"),
)
LONGEST_SECONDS = NEEDS[-1][0]
THIN_SHARE = 0.4  # from here on a wide fallback, flag "thin"
KNOWN_SHARE = 0.5  # of the steps must be no gap
STEPS_LEAST = 12


def values_check(values: Floats, *, step_seconds: float, horizon: int) -> None:
    """ValueError with a sentence for what no series of demand can be."""
    series_check(values, step_seconds=step_seconds)
    if horizon < 1 or horizon * step_seconds > LONGEST_SECONDS:
        raise ValueError(f"horizon must be from 1 step to 14 days, got {horizon} steps of {step_seconds:g} s; use trend_forecast beyond")


def series_check(values: Floats, *, step_seconds: float) -> None:
    """As `values_check`, without a horizon."""
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"values must be one row of at least one step, got an array of shape {values.shape}")
    if not 1 <= step_seconds <= DAY_SECONDS:
        raise ValueError(f"step_seconds must be from 1 to 86,400, got {step_seconds:g}")
    bad = np.flatnonzero(np.isinf(values) | (values < 0))
    if bad.size:
        raise ValueError(f"values must be at least 0 and finite (NaN for a gap), got {values[bad[0]]:g} at step {bad[0]}")


def need_of(horizon_seconds: float) -> tuple[int, str]:
    """Hours of history a forecast of this length needs, and of which cycle."""
    return next((hours, cycle) for longest, hours, cycle in NEEDS if horizon_seconds <= longest)


def have_enough(values: Floats, *, step_seconds: float, horizon: int) -> NoAnswer | None:
    """None when there is enough, be it thin; else why not. values begin with the first one known."""
    known = int(np.isfinite(values).sum())
    hours, cycle = need_of(horizon * step_seconds)
    have = values.size * step_seconds / HOUR_SECONDS
    if known == 0:
        return NoAnswer("no_data", have=0, need=max(STEPS_LEAST, int(hours * HOUR_SECONDS / step_seconds)))
    if have < THIN_SHARE * hours or values.size < STEPS_LEAST:
        return ShortHistory("too_short", have=int(have), need=hours, horizon_seconds=horizon * step_seconds, cycle=cycle)
    if known < KNOWN_SHARE * values.size:
        return NoAnswer("too_many_gaps", have=known, need=int(np.ceil(KNOWN_SHARE * values.size)))
    return None


def is_thin(have_hours: float, *, horizon_seconds: float) -> bool:
    return have_hours < need_of(horizon_seconds)[0]


def thin_note(have_hours: float, *, horizon_seconds: float) -> str:
    """`7-day forecast needs 2 weekly cycles (336 h), have 168 h: a wide fallback.`"""
    hours, cycle = need_of(horizon_seconds)
    short = ShortHistory("too_short", have=int(have_hours), need=hours, horizon_seconds=horizon_seconds, cycle=cycle)
    return f"{short.sentence()[:-1]}: a wide fallback."

"""Shapes of demand over a day, a week and a story; all in Unix seconds (UTC) and seconds from the anchor."""

from collections.abc import Callable

import numpy as np

from capacity.demo.noise import Floats

HOUR = 3600.0
DAY = 86400.0
MONDAY = 4 * DAY  # 5 January 1970 was a Monday

Shape = Callable[[Floats, float], Floats]  # (times, anchor) -> factor


def ramp(times: Floats, start: float, seconds: float) -> Floats:
    """0 before start, 1 after start + seconds, smooth between."""
    part = np.clip((times - start) / seconds, 0.0, 1.0)
    return np.asarray(part * part * (3.0 - 2.0 * part))


def plateau(times: Floats, start: float, end: float, edge_seconds: float) -> Floats:
    """1 between start and end, with smooth edges inside."""
    return ramp(times, start, edge_seconds) - ramp(times, end - edge_seconds, edge_seconds)


def daily(times: Floats, *, peak_hour: float, depth: float) -> Floats:
    """1 at the peak hour (UTC), 1 - depth twelve hours away, with a shoulder in the morning."""
    angle = 2 * np.pi * ((times % DAY) / HOUR - peak_hour) / 24
    return 1.0 - depth * (0.5 - 0.42 * np.cos(angle) - 0.08 * np.cos(2 * angle))


def weekend(times: Floats, *, factor: float) -> Floats:
    """`factor` on Saturday and Sunday (UTC), 1 on other days, half an hour of edge."""
    day = ((times - MONDAY) % (7 * DAY)) / DAY
    inside = np.clip((day - 5) * 48, 0, 1) * np.clip((7 - day) * 48, 0, 1)
    return 1.0 + (factor - 1.0) * inside


def office(times: Floats) -> Floats:
    """1 on weekdays between 08:00 and 17:00 UTC, else 0."""
    hour, day = (times % DAY) / HOUR, ((times - MONDAY) % (7 * DAY)) / DAY
    return ((hour >= 8) & (hour < 17) & (day < 5)).astype(np.float64)


def world(times: Floats, anchor: float) -> Floats:
    """Users all over the world: a shallow day whose clock shows 17:00 at the anchor, so that its story is the same at any hour."""
    return daily(times - anchor + 17 * HOUR, peak_hour=15.5, depth=0.14)


def steady(peak_hour: float, depth: float, weekend_factor: float = 1.0) -> Shape:
    """Days and weeks like any other."""

    def shape(times: Floats, anchor: float) -> Floats:
        return daily(times, peak_hour=peak_hour, depth=depth) * weekend(times, factor=weekend_factor)

    return shape


def holiday(times: Floats, anchor: float) -> Floats:
    """A steady week, and a sale of three days that begins nine days before the anchor: twice the demand, at first more."""
    base = daily(times, peak_hour=18.0, depth=0.45) * weekend(times, factor=1.08)
    sale = plateau(times, anchor - 9 * DAY, anchor - 6 * DAY, 0.25 * HOUR)
    rush = plateau(times, anchor - 9 * DAY, anchor - 9 * DAY + 1.6 * HOUR, 0.25 * HOUR)
    return base * (1.0 + 1.2 * sale + 1.4 * rush)


def growth(times: Floats, anchor: float) -> Floats:
    """Flat over the day, 2 % more each day until the anchor, then level."""
    days = np.minimum((times - anchor) / DAY, 0.1)
    return np.asarray(daily(times, peak_hour=14.0, depth=0.02) * 1.02**days)


def idle(times: Floats, anchor: float) -> Floats:
    """A developer tries something a few hours a week; silent for the last three hours before the anchor and in most others."""
    mornings = office(times) * (np.floor(times / (2 * HOUR)) % 5 == 1)
    return np.where(np.abs(times - anchor + 1.5 * HOUR) > 1.5 * HOUR, mornings, 0.0)


def nightly(times: Floats, anchor: float) -> Floats:
    """A job from 22:00 to 04:00 UTC every night."""
    hour = ((times - 22 * HOUR) % DAY) / HOUR
    return np.asarray(np.clip(hour * 12, 0, 1) * np.clip((6.0 - hour) * 12, 0, 1))

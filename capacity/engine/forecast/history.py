"""What is known at each origin: the series on its log scale without gaps, its seasons, and where forecasts start."""

from dataclasses import dataclass, replace

import numpy as np

from capacity.engine.grid import DAY_SECONDS, HOUR_SECONDS, Floats, Ints, phase_medians

DAYS_OF_MEDIAN = 3
DAYS_OF_MEMORY = 7


@dataclass(frozen=True)
class Season:
    """Lengths in steps."""

    hour: int
    day: int
    week: int

    @property
    def radius(self) -> int:
        """Steps each side over which a daily profile may be smoothed: half an hour, none at steps of an hour."""
        return 0 if self.hour == 1 else self.hour // 2


def season_of(step_seconds: float) -> Season:
    day = max(1, round(DAY_SECONDS / step_seconds))
    return Season(hour=max(1, round(HOUR_SECONDS / step_seconds)), day=day, week=7 * day)


@dataclass(frozen=True)
class History:
    """A series and the origins and leads of the forecasts asked of it."""

    values: Floats  # (n,) log scale, NaN = gap
    filled: Floats  # the same, each gap filled by what was known before it
    surprise: Floats  # (n,) filled minus the median of the same time on the days before; 0 where that is not known
    season: Season
    origins: Ints  # (k,)
    leads: Ints  # (h,) 0 .. h-1

    @property
    def targets(self) -> Ints:
        """(k, h) steps forecast."""
        return np.asarray(self.origins[:, None] + self.leads[None, :])

    def actual(self) -> Floats:
        """(k, h): what came, NaN where it is a gap or has not come."""
        targets, n = self.targets, self.values.size
        return np.where(targets < n, self.values[np.minimum(targets, n - 1)], np.nan)

    def at(self, origins: Ints) -> "History":
        return replace(self, origins=origins)


def history_of(values: Floats, *, season: Season, origins: Ints, horizon: int) -> History:
    """values: (n,) log scale with NaN for gaps, the first one known."""
    filled = gaps_fill(values, season=season)
    usual = phase_medians(values, period=season.day, depth=min(DAYS_OF_MEDIAN, days_in(values.size, season)))
    expected = (
        np.r_[np.full(min(season.day, values.size), np.nan), usual[: -season.day]]
        if values.size > season.day
        else np.full(values.size, np.nan)
    )
    surprise = np.where(np.isfinite(expected) & np.isfinite(values), filled - expected, 0.0)
    return History(values, filled, surprise, season, origins, np.arange(horizon))


def days_in(steps: int, season: Season) -> int:
    return max(1, steps // season.day)


def gaps_fill(values: Floats, *, season: Season) -> Floats:
    """A gap takes the value of the same time a day before where there is one, else the last one known."""
    filled = values.copy()
    for place in np.flatnonzero(~np.isfinite(values)):
        filled[place] = filled[place - season.day] if place >= season.day else filled[max(int(place) - 1, 0)]
    return filled

"""From a median to quantiles: the method's own past errors at that time of day, and a share of what the hour has seen at all.

The errors are those of rolling origins whose weights did not know them (conformal: no shape is assumed). A second, smaller part of the
mass is the plain record of the same hour over four weeks: it stands for days on which the method is wrong altogether.
"""

from dataclasses import dataclass, replace

import numpy as np

from capacity.engine.forecast.history import History
from capacity.engine.grid import DAY_SECONDS, HOUR_SECONDS, Floats, Ints, row_quantiles

ATOMS = 100
ATOM_LEVELS = (np.arange(ATOMS) + 0.5) / ATOMS
BUCKETS = 12
HOURS = 24
NEAR_HOURS = 5.0  # errors of other hours of the day count by a Gaussian of this width, and a little always
ALWAYS = 0.03
HALF_LIFE_DAYS = 10.0
RECORD_SHARE = 0.1  # at a horizon of a day; grows with the square root of the horizon
RECORD_SHARE_MOST = 0.4
RECORD_DAYS = 28
RECORD_HALF_LIFE_DAYS = 14.0
RECORD_HOURS = 1.5
DEPENDENT_SECONDS = 6 * HOUR_SECONDS  # errors closer than this, or than the horizon, are not independent


@dataclass(frozen=True)
class Errors:
    """Out-of-sample errors of rolling origins, each divided by the width expected at its origin."""

    values: Floats  # (k, h) on the log scale; NaN = not known
    hours: Floats  # (k, h) hour of the day of the target, 0 to 24, UTC
    age_days: Floats  # (k,)

    def of(self, rows: Ints) -> "Errors":
        return Errors(self.values[rows], self.hours[rows], self.age_days[rows])


@dataclass(frozen=True)
class Bands:
    """Errors as a table: for each bucket of leads and hour of the day, ATOMS equally likely errors, ascending."""

    table: Floats  # (buckets, HOURS, ATOMS)
    widening: float  # >= 1: so few independent windows say too little of the tails
    record_share: float

    def wider(self, factor: float) -> "Bands":
        return replace(self, widening=self.widening * factor)


def bands_learn(errors: Errors, *, step_seconds: float, horizon: int) -> Bands:
    count = min(BUCKETS, horizon)
    reach = max(2, horizon // 6)
    centres = ((np.arange(count) + 0.5) * horizon / count).astype(int)
    rows = [bucket_atoms(errors, leads=slice(max(0, centre - reach), centre + reach + 1)) for centre in centres]
    spans = (errors.age_days.max() - errors.age_days.min()) * DAY_SECONDS / max(horizon * step_seconds, DEPENDENT_SECONDS)
    share = min(RECORD_SHARE * np.sqrt(horizon * step_seconds / DAY_SECONDS), RECORD_SHARE_MOST)
    return Bands(table_fill(rows), widening=float(np.sqrt(1 + 1 / max(spans, 0.5))), record_share=float(share))


def table_fill(rows: list[Floats]) -> Floats:
    """A bucket that nothing is known of takes the last one known before it.

    Errors are kept to three digits: more is not known of them, and a stored fit is a quarter of the size (`packed`).
    """
    for place in range(1, len(rows)):
        if np.isnan(rows[place]).any():
            rows[place] = rows[place - 1]
    return np.nan_to_num(np.stack(rows)).astype(np.float16).astype(np.float64)


def bucket_atoms(errors: Errors, *, leads: slice) -> Floats:
    """(HOURS, ATOMS): weighted quantiles of the errors of these leads, by closeness of their hour; NaN when there is none."""
    known = np.isfinite(errors.values[:, leads])
    values, hours = errors.values[:, leads][known], errors.hours[:, leads][known]
    if not values.size:
        return np.full((HOURS, ATOMS), np.nan)
    order = np.argsort(values)
    say = np.broadcast_to(0.5 ** (errors.age_days / HALF_LIFE_DAYS)[:, None], known.shape)[known][order]
    values, result = values[order], np.empty((HOURS, ATOMS))
    times, place = np.unique(hours[order], return_inverse=True)  # few: the steps of a day
    distance = np.abs((times - np.arange(HOURS)[:, None] - 0.5 + 12) % 24 - 12)
    close = np.exp(-0.5 * (distance / NEAR_HOURS) ** 2) + ALWAYS
    for hour in range(HOURS):
        weights = close[hour][place] * say
        reached = np.cumsum(weights)
        result[hour] = np.interp(ATOM_LEVELS, (reached - 0.5 * weights) / reached[-1], values)
    return result


def quantiles_at(bands: Bands, history: History, *, middle: Floats, width: float, hours: Floats, levels: Floats) -> Floats:
    """(levels, h) on the log scale for the one origin of `history`. middle, hours: (h,); width around 1."""
    horizon, count = middle.size, bands.table.shape[0]
    atoms = bands.table[np.arange(horizon) * count // horizon, hours.astype(int) % HOURS]
    centre = 0.5 * (atoms[:, ATOMS // 2 - 1] + atoms[:, ATOMS // 2])[:, None]
    atoms = middle[:, None] + width * (centre + (atoms - centre) * bands.widening)
    record, weights = record_of(history)
    mass = weights.sum(axis=1, keepdims=True)
    share = np.where(mass > 0, bands.record_share, 0.0)
    own = np.broadcast_to((1 - share) / ATOMS, atoms.shape)
    weights = np.divide(weights * share, mass, out=np.zeros_like(weights), where=mass > 0)
    return row_quantiles(np.hstack([atoms, record]), weights=np.hstack([own, weights]), levels=levels)


def record_of(history: History) -> tuple[Floats, Floats]:
    """(h, r) each: what the hours around each target's time of day showed before the origin, and their weights."""
    origin, season = int(history.origins[0]), history.season
    days = np.arange(1, RECORD_DAYS + 1)
    shifts = np.arange(-2, 3)
    latest = origin + history.leads - season.day * (history.leads // season.day + 1)
    place = latest[:, None, None] - ((days - 1) * season.day)[:, None] + shifts * season.hour
    place = place.reshape(history.leads.size, -1)
    weights = np.exp(-0.5 * (shifts / RECORD_HOURS) ** 2) * 0.5 ** (days / RECORD_HALF_LIFE_DAYS)[:, None]
    inside = (place >= 0) & (place < origin)
    values = np.where(inside, history.values[np.clip(place, 0, origin - 1)], np.nan)
    return values, np.where(np.isfinite(values), weights.ravel(), 0.0)

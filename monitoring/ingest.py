"""The one validator: whatever comes in by poll, import, demo or push passes here, each sample checked alone.

A bad sample is dropped, counted and named; its neighbours are stored. The store marks what came late.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from monitoring.catalog.columns import COLUMNS
from monitoring.catalog.records import Column, Entity
from monitoring.models import settings_get
from monitoring.store import Histograms, RollupRows, Rows, Written, histograms_write, rollups_write, rows_write
from monitoring.store.records import Floats, Ints
from monitoring.store.schema import FIVE_MINUTES, RAW, Level

__all__ = ["Histograms", "RollupRows", "Rows", "Written", "histograms_ingest", "rollups_ingest", "rows_ingest"]

REAL_MAX = 3e38
INTEGER_MAX = 2**31 - 1
ERRORS_SHOWN = 10
LOWEST = {"celsius": -100.0}  # by unit; all other quantities are never negative

Mask = NDArray[np.bool_]


@dataclass
class Verdicts:
    """What was refused and why: a count of samples and the first errors in words."""

    rejected: int = 0
    errors: list[str] = field(default_factory=list)

    def refuse(self, bad: Mask, text: str, *, samples: int | None = None, first: object = None) -> None:
        count = int(np.count_nonzero(bad))
        if not count:
            return
        self.rejected += count if samples is None else samples
        if len(self.errors) < ERRORS_SHOWN:
            self.errors.append(f"{text}{'' if first is None else f' (first: {first})'}: {count} refused")

    def result(self, written: Written) -> Written:
        return written + Written(rejected=self.rejected, errors=tuple(self.errors))


def rows_ingest(rows: Rows, *, overwrite: bool, now: datetime) -> Written:
    """Raw samples. overwrite: True for polled columns, False for senders whose first value stands."""
    verdicts = Verdicts()
    return verdicts.result(rows_write(rows_judge(rows, verdicts=verdicts, now=now), overwrite=overwrite))


def rows_judge(rows: Rows, *, verdicts: Verdicts, now: datetime, limits: Mapping[str, float] | None = None) -> Rows:
    """What of raw samples is good; the rest is counted and named in `verdicts`. limits: the settings, where known already."""
    known = columns_known(rows.entity, rows.values, verdicts)
    values = {name: np.asarray(rows.values[name], dtype=np.float64) for name in known}
    good = rows_check(rows.ids, rows.versions, rows.times, values, level=RAW, now=now, verdicts=verdicts, limits=limits)
    if len(good) < len(rows.ids):
        rows, values = rows.taken(good), {name: value[good] for name, value in values.items()}
    if not all_in_range(known, values):
        values = {name: value_check(known[name], value, rows.times, verdicts) for name, value in values.items()}
    return replace(rows, values=values)


def rollups_ingest(rows: RollupRows, *, now: datetime) -> Written:
    """Five-minute rows of import and demo; times must lie on the five-minute grid."""
    verdicts = Verdicts()
    known = columns_known(rows.entity, rows.sums, verdicts)
    sums = {name: rows.sums[name] for name in known}
    good = rows_check(rows.ids, rows.versions, rows.times, sums, level=FIVE_MINUTES, now=now, verdicts=verdicts)
    chosen = rows.taken(good)
    counts: dict[str, Floats] = {}
    for name, column in known.items():
        counts[name] = rollup_check(column, chosen, verdicts)
    return verdicts.result(rollups_write(replace(chosen, counts=counts, sums={name: chosen.sums[name] for name in known})))


def histograms_ingest(histograms: Histograms, *, table: str = "sample", now: datetime) -> Written:
    """Latency histograms; a bad bucket spoils its row, as the counts only mean something together."""
    verdicts = Verdicts()
    bounds = np.asarray(histograms.bounds, dtype=np.float64)
    size = len(histograms.ids)
    if not len(bounds) or not np.isfinite(bounds).all() or (np.diff(bounds) <= 0).any() or bounds[0] <= 0:
        verdicts.refuse(np.ones(size, dtype=bool), "bucket bounds need to be positive, finite and ascending")
        return verdicts.result(Written())
    if histograms.counts.shape != (size, len(bounds) + 1):
        shape = f"counts need the shape ({size}, {len(bounds) + 1}), one bucket more than bounds, got {histograms.counts.shape}"
        verdicts.refuse(np.ones(size, dtype=bool), shape)
        return verdicts.result(Written())
    level = {"sample": RAW, "5m": FIVE_MINUTES}[table]
    one = {"": np.ones(size)}
    good = rows_check(histograms.ids, histograms.versions, histograms.times, one, level=level, now=now, verdicts=verdicts)
    chosen = histograms.taken(good)
    bad = ~(np.isfinite(chosen.counts) & (chosen.counts >= 0) & (chosen.counts < REAL_MAX)).all(axis=1)
    bad |= np.isinf(chosen.sums) | (chosen.sums < 0)
    verdicts.refuse(bad, "bucket counts and their sum need to be finite and not negative")
    return verdicts.result(histograms_write(chosen.taken(~bad), table=table))


def columns_known(entity: Entity, given: Mapping[str, Floats], verdicts: Verdicts) -> dict[str, Column]:
    columns = {column.name: column for column in COLUMNS[entity]}
    for name, value in given.items():
        if name not in columns:
            verdicts.refuse(~np.isnan(value), f"{entity} has no column {name!r}")
    return {name: columns[name] for name in given if name in columns}


def rows_check(
    ids: Ints,
    versions: Ints | None,
    times: Floats,
    values: Mapping[str, Floats],
    *,
    level: Level,
    now: datetime,
    verdicts: Verdicts,
    limits: Mapping[str, float] | None = None,
) -> Ints:
    """Row numbers whose identity and time are good; the samples of the others are counted as refused."""
    limits = limits or settings_get("ingest_ahead_seconds", "retention_raw_days", "retention_5m_days")
    keep_days = limits["retention_raw_days" if level is RAW else "retention_5m_days"]
    oldest, newest = now.timestamp() - keep_days * 86400, now.timestamp() + limits["ingest_ahead_seconds"]
    unknown = (ids <= 0) | (ids > INTEGER_MAX)
    if versions is not None:
        unknown |= (versions < 0) | (versions > INTEGER_MAX)
    good = np.ones(len(ids), dtype=bool)
    for bad, text in (
        (unknown, "ids and versions need to be positive integers"),
        (~np.isfinite(times), "times need to be finite"),
        (times > newest, f"more than {limits['ingest_ahead_seconds']:g} s ahead of our clock"),
        (times <= oldest, f"older than the {keep_days:g} days that are kept"),
        (off_grid(times, level), f"times need to lie on the grid of {level.seconds} s"),
    ):
        fresh = bad & good
        if fresh.any():
            samples = sum(int(np.count_nonzero(~np.isnan(value[fresh]))) for value in values.values())
            verdicts.refuse(fresh, text, samples=samples, first=time_words(times[fresh]))
            good &= ~bad
    return np.flatnonzero(good)


def off_grid(times: Floats, level: Level) -> Mask:
    with np.errstate(invalid="ignore"):
        return np.zeros(len(times), dtype=bool) if level is RAW else np.mod(times, level.seconds) != 0


def time_words(times: Floats) -> str | None:
    if not len(times) or not -6e10 < times[0] < 2e11:
        return None
    return datetime.fromtimestamp(float(times[0]), tz=UTC).isoformat(timespec="seconds")


def out_of_range(column: Column, value: Floats) -> Mask:
    lowest = LOWEST.get(column.unit, 0.0)
    highest = REAL_MAX if column.maximum is None else column.maximum
    with np.errstate(invalid="ignore"):
        return (value < lowest) | (value > highest)


def range_words(column: Column) -> str:
    lowest = LOWEST.get(column.unit, 0.0)
    return f"at least {lowest:g}" if column.maximum is None else f"{lowest:g} to {column.maximum:g}"


def all_in_range(known: Mapping[str, Column], values: Mapping[str, Floats]) -> bool:
    """All columns at once: a batch of few rows would spend its time in calls."""
    if not values:
        return True
    lowest = np.array([[LOWEST.get(known[name].unit, 0.0)] for name in values])
    highest = np.array([[REAL_MAX if (top := known[name].maximum) is None else top] for name in values])
    block = np.stack(list(values.values()))
    with np.errstate(invalid="ignore"):
        return not bool(((block < lowest) | (block > highest)).any())


def value_check(column: Column, value: Floats, times: Floats, verdicts: Verdicts) -> Floats:
    """The values with the bad ones taken out."""
    bad = out_of_range(column, value)
    if not bad.any():
        return value
    text = f"{column.name} needs to be {range_words(column)} {column.unit}, got {value[bad][0]:g}"
    verdicts.refuse(bad, text, first=time_words(times[bad]))
    return np.where(bad, np.nan, value)


def rollup_check(column: Column, rows: RollupRows, verdicts: Verdicts) -> Floats:
    """The counts, 0 where the row of this column is bad."""
    count, total, low, high = (part[column.name] for part in (rows.counts, rows.sums, rows.lows, rows.highs))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        given = ~np.isnan(total)
        slack = 1e-6 * np.abs(mean)
        whole = (count > 0) & np.isfinite(count) & (low <= mean + slack) & (mean <= high + slack)
    bad = given & (~whole | out_of_range(column, low) | out_of_range(column, high))
    if bad.any():
        text = f"{column.name} needs a count above 0 and low <= mean <= high, each {range_words(column)} {column.unit}"
        verdicts.refuse(bad, text, first=time_words(rows.times[bad]))
    return np.where(given & ~bad, count, 0.0)

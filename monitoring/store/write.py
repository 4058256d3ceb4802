"""Writing: COPY straight in where nothing is there yet, else COPY beside and merge by column.

One transaction each. The same batch twice changes nothing; two writers of the same rows end as one after the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db import IntegrityError, connection, transaction
from numpy.typing import NDArray

from monitoring.store.copy import copy_body, copy_in
from monitoring.store.partitions import partitions_ensure, spans_of
from monitoring.store.records import Floats, RollupRows, Rows, Written
from monitoring.store.schema import FIVE_MINUTES, PARTS, RAW, Level, id_column, key_columns, sql_type, table_name
from monitoring.store.watermarks import dirty_mark, moment


@dataclass(frozen=True)
class Batch:
    """Columns ready for one table, keys first, sorted by key, each key once."""

    family: str
    level: Level
    keys: tuple[str, ...]
    columns: Mapping[str, NDArray[Any]]  # the keys and the values
    units: Sequence[tuple[str, ...]]  # value columns that live or die together: (c,) raw, (c_count, c_sum, ...) in rollups

    @property
    def table(self) -> str:
        return table_name(self.family, self.level)

    @property
    def times(self) -> Floats:
        times: Floats = self.columns["time"]
        return times

    def samples(self) -> int:
        return sum(int(np.count_nonzero(np.isfinite(self.columns[unit[0]]))) for unit in self.units)

    def body(self) -> bytes:
        return copy_body([(sql_type(name), values) for name, values in self.columns.items()])


def rows_write(rows: Rows, *, overwrite: bool) -> Written:
    """Raw samples. overwrite: a new value replaces the stored one (polled); else the first stands (agents)."""
    measured = {name: value for name, value in rows.values.items() if np.isfinite(value).any()}
    columns = {**keys_of(rows), **measured}
    return batch_write(batch_of(rows.entity, RAW, columns, [(name,) for name in measured], last=overwrite), overwrite=overwrite)


def rollups_write(rows: RollupRows) -> Written:
    """Five-minute rows; a column that is there already is replaced as a whole."""
    units, columns = [], {**keys_of(rows)}
    for name in rows.sums:
        present = np.isfinite(rows.counts[name]) & (rows.counts[name] > 0) & np.isfinite(rows.sums[name])
        if present.any():
            unit = tuple(f"{name}_{part}" for part in PARTS)
            parts = (rows.counts[name], rows.sums[name], rows.lows[name], rows.highs[name])
            columns.update({column: np.where(present, part, np.nan) for column, part in zip(unit, parts, strict=True)})
            units.append(unit)
    return batch_write(batch_of(rows.entity, FIVE_MINUTES, columns, units, last=True), overwrite=True)


def keys_of(rows: Rows | RollupRows) -> dict[str, NDArray[Any]]:
    keys: dict[str, NDArray[Any]] = {id_column(rows.entity): rows.ids, "time": rows.times}
    if "version_id" in key_columns(rows.entity):
        keys["version_id"] = np.zeros(len(rows.ids), dtype=np.int64) if rows.versions is None else rows.versions
    return keys


def batch_of(
    family: str, level: Level, columns: Mapping[str, NDArray[Any]], units: Sequence[tuple[str, ...]], *, last: bool
) -> tuple[Batch, int]:
    """Sort by key, leave out rows without a value, fold repeated keys; also how many samples the folding swallowed."""
    keys = key_columns(family)
    filled = np.zeros(len(columns["time"]), dtype=bool)
    for unit in units:
        filled |= np.isfinite(columns[unit[0]])
    chosen = np.flatnonzero(filled)
    order = chosen[np.lexsort([columns[key][chosen] for key in reversed(keys)])]
    batch = Batch(family, level, keys, {name: values[order] for name, values in columns.items()}, units)
    if len(order) < 2:
        return batch, 0
    repeated = np.logical_and.reduce([np.diff(batch.columns[key]) == 0 for key in keys])
    return (repeats_fold(batch, repeated, last=last), batch.samples()) if repeated.any() else (batch, 0)


def repeats_fold(batch: Batch, repeated: NDArray[np.bool_], *, last: bool) -> Batch:
    """Of rows with one key make one, taking for each column the last (or first) value that was measured."""
    starts = np.flatnonzero(np.concatenate(([True], ~repeated)))
    columns = {key: batch.columns[key][starts] for key in batch.keys}
    numbers = np.arange(len(batch.times), dtype=np.float64)
    for unit in batch.units:
        known = np.isfinite(batch.columns[unit[0]])
        places = (
            np.maximum.reduceat(np.where(known, numbers, -1.0), starts)
            if last
            else np.minimum.reduceat(np.where(known, numbers, np.inf), starts)
        )
        found = np.isfinite(places) & (places >= 0)
        picks = np.where(found, places, 0).astype(np.int64)
        columns.update({name: np.where(found, batch.columns[name][picks], np.nan) for name in unit})
    return Batch(batch.family, batch.level, batch.keys, columns, batch.units)


def batch_write(prepared: tuple[Batch, int], *, overwrite: bool) -> Written:
    batch, before_folding = prepared
    samples = batch.samples()
    swallowed = max(before_folding - samples, 0)
    if not samples:
        return Written()
    partitions_ensure(batch.family, batch.level, spans_of(batch.level, batch.times))
    with transaction.atomic():
        dirty_mark(batch.family, batch.level, batch.times, batch.columns[batch.keys[0]])
        if not rows_exist(batch) and copied_straight(batch):
            return Written(samples, swallowed)
        written = batch_merge(batch, overwrite=overwrite)
    return Written(written, samples - written + swallowed)


def rows_exist(batch: Batch) -> bool:
    """Is any row of these entities in the batch's window? Asked before the COPY, which a single repeated key would abort."""
    column = batch.keys[0]
    ids = np.unique(batch.columns[column])
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT EXISTS (SELECT 1 FROM unnest(%s::int[]) AS wanted(id), LATERAL (SELECT 1 FROM {batch.table}"
            f" WHERE {column} = wanted.id AND time >= %s AND time <= %s LIMIT 1) AS hit)",
            [ids.tolist(), moment(batch.times.min()), moment(batch.times.max())],
        )
        return bool(cursor.fetchone()[0])


def copied_straight(batch: Batch) -> bool:
    try:
        with transaction.atomic():
            copy_in(batch.table, list(batch.columns), batch.body())
    except IntegrityError:  # another writer was first
        return False
    return True


def batch_merge(batch: Batch, *, overwrite: bool) -> int:
    """COPY into a temporary table, then insert or fill in column by column; returns how many samples changed the table."""
    incoming = f"incoming_{batch.table}"
    names = ", ".join(batch.columns)
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMP TABLE {incoming} ON COMMIT DROP AS SELECT {names} FROM {batch.table} WITH NO DATA")
        copy_in(incoming, list(batch.columns), batch.body())
        cursor.execute(merge_sql(batch, incoming, overwrite=overwrite), [moment(batch.times.min()), moment(batch.times.max())])
        (written,) = cursor.fetchone()
        cursor.execute(f"DROP TABLE {incoming}")
    return int(written or 0)


def merge_sql(batch: Batch, incoming: str, *, overwrite: bool) -> str:
    """One statement: compare with what is stored, drop what changes nothing, write the rest."""
    keys = ", ".join(batch.keys)
    table = batch.table
    fills = [(name, unit[0]) for unit in batch.units for name in unit]
    changed = " + ".join(changed_sql(unit, overwrite=overwrite) for unit in batch.units)
    updates = ", ".join(f"{name} = {pick_sql(name, first, table, overwrite=overwrite)}" for name, first in fills)
    same = " AND ".join(f"o.{key} = n.{key}" for key in batch.keys)
    names = ", ".join(batch.columns)
    # OFFSET 0 keeps this a look-up by primary key for each incoming row, whatever the statistics of a young partition say.
    return f"""
        WITH compared AS MATERIALIZED (
            SELECT n.*, {changed} AS changes FROM {incoming} n
            LEFT JOIN LATERAL (SELECT * FROM {table} o WHERE {same} AND o.time >= %s AND o.time <= %s OFFSET 0) o ON true
        ), merged AS (
            INSERT INTO {table} ({names}) SELECT {names} FROM compared WHERE changes > 0 ORDER BY {keys}
            ON CONFLICT ({keys}) DO UPDATE SET {updates}
        )
        SELECT sum(changes) FROM compared"""


def changed_sql(unit: tuple[str, ...], *, overwrite: bool) -> str:
    first = unit[0]
    if not overwrite:
        return f"(n.{first} IS NOT NULL AND o.{first} IS NULL)::int"
    differs = " OR ".join(f"o.{name} IS DISTINCT FROM n.{name}" for name in unit)
    return f"(n.{first} IS NOT NULL AND ({differs}))::int"


def pick_sql(name: str, first: str, table: str, *, overwrite: bool) -> str:
    if overwrite:
        return f"CASE WHEN EXCLUDED.{first} IS NULL THEN {table}.{name} ELSE EXCLUDED.{name} END"
    return f"CASE WHEN {table}.{first} IS NULL THEN EXCLUDED.{name} ELSE {table}.{name} END"

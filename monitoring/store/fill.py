"""Rolling up one stretch: rows of the finer table -> rows of the coarser one, by upsert, so that doing it twice does no harm.

A coarse column is only replaced where the finer table has something: five-minute rows that came in as such stay.
"""

from collections.abc import Sequence

import numpy as np
from django.db import connection

from monitoring.catalog.records import Latency
from monitoring.store.histograms import histograms_fetch, histograms_fold, histograms_merge_in
from monitoring.store.layouts import layout_id
from monitoring.store.partitions import partition_name, partitions_ensure, partitions_missing, spans_between
from monitoring.store.records import Histograms
from monitoring.store.schema import (
    LATENCY,
    RAW,
    Level,
    bin_sql,
    id_column,
    key_columns,
    part_columns,
    table_name,
    value_columns,
    versioned,
)
from monitoring.store.watermarks import moment

WORK_MEMORY = "64MB"
KINDS_SQL = f"unnest('{{{','.join(str(int(kind)) for kind in Latency)}}}'::smallint[])"


def stretch_fill(family: str, source: Level, target: Level, *, start: float, end: float, ids: Sequence[int] | None = None) -> int:
    """Fill target rows with start < time <= end, both multiples of its step; ids None = all. Returns the rows written.

    Call inside a transaction.
    """
    partitions = source_partitions(family, source, start, end)
    if not partitions or start >= end:
        return 0
    partitions_ensure(family, target, spans_between(target, moment(start), moment(end)))
    rows = " UNION ALL ".join(partition_rows_sql(family, name, start, end, ids) for name in partitions)
    if family == LATENCY:
        return latency_fill(rows, target)
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL work_mem = '{WORK_MEMORY}'")
        cursor.execute(wide_fill_sql(family, source, target, rows))
        return int(cursor.rowcount)


def source_partitions(family: str, source: Level, start: float, end: float) -> list[str]:
    names = [partition_name(family, source, span) for span in spans_between(source, moment(start), moment(end))]
    missing = set(partitions_missing(names))
    return [name for name in names if name not in missing]


def partition_rows_sql(family: str, partition: str, start: float, end: float, ids: Sequence[int] | None) -> str:
    """The window's rows of a partition, entity by entity through the primary key: time alone would read the whole partition."""
    key = id_column(family)
    window = f"time > to_timestamp({start!r}) AND time <= to_timestamp({end!r})"
    entities = f"({entities_sql(partition, key, ids)}) AS entities"
    where = f"s.{key} = entities.id AND {window}"
    if family == LATENCY:
        entities += f" CROSS JOIN {KINDS_SQL} AS kind"
        where += " AND s.latency = kind"
    return f"SELECT found.* FROM {entities} CROSS JOIN LATERAL (SELECT * FROM {partition} s WHERE {where} OFFSET 0) AS found"


def entities_sql(partition: str, key: str, ids: Sequence[int] | None) -> str:
    """Each entity of a partition once, by jumping from one to the next in the primary key."""
    if ids is not None:
        return f"SELECT unnest('{{{','.join(str(int(number)) for number in ids)}}}'::int[]) AS id"
    return f"""
        WITH RECURSIVE jumps AS (
            (SELECT {key} AS id FROM {partition} ORDER BY {key} LIMIT 1)
            UNION ALL
            SELECT (SELECT {key} FROM {partition} WHERE {key} > jumps.id ORDER BY {key} LIMIT 1) FROM jumps WHERE jumps.id IS NOT NULL
        ) SELECT id FROM jumps WHERE id IS NOT NULL"""


def wide_fill_sql(family: str, source: Level, target: Level, rows: str) -> str:
    table, key, columns = table_name(family, target), id_column(family), value_columns(family)
    keys = [key, f"{bin_sql(target.seconds)} AS time", *(["version_id"] if versioned(family) else [])]
    parts = [part for column in columns for part in part_columns(column)]
    folds = ", ".join(fold_sql(column, source) for column in columns)
    updates = ", ".join(
        f"{part} = CASE WHEN EXCLUDED.{column}_count IS NULL THEN {table}.{part} ELSE EXCLUDED.{part} END"
        for column in columns
        for part in part_columns(column)
    )
    conflict = ", ".join(key_columns(family))
    order = ", ".join(str(i + 1) for i in range(len(keys)))  # rows of one entity that come in together lie together
    return (
        f"INSERT INTO {table} ({conflict}, {', '.join(parts)})"
        f" SELECT {', '.join(keys)}, {folds} FROM ({rows}) AS rows GROUP BY {order} ORDER BY {order}"
        f" ON CONFLICT ({conflict}) DO UPDATE SET {updates}"
    )


def fold_sql(column: str, source: Level) -> str:
    if source is RAW:
        return f"NULLIF(count({column}), 0)::real, sum({column}), min({column}), max({column})"
    return f"sum({column}_count), sum({column}_sum), min({column}_min), max({column}_max)"


def latency_fill(rows: str, target: Level) -> int:
    """Bucket counts add up; where a deployment changed its layout inside a bin, both meet on the union of their bounds."""
    query = f"SELECT deployment_id, version_id, latency, time, 0 AS level, layout_id, counts, sum_seconds FROM ({rows}) AS r"
    (stored,) = histograms_fetch((query,))
    if not len(stored):
        return 0
    ends = np.ceil(stored.times / target.seconds) * target.seconds
    keys, groups = np.unique(np.stack((stored.ids, stored.versions, stored.latencies, ends)), axis=1, return_inverse=True)
    written = 0
    for folded in histograms_fold(stored, groups.ravel()):
        layout = layout_id(folded.bounds)
        for latency in np.unique(keys[2, folded.groups]):
            own = np.flatnonzero(keys[2, folded.groups] == latency)
            ids, versions, _, times = keys[:, folded.groups[own]]
            summed = Histograms(
                Latency(int(latency)),
                ids.astype(np.int64),
                versions.astype(np.int64),
                times,
                folded.bounds,
                folded.counts[own],
                folded.sums[own],
            )
            written += histograms_merge_in(summed, level=target, layout=layout)
    return written

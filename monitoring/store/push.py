"""A sender's batch in as few statements as it takes: what was heard of the agent, and its rows.

The usual batch is newer than everything its agent sent before: it goes straight in by COPY. Where a row is there already,
COPY fails as a whole, and the caller begins again and merges by column in one statement.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db import connection
from numpy.typing import NDArray

from monitoring.models import DirtyWindow
from monitoring.store.copy import copy_in, to_microseconds
from monitoring.store.locks import WRITE
from monitoring.store.partitions import partitions_ensure, spans_of
from monitoring.store.records import Rows, Written
from monitoring.store.schema import FAMILIES, FIVE_MINUTES, RAW, key_columns, sql_type, table_name
from monitoring.store.watermarks import late_windows, moment
from monitoring.store.write import Batch, keys_of, merge_sql

EPOCH_SQL = "'2000-01-01 00:00:00+00'::timestamptz + time * interval '1 microsecond'"


@dataclass(frozen=True)
class Heard:
    """What was known of an agent before this batch, in Unix seconds, and how far the rollups are filled."""

    seen: float
    newest: float | None
    filled: dict[str, float]  # family -> end of its five-minute rollup


HEARD_FIELDS = ("key_id", "version", "started_at", "interval_seconds", "skew_seconds", "waiting_count", "waiting_bytes", "waiting_since")
# The key is looked at here, in the transaction that stores: a revoked or expired one stores nothing from that moment on.
HEARD_SQL = f"""
    UPDATE monitoring_agent a SET {", ".join(f"{name} = %({name})s" for name in HEARD_FIELDS)}, trouble = %(trouble)s,
        last_seen_at = %(now)s, sequence = GREATEST(a.sequence, %(sequence)s),
        newest_sample_at = GREATEST(a.newest_sample_at, %(newest)s),
        rejected_count = a.rejected_count + %(rejected)s,
        rejected_text = CASE WHEN %(rejected)s > 0 THEN %(rejected_text)s ELSE a.rejected_text END
    FROM (SELECT id, last_seen_at, newest_sample_at FROM monitoring_agent WHERE id = %(agent)s FOR UPDATE) old
    WHERE a.id = old.id AND EXISTS (
        SELECT 1 FROM monitoring_key
        WHERE id = %(key_id)s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > %(now)s)
    )
    RETURNING extract(epoch FROM old.last_seen_at)::float8, extract(epoch FROM old.newest_sample_at)::float8,
        (SELECT array_agg("table") FROM monitoring_fillstate WHERE "table" = ANY(%(tables)s)),
        (SELECT array_agg(extract(epoch FROM end_time)::float8) FROM monitoring_fillstate WHERE "table" = ANY(%(tables)s))"""


def push_heard(agent: int, *, families: Sequence[str], told: dict[str, Any]) -> Heard | None:
    """Write down what an agent said of itself; None when the agent or its key is gone. Holds the agent's row to the end."""
    tables = {table_name(family, FIVE_MINUTES): family for family in families}
    locks = ", ".join(f"pg_advisory_xact_lock_shared({WRITE}, {FAMILIES.index(family)})" for family in sorted(families))
    with connection.cursor() as cursor:
        # A statement of its own: the watermarks below must be those of after the wait for the lock.
        cursor.execute(f"SELECT {locks or 1}")
        cursor.execute(HEARD_SQL, {**told, "agent": agent, "tables": list(tables)})
        row = cursor.fetchone()
    if row is None:
        return None
    filled = {tables[table]: end for table, end in zip(row[2] or (), row[3] or (), strict=True)}
    return Heard(row[0], row[1], filled)


def rows_push(rows: Rows, *, filled: float | None, straight: bool) -> Written:
    """Rows of one kind of entity, after `push_heard` and in its transaction; the first value stands.

    rows: in the order of the primary key, each key once.
    straight: none of the rows is there yet; IntegrityError when one is, or when its partition is missing.
    """
    known: NDArray[np.bool_] = (
        np.isfinite(np.stack(list(rows.values.values()))) if rows.values else np.zeros((0, len(rows.ids)), dtype=bool)
    )
    samples = int(known.sum())
    if not samples:
        return Written()
    chosen: NDArray[np.bool_] = np.logical_or.reduce(known)
    if not chosen.all():  # rows whose values were all refused
        rows = rows.taken(chosen)
    values = {name: value for (name, value), line in zip(rows.values.items(), known, strict=True) if line.any()}
    batch = Batch(rows.entity, RAW, key_columns(rows.entity), {**keys_of(rows), **values}, [(name,) for name in values])
    late_mark(batch, filled=filled)
    if straight:
        copy_in(batch.table, list(batch.columns), batch.body())
        return Written(samples)
    written = batch_fill(batch)
    return Written(written, samples - written)


def batch_fill(batch: Batch) -> int:
    """Merge by column without a temporary table, as many agents may need it each minute; returns how many samples were new."""
    kinds = {name: {"integer": "int", "timestamptz": "bigint"}.get(sql_type(name), "float8") for name in batch.columns}
    taken = ", ".join(f"{EPOCH_SQL} AS time" if name == "time" else f"{name}::{sql_type(name)}" for name in kinds)
    lists = ", ".join(f"%s::{kind}[]" for kind in kinds.values())
    incoming = f"(SELECT {taken} FROM unnest({lists}) AS sent({', '.join(kinds)}))"
    values: list[Any] = [array_list(name, column) for name, column in batch.columns.items()]
    with connection.cursor() as cursor:
        cursor.execute(merge_sql(batch, incoming, overwrite=False), [*values, moment(batch.times.min()), moment(batch.times.max())])
        (written,) = cursor.fetchone()
    return int(written or 0)


def array_list(name: str, column: NDArray[Any]) -> list[Any]:
    if name == "time" or sql_type(name) == "integer":
        whole: list[Any] = (to_microseconds(column) if name == "time" else column).tolist()
        return whole
    # Rounded here: Postgres refuses to make a `real` of what is too small for it.
    return [None if value != value else value for value in column.astype(np.float32).tolist()]  # NaN


def late_mark(batch: Batch, *, filled: float | None) -> None:
    late = batch.times <= filled if filled is not None else np.zeros(0, dtype=bool)
    if late.any():
        DirtyWindow.objects.bulk_create(late_windows(batch.family, FIVE_MINUTES, batch.times[late], batch.columns[batch.keys[0]][late]))


def push_partitions(rows: Sequence[Rows]) -> int:
    """Make the missing partitions of these rows; how many there were."""
    return sum(partitions_ensure(one.entity, RAW, spans_of(RAW, one.times)) for one in rows)


def agent_count_duplicates(agent: int, *, duplicate: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE monitoring_agent SET duplicate_count = duplicate_count + %s WHERE id = %s", [duplicate, agent])

"""Numpy <-> Postgres in binary, without Python per row.

In: arrays -> the body of COPY ... FROM STDIN (FORMAT BINARY). A missing `real` (NaN) becomes NULL, whose field is 4 bytes shorter:
the rows are laid out at full width and the bytes of missing values are then cut out in one pass.
Out: a query's columns are glued by `string_agg(float4send(c), '')` into one value each, so that one message brings whole columns.
"""

import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from weakref import WeakKeyDictionary

import numpy as np
import psycopg
from django.db import connection
from numpy.typing import NDArray
from psycopg.abc import Params

from monitoring.store.records import Floats, Ints

HEADER = b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0)
TRAILER = struct.pack(">h", -1)
REAL_ARRAY_HEAD = struct.pack(">iii", 1, 0, 700)  # one dimension, no NULLs, float4
EPOCH_2000 = 946684800
NAN = "'NaN'::real"
TEXTS_KEPT = 256  # texts of queries that were put together before
PREPARED_MOST = 32  # on one connection; of more the one that was not used for longest is forgotten
ASKED_BEFORE = 2  # times, before a query is prepared
TIMES_ASKED: WeakKeyDictionary[Any, Counter[int]] = WeakKeyDictionary()  # connection -> hash of the text -> times

SENDS = {"integer": "int4send", "smallint": "int2send", "real": "float4send", "timestamptz": "timestamptz_send"}
REAL_CELL = np.dtype([("length", ">i4"), ("value", ">f4")])
WIRE_TYPES = {kind: np.dtype(wire) for kind, wire in (("integer", ">i4"), ("smallint", ">i2"), ("real", ">f4"), ("timestamptz", ">i8"))}


def to_microseconds(times: Floats) -> Ints:
    return np.round((times - EPOCH_2000) * 1e6).astype(np.int64)


def from_microseconds(values: NDArray[Any]) -> Floats:
    return values.astype(np.float64) / 1e6 + EPOCH_2000


def copy_body(fields: Sequence[tuple[str, NDArray[Any]]]) -> bytes:
    """fields: (sql type, values); `real` is float64 with NaN for NULL, `timestamptz` Unix seconds, `real[]` is (n, k)."""
    runs = runs_of_reals(fields)
    pieces: list[tuple[str, Any]] = [("fields", ">i2")]
    for position, (kind, values) in enumerate(runs):
        if kind == "reals":
            pieces.append((f"value{position}", REAL_CELL, (len(values),)))  # type: ignore[arg-type]
            continue
        pieces.append((f"length{position}", ">i4"))
        if kind == "real[]":
            pieces += [(f"head{position}", "V12"), (f"size{position}", ">i4", (2,))]  # type: ignore[list-item]
            pieces.append((f"value{position}", REAL_CELL, (values.shape[1],)))  # type: ignore[arg-type]
        else:
            pieces.append((f"value{position}", WIRE_TYPES[kind]))
    layout = np.dtype(pieces)
    table = np.zeros(len(fields[0][1]), dtype=layout)
    table["fields"] = len(fields)
    gaps = [position_fill(table, position, kind, values) for position, (kind, values) in enumerate(runs)]
    return HEADER + without_gaps(table, gaps) + TRAILER


def runs_of_reals(fields: Sequence[tuple[str, NDArray[Any]]]) -> list[tuple[str, Any]]:
    """`real` columns that stand side by side become one piece (columns, rows): the cost is that of one, not of each."""
    runs: list[tuple[str, Any]] = []
    for kind, values in fields:
        if kind != "real":
            runs.append((kind, values))
        elif runs and runs[-1][0] == "reals":
            runs[-1][1].append(values)
        else:
            runs.append(("reals", [values]))
    return runs


def position_fill(table: NDArray[Any], position: int, kind: str, values: Any) -> NDArray[np.bool_] | None:
    """Write one piece of every row; for `reals` returns (rows, columns) where they are NULL, or None where they never are."""
    value = f"value{position}"
    if kind == "reals":
        block = np.stack(values, axis=1)
        missing: NDArray[np.bool_] = np.isnan(block)
        table[value]["value"] = block
        table[value]["length"] = np.where(missing, -1, 4)
        return missing if missing.any() else None
    table[f"length{position}"] = table.dtype[value].itemsize
    if kind == "real[]":
        table[f"length{position}"] += 20
        table[f"head{position}"] = np.void(REAL_ARRAY_HEAD)
        table[f"size{position}"] = (values.shape[1], 1)
        table[value]["length"] = 4
        table[value]["value"] = values
    else:
        table[value] = to_microseconds(values) if kind == "timestamptz" else values
    return None


def without_gaps(table: NDArray[Any], gaps: Sequence[NDArray[np.bool_] | None]) -> bytes:
    if all(gap is None for gap in gaps):
        return table.tobytes()
    # All widths are even, so half-words are cut instead of bytes: half the mask.
    words = np.frombuffer(table, dtype=np.uint16).reshape(len(table), -1)
    kept = np.ones(words.shape, dtype=bool)
    for position, gap in enumerate(gaps):
        if gap is not None:
            first = table.dtype.fields[f"value{position}"][1] // 2  # type: ignore[index]
            cells = kept[:, first : first + 4 * gap.shape[1]].reshape(len(table), gap.shape[1], 4)
            cells[:, :, 2:] = ~gap[:, :, None]
            kept[:, first : first + 4 * gap.shape[1]] = cells.reshape(len(table), -1)
    return words[kept].tobytes()


def copy_in(table: str, names: Sequence[str], body: bytes) -> None:
    statement = f"COPY {table} ({', '.join(names)}) FROM STDIN (FORMAT BINARY)"
    # Django does not translate the errors of COPY by itself.
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(statement) as copy:
        copy.write(body)


@dataclass(frozen=True)
class Query:
    """What brings whole columns of one or several tables in one row; %(names)s stand for its values."""

    text: str
    tables: tuple[Mapping[str, str], ...]  # of each its columns: name -> sql type


def query_of(tables: Sequence[tuple[str, Mapping[str, str]]]) -> Query:
    """Several queries, each with columns of its own, as one. Each becomes one value: tables side by side would be planned as a join."""
    glued = ", ".join(f"(SELECT record_send(ROW({glue_sql(columns)})) FROM ({query}) AS q)" for query, columns in tables)
    return Query(f"SELECT {glued}", tuple(columns for _, columns in tables))


def columns_fetch(query: str, columns: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """Run `query` and bring its `columns` (name -> sql type) as arrays; NULL in a `real` is NaN, times are Unix seconds.

    `real[]` columns come as one flat array of all elements, row after row: select their length beside them.
    """
    return tables_fetch(query_of([(query, columns)]))[0]


def tables_fetch(query: Query, values: Mapping[str, Any] | None = None, *, often: bool = False) -> list[dict[str, NDArray[Any]]]:
    """One round trip. often: it is asked again and again with other values, so it is worth to be prepared."""
    row = row_prepared(query.text, values or {}) if often and prepares(query.text) else row_copied(query.text, values)
    return [table_parse(raw, columns) for raw, columns in zip(row, query.tables, strict=True)]


def prepares(text: str) -> bool:
    """Whether this connection has been asked often enough: a plan for all values has all partitions in it, so it takes as long
    to make as several for some values, and a megabyte or two to keep."""
    connection.ensure_connection()
    known = TIMES_ASKED.get(connection.connection)
    if known is None:
        known = TIMES_ASKED[connection.connection] = Counter()
        connection.connection.prepared_max = PREPARED_MOST
    known[hash(text)] += 1
    return known[hash(text)] > ASKED_BEFORE and connection.connection.prepare_threshold is not None


def table_parse(raw: bytes, columns: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """A record as it is sent: how many fields, then of each its type, its length (-1 = NULL) and its bytes."""
    offset, found = 4, {}
    for name, kind in columns.items():
        (length,) = struct.unpack_from(">i", raw, offset + 4)
        start, offset = offset + 8, offset + 8 + max(length, 0)
        found[name] = field_parse(raw[start:offset], kind)
    return found


def row_copied(query: str, values: Mapping[str, Any] | None = None) -> Iterator[bytes]:
    """The one row of a query that is asked seldom. Not SELECT: its binary replies cost a copy of the plan, its text twice the bytes."""
    with connection.cursor() as cursor, connection.wrap_database_errors:
        asked = cursor.mogrify(query, values) if values else query  # COPY takes no values of its own
        with cursor.copy(f"COPY ({asked}) TO STDOUT (FORMAT BINARY)") as copy:
            reply = b"".join(copy)
    offset = len(HEADER) + 2
    while offset < len(reply) - len(TRAILER):
        (length,) = struct.unpack_from(">i", reply, offset)
        start, offset = offset + 4, offset + 4 + max(length, 0)
        yield reply[start:offset]


class PreparedCursor(psycopg.Cursor[tuple[bytes, ...]]):
    """Prepares at once, on each connection once, and asks for binary replies; Django's own cursors can do neither."""

    def execute(self, query: Any, params: Params | None = None, **_options: Any) -> Self:
        return super().execute(query, params, prepare=True, binary=True)


def row_prepared(query: str, values: Mapping[str, Any]) -> Iterator[bytes]:
    """The one row of a query that is asked again and again with other values: planned once, and without the cost of COPY."""
    with connection.cursor() as cursor:
        cursor.cursor = PreparedCursor(connection.connection)
        cursor.execute(query, values)
        return iter(cursor.fetchone())


def glue_sql(columns: Mapping[str, str]) -> str:
    return ", ".join(f"string_agg({send_expression(name, kind)}, ''::bytea)" for name, kind in columns.items())


def send_expression(name: str, kind: str) -> str:
    if kind == "real[]":
        return f"array_send({name})"
    return f"{SENDS[kind]}(COALESCE({name}, {NAN}))" if kind == "real" else f"{SENDS[kind]}({name})"


def field_parse(raw: bytes, kind: str) -> NDArray[Any]:
    if kind == "real[]":
        return np.frombuffer(raw, dtype=np.uint8)
    values = np.frombuffer(raw, dtype=WIRE_TYPES[kind])
    if kind == "timestamptz":
        return from_microseconds(values)
    return values.astype(np.float64 if kind == "real" else np.int64)


def arrays_split(raw: NDArray[np.uint8], sizes: Ints, size: int) -> tuple[NDArray[np.intp], Floats]:
    """Of the glued `real[]` values those with `size` elements: (their row numbers, (rows, size) values)."""
    widths = 20 + 8 * sizes
    starts = np.concatenate(([0], np.cumsum(widths)[:-1])).astype(np.int64)
    rows = np.flatnonzero(sizes == size)
    cells = starts[rows][:, None] + 20 + np.arange(8 * size)[None, :]
    block = raw[cells].reshape(len(rows), size, 8)[:, :, 4:]
    return rows, np.ascontiguousarray(block).view(">f4")[:, :, 0].astype(np.float64)

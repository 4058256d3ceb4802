"""How much disk the telemetry tables take: one query over the catalogue of Postgres."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection

from monitoring.store.partitions import partition_start, span_end
from monitoring.store.schema import FAMILIES, LEVELS, Level, table_name

SIZES_SQL = """
SELECT parent.relname,
       count(part.oid),
       pg_total_relation_size(parent.oid) + COALESCE(sum(pg_total_relation_size(part.oid)), 0),
       GREATEST(parent.reltuples, 0) + COALESCE(sum(GREATEST(part.reltuples, 0)), 0)
FROM pg_class AS parent
LEFT JOIN pg_inherits ON pg_inherits.inhparent = parent.oid
LEFT JOIN pg_class AS part ON part.oid = pg_inherits.inhrelid
WHERE parent.relname = ANY(%s) AND parent.relnamespace = current_schema()::regnamespace
GROUP BY parent.oid, parent.relname, parent.reltuples
"""

PARTS_SQL = """
SELECT parent.relname, part.relname, pg_total_relation_size(part.oid)
FROM pg_class AS parent
JOIN pg_inherits ON pg_inherits.inhparent = parent.oid
JOIN pg_class AS part ON part.oid = pg_inherits.inhrelid
WHERE parent.relname = ANY(%s) AND parent.relnamespace = current_schema()::regnamespace AND pg_relation_size(part.oid) > 0
"""
LEAST_GROWN = timedelta(days=1)  # before that what a partition takes says nothing about a day


@dataclass(frozen=True)
class TableSize:
    """One resolution of one family; `rows` is the planner's estimate."""

    family: str
    level: Level
    partitions: int
    bytes: int
    rows: float


def sizes_load() -> list[TableSize]:
    """In the order families x levels; a table that does not exist yet is left out. One query."""
    tables = {table_name(family, level): (family, level) for family in FAMILIES for level in LEVELS}
    with connection.cursor() as cursor:
        cursor.execute(SIZES_SQL, [list(tables)])
        found = {name: (int(partitions), int(size), float(rows)) for name, partitions, size, rows in cursor.fetchall()}
    return [size_of(place, found=found[name]) for name, place in tables.items() if name in found]


def size_of(place: tuple[str, Level], *, found: tuple[int, int, float]) -> TableSize:
    family, level = place
    partitions, size, rows = found
    return TableSize(family, level, partitions, size, rows)


def database_bytes() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        return int(cursor.fetchone()[0])


def day_bytes(*, now: datetime) -> dict[str, float]:
    """Level -> about how many bytes a day of it takes, by the newest partition of each family that has ended or grown for a day;
    a level of which there is none yet is left out. One query."""
    tables = {table_name(family, level): level for family in FAMILIES for level in LEVELS}
    with connection.cursor() as cursor:
        cursor.execute(PARTS_SQL, [list(tables)])
        grown: dict[str, list[tuple[datetime, float]]] = defaultdict(list)
        for parent, name, size in cursor.fetchall():
            start = partition_start(tables[parent], name)
            days = (min(span_end(tables[parent], start), now) - start) / LEAST_GROWN
            if days >= 1:
                grown[parent].append((start, int(size) / days))
    found: dict[str, float] = defaultdict(float)
    for parent, rates in grown.items():
        found[tables[parent].name] += max(rates)[1]
    return dict(found)

"""Partitions by UTC day, week or month: made ahead or on demand, dropped without stopping anybody."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import numpy as np
from django.db import OperationalError, connection, transaction

from monitoring.store.locks import CREATE, family_lock
from monitoring.store.records import Floats
from monitoring.store.schema import FAMILIES, LEVELS, Level, table_name


def span_start(level: Level, at: datetime) -> datetime:
    midnight = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if level.span == "week":
        return midnight - timedelta(days=midnight.weekday())
    return midnight.replace(day=1) if level.span == "month" else midnight


def span_end(level: Level, start: datetime) -> datetime:
    return (
        span_start(level, start + timedelta(days=32)) if level.span == "month" else start + timedelta(days=7 if level.span == "week" else 1)
    )


def partition_name(family: str, level: Level, start: datetime) -> str:
    return f"{table_name(family, level)}_{start:{'%Y%m' if level.span == 'month' else '%Y%m%d'}}"


def partition_start(level: Level, name: str) -> datetime:
    stamp = name.rsplit("_", 1)[1]
    return datetime.strptime(stamp, "%Y%m" if level.span == "month" else "%Y%m%d").replace(tzinfo=UTC)


def partitions_list(family: str, level: Level) -> list[str]:
    """The attached partitions, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = to_regclass(%s) AND NOT i.inhdetachpending ORDER BY 1",
            [table_name(family, level)],
        )
        return [name for (name,) in cursor.fetchall()]


def spans_between(level: Level, start: datetime, end: datetime) -> list[datetime]:
    """The starts of all partitions that hold times of [start, end]."""
    spans = [span_start(level, start)]
    while (following := span_end(level, spans[-1])) <= end:
        spans.append(following)
    return spans


def spans_of(level: Level, times: Floats) -> list[datetime]:
    days = np.unique(np.floor_divide(times, 86400.0))
    return sorted({span_start(level, datetime.fromtimestamp(float(day) * 86400.0, tz=UTC)) for day in days})


def partitions_ensure(family: str, level: Level, spans: Iterable[datetime]) -> int:
    """Make the missing ones; the usual case, none missing, costs one query."""
    if not level.span:
        return 0
    named = {partition_name(family, level, start): start for start in spans}
    missing = [named[name] for name in partitions_missing(named)]
    if not missing:
        return 0
    with transaction.atomic():
        family_lock(CREATE, family)
        for name in partitions_missing(named):
            partition_create(family, level, named[name])
    return len(missing)


def partitions_missing(names: Iterable[str]) -> list[str]:
    """Asked of pg_class, not to_regclass: that one may answer from before a lock was waited for."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name FROM unnest(%s::text[]) AS name"
            " WHERE NOT EXISTS (SELECT 1 FROM pg_class WHERE relname = name AND pg_table_is_visible(oid)) ORDER BY 1",
            [list(names)],
        )
        return [name for (name,) in cursor.fetchall()]


def partition_create(family: str, level: Level, start: datetime) -> None:
    """As a table of its own that is then attached: CREATE ... PARTITION OF would stop all readers of the parent."""
    parent, name = table_name(family, level), partition_name(family, level, start)
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {name} (LIKE {parent} INCLUDING ALL)")
        cursor.execute(f"ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM (%s) TO (%s)", [start, span_end(level, start)])


def partitions_create_between(start: datetime, end: datetime) -> int:
    """Every family and level; used to stay ahead of the clock."""
    return sum(partitions_ensure(family, level, spans_between(level, start, end)) for family in FAMILIES for level in LEVELS if level.span)


def partitions_drop_before(family: str, level: Level, oldest: datetime) -> list[str]:
    """Drop those that end at or before `oldest`; needs to be outside a transaction. Returns the names dropped."""
    finish_detached(family, level)
    old = [name for name in partitions_list(family, level) if span_end(level, partition_start(level, name)) <= oldest]
    return [name for name in old if partition_drop(table_name(family, level), name)]


def partition_drop(parent: str, name: str) -> bool:
    """False: something was in the way (a reader, a timeout); the next run goes on where this one stopped."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {parent} DETACH PARTITION {name} CONCURRENTLY")
            cursor.execute(f"DROP TABLE {name}")
    except OperationalError:
        return False
    return True


def finish_pending(parent: str) -> None:
    """Finish what a crash or a timeout between the two halves of DETACH CONCURRENTLY left."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = to_regclass(%s) AND i.inhdetachpending",
            [parent],
        )
        pending = [name for (name,) in cursor.fetchall()]
        with suppress(OperationalError):
            for name in pending:
                cursor.execute(f"ALTER TABLE {parent} DETACH PARTITION {name} FINALIZE")


def finish_detached(family: str, level: Level) -> None:
    """Drop tables that a crash left detached but not dropped."""
    parent = table_name(family, level)
    finish_pending(parent)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND NOT relispartition AND relname ~ %s",
            [f"^{parent}_[0-9]{{6,8}}$"],
        )
        for (name,) in cursor.fetchall():
            cursor.execute(f"DROP TABLE {name}")

"""Packing: a partition whose time is over is written again in the order of its key.

Rows come in by time, so that each row of one entity lies on a page of its own, and a chart of a month reads thousands of pages.
"""

from datetime import datetime, timedelta

from django.db import OperationalError, connection, transaction

from monitoring.store.partitions import partition_start, partitions_list, span_end
from monitoring.store.schema import Level, key_columns, table_name

REST = timedelta(hours=6)  # after its end: what comes late has mostly come by then
BYTES_MOST = 4 * 2**30  # more would hold up late samples for minutes: such a partition stays as it came in
PACKED = "packed"  # the comment of a partition that needs no more packing


def family_pack(family: str, level: Level, *, now: datetime) -> list[str]:
    """Pack those that ended a while ago; must not run inside a transaction. Returns the names packed."""
    ended = [name for name in partitions_list(family, level) if span_end(level, partition_start(level, name)) + REST <= now]
    return [name for name in ended if is_worth_it(name) and partition_pack(family, level, name)]


def is_worth_it(name: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT obj_description(t, 'pg_class') IS DISTINCT FROM %s AND pg_relation_size(t) <= %s FROM CAST(%s AS regclass) AS t",
            [PACKED, BYTES_MOST, name],
        )
        return bool(cursor.fetchone()[0])


def partition_pack(family: str, level: Level, name: str) -> bool:
    """Readers go on meanwhile, writers of this partition wait. False: somebody was in the way; the next run tries again."""
    parent, order, start = table_name(family, level), ", ".join(key_columns(family)), partition_start(level, name)
    window = f"time >= '{start.isoformat()}' AND time < '{span_end(level, start).isoformat()}'"
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '2s'; SET LOCAL statement_timeout = '8min'; SET LOCAL work_mem = '64MB'")
            cursor.execute(f"LOCK TABLE {name} IN SHARE MODE")
            cursor.execute(f"CREATE TABLE {name}_packing (LIKE {parent} INCLUDING ALL)")
            cursor.execute(f"INSERT INTO {name}_packing SELECT * FROM {name} ORDER BY {order}")
            # With this constraint ATTACH need not read the table while it holds up others.
            cursor.execute(f"ALTER TABLE {name}_packing ADD CONSTRAINT window_held CHECK ({window})")
            cursor.execute(f"ANALYZE {name}_packing")
            cursor.execute(f"ALTER TABLE {parent} DETACH PARTITION {name}")
            cursor.execute(f"DROP TABLE {name}")
            cursor.execute(f"ALTER TABLE {name}_packing RENAME TO {name}")
            cursor.execute(f"ALTER INDEX {name}_packing_pkey RENAME TO {name}_pkey")
            cursor.execute(f"ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM (%s) TO (%s)", [start, span_end(level, start)])
            cursor.execute(f"ALTER TABLE {name} DROP CONSTRAINT window_held")
            cursor.execute(f"COMMENT ON TABLE {name} IS '{PACKED}'")
    except OperationalError:
        return False
    return True

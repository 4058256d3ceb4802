"""The tables of the store, said once: names, keys, columns, levels. Migrations hold the frozen SQL of `tables_sql`."""

from dataclasses import dataclass
from itertools import pairwise

from monitoring.catalog.columns import COLUMNS
from monitoring.catalog.records import Entity

LATENCY = "latency"  # the family of histogram tables; the other families are the entities
FAMILIES: tuple[str, ...] = (*(entity.value for entity in Entity), LATENCY)
PARTS = ("count", "sum", "min", "max")


@dataclass(frozen=True)
class Level:
    """One resolution. `span` is what one partition holds: many are costly to plan a long chart over, few to drop by age."""

    name: str
    seconds: int
    span: str  # "day", "week" (from Monday), "month" or "" for a table without partitions
    setting: str  # how long it is kept; "" = for ever


RAW = Level("sample", 0, "day", "retention_raw_days")
FIVE_MINUTES = Level("5m", 300, "week", "retention_5m_days")
FIFTEEN_MINUTES = Level("15m", 900, "month", "retention_5m_days")
HOUR = Level("1h", 3600, "month", "retention_1h_months")
DAY = Level("1d", 86400, "", "")
LEVELS = (RAW, FIVE_MINUTES, FIFTEEN_MINUTES, HOUR, DAY)
ROLLUPS = tuple(pairwise(LEVELS))


def table_name(family: str, level: Level) -> str:
    return f"{family}_{level.name}"


def id_column(family: str) -> str:
    return "deployment_id" if family == LATENCY else f"{family}_id"


def versioned(family: str) -> bool:
    return family in (Entity.DEPLOYMENT, LATENCY)


def key_columns(family: str) -> tuple[str, ...]:
    """In the order of the primary key: all rows of one entity and window lie together, whatever their version."""
    if family == LATENCY:
        return ("deployment_id", "latency", "time", "version_id")
    return (id_column(family), "time", *(("version_id",) if versioned(family) else ()))


def value_columns(family: str) -> tuple[str, ...]:
    return tuple(column.name for column in COLUMNS[Entity(family)])


def part_columns(column: str) -> tuple[str, ...]:
    return tuple(f"{column}_{part}" for part in PARTS)


def units(family: str, level: Level) -> list[tuple[str, ...]]:
    """Value columns that belong together: one for a raw column, its four parts in a rollup."""
    if family == LATENCY:
        return [("layout_id",), ("counts",), ("sum_seconds",)]
    return [(name,) if level is RAW else part_columns(name) for name in value_columns(family)]


def stored_columns(family: str, level: Level) -> tuple[str, ...]:
    return tuple(name for unit in units(family, level) for name in unit)


SQL_TYPES = {
    "time": "timestamptz",
    "latency": "smallint",
    "counts": "real[]",
}


def sql_type(column: str) -> str:
    return SQL_TYPES.get(column, "integer" if column.endswith("_id") else "real")


def table_sql(family: str, level: Level) -> str:
    keys = key_columns(family)
    lines = [column_sql(name) + " NOT NULL" for name in keys] + [
        ", ".join(column_sql(part) for part in unit) for unit in units(family, level)
    ]
    body = ",\n    ".join([*lines, f"PRIMARY KEY ({', '.join(keys)})"])
    ending = " PARTITION BY RANGE (time)" if level.span else ""
    return f"CREATE TABLE {table_name(family, level)} (\n    {body}\n){ending};\n"


def column_sql(name: str) -> str:
    return f"{name} {sql_type(name)}"


def tables_sql() -> str:
    """The whole store as SQL, for a migration to freeze."""
    return "\n".join(table_sql(family, level) for family in FAMILIES for level in LEVELS)


def bin_sql(seconds: int, time: str = "time") -> str:
    """The end of the bin (end - seconds, end] that holds a time."""
    start = bin_start_sql(f"'{seconds} seconds'", time)
    return f"{start} + interval '{seconds * 1000000 - 1} microseconds'"


def bin_start_sql(length: str, time: str = "time") -> str:
    """The first microsecond of that bin: cheaper, as nothing is added to each row."""
    return f"date_bin({length}, {time}, '1970-01-01 00:00:00.000001+00')"

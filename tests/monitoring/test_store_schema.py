"""The tables in the database are those the catalogue asks for."""

import re
from collections.abc import Iterator

import pytest
from django.db import connection

from monitoring.catalog.columns import COLUMNS, RATIOS
from monitoring.store.schema import FAMILIES, LEVELS, Level, key_columns, sql_type, stored_columns, table_name

pytestmark = pytest.mark.django_db
TABLES = [(family, level) for family in FAMILIES for level in LEVELS]


def columns_of(table: str) -> Iterator[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
            [table],
        )
        yield from cursor.fetchall()


@pytest.mark.parametrize(("family", "level"), TABLES)
def test_every_column_of_the_catalogue_has_a_migration(family: str, level: Level) -> None:
    wanted = {name: sql_type(name) for name in (*key_columns(family), *stored_columns(family, level))}
    stored = {name: {"timestamp with time zone": "timestamptz"}.get(kind, kind) for name, kind in columns_of(table_name(family, level))}
    assert stored == wanted


@pytest.mark.parametrize(("family", "level"), TABLES)
def test_the_primary_key_is_entity_and_time(family: str, level: Level) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = to_regclass(%s)", [table_name(family, level)])
        indexes = [text.replace('"', "") for (text,) in cursor.fetchall()]
    assert [re.search(r"\((.*)\)", text).group(1) for text in indexes] == [", ".join(key_columns(family))]  # type: ignore[union-attr]


def test_only_daily_rollups_are_not_partitioned() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relkind = 'p'")
        partitioned = {name for (name,) in cursor.fetchall()}
    assert partitioned == {table_name(family, level) for family, level in TABLES if level.name != "1d"}


def test_no_table_has_a_default_partition() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_partitioned_table WHERE partdefid <> 0")
        assert cursor.fetchone() == (0,)


def test_no_foreign_key_points_into_the_store() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT confrelid::regclass::text FROM pg_constraint WHERE contype = 'f'")
        targets = {name for (name,) in cursor.fetchall()}
    assert not targets & {table_name(family, level) for family, level in TABLES}


def test_no_percentile_is_stored() -> None:
    names = [name for family, level in TABLES for name, _ in columns_of(table_name(family, level))]
    assert not [name for name in names if re.search(r"_p\d\d|percentile|quantile|median", name)]


def test_ratios_are_made_of_stored_columns() -> None:
    stored = {column.name for columns in COLUMNS.values() for column in columns}
    assert {part for ratio in RATIOS for part in (ratio.numerator, ratio.denominator)} <= stored

"""Packing: the same rows in the order of the key, once, and nobody is stopped for it."""

from collections.abc import Iterator

import pytest
from django.db import connection

from monitoring.catalog.records import Entity
from monitoring.retention import partitions_drop, partitions_pack
from monitoring.store import rollups_write
from monitoring.store.partitions import partitions_list
from monitoring.store.schema import FIVE_MINUTES
from tests.telemetry import NOON, make_rollups, store_clear, table_rows

LAST_WEEK = -7 * 86400  # of noon on a Friday
OLD = "accelerator_5m_20261109"


@pytest.fixture(autouse=True)
def committed(transactional_db: None) -> Iterator[None]:
    partitions_drop(now=NOON.replace(year=2036))  # empty ones of other tests
    yield
    store_clear()
    partitions_drop(now=NOON.replace(year=2036))


def rows_scattered() -> None:
    """Two accelerators whose rows came in by time."""
    for step in range(6):
        times = [LAST_WEEK + 300 * step] * 2
        rollups_write(make_rollups(times, Entity.ACCELERATOR, ids=[1, 2], power_watts=[100 + step, 200 + step]))
    rollups_write(make_rollups([0], Entity.ACCELERATOR, power_watts=[7]))


def order_on_disk(partition: str) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT accelerator_id FROM {partition} ORDER BY ctid")
        return [number for (number,) in cursor.fetchall()]


def test_a_week_that_is_over_lies_in_the_order_of_its_key_with_the_same_rows() -> None:
    rows_scattered()
    before = table_rows("accelerator_5m", "power_watts_sum")
    assert order_on_disk(OLD) == [1, 2] * 6
    assert partitions_pack(now=NOON) == f"1 partitions packed: {OLD}"
    assert order_on_disk(OLD) == [1] * 6 + [2] * 6
    assert table_rows("accelerator_5m", "power_watts_sum") == before


def test_a_second_run_packs_nothing() -> None:
    rows_scattered()
    partitions_pack(now=NOON)
    assert partitions_pack(now=NOON) == "0 partitions packed"


def test_a_packed_partition_takes_late_rows_and_is_dropped_like_others() -> None:
    rows_scattered()
    partitions_pack(now=NOON)
    late = make_rollups([LAST_WEEK], Entity.ACCELERATOR, ids=[3], power_watts=[1])
    assert rollups_write(late).written == 1
    assert rollups_write(late).written == 0  # its primary key is there
    assert OLD in partitions_drop(now=NOON.replace(year=2027))
    assert OLD not in partitions_list("accelerator", FIVE_MINUTES)


def test_a_writer_in_the_way_puts_it_off() -> None:
    rows_scattered()
    writer = connection.copy()
    try:
        with writer.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(f"UPDATE {OLD} SET power_watts_max = 999")
        assert partitions_pack(now=NOON) == "0 partitions packed"
    finally:
        writer.close()
    assert partitions_pack(now=NOON) == f"1 partitions packed: {OLD}"

"""Partitions: made ahead and on demand, dropped outside transactions, also after a crash half way."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from django.db import connection

from monitoring.catalog.records import Entity
from monitoring.models import setting_set
from monitoring.retention import partitions_ahead, partitions_drop
from monitoring.store import rows_write
from monitoring.store.partitions import partitions_list, spans_between, spans_of
from monitoring.store.schema import FIVE_MINUTES, HOUR, RAW
from tests.telemetry import NOON, NOON_SECONDS, make_rows, store_clear, table_rows


def day(number: int, month: int = 11) -> datetime:
    return datetime(2026, month, number, tzinfo=UTC)


class TestSpans:
    def test_a_window_touches_each_day_it_reaches(self) -> None:
        assert spans_between(RAW, day(20), day(21)) == [day(20), day(21)]
        assert spans_between(RAW, NOON, NOON) == [day(20)]

    def test_hours_lie_by_month(self) -> None:
        assert spans_between(HOUR, NOON, day(31, 12)) == [day(1), day(1, 12)]

    def test_times_of_a_batch_name_their_days_once(self) -> None:
        times = NOON_SECONDS + make_rows([0, 1, 12 * 3600], load1=1).times * 0
        times[2] += 12 * 3600
        assert spans_of(RAW, times) == [day(20), day(21)]
        assert spans_of(HOUR, times) == [day(1)]


@pytest.mark.django_db
class TestAhead:
    def test_the_next_days_are_ready(self) -> None:
        partitions_ahead(now=NOON)
        wanted = [f"node_sample_202611{number}" for number in range(20, 29)]
        assert [name for name in partitions_list("node", RAW) if "20261120" <= name[-8:] <= "20261128"] == wanted
        assert {"node_1h_202611"} <= set(partitions_list("node", HOUR))

    def test_a_second_run_makes_nothing(self) -> None:
        partitions_ahead(now=NOON)
        assert partitions_ahead(now=NOON) == "0 partitions made, 8 days ahead"

    def test_how_far_is_a_setting(self) -> None:
        setting_set("partitions_ahead_days", 20, by="test", now=NOON)
        partitions_ahead(now=NOON)
        assert "node_5m_20261207" in partitions_list("node", FIVE_MINUTES)


@pytest.fixture
def committed(transactional_db: None) -> Iterator[None]:
    yield
    store_clear()
    partitions_drop(now=day(1, 12).replace(year=2036))


@pytest.mark.usefixtures("committed")
class TestDrop:
    def test_what_is_older_than_its_retention_goes(self) -> None:
        rows_write(make_rows([-16 * 86400, -13 * 86400, 0], Entity.NODE, load1=1), overwrite=True)
        assert partitions_drop(now=NOON) == "1 partitions dropped: node_sample_20261104"
        assert [row[1] for row in table_rows("node_sample")] == [-13 * 86400, 0]

    def test_a_second_run_drops_nothing(self) -> None:
        rows_write(make_rows([-16 * 86400], Entity.NODE, load1=1), overwrite=True)
        partitions_drop(now=NOON)
        assert partitions_drop(now=NOON) == "0 partitions dropped"

    def test_a_partition_goes_only_when_all_of_it_is_old(self) -> None:
        rows_write(make_rows([-14 * 86400], Entity.NODE, load1=1), overwrite=True)
        assert partitions_drop(now=NOON) == "0 partitions dropped"

    def test_retention_is_a_setting(self) -> None:
        rows_write(make_rows([-5 * 86400, 0], Entity.NODE, load1=1), overwrite=True)
        setting_set("retention_raw_days", 3, by="test", now=NOON)
        assert partitions_drop(now=NOON) == "1 partitions dropped: node_sample_20261115"

    def test_a_crash_between_detach_and_drop_is_finished(self) -> None:
        rows_write(make_rows([-16 * 86400, 0], Entity.NODE, load1=1), overwrite=True)
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE node_sample DETACH PARTITION node_sample_20261104 CONCURRENTLY")
        partitions_drop(now=NOON)
        with connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('node_sample_20261104')")
            assert cursor.fetchone() == (None,)

    def test_a_reader_in_the_way_puts_the_drop_off_and_the_next_run_finishes(self) -> None:
        rows_write(make_rows([-16 * 86400, 0], Entity.NODE, load1=1), overwrite=True)
        reader = connection.copy()
        try:
            with reader.cursor() as cursor:
                cursor.execute("BEGIN")
                cursor.execute("SELECT count(*) FROM node_sample")
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '200ms'")
            assert partitions_drop(now=NOON) == "0 partitions dropped"
        finally:
            reader.close()
            with connection.cursor() as cursor:
                cursor.execute("RESET lock_timeout")
        partitions_drop(now=NOON)
        assert [name for name in partitions_list("node", RAW) if name.endswith("04")] == []
        assert [row[1] for row in table_rows("node_sample")] == [0]

"""Filling by watermark: first run, second run, crash between, late data, empty, gap, UTC boundary, two fillers."""

import threading
from collections.abc import Iterator
from datetime import datetime

import numpy as np
import pytest
from django.db import connection

from monitoring.catalog.records import Entity
from monitoring.models import DirtyWindow, FillState
from monitoring.rollups import rollups_fill
from monitoring.store import RollupRows, histograms_write, rollups_write, rows_write
from monitoring.store.fill import stretch_fill
from monitoring.store.schema import FIVE_MINUTES, RAW
from tests.telemetry import (
    FRESH_SEEDS,
    NAN,
    NOON,
    NOON_SECONDS,
    at,
    make_histograms,
    make_rollups,
    make_rows,
    seed_of,
    store_clear,
    table_rows,
)

POWER = tuple(f"power_watts_{part}" for part in ("count", "sum", "min", "max"))
MIDNIGHT = 12 * 3600


def power(times: list[float], watts: list[float] | float, ids: int | list[int] = 1) -> None:
    rows_write(make_rows(times, Entity.ACCELERATOR, ids=ids, power_watts=watts), overwrite=True)


def mark_of(table: str) -> datetime:
    return FillState.objects.get(table=table).end_time


@pytest.mark.django_db
class TestFill:
    def test_the_first_run_fills_all_levels(self) -> None:
        power([0, 15, 300, 301, 3600], [1, 2, 3, 4, 5])
        rollups_fill(now=at(86400 + 300))
        assert table_rows("accelerator_5m", *POWER) == [
            (1, 0, 1, 1, 1, 1),
            (1, 300, 2, 5, 2, 3),
            (1, 600, 1, 4, 4, 4),
            (1, 3600, 1, 5, 5, 5),
        ]
        assert table_rows("accelerator_1h", *POWER) == [(1, 0, 1, 1, 1, 1), (1, 3600, 4, 14, 2, 5)]
        assert table_rows("accelerator_1d", *POWER) == [(1, MIDNIGHT, 5, 15, 1, 5)]

    def test_the_second_run_changes_nothing(self) -> None:
        power([0, 15, 300], [1, 2, 3])
        rollups_fill(now=at(3600))
        before = table_rows("accelerator_5m", *POWER)
        assert rollups_fill(now=at(3600)) == "0 chunks filled, 0 dirty days redone, 0 rows written"
        assert table_rows("accelerator_5m", *POWER) == before

    def test_it_waits_for_late_samples(self) -> None:
        power([60], 1)
        rollups_fill(now=at(599))
        assert table_rows("accelerator_5m") == []
        rollups_fill(now=at(600))
        assert len(table_rows("accelerator_5m")) == 1

    def test_an_empty_store_is_filled_to_now(self) -> None:
        rollups_fill(now=NOON)
        assert mark_of("accelerator_5m") == at(-300)
        assert table_rows("accelerator_5m") == []

    def test_a_gap_leaves_no_rows(self) -> None:
        power([0, 900], [1, 2])
        rollups_fill(now=at(3600))
        assert [row[1] for row in table_rows("accelerator_5m")] == [0, 900]

    def test_a_column_that_was_not_measured_stays_null(self) -> None:
        rows_write(make_rows([60, 120], Entity.ACCELERATOR, power_watts=[NAN, 3], temperature_celsius=[40, NAN]), overwrite=True)
        rollups_fill(now=at(3600))
        assert table_rows("accelerator_5m", *POWER, "temperature_celsius_count", "sm_active_ratio_count", "sm_active_ratio_sum") == [
            (1, 300, 1, 3, 3, 3, 1, None, None)
        ]

    def test_midnight_belongs_to_the_day_that_ends(self) -> None:
        power([MIDNIGHT - 60, MIDNIGHT, MIDNIGHT + 60], [1, 2, 3])
        rollups_fill(now=at(2 * 86400))
        assert table_rows("accelerator_5m", *POWER) == [(1, MIDNIGHT, 2, 3, 1, 2), (1, MIDNIGHT + 300, 1, 3, 3, 3)]
        assert table_rows("accelerator_1d", *POWER) == [(1, MIDNIGHT, 2, 3, 1, 2), (1, MIDNIGHT + 86400, 1, 3, 3, 3)]

    def test_versions_keep_rows_of_their_own(self) -> None:
        rows_write(make_rows([60, 60, 120], versions=[1, 2, 2], requests_per_second=[1, 2, 4]), overwrite=True)
        rollups_fill(now=at(600))
        assert table_rows("deployment_5m", "requests_per_second_sum") == [(1, 1, 300, 1), (1, 2, 300, 6)]

    def test_a_level_never_passes_its_source(self) -> None:
        power([0], 1)
        rollups_fill(now=at(1800))
        marks = [mark_of(f"accelerator_{level}") for level in ("5m", "1h", "1d")]
        assert marks == [at(1500), at(0), at(-MIDNIGHT)]

    def test_without_time_it_goes_on_where_it_stopped(self) -> None:
        power([0, 86400], [1, 2])
        assert rollups_fill(now=at(2 * 86400), budget_seconds=0).endswith("more to do")
        for _ in range(3):
            rollups_fill(now=at(2 * 86400))
        assert len(table_rows("accelerator_1d")) == 2


@pytest.mark.django_db
class TestCrash:
    def test_a_fill_that_was_started_and_not_done_is_redone(self) -> None:
        power([0, 60, 3660], [1, 2, 3])
        rollups_fill(now=at(3600 + 600))
        expected = table_rows("accelerator_5m", *POWER)
        # A crash after the claim: the watermark has moved, half of the rows are wrong or missing.
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM accelerator_5m WHERE time > %s", [at(0)])
            cursor.execute("UPDATE accelerator_5m SET power_watts_sum = 99")
        FillState.objects.filter(table="accelerator_5m").update(start_time=at(-3600), done=False)
        rollups_fill(now=at(3600 + 600))
        assert table_rows("accelerator_5m", *POWER) == expected
        assert FillState.objects.get(table="accelerator_5m").done

    def test_a_crash_between_two_levels_is_made_up(self) -> None:
        power([60], 1)
        rollups_fill(now=at(600))
        FillState.objects.filter(table="accelerator_1h").update(start_time=at(-3600), end_time=at(3600), done=False)
        rollups_fill(now=at(3600 + 300))
        assert table_rows("accelerator_1h", *POWER) == [(1, 3600, 1, 1, 1, 1)]


@pytest.mark.django_db
class TestLate:
    def test_late_samples_are_rolled_up_again_on_all_levels(self) -> None:
        power([60, 120], [1, 3])
        rollups_fill(now=at(2 * 86400))
        power([180], 8)
        assert DirtyWindow.objects.count() == 1
        rollups_fill(now=at(2 * 86400))
        assert table_rows("accelerator_5m", *POWER) == [(1, 300, 3, 12, 1, 8)]
        assert table_rows("accelerator_1h", *POWER) == [(1, 3600, 3, 12, 1, 8)]
        assert table_rows("accelerator_1d", *POWER) == [(1, MIDNIGHT, 3, 12, 1, 8)]
        assert DirtyWindow.objects.count() == 0

    def test_only_the_entities_that_were_late_are_redone(self) -> None:
        power([60, 60], [1, 2], ids=[1, 2])
        rollups_fill(now=at(3600))
        with connection.cursor() as cursor:
            cursor.execute("UPDATE accelerator_5m SET power_watts_sum = 99 WHERE accelerator_id = 2")
        power([120], 5, ids=1)
        rollups_fill(now=at(3600))
        assert table_rows("accelerator_5m", "power_watts_sum") == [(1, 300, 6), (2, 300, 99)]

    def test_a_late_stretch_over_midnight_is_redone_on_both_days(self) -> None:
        power([MIDNIGHT - 600, MIDNIGHT + 600], 1)
        rollups_fill(now=at(3 * 86400))
        power([MIDNIGHT - 60, MIDNIGHT, MIDNIGHT + 60], 5)
        rollups_fill(now=at(3 * 86400))
        assert table_rows("accelerator_1d", *POWER) == [(1, MIDNIGHT, 3, 11, 1, 5), (1, MIDNIGHT + 86400, 2, 6, 1, 5)]

    def test_imported_history_reaches_hours_and_days(self) -> None:
        rollups_fill(now=NOON)
        times = [-20 * 86400 + 300.0 * step for step in range(1, 25)]
        rollups_write(make_rollups(times, requests_per_second=2))
        rollups_fill(now=NOON)
        assert table_rows("deployment_1h", "requests_per_second_count") == [(1, 0, -20 * 86400 + 3600, 60), (1, 0, -20 * 86400 + 7200, 60)]
        assert table_rows("deployment_1d", "requests_per_second_sum") == [(1, 0, -20 * 86400 + MIDNIGHT, 240)]

    def test_imported_rows_stay_where_there_is_no_raw_data(self) -> None:
        rollups_write(make_rollups([300, 600], requests_per_second=2, errors_per_second=1))
        rows_write(make_rows([360], requests_per_second=7), overwrite=True)
        rollups_fill(now=at(3600))
        DirtyWindow.objects.create(entity="deployment", start_at=at(-MIDNIGHT), end_at=at(MIDNIGHT))
        rollups_fill(now=at(3600))
        columns = ("requests_per_second_sum", "errors_per_second_sum")
        assert table_rows("deployment_5m", *columns) == [(1, 0, 300, 10, 5), (1, 0, 600, 7, 5)]

    def test_what_retention_has_cut_is_not_rolled_up_again(self) -> None:
        power([-15 * 86400 + 60, -15 * 86400 + 120], [1, 3])
        rollups_fill(now=NOON)
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM accelerator_sample WHERE power_watts = 1")
        DirtyWindow.objects.create(entity="accelerator", start_at=at(-15 * 86400), end_at=at(-15 * 86400 + 300))
        rollups_fill(now=NOON)
        assert table_rows("accelerator_5m", *POWER) == [(1, -15 * 86400 + 300, 2, 4, 1, 3)]


@pytest.mark.django_db
class TestHistograms:
    def test_bucket_counts_add_up_level_by_level(self) -> None:
        histograms_write(make_histograms([60, 120, 360], [[1, 2, 3, 4], [1, 1, 1, 1], [0, 0, 0, 5]], sums=[1, 2, 3]))
        rollups_fill(now=at(2 * 86400))
        assert table_rows("latency_5m", "counts", "sum_seconds") == [
            (1, 1, 0, 300, [2, 3, 4, 5], 3),
            (1, 1, 0, 600, [0, 0, 0, 5], 3),
        ]
        assert table_rows("latency_1d", "counts", "sum_seconds") == [(1, 1, 0, MIDNIGHT, [2, 3, 4, 10], 6)]

    def test_a_layout_that_changed_within_a_bin_meets_on_the_union(self) -> None:
        histograms_write(make_histograms([60], [[0, 4, 0, 0]]))
        histograms_write(make_histograms([120], [[0, 8, 0]], bounds=(0.3, 0.7)))
        histograms_write(make_histograms([60], [[1, 1, 1, 1]], ids=2))
        rollups_fill(now=at(600))
        assert table_rows("latency_5m", "counts") == [
            (1, 1, 0, 300, pytest.approx([0, 2, 6, 4, 0, 0])),
            (2, 1, 0, 300, [1, 1, 1, 1]),
        ]

    def test_late_histograms_are_rolled_up_again(self) -> None:
        histograms_write(make_histograms([60], [[1, 0, 0, 0]]))
        rollups_fill(now=at(3600))
        histograms_write(make_histograms([120], [[0, 1, 0, 0]]))
        rollups_fill(now=at(3600))
        assert table_rows("latency_5m", "counts") == [(1, 1, 0, 300, [1, 1, 0, 0])]


@pytest.mark.django_db
@pytest.mark.parametrize("seed", [1, 2, *FRESH_SEEDS])
def test_any_history_in_any_order_rolls_up_to_the_exact_sums(seed: int | None) -> None:
    seed = seed_of(seed)
    rng = np.random.default_rng(seed)
    times = np.unique(rng.integers(-6 * 3600, 20 * 3600, 400)) * 1.0
    watts = rng.integers(1, 100, len(times)) * 1.0
    for part in np.array_split(rng.permutation(len(times)), 6):  # late and early, filled in between
        power(times[part].tolist(), watts[part].tolist())
        rollups_fill(now=at(float(rng.integers(0, 24 * 3600))))
    rollups_fill(now=at(3 * 86400))
    for table, step in (("accelerator_5m", 300), ("accelerator_1h", 3600), ("accelerator_1d", 86400)):
        ends = np.ceil((times + NOON_SECONDS) / step) * step - NOON_SECONDS
        expected = [
            (1, end, chosen.size, chosen.sum(), chosen.min(), chosen.max())
            for end, chosen in ((end, watts[ends == end]) for end in np.unique(ends))
        ]
        assert table_rows(table, *POWER) == expected


@pytest.fixture
def committed(transactional_db: None) -> Iterator[None]:
    yield
    store_clear()


def test_two_fillers_at_once_fill_as_one(committed: None) -> None:
    times = np.arange(0, 6 * 3600, 60.0)
    power(times.tolist(), 2.0)
    barrier = threading.Barrier(2)
    said: list[str] = []

    def fill() -> None:
        barrier.wait()
        said.append(rollups_fill(now=at(86400)))
        connection.close()

    threads = [threading.Thread(target=fill) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rollups_fill(now=at(86400))  # what one left to the other
    assert len(said) == 2
    assert sum(row[2] for row in table_rows("accelerator_5m", "power_watts_count")) == len(times)
    assert sum(row[2] for row in table_rows("accelerator_1h", "power_watts_count")) == len(times)


def test_a_writer_beside_the_filler_loses_nothing(committed: None) -> None:
    done = threading.Event()

    def write() -> None:
        for minute in range(240):
            power([60.0 * minute], 1.0)
        connection.close()
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    step = 0
    while not done.is_set():
        rollups_fill(now=at(min(300 + 60 * step, 14400)))  # right on the writer's heels
        step += 4
    writer.join()
    rollups_fill(now=at(86400))
    assert sum(row[2] for row in table_rows("accelerator_5m", "power_watts_count")) == 240


@pytest.mark.django_db
def test_filling_a_stretch_without_partitions_is_nothing() -> None:
    assert stretch_fill("node", RAW, FIVE_MINUTES, start=0.0, end=300.0) == 0


def test_rollup_rows_have_no_percentiles() -> None:
    assert set(RollupRows.__dataclass_fields__) == {"entity", "ids", "times", "counts", "sums", "lows", "highs", "versions"}

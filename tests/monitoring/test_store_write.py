"""Writing raw samples: idempotent, merged by column, safe beside other writers."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from django.db import connection
from hypothesis import given, note, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from monitoring.catalog.records import Entity
from monitoring.store import Rows, Written, rollups_write, rows_write
from tests.telemetry import NAN, NOON_SECONDS, make_rollups, make_rows, store_clear, table_rows


@pytest.mark.django_db
class TestRows:
    def test_a_new_batch_is_stored(self) -> None:
        rows = make_rows([60, 120], ids=[7, 7], requests_per_second=[1, 2], errors_per_second=[0, NAN])
        assert rows_write(rows, overwrite=True) == Written(written=3)
        assert table_rows("deployment_sample", "requests_per_second", "errors_per_second", "requests_running") == [
            (7, 0, 60, 1.0, 0.0, None),
            (7, 0, 120, 2.0, None, None),
        ]

    @pytest.mark.parametrize("overwrite", [True, False])
    def test_the_same_batch_twice_changes_nothing(self, overwrite: bool) -> None:
        rows = make_rows([60, 120], ids=[1, 2], requests_per_second=[1, 2], errors_per_second=[NAN, 3])
        rows_write(rows, overwrite=overwrite)
        assert rows_write(rows, overwrite=overwrite) == Written(unchanged=3)
        assert len(table_rows("deployment_sample")) == 2

    def test_a_polled_value_replaces_the_stored_one(self) -> None:
        rows_write(make_rows([60], requests_per_second=1), overwrite=True)
        assert rows_write(make_rows([60], requests_per_second=5), overwrite=True) == Written(written=1)
        assert table_rows("deployment_sample", "requests_per_second") == [(1, 0, 60, 5.0)]

    def test_the_first_value_of_a_sender_stands(self) -> None:
        rows_write(make_rows([60], requests_per_second=1), overwrite=False)
        assert rows_write(make_rows([60], requests_per_second=5), overwrite=False) == Written(unchanged=1)
        assert table_rows("deployment_sample", "requests_per_second") == [(1, 0, 60, 1.0)]

    @pytest.mark.parametrize("overwrite", [True, False])
    def test_another_provider_fills_only_its_own_columns(self, overwrite: bool) -> None:
        rows_write(make_rows([60, 120], requests_per_second=[1, 2]), overwrite=overwrite)
        rows_write(make_rows([120, 180], cpu_usage_cores=[8, 9]), overwrite=overwrite)
        assert table_rows("deployment_sample", "requests_per_second", "cpu_usage_cores") == [
            (1, 0, 60, 1.0, None),
            (1, 0, 120, 2.0, 8.0),
            (1, 0, 180, None, 9.0),
        ]

    def test_a_gap_never_erases_a_value(self) -> None:
        rows_write(make_rows([60], requests_per_second=1, errors_per_second=2), overwrite=True)
        rows_write(make_rows([60], requests_per_second=NAN, errors_per_second=3), overwrite=True)
        assert table_rows("deployment_sample", "requests_per_second", "errors_per_second") == [(1, 0, 60, 1.0, 3.0)]

    def test_a_row_without_any_value_is_not_stored(self) -> None:
        assert rows_write(make_rows([60], requests_per_second=NAN), overwrite=True) == Written()
        assert table_rows("deployment_sample") == []

    def test_an_empty_batch_is_nothing(self) -> None:
        assert rows_write(make_rows([], requests_per_second=[]), overwrite=True) == Written()

    def test_a_key_twice_in_one_batch_is_one_row(self) -> None:
        rows = make_rows([60, 60, 60], requests_per_second=[1, 2, NAN], errors_per_second=[NAN, 5, 6])
        assert rows_write(rows, overwrite=True) == Written(written=2, unchanged=2)
        assert table_rows("deployment_sample", "requests_per_second", "errors_per_second") == [(1, 0, 60, 2.0, 6.0)]

    def test_a_key_twice_keeps_the_first_where_the_first_stands(self) -> None:
        rows_write(make_rows([60, 60], requests_per_second=[NAN, 2], errors_per_second=[5, 6]), overwrite=False)
        assert table_rows("deployment_sample", "requests_per_second", "errors_per_second") == [(1, 0, 60, 2.0, 5.0)]

    def test_versions_are_rows_of_their_own(self) -> None:
        rows_write(make_rows([60, 60], versions=[3, 4], requests_per_second=[1, 2]), overwrite=True)
        assert table_rows("deployment_sample", "requests_per_second") == [(1, 3, 60, 1.0), (1, 4, 60, 2.0)]

    def test_midnight_belongs_to_the_partition_of_the_new_day(self) -> None:
        rows_write(make_rows([12 * 3600 - 60, 12 * 3600], requests_per_second=[1, 2]), overwrite=True)
        assert [row[2] for row in table_rows("deployment_sample_20261120")] == [12 * 3600 - 60]
        assert [row[2] for row in table_rows("deployment_sample_20261121")] == [12 * 3600]

    def test_missing_partitions_are_made_for_a_late_batch(self) -> None:
        rows_write(make_rows([-40 * 86400, 0], Entity.NODE, load1=[1, 2]), overwrite=True)
        assert [row[1:] for row in table_rows("node_sample", "load1")] == [(-40 * 86400, 1.0), (0, 2.0)]

    def test_values_and_times_come_back_as_they_went_in(self) -> None:
        rng = np.random.default_rng(3)
        values = rng.lognormal(0, 8, 500).astype(np.float32).astype(np.float64)
        rows_write(make_rows(np.arange(500) * 0.25, Entity.ACCELERATOR, power_watts=values), overwrite=True)
        stored = table_rows("accelerator_sample", "power_watts::float8")
        assert [row[1] for row in stored] == list(np.arange(500) * 0.25)
        assert [row[2] for row in stored] == values.tolist()


@pytest.mark.django_db
class TestRollupRows:
    def test_a_five_minute_row_keeps_count_sum_least_and_greatest(self) -> None:
        assert rollups_write(make_rollups([300], count=4, requests_per_second=2.5)) == Written(written=1)
        parts = [f"requests_per_second_{part}" for part in ("count", "sum", "min", "max")]
        assert table_rows("deployment_5m", *parts, "errors_per_second_count") == [(1, 0, 300, 4.0, 10.0, 2.5, 2.5, None)]

    def test_a_repeated_import_replaces_whole_columns_only(self) -> None:
        rollups_write(make_rollups([300], requests_per_second=1, errors_per_second=1))
        assert rollups_write(make_rollups([300], requests_per_second=3)) == Written(written=1)
        assert rollups_write(make_rollups([300], requests_per_second=3)) == Written(unchanged=1)
        assert table_rows("deployment_5m", "requests_per_second_sum", "errors_per_second_sum") == [(1, 0, 300, 15.0, 5.0)]


MODEL_COLUMNS = ("gpu_utilization_ratio", "power_watts")
batches = st.lists(
    st.tuples(
        st.booleans(),
        st.lists(
            st.tuples(
                st.integers(1, 3),
                st.integers(0, 4),
                st.tuples(*(st.one_of(st.just(NAN), st.integers(0, 3).map(float)) for _ in MODEL_COLUMNS)),
            ),
            max_size=8,
        ),
    ),
    max_size=6,
)


class TestAgainstDict(TestCase):
    @settings(max_examples=80, deadline=None)
    @given(batches)
    def test_any_sequence_of_batches_ends_as_in_a_plain_dict(
        self, sequence: list[tuple[bool, list[tuple[int, int, tuple[float, ...]]]]]
    ) -> None:
        model: dict[tuple[int, float], list[float]] = {}
        for overwrite, rows in sequence:
            note(f"{overwrite=} {rows=}")
            write_model(model, rows, overwrite=overwrite)
            result = rows_write(model_rows(rows), overwrite=overwrite)
            assert result.written + result.unchanged == sum(np.isfinite(value) for _, _, values in rows for value in values)
        expected = [(*key, *(None if np.isnan(value) else value for value in values)) for key, values in sorted(model.items())]
        assert table_rows("accelerator_sample", *MODEL_COLUMNS) == expected


def write_model(model: dict[tuple[int, float], list[float]], rows: list[tuple[int, int, tuple[float, ...]]], *, overwrite: bool) -> None:
    for number, minute, values in rows:
        if np.isnan(values).all():
            continue
        stored = model.setdefault((number, minute * 60.0), [NAN] * len(values))
        for position, value in enumerate(values):
            if np.isfinite(value) and (overwrite or np.isnan(stored[position])):
                stored[position] = value


def model_rows(rows: list[tuple[int, int, tuple[float, ...]]]) -> Rows:
    values = {name: [row[2][position] for row in rows] for position, name in enumerate(MODEL_COLUMNS)}
    return make_rows([row[1] * 60.0 for row in rows], Entity.ACCELERATOR, ids=[row[0] for row in rows], **values)


@pytest.fixture
def committed(transactional_db: None) -> Iterator[None]:
    yield
    store_clear()


def test_two_writers_of_one_batch_double_nothing(committed: None) -> None:
    rows = make_rows(np.arange(2000) * 1.0, Entity.ACCELERATOR, power_watts=5)
    barrier = threading.Barrier(2)
    results: list[Written] = []

    def write() -> None:
        barrier.wait()
        results.append(rows_write(rows, overwrite=True))
        connection.close()

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(table_rows("accelerator_sample")) == 2000
    assert [result.written + result.unchanged for result in results] == [2000, 2000]


def test_a_writer_killed_in_the_middle_of_its_copy_leaves_nothing(committed: None) -> None:
    rows_write(make_rows([0], Entity.ACCELERATOR, ids=999, power_watts=1), overwrite=True)
    program = textwrap.dedent(f"""
        import os, sys, django
        django.setup()
        import numpy as np
        from django.db import connection, transaction
        from monitoring.store.copy import copy_body
        connection.settings_dict["NAME"] = {connection.settings_dict["NAME"]!r}
        body = copy_body([("integer", np.arange(1, 50001)), ("timestamptz", np.full(50000, {NOON_SECONDS})), ("real", np.ones(50000))])
        with transaction.atomic(), connection.cursor() as cursor:
            with cursor.copy("COPY accelerator_sample (accelerator_id, time, power_watts) FROM STDIN (FORMAT BINARY)") as copy:
                copy.write(body[: len(body) // 2])
                print("half", flush=True)
                sys.stdin.read()
    """)
    writer = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.getcwd()}
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"half\n"
    os.kill(writer.pid, signal.SIGKILL)
    writer.communicate()
    assert [row[0] for row in table_rows("accelerator_sample")] == [999]
    # Nor does what it left behind stop the next writer.
    assert rows_write(make_rows([0], Entity.ACCELERATOR, ids=5, power_watts=1), overwrite=True) == Written(written=1)

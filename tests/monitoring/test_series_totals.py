"""Numbers over a window, the newest values, coverage."""

import numpy as np
import pytest
from pytest_django import DjangoAssertNumQueries

from monitoring.catalog.records import Entity
from monitoring.rollups import rollups_fill
from monitoring.series import Latest, coverage_load, latest_load, means_load, newest_load, totals_load, totals_load_windows
from monitoring.store import rollups_write, rows_write
from tests.telemetry import FRESH_SEEDS, NAN, NOON, NOON_SECONDS, at, make_rollups, make_rows, seed_of

HOUR = 3600.0
pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("seed", [1, 2, *FRESH_SEEDS])
def test_any_window_gives_the_exact_mean_least_and_greatest(seed: int | None) -> None:
    seed = seed_of(seed)
    rng = np.random.default_rng(seed)
    times = np.arange(1, 30 * 60) * 60.0
    values = rng.integers(1, 1000, len(times)) * 1.0
    rows_write(make_rows(times, Entity.ACCELERATOR, power_watts=values), overwrite=True)
    for filled in (0, 20.3, 60):
        rollups_fill(now=at(filled * HOUR))
        for _ in range(5):
            start, end = np.sort(rng.choice(times, 2, replace=False))
            inside = values[(times > start) & (times <= end)]
            found = totals_load(Entity.ACCELERATOR, [1], ["power_watts"], start=at(start), end=at(end))[1]["power_watts"]
            assert (found.low, found.high, found.count) == (inside.min(), inside.max(), len(inside))
            assert found.mean == pytest.approx(inside.mean(), rel=1e-5)


class TestTotals:
    def test_versions_add_up_and_ratios_are_quotients(self) -> None:
        rows_write(make_rows([60, 60, 120], versions=[1, 2, 2], requests_per_second=[1, 3, 6], errors_per_second=[1, 0, 0]), overwrite=True)
        found = totals_load(Entity.DEPLOYMENT, [1], ["requests_per_second", "error_ratio"], start=at(0), end=at(HOUR))[1]
        assert found["requests_per_second"].mean == pytest.approx(5)
        assert found["error_ratio"].mean == pytest.approx(0.1)

    def test_means_alone_are_the_same_means(self) -> None:
        measured = {"requests_per_second": [1, 3, 6], "errors_per_second": [1, 0, 0], "kv_cache_usage_ratio": [0.2, 0.6, 0.4]}
        rows_write(make_rows([60, 60, 120], versions=[1, 2, 2], **measured), overwrite=True)
        rollups_write(make_rollups([300, 600], requests_per_second=[1, 3]))
        names = ["requests_per_second", "error_ratio", "kv_cache_usage_ratio"]
        whole, means = (totals_load(Entity.DEPLOYMENT, [1], names, start=at(0), end=at(HOUR), means_only=only)[1] for only in (False, True))
        for name in names:
            assert (means[name].mean, means[name].count) == (whole[name].mean, whole[name].count) and whole[name].count > 0
        assert np.isnan(means["requests_per_second"].high) and np.isfinite(whole["requests_per_second"].high)

    def test_of_thousands_means_come_in_the_order_asked_for(self) -> None:
        rows_write(make_rows([60, 60, 120], Entity.ACCELERATOR, ids=[1, 3, 3], power_watts=[100, 300, 500]), overwrite=True)
        found = means_load(Entity.ACCELERATOR, [3, 2, 1], ["power_watts", "gpu_utilization_ratio"], start=at(0), end=at(HOUR))
        np.testing.assert_allclose(found["power_watts"], [400, NAN, 100])
        assert np.isnan(found["gpu_utilization_ratio"]).all()
        assert means_load(Entity.ACCELERATOR, [], ["power_watts"], start=at(0), end=at(HOUR))["power_watts"].size == 0

    def test_several_windows_in_one_query_are_each_the_same_as_alone(self, django_assert_num_queries: DjangoAssertNumQueries) -> None:
        rows_write(make_rows(range(60, 7200, 60), versions=1, requests_per_second=np.arange(119), errors_per_second=2), overwrite=True)
        rollups_fill(now=at(2 * HOUR))
        windows = [
            (["requests_per_second"], at(0), at(HOUR)),
            (["error_ratio"], at(HOUR), at(2 * HOUR)),
            (["errors_per_second"], at(60), at(60)),
        ]
        alone = [totals_load(Entity.DEPLOYMENT, [1], columns, start=start, end=end) for columns, start, end in windows]
        for _ in range(4):  # by COPY, then prepared
            with django_assert_num_queries(2):  # the watermarks, as this is inside a transaction, and the rows
                found = totals_load_windows(Entity.DEPLOYMENT, [1], windows)
            for (columns, _, _), own, same in zip(windows, found, alone, strict=True):
                told, wanted = own[1][columns[0]], same[1][columns[0]]
                np.testing.assert_array_equal([told.count, told.mean], [wanted.count, wanted.mean])
            assert [own[1][columns[0]].count > 0 for (columns, _, _), own in zip(windows, found, strict=True)] == [True, True, False]

    def test_of_versions_side_by_side_the_fullest_cache_counts(self) -> None:
        rows = make_rows([60, 60, 120], versions=[1, 2, 2], kv_cache_usage_ratio=[0.2, 0.6, 0.4])
        rows_write(rows, overwrite=True)
        found = totals_load(Entity.DEPLOYMENT, [1], ["kv_cache_usage_ratio"], start=at(0), end=at(HOUR))[1]["kv_cache_usage_ratio"]
        assert (found.mean, found.low, found.high) == (pytest.approx(0.5), pytest.approx(0.2), pytest.approx(0.6))

    def test_an_entity_without_samples_says_so(self) -> None:
        found = totals_load(Entity.DEPLOYMENT, [4], ["requests_per_second"], start=at(0), end=at(HOUR))[4]["requests_per_second"]
        assert found.count == 0
        assert np.isnan(found.mean)

    def test_imported_rows_count_before_the_first_fill_too(self) -> None:
        rollups_write(make_rollups([300, 600], requests_per_second=[1, 3]))
        rows_write(make_rows([360, 420], requests_per_second=[9, 9]), overwrite=True)
        found = totals_load(Entity.DEPLOYMENT, [1], ["requests_per_second"], start=at(0), end=at(HOUR))[1]["requests_per_second"]
        assert (found.count, found.high) == (7, 9)

    def test_two_queries_however_many(self, django_assert_num_queries: DjangoAssertNumQueries) -> None:
        rows_write(make_rows([60] * 100, ids=range(1, 101), requests_per_second=1), overwrite=True)
        rollups_fill(now=at(HOUR))
        with django_assert_num_queries(2):
            totals_load(Entity.DEPLOYMENT, range(1, 101), ["requests_per_second"], start=at(-30 * HOUR), end=at(HOUR))


class TestLatest:
    def test_each_column_has_its_newest_value(self) -> None:
        rows_write(make_rows([-120, -60], requests_running=[1, 2], requests_waiting=[7, NAN]), overwrite=True)
        assert latest_load(Entity.DEPLOYMENT, [1, 2], ["requests_running", "requests_waiting", "replicas_ready"], now=NOON) == {
            1: {"requests_running": Latest(2, NOON_SECONDS - 60), "requests_waiting": Latest(7, NOON_SECONDS - 120)},
            2: {},
        }

    def test_what_is_too_old_is_left_out(self) -> None:
        rows_write(make_rows([-601], requests_running=1), overwrite=True)
        assert latest_load(Entity.DEPLOYMENT, [1], ["requests_running"], now=NOON) == {1: {}}

    def test_versions_of_the_newest_instant_add_up(self) -> None:
        rows_write(make_rows([-60, -60], versions=[1, 2], requests_running=[1, 2]), overwrite=True)
        assert latest_load(Entity.DEPLOYMENT, [1], ["requests_running"], now=NOON)[1]["requests_running"].value == 3


class TestCoverage:
    def test_it_counts_entities_by_column(self) -> None:
        rows_write(
            make_rows([-60, -60, -120, -900], Entity.NODE, ids=[1, 2, 1, 3], load1=1, memory_used_bytes=[1, NAN, 1, 1]), overwrite=True
        )
        coverage = coverage_load(Entity.NODE, now=NOON)
        assert (coverage["load1"], coverage["memory_used_bytes"], coverage["disk_used_bytes"]) == (2, 1, 0)

    def test_the_newest_row_is_known(self) -> None:
        assert newest_load(Entity.NODE, now=NOON) is None
        rows_write(make_rows([-900, -60], Entity.NODE, load1=1), overwrite=True)
        assert newest_load(Entity.NODE, now=NOON) == at(-60)

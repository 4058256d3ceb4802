"""The validator: each sample is judged alone."""

from dataclasses import replace

import numpy as np
import pytest

from monitoring.catalog.records import Entity
from monitoring.ingest import histograms_ingest, rollups_ingest, rows_ingest
from monitoring.models import DirtyWindow, FillState, setting_set
from monitoring.store import Written
from tests.telemetry import NAN, NOON, at, make_histograms, make_rollups, make_rows, table_rows

pytestmark = pytest.mark.django_db
INF = float("inf")


class TestRows:
    def test_good_samples_are_stored(self) -> None:
        assert rows_ingest(make_rows([-60, 0], requests_per_second=[1, NAN]), overwrite=True, now=NOON) == Written(written=1)

    def test_a_bad_sample_goes_alone(self) -> None:
        rows = make_rows([-60], requests_per_second=-1, kv_cache_usage_ratio=1.5, requests_running=3, errors_per_second=INF)
        result = rows_ingest(rows, overwrite=True, now=NOON)
        assert (result.written, result.rejected) == (1, 3)
        assert table_rows("deployment_sample", "requests_running", "requests_per_second") == [(1, 0, -60, 3.0, None)]

    def test_each_reason_is_named_in_words(self) -> None:
        rows = make_rows([-60, -120], kv_cache_usage_ratio=[1.5, 2.5])
        result = rows_ingest(rows, overwrite=True, now=NOON)
        assert result.errors == ("kv_cache_usage_ratio needs to be 0 to 1.01 ratio, got 1.5 (first: 2026-11-20T11:59:00+00:00): 2 refused",)

    def test_at_most_ten_errors_are_shown(self) -> None:
        columns = {f"made_up_{number}": 1.0 for number in range(20)}
        result = rows_ingest(make_rows([-60], **columns), overwrite=True, now=NOON)
        assert (result.rejected, len(result.errors)) == (20, 10)
        assert result.errors[0] == "deployment has no column 'made_up_0': 1 refused"

    @pytest.mark.parametrize(
        ("seconds", "reason"),
        [
            (601, "more than 600 s ahead of our clock"),
            (-14 * 86400, "older than the 14 days that are kept"),
            (NAN, "times need to be finite"),
            (INF, "times need to be finite"),
        ],
    )
    def test_a_sample_outside_the_time_that_is_kept_goes_alone(self, seconds: float, reason: str) -> None:
        result = rows_ingest(make_rows([seconds, 0], requests_per_second=1, errors_per_second=1), overwrite=True, now=NOON)
        assert (result.written, result.rejected) == (2, 2)
        assert result.errors[0].startswith(reason)

    @pytest.mark.parametrize("number", [0, -5, 2**31])
    def test_an_impossible_id_is_refused(self, number: int) -> None:
        result = rows_ingest(make_rows([0], ids=number, requests_per_second=1), overwrite=True, now=NOON)
        assert (result.written, result.rejected) == (0, 1)

    def test_frost_is_possible_and_negative_power_is_not(self) -> None:
        rows = make_rows([0], Entity.ACCELERATOR, temperature_celsius=-5, power_watts=-5)
        assert rows_ingest(rows, overwrite=False, now=NOON).written == 1
        assert table_rows("accelerator_sample", "temperature_celsius") == [(1, 0, -5.0)]

    def test_what_does_not_fit_a_real_is_refused(self) -> None:
        assert rows_ingest(make_rows([0], requests_per_second=1e39), overwrite=True, now=NOON).rejected == 1

    def test_retention_is_a_setting(self) -> None:
        setting_set("retention_raw_days", 2, by="test", now=NOON)
        assert rows_ingest(make_rows([-3 * 86400], requests_per_second=1), overwrite=True, now=NOON).rejected == 1

    def test_an_empty_batch_is_nothing(self) -> None:
        assert rows_ingest(make_rows([], requests_per_second=[]), overwrite=True, now=NOON) == Written()


class TestRollups:
    def test_good_rows_are_stored(self) -> None:
        assert rollups_ingest(make_rollups([-300, 0], requests_per_second=2), now=NOON) == Written(written=2)

    def test_five_minute_rows_may_be_older_than_raw_ones(self) -> None:
        assert rollups_ingest(make_rollups([-28 * 86400], requests_per_second=2), now=NOON).written == 1
        assert rollups_ingest(make_rollups([-90 * 86400], requests_per_second=2), now=NOON).rejected == 1

    def test_a_row_off_the_grid_is_refused(self) -> None:
        result = rollups_ingest(make_rollups([-60, -300], requests_per_second=2), now=NOON)
        assert (result.written, result.rejected) == (1, 1)
        assert "grid of 300 s" in result.errors[0]

    def test_a_mean_outside_least_and_greatest_is_refused(self) -> None:
        rows = make_rollups([-300], requests_per_second=2, errors_per_second=1)
        broken = replace(rows, lows={**rows.lows, "requests_per_second": np.array([3.0])})
        result = rollups_ingest(broken, now=NOON)
        assert (result.written, result.rejected) == (1, 1)
        assert "low <= mean <= high" in result.errors[0]

    def test_a_sum_without_a_count_is_refused(self) -> None:
        rows = make_rollups([-300], requests_per_second=2)
        assert rollups_ingest(replace(rows, counts={"requests_per_second": np.array([0.0])}), now=NOON).rejected == 1

    def test_a_gap_is_no_error(self) -> None:
        assert rollups_ingest(make_rollups([-300, 0], requests_per_second=[NAN, 2]), now=NOON) == Written(written=1)


class TestHistograms:
    def test_good_rows_are_stored(self) -> None:
        assert histograms_ingest(make_histograms([0], [[1, 2, 3, 4]]), now=NOON) == Written(written=1)

    @pytest.mark.parametrize("counts", [[-1, 0, 0, 0], [NAN, 0, 0, 0], [INF, 0, 0, 0]])
    def test_a_bad_bucket_spoils_its_row_only(self, counts: list[float]) -> None:
        result = histograms_ingest(make_histograms([0, -60], [counts, [1, 1, 1, 1]]), now=NOON)
        assert (result.written, result.rejected) == (1, 1)

    @pytest.mark.parametrize("bounds", [(), (0.5, 0.1, 1.0), (0.1, 0.5, INF), (0.0, 0.1, 0.5)])
    def test_a_layout_that_is_none_is_refused(self, bounds: tuple[float, ...]) -> None:
        result = histograms_ingest(make_histograms([0], [[1] * (len(bounds) + 1)], bounds=bounds), now=NOON)
        assert (result.written, result.rejected) == (0, 1)

    def test_too_few_buckets_are_refused_with_both_shapes(self) -> None:
        rows = make_histograms([0], [[1, 2, 3, 4]])
        result = histograms_ingest(replace(rows, counts=rows.counts[:, :3]), now=NOON)
        assert "(1, 4)" in result.errors[0]
        assert "(1, 3)" in result.errors[0]

    def test_history_may_be_older_than_raw_samples(self) -> None:
        rows = make_histograms([-28 * 86400], [[1, 2, 3, 4]])
        assert histograms_ingest(rows, now=NOON).rejected == 1
        assert histograms_ingest(rows, table="5m", now=NOON).written == 1


class TestLate:
    def mark(self, seconds: float) -> None:
        FillState.objects.create(table="deployment_5m", end_time=at(seconds))

    def windows(self) -> list[tuple[str, float, float, list[int] | None]]:
        found = DirtyWindow.objects.values_list("entity", "start_at", "end_at", "ids").order_by("start_at")
        return [(entity, (start - NOON).total_seconds(), (end - NOON).total_seconds(), ids) for entity, start, end, ids in found]

    def test_samples_behind_the_watermark_make_their_window_dirty(self) -> None:
        self.mark(-300)
        rows_ingest(make_rows([-700, -299], ids=[4, 5], requests_per_second=1), overwrite=True, now=NOON)
        assert self.windows() == [("deployment", -900, -600, [4])]

    def test_samples_ahead_of_it_do_not(self) -> None:
        self.mark(-300)
        rows_ingest(make_rows([-299], requests_per_second=1), overwrite=True, now=NOON)
        assert self.windows() == []

    def test_stretches_far_apart_are_windows_of_their_own(self) -> None:
        self.mark(0)
        rows_ingest(make_rows([-86400, -86000, -600], requests_per_second=1), overwrite=True, now=NOON)
        assert self.windows() == [("deployment", -86700, -85800, [1]), ("deployment", -900, -600, [1])]

    def test_before_the_first_fill_nothing_is_late(self) -> None:
        rows_ingest(make_rows([-700], requests_per_second=1), overwrite=True, now=NOON)
        assert self.windows() == []

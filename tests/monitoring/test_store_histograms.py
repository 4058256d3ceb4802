"""Histograms in the store, and the arithmetic of merging them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.catalog.records import Latency
from monitoring.store import Written, histograms_write
from monitoring.store.histograms import histograms_fetch, histograms_fold
from monitoring.store.layouts import Histogram, Quantile, bounds_union, counts_spread, histograms_merge, quantiles
from tests.telemetry import NOON_SECONDS, make_histograms, table_rows

BOUNDS = (0.1, 0.5, 1.0)
STORED = "SELECT deployment_id, version_id, latency, time, 0 AS level, layout_id, counts, sum_seconds FROM latency_sample"


def histogram(counts: list[float], bounds: tuple[float, ...] = BOUNDS, seconds: float = math.nan) -> Histogram:
    return Histogram(bounds, np.array(counts, dtype=np.float64), seconds)


class TestQuantile:
    def test_it_is_linear_within_its_bucket(self) -> None:
        assert histogram([0, 100, 0, 0]).quantile(0.25) == Quantile(pytest.approx(0.2), False)

    def test_it_takes_the_bucket_that_reaches_the_rank(self) -> None:
        assert histogram([50, 0, 50, 0]).quantile(0.5).seconds == pytest.approx(0.1)
        assert histogram([50, 0, 50, 0]).quantile(0.75).seconds == pytest.approx(0.75)

    def test_the_first_bucket_is_flagged(self) -> None:
        assert histogram([100, 0, 0, 0]).quantile(0.5) == Quantile(pytest.approx(0.05), True)

    def test_beyond_the_last_bound_the_last_bound_is_named_and_flagged(self) -> None:
        assert histogram([0, 1, 0, 99]).quantile(0.95) == Quantile(1.0, True)

    def test_nothing_counted_has_no_quantile(self) -> None:
        empty = histogram([0, 0, 0, 0]).quantile(0.5)
        assert math.isnan(empty.seconds)
        assert not empty.limited

    def test_a_share_outside_0_to_1_is_refused(self) -> None:
        with pytest.raises(ValueError, match="needs q from 0 to 1, got 95"):
            histogram([1, 1, 1, 1]).quantile(95)

    def test_it_takes_counts_and_bounds_only_so_no_percentile_can_be_averaged(self) -> None:
        with pytest.raises(ValueError, match="taken from bucket counts"):
            quantiles(BOUNDS, np.array([[0.2, 0.3]]), 0.5)


class TestMerge:
    def test_counts_and_sums_of_one_layout_add_up(self) -> None:
        merged = histograms_merge([histogram([1, 2, 3, 4], seconds=5), histogram([1, 1, 1, 1], seconds=2)])
        assert (merged.counts.tolist(), merged.sum_seconds, merged.count) == ([2, 3, 4, 5], 7, 14)
        assert merged.mean == pytest.approx(0.5)

    def test_nothing_merges_to_nothing(self) -> None:
        assert histograms_merge([]).count == 0
        assert math.isnan(histograms_merge([]).quantile(0.5).seconds)

    def test_different_layouts_meet_on_the_union_of_their_bounds(self) -> None:
        merged = histograms_merge([histogram([0, 4, 0, 0]), histogram([0, 8, 0], (0.3, 0.7))])
        assert merged.bounds == (0.1, 0.3, 0.5, 0.7, 1.0)
        assert merged.counts == pytest.approx([0, 2, 2 + 4, 4, 0, 0])

    def test_an_unknown_sum_stays_unknown(self) -> None:
        assert math.isnan(histograms_merge([histogram([1, 0, 0, 0], seconds=1), histogram([1, 0, 0, 0])]).mean)

    def test_a_merged_quantile_outside_what_every_layout_resolves_is_flagged(self) -> None:
        merged = histograms_merge([histogram([0, 1, 0, 0]), histogram([100, 0, 0], (0.4, 0.7))])
        assert merged.quantile(0.5).seconds < 0.4
        assert merged.quantile(0.5).limited

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.integers(0, 1000), min_size=4, max_size=4), st.floats(0.01, 0.99))
    def test_spreading_onto_a_finer_layout_moves_no_quantile(self, counts: list[float], q: float) -> None:
        wider = bounds_union([BOUNDS, (0.05, 0.3, 0.8, 3.0)])
        before = histogram(counts)
        after = Histogram(wider, counts_spread(before.counts[None, :], BOUNDS, wider)[0], math.nan, (0.1, 1.0))
        assert after.count == pytest.approx(before.count)
        if before.count and not before.quantile(q).limited:
            assert after.quantile(q).seconds == pytest.approx(before.quantile(q).seconds)


@pytest.mark.django_db
class TestStored:
    def test_a_repeated_write_changes_nothing(self) -> None:
        rows = make_histograms([60, 120], [[1, 2, 3, 4], [0, 0, 0, 1]], sums=[2.5, math.nan])
        assert histograms_write(rows) == Written(written=2)
        assert histograms_write(rows) == Written(unchanged=2)
        assert table_rows("latency_sample", "counts", "sum_seconds") == [
            (1, 1, 0, 60, [1, 2, 3, 4], 2.5),
            (1, 1, 0, 120, [0, 0, 0, 1], None),
        ]

    def test_a_polled_row_replaces_the_stored_one(self) -> None:
        histograms_write(make_histograms([60], [[1, 2, 3, 4]]))
        assert histograms_write(make_histograms([60], [[9, 9]], bounds=(2.0,))) == Written(written=1)
        assert table_rows("latency_sample", "counts") == [(1, 1, 0, 60, [9, 9])]

    def test_five_minute_histograms_have_their_own_table(self) -> None:
        histograms_write(make_histograms([300], [[1, 2, 3, 4]]), table="5m")
        assert len(table_rows("latency_5m")) == 1
        assert table_rows("latency_sample") == []

    def test_of_a_key_given_twice_the_last_counts(self) -> None:
        assert histograms_write(make_histograms([60, 60], [[1, 0, 0, 0], [2, 0, 0, 0]])) == Written(1, 1)
        assert table_rows("latency_sample", "counts") == [(1, 1, 0, 60, [2, 0, 0, 0])]

    def test_rows_of_several_layouts_come_back_in_one_query_and_fold_by_group(self) -> None:
        histograms_write(make_histograms([60, 120], [[1, 2, 3, 4], [1, 1, 1, 1]], ids=[1, 2]))
        histograms_write(make_histograms([180], [[5, 6]], bounds=(2.0,), ids=1, latency=Latency.QUEUE_TIME))
        (stored,) = histograms_fetch((STORED,))
        folded = histograms_fold(stored, stored.ids)
        found = {
            int(group): (part.bounds, counts.tolist()) for part in folded for group, counts in zip(part.groups, part.counts, strict=True)
        }
        assert found[2] == (BOUNDS, [1, 1, 1, 1])
        assert found[1][0] == (0.1, 0.5, 1.0, 2.0)
        assert sum(found[1][1]) == pytest.approx(21)
        assert sorted((stored.times - NOON_SECONDS).tolist()) == [60, 120, 180]

    def test_nothing_stored_is_an_empty_answer(self) -> None:
        (stored,) = histograms_fetch((STORED,))
        assert (len(stored), histograms_fold(stored, stored.ids)) == (0, [])

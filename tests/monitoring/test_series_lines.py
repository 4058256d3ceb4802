"""The read door, quantities over time: tables, steps, gaps, versions, ratios, what is not rolled up yet."""

from collections.abc import Sequence

import numpy as np
import pytest
from django.db import connection
from pytest_django import DjangoAssertNumQueries

from monitoring.catalog.records import Entity
from monitoring.rollups import rollups_fill
from monitoring.series import Line, Lines, lines_load, lines_load_many, lines_load_total, lines_load_windows
from monitoring.store import rollups_write, rows_write
from monitoring.store.copy import TIMES_ASKED
from tests.telemetry import NAN, NOON_SECONDS, at, make_rollups, make_rows

HOUR = 3600.0


def minutes(first: int, last: int) -> list[float]:
    return [60.0 * minute for minute in range(first, last + 1)]


def load(
    start: float, end: float, columns: Sequence[str] = ("requests_per_second",), *, points: int = 500, versions: Sequence[int] | None = None
) -> Lines:
    return lines_load(Entity.DEPLOYMENT, 1, columns, start=at(start), end=at(end), points=points, versions=versions)


def seen(line: Line) -> list[tuple[float, float]]:
    """(seconds after noon, mean) of the steps that are no gap."""
    return [(float(time) - NOON_SECONDS, float(mean)) for time, mean in zip(line.times, line.mean, strict=True) if np.isfinite(mean)]


@pytest.mark.django_db
class TestOne:
    def test_raw_samples_come_as_they_are_with_gaps(self) -> None:
        rows_write(make_rows([60, 120, 240], requests_per_second=[1, 2, 4]), overwrite=True)
        lines = load(0, 300)
        line = lines.columns["requests_per_second"]
        assert (lines.table, lines.step, lines.as_of) == ("sample", 60, NOON_SECONDS + 240)
        assert (line.times - NOON_SECONDS).tolist() == [60, 120, 180, 240, 300]
        assert np.array_equal(line.mean, [1, 2, NAN, 4, NAN], equal_nan=True)
        assert line.unit == "req/s"

    def test_nothing_stored_is_all_gaps(self) -> None:
        lines = load(0, HOUR)
        assert lines.as_of is None
        assert np.isnan(lines.columns["requests_per_second"].mean).all()

    def test_another_entity_is_not_read(self) -> None:
        rows_write(make_rows([60], ids=2, requests_per_second=1), overwrite=True)
        assert seen(load(0, 300).columns["requests_per_second"]) == []

    def test_an_unknown_column_is_named(self) -> None:
        with pytest.raises(KeyError, match="deployment has no column or ratio 'power_watts'"):
            load(0, 300, ["power_watts"])

    def test_the_window_is_open_at_its_start_and_closed_at_its_end(self) -> None:
        rows_write(make_rows([0, 60, 120, 180], requests_per_second=[1, 2, 3, 4]), overwrite=True)
        assert seen(load(0, 120).columns["requests_per_second"]) == [(60, 2), (120, 3)]

    @pytest.mark.parametrize("points", [1, 7, 60, 199, 500])
    @pytest.mark.parametrize("hours", [0.3, 5, 31, 700])
    def test_there_are_never_more_points_than_asked(self, points: int, hours: float) -> None:
        rows_write(make_rows(minutes(1, 200), requests_per_second=1), overwrite=True)
        rollups_fill(now=at(4 * HOUR))
        lines = load(-17 - hours * HOUR, 3 * HOUR + 41, points=points)
        assert len(lines.columns["requests_per_second"].mean) <= points

    def test_downsampling_keeps_least_and_greatest(self) -> None:
        rows_write(
            make_rows(minutes(1, 60), requests_per_second=[100 if m == 30 else 1 if m == 31 else 10 for m in range(1, 61)]), overwrite=True
        )
        line = load(0, HOUR, points=1).columns["requests_per_second"]
        assert (line.low.tolist(), line.high.tolist()) == ([1], [100])
        assert line.mean[0] == pytest.approx((100 + 1 + 58 * 10) / 60)

    @pytest.mark.parametrize(
        ("hours", "points", "table"),
        [(24, 500, "sample"), (24, 288, "5m"), (240, 1000, "5m"), (720, 1000, "15m"), (720, 720, "1h"), (24 * 365, 365, "1d")],
    )
    def test_it_reads_the_coarsest_table_that_answers(self, hours: float, points: int, table: str) -> None:
        rows_write(make_rows(minutes(1, 60), requests_per_second=1), overwrite=True)
        rollups_fill(now=at(48 * HOUR))
        assert load(24 * HOUR - hours * HOUR, 24 * HOUR, points=points).table == table

    def test_every_level_tells_the_same(self) -> None:
        values = np.random.default_rng(5).integers(1, 50, 1440) * 1.0
        rows_write(make_rows([(minute - 720) * 60.0 for minute in range(1, 1441)], requests_per_second=values), overwrite=True)
        before = load(-12 * HOUR, 12 * HOUR, points=24).columns["requests_per_second"]
        rollups_fill(now=at(48 * HOUR))
        after = load(-12 * HOUR, 12 * HOUR, points=24).columns["requests_per_second"]
        hours = values.reshape(24, 60)
        for line in (before, after):
            assert line.mean == pytest.approx(hours.mean(axis=1))
            assert line.low.tolist() == hours.min(axis=1).tolist()
            assert line.high.tolist() == hours.max(axis=1).tolist()

    def test_what_is_not_rolled_up_yet_is_read_from_the_finer_tables(self) -> None:
        rows_write(make_rows(minutes(1, 150), requests_per_second=[float(m) for m in range(1, 151)]), overwrite=True)
        rollups_fill(now=at(2.2 * HOUR))  # hours to 14:00, five minutes to 14:05, then raw
        line = load(-21 * HOUR, 3 * HOUR, points=24).columns["requests_per_second"]
        assert seen(line) == [(HOUR, 30.5), (2 * HOUR, 90.5), (3 * HOUR, pytest.approx(135.5))]

    def test_imported_history_fills_what_has_no_raw_samples(self) -> None:
        rollups_write(make_rollups([300, 600, 900], requests_per_second=[1, 2, 3]))
        rows_write(make_rows([720, 780], requests_per_second=[30, 40]), overwrite=True)
        lines = load(0, 900)
        assert lines.step == 60
        expected = [(60.0 * m, 1.0) for m in range(1, 6)] + [(60.0 * m, 2.0) for m in range(6, 11)] + [(720, 30), (780, 40)]
        assert seen(lines.columns["requests_per_second"]) == expected

    def test_imported_history_alone_has_its_own_step(self) -> None:
        rollups_write(make_rollups([300, 600], requests_per_second=[1, 2]))
        lines = load(0, 900)
        assert (lines.table, lines.step) == ("5m", 300)
        assert seen(lines.columns["requests_per_second"]) == [(300, 1), (600, 2)]

    @pytest.mark.parametrize("points", [7, 33, 96, 250])
    def test_added_up_inside_the_database_it_tells_the_same(self, points: int) -> None:
        rng = np.random.default_rng(points)
        times = np.unique(rng.integers(-1440, 1440, 1500)) * 60.0
        times = times[(times < -30000) | (times > -9000)]  # a long gap
        watts = rng.random(len(times))
        rows_write(make_rows(times, Entity.ACCELERATOR, power_watts=watts), overwrite=True)
        rows_write(make_rows(times, requests_per_second=watts), overwrite=True)  # deployments are added up in numpy, for their versions
        rollups_fill(now=at(20 * HOUR))
        window = {"start": at(-24 * HOUR), "end": at(24 * HOUR), "points": points}
        inside = lines_load(Entity.ACCELERATOR, 1, ["power_watts"], **window).columns["power_watts"]  # type: ignore[arg-type]
        outside = lines_load(Entity.DEPLOYMENT, 1, ["requests_per_second"], **window).columns["requests_per_second"]  # type: ignore[arg-type]
        for name in ("times", "mean", "low", "high"):
            assert getattr(inside, name) == pytest.approx(getattr(outside, name), rel=1e-5, nan_ok=True), name

    def test_several_windows_in_one_query_are_each_the_same_as_alone(self) -> None:
        rows_write(make_rows(minutes(1, 60), requests_per_second=np.arange(60)), overwrite=True)
        rollups_write(make_rollups([-300, -600], requests_per_second=[7, 9]))  # an import: the first window has gaps that it fills
        windows = [(at(-900), at(0)), (at(0), at(HOUR)), (at(10 * HOUR), at(11 * HOUR))]
        for _ in range(4):  # by COPY, then prepared
            found = lines_load_windows(Entity.DEPLOYMENT, 1, ["requests_per_second"], windows, points=15)
            for (start, end), lines in zip(windows, found, strict=True):
                alone = lines_load(Entity.DEPLOYMENT, 1, ["requests_per_second"], start=start, end=end, points=15)
                assert (lines.step, lines.table, lines.as_of) == (alone.step, alone.table, alone.as_of)
                np.testing.assert_array_equal(lines.columns["requests_per_second"].mean, alone.columns["requests_per_second"].mean)
            assert [bool(np.isfinite(lines.columns["requests_per_second"].mean).any()) for lines in found] == [True, True, False]

    def test_from_the_third_time_it_is_planned_once_for_every_entity_and_window(
        self, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        rows_write(make_rows(minutes(1, 60), Entity.ACCELERATOR, ids=[1, 2] * 30, power_watts=[1, 2] * 30), overwrite=True)
        rollups_fill(now=at(20 * HOUR))
        with connection.cursor() as cursor:
            cursor.execute("DEALLOCATE ALL")
            TIMES_ASKED.clear()
            for number, late in ((1, 0), (2, 3), (1, 6), (2, 0), (1, 3)):
                window = {"start": at((late - 39) * HOUR), "end": at((late + 6) * HOUR), "points": 60}
                with django_assert_num_queries(3):  # the watermarks, as this is inside a transaction; the rows; coarser ones for the gaps
                    line = lines_load(Entity.ACCELERATOR, number, ["power_watts"], **window).columns["power_watts"]  # type: ignore[arg-type]
                assert np.nanmean(line.mean) == number
            cursor.execute("SELECT generic_plans, custom_plans FROM pg_prepared_statements")
            assert cursor.fetchall() == [(3, 0), (3, 0)]  # the rows, and coarser ones

    def test_as_of_never_claims_more_than_was_seen(self) -> None:
        rows_write(make_rows(minutes(1, 60), Entity.ACCELERATOR, power_watts=1), overwrite=True)
        rollups_fill(now=at(5 * HOUR))
        lines = lines_load(Entity.ACCELERATOR, 1, ["power_watts"], start=at(-40 * HOUR), end=at(4 * HOUR), points=60)
        assert lines.as_of is not None
        assert 0 <= NOON_SECONDS + HOUR - lines.as_of <= lines.step

    def test_two_queries_whatever_the_window_and_a_third_for_gaps(self, django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
        rows_write(make_rows(minutes(1, 60), requests_per_second=1, errors_per_second=1), overwrite=True)
        rollups_fill(now=at(2 * HOUR))
        for hours in (1, 24, 720):
            with django_assert_max_num_queries(3):
                load(HOUR - hours * HOUR, HOUR, ["requests_per_second", "error_ratio", "kv_cache_usage_ratio"])


@pytest.mark.django_db
class TestVersions:
    def test_versions_that_serve_together_add_up(self) -> None:
        rows_write(
            make_rows([60, 60, 120], versions=[1, 2, 2], requests_per_second=[1, 2, 5], kv_cache_usage_ratio=[0.2, 0.6, 0.5]),
            overwrite=True,
        )
        lines = load(0, 120, ["requests_per_second", "kv_cache_usage_ratio"])
        assert seen(lines.columns["requests_per_second"]) == [(60, 3), (120, 5)]
        assert seen(lines.columns["kv_cache_usage_ratio"]) == [(60, pytest.approx(0.6)), (120, pytest.approx(0.5))]

    def test_one_version_can_be_asked_alone(self) -> None:
        rows_write(make_rows([60, 60], versions=[1, 2], requests_per_second=[1, 2]), overwrite=True)
        assert seen(load(0, 120, versions=[2]).columns["requests_per_second"]) == [(60, 2)]

    def test_a_rollout_within_a_rollup_counts_its_instants_once(self) -> None:
        both = make_rows(minutes(1, 10), versions=[1] * 7 + [2] * 3, requests_per_second=10)
        rows_write(both, overwrite=True)
        rows_write(make_rows([420], versions=2, requests_per_second=4), overwrite=True)  # one instant of both
        rollups_fill(now=at(HOUR))
        line = load(0, 600, points=2).columns["requests_per_second"]
        assert line.mean == pytest.approx([10, (4 * 10 + 14) / 5])


@pytest.mark.django_db
class TestRatios:
    def test_a_ratio_is_the_quotient_of_sums_not_the_mean_of_quotients(self) -> None:
        rows_write(make_rows([60, 120], errors_per_second=[1, 0], requests_per_second=[1, 99]), overwrite=True)
        line = load(0, 120, ["error_ratio"], points=1).columns["error_ratio"]
        assert (line.mean.tolist(), line.high.tolist(), line.unit) == ([pytest.approx(0.01)], [1], "ratio")

    def test_it_survives_rolling_up(self) -> None:
        rows_write(make_rows([60, 120], errors_per_second=[1, 0], requests_per_second=[1, 99]), overwrite=True)
        rollups_fill(now=at(48 * HOUR))
        assert seen(load(-24 * HOUR, 24 * HOUR, ["error_ratio"], points=2).columns["error_ratio"]) == [(12 * HOUR, pytest.approx(0.01))]

    def test_without_requests_there_is_no_ratio(self) -> None:
        rows_write(make_rows([60, 120], errors_per_second=[0, 0], requests_per_second=[0, NAN]), overwrite=True)
        assert seen(load(0, 120, ["error_ratio"]).columns["error_ratio"]) == []


@pytest.mark.django_db
class TestMany:
    def test_each_entity_gets_its_own_lines_on_one_grid(self) -> None:
        rows_write(make_rows([60, 60, 120], ids=[1, 2, 2], requests_per_second=[1, 2, 3]), overwrite=True)
        many = lines_load_many(Entity.DEPLOYMENT, [2, 1, 9], ["requests_per_second"], start=at(0), end=at(180))
        assert {number: seen(lines.columns["requests_per_second"]) for number, lines in many.items()} == {
            1: [(60, 1)],
            2: [(60, 2), (120, 3)],
            9: [],
        }
        assert (many[1].as_of, many[9].as_of) == (NOON_SECONDS + 60, None)

    def test_none_asked_is_none_answered(self) -> None:
        assert lines_load_many(Entity.DEPLOYMENT, [], ["requests_per_second"], start=at(0), end=at(180)) == {}

    def test_at_most_three_queries_however_many(self, django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
        rows_write(make_rows([60] * 300, ids=range(1, 301), requests_per_second=1), overwrite=True)
        with django_assert_max_num_queries(3):
            lines_load_many(Entity.DEPLOYMENT, range(1, 301), ["requests_per_second"], start=at(0), end=at(180))

    def test_it_tells_what_one_by_one_would(self) -> None:
        rng = np.random.default_rng(11)
        size = 900
        rows_write(
            make_rows(rng.integers(-600, 600, size) * 60.0, ids=rng.integers(1, 6, size), requests_per_second=rng.random(size)),
            overwrite=True,
        )
        rollups_fill(now=at(5 * HOUR))
        window = {"start": at(-10 * HOUR), "end": at(10 * HOUR), "points": 240}
        many = lines_load_many(Entity.DEPLOYMENT, range(1, 6), ["requests_per_second"], **window)  # type: ignore[arg-type]
        for number in range(1, 6):
            alone = lines_load(Entity.DEPLOYMENT, number, ["requests_per_second"], **window)  # type: ignore[arg-type]
            assert many[number].table == alone.table == "5m"
            assert np.allclose(many[number].columns["requests_per_second"].mean, alone.columns["requests_per_second"].mean, equal_nan=True)


@pytest.mark.django_db
class TestTotal:
    def total(self, column: str, entity: Entity = Entity.DEPLOYMENT, **window: float) -> list[tuple[float, float]]:
        lines = lines_load_total(
            entity, [1, 2], column, start=at(window.get("start", 0)), end=at(window.get("end", 180)), points=int(window.get("points", 60))
        )
        return seen(lines.columns[column])

    def test_rates_of_entities_add_up(self) -> None:
        rows_write(make_rows([60, 60, 120], ids=[1, 2, 3], requests_per_second=[1, 2, 100]), overwrite=True)
        assert self.total("requests_per_second") == [(60, 3)]

    def test_busy_shares_are_averaged(self) -> None:
        rows_write(make_rows([60, 60], Entity.ACCELERATOR, ids=[1, 2], gpu_utilization_ratio=[0.5, 1]), overwrite=True)
        assert self.total("gpu_utilization_ratio", Entity.ACCELERATOR) == [(60, 0.75)]

    def test_senders_on_different_grids_meet_by_the_minute(self) -> None:
        rows_write(
            make_rows([15, 30, 45, 60, 60], Entity.ACCELERATOR, ids=[1, 1, 1, 1, 2], power_watts=[100, 200, 300, 400, 50]), overwrite=True
        )
        assert self.total("power_watts", Entity.ACCELERATOR) == [(60, 300)]

    def test_a_ratio_of_the_fleet_is_the_quotient_of_its_sums(self) -> None:
        rows_write(make_rows([60, 60], ids=[1, 2], errors_per_second=[1, 0], requests_per_second=[1, 99]), overwrite=True)
        assert self.total("error_ratio") == [(60, pytest.approx(0.01))]

    def test_it_survives_rolling_up(self) -> None:
        rows_write(make_rows(minutes(1, 60) * 2, ids=[1] * 60 + [2] * 60, requests_per_second=[2] * 60 + [3] * 60), overwrite=True)
        rollups_fill(now=at(48 * HOUR))
        assert self.total("requests_per_second", start=-23 * HOUR, end=HOUR, points=24) == [(HOUR, 5)]

    def test_no_entities_are_all_gaps(self) -> None:
        lines = lines_load_total(Entity.DEPLOYMENT, [], "requests_per_second", start=at(0), end=at(180))
        assert np.isnan(lines.columns["requests_per_second"].mean).all()

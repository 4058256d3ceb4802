"""Stored series as forecasts need them."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from capacity.analysis.forecast_series import busiest_hours, demand_many, demand_series, window_of, window_until
from tests.capacity.planted_series import DAY, HOUR, demand_plant
from tests.telemetry import NOON, NOON_SECONDS

MONTH_AGO = NOON - timedelta(days=30)


@pytest.mark.django_db
class TestDemand:
    @pytest.mark.parametrize("fill", [True, False], ids=["rolled up", "not yet rolled up"])
    @pytest.mark.parametrize("step", [300.0, HOUR])
    def test_each_step_is_the_mean_of_what_came(self, fill: bool, step: float) -> None:
        written = demand_plant(1, days=10, fill=fill)
        values, start = demand_series(1, start=NOON - timedelta(days=10), end=NOON, step_seconds=step)
        assert start == NOON_SECONDS - 10 * DAY
        np.testing.assert_allclose(values, written.reshape(-1, round(step / 300)).mean(axis=1), rtol=1e-5)  # stored as 4-byte numbers

    def test_what_was_not_measured_is_a_gap_and_no_zero(self) -> None:
        demand_plant(1, days=3, shape=lambda times: np.where(times < NOON_SECONDS - DAY, 5.0, np.nan), noise=0.0)
        values, _ = demand_series(1, start=NOON - timedelta(days=4), end=NOON, step_seconds=HOUR)
        assert np.isnan(values[:24]).all() and np.isnan(values[-24:]).all()
        np.testing.assert_allclose(values[24:-24], 5.0)

    def test_days_are_whole_utc_days(self) -> None:
        demand_plant(1, days=10)
        values, start = demand_series(1, start=MONTH_AGO, end=NOON, step_seconds=DAY)
        assert (start % DAY, values.size, int(np.isfinite(values).sum())) == (0.0, 29, 10)

    def test_many_are_read_in_as_few_queries_as_one(self) -> None:
        for pk in (1, 2, 3):
            demand_plant(pk, days=2, fill=pk == 3)
        with CaptureQueriesContext(connection) as one:
            demand_many([1], start=MONTH_AGO, end=NOON, step_seconds=HOUR)
        with CaptureQueriesContext(connection) as many:
            found = demand_many([1, 2, 3, 99], start=MONTH_AGO, end=NOON, step_seconds=HOUR)
        assert len(many) == len(one) <= 3
        assert [int(np.isfinite(found[pk][0]).sum()) for pk in (1, 2, 3, 99)] == [48, 48, 48, 0]

    def test_a_window_without_a_whole_step_is_said(self) -> None:
        with pytest.raises(ValueError, match="needs a step of 3600 s between 2026-11-20 12:00 and 2026-11-20 12:30 UTC, there is none"):
            demand_series(1, start=NOON, end=NOON + timedelta(minutes=30), step_seconds=HOUR)


class TestWindows:
    def test_the_last_step_is_one_whose_samples_have_come_in(self) -> None:
        now = datetime(2026, 11, 20, 12, 1, 29, tzinfo=UTC)
        assert window_until(now, days=1, step=300.0).end == NOON_SECONDS - 300
        assert window_until(now + timedelta(seconds=1), days=1, step=300.0).end == NOON_SECONDS

    def test_steps_that_are_not_whole_are_left_out(self) -> None:
        window = window_of(NOON + timedelta(minutes=10), NOON + timedelta(hours=4, minutes=50), step=HOUR)
        assert (window.start - NOON_SECONDS, window.end - NOON_SECONDS, window.size) == (HOUR, 4 * HOUR, 3)


class TestBusiestHours:
    def test_each_whole_day_gives_its_greatest_hour(self) -> None:
        hours = np.arange(60.0)  # from 12:00: half a day, two days, no rest
        values, start = busiest_hours(hours, start_seconds=NOON_SECONDS)
        assert (values.tolist(), start) == ([35.0, 59.0], NOON_SECONDS + 12 * HOUR)

    def test_a_day_with_too_few_hours_known_is_a_gap(self) -> None:
        hours = np.arange(48.0)
        hours[:7] = np.nan
        hours[24:30] = np.nan
        values, _ = busiest_hours(hours, start_seconds=0.0)
        assert np.isnan(values[0]) and values[1] == 47.0

    def test_less_than_a_day_gives_nothing(self) -> None:
        values, _ = busiest_hours(np.arange(20.0), start_seconds=NOON_SECONDS)
        assert values.size == 0

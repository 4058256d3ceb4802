"""Many windows at once and even steps: the same numbers as one window asked for alone."""

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from monitoring.catalog.records import Entity
from monitoring.rollups import rollups_fill
from monitoring.series import steps_load, totals_load, windows_load
from monitoring.series.windows import FILLED
from monitoring.store import rollups_write, rows_write
from tests.telemetry import FRESH_SEEDS, NOON_SECONDS, at, make_rollups, make_rows, seed_of

IDS = (3, 1, 2)
COLUMNS = ("requests_per_second", "requests_waiting", "kv_cache_usage_ratio")
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    FILLED.clear()


def telemetry_write(rng: np.random.Generator, *, hours: float, step: float = 60.0) -> None:
    """Of three deployments, two versions of the first, with gaps.

    What one version has no row for, the other lacks too: of gaps that differ a rolled-up row knows how many, not when.
    """
    times = every = np.arange(-hours * 3600, 0, step) + step
    for pk, version in ((1, 0), (1, 7), (2, 0), (3, 9)):
        known = times if version == 7 else every
        times = known[rng.random(len(known)) < 0.9]
        values = {"requests_per_second": rng.uniform(1, 9, len(times)), "kv_cache_usage_ratio": rng.random(len(times))}
        rows = make_rows(times.tolist(), ids=pk, versions=version, requests_waiting=rng.integers(0, 9, len(times)), **values)
        rows_write(rows, overwrite=True)


def alone(start: float, end: float) -> dict[int, dict[str, tuple[float, ...]]]:
    found = totals_load(Entity.DEPLOYMENT, sorted(IDS), COLUMNS, start=at(start), end=at(end))
    return {pk: {name: (one.mean, one.low, one.high) for name, one in own.items()} for pk, own in found.items()}


def together(windows: dict[tuple[float, float], tuple[str, ...]]) -> dict[tuple[float, float], dict[int, dict[str, tuple[float, ...]]]]:
    asked = {(NOON_SECONDS + start, NOON_SECONDS + end): names for (start, end), names in windows.items()}
    found = windows_load(Entity.DEPLOYMENT, IDS, asked)
    return {
        (start - NOON_SECONDS, end - NOON_SECONDS): {
            pk: {name: (one.mean[place], one.low[place], one.high[place]) for name, one in own.items()} for place, pk in enumerate(IDS)
        }
        for (start, end), own in found.items()
    }


@pytest.mark.parametrize("filled", [False, True])
@pytest.mark.parametrize("seed", (5, FRESH_SEEDS[0]))
def test_each_window_has_the_totals_it_has_alone(seed: int | None, filled: bool) -> None:
    telemetry_write(np.random.default_rng(seed_of(seed)), hours=8)
    if filled:
        rollups_fill(now=at(0))
    windows = [(-300.0, 0.0), (-60.0, 0.0), (-600.0, -300.0), (-900.0, 0.0), (-3600.0, 0.0), (-7200.0, -3600.0), (-21600.0, 0.0)]
    for _ in range(2):  # the second time from what was kept
        found = together(dict.fromkeys(windows, COLUMNS))
        for window in windows:
            for pk, own in alone(*window).items():
                for name, values in own.items():
                    # Of versions side by side a rolled-up row knows the sum only, neither the greatest nor a mean of greatest ones.
                    known = 3 if pk != 1 else 0 if name == "kv_cache_usage_ratio" else 1
                    assert found[window][pk][name][:known] == pytest.approx(values[:known], rel=1e-4, nan_ok=True), (window, pk, name)


def test_a_long_window_begins_on_five_minutes_and_a_short_one_where_it_says() -> None:
    rows_write(make_rows([-960.0, -840.0, -130.0, -110.0], ids=1, requests_waiting=[1, 2, 3, 4]), overwrite=True)
    found = together({(-900.0 - 50, -50.0): ("requests_waiting",), (-120.0, 0.0): ("requests_waiting",)})
    assert found[-950.0, -50.0][1]["requests_waiting"][0] == 2.5  # from -1200
    assert found[-120.0, 0.0][1]["requests_waiting"][0] == 4


def test_what_rollups_have_filled_is_read_once_while_it_stands() -> None:
    telemetry_write(np.random.default_rng(1), hours=3)
    rollups_fill(now=at(0))
    counted = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as caught:
            together({(-7200.0, 0.0): COLUMNS, (-3600.0, 0.0): COLUMNS})
        counted.append(len(caught))
    assert counted == [4, 2]
    assert windows_load(Entity.DEPLOYMENT, [4], {(NOON_SECONDS - 3600, NOON_SECONDS): COLUMNS})  # another id is asked for anew


def test_five_minute_rows_newer_than_the_fill_count_where_no_raw_ones_lie() -> None:
    rollups_write(make_rollups([-600.0, -300.0], ids=1, requests_waiting=[4.0, 8.0]))
    rows_write(make_rows([-310.0], ids=1, requests_waiting=100), overwrite=True)
    assert together({(-1800.0, 0.0): ("requests_waiting",)})[-1800.0, 0.0][1]["requests_waiting"] == pytest.approx((20.0, 4, 100))


def test_nobody_asked_for_is_nothing() -> None:
    assert windows_load(Entity.DEPLOYMENT, [], {(0.0, 60.0): COLUMNS}) == {}
    steps = steps_load(Entity.DEPLOYMENT, [], COLUMNS, start=0.0, end=600.0, step=300.0)
    assert steps.columns["requests_waiting"].count.shape == (0, 2)


@pytest.mark.parametrize("step", (60.0, 300.0))
@pytest.mark.parametrize("filled", [False, True])
def test_steps_add_up_to_the_window(step: float, filled: bool) -> None:
    telemetry_write(np.random.default_rng(3), hours=2)
    if filled:
        rollups_fill(now=at(0))
    steps = steps_load(Entity.DEPLOYMENT, IDS, COLUMNS, start=NOON_SECONDS - 3600, end=NOON_SECONDS, step=step)
    assert steps.times[0] == NOON_SECONDS - 3600 + step and len(steps.times) == 3600 / step
    for name, own in alone(-3600.0, 0.0)[2].items():
        column = steps.columns[name]
        assert column.total[2].sum() / column.count[2].sum() == pytest.approx(own[0], rel=1e-4)
        assert (np.nanmin(column.low[2]), np.nanmax(column.high[2])) == pytest.approx(own[1:], rel=1e-4)

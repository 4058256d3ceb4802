"""Percentiles from merged histograms equal the exact ones within the bucket width, over any window and set of versions."""

import ast
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pytest_django import DjangoAssertNumQueries

import monitoring.series
from monitoring.catalog.records import Latency
from monitoring.rollups import rollups_fill
from monitoring.series import histogram_of, latency_kinds, latency_load, latency_load_kinds, latency_totals, latency_totals_windows
from monitoring.store import Histograms, histograms_write
from tests.telemetry import FRESH_SEEDS, NOON_SECONDS, at, make_histograms, seed_of

HOUR = 3600.0
KIND = Latency.REQUEST_DURATION
FINE = tuple(round(0.01 * 1.25**step, 6) for step in range(40))  # 10 ms to 60 s
COARSE = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass(frozen=True)
class Truth:
    """Every single request of a made-up deployment."""

    times: np.ndarray  # seconds after noon at which the request ended
    versions: np.ndarray
    seconds: np.ndarray

    def chosen(self, start: float, end: float, versions: list[int] | None) -> np.ndarray:
        inside = (self.times > start) & (self.times <= end)
        return np.sort(self.seconds[inside & (np.isin(self.versions, versions) if versions else True)])


def plant(seed: int, *, hours: int, number: int = 1, relayout: bool = False) -> Truth:
    """Requests drawn one by one, counted by minute, version and bucket; the generator knows nothing of the store's arithmetic."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(3000, 6000))
    times = rng.uniform(0, hours * HOUR, size)
    versions = np.where(rng.random(size) < times / (hours * HOUR), 2, 1)
    seconds = np.clip(rng.lognormal(np.where(versions == 1, -1.0, -0.3), rng.uniform(0.3, 0.9), size), 0.012, 29.0)
    layouts = [(FINE, times < hours * HOUR / 2), (COARSE, times >= hours * HOUR / 2)] if relayout else [(FINE, times >= 0)]
    for bounds, chosen in layouts:
        write_counted(bounds, times[chosen], versions[chosen], seconds[chosen], number)
    return Truth(times, versions, seconds)


def write_counted(bounds: tuple[float, ...], times: np.ndarray, versions: np.ndarray, seconds: np.ndarray, number: int) -> None:
    ends = np.ceil(times / 60) * 60
    keys, rows = np.unique(np.stack((ends, versions)), axis=1, return_inverse=True)
    counts, sums = np.zeros((keys.shape[1], len(bounds) + 1)), np.zeros(keys.shape[1])
    np.add.at(counts, (rows.ravel(), np.searchsorted(bounds, seconds)), 1)
    np.add.at(sums, rows.ravel(), seconds)
    ids = np.full(keys.shape[1], number)
    histograms_write(Histograms(KIND, ids, keys[1].astype(np.int64), NOON_SECONDS + keys[0], bounds, counts, sums))


def exact_and_bucket(values: np.ndarray, q: float, bounds: tuple[float, ...]) -> tuple[float, float, float]:
    """The exact quantile (the ceil(q n)-th value) and the bucket it lies in."""
    exact = float(values[max(math.ceil(q * len(values) - 1e-9) - 1, 0)])
    bucket = int(np.searchsorted(bounds, exact))
    return exact, [0.0, *bounds][bucket], [*bounds, math.inf][bucket]


def assert_same_bucket(found: float, values: np.ndarray, q: float) -> None:
    exact, low, high = exact_and_bucket(values, q, FINE)
    assert low - 1e-9 <= found <= high + 1e-9, f"{found=} {exact=} bucket ({low}, {high}] {q=} n={len(values)}"


def assert_within_width(found: float, values: np.ndarray, q: float) -> None:
    """Two layouts: neither knows where inside its bucket a request lies, so the answer may cross a bound, never by a bucket's width."""
    exact, low, high = exact_and_bucket(values, q, COARSE)
    assert abs(found - exact) <= high - low, f"{found=} {exact=} bucket ({low}, {high}] {q=} n={len(values)}"


SEEDS = [1, 2, 3, *FRESH_SEEDS]


@pytest.mark.django_db
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("relayout", [False, True])
def test_merged_percentiles_equal_the_exact_ones_within_the_bucket(seed: int | None, relayout: bool) -> None:
    seed = seed_of(seed)
    hours = 30
    truth = plant(seed, hours=hours, relayout=relayout)
    plant(seed + 1, hours=hours, number=2)  # a neighbour that must not leak in
    rng = np.random.default_rng(seed)
    for filled in (0.0, 20.3, 60.0):  # nothing rolled up, a part, all
        rollups_fill(now=at(filled * HOUR))
        for _ in range(6):
            start, end = np.sort(rng.integers(0, hours * 60, 2) * 60.0)
            versions = [None, [1], [2], [1, 2]][rng.integers(4)]
            values = truth.chosen(start, end, versions)
            totals = latency_totals([1], KIND, start=at(start), end=at(end), versions=versions)
            assert (totals[1].count if totals else 0) == pytest.approx(len(values))
            for q in (0.5, 0.95, 0.99) if values.size else ():
                (assert_within_width if relayout else assert_same_bucket)(totals[1].quantile(q).seconds, values, q)


@pytest.mark.django_db
@pytest.mark.parametrize("seed", SEEDS)
def test_a_chart_counts_every_request_once_and_its_steps_are_exact(seed: int | None) -> None:
    seed = seed_of(seed)
    truth = plant(seed, hours=30)
    rollups_fill(now=at(26.4 * HOUR))
    lines = latency_load(1, KIND, start=at(0), end=at(30 * HOUR), points=30)
    assert (lines.table, lines.step, len(lines.times)) == ("1h", HOUR, 30)
    assert lines.count.sum() == pytest.approx(len(truth.times))
    assert histogram_of(lines).mean == pytest.approx(truth.seconds.mean(), rel=1e-4)
    for step, found in enumerate(lines.quantile(0.95)):
        assert_same_bucket(found, truth.chosen(step * HOUR, (step + 1) * HOUR, None), 0.95)


@pytest.mark.django_db
class TestLines:
    def test_empty_steps_are_gaps(self) -> None:
        histograms_write(make_histograms([60, 120, 240], [[0, 1, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]]))
        lines = latency_load(1, KIND, start=at(0), end=at(300), points=5)
        assert lines.count.tolist() == [1, 1, 0, 1, 0]
        assert np.isfinite(lines.quantile(0.5)).tolist() == [True, True, False, True, False]
        assert lines.as_of == NOON_SECONDS + 240

    def test_nothing_stored_is_all_gaps(self) -> None:
        lines = latency_load(1, KIND, start=at(0), end=at(HOUR), points=12)
        assert (lines.as_of, len(lines.times)) == (None, 12)
        assert np.isnan(lines.quantile(0.95)).all()
        assert not lines.limited(0.95).any()

    def test_what_the_layout_cannot_tell_is_flagged(self) -> None:
        histograms_write(make_histograms([60, 120, 180], [[9, 0, 0, 0], [0, 9, 0, 0], [0, 0, 0, 9]]))
        lines = latency_load(1, KIND, start=at(0), end=at(180), points=3)
        assert lines.limited(0.95).tolist() == [True, False, True]

    def test_a_percentile_of_two_steps_is_that_of_their_requests_not_the_mean_of_two_percentiles(self) -> None:
        histograms_write(make_histograms([60, 120], [[0, 99, 0, 0], [0, 0, 1, 0]]))
        lines = latency_load(1, KIND, start=at(0), end=at(120), points=1)
        assert lines.quantile(0.5)[0] < 0.5

    def test_imported_histograms_are_shared_out_over_shorter_steps(self) -> None:
        histograms_write(make_histograms([300], [[0, 10, 0, 0]]), table="5m")
        histograms_write(make_histograms([360], [[0, 1, 0, 0]]))
        histograms_write(make_histograms([420], [[0, 1, 0, 0]]))
        lines = latency_load(1, KIND, start=at(0), end=at(600), points=10)
        assert lines.count == pytest.approx([2] * 5 + [1, 1, 0, 0, 0])

    def test_several_kinds_in_one_query_are_each_the_same_as_alone(self) -> None:
        histograms_write(make_histograms([60, 120], [[1, 2, 3, 4], [4, 3, 2, 1]]))
        histograms_write(make_histograms([60, 180], [[5, 6], [7, 8]], bounds=(2.0,), latency=Latency.QUEUE_TIME))
        window = {"start": at(0), "end": at(600), "points": 10}
        kinds = [KIND, Latency.QUEUE_TIME, Latency.TIME_TO_FIRST_TOKEN]
        alone = {kind: latency_load(1, kind, **window) for kind in kinds}  # type: ignore[arg-type]
        for _ in range(4):  # by COPY, then prepared
            found = latency_load_kinds(1, kinds, **window)  # type: ignore[arg-type]
            for kind in kinds:
                assert (found[kind].latency, found[kind].bounds, found[kind].sure) == (kind, alone[kind].bounds, alone[kind].sure)
                np.testing.assert_array_equal(found[kind].counts, alone[kind].counts)
            totals = latency_totals_windows([1], kinds, [(at(0), at(60)), (at(60), at(60)), (at(60), at(600))])
            assert [each[KIND][1].count if each[KIND] else None for each in totals] == [10, None, 10]
            assert [each[Latency.QUEUE_TIME][1].count if each[Latency.QUEUE_TIME] else None for each in totals] == [11, None, 15]
            assert not any(each[Latency.TIME_TO_FIRST_TOKEN] for each in totals)

    def test_the_kinds_a_deployment_has_are_listed(self) -> None:
        histograms_write(make_histograms([300], [[0, 10, 0, 0]], latency=Latency.QUEUE_TIME), table="5m")
        histograms_write(make_histograms([60], [[0, 10, 0, 0]]))
        histograms_write(make_histograms([60], [[0, 10, 0, 0]], ids=2, latency=Latency.TIME_TO_FIRST_TOKEN))
        assert latency_kinds(1) == [Latency.REQUEST_DURATION, Latency.QUEUE_TIME]
        assert latency_kinds(7) == []


@pytest.mark.django_db
class TestTotals:
    def test_three_queries_however_many_deployments(self, django_assert_num_queries: DjangoAssertNumQueries) -> None:
        histograms_write(make_histograms([60] * 200, [[0, 1, 2, 0]] * 200, ids=range(1, 201)))
        with django_assert_num_queries(3):
            totals = latency_totals(range(1, 201), KIND, start=at(0), end=at(HOUR))
        assert len(totals) == 200

    def test_each_deployment_keeps_its_own_layout(self) -> None:
        histograms_write(make_histograms([60], [[0, 1, 0, 0]]))
        histograms_write(make_histograms([60], [[0, 1]], ids=2, bounds=(2.0,)))
        totals = latency_totals([1, 2, 3], KIND, start=at(0), end=at(HOUR))
        assert {number: histogram.bounds for number, histogram in totals.items()} == {1: (0.1, 0.5, 1.0), 2: (2.0,)}

    def test_nobody_asked_is_nobody_answered(self) -> None:
        assert latency_totals([], KIND, start=at(0), end=at(HOUR)) == {}


AVERAGES = {"mean", "nanmean", "average", "avg"}
# They take quantiles of single samples, and beside them means of samples or shares of samples; each was read.
OF_SAMPLES = {
    "capacity/analysis/plan_model.py held_seen",
    "capacity/engine/forecast/spread.py spread_learn",
    "capacity/engine/queueing/service.py service_measured",
    "capacity/engine/queueing/tokens.py token_speed_fit",
    "capacity/engine/saturation/window.py plateau_of",
    "capacity/engine/sizing/headroom.py headroom_find",
    "capacity/engine/sizing/peak.py peak_latency",
    "capacity/engine/sizing/replicas.py check_reachable",
    "capacity/engine/sizing/replicas.py point",
    "capacity/engine/sizing/slots.py slots_find",
    "capacity/engine/sizing/token_peak.py token_latency",
    "capacity/engine/sizing/token_table.py token_slots",
    "capacity/engine/sizing/tokens.py check_alone",
    "capacity/engine/sizing/tokens.py token_point",
}


def calls_of(tree: ast.AST) -> set[str]:
    return {
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    }


def test_no_function_of_the_product_averages_what_it_takes_quantiles_of() -> None:
    """Who calls a quantile function must not call an average of anything: the two meet over single samples only."""
    root = Path(monitoring.series.__file__).parents[2]
    found = {
        f"{path.relative_to(root)} {node.name}"
        for wing in ("monitoring", "capacity")
        for path in (root / wing).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and {"quantile", "quantiles"} & calls_of(node) and AVERAGES & calls_of(node)
    }
    assert found == OF_SAMPLES

"""The planted history, read back through the catalogue: what is written is what is found."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from monitoring.catalog.records import Latency, Series
from monitoring.catalog.systems import SYSTEMS
from monitoring.prometheus import Matrix, Over, Prometheus, buckets_split, series_query
from tests.servers.fleet import Truth, fleet_write
from tests.servers.prometheus import PrometheusServer
from tests.servers.rates import LOOPBACK

END = 1_795_300_200.0
DAYS = 2.0
STEP = 60.0
WINDOW = 600.0


@dataclass(frozen=True)
class Planted:
    client: Prometheus
    truth: Truth
    names: set[str]

    def found(self, system: str, target: str | Latency, *, over: Over = Over.AVG, hours: tuple[float, float] = (6.0, 0.0)) -> Matrix:
        """The matrix of a column over the hours before the end, at a step of the window."""
        series = self.series(system, target)
        query = series_query(SYSTEMS[system], series, names_present=self.names, window_seconds=WINDOW, over=over)
        assert query is not None
        start, end = (END - hour * 3600 for hour in hours)
        return self.client.query_range(query, start=start, end=end, step=WINDOW)

    def series(self, system: str, target: str | Latency) -> Series:
        return next(series for series in SYSTEMS[system].series if series.target == target)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    folder: Path = tmp_path_factory.mktemp("fleet")
    truth = fleet_write(folder, end=END, days=DAYS, step=STEP)
    server = PrometheusServer(folder / "prometheus")
    server.backfill(truth.files)
    with server:
        client = Prometheus(server.url, allowed=LOOPBACK)
        yield Planted(client, truth, client.names())


def windows(values: np.ndarray, truth: Truth, times: np.ndarray) -> np.ndarray:
    """Sums of the steps that end in the window before each time."""
    rising = np.r_[0.0, np.cumsum(values)]
    last = np.searchsorted(truth.times, times, side="right")
    first = np.searchsorted(truth.times, times - WINDOW, side="right")
    return rising[last] - rising[first]


@pytest.mark.parametrize("model", ["llama-3.1-8b", "qwen-coder-7b"])
def test_request_rates_of_vllm_are_those_planted(planted: Planted, model: str) -> None:
    found = planted.found("vllm", "requests_per_second")
    mine = [at for at, labels in enumerate(found.labels) if labels["model_name"] == model]
    true = windows(planted.truth.deployment(model).requests, planted.truth, found.times) / WINDOW
    np.testing.assert_allclose(np.nansum(found.values[mine], axis=0), true, rtol=0.1)
    assert np.nansum(found.values[mine]) == pytest.approx(true.sum(), rel=0.01)


def test_request_rates_of_triton_count_failures_too(planted: Planted) -> None:
    found = planted.found("triton", "requests_per_second")
    mine = [at for at, labels in enumerate(found.labels) if labels["model"] == "resnet50"]
    true = windows(planted.truth.deployment("resnet50").requests, planted.truth, found.times) / WINDOW
    assert np.nansum(found.values[mine]) == pytest.approx(true.sum(), rel=0.01)


def test_history_before_a_rename_of_metrics_is_not_lost(planted: Planted) -> None:
    """The token times of llama have one name before the release four sevenths in and another after."""
    found = planted.found("vllm", Latency.TIME_PER_OUTPUT_TOKEN, hours=(DAYS * 24 - 1, 0.0))
    totals: dict[str, float] = {}
    for buckets in buckets_split(found):
        if buckets.labels["model_name"] == "llama-3.1-8b":
            generation = buckets.labels["pod"].split("-")[2]
            totals[generation] = totals.get(generation, 0.0) + float(np.nansum(buckets.counts)) * WINDOW
    truth = planted.truth.deployment("llama-3.1-8b")
    true = float(truth.requests[planted.truth.scraped & (planted.truth.times > END - (DAYS * 24 - 1) * 3600)].sum())
    assert len(totals) == 2
    assert sum(totals.values()) == pytest.approx(true, rel=0.02)


def test_the_gap_is_a_gap(planted: Planted) -> None:
    start = planted.truth.times[np.flatnonzero(~planted.truth.scraped)[0]]
    at = float(start) + 3600
    query = series_query(
        SYSTEMS["vllm"], planted.series("vllm", "requests_running"), names_present=planted.names, window_seconds=WINDOW, over=Over.NOW
    )
    assert query is not None
    assert planted.client.query(query, at=at).labels == []
    assert planted.client.query(query, at=END).labels != []


def test_gpus_are_found_with_their_pods(planted: Planted) -> None:
    found = planted.found("dcgm_exporter", "power_watts", over=Over.NOW, hours=(0.0, 0.0))
    assert sorted({labels["UUID"] for labels in found.labels}) == [gpu.uuid for gpu in planted.truth.accelerators]
    true = {gpu.uuid: gpu.power_watts[-1] for gpu in planted.truth.accelerators}
    for labels, values in zip(found.labels, found.values, strict=True):
        assert values[-1] == true[labels["UUID"]]
        assert labels["pod"]


def test_the_energy_counter_is_the_mean_power(planted: Planted) -> None:
    found = planted.found("dcgm_exporter", "energy_joules_per_second")
    gpu = planted.truth.accelerators[2]
    mine = [labels["UUID"] == gpu.uuid for labels in found.labels]
    true = windows(gpu.power_watts * STEP, planted.truth, found.times) / WINDOW
    np.testing.assert_allclose(np.nanmax(found.values[mine], axis=0) * 1e-3, true, rtol=0.02)


def test_the_same_seed_gives_the_same_fleet(tmp_path: Path) -> None:
    first = fleet_write(tmp_path, end=END, days=0.2, step=STEP, seed=3)
    texts = [path.read_text() for path in first.files]
    second = fleet_write(tmp_path, end=END, days=0.2, step=STEP, seed=3)
    assert texts == [path.read_text() for path in second.files]
    third = fleet_write(tmp_path, end=END, days=0.2, step=STEP, seed=4)
    assert texts != [path.read_text() for path in third.files]
    assert first.deployment("detector").requests.sum() != third.deployment("detector").requests.sum()

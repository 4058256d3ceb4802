"""The catalogue holds together: every series feeds a column that exists, every absence has its price, the page agrees."""

from pathlib import Path

import pytest

from monitoring.catalog.columns import COLUMNS, LATENCY_LABELS, RATIOS
from monitoring.catalog.pages import metrics_page
from monitoring.catalog.records import Entity, Fold, Kind, Latency, System
from monitoring.catalog.systems import SYSTEMS
from monitoring.prometheus.queries import LABEL, NAME, selector_parse

ROOT = Path(__file__).resolve().parents[2]
UNITS = {
    "req/s", "tok/s", "1/s", "s/s", "requests", "ratio", "replicas", "cores", "bytes", "bytes/s", "accelerators", "watts", "celsius",
    "hertz", "errors", "code", "processes",
}  # fmt: skip
SCALES = {1.0, 1e-3, 1e-6, 1e-9, 0.01, 1e6, 1048576.0}
all_systems = pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS.keys())


def column_names(entity: Entity) -> set[str]:
    return {column.name for column in COLUMNS[entity]}


def test_the_systems_of_the_first_release_are_there() -> None:
    assert set(SYSTEMS) == {
        "vllm", "sglang", "tgi", "triton", "tensorflow_serving", "torchserve", "ray_serve", "kserve", "mlserver", "bentoml",
        "dcgm_exporter", "node_exporter", "cadvisor", "kube_state_metrics",
    }  # fmt: skip


@all_systems
def test_every_series_feeds_a_column_a_latency_or_the_inventory(system: System) -> None:
    for series in system.series:
        if series.kind is Kind.HISTOGRAM:
            assert isinstance(series.target, Latency)
        elif series.kind is not Kind.INFO:
            assert series.target in column_names(system.entity)
    assert all(target in column_names(system.entity) or isinstance(target, Latency) for target in system.lacks)


@all_systems
def test_what_is_read_is_not_called_missing(system: System) -> None:
    assert not {series.target for series in system.series} & set(system.lacks)


@all_systems
def test_names_labels_and_matchers_are_valid(system: System) -> None:
    for series in system.series:
        assert all(NAME.fullmatch(name) for name in (*series.names, *series.other))
        assert all(LABEL.fullmatch(label) for label in (*series.labels, *series.once_by, *series.dropped))
        assert selector_parse(series.matchers) or not series.matchers
        assert selector_parse(series.other_matchers) or not series.other_matchers
        assert bool(series.other) == bool(series.combine)
        assert series.scale in SCALES
    assert all(LABEL.fullmatch(label) for label in system.identity)
    assert system.model_label is None or system.model_label in system.identity
    assert system.version_label is None or system.version_label in system.identity


@all_systems
def test_a_required_series_says_what_its_absence_costs_and_what_to_do(system: System) -> None:
    for series in system.series:
        if series.required:
            assert series.without
            assert series.remedy
    assert system.costs
    assert system.source
    assert system.seen_version
    assert any(series.required for series in system.series)


@all_systems
def test_no_required_series_is_told_missing_by_its_own_detector(system: System) -> None:
    assert all(NAME.fullmatch(name) for name in (*system.detect, *(name for name, _ in system.eras)))
    assert all(series.quality in ("exact", "approx", "proxy") for series in system.series)
    assert system.kind in ("serving", "infrastructure")


def test_every_column_has_its_words_and_a_known_unit() -> None:
    for columns in COLUMNS.values():
        assert len({column.name for column in columns}) == len(columns)
        for column in columns:
            assert column.unit in UNITS
            assert column.label[0].isupper()
            assert column.meaning.endswith(".")
            assert column.fold is not Fold.COUNT
            assert column.higher_is in ("good", "bad", "neutral")


def test_ratios_are_made_of_columns_and_shadow_none() -> None:
    everything = set().union(*(column_names(entity) for entity in Entity))
    for ratio in RATIOS:
        assert {ratio.numerator, ratio.denominator} <= everything
        assert ratio.name not in everything
    assert set(LATENCY_LABELS) == set(Latency)


def test_a_mean_only_server_has_no_percentile() -> None:
    for slug in ("torchserve", "triton"):
        targets = {series.target for series in SYSTEMS[slug].series}
        assert "request_seconds_per_second" in targets
        assert Latency.REQUEST_DURATION in SYSTEMS[slug].lacks


def test_vllm_speaks_all_three_eras() -> None:
    vllm = SYSTEMS["vllm"]
    names = {name for series in vllm.series for name in series.names}
    assert {"vllm:gpu_cache_usage_perc", "vllm:kv_cache_usage_perc", "vllm:time_per_output_token_seconds"} <= names
    assert {"vllm:request_time_per_output_token_seconds", "vllm:gpu_prefix_cache_hits_total", "vllm:prefix_cache_hits_total"} <= names
    assert [words for _, words in vllm.eras] == ["newer than 0.12", "0.10 or older", "0.11 to 0.12", "0.11 to 0.12"]


def test_ray_is_asked_for_the_counter_of_all_requests_under_its_one_name() -> None:
    requests = next(series for series in SYSTEMS["ray_serve"].series if series.target == "requests_per_second")
    assert requests.names == ("ray_serve_deployment_processing_latency_ms_count",)


def test_the_page_of_metrics_is_the_catalogue() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    assert page == metrics_page(), "run: python -m monitoring.catalog.pages > docs/metrics.md"

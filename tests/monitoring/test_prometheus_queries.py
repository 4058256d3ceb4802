"""The text of queries: escaping, names, aliases, windows."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.catalog.records import Combine, Entity, Fold, Kind, Latency, Series, System
from monitoring.catalog.systems import SYSTEMS
from monitoring.prometheus import (
    Matcher,
    Over,
    Part,
    any_of,
    identity_labels,
    instant_selector,
    overs_of,
    selector_parse,
    selector_text,
    series_query,
)

GROUP = "cluster, namespace, pod, container, service, job, instance, node, model"


def system(*series: Series, identity: tuple[str, ...] = ("model",), entity: Entity = Entity.DEPLOYMENT) -> System:
    return System("s", "S", "serving", entity, ("up",), series, identity)


def asked(series: Series, names: set[str], **options: object) -> str | None:
    options.setdefault("window_seconds", 60)
    return series_query(system(series), series, names_present=names, **options)  # type: ignore[arg-type]


def test_a_counter_becomes_a_grouped_rate() -> None:
    series = Series("requests_per_second", ("a_total",), Kind.COUNTER, matchers='code="1"')
    assert asked(series, {"a_total"}, selector='x = "y",') == f'sum by ({GROUP}) (rate(a_total{{code="1",x="y"}}[60s]))'


def test_a_rate_may_be_a_mean_of_rates() -> None:
    series = Series(target="requests_per_second", kind=Kind.COUNTER, names=("a_total",))
    expected = f"sum by ({GROUP}) ((sum_over_time(rate(a_total{{}}[300s])[299s:60s]) / 5))"
    assert asked(series, {"a_total"}, window_seconds=300, averaged=(300.0, 60.0)) == expected


def test_a_rate_may_be_what_the_counter_gained() -> None:
    series = Series(target="requests_per_second", kind=Kind.COUNTER, names=("a_total",))
    gained = "((last_over_time(a_total{}[15s]) - last_over_time(a_total{}[15s] offset 15s)) / 15 >= 0)"
    assert asked(series, {"a_total"}, window_seconds=20, gained=15.0) == f"sum by ({GROUP}) (({gained} or rate(a_total{{}}[20s])))"


def test_a_gauge_is_asked_now_or_over_its_window() -> None:
    series = Series("kv_cache_usage_ratio", ("a",), Kind.GAUGE)
    assert asked(series, {"a"}) == f"max by ({GROUP}) (a{{}})"  # the column folds by the highest
    assert asked(series, {"a"}, over=Over.MIN, window_seconds=0.5) == f"max by ({GROUP}) (min_over_time(a{{}}[500ms]))"


def test_a_histogram_keeps_its_buckets() -> None:
    series = Series(Latency.REQUEST_DURATION, ("a",), Kind.HISTOGRAM)
    assert asked(series, {"a_bucket"}) == f"sum by ({GROUP}, le) (rate(a_bucket{{}}[60s]))"
    assert asked(series, {"a_bucket"}, part=Part.SUM) == f"sum by ({GROUP}) (rate(a_sum{{}}[60s]))"


def test_all_names_present_are_asked_the_newest_first() -> None:
    series = Series("requests_running", ("new", "old", "older"), Kind.GAUGE)
    assert asked(series, {"older", "new"}) == f"sum by ({GROUP}) (new{{}}) or sum by ({GROUP}) (older{{}})"
    assert asked(series, {"else"}) is None


def test_buckets_of_two_names_are_never_mixed() -> None:
    series = Series(Latency.TIME_PER_OUTPUT_TOKEN, ("new", "old"), Kind.HISTOGRAM)
    new, old = (f"sum by ({GROUP}, le) (rate({name}_bucket{{}}[60s]))" for name in ("new", "old"))
    assert asked(series, {"new_bucket", "old_bucket"}) == f"{new} or ({old} unless on ({GROUP}) ({new}))"


def test_a_sum_of_two_counters_lives_without_one_of_them() -> None:
    series = Series("requests_per_second", ("a",), Kind.COUNTER, other=("b",), combine=Combine.EITHER)
    a, b = (f"sum by ({GROUP}) (rate({name}{{}}[60s]))" for name in "ab")
    assert asked(series, {"a", "b"}) == f"(({a}) + ({b})) or {a} or {b}"
    assert asked(series, {"b"}) == b
    assert asked(series, set()) is None


def test_the_highest_difference_takes_the_lowest_of_what_is_taken_away() -> None:
    series = Series("memory_used_bytes", ("total",), Kind.GAUGE, fold=Fold.SUM, other=("free",), combine=Combine.MINUS)
    text = asked(series, {"total", "free"}, over=Over.MAX)
    assert text == f"(sum by ({GROUP}) (max_over_time(total{{}}[60s]))) - (sum by ({GROUP}) (min_over_time(free{{}}[60s])))"
    assert asked(series, {"total"}) is None


def test_a_complement_is_one_less_the_value() -> None:
    series = Series("cpu_utilization_ratio", ("a",), Kind.COUNTER, fold=Fold.MEAN, complement=True)
    assert asked(series, {"a"}) == f"1 - (avg by ({GROUP}) (rate(a{{}}[60s])))"


def test_repeated_series_count_once() -> None:
    series = Series("disk_total_bytes", ("a",), Kind.GAUGE, fold=Fold.SUM, once_by=("device",))
    assert asked(series, {"a"}) == f"sum by ({GROUP}) (max by ({GROUP}, device) (a{{}}))"


def test_blank_values_and_dropped_labels() -> None:
    dcgm = SYSTEMS["dcgm_exporter"]
    power = next(series for series in dcgm.series if series.target == "power_watts")
    text = series_query(dcgm, power, names_present={"DCGM_FI_DEV_POWER_USAGE"}, window_seconds=60)
    assert text is not None
    assert "(DCGM_FI_DEV_POWER_USAGE{} < 1e+15)" in text
    assert "GPU_I_ID" not in text
    assert "GPU_I_ID" in identity_labels(dcgm, dcgm.series[0])


def test_info_series_keep_all_their_labels() -> None:
    series = Series("pod", ("kube_pod_info",), Kind.INFO)
    assert asked(series, {"kube_pod_info"}) == "kube_pod_info{}"
    assert asked(series, {"kube_pod_info"}, over=Over.AVG) == "last_over_time(kube_pod_info{}[60s])"


def test_a_rate_has_no_lowest_and_highest() -> None:
    series = Series("requests_per_second", ("a",), Kind.COUNTER)
    assert overs_of(series) == (Over.AVG,)
    with pytest.raises(ValueError, match="overs_of"):
        asked(series, {"a"}, over=Over.MAX)


@pytest.mark.parametrize("name", ["", "a b", "a{", "1a", 'a"', "a\n", "ä"])
def test_a_metric_name_is_checked(name: str) -> None:
    with pytest.raises(ValueError, match="no metric name"):
        instant_selector(name)


@pytest.mark.parametrize("text", ['a="b', "a", 'a=="b"', '1a="b"', 'a="b" or up', 'a="b"} or up{', 'a="b";c="d"', "a='b'"])
def test_a_typed_selector_that_is_no_list_of_matchers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no label matcher"):
        selector_text(text)


def test_a_typed_selector_is_read_and_written_anew() -> None:
    assert selector_text(' { cluster = "prod" , ns !~ "a|b" , } ') == 'cluster="prod",ns!~"a|b"'
    assert selector_text("") == ""


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_as_a_label_value(value: str) -> None:
    written = str(Matcher("a", "=", value))
    assert "\n" not in written
    assert selector_parse(written) == [Matcher("a", "=", value)]


@settings(deadline=None)
@given(st.lists(st.text(alphabet='"\\\n,{}=~a |', max_size=8), min_size=1, max_size=4))
def test_several_matchers_never_run_into_each_other(values: list[str]) -> None:
    matchers = [Matcher(f"l{at}", "!=", value) for at, value in enumerate(values)]
    assert selector_parse(",".join(map(str, matchers))) == matchers


def test_plain_values_match_themselves_in_a_regex() -> None:
    assert str(any_of("pod", ["a.b", "c|d"])) == 'pod=~"a\\\\.b|c\\\\|d"'

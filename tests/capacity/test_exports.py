import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity.analysis.plan_records import Floor, PlanResult, Policy, Replayed, record_read
from capacity.exports.hpa import hpa_yaml
from capacity.exports.keda import keda_yaml
from capacity.exports.names import Names, quantity
from capacity.exports.plan_json import SCHEMA, plan_json
from capacity.exports.windows import MOST_WINDOWS, Windows, windows_of

CRD = Path(__file__).parents[1] / "data" / "keda" / "keda.sh_scaledobjects.yaml"
NAMES = Names(namespace="models", workload="chat-70b", metric="vllm:num_requests_running")
DAY = (5,) * 6 + (8,) * 16 + (5,) * 2
FLOOR = Floor(
    replicas=DAY,
    most=12,
    target_ratio=0.7,
    stabilisation_minutes=10,
    startup_seconds=380.0,
    startup_basis="measured over 14 starts",
    running_per_replica=21.0,
)
POLICIES = (
    Policy("plan", "Our plan", "", lost_minutes=9.0, replica_hours=3360.0, cost=None, measured=False),
    Policy("hpa70", "HPA at 70 %", "", lost_minutes=1310.0, replica_hours=2900.0, cost=None, measured=False),
)
NOW = datetime(2026, 11, 21, 3, 12, tzinfo=UTC).timestamp()
REPLAYED = Replayed(NOW - 14 * 86400, NOW, days=14, minutes=20_160, budget_minutes=20.0, policies=POLICIES, sentence="")
RESULT = PlanResult(
    made_at=NOW,
    as_of=NOW - 60,
    horizon_days=90,
    headline="Capacity runs out on Tue 8 Dec.",
    verdict="breaks",
    floor=FLOOR,
    replayed=REPLAYED,
)


def read(text: str) -> dict[str, Any]:
    return dict(yaml.safe_load(text))


def scaled_object_valid(document: dict[str, Any]) -> None:
    """Against KEDA's own schema, unknown fields refused as a cluster's strict check does."""
    version = yaml.safe_load(CRD.read_text())["spec"]["versions"][0]
    jsonschema.validate(document, closed(version["schema"]["openAPIV3Schema"]))


def closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(value) for key, value in schema.items()}
    if isinstance(found.get("properties"), dict) and found["properties"] and "additionalProperties" not in found:
        found["additionalProperties"] = False
    return found


class TestHpa:
    @pytest.mark.parametrize("version", ["1.27", "1.37"])
    def test_kubernetes_accepts_it(self, version: str) -> None:
        for floor in (FLOOR, replace(FLOOR, replicas=DAY * 7, running_per_replica=2.8125, stabilisation_minutes=90)):
            kubernetes_validate.validate(read(hpa_yaml(replace(RESULT, floor=floor), names=NAMES)), version, strict=True)

    def test_it_scales_as_the_backtest_did(self) -> None:
        spec = read(hpa_yaml(RESULT, names=NAMES))["spec"]
        assert (spec["minReplicas"], spec["maxReplicas"]) == (8, 12)
        assert spec["metrics"][0]["pods"] == {
            "metric": {"name": "vllm:num_requests_running"},
            "target": {"type": "AverageValue", "averageValue": "21"},
        }
        assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 600
        assert {each["type"]: each["value"] for each in spec["behavior"]["scaleUp"]["policies"]} == {"Percent": 100, "Pods": 4}

    def test_the_most_is_never_below_the_least(self) -> None:
        spec = read(hpa_yaml(replace(RESULT, floor=replace(FLOOR, most=3, replicas=(0,) * 23 + (6,))), names=NAMES))["spec"]
        assert (spec["minReplicas"], spec["maxReplicas"]) == (6, 6)

    def test_the_head_says_where_it_comes_from_and_what_the_backtest_said(self) -> None:
        text = hpa_yaml(RESULT, names=NAMES)
        comments = [line for line in text.splitlines() if line.startswith("#")]
        assert comments[0] == "# Deployment chat-70b in models. Made by Headroom, 2026-11-21 03:12 UTC."
        assert "# Our plan: 9 min, 3,360 replica-hours" in comments and "# HPA at 70 %: 1,310 min, 2,900 replica-hours" in comments
        assert any("380 s to start (measured over 14 starts)" in line for line in comments)

    def test_words_of_others_stay_in_the_comment(self) -> None:
        text = hpa_yaml(replace(RESULT, headline="one\nspec: {}\n# two"), names=NAMES)
        assert "# one spec: {} # two\n" in text and read(text)["kind"] == "HorizontalPodAutoscaler"

    def test_without_a_backtest_it_says_why(self) -> None:
        text = hpa_yaml(replace(RESULT, replayed=None, gaps={"replayed": "Not enough data: have 2, need 4."}), names=NAMES)
        assert "# Not backtested: Not enough data: have 2, need 4." in text

    def test_numbers_are_written_as_kubernetes_writes_them(self) -> None:
        assert [quantity(value) for value in (21.0, 2.8, 0.0004)] == ["21", "2800m", "1m"]


class TestKeda:
    def test_keda_accepts_it(self) -> None:
        for floor in (FLOOR, replace(FLOOR, replicas=(3,) * 24), replace(FLOOR, replicas=tuple(range(1, 25)) * 7, running_per_replica=2.8)):
            scaled_object_valid(read(keda_yaml(replace(RESULT, floor=floor), names=NAMES)))

    def test_its_schema_refuses_what_keda_does(self) -> None:
        document = read(keda_yaml(RESULT, names=NAMES))
        document["spec"]["triggers"][1]["metadata"]["desiredReplicas"] = 8  # a number: metadata are strings
        with pytest.raises(jsonschema.ValidationError, match="8 is not of type 'string'"):
            scaled_object_valid(document)
        with pytest.raises(jsonschema.ValidationError, match="minReplica"):
            scaled_object_valid({**document, "spec": {**document["spec"], "minReplica": 1}})

    def test_the_load_and_the_floor_of_the_day(self) -> None:
        spec = read(keda_yaml(RESULT, names=NAMES))["spec"]
        assert (spec["minReplicaCount"], spec["maxReplicaCount"], spec["fallback"]["replicas"]) == (5, 12, 8)
        prometheus, cron = spec["triggers"]
        assert prometheus["metadata"]["query"] == 'sum(vllm:num_requests_running{namespace="models"})'
        assert prometheus["metadata"]["threshold"] == "21"
        # 380 s to start are 7 minutes: ready at 06:00.
        assert cron["metadata"] == {"timezone": "Etc/UTC", "start": "53 5 * * *", "end": "0 22 * * *", "desiredReplicas": "8"}

    def test_a_query_and_an_address_of_ones_own(self) -> None:
        names = replace(NAMES, query='sum(running{job="chat"})', server_address="https://prom.example.com")
        metadata = read(keda_yaml(RESULT, names=names))["spec"]["triggers"][0]["metadata"]
        assert (metadata["query"], metadata["serverAddress"]) == ('sum(running{job="chat"})', "https://prom.example.com")

    def test_it_warns_of_the_tolerance_where_it_matters(self) -> None:
        assert "tolerance of 10 %" not in keda_yaml(RESULT, names=NAMES)
        assert "tolerance of 10 %" in keda_yaml(replace(RESULT, floor=replace(FLOOR, replicas=(10,) * 12 + (11,) * 12)), names=NAMES)


def moments(cron: str) -> list[int]:
    """Minutes of the week (Monday 00:00 first) of cron's five fields as written here: numbers, `*` and lists of weekdays."""
    minute, hour, _, _, weekdays = cron.split()
    days = range(7) if weekdays == "*" else [(int(day) - 1) % 7 for day in weekdays.split(",")]
    return [day * 1440 + int(hour) * 60 + int(minute) for day in days]


def running(found: Windows, minute: int) -> int:
    """What KEDA runs then: the most of all windows the moment is in, by KEDA's rule (its next end comes before its next start)."""
    counts = [found.least]
    for window in found.windows:
        start, end = (min((moment - minute - 1) % 10_080 for moment in moments(cron)) for cron in (window.start, window.end))
        if end < start:
            counts.append(window.replicas)
    return max(counts)


class TestWindows:
    def test_equal_neighbours_are_one_window_across_midnight_too(self) -> None:
        found = windows_of((7,) * 3 + (2,) * 17 + (7,) * 4, lead_minutes=0)
        assert found.least == 2 and [(w.start, w.end, w.replicas) for w in found.windows] == [("0 20 * * *", "0 3 * * *", 7)]

    def test_the_same_window_of_several_weekdays_is_told_once(self) -> None:
        found = windows_of(DAY * 5 + (5,) * 48, lead_minutes=10)
        assert [(w.start, w.end) for w in found.windows] == [("50 5 * * 1,2,3,4,5", "0 22 * * 1,2,3,4,5")]

    def test_a_window_that_starts_before_midnight_starts_on_the_day_before(self) -> None:
        floor = [1] * 168
        floor[0] = 4  # Monday 00:00
        assert [(w.start, w.end) for w in windows_of(floor, lead_minutes=6).windows] == [("54 23 * * 0", "0 1 * * 1")]

    def test_an_even_floor_needs_none(self) -> None:
        assert windows_of((3,) * 24, lead_minutes=5) == Windows(least=3, windows=(), added_hours=0.0)

    def test_a_long_start_never_swallows_its_own_end(self) -> None:
        found = windows_of((5,) * 23 + (1,), lead_minutes=300)
        assert [(w.start, w.end) for w in found.windows] == [("1 23 * * *", "0 23 * * *")]
        assert running(found, 12 * 60) == 5

    @settings(max_examples=25, deadline=None)
    @given(st.sampled_from([24, 168]), st.integers(0, 400), st.integers(0, 10_000), st.integers(2, 6))
    def test_keda_runs_the_floor_at_every_hour_and_little_more(self, hours: int, lead: int, seed: int, levels: int) -> None:
        floor = [1 + (seed * (hour // 3 * 7 + 3) // 11) % levels for hour in range(hours)]
        found = windows_of(floor, lead_minutes=lead)
        assert len(found.windows) <= MOST_WINDOWS
        for hour in range(168):
            counts = {running(found, (hour * 60 + minute) % 10_080) for minute in (1, 58)}
            assert min(counts) >= floor[hour % hours]
        if found.added_hours == 0 and lead == 0:
            assert all(running(found, hour * 60 + 30) == floor[hour % hours] for hour in range(168))

    def test_too_many_windows_are_joined_upwards_and_said(self) -> None:
        floor = [1 + (hour * 7 % 5) for hour in range(168)]
        found = windows_of(floor, lead_minutes=0)
        assert len(found.windows) <= MOST_WINDOWS and found.added_hours > 0
        assert all(running(found, hour * 60 + 30) >= floor[hour] for hour in range(168))
        assert "joined to have few triggers" in keda_yaml(replace(RESULT, floor=replace(FLOOR, replicas=tuple(floor))), names=NAMES)


class TestJson:
    def test_it_is_the_stored_plan_with_a_version(self) -> None:
        content = json.loads(plan_json(RESULT, names=NAMES))
        assert content["schema"] == SCHEMA == "headroom.plan/1" and content["workload"]["workload"] == "chat-70b"
        assert record_read(PlanResult, content["plan"]) == RESULT
        assert json.loads(plan_json(RESULT))["workload"] is None


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: replace(NAMES, namespace="Models"), "the namespace 'Models' cannot stand in the file; needed lower-case letters"),
        (lambda: replace(NAMES, workload="a\nb"), "the workload"),
        (lambda: replace(NAMES, metric="a b"), "the metric 'a b'"),
        (lambda: replace(NAMES, kind=""), "a kind such as Deployment"),
        (lambda: replace(NAMES, api_version="latest"), "such as apps/v1"),
        (lambda: replace(NAMES, server_address="prom"), r"needed http\(s\)://host"),
        (
            lambda: hpa_yaml(replace(RESULT, floor=None, gaps={"floor": "Not enough data."}), names=NAMES),
            "nothing to export yet. Not enough",
        ),
        (lambda: keda_yaml(replace(RESULT, floor=None), names=NAMES), "The plan has no floor"),
        (lambda: hpa_yaml(replace(RESULT, floor=replace(FLOOR, running_per_replica=0.0)), names=NAMES), "above 0 requests running"),
        (lambda: keda_yaml(replace(RESULT, floor=replace(FLOOR, running_per_replica=0.0)), names=NAMES), "above 0 requests running"),
        (lambda: windows_of((1, 2), lead_minutes=0), "24 or 168 floors of 1 or more"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()

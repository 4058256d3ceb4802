"""Rules out and in again: nothing lost, and a bad rule costs only itself."""

import pytest
import yaml

from monitoring.alerts.defaults import DEFAULTS
from monitoring.alerts.rules import rule_fields
from monitoring.alerts.rules_yaml import Imported, rules_export, rules_import
from monitoring.models import AuditEvent, Rule, RuleKind, Team
from tests.factories import make_rule, make_team
from tests.telemetry import NOON

GOOD = """
rules:
  - {name: queue-long, signal: requests_waiting, threshold: 20, matchers: {environment: prod}, summary: The queue is long}
  - {name: kv-full, signal: kv_cache_usage_ratio, threshold: 95, summary: The cache is full}
  - {name: hot, entity: accelerator, signal: temperature_celsius, threshold: 85, severity: critical, summary: "It is hot"}
"""
pytestmark = pytest.mark.django_db


def load(text: str, *, team: Team | None = None, write: bool = True) -> Imported:
    return rules_import(text, team=team, by="ann", now=NOON, write=write)


def written() -> list[dict[str, object]]:
    return [rule_fields(rule) for rule in Rule.objects.order_by("name")]


def test_what_is_written_out_is_read_in_as_it_was() -> None:
    Rule.objects.bulk_create([Rule(**fields) for fields in DEFAULTS])
    make_rule("mine", signal="load1", entity="node", threshold=3, matchers={"node": "gpu-*"}, enabled=False, summary="Größer: 'als' #gut")
    text, before = rules_export(Rule.objects.all()), written()
    assert load(text).unchanged == tuple(sorted(rule.name for rule in Rule.objects.all()))
    Rule.objects.all().delete()
    assert len(load(text).made) == len(before)
    assert written() == before and rules_export(Rule.objects.all()) == text


def test_a_bad_rule_gets_its_sentence_and_the_others_are_made() -> None:
    done = load(GOOD)
    assert (done.made, list(done.problems)) == (("queue-long", "hot"), ["kv-full"])
    assert done.problems["kv-full"] == ("threshold: kv_cache_usage_ratio is a ratio from 0 to 1, and 95 was given; for 95 % write 0.95.",)
    assert set(Rule.objects.values_list("name", flat=True)) == {"queue-long", "hot"}
    assert AuditEvent.objects.count() == 2


def test_without_writing_it_only_says_what_would_be_done() -> None:
    assert load(GOOD, write=False).made == ("queue-long", "hot") and not Rule.objects.exists()


def test_a_changed_rule_is_told_from_one_that_is_as_it_was() -> None:
    load(GOOD)
    again = load(GOOD.replace("threshold: 20", "threshold: 30").replace("matchers: {environment: prod}, ", ""))
    assert (again.made, again.changed, again.unchanged) == ((), ("queue-long",), ("hot",))
    assert (Rule.objects.get(name="queue-long").threshold, Rule.objects.get(name="queue-long").matchers) == (30, {})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rules: [", "not YAML at line 1"),
        ("- a", "under the word `rules:`"),
        ("", "under the word `rules:`"),
        ("rules: {a: 1}", "under the word `rules:`"),
        ("!!python/object/apply:os.system [ls]", "not YAML"),
        ("rules: 2026-99-99", "not YAML"),
        ("x" * 500_001, "Split it"),
    ],
)
def test_what_cannot_be_read_at_all_is_one_sentence(text: str, says: str) -> None:
    assert says in load(text).problems[""][0]


@pytest.mark.parametrize(
    "rule", ["just text", "{name: [a], threshold: {b: 1}, matchers: [1]}", "{name: 2026-01-01}", "{matchers: 7, name: x}", "null"]
)
def test_strange_values_are_mistakes_of_their_rule(rule: str) -> None:
    done = load(f"rules:\n  - {rule}\n  - {yaml.safe_load(GOOD)['rules'][0]}")
    assert done.made == ("queue-long",) and len(done.problems) == 1


def test_a_name_twice_counts_once() -> None:
    done = load(GOOD + GOOD.replace("rules:\n", "").replace("queue-long", "other"))
    assert done.made == ("queue-long", "hot", "other") and set(done.problems) == {"kv-full", "rule 5", "rule 6"}


def test_a_team_changes_its_own_rules_only() -> None:
    make_rule("queue-long", signal="requests_waiting", threshold=1)
    make_rule("drift", kind=RuleKind.FINDING)
    team = make_team()
    done = load(GOOD.replace("95", "0.95").replace("name: kv-full", "name: drift"), team=team)
    assert done.made == () and "belongs to others" in done.problems["queue-long"][0] and "belongs to others" in done.problems["drift"][0]
    assert "ask an admin" in done.problems["hot"][0]
    assert Rule.objects.get(name="queue-long").threshold == 1
    assert "raised by an analysis" in load("rules: [{name: drift}]").problems["drift"][0]

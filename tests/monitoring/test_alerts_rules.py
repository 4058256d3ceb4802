"""Rules as people make them: a sentence for each mistake, an audit for each change, no alert left of a rule that is gone."""

from collections.abc import Mapping

import pytest

from monitoring.alerts.evaluate import alerts_evaluate
from monitoring.alerts.rules import RuleError, rule_delete, rule_fields, rule_make, rule_save, rule_switch, signals_offered
from monitoring.alerts.signals import signal_find
from monitoring.models import Alert, AlertTransition, AuditEvent, Channel, Notification, Rule, RuleKind
from monitoring.store import rows_write
from tests.factories import make_deployment, make_rule, make_team
from tests.telemetry import NOON, at, make_rows

QUEUE: Mapping[str, object] = {"name": "queue-long", "signal": "requests_waiting", "threshold": "20", "summary": "The queue is long"}
pytestmark = pytest.mark.django_db


def problems_of(team: object = None, rule: Rule | None = None, **fields: object) -> dict[str, str]:
    with pytest.raises(RuleError) as caught:
        rule_make({**(QUEUE if rule is None else {}), **fields}, team=team, rule=rule)  # type: ignore[arg-type]
    return caught.value.problems


def test_every_signal_on_offer_is_one() -> None:
    offers = signals_offered()
    assert len({(offer.entity, offer.name) for offer in offers}) == len(offers) > 60
    assert all(signal_find(offer.entity, offer.name) is not None and offer.unit and offer.meaning for offer in offers)


class TestMaking:
    def test_a_rule_is_made_of_the_texts_of_a_form(self) -> None:
        rule = rule_make({**QUEUE, "matchers": "deployment=llama*, environment=prod", "for_seconds": "60", "enabled": "on"}, team=None)
        assert (rule.pk, rule.threshold, rule.for_seconds, rule.enabled) == (None, 20.0, 60, True)
        assert rule.matchers == {"deployment": "llama*", "environment": "prod"}

    @pytest.mark.parametrize(
        ("field", "given", "says"),
        [
            ("name", "Queue long", "'Queue long' was given"),
            ("name", "", "such as queue-too-long"),
            ("threshold", "much", "'much' was given"),
            ("threshold", "nan", "'nan' was given"),
            ("window_seconds", "5", "from 60 to 604800; '5' was given"),
            ("for_seconds", "-1", "'-1' was given"),
            ("severity", "fatal", "one of critical, warning, info; 'fatal'"),
            ("comparison", "over", "one of above, below"),
            ("signal", "queue_length", "'queue_length' is no signal of a deployment"),
            ("entity", "pod", "one of deployment, accelerator"),
            ("matchers", "llama*", "label=pattern"),
            ("matchers", {"node": "a"}, "no label 'node'"),
            ("summary", " ", "first line of every message"),
            ("summary", "x" * 301, "301 were given"),
            ("runbook_url", "javascript:alert(1)", "http or https"),
            ("runbook_url", "http://[", "http or https"),
            ("enabled", "perhaps", "'perhaps' was given"),
            ("thresold", "1", "no field 'thresold'"),
        ],
    )
    def test_each_mistake_has_its_sentence(self, field: str, given: object, says: str) -> None:
        problems = problems_of(**{field: given})
        assert list(problems) == [field] and says in problems[field] and problems[field].endswith(".")

    def test_percent_for_a_ratio_is_told_what_to_write(self) -> None:
        assert "for 95 % write 0.95" in problems_of(signal="kv_cache_usage_ratio", threshold="95")["threshold"]

    def test_a_burn_rate_needs_a_window_that_can_hold_it(self) -> None:
        assert "at least 3600 s" in problems_of(signal="slo_error_burn", window_seconds="600")["window_seconds"]

    def test_all_mistakes_come_at_once_and_nothing_is_changed(self) -> None:
        rule = make_rule("queue", signal="requests_waiting", threshold=5.0)
        problems = problems_of(rule=rule, threshold="x", severity="y", summary="other")
        assert set(problems) == {"threshold", "severity"} and rule.summary != "other"

    def test_a_name_is_there_once(self) -> None:
        make_rule("queue-long")
        assert "choose another name" in problems_of()["name"]

    def test_a_team_rules_over_deployments_only(self) -> None:
        problems = problems_of(team=make_team(), entity="node", signal="load1", threshold="3")
        assert "ask an admin" in problems["entity"]

    def test_what_headroom_ships_keeps_its_name_and_cannot_be_deleted(self) -> None:
        rule = make_rule("ours", signal="requests_waiting", shipped=True)
        assert "keeps its name" in problems_of(rule=rule, name="mine")["name"]
        assert rule_make({"threshold": "7"}, team=None, rule=rule).threshold == 7
        with pytest.raises(RuleError, match="switch it off instead"):
            rule_delete(rule, by="ann", now=NOON)

    def test_what_an_analysis_finds_can_be_switched_only(self) -> None:
        rule = make_rule("drift", kind=RuleKind.FINDING)
        assert "switched on and off only" in problems_of(rule=rule, threshold="3")[""]
        assert rule_make({"enabled": False}, team=None, rule=rule).enabled is False


class TestKeeping:
    def test_a_change_is_audited_by_what_changed(self) -> None:
        rule = rule_save(rule_make(QUEUE, team=None), by="ann", now=NOON)
        rule_save(rule_make({"threshold": 30}, team=None, rule=rule), by="bob", now=NOON)
        rule_save(rule_make({"threshold": 30}, team=None, rule=rule), by="bob", now=NOON)  # nothing changed, nothing to tell
        first, second = AuditEvent.objects.order_by("pk")
        assert (first.actor, first.action, first.subject, first.after["threshold"]) == ("ann", "alert_rule.create", "rule queue-long", 20.0)
        assert (second.actor, second.action, second.before, second.after) == (
            "bob",
            "alert_rule.change",
            {"threshold": 20.0},
            {"threshold": 30.0},
        )

    def test_a_name_taken_at_the_same_moment_is_a_sentence(self) -> None:
        rule = rule_make(QUEUE, team=None)
        make_rule("queue-long")
        with pytest.raises(RuleError, match="choose another name"):
            rule_save(rule, by="ann", now=NOON)

    @pytest.mark.parametrize(
        ("end", "note"), [("delete", "was deleted by ann"), ("off", "switched off by ann"), ("rename", "renamed by ann")]
    )
    def test_open_alerts_of_a_rule_that_goes_end_and_their_end_is_told(self, end: str, note: str) -> None:
        alerts_evaluate(now=at(-60))
        Channel.objects.create(name="ops", kind="webhook")
        rule = rule_save(rule_make({**QUEUE, "for_seconds": 0, "window_seconds": 60}, team=None), by="ann", now=NOON)
        rows_write(make_rows([0], ids=make_deployment().pk, requests_waiting=50), overwrite=True)
        alerts_evaluate(now=NOON)
        assert Alert.objects.get().state == "firing"
        if end == "delete":
            rule_delete(rule, by="ann", now=at(5))
        elif end == "off":
            rule_switch(rule, False, by="ann", now=at(5))
        else:
            rule_save(rule_make({"name": "queue-longer"}, team=None, rule=rule), by="ann", now=at(5))
        alert = Alert.objects.get()
        assert (alert.state, alert.closed_at, alert.rule_name) == ("resolved", at(5), "queue-long")
        assert note in AlertTransition.objects.latest("number").note
        assert list(Notification.objects.order_by("edge_number").values_list("edge", flat=True)) == ["fire", "resolve"]
        assert AuditEvent.objects.count() == 2

    def test_what_was_written_makes_the_same_rule_again(self) -> None:
        rule = rule_make({**QUEUE, "matchers": {"team": "a*"}}, team=None)
        assert rule_fields(rule_make(rule_fields(rule), team=None)) == rule_fields(rule)

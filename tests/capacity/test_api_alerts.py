"""Alerts, rules, silences, channels and deliveries by the API: scopes, problem details, the same twice."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from monitoring.access import secret_encrypt
from monitoring.models import Alert, AlertTransition, AuditEvent, Channel, Role, Rule, Scope, Silence
from tests.capacity.api_client import Api, key_api
from tests.capacity.test_dashboards_alerts import fires, measured
from tests.capacity.test_dashboards_alerts_setup import told
from tests.factories import make_admin, make_deployment, make_member, make_rule, make_team

pytestmark = pytest.mark.django_db
RULE = {
    "name": "queue-too-long", "entity": "deployment", "signal": "requests_waiting", "comparison": "above", "threshold": 20,
    "severity": "warning", "summary": "Too many requests wait",
}  # fmt: skip


def later(**span: float) -> str:
    return (timezone.now() + timedelta(**span)).isoformat()


class TestAlerts:
    def test_what_fires_now_by_filters_of_the_fields(self) -> None:
        api, chat = Api(make_admin()), make_deployment("chat")
        alert = fires(chat)
        fires(make_deployment(), severity="warning", state="resolved", fired=False, closed_at=timezone.now())
        for query in ("open=true&fired=true", "severity=critical", f"deployment={chat.pk}", f"rule={alert.rule_name}", "state=firing"):
            assert [row["id"] for row in api.ok(f"alerts?{query}")["results"]] == [alert.pk], query
        row = api.ok(f"alerts/{alert.pk}")
        assert (row["value"], row["labels"]["deployment"], row["acknowledged"], row["transitions"]) == (0.97, "chat", False, [])
        api.refused("alerts?state=burning", status=400)

    def test_acknowledged_twice_is_once_and_ended_twice_too(self) -> None:
        team = make_team()
        alert = fires(make_deployment(team=team))
        api, until = key_api(scope=Scope.ADMIN, team=team), later(hours=4)
        for _ in range(2):
            assert api.ok(f"alerts/{alert.pk}/acknowledge", method="post", body={"until": until})["acknowledged"]
        assert AlertTransition.objects.filter(alert=alert).count() == 1
        for _ in range(2):
            api.ok(f"alerts/{alert.pk}/acknowledge", method="delete", status=204)
        assert not Alert.objects.get(pk=alert.pk).is_acknowledged(now=timezone.now())
        assert (
            "later time"
            in api.refused(f"alerts/{alert.pk}/acknowledge", status=409, method="post", body={"until": later(hours=-1)})["detail"]
        )

    def test_silenced_twice_until_the_same_time_is_one_silence(self) -> None:
        alert = fires(make_deployment())
        api, body = Api(make_admin()), {"until": later(hours=1), "reason": "known"}
        made = api.ok(f"alerts/{alert.pk}/silence", method="post", body=body, status=201)
        assert api.ok(f"alerts/{alert.pk}/silence", method="post", body=body)["id"] == made["id"]
        assert Silence.objects.count() == 1

    def test_reading_does_not_change_and_viewers_do_not_act(self) -> None:
        team = make_team()
        alert = fires(make_deployment(team=team))
        reading = key_api(team=team)
        assert reading.ok("alerts")["count"] == 1
        assert "scope admin" in reading.refused(f"alerts/{alert.pk}/acknowledge", status=403, method="post", body={})["detail"]
        assert "editor" in Api(make_member(team)).refused(f"alerts/{alert.pk}/acknowledge", status=403, method="post", body={})["detail"]
        key_api(scope=Scope.ADMIN, team=make_team()).refused(f"alerts/{alert.pk}", status=404)


class TestRules:
    def test_made_read_changed_and_deleted(self) -> None:
        team = make_team()
        api = Api(make_member(team, role=Role.EDITOR))
        made = api.ok("alert-rules", method="post", body=RULE | {"team": team.pk}, status=201)
        assert (made["team"], made["threshold"], made["shipped"]) == (team.pk, 20.0, False)
        assert api.ok(f"alert-rules/{made['id']}", method="patch", body={"enabled": False})["enabled"] is False
        assert api.ok("alert-rules?enabled=false")["results"][0]["name"] == "queue-too-long"
        api.ok(f"alert-rules/{made['id']}", method="delete", status=204)
        assert not Rule.objects.exists()
        assert {"alert_rule.create", "alert_rule.change", "alert_rule.delete"} <= set(AuditEvent.objects.values_list("action", flat=True))

    def test_a_mistake_names_its_field(self) -> None:
        problem = Api(make_admin()).refused("alert-rules", status=400, method="post", body=RULE | {"signal": "kv_cache_usage_ratio"})
        assert problem["errors"][0]["pointer"] == "#/threshold" and "ratio from 0 to 1" in problem["errors"][0]["detail"]
        assert "unknown field" in Api(make_admin()).refused("alert-rules", status=400, method="post", body=RULE | {"colour": 1})["detail"]

    def test_everybodys_rules_are_for_admins_to_change(self) -> None:
        shared, team = make_rule("shared"), make_team()
        api = key_api(scope=Scope.ADMIN, team=team)
        assert api.ok(f"alert-rules/{shared.pk}")["name"] == "shared"
        api.refused(f"alert-rules/{shared.pk}", status=403, method="patch", body={"enabled": False})
        api.refused("alert-rules", status=403, method="post", body=RULE)
        api.refused("alert-rules", status=404, method="post", body=RULE | {"team": make_team().pk})

    def test_a_shipped_one_is_not_deleted(self) -> None:
        rule = make_rule("shipped", shipped=True)
        assert "switch it off" in Api(make_admin()).refused(f"alert-rules/{rule.pk}", status=409, method="delete")["detail"]

    def test_what_it_would_have_done(self) -> None:
        chat = make_deployment("chat")
        measured(chat, "requests_waiting", 40.0, since=timezone.now() - timedelta(hours=2))
        found = Api(make_admin()).ok("alert-rules/preview", method="post", body=RULE)
        assert found["count"] == 1 and found["firings"][0]["deployment"] == chat.pk and found["sentence"].startswith("Would")
        assert not Rule.objects.exists()

    def test_yaml_twice_is_once(self) -> None:
        api, text = Api(make_admin()), "rules:\n- name: own-rule\n  signal: requests_waiting\n  threshold: 5\n  summary: x\n"
        assert api.ok("alert-rules/yaml", method="post", body={"yaml": text})["made"] == ["own-rule"] and not Rule.objects.exists()
        assert api.ok("alert-rules/yaml", method="post", body={"yaml": text, "write": True})["made"] == ["own-rule"]
        assert api.ok("alert-rules/yaml", method="post", body={"yaml": text, "write": True})["unchanged"] == ["own-rule"]
        assert "own-rule" in api.ok("alert-rules/yaml")["yaml"]
        assert api.refused("alert-rules/yaml", status=400, method="post", body={"yaml": "rules: [oops"})["errors"]
        wrong = api.ok("alert-rules/yaml", method="post", body={"yaml": text.replace("threshold: 5", "threshold: much")})
        assert wrong["problems"][0]["rule"] == "own-rule" and "threshold" in wrong["problems"][0]["sentences"][0]

    def test_the_signals_are_listed(self) -> None:
        names = {row["name"] for row in Api(make_admin()).ok("alert-rules/signals")}
        assert {"slo_latency_burn", "kv_cache_usage_ratio", "agent_silent_seconds"} <= names


class TestSilences:
    def test_made_listed_and_ended(self) -> None:
        team = make_team()
        api = Api(make_member(team, role=Role.EDITOR))
        made = api.ok("silences", method="post", body={"team": team.pk, "matchers": {"rule": "*"}, "end_at": later(hours=2)}, status=201)
        assert made["holds"] is True and api.ok("silences?over=false")["count"] == 1
        for _ in range(2):
            api.ok(f"silences/{made['id']}", method="delete", status=204)
        assert api.ok("silences?over=true")["count"] == 1
        assert (
            api.refused("silences", status=400, method="post", body={"team": team.pk, "matchers": {}, "end_at": later(hours=2)})["errors"][
                0
            ]["pointer"]
            == "#/matchers"
        )
        api.refused("silences", status=403, method="post", body={"matchers": {"rule": "*"}, "end_at": later(hours=2)})


class TestChannels:
    def test_made_changed_tested_and_deleted_without_a_secret_in_any_answer(self) -> None:
        team = make_team()
        api = key_api(scope=Scope.ADMIN, team=team)
        body: dict[str, Any] = {
            "name": "ops",
            "kind": "slack",
            "team": team.pk,
            "secrets": {"url": "http://127.0.0.1:9/services/topsecret9876"},
        }
        made = api.ok("channels", method="post", body=body, status=201)
        assert made["secret_tails"] == {"url": "…9876"} and "topsecret" not in json.dumps(made)
        kept = api.ok(f"channels/{made['id']}", method="patch", body={"severities": ["critical"]})
        assert kept["severities"] == ["critical"] and kept["secret_tails"] == {"url": "…9876"}
        tested = api.ok(f"channels/{made['id']}/test", method="post", body={})
        assert (tested["ok"], tested["block"]) == (False, "127.0.0.1:9")
        assert api.ok(f"channels/{made['id']}", method="patch", body={"enabled": False})["enabled"] is False
        api.ok(f"channels/{made['id']}", method="delete", status=204)
        assert "topsecret" not in json.dumps([[row.before, row.after, row.subject] for row in AuditEvent.objects.all()])

    def test_a_mistake_names_its_field_and_not_the_secret(self) -> None:
        problem = Api(make_admin()).refused(
            "channels", status=400, method="post", body={"name": "x", "kind": "slack", "secrets": {"url": "topsecret9876"}}
        )
        assert problem["errors"][0]["pointer"] == "#/url" and "topsecret" not in json.dumps(problem)

    def test_channels_of_all_teams_are_the_admins(self) -> None:
        row = Channel.objects.create(name="all", kind="slack", secret=secret_encrypt(json.dumps({"url": "https://example.com/abcdef"})))
        team = make_team()
        api = key_api(scope=Scope.ADMIN, team=team)
        assert api.ok("channels")["count"] == 0
        api.refused(f"channels/{row.pk}", status=404)
        Api(make_member(team, role=Role.EDITOR)).refused(
            "channels", status=403, method="post", body={"name": "x", "kind": "email", "team": team.pk}
        )


def test_deliveries_are_read_and_replayed() -> None:
    api, dead = Api(make_admin()), told("dead", last_error="503")
    assert api.ok("deliveries?state=dead")["results"][0]["last_error"] == "503"
    assert api.ok(f"deliveries/{dead.pk}/replay", method="post", body={})["state"] == "waiting"
    assert "nothing to replay" in api.refused(f"deliveries/{dead.pk}/replay", status=409, method="post", body={})["detail"]

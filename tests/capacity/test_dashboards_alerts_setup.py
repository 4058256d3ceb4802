"""Rules with their preview, silences, channels with their Test, and the delivery log, as pages."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client, override_settings
from django.utils import timezone

from monitoring.access import secret_encrypt
from monitoring.models import AllowedAddress, AuditEvent, Channel, Edge, Notification, NotificationState, Role, Rule, Silence
from tests.capacity.pages import client_of, queries, text_of, toasts, undo_of
from tests.capacity.test_dashboards_alerts import fires, measured, words_of
from tests.factories import make_admin, make_alert, make_deployment, make_member, make_rule, make_team

pytestmark = pytest.mark.django_db
TYPED = {
    "signal": "deployment:kv_cache_usage_ratio",
    "comparison": "above",
    "threshold": "0.9",
    "window_seconds": "300",
    "for_seconds": "0",
    "keep_firing_seconds": "300",
    "severity": "warning",
    "summary": "The KV cache fills",
    "name": "kv-own",
    "team": "",
}


@pytest.fixture
def admin() -> Client:
    return client_of(make_admin("root@example.com"))


class TestRules:
    def test_the_list_says_what_each_watches_and_when_it_fired(self, admin: Client) -> None:
        fires(make_deployment("chat"))
        make_rule("quiet-rule", enabled=False, signal="requests_waiting", threshold=20, window_seconds=600)
        page = words_of(admin.get("/alerts/rules/"))
        assert "KV cache of each deployment fires above 95 % over 5 min" in page and "31 min ago" in page
        assert "Waiting of each deployment fires above 20 requests over 10 min" in page and "never" in page
        assert [row.rule.name for row in admin.get("/alerts/rules/?show=off").context["rows"]] == ["quiet-rule"]

    def test_another_teams_firing_does_not_show(self) -> None:
        own, other = make_team(), make_team()
        rule = make_rule("shared", entity="deployment", signal="kv_cache_usage_ratio")
        fires(make_deployment(team=other), rule=rule)
        row = client_of(make_member(own)).get("/alerts/rules/").context["rows"][0]
        assert (row.rule.name, row.last, row.fired, row.may_change) == ("shared", None, 0, False)

    def test_made_changed_undone_switched_off_and_deleted(self, admin: Client) -> None:
        page = admin.post("/alerts/rules/new/", TYPED | {"matchers": "deployment=llama*"}, follow=True)
        rule = Rule.objects.get(name="kv-own")
        assert (rule.signal, rule.threshold, rule.matchers, rule.team) == ("kv_cache_usage_ratio", 0.9, {"deployment": "llama*"}, None)
        assert "kv-own is made" in toasts(page)[0]
        page = admin.post(f"/alerts/rules/{rule.pk}/", TYPED | {"threshold": "0.8"}, follow=True)
        assert Rule.objects.get(pk=rule.pk).threshold == 0.8
        admin.post(undo_of(page))
        assert Rule.objects.get(pk=rule.pk).threshold == 0.9
        page = admin.post(f"/alerts/rules/{rule.pk}/off/", follow=True)
        switched_off = undo_of(page)
        assert not Rule.objects.get(pk=rule.pk).enabled
        page = admin.post(f"/alerts/rules/{rule.pk}/delete/", follow=True)
        admin.post(switched_off)
        assert not Rule.objects.filter(pk=rule.pk).exists()
        admin.post(undo_of(page))
        assert Rule.objects.get(pk=rule.pk).name == "kv-own"

    @pytest.mark.parametrize(
        ("typed", "sentence"),
        [
            ({"threshold": "95"}, "for 95 % write 0.95"),
            ({"threshold": "much"}, "A threshold is a number, such as 0.95 or 20"),
            ({"summary": ""}, "Say in one line what is wrong"),
            ({"name": "Not A Name"}, "A name has small letters"),
            ({"runbook_url": "wiki"}, "A runbook is an address with http or https"),
            ({"matchers": "deployment llama"}, "Labels are written label=pattern"),
            ({"matchers": "colour=red"}, "has no label"),
        ],
    )
    def test_a_mistake_gets_its_sentence(self, admin: Client, typed: dict[str, str], sentence: str) -> None:
        answer = admin.post("/alerts/rules/new/", TYPED | typed)
        assert answer.status_code == 422 and sentence in answer.context["form"].errors.as_text()
        assert not Rule.objects.filter(name="kv-own").exists()

    def test_an_editor_makes_rules_for_the_own_team_only(self) -> None:
        own, other = make_team(), make_team()
        client = client_of(make_member(own, role=Role.EDITOR))
        assert client.post("/alerts/rules/new/", TYPED | {"team": str(other.pk)}).status_code == 422
        assert client.post("/alerts/rules/new/", TYPED | {"team": str(own.pk)}).status_code == 302
        assert Rule.objects.get(name="kv-own").team == own
        shared = make_rule("shared", signal="requests_waiting")
        assert client.post(f"/alerts/rules/{shared.pk}/", TYPED).status_code == 403
        page = text_of(client.get(f"/alerts/rules/{shared.pk}/"))
        assert "To read only" in page and '<fieldset class="plain-set stack tight" disabled>' in page

    def test_the_preview_says_how_often_and_links_to_the_moment(self, admin: Client) -> None:
        chat = make_deployment("chat")
        measured(chat, "kv_cache_usage_ratio", 0.97, since=timezone.now() - timedelta(hours=3))
        page = text_of(admin.post("/alerts/rules/preview/", TYPED, headers={"HX-Request": "true"}))
        assert "Would" in page and f"/deployments/{chat.pk}/?from=" in page and "97 %" in page
        assert not Rule.objects.exists()

    def test_a_preview_shows_only_what_one_sees(self) -> None:
        own, other = make_team(), make_team()
        rival = make_deployment("rival", team=other)
        measured(rival, "kv_cache_usage_ratio", 0.97, since=timezone.now() - timedelta(hours=3))
        rule = make_rule(entity="deployment", signal="kv_cache_usage_ratio", threshold=0.9)
        page = text_of(client_of(make_member(own)).post(f"/alerts/rules/preview/?rule={rule.pk}", TYPED))
        assert "rival" not in page

    def test_a_preview_of_a_mistake_says_it(self, admin: Client) -> None:
        assert "A threshold is a number" in text_of(admin.post("/alerts/rules/preview/", TYPED | {"threshold": ""}))

    def test_yaml_out_and_in_again_changes_nothing(self, admin: Client) -> None:
        admin.post("/alerts/rules/new/", TYPED)
        text = text_of(admin.get("/alerts/rules.yaml"))
        assert "kv-own" in text and "attachment" in admin.get("/alerts/rules.yaml")["Content-Disposition"]
        assert "0 new, 0 changed, 1 as they are." in words_of(admin.post("/alerts/rules/yaml/", {"text": text}))
        changed = text.replace("0.9", "0.8")
        assert "0 new, 1 changed" in words_of(admin.post("/alerts/rules/yaml/", {"text": changed}))
        assert Rule.objects.get().threshold == 0.9
        page = admin.post("/alerts/rules/yaml/", {"text": changed, "write": "1"}, follow=True)
        assert "1 changed" in toasts(page)[0] and Rule.objects.get().threshold == 0.8

    def test_yaml_that_is_wrong_says_where(self, admin: Client) -> None:
        page = words_of(
            admin.post("/alerts/rules/yaml/", {"text": "rules:\n- name: a-rule\n  signal: no_such\n  threshold: 1\n  summary: x\n"})
        )
        assert "1 rule cannot be taken over" in page and "a-rule: signal:" in page
        assert "cannot be taken over" in words_of(admin.post("/alerts/rules/yaml/", {"text": "rules: [oops"}))

    def test_a_team_takes_over_for_itself(self) -> None:
        team = make_team()
        client = client_of(make_member(team, role=Role.EDITOR))
        text = "rules:\n- name: own-rule\n  signal: requests_waiting\n  threshold: 5\n  summary: x\n"
        client.post("/alerts/rules/yaml/", {"text": text, "team": "", "write": "1"})
        assert Rule.objects.get().team == team

    def test_the_number_of_queries_does_not_grow(self, admin: Client) -> None:
        fires(make_deployment())
        few = queries(admin, "/alerts/rules/")
        for _ in range(10):
            fires(make_deployment())
        assert queries(admin, "/alerts/rules/") == few <= 10


class TestSilences:
    def test_made_listed_ended_and_brought_back(self, admin: Client) -> None:
        end = (timezone.now() + timedelta(hours=3)).strftime("%Y-%m-%dT%H:%M")
        page = admin.post(
            "/alerts/silences/", {"matchers": "cluster=prod-eu", "end_at": end, "repeat_days": "0", "reason": "Move"}, follow=True
        )
        assert "The silence is made" in toasts(page)[0] and "cluster=prod-eu" in words_of(page)
        silence = Silence.objects.get()
        page = admin.post(f"/alerts/silences/{silence.pk}/end/", follow=True)
        assert [len(rows) for _, rows in page.context["groups"]] == [0, 0, 1]
        admin.post(undo_of(page))
        assert [len(rows) for _, rows in admin.get("/alerts/silences/").context["groups"]] == [1, 0, 0]

    def test_coming_and_repeating_ones(self, admin: Client) -> None:
        now = timezone.now()
        Silence.objects.create(matchers={"rule": "a"}, start_at=now + timedelta(days=1), end_at=now + timedelta(days=1, hours=1))
        Silence.objects.create(
            matchers={"rule": "b"}, start_at=now - timedelta(days=3), end_at=now - timedelta(days=3) + timedelta(hours=2), repeat_days=1
        )
        page = admin.get("/alerts/silences/")
        assert [len(rows) for _, rows in page.context["groups"]] == [1, 1, 0]
        assert "each day at" in words_of(page)

    @pytest.mark.parametrize(
        ("typed", "sentence"),
        [
            ({"matchers": ""}, "Name at least one label"),
            ({"end_at": ""}, "Say when the silence ends"),
            ({"end_at": "2020-01-01T00:00"}, "must end after it starts"),
        ],
    )
    def test_a_mistake_gets_its_sentence(self, admin: Client, typed: dict[str, str], sentence: str) -> None:
        answer = admin.post("/alerts/silences/", {"matchers": "rule=*", "end_at": "2099-01-01T00:00", "repeat_days": "0"} | typed)
        assert answer.status_code == 422 and sentence in answer.context["form"].errors.as_text()

    def test_a_team_makes_its_own_and_does_not_see_others(self) -> None:
        own, other = make_team(), make_team()
        now = timezone.now()
        for team in (other, None):
            Silence.objects.create(
                team=team, matchers={"deployment": "rival"}, start_at=now - timedelta(hours=1), end_at=now + timedelta(hours=1)
            )
        client = client_of(make_member(own, role=Role.EDITOR))
        assert "rival" not in text_of(client.get("/alerts/silences/"))
        end = (now + timedelta(hours=3)).strftime("%Y-%m-%dT%H:%M")
        client.post("/alerts/silences/", {"matchers": "rule=*", "end_at": end, "team": str(own.pk), "repeat_days": "0"})
        assert Silence.objects.filter(team=own).count() == 1
        assert client_of(make_member(own)).post("/alerts/silences/", {"matchers": "rule=*", "end_at": end}).status_code == 403


SLACK = {"url": "http://127.0.0.1:9/services/T0/B0/topsecretpath", "name": "ops", "team": ""}


class TestChannels:
    def test_no_channel_offers_each_kind(self, admin: Client) -> None:
        page = words_of(admin.get("/alerts/channels/"))
        assert "Nobody is told yet" in page and "Slack webhook" in page
        assert "Alertmanager" in words_of(admin.get("/alerts/channels/new/"))

    def test_a_private_address_is_allowed_in_place_and_nothing_is_stored(self, admin: Client) -> None:
        page = text_of(admin.post("/alerts/channels/new/?kind=slack", SLACK | {"test": "1"}, headers={"HX-Request": "true"}))
        assert "127.0.0.1 is a private address" in page and 'value="127.0.0.1:9"' in page and "topsecretpath" not in page
        page = text_of(admin.post("/alerts/channels/new/?kind=slack", SLACK | {"allow": "127.0.0.1:9"}, headers={"HX-Request": "true"}))
        assert "It did not arrive" in page and "private address" not in page
        assert AllowedAddress.objects.get().port == 9 and not Channel.objects.exists()
        assert AuditEvent.objects.filter(action="address.allow").exists()

    def test_a_team_admin_cannot_allow(self) -> None:
        team = make_team()
        client = client_of(make_member(team, role=Role.ADMIN))
        typed = SLACK | {"team": str(team.pk)}
        page = text_of(client.post("/alerts/channels/new/?kind=slack", typed | {"test": "1"}, headers={"HX-Request": "true"}))
        assert "An admin of the install can allow it" in page and "<button" not in page
        assert client.post("/alerts/channels/new/?kind=slack", typed | {"allow": "127.0.0.1:9"}).status_code == 403
        assert not AllowedAddress.objects.exists()

    def test_mail_is_saved_tested_and_says_so(self, admin: Client, mailoutbox: Any) -> None:
        page = admin.get("/alerts/channels/new/?kind=email")
        assert page.context["form"]["to"].value() == "root@example.com"
        page = admin.post(
            "/alerts/channels/new/?kind=email",
            {"to": "ops@example.com\nsre@example.com", "name": "ops", "severities": ["critical"]},
            follow=True,
        )
        channel = Channel.objects.get()
        assert (channel.options["to"], channel.severities, channel.test_ok) == (["ops@example.com", "sre@example.com"], ["critical"], True)
        assert "its test message arrived" in toasts(page)[0] and mailoutbox
        assert "Works" in words_of(admin.get("/alerts/channels/"))

    def test_a_secret_is_kept_when_left_empty_and_never_shown(self, admin: Client) -> None:
        admin.post("/alerts/channels/new/?kind=slack", SLACK | {"save": "1"})
        channel = Channel.objects.get()
        page = admin.get(f"/alerts/channels/{channel.pk}/")
        assert "path" in words_of(page) and "topsecretpath" not in text_of(page)
        answer = admin.post(f"/alerts/channels/{channel.pk}/", SLACK | {"url": "", "name": "on call", "save": "1"})
        assert answer.status_code == 302
        before, after = channel.secret, Channel.objects.get()
        assert after.name == "on call" and before and after.secret

    def test_a_mistake_is_told_and_the_secret_is_not_said_back(self, admin: Client) -> None:
        answer = admin.post("/alerts/channels/new/?kind=slack", SLACK | {"url": "hooks.slack.com/topsecretpath", "save": "1"})
        assert answer.status_code == 422 and "This is no address" in words_of(answer) and "topsecretpath" not in text_of(answer)
        assert "What is secret is not shown back" in words_of(answer)

    def test_switched_off_by_hand_and_by_the_other_side(self, admin: Client) -> None:
        channel = Channel.objects.create(
            name="ops", kind="email", options={"to": ["a@example.com"]}, switched_off_why="Slack said no_service"
        )
        page = words_of(admin.get("/alerts/channels/"))
        assert "Switched itself off" in page and "Slack said no_service" in page
        admin.post(f"/alerts/channels/{channel.pk}/on/")
        assert Channel.objects.get().switched_off_why == ""
        admin.post(f"/alerts/channels/{channel.pk}/off/")
        assert "Switched off by hand" in words_of(admin.get(f"/alerts/channels/{channel.pk}/"))
        assert "cannot be undone" in words_of(admin.get(f"/alerts/channels/{channel.pk}/delete/"))
        admin.post(f"/alerts/channels/{channel.pk}/delete/")
        assert not Channel.objects.exists()

    def test_an_editor_reads_and_does_not_change(self) -> None:
        team = make_team()
        channel = Channel.objects.create(name="ops", kind="email", team=team, options={"to": ["a@example.com"]})
        client = client_of(make_member(team, role=Role.EDITOR))
        page = text_of(client.get(f"/alerts/channels/{channel.pk}/"))
        assert "To read only" in page and "channel-form" not in page
        assert client.post(f"/alerts/channels/{channel.pk}/", {}).status_code == 403
        assert client.get("/alerts/channels/new/").status_code == 403

    def test_the_number_of_queries_does_not_grow(self, admin: Client) -> None:
        Channel.objects.create(name="a", kind="slack", secret=secret_encrypt(json.dumps({"url": "https://example.com/abcdefgh"})))
        few = queries(admin, "/alerts/channels/")
        for n in range(8):
            Channel.objects.create(name=f"c{n}", kind="email", options={"to": ["a@example.com"]})
        assert queries(admin, "/alerts/channels/") == few <= 10


def told(state: str, **fields: Any) -> Notification:
    now = timezone.now()
    channel = fields.pop("channel", None) or Channel.objects.create(name=f"ops {state}", kind="email", options={"to": ["a@example.com"]})
    alert = fields.pop("alert", None) or make_alert(labels={"deployment": "chat"})
    kept = {"edge": Edge.FIRE, "edge_number": 1, "dedup_key": f"key-{state}-{alert.pk}", "run_after": now, "created_at": now}
    return Notification.objects.create(alert=alert, channel=channel, state=state, **kept | fields)


class TestDeliveries:
    def test_the_log_says_what_was_answered_and_replays_what_was_given_up(self, admin: Client) -> None:
        told("sent", response="250 OK", sent_at=timezone.now())
        told("suppressed", suppressed_by="silence 3: Move")
        dead = told("dead", last_error="503 from the other side", attempts=7)
        page = words_of(admin.get("/alerts/deliveries/"))
        for part in ("All 3", "Sent 1", "Given up 1", "250 OK", "silence 3: Move", "503 from the other side", "Replay"):
            assert part in page
        assert [each.row.pk for each in admin.get("/alerts/deliveries/?show=dead").context["rows"]] == [dead.pk]
        page = admin.post(f"/alerts/deliveries/{dead.pk}/replay/", follow=True)
        dead.refresh_from_db()
        assert dead.state == NotificationState.WAITING and "tried again by ops dead, under the same key" in toasts(page)[0]
        assert "was not given up" in toasts(admin.post(f"/alerts/deliveries/{dead.pk}/replay/", follow=True))[0]

    def test_filters_and_the_number_of_queries(self, admin: Client) -> None:
        row = told("sent")
        few = queries(admin, "/alerts/deliveries/")
        for _ in range(9):
            told("sent", channel=row.channel)
        assert queries(admin, "/alerts/deliveries/") == few <= 13
        assert len(admin.get(f"/alerts/deliveries/?alert={row.alert_id}").context["rows"]) == 1
        assert len(admin.get(f"/alerts/deliveries/?channel={row.channel_id}").context["rows"]) == 10
        assert "Nothing fits" in words_of(admin.get("/alerts/deliveries/?show=dead"))


class TestSaidElsewhere:
    def test_the_checklist_ticks_once_a_test_message_arrived(self, admin: Client) -> None:
        page = words_of(admin.get("/setup/"))
        assert "Tell people by e-mail" in page and "Add e-mail" in page and "Add Slack" in page
        seen = admin.get("/setup/").context["checklist"].seen
        channel = Channel.objects.create(name="ops", kind="email", options={"to": ["a@example.com"]})
        assert "ops is saved and not tested yet." in words_of(admin.get("/setup/"))
        Channel.objects.filter(pk=channel.pk).update(test_ok=True)
        steps = {step.slug: step for step in admin.get("/setup/").context["checklist"].steps}
        assert (steps["email"].done, steps["slack"].optional) == (True, True), "one way to tell people is enough"
        assert admin.get(f"/setup/live/?seen={seen}").status_code == 200
        Channel.objects.filter(pk=channel.pk).update(switched_off_why="550 no such user")
        steps = {step.slug: step for step in admin.get("/setup/").context["checklist"].steps}
        assert (steps["email"].state, steps["slack"].optional) == ("failed", False)

    def test_the_checklist_asks_for_a_watcher_outside_until_there_is_one(self, admin: Client) -> None:
        steps = {step.slug: step for step in admin.get("/setup/").context["checklist"].steps}
        assert (steps["watcher"].state, steps["watcher"].optional) == ("open", True)
        with override_settings(DEAD_MAN_URL="https://ping.example.com/1"):
            page = admin.get("/setup/")
        assert {step.slug: step for step in page.context["checklist"].steps}["watcher"].done and "ping.example.com" not in words_of(page)

    def test_the_banner_says_that_somebody_may_not_be_told_to_who_can_mend_it(self, admin: Client) -> None:
        own, other = make_team(), make_team()
        Channel.objects.create(name="ops", team=own, kind="email", options={"to": ["a@example.com"]}, switched_off_why="550 no such user")
        said = "Channel ops is switched off"
        assert said in words_of(admin.get("/")) and said in words_of(admin.get("/alerts/"))
        assert said in words_of(client_of(make_member(own, role=Role.EDITOR)).get("/alerts/"))
        assert said not in words_of(client_of(make_member(own)).get("/alerts/"))
        assert said not in words_of(client_of(make_member(other, role=Role.ADMIN)).get("/alerts/"))

    def test_a_deployment_shows_what_is_open_of_it(self, admin: Client) -> None:
        chat = make_deployment("chat")
        before = queries(admin, f"/deployments/{chat.pk}/")
        alert = fires(chat)
        fires(make_deployment("asr"), rule=make_rule("other", summary="Something else"))
        page = text_of(admin.get(f"/deployments/{chat.pk}/"))
        assert f'href="/alerts/{alert.pk}/"' in page and "Something else" not in page
        assert queries(admin, f"/deployments/{chat.pk}/") == before, "one query, with alerts and without"

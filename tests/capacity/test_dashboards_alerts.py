"""The list of alerts and one alert: what fires first, what a thumb does and undoes, and the chart of the moment."""

import re
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from monitoring.catalog.records import Entity
from monitoring.ingest import Rows, rows_ingest
from monitoring.models import (
    Alert,
    AlertState,
    AlertTransition,
    AuditEvent,
    Channel,
    Deployment,
    Edge,
    EvaluationMark,
    Notification,
    NotificationState,
    Role,
    Silence,
)
from tests.capacity.pages import client_of, queries, text_of, toasts, undo_of
from tests.factories import make_admin, make_alert, make_deployment, make_member, make_rule, make_team

pytestmark = pytest.mark.django_db


def words_of(response: Any) -> str:
    """The text as it is read: without marks, spaces folded."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text_of(response)))


def fires(deployment: Deployment, *, ago: timedelta = timedelta(minutes=31), severity: str = "critical", **fields: Any) -> Alert:
    """An alert of the KV cache that has fired for so long."""
    rule = fields.pop("rule", None) or make_rule(
        entity="deployment", signal="kv_cache_usage_ratio", threshold=0.95, severity=severity, summary="The KV cache is full",
        consequence="Requests are pushed out.", first_action="Add a replica.", runbook_url="https://wiki.example.com/kv",
    )  # fmt: skip
    at = timezone.now() - ago
    times = dict.fromkeys(("state_since", "started_at", "fired_at", "flipped_at"), at) | {"known_at": timezone.now()}
    told = {
        "labels": {"deployment": deployment.name, "cluster": deployment.cluster.name},
        "value": 0.97,
        "worst_value": 0.99,
        "severity": severity,
    }
    told |= {name: getattr(rule, name) for name in ("summary", "consequence", "first_action", "runbook_url")}
    return make_alert(rule, deployment=deployment, team=deployment.team, **times | told | fields)


class TestList:
    def test_what_fires_comes_first_with_its_value_and_limit(self) -> None:
        chat = make_deployment("chat-70b")
        fires(make_deployment("asr"), severity="warning")
        fires(make_deployment("tts"), severity="warning", state=AlertState.PENDING, fired=False, fired_at=None)
        fires(chat)
        page = words_of(client_of(make_admin()).get("/alerts/"))
        assert "1 critical , 1 warning, 1 pending" in page
        assert page.index("chat-70b: the KV cache is full") < page.index("asr: the KV cache") < page.index("tts: the KV cache")
        assert "KV cache 97 %, fires above 95 %. Requests are pushed out." in page
        assert "31 min" in page

    def test_nothing_fires_says_what_is_watched_and_since_when(self) -> None:
        make_deployment()
        make_rule("a"), make_rule("b", enabled=False)
        now = timezone.now()
        EvaluationMark.objects.create(name="rules", until=now)
        page = words_of(client_of(make_admin()).get("/alerts/"))
        assert "Nothing fires." in page and "1 rule watches 1 deployment." in page
        assert f"last at {now:%H:%M:%S}" in page

    def test_without_a_round_it_says_so(self) -> None:
        assert "No round has run yet" in words_of(client_of(make_admin()).get("/alerts/"))

    @pytest.mark.parametrize(
        ("query", "names"),
        [
            ("", {"chat", "asr", "tts"}),
            ("?state=firing", {"chat", "asr"}),
            ("?state=unacknowledged", {"asr"}),
            ("?state=pending", {"tts"}),
            ("?state=resolved", {"old"}),
            ("?severity=critical", {"chat", "tts"}),
            ("?state=muted", {"asr"}),
            ("?state=nonsense&severity=none&team=x&deployment=99999999999999999999999", {"chat", "asr", "tts"}),
        ],
    )
    def test_filters_by_the_address(self, query: str, names: set[str]) -> None:
        now = timezone.now()
        fires(make_deployment("chat"), acknowledged_at=now, acknowledged_by="anna@example.com")
        fires(make_deployment("asr"), severity="warning", inhibited_by="source prod away")
        fires(make_deployment("tts"), state=AlertState.PENDING, fired=False, fired_at=None)
        fires(
            make_deployment("old"),
            state=AlertState.RESOLVED,
            fired=False,
            closed_at=now - timedelta(days=2),
            resolved_at=now - timedelta(days=2),
        )
        shown = client_of(make_admin()).get(f"/alerts/{query}").context["rows"]
        assert {row.alert.deployment.name for row in shown} == names

    def test_by_team_and_by_deployment(self) -> None:
        search, voice = make_team("Search"), make_team("Voice")
        chat, asr = make_deployment("chat", team=search), make_deployment("asr", team=voice)
        fires(chat), fires(asr)
        client = client_of(make_admin())
        for query in (f"?team={voice.pk}", f"?deployment={asr.pk}"):
            assert [row.alert.deployment for row in client.get(f"/alerts/{query}").context["rows"]] == [asr]

    def test_a_team_sees_its_own_wherever_the_deployment_moved(self) -> None:
        search, voice = make_team("Search"), make_team("Voice")
        chat = make_deployment("chat", team=search)
        alert = fires(chat)
        Deployment.objects.filter(pk=chat.pk).update(team=voice)
        before, after = client_of(make_member(search)), client_of(make_member(voice))
        assert not before.get("/alerts/").context["rows"] and before.get(f"/alerts/{alert.pk}/").status_code == 404
        assert len(after.get("/alerts/").context["rows"]) == 1 and after.get(f"/alerts/{alert.pk}/").status_code == 200

    def test_the_number_of_queries_does_not_grow(self) -> None:
        client = client_of(make_admin())
        fires(make_deployment("one"))
        few = queries(client, "/alerts/")
        for n in range(12):
            fires(make_deployment(f"m{n}"), severity="warning")
        assert queries(client, "/alerts/") == few <= 22

    def test_the_navigation_counts_what_fires(self) -> None:
        fires(make_deployment())
        assert re.search(r'data-go="l">Alerts<span class="count crit">1 firing</span>', text_of(client_of(make_admin()).get("/account/")))

    def test_how_often_it_cried_wolf(self) -> None:
        now = timezone.now()
        over = {"state": AlertState.RESOLVED, "fired": False}
        fires(make_deployment("a"), ago=timedelta(minutes=9), closed_at=now - timedelta(minutes=6), **over)
        fires(make_deployment("b"), acknowledged_at=now, acknowledged_by="anna@example.com")
        page = words_of(client_of(make_admin()).get("/alerts/"))
        assert "Often. 28 days: 2 alerts fired, 1 acknowledged, 1 ended within 5 min." in page


class TestThumb:
    def test_acknowledged_by_one_press_and_taken_back_by_undo(self) -> None:
        team = make_team()
        alert = fires(make_deployment(team=team))
        client = client_of(make_member(team, role=Role.EDITOR, email="anna@example.com"))
        answer = client.post(f"/alerts/{alert.pk}/acknowledge/", {"next": "/alerts/?state=firing"})
        assert answer["Location"] == f"/alerts/?state=firing#alert-{alert.pk}"
        page = client.get("/alerts/")
        assert "is acknowledged until" in toasts(page)[0] and "Acknowledged by anna@example.com until" in words_of(page)
        alert.refresh_from_db()
        assert alert.is_acknowledged(now=timezone.now())
        assert alert.acknowledged_until and 3.9 < (alert.acknowledged_until - timezone.now()) / timedelta(hours=1) < 4.1
        client.post(undo_of(page))
        alert.refresh_from_db()
        assert not alert.is_acknowledged(now=timezone.now())
        assert list(AlertTransition.objects.values_list("note", flat=True))[-1] == "acknowledgement ended by anna@example.com"
        assert set(AuditEvent.objects.values_list("action", flat=True)) >= {"alert.acknowledge", "alert.acknowledge_end"}

    def test_silenced_for_an_hour_and_taken_back(self) -> None:
        team = make_team()
        alert = fires(make_deployment("chat", team=team))
        client = client_of(make_member(team, role=Role.EDITOR))
        client.post(f"/alerts/{alert.pk}/silence/", {"until": "1h", "reason": "known"})
        silence = Silence.objects.get()
        assert (silence.team, silence.matchers["deployment"], silence.matchers["rule"], silence.reason) == (
            team,
            "chat",
            alert.rule_name,
            "known",
        )
        page = client.get("/alerts/")
        assert "Silenced until" in words_of(page) and "is silent until" in toasts(page)[0]
        client.post(undo_of(page))
        alert.refresh_from_db()
        assert alert.silenced_by is None and not Silence.objects.filter(end_at__gt=timezone.now()).exists()

    @pytest.mark.parametrize("verb", ["acknowledge", "silence", "unacknowledge"])
    def test_a_viewer_is_told_who_can_and_has_no_buttons(self, verb: str) -> None:
        team = make_team()
        alert = fires(make_deployment(team=team))
        client = client_of(make_member(team))
        answer = client.post(f"/alerts/{alert.pk}/{verb}/")
        assert answer.status_code == 403 and "editor of its team" in text_of(answer)
        assert "/acknowledge/" not in text_of(client.get("/alerts/")) + text_of(client.get(f"/alerts/{alert.pk}/"))

    def test_one_that_is_over_says_so(self) -> None:
        alert = fires(make_deployment(), state=AlertState.RESOLVED, fired=False, closed_at=timezone.now())
        client = client_of(make_admin())
        page = client.post(f"/alerts/{alert.pk}/acknowledge/", follow=True)
        assert "nothing to do any more" in toasts(page)[0]

    def test_it_leads_nowhere_else(self) -> None:
        alert = fires(make_deployment())
        client = client_of(make_admin())
        answer = client.post(f"/alerts/{alert.pk}/acknowledge/", {"next": "https://evil.example.com/alerts/"})
        assert answer["Location"] == f"/alerts/{alert.pk}/"

    @pytest.mark.parametrize(
        ("wish", "word"), [("end", "until it ends"), ("tomorrow", "09:00"), ("2020-01-01T00:00", "is over"), ("soon", "a time such as")]
    )
    def test_until_when(self, wish: str, word: str) -> None:
        alert = fires(make_deployment())
        client = client_of(make_admin())
        assert word in toasts(client.post(f"/alerts/{alert.pk}/acknowledge/", {"until": wish}, follow=True))[0]


def measured(deployment: Deployment, column: str, value: float, *, since: datetime) -> None:
    times = np.arange(since.timestamp() // 60 * 60, timezone.now().timestamp(), 60.0)
    rows = Rows(Entity.DEPLOYMENT, np.full(times.size, deployment.pk), times, {column: np.full(times.size, value)})
    assert not rows_ingest(rows, overwrite=True, now=timezone.now()).rejected


class TestDetail:
    def test_the_sentence_the_cost_the_first_action_and_the_chart(self) -> None:
        chat = make_deployment("chat-70b")
        measured(chat, "kv_cache_usage_ratio", 0.97, since=timezone.now() - timedelta(hours=2))
        alert = fires(chat)
        response = client_of(make_admin()).get(f"/alerts/{alert.pk}/")
        page = words_of(response)
        assert "Critical, firing for 31 min, not acknowledged" in page
        for part in (
            "chat-70b: the KV cache is full",
            "Requests are pushed out.",
            "Add a replica.",
            "Runbook",
            "97 %, fires above 95 %",
            "At worst 99 %",
        ):
            assert part in page
        layout = response.context["chart"].figure["layout"]
        fired = alert.fired_at.timestamp()  # type: ignore[union-attr]
        assert layout["xaxis"]["range"][0] < fired < layout["xaxis"]["range"][1]
        assert "fired" in {note["text"] for note in layout["annotations"]}
        assert [shape["x0"] for shape in layout["shapes"] if shape["type"] == "rect"] == [fired]
        assert re.search(rf'href="/deployments/{chat.pk}/\?from=\d+&amp;to=now"', text_of(response))

    def test_what_happened_stands_newest_first_with_what_was_told(self) -> None:
        alert = fires(make_deployment())
        at = alert.started_at
        for number, (state, edge, note) in enumerate(
            (("pending", "", ""), ("firing", "fire", ""), ("firing", "", "silenced by anna until 12:00")), start=1
        ):
            AlertTransition.objects.create(
                alert=alert,
                number=number,
                at=at + timedelta(minutes=number),
                from_state="firing",
                to_state=state,
                edge=edge,
                note=note,
                value=0.96,
            )
        channel = Channel.objects.create(name="ops", kind="webhook")
        told = {"edge_number": 1, "edge": Edge.FIRE, "run_after": at, "created_at": at + timedelta(minutes=2, seconds=30)}
        Notification.objects.create(
            alert=alert, channel=channel, dedup_key="k1", state=NotificationState.DEAD, last_error="503 from the other side", **told
        )
        page = words_of(client_of(make_admin()).get(f"/alerts/{alert.pk}/"))
        log = page[page.index("What happened?") :]
        order = [
            "Silenced by anna until 12:00",
            "Given up by ops: that it fires. 503 from the other side",
            "Firing KV cache 96 %",
            "Pending",
        ]
        assert [log.index(part) for part in order] == sorted(log.index(part) for part in order)

    def test_a_signal_that_is_no_series_says_so(self) -> None:
        rule = make_rule(entity="agent", signal="agent_silent_seconds", threshold=900, summary="An agent is silent")
        alert = fires(make_deployment(), rule=rule, value=1200.0)
        assert "not kept as a series" in words_of(client_of(make_admin()).get(f"/alerts/{alert.pk}/"))

    def test_what_was_never_measured_says_so(self) -> None:
        assert "was not measured around" in words_of(client_of(make_admin()).get(f"/alerts/{fires(make_deployment()).pk}/"))

    def test_the_same_before_and_a_rule_that_is_gone(self) -> None:
        chat = make_deployment("chat")
        now = timezone.now()
        fires(
            chat,
            identity="same",
            ago=timedelta(days=2),
            state=AlertState.RESOLVED,
            fired=False,
            closed_at=now - timedelta(days=2) + timedelta(minutes=26.5),
        )
        alert = fires(chat, identity="same")
        Alert.objects.filter(pk=alert.pk).update(rule=None)
        page = words_of(client_of(make_admin()).get(f"/alerts/{alert.pk}/"))
        assert "lasted 26 min, worst 99 %" in page and "deleted since" in page

    def test_the_number_of_queries_is_fixed(self) -> None:
        chat = make_deployment()
        measured(chat, "kv_cache_usage_ratio", 0.97, since=timezone.now() - timedelta(hours=2))
        alert, client = fires(chat), client_of(make_admin())
        few = queries(client, f"/alerts/{alert.pk}/")
        for number in range(1, 20):
            AlertTransition.objects.create(alert=alert, number=number, at=timezone.now(), from_state="pending", to_state="firing")
        assert queries(client, f"/alerts/{alert.pk}/") == few <= 20

    def test_an_audience_without_the_channel_does_not_read_what_it_said(self) -> None:
        team = make_team()
        alert = fires(make_deployment(team=team))
        channel = Channel.objects.create(name="install-wide", kind="webhook")
        told = {"edge_number": 1, "edge": Edge.FIRE, "run_after": timezone.now(), "created_at": timezone.now()}
        Notification.objects.create(alert=alert, channel=channel, dedup_key="k1", last_error="refused by 10.9.9.9", **told)
        assert "10.9.9.9" not in text_of(client_of(make_member(team)).get(f"/alerts/{alert.pk}/"))

"""Agents: who is late or silent, what was dropped, whose clock is wrong; installing one; forgetting one; keys and their agents."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from capacity.dashboards import agents_install
from capacity.dashboards.agent_rows import AgentRow, version_parts
from monitoring.access import key_create, key_verify
from monitoring.models import Agent, AgentGap, AgentState, AuditEvent, Cluster, Key, Node, Role, Scope
from tests.capacity.pages import client_of, queries, text_of, toasts, undo_of
from tests.factories import (
    make_accelerator,
    make_admin,
    make_agent,
    make_cluster,
    make_deployment,
    make_member,
    make_placement,
    make_replica,
    make_team,
)

pytestmark = pytest.mark.django_db
LIVE, LATE, SILENT = AgentState.LIVE, AgentState.LATE, AgentState.SILENT


def ago(**span: float) -> datetime:
    return timezone.now() - timedelta(**span)


def names_of(response: Any) -> list[str]:
    return [row.agent.node.name for row, _ in response.context["rows"]]


class TestState:
    CASES = (
        ({"seconds": 30}, {"seconds": 40}, LIVE),
        ({"minutes": 4}, {"minutes": 4}, LATE),
        ({"seconds": 30}, {"minutes": 12}, LATE),  # it speaks, but only of the past
        ({"minutes": 14}, {"minutes": 14}, LATE),
        ({"minutes": 16}, {"minutes": 16}, SILENT),
    )

    @pytest.mark.parametrize(("seen", "newest", "state"), CASES)
    def test_a_row_and_a_selection_agree(self, seen: dict[str, float], newest: dict[str, float], state: AgentState) -> None:
        agent = make_agent(last_seen_at=ago(**seen), newest_sample_at=ago(**newest))
        now = timezone.now()
        assert agent.state(now=now) == state
        assert [each for each in AgentState if Agent.objects.in_state(each, now=now).exists()] == [state]

    def test_a_new_one_without_a_reading_is_not_late_at_once(self) -> None:
        now = timezone.now()
        fresh = make_agent(first_seen_at=now, last_seen_at=now, newest_sample_at=None)
        stuck = make_agent(first_seen_at=ago(hours=1), last_seen_at=now, newest_sample_at=None)
        assert (fresh.state(now=now), stuck.state(now=now)) == (LIVE, LATE)
        assert list(Agent.objects.in_state(LATE, now=now)) == [stuck]

    def test_versions_compare_as_numbers(self) -> None:
        assert version_parts("0.10.0") > version_parts("0.9.9")
        assert version_parts("unknown") == (0,)

    @pytest.mark.parametrize(
        ("skew", "text", "warned"),
        [(None, "not known", False), (0.2, "right", False), (4.1, "4.1 s ahead", True), (-400.0, "6 min behind", True)],
    )
    def test_a_wrong_clock_is_told_with_what_it_means(self, skew: float | None, text: str, warned: bool) -> None:
        row = AgentRow(make_agent(skew_seconds=skew), timezone.now(), "0.1.0")
        assert (row.skew_text, row.skewed, bool(row.skew_meaning)) == (text, warned, warned)


class TestList:
    def test_without_any_the_page_leads_to_install(self) -> None:
        text = text_of(client_of(make_admin()).get("/agents/"))
        assert "No agent yet" in text
        assert 'href="/agents/install/"' in text

    def test_it_says_what_each_does_and_the_silent_come_first(self) -> None:
        make_agent("fine", version="99.0")
        make_agent("gone", last_seen_at=ago(hours=3), newest_sample_at=ago(hours=3))
        behind = make_agent("behind", newest_sample_at=ago(minutes=10), waiting_count=40, waiting_bytes=4096, waiting_since=ago(minutes=10))
        AgentGap.objects.create(agent=behind, count=12, start_at=ago(hours=2), end_at=ago(hours=1))
        AgentGap.objects.create(agent=behind, count=100, start_at=ago(days=20), end_at=ago(days=19))  # too long ago to be shown
        response = client_of(make_admin()).get("/agents/")
        text = text_of(response)
        assert names_of(response) == ["gone", "behind", "fine"]
        assert "<b>1 of 3 agents send.</b>" in text
        assert "1 silent, 1 late, 40 readings on the way, 12 readings dropped in 7 days" in text
        assert "4.00 KiB, oldest 10 min" in text
        assert "12 readings</b>" in text

    def test_an_old_release_is_named_and_a_newer_one_is_not(self) -> None:
        make_agent("old", version="0.0.1")
        make_agent("new", version="99.0")
        rows = client_of(make_admin()).get("/agents/").context["rows"]
        assert {row.agent.node.name: row.outdated for row, _ in rows} == {"old": True, "new": False}

    def test_a_filter_a_search_and_a_key_narrow_it(self) -> None:
        key, _ = key_create("agents", scope=Scope.INGEST, created_by=None, cluster=make_cluster("east"))
        make_agent("a-one", skew_seconds=9.0)
        make_agent("b-two", key=key)
        client = client_of(make_admin())
        assert names_of(client.get("/agents/?show=clock")) == ["a-one"]
        assert names_of(client.get("/agents/?q=two")) == ["b-two"]
        assert names_of(client.get(f"/agents/?key={key.prefix}")) == ["b-two"]
        assert names_of(client.get("/agents/?show=nonsense&sort=nonsense&page=99")) == ["a-one", "b-two"]

    def test_a_column_sorts_both_ways(self) -> None:
        make_agent("few", waiting_count=1)
        make_agent("many", waiting_count=50)
        client = client_of(make_admin())
        assert names_of(client.get("/agents/?sort=-waiting")) == ["many", "few"]
        assert names_of(client.get("/agents/?sort=waiting")) == ["few", "many"]

    def test_calls_that_give_nothing_lead_to_the_node(self) -> None:
        agent = make_agent(capabilities={"GPU-1": {"nvmlGpmSampleGet": "no", "x": "no"}, "GPU-2": {"x": "no"}, "GPU-3": {}})
        text = text_of(client_of(make_admin()).get("/agents/"))
        assert f'href="/nodes/{agent.node_id}/#capabilities">2 calls on 2 GPUs</a>' in text

    def test_trouble_is_told_in_the_words_of_the_agent(self) -> None:
        make_agent("gpu-3", trouble="The disk is full <b>now</b>")
        assert "gpu-3 says: The disk is full &lt;b&gt;now&lt;/b&gt;" in text_of(client_of(make_admin()).get("/agents/"))

    def test_a_team_sees_the_agents_of_its_nodes_without_why_samples_were_refused(self) -> None:
        team = make_team()
        agent = make_agent("mine", rejected_count=3, rejected_text="GPU-of-others: no such column", capabilities={"GPU-x": {"a": "b"}})
        make_agent("theirs")
        make_replica(make_deployment(team=team), node=agent.node, last_seen_at=timezone.now())
        text = text_of(client_of(make_member(team)).get("/agents/"))
        assert "mine" in text and "3 samples" in text
        assert "theirs" not in text and "GPU-of-others" not in text and "Forget" not in text
        assert "all calls answer" in text  # GPU-x is not of the team

    def test_the_moving_part_comes_alone(self) -> None:
        make_agent()
        text = text_of(client_of(make_admin()).get("/agents/?show=all", headers={"HX-Request": "true", "HX-Target": "agents-live"}))
        assert text.startswith('<section class="card" id="agents-live"')

    def test_a_sheet_holds_what_the_filter_shows(self) -> None:
        make_agent("=cmd", last_seen_at=ago(hours=1))
        make_agent("fine")
        lines = text_of(client_of(make_admin()).get("/agents.csv?show=silent")).splitlines()
        assert len(lines) == 2 and "'=cmd,silent" in lines[1]

    def test_the_number_of_queries_does_not_grow(self) -> None:
        client = client_of(make_admin())
        make_agent()
        few = queries(client, "/agents/")
        for _ in range(12):
            AgentGap.objects.create(agent=make_agent(), count=1, start_at=ago(hours=2), end_at=ago(hours=1))
        assert queries(client, "/agents/") == few <= 12

    def test_an_agent_stands_on_the_page_of_its_node(self) -> None:
        agent = make_agent()
        assert client_of(make_admin()).get(f"/agents/{agent.pk}/").headers["Location"] == f"/nodes/{agent.node_id}/#agent"


class TestForget:
    def test_a_silent_one_is_forgotten_audited_and_brought_back(self) -> None:
        agent = make_agent("gone", last_seen_at=ago(hours=5), host={"kernel": "6.8", "odd": "x"}, skew_seconds=1.5)
        AgentGap.objects.create(agent=agent, count=7, start_at=ago(hours=8), end_at=ago(hours=7))
        client = client_of(make_admin())
        response = client.post(f"/agents/{agent.pk}/forget/", follow=True)
        assert not Agent.objects.exists() and Node.objects.filter(name="gone").exists()
        assert AuditEvent.objects.get(action="agent.forget").before["node"] == "gone"
        assert toasts(response) == ["The agent of gone, silent for 5 h, is forgotten. What it measured stays."]
        client.post(undo_of(response))
        back = Agent.objects.get()
        assert (back.pk, back.skew_seconds, back.last_seen_at, back.host) == (agent.pk, 1.5, agent.last_seen_at, {"kernel": "6.8"})
        assert [gap.count for gap in back.gaps.all()] == [7]

    def test_an_undo_after_it_came_back_by_itself_says_so(self) -> None:
        agent = make_agent(last_seen_at=ago(hours=5))
        client = client_of(make_admin())
        undo = undo_of(client.post(f"/agents/{agent.pk}/forget/", follow=True))
        Agent.objects.create(node=agent.node)
        assert "cannot be put back" in toasts(client.post(undo, follow=True))[0]
        assert Agent.objects.count() == 1

    def test_one_that_sends_is_not_forgotten(self) -> None:
        agent = make_agent("busy")
        response = client_of(make_admin()).post(f"/agents/{agent.pk}/forget/", follow=True)
        assert "busy still sends" in toasts(response)[0]
        assert Agent.objects.exists()

    def test_only_an_admin_of_the_install_may(self) -> None:
        team = make_team()
        agent = make_agent(last_seen_at=ago(hours=5))
        make_replica(make_deployment(team=team), node=agent.node, last_seen_at=timezone.now())
        assert client_of(make_member(team, role=Role.ADMIN)).post(f"/agents/{agent.pk}/forget/").status_code == 403
        assert Agent.objects.exists()


class TestInstall:
    def test_the_address_is_filled_in_and_the_key_waits(self, settings: Any) -> None:
        settings.PUBLIC_URL = "https://headroom.example.com"
        text = text_of(client_of(make_admin()).get("/agents/install/"))
        assert "HEADROOM_URL=https://headroom.example.com" in text
        assert "hr_ag_PASTE_THE_KEY_HERE" in text
        assert "{url}" not in text and "{key}" not in text and "{version}" not in text

    def test_a_key_is_made_for_a_new_cluster_shown_once_and_filled_in_everywhere(self) -> None:
        client = client_of(make_admin())
        response = client.post("/agents/install/", {"cluster": " prod-eu ", "way": "kubernetes"})
        secret = response.context["key"]
        key = Key.objects.get()
        assert (key.scope, key.cluster.name if key.cluster else "", key.team, key.expires_at) == (Scope.INGEST, "prod-eu", None, None)
        assert key_verify(secret) == key
        assert text_of(response).count(secret) >= 4  # shown, and in each of the three ways
        assert response.headers["Cache-Control"] == "no-store"
        assert '<details name="way" id="way-kubernetes" open>' in text_of(response)
        assert secret not in text_of(client.get("/agents/install/")) + text_of(client.get("/keys/"))
        assert set(AuditEvent.objects.values_list("action", flat=True)) == {"cluster.create", "key.create"}
        assert secret not in str(list(AuditEvent.objects.values()))

    def test_a_second_key_goes_to_the_same_cluster(self) -> None:
        cluster = make_cluster("prod-eu")
        client_of(make_admin()).post("/agents/install/", {"cluster": "prod-eu"})
        assert Key.objects.get().cluster == cluster and Cluster.objects.count() == 1

    @pytest.mark.parametrize("name", ["", "demo-eu", "x" * 121])
    def test_a_cluster_that_cannot_be_is_refused_in_words(self, name: str) -> None:
        make_cluster("demo-eu", demo=True)
        response = client_of(make_admin()).post("/agents/install/", {"cluster": name})
        assert response.status_code == 422
        assert response.context["form"].errors["cluster"]
        assert not Key.objects.exists()

    def test_somebody_else_reads_who_can_and_makes_none(self) -> None:
        admin = make_admin()
        client = client_of(make_member(make_team(), role=Role.ADMIN))
        text = text_of(client.get("/agents/install/"))
        assert admin.email in text and "Make a key" not in text
        assert client.post("/agents/install/", {"cluster": "x"}).status_code == 403
        assert not Key.objects.exists()

    def test_the_tick_turns_when_an_agent_of_the_key_reports(self) -> None:
        client = client_of(make_admin())
        client.post("/agents/install/", {"cluster": "prod-eu"})
        key = Key.objects.get()
        url = f"/agents/install/live/?since=0&cluster={key.cluster_id}&key={key.prefix}&seen="
        assert client.get(url).status_code == 204  # still waiting: nothing moves
        make_agent("gpu-7", cluster=key.cluster, key=key)
        make_agent("other")
        text = text_of(client.get(url))
        assert "gpu-7 reports." in text and "other" not in text

    def test_without_a_key_whoever_is_new_turns_it(self) -> None:
        client = client_of(make_admin())
        make_agent("long-here", first_seen_at=ago(days=3))
        since = int(timezone.now().timestamp()) - 5
        assert client.get(f"/agents/install/live/?since={since}&seen=").status_code == 204
        for number in range(7):
            make_agent(f"fresh-{number}")
        text = text_of(client.get(f"/agents/install/live/?since={since}&seen="))
        assert "7 agents report." in text and "and 2 more" in text and "long-here" not in text

    @pytest.mark.parametrize("query", ["since=x&cluster=y", "since=99999999999999999999", "since=-1&cluster=-1", "cluster=²"])
    def test_an_address_made_up_by_hand_is_no_crash(self, query: str) -> None:
        assert client_of(make_admin()).get(f"/agents/install/live/?{query}").status_code == 200

    def test_a_loopback_address_is_warned_of(self, settings: Any) -> None:
        settings.PUBLIC_HOST, settings.PUBLIC_URL = "127.0.0.1", "http://127.0.0.1:8080"
        assert "agents of other hosts cannot reach it" in text_of(client_of(make_admin()).get("/agents/install/"))

    def test_the_number_of_queries_does_not_grow(self) -> None:
        client = client_of(make_admin())
        few = queries(client, "/agents/install/")
        for _ in range(9):
            make_agent(cluster=make_cluster())
        assert queries(client, "/agents/install/") <= few <= 11

    def test_moments_beyond_all_clocks_count_from_now(self) -> None:
        assert abs((agents_install.moment("9" * 18) - timezone.now()).total_seconds()) < 5


class TestKeys:
    def ingest_key(self, name: str = "agents of east") -> Key:
        key, _ = key_create(name, scope=Scope.INGEST, created_by=None, cluster=Cluster.objects.get_or_create(name="east")[0])
        return key

    def test_the_list_says_how_many_agents_use_a_key(self) -> None:
        key = self.ingest_key()
        for _ in range(3):
            make_agent(key=key)
        text = text_of(client_of(make_admin()).get("/keys/"))
        assert f'href="/agents/?key={key.prefix}">3 agents</a>' in text
        assert '<span class="sub">east</span>' in text

    def test_rotating_keeps_the_old_key_of_agents_until_it_is_revoked(self) -> None:
        old = self.ingest_key()
        agents = [make_agent(key=old) for _ in range(2)]
        client = client_of(make_admin())
        client.post(f"/keys/{old.pk}/rotate/")
        old.refresh_from_db()
        new = Key.objects.exclude(pk=old.pk).get()
        assert old.expires_at is None and new.cluster == old.cluster
        agents[0].key = new
        agents[0].save()
        rows = {row.key.pk: row for row in client.get("/keys/").context["keys"]}
        assert (rows[old.pk].agents, rows[old.pk].rolling, rows[new.pk].agents, rows[new.pk].rolling) == (1, True, 1, False)
        assert "still on this key" in text_of(client.get("/keys/"))
        response = client.post(f"/keys/{old.pk}/end/", follow=True)
        assert "1 agent that used it is refused" in toasts(response)[0]

    def test_a_key_of_another_kind_still_ends_in_a_day(self) -> None:
        old, _ = key_create("script", scope=Scope.READ, created_by=None)
        client_of(make_admin()).post(f"/keys/{old.pk}/rotate/")
        old.refresh_from_db()
        assert old.expires_at is not None and old.expires_at < timezone.now() + timedelta(days=1, minutes=1)

    def test_a_key_that_sends_needs_a_cluster_and_no_team(self) -> None:
        client, team = client_of(make_admin()), make_team()
        wish = {"name": "x", "scope": "ingest", "lifetime_days": 0}
        assert client.post("/keys/", wish).context["form"].errors.keys() == {"cluster"}
        cluster = make_cluster()
        assert client.post("/keys/", {**wish, "cluster": cluster.pk, "team": team.pk}).context["form"].errors.keys() == {"team"}
        client.post("/keys/", {**wish, "cluster": cluster.pk})
        assert Key.objects.get().cluster == cluster

    def test_an_admin_of_a_team_makes_none_that_sends(self) -> None:
        team = make_team()
        client = client_of(make_member(team, role=Role.ADMIN))
        response = client.post("/keys/", {"name": "x", "scope": "ingest", "team": team.pk, "lifetime_days": 0})
        assert response.status_code == 422 and not Key.objects.exists()

    def test_the_number_of_queries_does_not_grow(self) -> None:
        client = client_of(make_admin())
        make_agent(key=self.ingest_key())
        few = queries(client, "/keys/")
        for number in range(8):
            make_agent(key=self.ingest_key(f"k{number}"))
        assert queries(client, "/keys/") == few


class TestElsewhere:
    def test_setup_has_an_optional_step_that_ticks_itself(self) -> None:
        client = client_of(make_admin())
        step = client.get("/setup/").context["checklist"].step("agents")
        assert (step.slug, step.state, step.optional) == ("agents", "open", True)
        assert "0 of 8 done" in text_of(client.get("/setup/"))
        make_agent()
        assert client.get("/setup/").context["checklist"].step("agents").text == "1 agent sends"
        make_agent(last_seen_at=ago(hours=1))
        assert client.get("/setup/").context["checklist"].step("agents").text == "1 of 2 agents sends"

    def test_setup_says_when_all_of_them_fell_silent(self) -> None:
        make_agent(last_seen_at=ago(hours=1))
        assert client_of(make_admin()).get("/setup/").context["checklist"].step("agents").state == "failed"

    def test_an_agent_of_the_demo_ticks_nothing(self) -> None:
        make_agent(cluster=make_cluster("demo-eu", demo=True))
        assert client_of(make_admin()).get("/setup/").context["checklist"].step("agents").state == "open"

    def test_status_counts_them_for_everybody(self) -> None:
        make_agent(waiting_count=30, waiting_since=ago(minutes=8), newest_sample_at=ago(minutes=8))
        make_agent(last_seen_at=ago(hours=1))
        response = client_of(make_member(make_team())).get("/status/")
        assert {name: response.context["agents"][name] for name in ("live", "late", "silent", "readings")} == {
            "live": 0, "late": 1, "silent": 1, "readings": 30,
        }  # fmt: skip
        assert "Do the agents send?" in text_of(response)


def test_an_accelerator_of_a_team_shows_its_processes_only_where_it_is_wholly_its_own() -> None:
    team = make_team()
    agent = make_agent()
    own, shared = make_accelerator(agent.node), make_accelerator(agent.node)
    mine, theirs = make_replica(make_deployment(team=team)), make_replica(make_deployment())
    make_placement(mine, accelerator=own)
    make_placement(mine, accelerator=shared, share=0.5)
    make_placement(theirs, accelerator=shared, share=0.5)
    for accelerator, name in ((own, "own-program"), (shared, "shared-program")):
        accelerator.processes.create(pid=7, started_at=ago(days=1), name=name, memory_bytes=2**30)
    member, admin = client_of(make_member(team)), client_of(make_admin())
    assert "own-program" in text_of(member.get(f"/accelerators/{own.pk}/"))
    text = text_of(member.get(f"/accelerators/{shared.pk}/"))
    assert "shared-program" not in text and "their accelerator is not all yours" in text
    assert "shared-program" in text_of(admin.get(f"/accelerators/{shared.pk}/"))
    node = text_of(member.get(f"/nodes/{agent.node_id}/"))
    assert "own-program" in node and "shared-program" not in node and "1 more" in node

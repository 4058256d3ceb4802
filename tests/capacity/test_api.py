from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from capacity.models import DemoRun, DeploymentStatus, Verdict
from monitoring.access import secret_decrypt
from monitoring.catalog.records import Entity, Latency
from monitoring.ingest import histograms_ingest, rows_ingest
from monitoring.models import (
    AuditEvent,
    Deployment,
    Event,
    ImportRun,
    Invite,
    Key,
    Membership,
    Role,
    Scope,
    Slo,
    Source,
    Team,
    TeamRule,
    Version,
)
from monitoring.retention import partitions_ahead
from monitoring.store.records import Histograms, Rows
from tests.capacity.api_client import Api, key_api
from tests.factories import (
    make_accelerator,
    make_admin,
    make_cluster,
    make_deployment,
    make_member,
    make_node,
    make_placement,
    make_replica,
    make_source,
    make_team,
)

pytestmark = pytest.mark.django_db
SLO = {"latency": "time_to_first_token", "percentile": 0.95, "threshold_seconds": 0.8, "objective_ratio": 0.995}


class TestDeployments:
    def test_one_has_its_status_and_slo(self) -> None:
        team = make_team("Search")
        deployment = make_deployment("chat", team=team, labels={"app": "chat"})
        DeploymentStatus.objects.create(deployment=deployment, verdict=Verdict.BREAKS, latency=2, latency_seconds=1.84, text="p95 1.84 s")
        Slo.objects.create(deployment=deployment, latency=2, threshold_seconds=0.8)
        found = Api(make_member(team)).ok(f"deployments/{deployment.pk}")
        assert (found["cluster"], found["team"]) == ("test", {"id": team.pk, "name": "Search"})
        assert (found["status"]["verdict"], found["status"]["latency"], found["status"]["latency_seconds"]) == (
            "breaks",
            "time_to_first_token",
            1.84,
        )
        assert found["slo"]["threshold_seconds"] == 0.8
        assert found["first_seen_at"].endswith("Z")

    def test_filters_are_named_like_the_fields(self) -> None:
        team = make_team()
        api = Api(make_member(team))
        chat = make_deployment("chat-70b", team=team, namespace="assist", system="vllm")
        make_deployment("vision", team=team)
        DeploymentStatus.objects.create(deployment=chat, verdict=Verdict.WARNING)
        for query in ("namespace=assist", "search=CHAT", "system=vllm", "verdict=warning", "name=chat-70b", f"team={team.pk}&search=70b"):
            assert [row["id"] for row in api.ok(f"deployments?{query}")["results"]] == [chat.pk]
        assert len(api.ok("deployments?cluster=test&state=active")["results"]) == 2

    def test_a_list_costs_the_same_queries_for_any_number(self) -> None:
        team = make_team()
        api = Api(make_member(team))
        counts = []
        api.ok("deployments")  # the first call of a minute also starts its count
        for n in range(2):
            for _ in range(1 + 4 * n):
                DeploymentStatus.objects.create(deployment=make_deployment(team=team))
            with CaptureQueriesContext(connection) as queries:
                api.ok("deployments")
            counts.append(len(queries))
        assert counts[0] == counts[1] <= 8

    def test_an_editor_renames_and_the_change_is_written_down(self) -> None:
        team = make_team()
        deployment = make_deployment("old", team=team)
        api = Api(make_member(team, role=Role.EDITOR))
        body = {"name": "new", "environment": "prod", "state": "archived"}
        assert api.ok(f"deployments/{deployment.pk}", method="patch", body=body)["name"] == "new"
        deployment.refresh_from_db()
        assert (deployment.name, deployment.renamed, deployment.environment, deployment.state) == ("new", True, "prod", "archived")
        entry = AuditEvent.objects.get(action="deployment.change")
        assert entry.before == {"name": "old", "environment": "", "state": "active"} and entry.after == body

    def test_an_editor_gives_it_to_an_own_team_only(self) -> None:
        team, other, foreign = make_team(), make_team(), make_team()
        editor = make_member(team, role=Role.EDITOR)
        Membership.objects.create(user=editor, team=other)
        deployment = make_deployment(team=team)
        Api(editor).refused(f"deployments/{deployment.pk}", status=404, method="patch", body={"team": foreign.pk})
        assert Api(editor).ok(f"deployments/{deployment.pk}", method="patch", body={"team": other.pk})["team"]["id"] == other.pk
        Api(editor).refused(f"deployments/{deployment.pk}", status=403, method="patch", body={"team": team.pk})

    def test_a_merge_answers_with_the_other_one(self) -> None:
        team = make_team()
        api = Api(make_member(team, role=Role.EDITOR))
        old, new = make_deployment("old", team=team), make_deployment("new", team=team)
        assert api.ok(f"deployments/{old.pk}/merge", method="post", body={"into": new.pk})["id"] == new.pk
        old.refresh_from_db()
        assert old.merged_into == new
        api.refused(f"deployments/{old.pk}", status=404)
        api.refused(f"deployments/{new.pk}/merge", status=409, method="post", body={"into": new.pk})
        foreign = make_deployment(team=make_team())
        api.refused(f"deployments/{new.pk}/merge", status=404, method="post", body={"into": foreign.pk})
        body = {"state": "ignored"}
        assert "restore it first" in api.refused(f"deployments/{old.pk}", status=409, method="patch", body=body)["detail"]

    def test_its_parts_are_lists(self) -> None:
        team = make_team()
        deployment = make_deployment(team=team)
        version = Version.objects.create(deployment=deployment, name="v3.2")
        node = make_node("n1")
        replica = make_replica(deployment, name="chat-0", version=version, node=node)
        gpu = make_accelerator(node)
        make_placement(replica, accelerator=gpu, share=0.5)
        api = Api(make_member(team))
        base = f"deployments/{deployment.pk}/"
        assert [row["name"] for row in api.ok(base + "versions")["results"]] == ["v3.2"]
        assert [(row["name"], row["version"], row["node"]) for row in api.ok(base + "replicas")["results"]] == [("chat-0", "v3.2", "n1")]
        placements = api.ok(base + "placements")["results"]
        assert [(row["replica"], row["accelerator"], row["share"], row["method"]) for row in placements] == [
            ("chat-0", gpu.pk, 0.5, "pod_label")
        ]
        assert isinstance(api.ok(base + "missing-metrics"), list)


class TestEvents:
    def test_an_editor_writes_and_takes_off_a_note(self) -> None:
        team = make_team()
        deployment = make_deployment(team=team)
        api = Api(make_member(team, role=Role.EDITOR))
        path = f"deployments/{deployment.pk}/events"
        event = api.ok(path, status=201, method="post", body={"kind": "launch", "title": "Black Friday", "at": "2026-11-27T00:00:00Z"})
        assert [row["title"] for row in api.ok(f"{path}?kind=launch&since=2026-11-26T00:00:00Z")["results"]] == ["Black Friday"]
        assert api.ok(f"{path}?before=2026-11-26T00:00:00Z")["results"] == []
        api.ok(f"events/{event['id']}", status=204, method="delete")
        assert not Event.objects.exists()

    def test_what_was_observed_stays(self) -> None:
        team = make_team()
        api = Api(make_member(team, role=Role.ADMIN))
        event = Event.objects.create(deployment=make_deployment(team=team), kind="deploy", at=timezone.now(), title="v2", dedup_key="x")
        api.refused(f"events/{event.pk}", status=409, method="delete")

    @pytest.mark.parametrize(
        "body",
        [
            {"kind": "deploy", "title": "x"},
            {"kind": "note"},
            {"kind": "note", "title": "x", "at": "yesterday"},
            {"kind": "note", "title": "x", "at": "2026-11-27T00:00:00Z", "end_at": "2026-11-26T00:00:00Z"},
        ],
    )
    def test_a_wrong_event_is_refused(self, body: dict[str, str]) -> None:
        team = make_team()
        api = Api(make_member(team, role=Role.EDITOR))
        api.refused(f"deployments/{make_deployment(team=team).pk}/events", status=400, method="post", body=body)


class TestSlo:
    def test_it_is_set_read_and_taken_away(self) -> None:
        team = make_team()
        path = f"deployments/{make_deployment('chat', team=team).pk}/slo"
        api = Api(make_member(team, role=Role.EDITOR, email="anna@example.com"))
        api.refused(path, status=404)
        put = api.ok(path, method="put", body=SLO)
        assert (put["latency"], put["threshold_seconds"], put["window_days"], put["set_by"]) == (
            "time_to_first_token",
            0.8,
            28,
            "anna@example.com",
        )
        assert api.ok(path) == put
        api.ok(path, status=204, method="delete")
        api.refused(path, status=404)
        assert list(AuditEvent.objects.order_by("pk").values_list("action", flat=True)) == ["slo.set", "slo.remove"]

    @pytest.mark.parametrize(
        "change",
        [
            {"latency": "p95"},
            {"latency": 2},
            {"threshold_seconds": 0},
            {"threshold_seconds": None},
            {"latency": None},
            {"latency": None, "threshold_seconds": None},
            {"percentile": 1},
            {"percentile": 95},
            {"objective_ratio": 99.5},
            {"window_days": 0},
            {"colour": "red"},
        ],
    )
    def test_a_wrong_promise_is_refused(self, change: dict[str, Any]) -> None:
        team = make_team()
        api = Api(make_member(team, role=Role.EDITOR))
        assert api.refused(f"deployments/{make_deployment(team=team).pk}/slo", status=400, method="put", body=SLO | change)["errors"]

    def test_without_history_there_is_no_suggestion_but_a_reason(self) -> None:
        team = make_team()
        found = Api(make_member(team)).ok(f"deployments/{make_deployment(team=team).pk}/slo/suggestion")
        assert (found["answer"], found["reason"], found["threshold_seconds"]) == (False, "no_data", None)

    def test_without_a_promise_no_minutes_are_lost(self) -> None:
        team = make_team()
        path = f"deployments/{make_deployment(team=team).pk}/slo/minutes"
        api = Api(make_member(team))
        assert api.ok(path + "?from=now-7d")["answer"] is False
        assert api.refused(path + "?from=now-1y", status=400)["errors"][0]["parameter"] == "from"


class TestTelemetry:
    def seeded(self, *, now: datetime) -> Deployment:
        partitions_ahead(now=now)
        deployment = make_deployment("chat", team=make_team("Search"))
        times = now.timestamp() // 60 * 60 - 60.0 * np.arange(10, 0, -1)
        ids, versions = np.full(10, deployment.pk, np.int64), np.zeros(10, np.int64)
        values = {"requests_per_second": np.full(10, 4.0), "errors_per_second": np.full(10, 1.0)}
        written = rows_ingest(Rows(Entity.DEPLOYMENT, ids, times, values, versions=versions), overwrite=True, now=now)
        assert written.written, written
        counts = np.tile(np.array([10.0, 10.0, 0.0]), (10, 1))
        histograms = Histograms(Latency.TIME_TO_FIRST_TOKEN, ids, versions, times, (0.1, 0.2), counts, np.full(10, 2.0))
        histograms_ingest(histograms, table="sample", now=now)
        return deployment

    def test_a_series_has_unit_step_and_the_newest_sample(self) -> None:
        now = timezone.now()
        deployment = self.seeded(now=now)
        api = Api(make_member(deployment.team))  # type: ignore[arg-type]
        found = api.ok(f"deployments/{deployment.pk}/series?from=now-30m&points=30&columns=requests_per_second,error_ratio")
        assert set(found["columns"]) == {"requests_per_second", "error_ratio"}
        line = found["columns"]["requests_per_second"]
        assert line["unit"] == "req/s" and {value for value in line["mean"] if value is not None} == {4.0}
        assert len(line["times"]) == len(line["mean"]) == len(line["low"]) == len(line["high"]) <= 31
        assert None in line["mean"]  # what was not measured is null, not 0
        assert {value for value in found["columns"]["error_ratio"]["mean"] if value is not None} == {0.25}
        assert found["as_of"].endswith("Z") and found["step_seconds"] >= 60

    def test_percentiles_come_from_merged_histograms(self) -> None:
        now = timezone.now()
        deployment = self.seeded(now=now)
        api = Api(make_member(deployment.team))  # type: ignore[arg-type]
        found = api.ok(f"deployments/{deployment.pk}/latency?from=now-30m&quantiles=0.5,0.95&points=30")
        assert (found["kind"], found["unit"], list(found["quantiles"])) == ("time_to_first_token", "seconds", ["0.5", "0.95"])
        p95 = [value for value in found["quantiles"]["0.95"] if value is not None]
        assert p95 == pytest.approx([0.19] * len(p95)) and p95
        assert sum(value for value in found["count"] if value) == 200

    @pytest.mark.parametrize(
        "query",
        [
            "columns=nonsense",
            "columns=gpu_utilization_ratio",
            "points=0",
            "points=2001",
            "points=x",
            "from=yesterday",
            "from=now&to=now-1h",
            "versions=v9",
            "from=now-6h&from=now-7h",
            "step=60",
            "columns=" + ",".join(["requests_per_second"] + [f"x{n}" for n in range(30)]),
        ],
    )
    def test_a_wrong_query_is_named(self, query: str) -> None:
        team = make_team()
        problem = Api(make_member(team)).refused(f"deployments/{make_deployment(team=team).pk}/series?{query}", status=400)
        assert problem["errors"][0]["parameter"] == query.split("=")[0]

    @pytest.mark.parametrize("query", ["quantiles=2", "quantiles=x", "quantiles=,", "kind=p95", "quantiles=nan"])
    def test_a_wrong_quantile_is_named(self, query: str) -> None:
        team = make_team()
        Api(make_member(team)).refused(f"deployments/{make_deployment(team=team).pk}/latency?{query}", status=400)

    def test_a_deployment_without_latency_says_so(self) -> None:
        team = make_team()
        found = Api(make_member(team)).ok(f"deployments/{make_deployment(team=team).pk}/latency")
        assert found["kind"] is None and set(found["quantiles"]["0.95"]) <= {None}

    def test_places_have_series_and_shares(self) -> None:
        team = make_team()
        api = Api(make_member(team))
        node = make_node("n1")
        gpu = make_accelerator(node)
        make_placement(make_replica(make_deployment("own", team=team)), accelerator=gpu, share=0.5)
        make_placement(make_replica(make_deployment("foreign", team=make_team())), accelerator=gpu, share=0.5)
        assert list(api.ok(f"accelerators/{gpu.pk}/series")["columns"]) == ["gpu_utilization_ratio", "gpu_memory_used_bytes"]
        assert list(api.ok(f"nodes/{node.pk}/series?columns=load1")["columns"]) == ["load1"]
        for path in (f"accelerators/{gpu.pk}", f"nodes/{node.pk}"):
            assert [(share["name"], share["ratio"]) for share in api.ok(path)["shares"]] == [("own", 0.5), ("others", 0.5)]
        assert [row["node_name"] for row in api.ok(f"accelerators?node={node.pk}&cluster=test")["results"]] == ["n1"]
        assert [row["name"] for row in api.ok("nodes?name=n1")["results"]] == ["n1"]

    def test_the_catalogue_names_every_column(self) -> None:
        found = Api(make_member(make_team())).ok("catalogue")
        assert {"name": "load1", "unit": "processes", "label": "Load", "meaning": "Runnable processes, one-minute mean."} in found[
            "columns"
        ]["node"]
        assert "error_ratio" in [column["name"] for column in found["columns"]["deployment"]]
        assert found["latencies"]["queue_time"] == "Queue time"


class TestPeople:
    def test_a_team_is_made_renamed_and_deleted(self) -> None:
        api = Api(make_admin())
        team = api.ok("teams", status=201, method="post", body={"name": "Search"})
        assert api.ok(f"teams/{team['id']}", method="patch", body={"name": "Find"})["slug"] == "find"
        api.ok(f"teams/{team['id']}", status=204, method="delete")
        assert not Team.objects.exists()
        assert AuditEvent.objects.count() == 3

    def test_the_demo_team_goes_with_the_demo_fleet_only(self) -> None:
        Api(make_admin()).refused(f"teams/{make_team(demo=True).pk}", status=409, method="delete")

    def test_a_team_admin_manages_members_and_the_last_one_stays(self) -> None:
        team = make_team()
        admin = make_member(team, role=Role.ADMIN)
        viewer = make_member(team)
        api = Api(admin)
        rows = {row["email"]: row["id"] for row in api.ok(f"memberships?team={team.pk}")["results"]}
        api.refused(f"memberships/{rows[admin.email]}", status=409, method="patch", body={"role": "viewer"})
        assert api.ok(f"memberships/{rows[viewer.email]}", method="patch", body={"role": "admin"})["role"] == "admin"
        api.ok(f"memberships/{rows[admin.email]}", status=204, method="delete")
        assert api.ok("teams")["results"] == []

    def test_an_invitation_shows_its_link_once(self) -> None:
        team = make_team()
        api = Api(make_member(team, role=Role.ADMIN))
        made = api.ok("invites", status=201, method="post", body={"email": "new@example.com", "team": team.pk, "role": "editor"})
        assert "/invite/" in made["link"]
        assert "link" not in api.ok("invites")["results"][0]
        api.ok(f"invites/{made['id']}", status=204, method="delete")
        assert not Invite.objects.exists()

    @pytest.mark.parametrize("extra", [{}, {"install_admin": True}])
    def test_a_team_admin_invites_no_admin_of_the_install(self, extra: dict[str, Any]) -> None:
        team = make_team()
        api = Api(make_member(team, role=Role.ADMIN))
        body = {"email": "new@example.com"} | ({"team": team.pk} if extra else {}) | extra
        api.refused("invites", status=403, method="post", body=body)
        api.refused("invites", status=404, method="post", body={"email": "a@b.example", "team": make_team().pk})

    def test_a_key_shows_its_text_once_and_works(self) -> None:
        team = make_team()
        api = Api(make_member(team, role=Role.ADMIN))
        made = api.ok("keys", status=201, method="post", body={"name": "ci", "scope": "read", "team": team.pk})
        assert Api(key=made["key"]).ok("me")["kind"] == "key"
        [listed] = api.ok("keys")["results"]
        assert made["key"] not in str(listed) and "secret_digest" not in listed
        api.ok(f"keys/{made['id']}", status=204, method="delete")
        api.refused(f"keys/{made['id']}", status=409, method="delete")
        Api(key=made["key"]).refused("me", status=401)

    def test_a_team_admin_makes_keys_of_the_own_team_only(self) -> None:
        api = Api(make_member(make_team(), role=Role.ADMIN))
        api.refused("keys", status=403, method="post", body={"name": "ci", "scope": "read"})
        api.refused("keys", status=404, method="post", body={"name": "ci", "scope": "read", "team": make_team().pk})
        assert not Key.objects.exists()

    def test_a_key_that_has_ended_is_not_made(self) -> None:
        body = {"name": "ci", "scope": "read", "expires_at": "2020-01-01T00:00:00Z"}
        assert Api(make_admin()).refused("keys", status=400, method="post", body=body)["errors"][0]["pointer"] == "#/expires_at"

    def test_a_key_that_sends_belongs_to_a_cluster_and_to_no_team(self) -> None:
        api, cluster = Api(make_admin()), make_cluster()
        body = {"name": "agents", "scope": "ingest"}
        assert api.refused("keys", status=400, method="post", body=body)["errors"][0]["pointer"] == "#/cluster"
        both = {**body, "cluster": cluster.pk, "team": make_team().pk}
        assert api.refused("keys", status=400, method="post", body=both)["errors"][0]["pointer"] == "#/team"
        assert api.ok("keys", status=201, method="post", body={**body, "cluster": cluster.pk})["cluster"] == cluster.pk

    def test_rules_are_kept_in_order_and_applied(self) -> None:
        team = make_team()
        deployment = make_deployment(namespace="assist")
        api = Api(make_admin())
        rule = api.ok("team-rules", status=201, method="post", body={"position": 1, "namespace": "ass*", "team": team.pk})
        assert api.ok("team-rules/apply", method="post") == {"changed": 1}
        deployment.refresh_from_db()
        assert deployment.team == team
        api.ok(f"team-rules/{rule['id']}", method="put", body={"position": 2, "team": team.pk})
        assert api.ok(f"team-rules/{rule['id']}")["namespace"] == "*"
        api.ok(f"team-rules/{rule['id']}", status=204, method="delete")
        assert not TeamRule.objects.exists()


class TestSources:
    BODY = {"name": "prod-eu", "url": "http://192.0.2.1:9090/", "cluster": "eu", "auth": "bearer", "secret": "token-token-token-9f3a"}

    def test_a_secret_goes_in_and_only_its_tail_comes_out(self) -> None:
        api = Api(make_admin())
        made = api.ok("sources", status=201, method="post", body=self.BODY)
        assert (made["url"], made["cluster"], made["secret_tail"]) == ("http://192.0.2.1:9090", "eu", "9f3a")
        source = Source.objects.get()
        assert "token" not in source.secret and secret_decrypt(source.secret) == "token-token-token-9f3a"
        assert "token-token" not in str(api.ok(f"sources/{source.pk}")) + str(api.ok("sources")) + str(api.ok("audit"))

    def test_a_secret_stays_when_none_is_given_and_goes_with_the_way_to_sign_in(self) -> None:
        api = Api(make_admin())
        pk = api.ok("sources", status=201, method="post", body=self.BODY)["id"]
        assert api.ok(f"sources/{pk}", method="patch", body={"name": "eu"})["secret_tail"] == "9f3a"
        assert api.refused(f"sources/{pk}", status=400, method="patch", body={"auth": "basic"})["errors"][0]["pointer"] == "#/secret"
        assert api.ok(f"sources/{pk}", method="patch", body={"auth": "none"})["secret_tail"] == ""
        assert Source.objects.get().secret == ""

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("url", "ftp://x.example"),
            ("url", "http://user:pw@x.example"),
            ("url", "javascript:alert(1)"),
            ("url", "http://x.example/?q=1"),
            ("selector", 'a="b"} or up{'),
            ("selector", "a=b"),
            ("header_name", "X-A\r\nB: c"),
            ("tls_ca", "no certificate"),
            ("step_seconds", 7),
            ("auth", "magic"),
            ("secret_tail", "x"),
        ],
    )
    def test_a_wrong_field_is_named(self, field: str, value: Any) -> None:
        problem = Api(make_admin()).refused("sources", status=400, method="post", body=self.BODY | {field: value})
        assert problem["errors"][0]["pointer"] == f"#/{field}"

    def test_a_test_of_a_blocked_address_says_so(self) -> None:
        source = make_source(url="http://127.0.0.1:1")
        found = Api(make_admin()).ok(f"sources/{source.pk}/test", method="post")
        assert found["state"] != "ok" and found["state_text"] and found["tested_at"]

    def test_an_import_is_started_paused_and_resumed(self) -> None:
        api = Api(make_admin())
        source = make_source(finding={"history_days": 31})
        run = api.ok(f"sources/{source.pk}/import", status=202, method="post", body={"days": 2})
        assert (run["days"], run["source"]) == (2, source.pk) and sum(run["chunks"].values()) >= 2
        api.refused(f"sources/{source.pk}/import", status=409, method="post", body={})
        assert api.ok(f"imports/{run['id']}/pause", method="post")["state"] == "paused"
        assert api.ok(f"imports/{run['id']}/resume", method="post", body={})["state"] in ("waiting", "running")
        assert [row["id"] for row in api.ok(f"imports?source={source.pk}")["results"]] == [run["id"]]
        ImportRun.objects.update(state="done")
        api.refused(f"imports/{run['id']}/pause", status=409, method="post")

    def test_a_source_is_forgotten(self) -> None:
        Api(make_admin()).ok(f"sources/{make_source().pk}", status=204, method="delete")
        assert not Source.objects.exists()

    def test_private_addresses_are_allowed_and_forbidden_again(self) -> None:
        api = Api(make_admin())
        made = api.ok("allowed-addresses", status=201, method="post", body={"network": "10.0.0.5", "port": 9090})
        assert made["network"] == "10.0.0.5/32"
        api.refused("allowed-addresses", status=409, method="post", body={"network": "10.0.0.5/32", "port": 9090})
        api.refused("allowed-addresses", status=400, method="post", body={"network": "10.0.0.5/8"})
        api.ok(f"allowed-addresses/{made['id']}", status=204, method="delete")
        assert api.ok("allowed-addresses")["results"] == []

    def test_a_key_of_the_install_may_manage_sources(self) -> None:
        key_api(scope=Scope.ADMIN).ok("sources", status=201, method="post", body=self.BODY)
        key_api(scope=Scope.ADMIN, team=make_team()).refused("sources", status=403)


class TestInstall:
    def test_the_fleet_is_one_answer_over_the_own_deployments(self) -> None:
        team = make_team()
        for verdict, rate in ((Verdict.OK, 2.0), (Verdict.BREAKS, 1.0)):
            deployment = make_deployment(team=team)
            DeploymentStatus.objects.create(deployment=deployment, verdict=verdict, requests_per_second=rate, error_ratio=0.5)
        DeploymentStatus.objects.create(deployment=make_deployment(), verdict=Verdict.BREAKS, requests_per_second=9)
        found = Api(make_member(team)).ok("fleet")
        assert (found["deployments"], found["requests_per_second"], found["errors_per_second"]) == (2, 3.0, 1.5)
        assert found["verdicts"] == {"breaks": 1, "warning": 0, "ok": 1, "no_slo": 0, "no_data": 0}
        assert [row["deployment"] for row in found["burning"]] == [deployment.pk]

    def test_status_shows_sources_to_admins_only(self) -> None:
        make_source("prod-eu", watermark=timezone.now() - timedelta(minutes=3))
        assert Api(make_member(make_team())).ok("status")["sources"] == []
        [source] = Api(make_admin()).ok("status")["sources"]
        assert source["name"] == "prod-eu" and 180 <= source["lag_seconds"] < 200

    def test_the_audit_trail_is_the_admins(self) -> None:
        api = Api(make_admin("root@example.com"))
        api.ok("teams", status=201, method="post", body={"name": "Search"})
        [entry] = api.ok("audit?actor=root@example.com&action=team.create")["results"]
        assert (entry["subject"], entry["after"]) == ("team Search", {"name": "Search"})
        Api(make_member(make_team(), role=Role.ADMIN)).refused("audit", status=403)

    def test_the_demo_fleet_is_wished_for_once(self) -> None:
        api = Api(make_admin())
        assert api.ok("demo") == {"loaded": False, "action": None, "state": None, "progress_ratio": None, "text": None, "error": None}
        assert api.ok("demo", status=202, method="post")["action"] == "load"
        api.refused("demo", status=409, method="delete")
        DemoRun.objects.update(state="done")
        assert api.ok("demo", status=202, method="delete")["action"] == "remove"
        Api(make_member(make_team(), role=Role.ADMIN)).refused("demo", status=403, method="post")


def test_dates_are_utc() -> None:
    team = make_team()
    deployment = make_deployment(team=team, first_seen_at=datetime(2026, 11, 21, 3, 12, tzinfo=UTC))
    assert Api(make_member(team)).ok(f"deployments/{deployment.pk}")["first_seen_at"] == "2026-11-21T03:12:00Z"

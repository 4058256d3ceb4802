"""Scenarios and planned events by the API: save, change, clone, choose, compare; who may, and who does not even see them."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from capacity.models import PlannedEvent, PlanRun, Scenario
from monitoring.models import AuditEvent, Deployment, Role, Scope, Team
from tests.capacity.api_client import Api, key_api
from tests.factories import make_admin, make_cluster, make_deployment, make_member, make_team

pytestmark = pytest.mark.django_db


def editor(team: Team) -> Api:
    return Api(make_member(team, role=Role.EDITOR))


@pytest.fixture
def team() -> Team:
    return make_team("Search")


@pytest.fixture
def chat(team: Team) -> Deployment:
    return make_deployment("chat", team=team)


def saved(api: Api, deployment: Deployment, **fields: Any) -> dict[str, Any]:
    body = {"deployment": deployment.pk, "name": "Launch", "growth_per_month": 0.1} | fields
    row: dict[str, Any] = api.ok("scenarios", method="post", status=201, body=body)
    return row


def launch(**fields: Any) -> dict[str, Any]:
    start = timezone.now() + timedelta(days=10)
    return {"kind": "launch", "name": "Nordwind", "start_at": start.isoformat(), "factor": 3} | fields


def test_a_scenario_is_saved_changed_cloned_chosen_and_deleted(team: Team, chat: Deployment) -> None:
    api = editor(team)
    row = saved(api, chat, hourly_rate="2.5", by_hour=True)
    assert (row["scope"], row["deployment"], row["hourly_rate"], row["chosen"], row["members"]) == (
        "deployment",
        chat.pk,
        "2.500000",
        False,
        [],
    )
    changed = api.ok(f"scenarios/{row['id']}", method="patch", body={"by_hour": False, "replicas": 4, "hourly_rate": None})
    assert (changed["replicas"], changed["growth_per_month"], changed["hourly_rate"]) == (4, 0.1, None)
    copy = api.ok(f"scenarios/{row['id']}/clone", method="post", status=201, body={})
    assert (copy["name"], copy["replicas"]) == ("Launch copy", 4)
    assert api.ok(f"scenarios/{copy['id']}/choose", method="post")["chosen"] is True
    assert api.ok(f"scenarios/{copy['id']}/choose", method="delete")["chosen"] is False
    api.ok(f"scenarios/{row['id']}", method="delete", status=204)
    assert [each["id"] for each in api.ok(f"scenarios?deployment={chat.pk}")["results"]] == [copy["id"]]
    actions = ["create", "change", "clone", "choose", "choose", "delete"]
    assert list(AuditEvent.objects.order_by("pk").values_list("action", flat=True)) == [f"scenario.{each}" for each in actions]


def test_what_is_wrong_is_said_by_field_and_nothing_is_kept(team: Team, chat: Deployment) -> None:
    api = editor(team)
    body = {"deployment": chat.pk, "name": "Launch", "growth_per_month": -3, "horizon_days": 900}
    problem = api.refused("scenarios", method="post", status=400, body=body)
    assert {error["pointer"]: error["detail"] for error in problem["errors"]} == {
        "#/growth_per_month": "It must be from -0.95 to 10, got -3.0.",
        "#/horizon_days": "It must be from 1 to 400 days, got 900.",
    }
    both = api.refused("scenarios", method="post", status=400, body={"name": "x", "deployment": chat.pk, "cluster": chat.cluster_id})
    assert both["errors"][0]["detail"] == "give one of deployment, cluster and members, got 2"
    assert "unknown field" in api.refused("scenarios", method="post", status=400, body={"name": "x", "colour": 1})["detail"]
    assert not Scenario.objects.exists()


def test_of_another_team_nothing_is_seen_and_a_viewer_changes_nothing(team: Team, chat: Deployment) -> None:
    row = saved(editor(team), chat)
    event = editor(team).ok("planned-events", method="post", status=201, body=launch(scenario=row["id"]))
    foreign, viewer, reader = editor(make_team("Rival")), Api(make_member(team)), key_api(team=team)
    assert foreign.ok("scenarios")["results"] == foreign.ok("planned-events")["results"] == []
    assert [each["id"] for each in viewer.ok("scenarios")["results"]] == [row["id"]]
    assert [each["id"] for each in reader.ok("planned-events")["results"]] == [event["id"]]
    calls: list[tuple[str, str, Any]] = [
        ("patch", f"scenarios/{row['id']}", {}),
        ("delete", f"scenarios/{row['id']}", None),
        ("post", f"scenarios/{row['id']}/clone", {}),
        ("post", f"scenarios/{row['id']}/choose", {}),
        ("post", "scenarios", {"deployment": chat.pk, "name": "x"}),
        ("post", "planned-events", launch(scenario=row["id"])),
        ("post", "planned-events", launch(deployment=chat.pk)),
        ("patch", f"planned-events/{event['id']}", {}),
        ("delete", f"planned-events/{event['id']}", None),
    ]
    for method, path, body in calls:
        foreign.refused(path, method=method, status=404, body=body)
        for api in (viewer, reader):
            api.refused(path, method=method, status=403, body=body)
    foreign.refused(f"scenarios/{row['id']}", status=404)
    foreign.refused(f"scenarios/{row['id']}/plan", status=404)
    foreign.refused(f"scenarios/compare?ids={row['id']}", status=404)
    assert Scenario.objects.count() == PlannedEvent.objects.count() == 1


def test_a_group_needs_an_editor_of_every_member_and_is_seen_by_who_sees_all(team: Team, chat: Deployment) -> None:
    rival = make_team("Rival")
    theirs = make_deployment("theirs", team=rival)
    root = Api(make_admin())
    row = root.ok("scenarios", method="post", status=201, body={"name": "both", "members": [chat.pk, theirs.pk, chat.pk]})
    assert (row["scope"], sorted(row["members"]), row["team"]) == ("group", sorted([chat.pk, theirs.pk]), None)
    for one in (team, rival):
        assert editor(one).ok("scenarios")["results"] == []
        editor(one).refused(f"scenarios/{row['id']}", status=404)
    editor(team).refused("scenarios", method="post", status=404, body={"name": "mine", "members": [chat.pk, theirs.pk]})
    own = editor(team).ok("scenarios", method="post", status=201, body={"name": "mine", "members": [chat.pk]})
    editor(team).refused(f"scenarios/{own['id']}", method="patch", status=404, body={"members": [theirs.pk]})
    assert root.ok(f"scenarios/{own['id']}", method="patch", body={"members": [theirs.pk]})["members"] == [theirs.pk]
    editor(team).refused(f"scenarios/{own['id']}", status=404)


def test_a_cluster_is_for_who_sees_the_whole_of_it(team: Team) -> None:
    cluster = make_cluster("eu")
    make_deployment("chat", team=team, cluster=cluster)
    body = {"name": "eu", "cluster": cluster.pk}
    row = Api(make_admin()).ok("scenarios", method="post", status=201, body=body)
    assert editor(team).ok(f"scenarios/{row['id']}")["name"] == "eu"
    editor(team).refused("scenarios", method="post", status=403, body=body | {"name": "mine"})
    editor(team).refused(f"scenarios/{row['id']}", method="patch", status=403, body={})
    make_deployment("theirs", team=make_team("Rival"), cluster=cluster)
    editor(team).refused(f"scenarios/{row['id']}", status=404)
    editor(team).refused("scenarios", method="post", status=404, body=body | {"name": "mine"})


def test_scenarios_are_compared_in_the_order_asked_with_their_plans(team: Team, chat: Deployment) -> None:
    api = editor(team)
    first, second = saved(api, chat), saved(api, chat, name="Calm")
    PlanRun.objects.create(scenario_id=second["id"], replicas_needed=7, cost_per_month="1234.5", currency="USD")
    found = api.ok(f"scenarios/compare?ids={second['id']},{first['id']}")
    assert [(each["scenario"]["name"], each["plan"] and each["plan"]["replicas_needed"]) for each in found] == [
        ("Calm", 7),
        ("Launch", None),
    ]
    assert found[0]["plan"]["cost_per_month"] == "1234.50"
    api.refused("scenarios/compare?ids=1,x", status=400)
    api.refused("scenarios/compare", status=400)
    api.refused(f"scenarios/compare?ids={','.join(str(n) for n in range(11))}", status=400)


def test_an_event_is_planned_changed_and_forgotten(team: Team, chat: Deployment) -> None:
    api = editor(team)
    row = api.ok("planned-events", method="post", status=201, body=launch(deployment=chat.pk))
    assert (row["deployment"], row["scenario"], row["factor"], row["added_requests_per_second"]) == (chat.pk, None, 3.0, 0.0)
    changed = api.ok(f"planned-events/{row['id']}", method="patch", body={"factor": None, "added_requests_per_second": 200})
    assert (changed["factor"], changed["added_requests_per_second"], changed["name"]) == (None, 200.0, "Nordwind")
    assert [each["id"] for each in api.ok(f"planned-events?deployment={chat.pk}&kind=launch")["results"]] == [row["id"]]
    api.ok(f"planned-events/{row['id']}", method="delete", status=204)
    assert api.ok("planned-events")["results"] == []


def test_an_event_that_is_over_or_of_nothing_is_refused(team: Team, chat: Deployment) -> None:
    api = editor(team)
    past = {"start_at": "2026-01-05T09:00:00Z", "end_at": "2026-01-06T09:00:00Z"}
    problem = api.refused("planned-events", method="post", status=400, body=launch(deployment=chat.pk) | past)
    assert problem["errors"] == [
        {
            "pointer": "#/end_at",
            "detail": "It is over since 2026-01-06 09:00 UTC. A planned event lies ahead: what came is in the history already.",
        }
    ]
    problem = api.refused("planned-events", method="post", status=400, body=launch())
    assert problem["errors"][0]["detail"] == "give either a deployment or a scenario"
    assert not PlannedEvent.objects.exists()


def test_an_install_key_that_reads_sees_all_and_changes_nothing(team: Team, chat: Deployment) -> None:
    row = saved(editor(team), chat)
    reader = key_api()
    assert [each["id"] for each in reader.ok("scenarios")["results"]] == [row["id"]]
    reader.refused(f"scenarios/{row['id']}", method="patch", status=403, body={})
    assert key_api(scope=Scope.ADMIN).ok(f"scenarios/{row['id']}", method="patch", body={"note": "by a key"})["note"] == "by a key"


def test_lists_ask_the_database_as_often_for_one_as_for_ten(team: Team, chat: Deployment, django_assert_max_num_queries: Any) -> None:
    api = Api(make_member(team))
    for n in range(10):
        group = Scenario.objects.create(name=f"group {n}", scope="group", team=team)
        group.members.set([chat, make_deployment(f"model-{n}", team=team)])
        PlannedEvent.objects.create(scenario=group, name="x", start_at=timezone.now(), factor=2)
    api.ok("scenarios")
    with django_assert_max_num_queries(10):
        assert [len(row["members"]) for row in api.ok("scenarios")["results"]] == [2] * 10
    with django_assert_max_num_queries(10):
        assert api.ok("planned-events")["count"] == 10

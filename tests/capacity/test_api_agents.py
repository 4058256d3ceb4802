"""Agents and processes through the API: filters, pages, details, and what a team may read."""

from datetime import timedelta

import pytest
from django.utils import timezone

from monitoring.models import AgentGap
from tests.capacity.api_client import Api
from tests.factories import (
    make_accelerator,
    make_admin,
    make_agent,
    make_deployment,
    make_member,
    make_placement,
    make_replica,
    make_team,
)

pytestmark = pytest.mark.django_db


def names(api: Api, query: str = "") -> list[str]:
    return [row["node_name"] for row in api.call("get", f"/api/v1/agents{query}").json()["results"]]


def test_agents_are_listed_by_state_cluster_and_version() -> None:
    make_agent("live", version="0.2.0")
    make_agent("late", newest_sample_at=timezone.now() - timedelta(minutes=9))
    make_agent("silent", last_seen_at=timezone.now() - timedelta(hours=1))
    api = Api(make_admin())
    assert names(api) == ["late", "live", "silent"]
    assert [names(api, f"?state={state}") for state in ("live", "late", "silent")] == [["live"], ["late"], ["silent"]]
    assert names(api, "?version=0.2.0") == ["live"]
    assert names(api, "?cluster=nowhere") == []
    assert api.call("get", "/api/v1/agents?state=dead").status_code == 400
    page = api.call("get", "/api/v1/agents?limit=2").json()
    assert len(page["results"]) == 2 and "offset=2" in page["next"]


def test_one_says_all_it_told_with_its_gaps() -> None:
    agent = make_agent(
        "gpu-7",
        host={"kernel": "6.8"},
        capabilities={"GPU-1": {"nvmlGpmSampleGet": "no"}},
        waiting_count=4,
        skew_seconds=0.5,
        rejected_text="no such column",
    )
    end = timezone.now() - timedelta(hours=1)
    AgentGap.objects.create(agent=agent, count=9, start_at=end - timedelta(hours=1), end_at=end)
    row = Api(make_admin()).call("get", f"/api/v1/agents/{agent.pk}").json()
    assert (row["node_name"], row["state"], row["dropped_count"], row["waiting_count"]) == ("gpu-7", "live", 9, 4)
    assert row["capabilities"] == {"GPU-1": {"nvmlGpmSampleGet": "no"}} and row["host"] == {"kernel": "6.8"}
    assert [gap["count"] for gap in row["gaps"]] == [9]
    assert row["rejected_text"] == "no such column"


def test_a_team_reads_its_own_part_of_an_agent() -> None:
    team, agent = make_team(), make_agent(rejected_text="GPU-theirs: odd")
    mine = make_accelerator(agent.node, uuid="GPU-mine")
    make_placement(make_replica(make_deployment(team=team)), accelerator=mine)
    agent.capabilities = {"GPU-mine": {"a": "b"}, "GPU-theirs": {"a": "b"}}
    agent.host = {"kernel": "6.8", "GPU-mine x": 1.0, "GPU-theirs x": 1.0}
    agent.save()
    row = Api(make_member(team)).call("get", f"/api/v1/agents/{agent.pk}").json()
    assert row["capabilities"] == {"GPU-mine": {"a": "b"}} and row["rejected_text"] == ""
    assert row["host"] == {"kernel": "6.8", "GPU-mine x": 1.0}
    assert Api(make_member(make_team())).call("get", f"/api/v1/agents/{agent.pk}").status_code == 404


def test_processes_of_an_accelerator_the_newest_first() -> None:
    gpu, now = make_accelerator(make_agent().node), timezone.now()
    for number in range(3):
        gpu.processes.create(pid=number, started_at=now - timedelta(days=1), name=f"p{number}", last_seen_at=now - timedelta(hours=number))
    api, url = Api(make_admin()), f"/api/v1/accelerators/{gpu.pk}/processes"
    assert [row["name"] for row in api.call("get", url).json()["results"]] == ["p0", "p1", "p2"]
    since = (now - timedelta(minutes=90)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert [row["name"] for row in api.call("get", f"{url}?since={since}").json()["results"]] == ["p0", "p1"]
    assert api.call("get", "/api/v1/accelerators/999999/processes").status_code == 404


@pytest.mark.parametrize(("share", "others", "seen"), [(1.0, 0.0, True), (0.6, 0.0, False), (0.5, 0.5, False)])
def test_a_team_reads_processes_where_the_whole_accelerator_is_its_own(share: float, others: float, seen: bool) -> None:
    team, gpu = make_team(), make_accelerator(make_agent().node)
    make_placement(make_replica(make_deployment(team=team)), accelerator=gpu, share=share)
    if others:
        make_placement(make_replica(make_deployment()), accelerator=gpu, share=others)
    gpu.processes.create(pid=1, started_at=timezone.now(), name="python3")
    rows = Api(make_member(team)).call("get", f"/api/v1/accelerators/{gpu.pk}/processes").json()["results"]
    assert bool(rows) == seen


def test_a_team_that_moved_in_today_does_not_read_what_ran_for_another_one() -> None:
    team, gpu, now = make_team(), make_accelerator(make_agent().node), timezone.now()
    make_placement(make_replica(make_deployment()), accelerator=gpu, valid_from=now - timedelta(days=9), valid_to=now - timedelta(hours=3))
    make_placement(make_replica(make_deployment(team=team)), accelerator=gpu, valid_from=now - timedelta(hours=3))
    gpu.processes.create(pid=1, started_at=now - timedelta(days=2), name="theirs", last_seen_at=now - timedelta(hours=4))
    assert Api(make_member(team)).call("get", f"/api/v1/accelerators/{gpu.pk}/processes").json()["results"] == []

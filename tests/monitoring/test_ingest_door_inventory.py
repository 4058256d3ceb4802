"""What a batch teaches beside its samples: providers, processes and their placements, incidents, gaps, what the agent says of itself."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from monitoring.agents import processes_forget
from monitoring.agents.known import remembered
from monitoring.catalog.records import Entity
from monitoring.models import Accelerator, AcceleratorProcess, Agent, AgentGap, Deployment, Event, Node, Placement, PlacementMethod
from monitoring.sources.assemble import Table
from monitoring.sources.layout import agents_first
from monitoring.sources.poll import providers_record
from tests.factories import make_deployment, make_replica
from tests.monitoring.ingest_door import Sender, gpu, grid

pytestmark = pytest.mark.django_db


@pytest.fixture
def sender() -> Sender:
    return Sender()


def process(pid: int = 10, **told: Any) -> dict[str, Any]:
    return {"accelerator": "GPU-0", "pid": pid, "started_at": 1795300000.0, "name": "python3", "kinds": "compute", **told}


def polled(card: Accelerator, *, minutes: float, now: Any = None) -> Table:
    """What DCGM says of a card at one instant, so many minutes from now, once the agent's word is taken out."""
    now = now or timezone.now()
    table = Table(np.array([card.pk]))
    for name in ("power_watts", "sm_occupancy_ratio"):
        table.columns[name] = np.array([[0.5]])
        table.providers[name] = {card.pk: "dcgm_exporter"}
    at = np.array([(now + timedelta(minutes=minutes)).timestamp()])
    agents_first(table, entity=Entity.ACCELERATOR, times=at, now=now)
    return table


class TestProviders:
    def test_the_agent_is_shown_as_the_provider_of_what_it_sends(self, sender: Sender) -> None:
        sender.send({"power_watts": [None, [1.0] * 4], "load1": [[1.0] * 4, None], "no_such": [None, [1.0] * 4]})
        assert (Accelerator.objects.get().providers, Node.objects.get().providers) == ({"power_watts": "agent"}, {"load1": "agent"})

    def test_a_poll_leaves_its_columns_alone_while_it_lives_and_adds_the_others(self, sender: Sender) -> None:
        sender.send({"power_watts": [None, [1.0] * 4]})
        card = Accelerator.objects.get()
        table = polled(card, minutes=1)
        assert np.isnan(table.columns["power_watts"]).all() and np.isfinite(table.columns["sm_occupancy_ratio"]).all()
        providers_record(table, entity=Entity.ACCELERATOR)
        card.refresh_from_db()
        assert card.providers == {"power_watts": "agent", "sm_occupancy_ratio": "dcgm_exporter"}

    def test_what_lies_before_its_first_day_may_be_imported(self, sender: Sender) -> None:
        sender.send({"power_watts": [None, [1.0] * 4]})
        assert np.isfinite(polled(Accelerator.objects.get(), minutes=-5).columns["power_watts"]).all()

    def test_a_poll_takes_over_when_it_is_silent_and_hands_back_when_it_returns(self, sender: Sender) -> None:
        sender.send({"power_watts": [None, [1.0] * 4]})
        card = Accelerator.objects.get()
        Agent.objects.update(last_seen_at=timezone.now() - timedelta(minutes=4))
        table = polled(card, minutes=1)
        assert np.isfinite(table.columns["power_watts"]).all()
        providers_record(table, entity=Entity.ACCELERATOR)
        card.refresh_from_db()
        assert card.providers["power_watts"] == "dcgm_exporter"
        for _ in range(2):
            sender.send({"power_watts": [None, [1.0] * 4]})
        card.refresh_from_db()
        assert card.providers["power_watts"] == "agent"


class TestProcesses:
    def place(self, sender: Sender, **fields: Any) -> Deployment:
        deployment = make_deployment("llama", cluster=sender.cluster)
        make_replica(deployment, name="llama-0", **fields)
        return deployment

    def shares(self) -> list[tuple[str, float, str]]:
        rows = Placement.objects.filter(valid_to__isnull=True).select_related("replica").order_by("replica__name")
        return [(row.replica.name, round(row.share, 2), row.method) for row in rows]

    def test_they_are_kept_once_however_often_they_are_seen(self, sender: Sender) -> None:
        sender.send(processes=[process(memory_bytes=1)])
        remembered.clear()
        sender.send(times=grid(1, ago=-15), processes=[process(memory_bytes=2), process(11)])
        assert list(AcceleratorProcess.objects.values_list("pid", "memory_bytes", "accelerator__uuid")) == [
            (10, 2, "GPU-0"),
            (11, None, "GPU-0"),
        ]

    def test_a_batch_out_of_the_spool_tells_no_processes(self, sender: Sender) -> None:
        sender.send()
        sender.send(times=grid(1, ago=3600), processes=[process()])
        assert not AcceleratorProcess.objects.exists()

    def test_the_model_name_leads_to_the_only_deployment_that_serves_it(self, sender: Sender) -> None:
        self.place(sender)
        make_deployment("llama", cluster=Sender().cluster)
        sender.send(processes=[process(model_name="llama")])
        assert self.shares() == [("llama-0", 1.0, PlacementMethod.CGROUP)]

    def test_two_deployments_with_that_model_tell_nothing(self, sender: Sender) -> None:
        self.place(sender)
        make_deployment("llama", cluster=sender.cluster, namespace="other")
        sender.send(processes=[process(model_name="llama")])
        assert self.shares() == []

    def test_the_pod_leads_to_the_replica_whatever_the_model_is_called(self, sender: Sender) -> None:
        self.place(sender, pod_uid="3f2b")
        sender.send(processes=[process(model_name="/models/x", pod_uid="3f2b")])
        assert self.shares() == [("llama-0", 1.0, PlacementMethod.CGROUP)]

    def test_shares_follow_sm_time_and_the_unknown_stays_unattributed(self, sender: Sender) -> None:
        self.place(sender, pod_uid="3f2b")
        sender.send(processes=[process(pod_uid="3f2b", sm_ratio=0.6), process(11, sm_ratio=0.2)])
        assert self.shares() == [("llama-0", 0.75, PlacementMethod.SM_TIME)]

    def test_without_sm_time_the_card_is_split_evenly(self, sender: Sender) -> None:
        self.place(sender, pod_uid="3f2b")
        sender.send(processes=[process(pod_uid="3f2b"), process(11)])
        assert self.shares() == [("llama-0", 0.5, PlacementMethod.EQUAL_SPLIT)]

    def test_a_process_that_ended_ends_its_placement(self, sender: Sender) -> None:
        self.place(sender, pod_uid="3f2b")
        sender.send(processes=[process(pod_uid="3f2b")])
        sender.send(times=grid(1, ago=-15), processes=[])
        assert self.shares() == [] and Placement.objects.count() == 1

    def test_they_are_forgotten_a_day_after_they_were_seen(self, sender: Sender) -> None:
        sender.send(processes=[process()])
        now = timezone.now()
        processes_forget(now=now + timedelta(hours=23))
        assert AcceleratorProcess.objects.exists()
        processes_forget(now=now + timedelta(hours=25))
        assert not AcceleratorProcess.objects.exists()


class TestIncidents:
    def test_an_xid_is_one_event_however_often_it_is_sent(self, sender: Sender) -> None:
        for _ in range(2):
            sender.send(
                events=[
                    {"kind": "xid", "accelerator": "GPU-0", "time": 1795322431.5, "code": 79},
                    {"kind": "new", "accelerator": "GPU-0", "time": 1},
                ]
            )
        event = Event.objects.get()
        assert (event.kind, event.deployment, event.detail["accelerator"], event.detail["code"]) == ("incident", None, "GPU-0", 79)

    def test_a_lost_accelerator_is_one_incident_until_it_is_back(self, sender: Sender) -> None:
        for ago, lost in ((60, ""), (45, "GPU is lost"), (30, "GPU is lost"), (15, ""), (0, "GPU is lost")):
            remembered.clear()  # another process takes the batch
            sender.send({}, times=grid(1, ago=ago), entities=[gpu(lost=lost)])
        assert [(event.detail["lost"], event.end_at is None) for event in Event.objects.order_by("pk")] == [
            ("GPU is lost", False),
            ("GPU is lost", True),
        ]


class TestTheAgent:
    def test_it_says_how_it_is(self, sender: Sender) -> None:
        spool = {"waiting": 12, "bytes": 34567, "oldest": 1795322400.0, "trouble": "read-only"}
        sender.send(
            agent={"host": {"kernel": "6.1", "cpus": 64}, "spool": spool}, capabilities={"GPU-0": {"nvmlGpm": "Not Supported"}}, seq=7
        )
        sender.send(seq=6)
        agent = Agent.objects.get()
        assert (agent.version, agent.key, agent.sequence, agent.host["cpus"]) == ("0.1.0", sender.key, 7, 64)
        assert (agent.waiting_count, agent.trouble) == (0, "") and agent.capabilities == {"GPU-0": {"nvmlGpm": "Not Supported"}}
        assert agent.skew_seconds is not None and abs(agent.skew_seconds) < 5 and agent.newest_sample_at is not None

    def test_a_gap_is_kept_once(self, sender: Sender) -> None:
        for _ in range(2):
            sender.send(gaps=[{"count": 240, "start": 1795300000.0, "end": 1795303600.0}])
        assert list(AgentGap.objects.values_list("count", flat=True)) == [240]

    def test_an_agent_that_was_removed_begins_anew(self, sender: Sender) -> None:
        sender.send()
        Node.objects.all().delete()
        sender.send(times=grid(1, ago=-15))
        assert Agent.objects.get().node.name == "gpu-7" and Accelerator.objects.get().node == Node.objects.get()

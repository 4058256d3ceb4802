"""The door for agents: what it stores, what it refuses alone, and that saying it twice changes nothing."""

import pytest

from monitoring.models import Accelerator, Agent, Node
from tests.monitoring.ingest_door import Sender, body_of, gpu, grid
from tests.telemetry import NOON_SECONDS, table_rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def sender() -> Sender:
    return Sender()


class TestABatch:
    def test_it_is_stored_as_rows_of_the_node_and_its_accelerators(self, sender: Sender) -> None:
        times = grid(2)
        counts = sender.send({"power_watts": [None, [400.0, 410.0]], "load1": [[1.0, None], None]}, times=times)
        assert (counts["accepted"], counts["duplicate"], counts["rejected"], counts["errors"]) == (3, 0, 0, [])
        node, card = Node.objects.get(), Accelerator.objects.get()
        assert (node.cluster, node.name, card.cluster, card.uuid, card.node) == (sender.cluster, "gpu-7", sender.cluster, "GPU-0", node)
        after = [at - NOON_SECONDS for at in times]
        assert table_rows("accelerator_sample", "power_watts") == [(card.pk, after[0], 400.0), (card.pk, after[1], 410.0)]
        assert table_rows("node_sample", "load1", "cpu_cores") == [(node.pk, after[0], 1.0, None)]

    def test_twice_changes_nothing_but_the_count_of_duplicates(self, sender: Sender) -> None:
        body = body_of()
        assert sender.post(body).json()["accepted"] == 8
        before = table_rows("accelerator_sample", "power_watts")
        assert {**sender.post(body, packed=True).json(), "received_at": 0} == {
            "accepted": 0, "duplicate": 8, "rejected": 0, "errors": [], "received_at": 0,
        }  # fmt: skip
        assert table_rows("accelerator_sample", "power_watts") == before
        assert Agent.objects.get().duplicate_count == 8

    def test_of_two_values_for_one_instant_the_first_stands(self, sender: Sender) -> None:
        times = grid(1)
        sender.send({"power_watts": [None, [400.0]]}, times=times)
        counts = sender.send({"power_watts": [None, [999.0]], "temperature_celsius": [None, [50.0]]}, times=times)
        assert (counts["accepted"], counts["duplicate"]) == (1, 1)
        assert [row[2:] for row in table_rows("accelerator_sample", "power_watts", "temperature_celsius")] == [(400.0, 50.0)]

    @pytest.mark.parametrize("tiny", [1e-320, 1e-42])
    def test_what_is_too_small_for_the_store_is_nothing(self, sender: Sender, tiny: float) -> None:
        times = grid(1)
        sender.send({"power_watts": [None, [400.0]]}, times=times)
        assert sender.send({"temperature_celsius": [None, [tiny]]}, times=times)["accepted"] == 1  # merged with what is there
        assert [row[2] for row in table_rows("accelerator_sample", "temperature_celsius")] == [pytest.approx(0, abs=1e-40)]

    def test_a_bad_sample_is_refused_alone_and_named(self, sender: Sender) -> None:
        counts = sender.send({"power_watts": [None, [-1.0, 400.0]], "no_such": [None, [1.0, 2.0]]}, times=grid(2))
        assert (counts["accepted"], counts["rejected"]) == (1, 3)
        assert any("power_watts" in text for text in counts["errors"]) and any("no_such" in text for text in counts["errors"])
        assert Agent.objects.get().rejected_count == 3

    def test_a_sample_from_the_future_is_refused_alone(self, sender: Sender) -> None:
        now = grid(1)[0]
        counts = sender.send({"power_watts": [None, [1.0, 2.0]]}, times=[now, now + 900])
        assert (counts["accepted"], counts["rejected"]) == (1, 1) and "600 s ahead" in counts["errors"][0]

    def test_late_samples_between_stored_ones_are_added(self, sender: Sender) -> None:
        times = grid(4)
        sender.send({"power_watts": [None, [1.0, 4.0]]}, times=[times[0], times[3]])
        assert sender.send({"power_watts": [None, [2.0, 3.0]]}, times=times[1:3])["accepted"] == 2
        assert [row[2] for row in table_rows("accelerator_sample", "power_watts")] == [1.0, 2.0, 3.0, 4.0]

    def test_the_same_uuid_in_another_cluster_is_another_accelerator(self, sender: Sender) -> None:
        other = Sender()
        sender.send()
        other.send()
        assert {(row.cluster, row.uuid) for row in Accelerator.objects.all()} == {(sender.cluster, "GPU-0"), (other.cluster, "GPU-0")}
        assert Agent.objects.count() == 2

    def test_a_mig_instance_hangs_below_its_gpu(self, sender: Sender) -> None:
        mig = gpu("MIG-1", parent="GPU-0", profile="1g.10gb")
        sender.send({"gpu_memory_used_bytes": [[1e9] * 4]}, entities=[mig])
        row = Accelerator.objects.get(uuid="MIG-1")
        assert row.parent is not None and (row.parent.uuid, row.mig_profile) == ("GPU-0", "1g.10gb")

"""What is there, who holds it, what comes: counted by placements and telemetry, with orders checked in one place."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from capacity.analysis.supply import Stock, accelerators_free, held_load, model_among, supply_load, supply_steps
from capacity.analysis.supply_change import SupplyError, order_change, order_close, order_create
from capacity.models import SupplyOrder, SupplyState
from monitoring.catalog.records import Entity
from monitoring.ingest import rows_ingest
from monitoring.models import Accelerator, Cluster, Deployment, Node
from tests.factories import make_accelerator, make_cluster, make_deployment, make_node, make_placement, make_replica
from tests.telemetry import NOON, make_rows

pytestmark = pytest.mark.django_db
NOW = NOON + timedelta(days=2)
H100 = "NVIDIA H100 80GB HBM3"
ORDER = {"accelerator_model": H100, "accelerators": 8, "nodes": 1, "instance_type": "p5.48xlarge", "arrives_on": "2026-12-08"}


def card(node: Node, **fields: Any) -> Accelerator:
    return make_accelerator(node, **{"model_name": H100, "last_seen_at": NOW} | fields)


def measured(row: Accelerator, **columns: float) -> None:
    day = 2 * 86_400.0
    rows = make_rows([day - 1800, day - 1200, day - 600], Entity.ACCELERATOR, ids=row.pk, **columns)
    assert not rows_ingest(rows, overwrite=True, now=NOW).rejected


def loaded(own: Any = None) -> dict[str, tuple[Stock, ...]]:
    found = supply_load(
        Cluster.objects.all(),
        accelerators=Accelerator.objects.all(),
        nodes=Node.objects.all(),
        own=Deployment.objects.all() if own is None else own,
        now=NOW,
    )
    return {each.cluster.name: each.stocks for each in found}


def refusal(call: Any, *args: Any, **kwargs: Any) -> dict[str, str]:
    with pytest.raises(SupplyError) as caught:
        call(*args, **kwargs)
    return caught.value.problems


class TestStock:
    def test_each_accelerator_is_held_free_busy_or_not_known(self) -> None:
        node = make_node("gpu-1", last_seen_at=NOW)
        cards = [card(node) for _ in range(5)]
        make_placement(make_replica(make_deployment("chat")), accelerator=cards[0])
        make_placement(make_replica(make_deployment("code")), accelerator=cards[1], share=0.5)
        measured(cards[2], gpu_utilization_ratio=0.0, gpu_memory_used_bytes=1e9, gpu_memory_total_bytes=80e9)
        measured(cards[3], gpu_utilization_ratio=0.01, gpu_memory_used_bytes=70e9, gpu_memory_total_bytes=80e9)
        assert loaded() == {
            "test": (Stock(model=H100, there=5, own=1.5, others=0.0, free=1, unattributed=1, unmeasured=1, reserved=0, on_order=0),)
        }

    def test_what_others_hold_is_told_apart_from_what_is_ones_own(self) -> None:
        node = make_node("gpu-1")
        chat, code = make_deployment("chat"), make_deployment("code")
        shared = card(node)
        make_placement(make_replica(chat), accelerator=shared, share=0.25)
        make_placement(make_replica(code), accelerator=shared, share=0.5)
        (stock,) = loaded(Deployment.objects.filter(pk=chat.pk))["test"]
        assert (stock.own, stock.others, stock.free) == (0.25, 0.5, 0)

    def test_an_ended_placement_holds_nothing(self) -> None:
        row = card(make_node("gpu-1"))
        make_placement(make_replica(make_deployment("chat")), accelerator=row, valid_to=NOW - timedelta(hours=1))
        (stock,) = loaded()["test"]
        assert (stock.own, stock.unmeasured) == (0.0, 1)

    def test_slices_are_counted_by_profile_and_not_their_gpu(self) -> None:
        node = make_node("gpu-1")
        whole = card(node, model_name="A100")
        for _ in range(2):
            card(node, model_name="A100", mig_profile="1g.5gb", parent=whole)
        assert [(stock.model, stock.there) for stock in loaded()["test"]] == [("A100 MIG 1g.5gb", 2)]

    def test_what_was_taken_out_is_not_there(self) -> None:
        node = make_node("gpu-1")
        card(node)
        card(node, last_seen_at=NOW - timedelta(days=3))
        assert [stock.there for stock in loaded()["test"]] == [1]

    def test_orders_stand_beside_what_they_mean(self) -> None:
        cluster = card(make_node("gpu-1")).cluster
        order_create(cluster, ORDER | {"accelerator_model": "H100"}, by="x", now=NOW)
        order_create(cluster, ORDER | {"accelerator_model": "B200", "state": "reserved", "accelerators": 2}, by="x", now=NOW)
        order_close(order_create(cluster, ORDER, by="x", now=NOW), SupplyState.CANCELLED, by="x", now=NOW)
        assert [(stock.model, stock.there, stock.reserved, stock.on_order) for stock in loaded()["test"]] == [
            ("B200", 0, 2, 0),
            (H100, 1, 0, 8),
        ]

    def test_a_cluster_with_nothing_in_it_is_left_out(self) -> None:
        make_cluster("empty")
        assert loaded() == {}


@pytest.mark.parametrize(
    ("wanted", "model"),
    [
        ("NVIDIA H100 80GB HBM3", H100),
        ("h100 80gb hbm3", H100),
        ("H100", H100),
        ("H10", "H10"),
        ("L40", "L40"),
        ("A100", "A100"),  # two begin so: it is not guessed
    ],
)
def test_an_order_means_the_model_of_that_name(wanted: str, model: str) -> None:
    assert model_among(wanted, [H100, "NVIDIA L40S", "NVIDIA A100-SXM4-40GB", "A100 40GB", "A100 80GB"]) == model


class TestSteps:
    def test_capacity_grows_on_the_days_of_arrival(self) -> None:
        cluster = card(make_node("gpu-1")).cluster
        second = order_create(cluster, ORDER | {"arrives_on": "2026-12-20", "accelerators": 4, "nodes": 0}, by="x", now=NOW)
        first = order_create(cluster, ORDER, by="x", now=NOW)
        order_create(cluster, ORDER | {"arrives_on": ""}, by="x", now=NOW)
        order_create(cluster, ORDER | {"accelerator_model": "B200"}, by="x", now=NOW)
        SupplyOrder.objects.create(cluster=cluster, accelerator_model=H100, accelerators=2, arrives_on=date(2026, 11, 20))
        found = supply_steps(cluster, model=H100, now=NOW)
        assert [(step.accelerators, step.order) for step in found.steps] == [(1, None), (9, first.pk), (13, second.pk)]
        assert found.steps[1].time == datetime(2026, 12, 8, tzinfo=UTC).timestamp()
        assert found.steps[2].label == f"4 {H100} on order arrive"
        assert (found.undated, found.late) == (8, 2)

    def test_what_arrives_today_counts_from_now(self) -> None:
        cluster = card(make_node("gpu-1")).cluster
        order_create(cluster, ORDER | {"arrives_on": NOW.date()}, by="x", now=NOW)
        assert [step.time for step in supply_steps(cluster, model=H100, now=NOW).steps] == [NOW.timestamp()] * 2


class TestFree:
    def test_only_what_is_known_to_be_idle_is_free(self) -> None:
        node = make_node("gpu-1")
        idle, _, held = card(node), card(node), card(node)
        card(node, model_name="L4")
        measured(idle, gpu_utilization_ratio=0.0)
        make_placement(make_replica(make_deployment("chat")), accelerator=held)
        free = accelerators_free(node.cluster, model=H100, now=NOW)
        assert (free.count, free.unmeasured, free.there) == (1, 1, 3)

    def test_what_a_replica_holds_is_a_mean_over_those_placed(self) -> None:
        node, chat = make_node("gpu-1"), make_deployment("chat")
        assert held_load(chat, now=NOW) is None
        for cards in (2, 1):
            replica = make_replica(chat)
            for _ in range(cards):
                make_placement(replica, accelerator=card(node))
        held = held_load(chat, now=NOW)
        assert held is not None and (held.accelerators, held.model, held.replicas) == (1.5, H100, 2)


class TestOrder:
    @pytest.mark.parametrize(
        ("fields", "field", "sentence"),
        [
            ({"accelerators": 0, "nodes": 0}, "accelerators", "Enter how many accelerators or nodes come"),
            ({"accelerators": -1}, "accelerators", "It must be from 0 to 100,000, got -1."),
            ({"accelerator_model": ""}, "accelerator_model", "Enter which accelerator"),
            ({"accelerators": "", "instance_type": ""}, "instance_type", "Enter which kind of node"),
            ({"arrives_on": "2026-11-21"}, "arrives_on", "It cannot arrive on 2026-11-21, which is over."),
            ({"arrives_on": "2030-01-01"}, "arrives_on", "At most three years ahead, got 2030-01-01."),
            ({"arrives_on": "soon"}, "arrives_on", "'soon' is not a day."),
            ({"state": "arrived"}, "state", "It must be one of on_order, reserved, got 'arrived'."),
            ({"price": 1}, "price", "An order has no price"),
        ],
    )
    def test_what_cannot_be_is_said_and_nothing_is_kept(self, fields: dict[str, Any], field: str, sentence: str) -> None:
        problems = refusal(order_create, make_cluster("eu"), ORDER | fields, by="x", now=NOW)
        assert problems[field].startswith(sentence)
        assert not SupplyOrder.objects.exists()

    def test_a_late_one_may_get_a_note_without_another_day(self) -> None:
        row = order_create(make_cluster("eu"), ORDER, by="x", now=NOW)
        later = NOW + timedelta(days=60)
        assert order_change(row, {"note": "held at customs"}, by="bob", now=later).note == "held at customs"
        assert "which is over" in refusal(order_change, row, {"arrives_on": "2026-12-01"}, by="x", now=later)["arrives_on"]

    def test_what_arrived_or_was_cancelled_stays_so(self) -> None:
        row = order_close(order_create(make_cluster("eu"), ORDER, by="x", now=NOW), SupplyState.ARRIVED, by="bob", now=NOW)
        kept = SupplyOrder.objects.get()
        assert (kept.state, kept.arrives_on, kept.set_by) == ("arrived", NOW.date(), "bob")
        assert "is arrived and stays" in refusal(order_close, row, SupplyState.CANCELLED, by="x", now=NOW)[""]
        assert "is arrived and stays" in refusal(order_change, kept, {"note": "x"}, by="x", now=NOW)[""]

"""The page of supply: what is there and comes, who may enter it, Undo, and the words where there is nothing."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from capacity.models import SupplyOrder
from monitoring.models import AuditEvent, Role
from tests.capacity.pages import client_of, queries, text_of, toasts, undo_of
from tests.factories import (
    make_accelerator,
    make_admin,
    make_cluster,
    make_deployment,
    make_member,
    make_node,
    make_placement,
    make_replica,
    make_team,
)

pytestmark = pytest.mark.django_db
H100 = "NVIDIA H100 80GB HBM3"


def order_of(cluster: Any, **fields: Any) -> dict[str, Any]:
    day = (timezone.now() + timedelta(days=14)).date().isoformat()
    return {
        "cluster": cluster.pk,
        "state": "on_order",
        "accelerators": "8",
        "accelerator_model": H100,
        "arrives_on": day,
        "note": "PO 114",
    } | fields


def test_with_nothing_it_says_what_to_do() -> None:
    text = text_of(client_of(make_admin()).get("/supply/"))
    assert "No accelerator is known yet." in text and "install an agent" in text and "Nothing is reserved or on order." in text
    text = text_of(client_of(make_member(make_team())).get("/supply/"))
    assert "No deployment of yours lies on an accelerator" in text and "Enter an order" not in text


def test_an_order_is_entered_changed_arrives_and_each_step_can_be_undone() -> None:
    cluster, client = make_cluster("eu"), client_of(make_admin())
    make_accelerator(make_node("gpu-1", cluster=cluster), model_name=H100)
    answer = client.post("/supply/orders/new/", order_of(cluster), follow=True)
    row = SupplyOrder.objects.get()
    assert toasts(answer)[0].startswith(f"8 {H100} on order arrive in eu on ")
    assert "8 on order, the next on" in text_of(answer)
    client.post(f"/supply/orders/{row.pk}/", order_of(cluster, accelerators="4"))
    answer = client.post(f"/supply/orders/{row.pk}/arrive/", follow=True)
    row.refresh_from_db()
    assert (row.accelerators, row.state) == (4, "arrived")
    assert "Nothing is reserved or on order." in text_of(answer)
    assert f"4 {H100}" in text_of(client.get("/supply/?show=arrived"))
    client.post(undo_of(answer))
    row.refresh_from_db()
    assert row.state == "on_order" and row.arrives_on is not None and row.arrives_on > timezone.now().date()
    actions = list(AuditEvent.objects.order_by("pk").values_list("action", flat=True))
    assert actions == ["supply.create", "supply.change", "supply.arrive", "supply_order.undo"]


def test_an_order_entered_by_mistake_goes_again() -> None:
    cluster, client = make_cluster("eu"), client_of(make_admin())
    client.post(undo_of(client.post("/supply/orders/new/", order_of(cluster), follow=True)))
    assert not SupplyOrder.objects.exists()


def test_what_cannot_be_is_said_at_its_field_and_kept_in_the_form() -> None:
    client = client_of(make_admin())
    answer = client.post("/supply/orders/new/", order_of(make_cluster("eu"), accelerators="many", arrives_on="2020-01-01"))
    text = text_of(answer)
    assert answer.status_code == 422 and "&#x27;many&#x27; is not a number." in text and "which is over" in text and 'value="many"' in text
    assert not SupplyOrder.objects.exists()


def test_a_late_order_says_so_and_takes_a_note_without_another_day() -> None:
    cluster, client = make_cluster("eu"), client_of(make_admin())
    late = (timezone.now() - timedelta(days=2)).date()
    row = SupplyOrder.objects.create(cluster=cluster, accelerator_model=H100, accelerators=2, arrives_on=late)
    assert "Late" in text_of(client.get("/supply/"))
    assert client.post(f"/supply/orders/{row.pk}/", order_of(cluster, arrives_on=late.isoformat(), note="at customs")).status_code == 302
    row.refresh_from_db()
    assert row.note == "at customs"
    answer = client.post(f"/supply/orders/{row.pk}/cancel/", follow=True)
    assert toasts(answer)[-1] == "The order is cancelled."
    assert "stays as it is" in toasts(client.get(f"/supply/orders/{row.pk}/", follow=True))[0]


@pytest.mark.parametrize("role", Role.values)
def test_a_team_reads_what_it_sees_and_changes_nothing(role: str) -> None:
    team, cluster = make_team("Search"), make_cluster("eu")
    node = make_node("gpu-1", cluster=cluster)
    mine, theirs = make_accelerator(node, model_name=H100), make_accelerator(node, model_name="secret-chip")
    make_placement(make_replica(make_deployment("chat", team=team, cluster=cluster)), accelerator=mine, share=0.5)
    make_placement(make_replica(make_deployment("rival", cluster=cluster)), accelerator=mine, share=0.25)
    make_placement(make_replica(make_deployment("other", cluster=cluster)), accelerator=theirs)
    row = SupplyOrder.objects.create(cluster=cluster, accelerator_model=H100, accelerators=2, note="for all")
    SupplyOrder.objects.create(cluster=make_cluster("us"), accelerator_model="B200", accelerators=2, note="elsewhere")
    client = client_of(make_member(team, role=role))
    text = text_of(client.get("/supply/"))
    assert "1 accelerator in eu on which your deployments lie" in text and "for all" in text
    assert not any(word in text for word in ("secret-chip", "rival", "elsewhere", "B200", "Enter an order", "Arrived</button>"))
    addresses = ("/supply/orders/new/", f"/supply/orders/{row.pk}/", f"/supply/orders/{row.pk}/arrive/")
    assert [client.post(path, order_of(cluster)).status_code for path in addresses] == [403, 403, 403]


def test_it_asks_the_database_as_often_for_one_cluster_as_for_five() -> None:
    client = client_of(make_admin())

    def grow(name: str) -> None:
        node = make_node(f"node-{name}", cluster=make_cluster(name))
        make_placement(make_replica(make_deployment(name, cluster=node.cluster)), accelerator=make_accelerator(node))
        make_accelerator(node)
        SupplyOrder.objects.create(cluster=node.cluster, accelerator_model="H200", accelerators=2)

    grow("one")
    few = queries(client, "/supply/")
    for name in ("two", "three", "four", "five"):
        grow(name)
    assert queries(client, "/supply/") == few <= 24

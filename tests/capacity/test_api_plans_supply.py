"""Supply by the API: what is there, orders entered, changed, arrived and cancelled; read by teams, changed by admins."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from capacity.models import SupplyOrder
from monitoring.models import AuditEvent, Role, Scope
from tests.capacity.api_client import Api, key_api
from tests.factories import (
    make_accelerator,
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


def admin() -> Api:
    return key_api(scope=Scope.ADMIN)


def day(days: int) -> str:
    return (timezone.now() + timedelta(days=days)).date().isoformat()


def made(**fields: Any) -> dict[str, Any]:
    body = {"accelerator_model": H100, "accelerators": 8, "arrives_on": day(14)} | fields
    row: dict[str, Any] = admin().ok("supply-orders", method="post", status=201, body=body)
    return row


def test_an_order_is_entered_changed_and_arrives() -> None:
    cluster = make_cluster("eu")
    row = made(cluster=cluster.pk)
    assert (row["cluster_name"], row["state"], row["nodes"]) == ("eu", "on_order", 0)
    changed = admin().ok(f"supply-orders/{row['id']}", method="patch", body={"arrives_on": None, "note": "PO 114"})
    assert (changed["arrives_on"], changed["note"], changed["accelerators"]) == (None, "PO 114", 8)
    assert admin().ok(f"supply-orders/{row['id']}/arrive", method="post", body={})["state"] == "arrived"
    assert "stays as it is" in admin().refused(f"supply-orders/{row['id']}/cancel", method="post", status=409, body={})["detail"]
    assert "stays as it is" in admin().refused(f"supply-orders/{row['id']}", method="patch", status=409, body={"note": "x"})["detail"]
    other = made(cluster=cluster.pk)
    assert admin().ok(f"supply-orders/{other['id']}/cancel", method="post", body={})["state"] == "cancelled"
    assert [each["id"] for each in admin().ok("supply-orders?state=cancelled&cluster=eu")["results"]] == [other["id"]]
    admin().ok(f"supply-orders/{other['id']}", method="delete", status=204)
    actions = ["create", "change", "arrived", "create", "cancelled", "delete"]
    assert list(AuditEvent.objects.order_by("pk").values_list("action", flat=True)) == [f"supply.{each}" for each in actions]


def test_what_is_wrong_is_said_by_field_and_nothing_is_kept() -> None:
    body = {"cluster": make_cluster().pk, "accelerators": -1, "arrives_on": "2026-01-01"}
    problem = admin().refused("supply-orders", method="post", status=400, body=body)
    assert {error["pointer"] for error in problem["errors"]} == {"#/accelerators", "#/arrives_on"}
    admin().refused("supply-orders", method="post", status=404, body=body | {"cluster": 10**12})
    assert not SupplyOrder.objects.exists()


def test_a_team_reads_what_it_sees_and_changes_nothing() -> None:
    team, cluster = make_team("Search"), make_cluster("eu")
    node = make_node("gpu-1", cluster=cluster)
    mine = make_accelerator(node, model_name=H100)
    make_accelerator(node, model_name=H100)
    make_placement(make_replica(make_deployment("chat", team=team, cluster=cluster)), accelerator=mine, share=0.5)
    make_placement(make_replica(make_deployment("rival", cluster=cluster)), accelerator=mine, share=0.25)
    row, elsewhere = made(cluster=cluster.pk), made(cluster=make_cluster("us").pk)
    api = Api(make_member(team, role=Role.ADMIN))
    (found,) = api.ok("supply")
    (stock,) = found["stocks"]
    assert (found["cluster_name"], stock["there"], stock["own"], stock["others"], stock["on_order"]) == ("eu", 1, 0.5, 0.25, 8)
    assert [each["id"] for each in found["orders"]] == [row["id"]]
    assert [each["id"] for each in api.ok("supply-orders")["results"]] == [row["id"]]
    api.refused(f"supply-orders/{elsewhere['id']}", status=404)
    for method, path in (("patch", ""), ("delete", ""), ("post", "/arrive"), ("post", "/cancel")):
        api.refused(f"supply-orders/{row['id']}{path}", method=method, status=403, body={})
    api.refused("supply-orders", method="post", status=403, body={})
    key_api(scope=Scope.ADMIN, team=team).refused("supply-orders", method="post", status=403, body={})
    assert [each["cluster_name"] for each in key_api().ok("supply")] == ["eu", "us"]

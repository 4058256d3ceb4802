"""Prices by the API: list, enter, correct, end; rates; what an hour costs."""

from typing import Any

import pytest
from django.utils import timezone

from capacity.models import Price, prices_ship
from monitoring.models import AuditEvent, Scope
from tests.capacity.api_client import Api, key_api
from tests.factories import make_accelerator, make_deployment, make_member, make_node, make_placement, make_replica, make_team

pytestmark = pytest.mark.django_db
BODY = {"kind": "instance", "name": "p5.48xlarge", "hourly_rate": "41.2", "currency": "USD", "valid_from": "2026-11-01"}


def admin() -> Api:
    return key_api(scope=Scope.ADMIN)


def made(**fields: Any) -> dict[str, Any]:
    row: dict[str, Any] = admin().ok("prices", method="post", status=201, body=BODY | fields)
    return row


def test_a_price_is_entered_found_corrected_and_ended() -> None:
    row = made(source="contract 7")
    assert (row["hourly_rate"], row["currency"], row["valid_to"], row["shipped"]) == ("41.200000", "USD", None, False)
    assert [each["id"] for each in admin().ok("prices?kind=instance&valid_on=2026-11-01")["results"]] == [row["id"]]
    assert admin().ok("prices?valid_on=2026-10-31")["results"] == []
    changed = admin().ok(f"prices/{row['id']}", method="patch", body={"hourly_rate": "14.2"})
    assert (changed["hourly_rate"], changed["source"]) == ("14.200000", "contract 7")
    ended = admin().ok(f"prices/{row['id']}/end", method="post", body={"valid_to": "2026-11-20"})
    assert ended["valid_to"] == "2026-11-20"
    assert list(AuditEvent.objects.order_by("pk").values_list("action", flat=True)) == ["price.create", "price.change", "price.end"]


def test_what_is_wrong_is_said_by_field() -> None:
    problem = admin().refused("prices", method="post", status=400, body=BODY | {"hourly_rate": "-3", "currency": "e"})
    assert {error["pointer"]: error["detail"] for error in problem["errors"]} == {
        "#/hourly_rate": "It must be above 0, got -3. What has no price is left without one.",
        "#/currency": "'E' is no currency code. Enter three letters, e.g. EUR.",
    }
    row = made()
    again = admin().refused("prices", method="post", status=400, body=BODY)
    assert "has a price from 2026-11-01 on already: 41.20 USD" in again["errors"][0]["detail"]
    late = admin().refused(f"prices/{row['id']}/end", method="post", status=400, body={"valid_to": "2026-10-01"})
    assert late["errors"][0]["detail"] == "It cannot end on 2026-10-01, before it begins on 2026-11-01."


def test_a_list_price_is_ended_not_changed() -> None:
    prices_ship(now=timezone.now())
    row = Price.objects.get(name="p5.48xlarge")
    assert "stays as it was read" in admin().refused(f"prices/{row.pk}", method="patch", status=409, body={"hourly_rate": "1"})["detail"]
    assert admin().ok(f"prices/{row.pk}/end", method="post", body={})["valid_to"] == timezone.now().date().isoformat()


def test_a_key_that_reads_changes_nothing_and_sees_prices_of_its_nodes_only() -> None:
    team = make_team("Search")
    mine, other = make_node("mine"), make_node("theirs")
    make_placement(make_replica(make_deployment(team=team)), node=mine)
    rows = {node.name: made(kind="node", name=node.name) for node in (mine, other)}
    reader = key_api(team=team)
    assert [row["name"] for row in reader.ok("prices")["results"]] == ["mine"]
    reader.refused(f"prices/{rows['theirs']['id']}", status=404)
    reader.refused("prices", method="post", status=403, body=BODY)
    key_api(scope=Scope.ADMIN, team=team).refused("prices", method="post", status=403, body=BODY)


def test_rates_and_the_currency() -> None:
    row = admin().ok("exchange-rates", method="post", status=201, body={"currency": "EUR", "rate": "1.08", "valid_from": "2026-11-01"})
    assert (row["rate"], row["into"]) == ("1.08000000", "USD")
    admin().ok(f"exchange-rates/{row['id']}", method="delete", status=204)
    assert admin().ok("exchange-rates")["results"] == []
    assert admin().ok("currency", method="put", body={"currency": "chf"}) == {"currency": "CHF"} == admin().ok("currency")
    admin().refused("currency", method="put", status=400, body={"currency": "1"})


def test_what_an_hour_of_a_node_and_a_replica_costs() -> None:
    team = make_team("Search")
    node = make_node("gpu-1", instance_type="p5.48xlarge")
    cards = [make_accelerator(node) for _ in range(2)]
    deployment = make_deployment("chat", team=team)
    make_placement(make_replica(deployment), accelerator=cards[0], share=0.5)
    api = Api(make_member(team))
    assert api.ok(f"nodes/{node.pk}/price")["reason"] == "no_price"
    row = made()
    found = api.ok(f"nodes/{node.pk}/price")
    assert (found["hourly_rate"], found["certainty"], found["prices"]) == ("41.200000", "measured", [row["id"]])
    found = api.ok(f"deployments/{deployment.pk}/price")
    assert (found["hourly_rate"], found["currency"], found["known"], found["replicas"]) == ("10.300000", "USD", 1, 1)
    assert api.ok(f"nodes/{node.pk}/price?at=2026-10-31T23:59:59Z")["hourly_rate"] is None
    api.refused(f"nodes/{node.pk}/price?at=yesterday", status=400)

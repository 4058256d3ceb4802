"""Own prices and rates out as YAML and in again: the same twice changes nothing, a bad one loses nothing of the others."""

from typing import Any

import pytest
from django.utils import timezone

from capacity.models import CurrencyRate, Price, prices_ship
from monitoring.models import AuditEvent, Scope
from tests.capacity.api_client import Api, key_api
from tests.factories import make_cluster, make_deployment, make_node, make_placement, make_replica, make_team

pytestmark = pytest.mark.django_db
TEXT = """
prices:
- {kind: instance, name: p5.48xlarge, hourly_rate: "41.20", currency: USD, valid_from: 2026-11-01, source: contract 7}
- {kind: node, name: eu/gpu-1, hourly_rate: 3, currency: EUR, valid_from: "2026-11-01", valid_to: 2027-01-01}
rates:
- {currency: EUR, rate: "1.08", valid_from: 2026-11-01}
"""


def admin() -> Api:
    return key_api(scope=Scope.ADMIN)


def taken(text: str = TEXT, *, write: bool = True) -> dict[str, Any]:
    found: dict[str, Any] = admin().ok("prices/yaml", method="post", body={"yaml": text, "write": write})
    return found


def test_what_comes_out_goes_in_again_and_changes_nothing() -> None:
    make_node("gpu-1", cluster=make_cluster("eu"))
    prices_ship(now=timezone.now())
    found = taken()
    assert (found["made"], found["problems"]) == (
        ["p5.48xlarge from 2026-11-01", "gpu-1 from 2026-11-01", "EUR from 2026-11-01"],
        [],
    )
    text = admin().ok("prices/yaml")["yaml"]
    assert "contract 7" in text and "eu/gpu-1" in text and text.count("- kind:") == 2
    again = taken(text)
    assert (again["made"], again["changed"], len(again["unchanged"])) == ([], [], 3)
    Price.objects.filter(shipped=False).delete()
    CurrencyRate.objects.all().delete()
    assert len(taken(text)["made"]) == 3 and admin().ok("prices/yaml")["yaml"] == text
    assert AuditEvent.objects.filter(action="price.import").count() == 3


def test_without_write_it_only_says_what_would_be_done() -> None:
    make_node("gpu-1", cluster=make_cluster("eu"))
    assert len(taken(write=False)["made"]) == 3
    assert not Price.objects.exists() and not CurrencyRate.objects.exists() and not AuditEvent.objects.exists()


def test_a_changed_price_is_changed_and_what_is_left_out_is_empty() -> None:
    make_node("gpu-1", cluster=make_cluster("eu"))
    taken()
    found = taken(TEXT.replace("41.20", "39.5").replace(", source: contract 7", ""))
    assert found["changed"] == ["p5.48xlarge from 2026-11-01"]
    row = Price.objects.get(name="p5.48xlarge")
    assert (str(row.hourly_rate), row.source) == ("39.500000", "")


def test_a_bad_one_loses_nothing_of_the_others() -> None:
    found = taken(TEXT + "- {currency: EUR, rate: -1, valid_from: 2026-11-02, colour: red}\n- 7\n")
    assert found["made"] == ["p5.48xlarge from 2026-11-01", "EUR from 2026-11-01"]
    told = {each["row"]: each["sentences"][0] for each in found["problems"]}
    assert told["price 2"].startswith("name: No node is called 'eu/gpu-1'.")
    assert told["rate 2"] == "colour: A rate has no such field; it has currency, rate, valid_from, source."
    assert told["rate 3"].startswith("currency: ")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("prices: [", "This is not YAML at line 1"),
        ("rules: []", "A list is needed under the word `prices:` or `rates:`"),
        ("prices: 7", "A list is needed"),
        ("prices:\n" + "- {}\n" * 2001, "The text has 2001 rows; at most 2000"),
    ],
)
def test_what_cannot_be_read_at_all_is_said(text: str, sentence: str) -> None:
    problem = admin().refused("prices/yaml", method="post", status=400, body={"yaml": text, "write": True})
    assert problem["errors"][0]["pointer"] == "#/yaml" and problem["errors"][0]["detail"].startswith(sentence)


def test_a_team_reads_prices_of_its_nodes_only_and_takes_nothing_over() -> None:
    team, cluster = make_team("Search"), make_cluster("eu")
    mine = make_node("mine", cluster=cluster)
    make_node("gpu-1", cluster=cluster)
    make_placement(make_replica(make_deployment(team=team)), node=mine)
    taken(TEXT + "\n")
    text = key_api(team=team).ok("prices/yaml")["yaml"]
    assert "p5.48xlarge" in text and "gpu-1" not in text
    key_api(scope=Scope.ADMIN, team=team).refused("prices/yaml", method="post", status=403, body={"yaml": TEXT})

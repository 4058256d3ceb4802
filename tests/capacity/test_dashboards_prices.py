"""The page of prices, by Django's client: who may, what it says, undo, audit, queries."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from capacity.models import CurrencyRate, Price, currency_get, prices_ship
from monitoring.models import AuditEvent, Node
from tests.capacity.pages import client_of, queries, text_of, toasts, undo_of
from tests.factories import make_accelerator, make_admin, make_deployment, make_member, make_node, make_placement, make_replica, make_team

pytestmark = pytest.mark.django_db
PATH = "/prices/"


def posted(**fields: Any) -> dict[str, Any]:
    return {
        "kind": "instance",
        "name": "p5.48xlarge",
        "hourly_rate": "41.20",
        "currency": "usd",
        "valid_from": "2026-11-01",
        "source": "contract 7",
    } | fields


def make_typed(name: str = "gpu-1", *, cards: int = 8, **fields: Any) -> Node:
    node = make_node(name, **{"instance_type": "p5.48xlarge"} | fields)
    for _ in range(cards):
        make_accelerator(node, model_name="NVIDIA H100 80GB HBM3")
    return node


class TestWhoMay:
    def test_a_viewer_reads_and_changes_nothing(self) -> None:
        prices_ship(now=timezone.now())
        client = client_of(make_member(make_team("search")))
        page = text_of(client.get(f"{PATH}?show=list&q=p5.48"))
        assert "p5.48xlarge" in page and "Add a price" not in page and "Take over" not in page
        row = Price.objects.get(name="p5.48xlarge")
        for path in (f"{PATH}new/", f"{PATH}{row.pk}/", f"{PATH}{row.pk}/end/", f"{PATH}currency/", "/exchange-rates/"):
            assert client.post(path, posted()).status_code == 403
        assert not Price.objects.filter(shipped=False).exists() and currency_get() == "USD"

    def test_the_price_by_hand_of_a_node_is_seen_with_the_node_only(self) -> None:
        team = make_team("search")
        mine, other = make_typed("mine", cards=1), make_typed("theirs", cards=1)
        make_placement(make_replica(make_deployment(team=team)), accelerator=mine.accelerators.get())
        for node in (mine, other):
            Price.objects.create(kind="node", name=node.name, node=node, hourly_rate=9, valid_from=date(2026, 1, 1))
        page = text_of(client_of(make_member(team)).get(PATH))
        assert "mine" in page and "theirs" not in page
        assert "1 of 1 node has a price: 1 by your own prices." in page


class TestPage:
    def test_with_nothing_it_says_what_would_stand_there(self) -> None:
        page = text_of(client_of(make_admin()).get(PATH))
        assert "No node is known yet" in page and "No price is in use" in page

    def test_it_says_what_is_own_what_is_estimated_and_what_is_missing(self) -> None:
        prices_ship(now=timezone.now())
        make_typed("gpu-1")
        make_typed("gpu-2")
        make_node("edge-1")
        client = client_of(make_admin())
        client.post(f"{PATH}new/", posted(kind="node", name="gpu-2"))
        page = text_of(client.get(PATH))
        assert "2 of 3 nodes have a price: 1 by your own prices, 1 estimated from list prices." in page
        assert "What runs on the other 1 is told in replica-hours." in page
        assert "edge-1 has no instance type and no price by hand" in page
        assert "55.04 USD an hour for p5.48xlarge, a list price, since 2026-07-20." in page

    def test_it_asks_a_fixed_number_of_queries(self) -> None:
        prices_ship(now=timezone.now())
        client = client_of(make_admin())
        make_typed("gpu-1")
        few = queries(client, PATH)
        for number in range(2, 8):
            make_typed(f"gpu-{number}", instance_type=f"type-{number}")
            Price.objects.create(kind="instance", name=f"type-{number}", hourly_rate=number, valid_from=date(2026, 1, 1))
        assert queries(client, PATH) == few <= 20

    def test_a_search_that_finds_nothing_says_so(self) -> None:
        prices_ship(now=timezone.now())
        client = client_of(make_admin())
        assert "Nothing here is called" in text_of(client.get(f"{PATH}?show=list&q=zzz"))
        assert "Standard_ND96isr_H100_v5" in text_of(client.get(f"{PATH}?show=list&q=nd96isr_h100"))


class TestChange:
    def test_a_price_is_added_audited_and_undone(self) -> None:
        client = client_of(make_admin("root@example.com"))
        done = client.post(f"{PATH}new/", posted(), follow=True)
        assert toasts(done) == ["p5.48xlarge costs 41.20 USD an hour from 2026-11-01 on."]
        row = Price.objects.get()
        assert (row.hourly_rate, row.currency, row.set_by) == (Decimal("41.20"), "USD", "root@example.com")
        assert AuditEvent.objects.get(action="price.create").after["hourly_rate"] == "41.20"
        client.post(undo_of(done))
        assert not Price.objects.exists()

    def test_a_correction_is_undone_to_the_cent(self) -> None:
        client = client_of(make_admin())
        client.post(f"{PATH}new/", posted())
        row = Price.objects.get()
        assert 'value="41.2"' in text_of(client.get(f"{PATH}{row.pk}/"))
        done = client.post(f"{PATH}{row.pk}/", posted(hourly_rate="14.20", valid_to="2026-12-01"), follow=True)
        row.refresh_from_db()
        assert (row.hourly_rate, row.valid_to) == (Decimal("14.2"), date(2026, 12, 1))
        client.post(undo_of(done))
        row.refresh_from_db()
        assert (row.hourly_rate, row.valid_to, row.valid_from) == (Decimal("41.2"), None, date(2026, 11, 1))

    def test_wrong_fields_are_said_beside_them_and_nothing_is_stored(self) -> None:
        answer = client_of(make_admin()).post(f"{PATH}new/", posted(hourly_rate="-1", currency="", valid_from="soon"))
        page = text_of(answer)
        assert answer.status_code == 422 and not Price.objects.exists()
        assert "It must be above 0, got -1." in page and "is no currency code" in page and "is not a day." in page

    def test_a_price_ends_today_and_comes_back_by_undo(self) -> None:
        prices_ship(now=timezone.now())
        make_typed()
        client = client_of(make_admin())
        row = Price.objects.get(name="p5.48xlarge")
        done = client.post(f"{PATH}{row.pk}/end/", follow=True)
        assert "No price for p5.48xlarge" in text_of(done)
        client.post(undo_of(done))
        assert "No price for p5.48xlarge" not in text_of(client.get(PATH))

    def test_one_that_has_not_begun_ends_before_it_does(self) -> None:
        client = client_of(make_admin())
        client.post(f"{PATH}new/", posted(valid_from=(timezone.now().date() + timedelta(days=40)).isoformat()))
        row = Price.objects.get()
        client.post(f"{PATH}{row.pk}/end/")
        row.refresh_from_db()
        assert row.valid_to == row.valid_from

    def test_a_list_price_is_taken_over_not_corrected(self) -> None:
        prices_ship(now=timezone.now())
        client = client_of(make_admin())
        row = Price.objects.get(name="NVIDIA H100 NVL")
        assert "stays as it was read" in toasts(client.get(f"{PATH}{row.pk}/", follow=True))[0]
        page = text_of(client.get(f"{PATH}new/?take={row.pk}"))
        assert 'value="3.19"' in page and "As listed 2026-11-09: data-receipts" in page

    def test_the_form_knows_the_node_or_type_it_is_for(self) -> None:
        client, node = client_of(make_admin()), make_typed()
        assert 'value="test/gpu-1"' in text_of(client.get(f"{PATH}new/?node={node.pk}"))
        assert 'value="x1.large"' in text_of(client.get(f"{PATH}new/?type=x1.large"))
        assert client.get(f"{PATH}new/?node=999").status_code == client.get(f"{PATH}new/?take=x").status_code == 404


class TestCurrencies:
    def test_a_rate_gives_a_price_in_euro_a_value_and_goes_and_comes_back(self) -> None:
        client = client_of(make_admin())
        make_typed()
        client.post(f"{PATH}new/", posted(currency="EUR"))
        assert "There is no rate for EUR into USD" in text_of(client.get(PATH))
        done = client.post("/exchange-rates/", {"currency": "EUR", "rate": "1.1", "valid_from": "2026-11-01"}, follow=True)
        assert toasts(done) == ["1 EUR is 1.10 USD from 2026-11-01 on."] and "45.32" in text_of(done)
        gone = client.post(f"/exchange-rates/{CurrencyRate.objects.get().pk}/remove/", follow=True)
        assert "There is no rate for EUR into USD" in text_of(gone)
        client.post(undo_of(gone))
        assert "45.32" in text_of(client.get(PATH))

    def test_a_wrong_rate_or_currency_is_said_on_the_page(self) -> None:
        client = client_of(make_admin())
        answer = client.post("/exchange-rates/", {"currency": "USD", "rate": "x", "valid_from": "2026-11-01"})
        assert answer.status_code == 422 and "it needs no rate" in text_of(answer) and "is not a number" in text_of(answer)
        answer = client.post(f"{PATH}currency/", {"currency": "dollars"})
        assert answer.status_code == 422 and "is no currency code" in text_of(answer) and currency_get() == "USD"

    def test_the_currency_of_the_install_is_changed_audited_and_undone(self) -> None:
        client = client_of(make_admin())
        done = client.post(f"{PATH}currency/", {"currency": "eur"}, follow=True)
        assert toasts(done) == ["Money is told in EUR now."] and currency_get() == "EUR"
        assert AuditEvent.objects.get(action="currency.change").after == {"currency": "EUR"}
        assert client.post(undo_of(done))["Location"] == PATH
        assert currency_get() == "USD"


class TestElsewhere:
    def test_a_node_s_page_says_its_price_or_offers_to_enter_one(self) -> None:
        client, node = client_of(make_admin()), make_typed()
        assert f"{PATH}new/?node={node.pk}" in text_of(client.get(f"/nodes/{node.pk}/"))
        prices_ship(now=timezone.now())
        page = text_of(client.get(f"/nodes/{node.pk}/"))
        assert "55.04" in page and "USD an hour, estimated" in page

    def test_the_checklist_counts_nodes_with_a_price(self) -> None:
        client = client_of(make_admin())
        step = [step for step in client.get("/setup/").context["checklist"].steps if step.slug == "prices"][0]
        assert (step.state, step.optional) == ("open", True)
        make_typed()
        make_node("edge-1")
        prices_ship(now=timezone.now())
        assert "1 of 2 nodes have a price" in text_of(client.get("/setup/"))
        client.post(f"{PATH}new/", posted(kind="node", name="edge-1"))
        assert "each of 2 nodes has one; 1 by list prices" in text_of(client.get("/setup/"))

    def test_who_sees_a_part_of_a_node_sees_its_whole_price(self) -> None:
        team, node = make_team("search"), make_typed(instance_type="")
        make_placement(make_replica(make_deployment(team=team)), accelerator=node.accelerators.all()[0])
        Price.objects.create(kind="accelerator", name="NVIDIA H100 80GB HBM3", hourly_rate=2, valid_from=date(2026, 1, 1))
        assert "16.00" in text_of(client_of(make_member(team)).get(PATH))

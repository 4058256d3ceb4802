"""What an hour costs at a moment, on a small hand-worked fleet."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from capacity.analysis.prices import Certainty, accelerator_price, node_price, replica_price, replica_prices
from capacity.analysis.prices_change import PriceError, price_end, price_keep, price_make, rate_make
from capacity.models import CurrencyRate, Price, currency_set, prices_ship
from capacity.models.prices_shipped import SHIPPED
from monitoring.models import Accelerator, Node, PlacementMethod
from tests.factories import make_accelerator, make_cluster, make_deployment, make_node, make_placement, make_replica

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
FIELDS = {
    "kind": "instance",
    "name": "p5.48xlarge",
    "hourly_rate": "40",
    "currency": "USD",
    "valid_from": "2026-11-01",
    "source": "contract 7",
}


def make_price(**fields: Any) -> Price:
    return price_keep(price_make(FIELDS | fields), by="admin@example.com", now=NOW)


def make_h100(count: int = 8, **fields: Any) -> tuple[Node, list[Accelerator]]:
    node = make_node("gpu-1", **{"instance_type": "p5.48xlarge"} | fields)
    return node, [make_accelerator(node, model_name="NVIDIA H100 80GB HBM3", position=at) for at in range(count)]


class TestNode:
    def test_without_a_price_it_says_so(self) -> None:
        node, _ = make_h100()
        hour = node_price(node, at=NOW)
        assert (hour.hourly_rate, hour.certainty, hour.reason) == (None, Certainty.UNKNOWN, "no_price")
        assert hour.sentence == "No price for p5.48xlarge. Without it, plans speak in replica-hours."

    def test_a_list_price_is_an_estimate_with_its_source_and_day(self) -> None:
        prices_ship(now=NOW)
        hour = node_price(make_h100()[0], at=NOW)
        assert (hour.hourly_rate, hour.certainty) == (Decimal("55.04"), Certainty.ESTIMATED)
        assert hour.sentence.startswith("55.04 USD an hour for p5.48xlarge, a list price, since 2026-07-20. Source: Karpenter AWS provider")

    def test_before_it_was_read_a_list_price_prices_nothing(self) -> None:
        prices_ship(now=NOW)
        assert node_price(make_h100()[0], at=datetime(2026, 7, 19, 23, tzinfo=UTC)).reason == "no_price"
        assert node_price(Node.objects.get(), at=datetime(2026, 7, 20, 0, tzinfo=UTC)).hourly_rate == Decimal("55.04")

    def test_by_hand_goes_before_own_before_gpus_before_the_list(self) -> None:
        node, _ = make_h100()
        found = []
        prices_ship(now=NOW)
        found.append(node_price(node, at=NOW))
        make_price(kind="accelerator", name="h100 80GB HBM3", hourly_rate="2.5")
        found.append(node_price(node, at=NOW))
        make_price()
        found.append(node_price(node, at=NOW))
        make_price(kind="node", name="gpu-1", hourly_rate="30")
        found.append(node_price(node, at=NOW))
        assert [hour.hourly_rate for hour in found] == [Decimal("55.04"), Decimal(20), Decimal(40), Decimal(30)]
        assert [hour.certainty.value for hour in found] == ["estimated", "measured", "measured", "measured"]
        assert found[3].sentence == "30.00 USD an hour set by hand for gpu-1, since 2026-11-01. Source: contract 7."

    def test_the_newest_that_holds_counts_and_an_ended_one_gives_way(self) -> None:
        node, _ = make_h100()
        make_price()
        later = make_price(hourly_rate="35", valid_from="2026-11-20")
        assert node_price(node, at=NOW).hourly_rate == 35
        assert node_price(node, at=NOW - timedelta(days=5)).hourly_rate == 40
        price_end(later, "2026-11-22", by="admin", now=NOW)
        assert node_price(node, at=NOW).hourly_rate == 40
        assert node_price(node, at=NOW - timedelta(days=1)).hourly_rate == 35

    def test_the_region_of_the_node_decides(self) -> None:
        node, _ = make_h100(labels={"label_topology_kubernetes_io_region": "eu-west-1"})
        make_price(region="us-east-1", hourly_rate="1")
        assert node_price(node, at=NOW).reason == "no_price"
        make_price(hourly_rate="2")
        assert node_price(node, at=NOW).hourly_rate == 2
        make_price(region="eu-west-1", hourly_rate="3")
        assert node_price(node, at=NOW).hourly_rate == 3

    def test_a_list_price_of_another_region_is_taken_and_said(self) -> None:
        prices_ship(now=NOW)
        node, _ = make_h100(labels={"label_topology_kubernetes_io_region": "eu-west-1"})
        assert "of us-east-1; the node is in eu-west-1" in node_price(node, at=NOW).sentence

    def test_another_currency_needs_a_dated_rate(self) -> None:
        node, _ = make_h100()
        make_price(currency="EUR")
        hour = node_price(node, at=NOW)
        assert (hour.hourly_rate, hour.reason) == (None, "no_rate")
        assert hour.sentence.endswith("There is no rate for EUR into USD on 2026-11-22.")
        CurrencyRate.objects.create(currency="EUR", into="USD", rate=Decimal("1.1"), valid_from=date(2026, 11, 10))
        CurrencyRate.objects.create(currency="EUR", into="USD", rate=Decimal("9"), valid_from=date(2026, 11, 23))
        assert node_price(node, at=NOW).hourly_rate == Decimal("44.0")
        assert node_price(node, at=datetime(2026, 11, 9, tzinfo=UTC)).reason == "no_rate"
        currency_set("EUR", by="admin", now=NOW)
        assert (node_price(node, at=NOW).hourly_rate, node_price(node, at=NOW).currency) == (Decimal(40), "EUR")

    def test_prices_of_one_provider_s_gpus_price_nothing_by_themselves(self) -> None:
        prices_ship(now=NOW)
        assert node_price(make_h100(instance_type="")[0], at=NOW).reason == "no_price"


class TestAccelerator:
    def test_the_gpus_of_a_node_share_its_price_and_a_slice_its_gpu_s(self) -> None:
        make_price(hourly_rate="56")
        node, cards = make_h100()
        slice_ = make_accelerator(node, parent=cards[7], model_name="NVIDIA H100 80GB HBM3", mig_profile="2g.20gb")
        assert accelerator_price(cards[0], at=NOW).shown == 7
        hour = accelerator_price(slice_, at=NOW)
        assert hour.shown == 2
        assert hour.sentence.startswith("One of 8 GPUs of gpu-1, the slice 2g.20gb of it: 56.00 USD an hour for p5.48xlarge")

    def test_a_gpu_that_was_taken_out_has_no_share(self) -> None:
        make_price(hourly_rate="56")
        _, cards = make_h100()
        Accelerator.objects.filter(pk=cards[0].pk).update(last_seen_at=timezone.now() - timedelta(days=3))
        assert accelerator_price(cards[1], at=NOW).shown == 8

    def test_an_own_price_of_the_gpu_counts_as_it_is(self) -> None:
        make_price(kind="accelerator", name="NVIDIA H100 80GB HBM3", hourly_rate="2.1")
        node, cards = make_h100(instance_type="")
        other = make_accelerator(node, model_name="NVIDIA L4")  # so the whole node has no price
        assert accelerator_price(cards[0], at=NOW).shown == Decimal("2.1")
        assert accelerator_price(other, at=NOW).reason == "no_price"

    def test_a_slice_of_an_unknown_size_has_none(self) -> None:
        make_price()
        node, _ = make_h100()
        assert accelerator_price(make_accelerator(node, mig_profile="odd"), at=NOW).reason == "no_price"


class TestReplica:
    def test_it_costs_what_it_holds(self) -> None:
        make_price(hourly_rate="56")
        node, cards = make_h100()
        deployment = make_deployment("chat")
        for first in (0, 2):
            replica = make_replica(deployment)
            make_placement(replica, accelerator=cards[first])
            make_placement(replica, accelerator=cards[first + 1], share=0.5)
            make_placement(replica, node=node)  # its CPU: in the price of the GPUs
        found = replica_price(deployment, at=NOW)
        assert (found.hour.shown, found.known, found.replicas, found.hour.certainty) == (Decimal("10.5"), 2, 2, Certainty.MEASURED)

    def test_a_guessed_share_is_an_estimate(self) -> None:
        make_price(hourly_rate="56")
        _, cards = make_h100()
        deployment = make_deployment("chat")
        make_placement(make_replica(deployment), accelerator=cards[0], share=0.5, method=PlacementMethod.EQUAL_SPLIT)
        assert replica_price(deployment, at=NOW).hour.certainty == Certainty.ESTIMATED

    def test_on_a_node_without_gpus_it_has_its_share_of_the_node(self) -> None:
        make_price(name="c7i.8xlarge", hourly_rate="1.5")
        deployment = make_deployment("fraud")
        make_placement(make_replica(deployment), node=make_node("cpu-1", instance_type="c7i.8xlarge"), share=0.25)
        assert replica_price(deployment, at=NOW).hour.shown == Decimal("0.375")

    def test_some_without_a_price_are_counted_and_said(self) -> None:
        make_price(hourly_rate="56")
        _, cards = make_h100()
        deployment = make_deployment("chat")
        make_placement(make_replica(deployment), accelerator=cards[0])
        make_placement(make_replica(deployment), accelerator=make_accelerator(make_node("edge-1")))
        found = replica_price(deployment, at=NOW)
        assert (found.hour.shown, found.known, found.replicas, found.hour.certainty) == (Decimal(7), 1, 2, Certainty.ESTIMATED)
        assert found.hour.sentence.startswith("1 of 2 replicas have no price.")

    def test_no_replica_and_no_place_say_so(self) -> None:
        deployment = make_deployment("chat")
        assert replica_price(deployment, at=NOW).hour.sentence == "No replica was seen then."
        make_replica(deployment, first_seen_at=NOW - timedelta(hours=1), last_seen_at=NOW)
        found = replica_price(deployment, at=NOW)
        assert (found.hour.reason, found.replicas) == ("no_placement", 1)

    def test_many_deployments_take_the_same_queries_as_one(self) -> None:
        make_price()
        _, cards = make_h100()
        deployments = [make_deployment() for _ in range(6)]
        for deployment, card in zip(deployments, cards, strict=False):
            make_placement(make_replica(deployment), accelerator=card)
        with CaptureQueriesContext(connection) as captured:
            found = replica_prices(deployments, at=NOW)
        assert len(captured) == 5  # no price in another currency, so no rates
        assert {each.hour.shown for each in found.values()} == {Decimal(5)}


class TestShipped:
    def test_shipping_twice_makes_the_same_rows_and_what_was_ended_stays_ended(self) -> None:
        assert prices_ship(now=NOW) == len(SHIPPED) == Price.objects.count()
        row = Price.objects.get(name="p5.48xlarge")
        price_end(row, "2026-11-01", by="admin", now=NOW)
        assert prices_ship(now=NOW) == 0
        Price.objects.filter(pk=row.pk).update(shipped_key="aws p5.48xlarge us-east-1 2026-01-01")  # as if an older reading
        assert prices_ship(now=NOW) == 0

    def test_every_one_names_its_source_day_and_currency(self) -> None:
        prices_ship(now=NOW)
        assert not Price.objects.filter(source="").exists() and not Price.objects.exclude(currency="USD").exists()
        assert max(each.read_on for each in SHIPPED) <= date(2026, 11, 22) and len({each.key for each in SHIPPED}) == len(SHIPPED)
        instances = [each.name for each in SHIPPED if not each.reference]
        assert len(set(instances)) == len(instances)  # a type alone says which


class TestChange:
    @pytest.mark.parametrize(
        ("fields", "name", "sentence"),
        [
            ({"hourly_rate": ""}, "hourly_rate", "Enter a number like 3.99."),
            ({"hourly_rate": "3,99"}, "hourly_rate", "'3,99' is not a number. Enter one like 3.99."),
            ({"hourly_rate": "NaN"}, "hourly_rate", "'NaN' is not a number. Enter one like 3.99."),
            ({"hourly_rate": "-3"}, "hourly_rate", "It must be above 0, got -3. What has no price is left without one."),
            ({"hourly_rate": "1e9"}, "hourly_rate", "It can be at most 100,000, got 1e9."),
            ({"hourly_rate": "0.1234567"}, "hourly_rate", "At most 6 decimals are kept, got 0.1234567."),
            ({"currency": "euro"}, "currency", "'EURO' is no currency code. Enter three letters, e.g. EUR."),
            ({"kind": "rack"}, "kind", "A price is of one of instance, accelerator, node, got 'rack'."),
            ({"name": " "}, "name", "Enter what costs that much, e.g. p5.48xlarge."),
            ({"name": "x" * 254}, "name", "At most 253 characters, got 254."),
            ({"kind": "node", "name": "no-such"}, "name", "No node is called 'no-such'."),
            ({"kind": "node", "name": "twin"}, "name", "More than one node is called that: say a/twin and b/twin."),
            ({"kind": "node", "name": "a/twin", "region": "x"}, "region", "One node stands in one place: leave the region away."),
            ({"valid_from": ""}, "valid_from", "Enter the first day on which it holds, e.g. 2026-11-01."),
            ({"valid_from": "1.11."}, "valid_from", "'1.11.' is not a day. Enter one like 2026-11-01."),
            ({"valid_from": "1899-01-01"}, "valid_from", "A day lies between 2000-01-01 and 2100-01-01, got 1899-01-01."),
            ({"valid_to": "2026-10-01"}, "valid_to", "It cannot end on 2026-10-01, before it begins on 2026-11-01."),
            ({}, "valid_from", "p5.48xlarge has a price from 2026-11-01 on already: 40.00 USD. Change that one, or choose another day."),
        ],
    )
    def test_what_cannot_be_is_said_and_nothing_is_stored(self, fields: dict[str, str], name: str, sentence: str) -> None:
        make_price()
        for cluster in ("a", "b"):
            make_node("twin", cluster=make_cluster(cluster))
        with pytest.raises(PriceError) as caught:
            price_make(FIELDS | fields)
        assert list(caught.value.problems) == [name]
        assert caught.value.problems[name].startswith(sentence)
        assert Price.objects.count() == 1

    def test_a_node_is_named_with_its_cluster_and_keeps_it_when_corrected(self) -> None:
        for cluster in ("a", "b"):
            make_node("twin", cluster=make_cluster(cluster))
        price = make_price(kind="node", name="b/twin")
        assert (price.node and price.node.cluster.name, price.name) == ("b", "twin")
        assert price_make({"hourly_rate": "41"}, price=price).node == price.node

    def test_a_list_price_stays_as_it_was_read(self) -> None:
        prices_ship(now=NOW)
        with pytest.raises(PriceError, match="stays as it was read"):
            price_make({"hourly_rate": "1"}, price=Price.objects.filter(shipped=True)[0])

    def test_a_rate_of_the_install_s_own_currency_is_refused(self) -> None:
        with pytest.raises(PriceError, match="USD is the currency of this install: it needs no rate"):
            rate_make({"currency": "usd", "rate": "1", "valid_from": "2026-11-01"}, into="USD")

    def test_the_table_itself_refuses_what_cannot_be(self) -> None:
        for wrong in ({"hourly_rate": 0}, {"valid_to": date(2026, 1, 1)}, {"kind": "node"}):
            row = Price(**FIELDS | wrong)
            with pytest.raises(IntegrityError), transaction.atomic():
                row.save()

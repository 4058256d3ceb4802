"""Prices, rates between currencies, and what an hour of a node or a replica costs: read by all, changed by admins of the install."""

from datetime import date
from typing import Any

import django_filters
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_serializer
from rest_framework import generics, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from capacity.analysis.prices import Certainty, HourPrice, node_price, replica_price
from capacity.analysis.prices_change import PriceError, currency_read, price_end, price_keep, price_make, rate_keep, rate_make
from capacity.api.strict import Door, Strict, body_read
from capacity.models import CurrencyRate, Price, PriceKind, currency_get, currency_set
from monitoring.access import actor_of, admin_require, audit, deployment_get, node_get, nodes_for, row_get
from monitoring.api.problems import Conflict

MOMENT = "The moment, RFC 3339; when left out, now."


class PriceShape(serializers.ModelSerializer[Price]):
    node = serializers.PrimaryKeyRelatedField[Any](read_only=True, allow_null=True, help_text="Of a price by hand.")
    hourly_rate = serializers.DecimalField(max_digits=14, decimal_places=6, help_text="Of an hour, in `currency`.")

    class Meta:
        model = Price
        fields = (
            *("id", "kind", "name", "node", "hourly_rate", "currency", "provider", "region", "valid_from", "valid_to"),
            *("source", "source_url", "shipped", "reference", "set_by", "updated_at"),
        )


class PriceChange(Strict):
    """The checks stand in one place for pages and API; here only the types."""

    kind = serializers.ChoiceField(choices=PriceKind.choices, required=False)
    name = serializers.CharField(
        max_length=253, required=False, help_text="Instance type, accelerator as its driver names it, or node, as name or cluster/name."
    )
    hourly_rate = serializers.CharField(max_length=40, required=False, help_text='Above 0, as a decimal string, e.g. "3.99".')
    currency = serializers.CharField(max_length=3, required=False, help_text="Three letters, e.g. EUR.")
    provider = serializers.CharField(max_length=40, required=False, allow_blank=True)
    region = serializers.CharField(max_length=60, required=False, allow_blank=True, help_text="Empty: everywhere.")
    valid_from = serializers.DateField(required=False, help_text="The first day, UTC.")
    valid_to = serializers.DateField(required=False, allow_null=True, help_text="The first day on which it no longer holds; null: open.")

    def get_fields(self) -> dict[str, Any]:
        # Named like an option of the serializer, so it cannot stand as an attribute.
        source = serializers.CharField(max_length=300, required=False, allow_blank=True, help_text="Who says so.")
        return {**super().get_fields(), "source": source}


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "typical",
            {
                "kind": "instance",
                "name": "p5.48xlarge",
                "hourly_rate": "41.20",
                "currency": "USD",
                "valid_from": "2026-11-01",
                "source": "contract 2026-114",
            },
            request_only=True,
        )
    ]
)
class PriceBody(PriceChange):
    kind = serializers.ChoiceField(choices=PriceKind.choices)
    name = serializers.CharField(max_length=253)
    hourly_rate = serializers.CharField(max_length=40, help_text='Above 0, as a decimal string, e.g. "41.20".')
    currency = serializers.CharField(max_length=3)
    valid_from = serializers.DateField(help_text="The first day, UTC.")


class PriceFilter(django_filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    valid_on = django_filters.DateFilter(method="valid", label="Holds on this day, UTC.")

    class Meta:
        model = Price
        fields = ("kind", "name", "provider", "region", "currency", "shipped", "reference")

    def valid(self, rows: QuerySet[Price], name: str, day: date) -> QuerySet[Price]:
        return rows.filter(Q(valid_to=None) | Q(valid_to__gt=day), valid_from__lte=day)


class PriceList(generics.ListAPIView[Price]):
    """All prices, those by hand of the nodes the caller sees, by name; the newest of each first."""

    access = {"GET": "member", "POST": "admin"}
    serializer_class = PriceShape
    filterset_class = PriceFilter
    queryset = Price.objects.none()

    def get_queryset(self) -> QuerySet[Price]:
        return Price.objects.of_nodes(nodes_for(actor_of(self.request))).order_by("kind", "name", "region", "-valid_from", "pk")

    @extend_schema(request=PriceBody, responses={201: PriceShape})
    def post(self, request: Request) -> Response:
        """Enter a price. It holds from its first day until a newer one for the same begins, or until it ends."""
        price = price_kept(request, read(body_read(PriceBody, request)), action="price.create", before={})
        return Response(PriceShape(price).data, status=status.HTTP_201_CREATED)


def read(body: dict[str, Any], *, price: Price | None = None) -> Price:
    try:
        return price_make(body, price=price)
    except PriceError as error:
        raise refused(error) from None


def refused(error: PriceError) -> serializers.ValidationError:
    return serializers.ValidationError({name or "non_field_errors": [sentence] for name, sentence in error.problems.items()})


def price_kept(request: Request, price: Price, *, action: str, before: dict[str, Any]) -> Price:
    actor = actor_of(request)
    try:
        with transaction.atomic():
            price_keep(price, by=actor.name, now=timezone.now())
            audit(actor, action, f"price of {price.name}", before=before, after=dict(PriceShape(price).data), request=request)
    except IntegrityError:
        raise Conflict("Somebody entered a price for the same and the same day just now.") from None
    return price


class PriceOne(Door):
    access = {"GET": "member", "PATCH": "admin"}

    @extend_schema(responses=PriceShape)
    def get(self, request: Request, pk: int) -> Response:
        return Response(PriceShape(row_get(Price.objects.of_nodes(nodes_for(actor_of(request))), pk)).data)

    @extend_schema(request=PriceChange, responses=PriceShape)
    def patch(self, request: Request, pk: int) -> Response:
        """Correct an own price, also for the past. For another price from a day on, enter a new one."""
        row = price_admin_get(request, pk)
        before = dict(PriceShape(row).data)
        if row.shipped:
            raise Conflict("This list price came with Headroom and stays as it was read. Enter your own, or end it.")
        changed = read(body_read(PriceChange, request), price=row)
        return Response(PriceShape(price_kept(request, changed, action="price.change", before=before)).data)


def price_admin_get(request: Request, pk: int) -> Price:
    admin_require(actor_of(request))
    return row_get(Price.objects.select_related("node"), pk)


class EndBody(Strict):
    valid_to = serializers.DateField(required=False, help_text="The first day on which it no longer holds; when left out, today.")


class PriceEnd(Door):
    access = "admin"

    @extend_schema(request=EndBody, responses=PriceShape)
    def post(self, request: Request, pk: int) -> Response:
        """No longer from a day on; a list price too. What is older and still holds counts again."""
        actor, row, now = actor_of(request), price_admin_get(request, pk), timezone.now()
        before = dict(PriceShape(row).data)
        day = body_read(EndBody, request).get("valid_to", max(now.date(), row.valid_from))
        try:
            with transaction.atomic():
                price_end(row, day, by=actor.name, now=now)
                audit(actor, "price.end", f"price of {row.name}", before=before, after=dict(PriceShape(row).data), request=request)
        except PriceError as error:
            raise refused(error) from None
        return Response(PriceShape(row).data)


class RateShape(serializers.ModelSerializer[CurrencyRate]):
    into = serializers.CharField(help_text="The install's currency when it was entered.")
    rate = serializers.DecimalField(max_digits=18, decimal_places=8, help_text="What one unit of `currency` is worth in `into`.")

    class Meta:
        model = CurrencyRate
        fields = ("id", "currency", "into", "rate", "valid_from", "source", "set_by", "updated_at")


@extend_schema_serializer(
    examples=[OpenApiExample("typical", {"currency": "EUR", "rate": "1.08", "valid_from": "2026-11-01"}, request_only=True)]
)
class RateBody(Strict):
    currency = serializers.CharField(max_length=3, help_text="Three letters, e.g. EUR.")
    rate = serializers.CharField(max_length=40, help_text='In the install\'s currency, as a decimal string, e.g. "1.08".')
    valid_from = serializers.DateField(help_text="The first day, UTC.")

    def get_fields(self) -> dict[str, Any]:
        source = serializers.CharField(max_length=300, required=False, allow_blank=True, help_text="Who says so.")
        return {**super().get_fields(), "source": source}


class RateList(generics.ListAPIView[CurrencyRate]):
    """Rates between currencies, the newest of each first."""

    access = {"GET": "member", "POST": "admin"}
    serializer_class = RateShape
    queryset = CurrencyRate.objects.order_by("currency", "into", "-valid_from", "pk")

    @extend_schema(request=RateBody, responses={201: RateShape})
    def post(self, request: Request) -> Response:
        """What a currency is worth in the install's, from a day on."""
        actor, body = actor_of(request), body_read(RateBody, request)
        try:
            with transaction.atomic():
                rate = rate_keep(rate_make(body, into=currency_get()), by=actor.name, now=timezone.now())
                audit(actor, "rate.create", f"rate for {rate.currency}", after=dict(RateShape(rate).data), request=request)
        except PriceError as error:
            raise refused(error) from None
        except IntegrityError:
            raise Conflict("Somebody entered a rate for the same day just now.") from None
        return Response(RateShape(rate).data, status=status.HTTP_201_CREATED)


class RateOne(Door):
    access = "admin"

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Remove a rate that was wrong; prices in that currency then have the rate before it, or none."""
        actor = actor_of(request)
        admin_require(actor)
        rate = row_get(CurrencyRate.objects.all(), pk)
        with transaction.atomic():
            audit(actor, "rate.remove", f"rate for {rate.currency}", before=dict(RateShape(rate).data), request=request)
            rate.delete()
        return Response(status=status.HTTP_204_NO_CONTENT)


@extend_schema_serializer(examples=[OpenApiExample("typical", {"currency": "EUR"})])
class CurrencyBody(Strict):
    currency = serializers.CharField(max_length=3, help_text="Three letters, e.g. EUR.")


class Currency(Door):
    access = {"GET": "member", "PUT": "admin"}

    @extend_schema(responses=CurrencyBody)
    def get(self, request: Request) -> Response:
        """The currency in which this install tells money."""
        return Response({"currency": currency_get()})

    @extend_schema(request=CurrencyBody, responses=CurrencyBody)
    def put(self, request: Request) -> Response:
        """Tell money in another one; prices stay in the currency they were entered in."""
        actor, before = actor_of(request), currency_get()
        try:
            code = currency_read(body_read(CurrencyBody, request)["currency"])
        except PriceError as error:
            raise refused(error) from None
        with transaction.atomic():
            currency_set(code, by=actor.name, now=timezone.now())
            audit(actor, "currency.change", "currency", before={"currency": before}, after={"currency": code}, request=request)
        return Response({"currency": code})


class MomentQuery(Strict):
    at = serializers.DateTimeField(required=False, help_text=MOMENT)


class HourShape(serializers.Serializer[HourPrice]):
    hourly_rate = serializers.DecimalField(
        source="shown", max_digits=20, decimal_places=6, allow_null=True, help_text="Of an hour; null: not known, see reason."
    )
    currency = serializers.CharField(help_text="The install's.")
    certainty = serializers.ChoiceField(
        choices=[each.value for each in Certainty], help_text="measured: own prices; estimated: list prices or guessed shares."
    )
    sentence = serializers.CharField(help_text="From which price, since when, who says so; or what is missing.")
    reason = serializers.CharField(help_text="no_price, no_rate, no_placement or no_accelerators; empty with a price.")
    prices = serializers.ListField(child=serializers.IntegerField(), help_text="Ids of the prices it rests on.")


class ReplicaHourShape(HourShape):
    known = serializers.IntegerField(help_text="Replicas whose price is known: the rate is their average.")
    replicas = serializers.IntegerField()


class NodePrice(Door):
    access = "member"
    query = MomentQuery

    @extend_schema(parameters=[MomentQuery], responses=HourShape)
    def get(self, request: Request, pk: int) -> Response:
        """What an hour of the node costs, or why that is not known."""
        node = node_get(actor_of(request), pk)
        return Response(HourShape(node_price(node, at=self.asked.get("at") or timezone.now())).data)


class DeploymentPrice(Door):
    access = "member"
    query = MomentQuery

    @extend_schema(parameters=[MomentQuery], responses=ReplicaHourShape)
    def get(self, request: Request, pk: int) -> Response:
        """What an hour of one replica costs, by what its replicas hold, or why that is not known."""
        deployment = deployment_get(actor_of(request), pk)
        found = replica_price(deployment, at=self.asked.get("at") or timezone.now())
        return Response(dict(HourShape(found.hour).data) | {"known": found.known, "replicas": found.replicas})

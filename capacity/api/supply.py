"""Supply: accelerators by cluster and model, and what is reserved or on order; orders are changed by admins of the install."""

from typing import Any

import django_filters
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_serializer
from rest_framework import generics, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from capacity.analysis.supply import supply_load
from capacity.analysis.supply_change import OPEN_STATES, SupplyError, order_change, order_close, order_create
from capacity.api.refusals import refusing
from capacity.api.strict import Door, Nothing, Strict, body_read
from capacity.models import SupplyOrder, SupplyState
from monitoring.access import accelerators_for, actor_of, admin_require, audit, clusters_for, deployments_for, nodes_for, row_get
from monitoring.api.problems import Conflict
from monitoring.models import Cluster


class OrderShape(serializers.ModelSerializer[SupplyOrder]):
    cluster_name = serializers.CharField(source="cluster.name")

    class Meta:
        model = SupplyOrder
        fields = (
            *("id", "cluster", "cluster_name", "accelerator_model", "accelerators", "instance_type", "nodes"),
            *("state", "arrives_on", "note", "set_by", "updated_at"),
        )


class StockShape(serializers.Serializer[Any]):
    model = serializers.CharField(help_text="As its driver names it; MIG instances with their profile.")
    there = serializers.IntegerField()
    own = serializers.FloatField(help_text="Held by deployments the caller sees, by share.")
    others = serializers.FloatField(help_text="Held by others.")
    free = serializers.IntegerField(help_text="Held by nobody, and idle over the last 24 hours.")
    unattributed = serializers.IntegerField(help_text="Held by nobody known, yet busy or with memory in use.")
    unmeasured = serializers.IntegerField(help_text="Held by nobody, and not measured: it cannot be told.")
    reserved = serializers.IntegerField()
    on_order = serializers.IntegerField()


class ClusterSupplyShape(serializers.Serializer[Any]):
    cluster = serializers.IntegerField(source="cluster.pk")
    cluster_name = serializers.CharField(source="cluster.name")
    nodes = serializers.IntegerField(help_text="Seen within the last day.")
    stocks = StockShape(many=True)
    orders = OrderShape(many=True, help_text="Reserved and on order, the next to arrive first.")


class Supply(Door):
    access = "member"

    @extend_schema(responses=ClusterSupplyShape(many=True))
    def get(self, request: Request) -> Response:
        """Accelerators by cluster and model: of a team those on which its deployments lie, of the install all."""
        actor, now = actor_of(request), timezone.now()
        found = supply_load(
            clusters_for(actor),
            accelerators=accelerators_for(actor, now=now),
            nodes=nodes_for(actor, now=now),
            own=deployments_for(actor, hidden=True),
            now=now,
        )
        return Response(ClusterSupplyShape(found, many=True).data)


class OrderChange(Strict):
    """The checks stand in one place for pages and API; here only the types."""

    accelerator_model = serializers.CharField(max_length=120, required=False, allow_blank=True, help_text="E.g. NVIDIA H100 80GB HBM3.")
    accelerators = serializers.IntegerField(required=False, help_text="How many; 0: only nodes.")
    instance_type = serializers.CharField(max_length=80, required=False, allow_blank=True)
    nodes = serializers.IntegerField(required=False)
    state = serializers.ChoiceField(choices=list(OPEN_STATES), required=False)
    arrives_on = serializers.DateField(required=False, allow_null=True, help_text="UTC; null: not known, so no plan counts on it.")
    note = serializers.CharField(max_length=300, required=False, allow_blank=True)


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "typical",
            {"cluster": 2, "accelerator_model": "NVIDIA H100 80GB HBM3", "accelerators": 8, "arrives_on": "2026-12-08", "note": "PO 114"},
            request_only=True,
        )
    ]
)
class OrderBody(OrderChange):
    cluster = serializers.IntegerField(min_value=1, help_text="Id of the cluster.")


class OrderFilter(django_filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    cluster = django_filters.CharFilter(field_name="cluster__name", label="Name of the cluster.")

    class Meta:
        model = SupplyOrder
        fields = ("state", "accelerator_model", "instance_type")


class OrderList(generics.ListAPIView[SupplyOrder]):
    """What is reserved, on order, arrived and cancelled in the clusters the caller sees, the next to arrive first."""

    access = {"GET": "member", "POST": "admin"}
    serializer_class = OrderShape
    filterset_class = OrderFilter
    queryset = SupplyOrder.objects.none()

    def get_queryset(self) -> QuerySet[SupplyOrder]:
        rows = SupplyOrder.objects.filter(cluster__in=clusters_for(actor_of(self.request)))
        return rows.select_related("cluster").order_by("arrives_on", "pk")

    @extend_schema(request=OrderBody, responses={201: OrderShape})
    def post(self, request: Request) -> Response:
        """Enter what is reserved or on order; plans of its cluster, and of groups in it, count on it from its day."""
        actor, body = actor_of(request), body_read(OrderBody, request)
        cluster: Cluster = row_get(clusters_for(actor), body.pop("cluster"))
        with refusing(), transaction.atomic():
            order = order_create(cluster, body, by=actor.name, now=timezone.now())
            audit(actor, "supply.create", f"order for {cluster.name}", after=dict(OrderShape(order).data), request=request)
        return Response(OrderShape(order).data, status=status.HTTP_201_CREATED)


def order_get(request: Request, pk: int) -> SupplyOrder:
    return row_get(SupplyOrder.objects.filter(cluster__in=clusters_for(actor_of(request))).select_related("cluster"), pk)


def order_admin_get(request: Request, pk: int) -> SupplyOrder:
    admin_require(actor_of(request))
    return row_get(SupplyOrder.objects.select_related("cluster"), pk)


class OrderOne(Door):
    access = {"GET": "member", "*": "admin"}

    @extend_schema(responses=OrderShape)
    def get(self, request: Request, pk: int) -> Response:
        return Response(OrderShape(order_get(request, pk)).data)

    @extend_schema(request=OrderChange, responses=OrderShape)
    def patch(self, request: Request, pk: int) -> Response:
        """Change what is given, of an order that is still open."""
        actor, row = actor_of(request), order_admin_get(request, pk)
        before, body = dict(OrderShape(row).data), body_read(OrderChange, request)
        open_check(row)
        with refusing(), transaction.atomic():
            row = order_change(row, body, by=actor.name, now=timezone.now())
            audit(actor, "supply.change", f"order for {row.cluster.name}", before=before, after=dict(OrderShape(row).data), request=request)
        return Response(OrderShape(row).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Take a mistake away without a trace but in the audit; what does not come is cancelled instead."""
        actor, row = actor_of(request), order_admin_get(request, pk)
        with transaction.atomic():
            audit(actor, "supply.delete", f"order for {row.cluster.name}", before=dict(OrderShape(row).data), request=request)
            row.delete()
        return Response(status=status.HTTP_204_NO_CONTENT)


def open_check(row: SupplyOrder) -> None:
    if row.state not in OPEN_STATES:
        raise Conflict(f"This order is {SupplyState(row.state).label.lower()} and stays as it is.")


def order_closed(request: Request, pk: int, state: SupplyState) -> Response:
    actor, row = actor_of(request), order_admin_get(request, pk)
    body_read(Nothing, request)
    before = dict(OrderShape(row).data)
    try:
        with transaction.atomic():
            order_close(row, state, by=actor.name, now=timezone.now())
            audit(
                actor, f"supply.{state}", f"order for {row.cluster.name}", before=before, after=dict(OrderShape(row).data), request=request
            )
    except SupplyError as error:
        raise Conflict(str(error)) from None
    return Response(OrderShape(row).data)


class OrderArrive(Door):
    access = "admin"

    @extend_schema(request=Nothing, responses=OrderShape)
    def post(self, request: Request, pk: int) -> Response:
        """It is there: from now on its telemetry counts, not the order."""
        return order_closed(request, pk, SupplyState.ARRIVED)


class OrderCancel(Door):
    access = "admin"

    @extend_schema(request=Nothing, responses=OrderShape)
    def post(self, request: Request, pk: int) -> Response:
        """It does not come, and no plan counts on it any more."""
        return order_closed(request, pk, SupplyState.CANCELLED)

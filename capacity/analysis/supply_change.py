"""What is reserved or on order may be entered, changed, arrive and be cancelled: one set of checks for pages and API."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from capacity.analysis.fields import FieldError, Reader
from capacity.analysis.prices import model_key
from capacity.models import SupplyOrder, SupplyState
from monitoring.models import Cluster

ORDER_FIELDS = ("accelerator_model", "accelerators", "instance_type", "nodes", "state", "arrives_on", "note")
MOST_ACCELERATORS, MOST_NODES = 100_000, 10_000
FARTHEST = timedelta(days=3 * 366)
OPEN_STATES = {SupplyState.ON_ORDER.value: "On order", SupplyState.RESERVED.value: "Reserved"}


class SupplyError(FieldError):
    """What is wrong with an order, a sentence by field; "" for what concerns several."""


def order_values(fields: Mapping[str, Any], *, order: SupplyOrder | None = None, now: datetime) -> SupplyOrder:
    """The order as it would be, not saved. Fields not given stay."""
    known = order or SupplyOrder()
    if order is not None:
        open_require(order)
    read = Reader({name: getattr(known, name) for name in ORDER_FIELDS} | dict(fields))
    for name in fields:
        if name not in ORDER_FIELDS:
            read.wrong(name, f"An order has no {name}; it has {', '.join(ORDER_FIELDS)}.")
    made = SupplyOrder(**{field.attname: getattr(known, field.attname) for field in SupplyOrder._meta.concrete_fields})
    made._state.adding = known._state.adding
    made.accelerator_model, made.instance_type = read.text("accelerator_model", most=120), read.text("instance_type", most=80)
    made.note = read.text("note", most=300)
    made.accelerators = read.whole("accelerators", least=0, most=MOST_ACCELERATORS) or 0
    made.nodes = read.whole("nodes", least=0, most=MOST_NODES) or 0
    made.state = read.choice("state", OPEN_STATES)
    made.arrives_on = read.day("arrives_on")
    kind_check(made, read)
    if "arrives_on" in fields:  # a late one may still get another note
        day_check(made, read, today=now.astimezone(UTC).date())
    if read.problems:
        raise SupplyError(read.problems)
    return made


def kind_check(made: SupplyOrder, read: Reader) -> None:
    if not made.accelerators and not made.nodes and not {"accelerators", "nodes"} & set(read.problems):
        read.wrong("accelerators", "Enter how many accelerators or nodes come, e.g. 8.")
    if made.accelerators and not model_key(made.accelerator_model):
        read.wrong("accelerator_model", "Enter which accelerator, as the page Accelerators names it, e.g. NVIDIA H100 80GB HBM3.")
    if made.nodes and not made.accelerators and not made.instance_type:
        read.wrong("instance_type", "Enter which kind of node, e.g. p5.48xlarge, or which accelerators come with it.")


def day_check(made: SupplyOrder, read: Reader, *, today: date) -> None:
    if made.arrives_on is None:
        return
    if made.arrives_on < today:
        read.wrong("arrives_on", f"It cannot arrive on {made.arrives_on}, which is over. What is there already needs no order.")
    elif made.arrives_on > today + FARTHEST:
        read.wrong("arrives_on", f"At most three years ahead, got {made.arrives_on}.")


def open_require(order: SupplyOrder) -> None:
    if order.state not in OPEN_STATES:
        raise SupplyError({"": f"This order is {SupplyState(order.state).label.lower()} and stays as it is. Enter a new one."})


def order_create(cluster: Cluster, fields: Mapping[str, Any], *, by: str, now: datetime) -> SupplyOrder:
    made = order_values(fields, now=now)
    made.cluster = cluster
    return order_keep(made, by=by, now=now)


def order_change(order: SupplyOrder, fields: Mapping[str, Any], *, by: str, now: datetime) -> SupplyOrder:
    return order_keep(order_values(fields, order=order, now=now), by=by, now=now)


def order_close(order: SupplyOrder, state: SupplyState, *, by: str, now: datetime) -> SupplyOrder:
    """Arrived: it counts no longer, what came is seen by its telemetry. Cancelled: it counts no longer."""
    open_require(order)
    if state == SupplyState.ARRIVED:
        order.arrives_on = now.astimezone(UTC).date()
    order.state = state
    return order_keep(order, by=by, now=now)


def order_keep(order: SupplyOrder, *, by: str, now: datetime) -> SupplyOrder:
    order.set_by, order.updated_at = by[:254], now
    order.save()
    return order

"""Headroom's own evaluation and sending in a process of its own, that stands still where it is to be killed or has a safety off.

What is patched here is patched in that process alone; the product knows nothing of it.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from monitoring.alerts import evaluate, outbox, record, send
from monitoring.alerts.channels.base import Message, Telling
from monitoring.alerts.channels.registry import KINDS, setup_of
from monitoring.models import EvaluationMark, Notification
from monitoring.slots import owner_name

Patch = pytest.MonkeyPatch
POINTS = ("evaluate", "commit", "claim", "send", "record")
TOGETHER_SECONDS = 120.0
ROUND_SECONDS = 600.0  # a round ends when there is nothing left, however slow the machine
DRAIN_MOST = 50  # rounds until nothing is left


@dataclass(frozen=True)
class Orders:
    """What a process does. point, side, nth: where it stands still for the kill; off: the safety it goes without."""

    database: str
    moments: tuple[float, ...]  # Unix seconds of its clock, one round at each
    point: str = ""
    side: str = ""  # "before" or "after"
    nth: int = 1
    off: str = ""


class Halt:
    """The nth time it is passed, it tells the test, and waits for nothing but the kill."""

    def __init__(self, told: Connection, nth: int) -> None:
        self.told, self.left = told, nth

    def passed(self, *_: object) -> None:
        self.left -= 1
        if self.left == 0:
            self.told.send("here")
            threading.Event().wait()


def prepare(orders: Orders) -> Patch:
    connections.settings["default"]["NAME"] = orders.database
    patch = Patch()
    patch.setattr(send, "CHANNEL_SECONDS", ROUND_SECONDS)
    if orders.off:
        SAFETIES[orders.off](patch)
    return patch


def work(orders: Orders, told: Connection) -> None:
    """Evaluate and send at each moment, as a worker does."""
    patch = prepare(orders)
    one_at_a_time(patch)
    if orders.point:
        halt_put(patch, orders, Halt(told, orders.nth))
    for moment in orders.moments:
        now = datetime.fromtimestamp(moment, tz=UTC)
        evaluate.alerts_evaluate(now=now)
        send.notifications_send(clock=partial(steady, now), owner=owner_name(), round_seconds=ROUND_SECONDS)
    told.send("done")


def steady(now: datetime) -> datetime:
    return now


def one_at_a_time(patch: Patch) -> None:
    """Threads of a sender take turns, so that a kill finds one message in flight and the others where they are."""
    turn = threading.Lock()
    claim, deliver = outbox.message_claim, send.message_send

    def claimed(*args: Any, **named: Any) -> outbox.Claim | None:
        turn.acquire()
        found = claim(*args, **named)
        if found is None:
            turn.release()
        return found

    def delivered(*args: Any, **named: Any) -> bool:
        try:
            return deliver(*args, **named)
        finally:
            turn.release()

    patch.setattr(send, "message_claim", claimed)
    patch.setattr(send, "message_send", delivered)


def halt_put(patch: Patch, orders: Orders, halt: Halt) -> None:
    """Where each point is. Of `send` the moment after is the receiver's: it has the message and has not answered."""
    match orders.point, orders.side:
        case "evaluate", side:
            around(patch, evaluate, "changes_write", **{side: halt.passed})
        case "commit", side:
            at_commit(patch, evaluate, "changes_write", **{side: halt.passed})
        case "claim", side:
            at_commit(patch, outbox, "message_choose", **{side: halt.passed})
        case "send", "before":
            around(patch, KINDS, "webhook", before=halt.passed)
        case "record", side:
            around(patch, send, "sent_record", **{side: halt.passed})


def nothing(*_: object, **__: object) -> None:
    return


def around(patch: Patch, place: Any, name: str, *, before: Callable[..., None] = nothing, after: Callable[[Any], None] = nothing) -> None:
    """place: a module or a dict."""
    real = place[name] if isinstance(place, dict) else getattr(place, name)

    def wrapped(*args: Any, **named: Any) -> Any:
        before()
        found = real(*args, **named)
        after(found)
        return found

    if isinstance(place, dict):
        patch.setitem(place, name, wrapped)
    else:
        patch.setattr(place, name, wrapped)


def at_commit(patch: Patch, place: object, name: str, *, before: Callable[[], None] = nothing, after: Callable[[], None] = nothing) -> None:
    """Around the COMMIT that makes lasting what this function chose or wrote in the same thread."""
    ours = threading.local()

    def mark(found: object) -> None:
        ours.next = bool(found)

    around(patch, place, name, after=mark)
    commit = BaseDatabaseWrapper.commit

    def committed(self: BaseDatabaseWrapper) -> None:
        counts, ours.next = getattr(ours, "next", False), False
        if counts:
            before()
        commit(self)
        if counts:
            after()

    patch.setattr(BaseDatabaseWrapper, "commit", committed)


def evaluate_together(orders: Orders, phase: Barrier, overlap: Barrier, told: Connection) -> None:
    """The rounds of a process among several at the same moments."""
    patch = prepare(orders)
    if orders.off == "no mark":
        around(patch, evaluate, "changes_write", before=partial(meet, overlap))
    for moment in orders.moments:
        phase.wait(TOGETHER_SECONDS)
        evaluate.alerts_evaluate(now=datetime.fromtimestamp(moment, tz=UTC))
        phase.wait(TOGETHER_SECONDS)
    told.send("done")


def meet(overlap: Barrier) -> None:
    with suppress(threading.BrokenBarrierError):
        overlap.wait(30.0)


def send_together(orders: Orders, phase: Barrier, overlap: Barrier, told: Connection) -> None:
    """Sends while others evaluate and send, then until there is nothing left, then the next moment."""
    prepare(orders)
    for moment in orders.moments:
        clock = partial(steady, datetime.fromtimestamp(moment, tz=UTC))
        phase.wait(TOGETHER_SECONDS)
        for _ in range(5):
            send.notifications_send(clock=clock, owner=owner_name(), round_seconds=ROUND_SECONDS)
        phase.wait(TOGETHER_SECONDS)
        for _ in range(DRAIN_MOST):
            if not Notification.objects.unsent().exists():
                break
            send.notifications_send(clock=clock, owner=owner_name(), round_seconds=ROUND_SECONDS)
    told.send("done")


def two_transactions(patch: Patch) -> None:
    """What is to be told is written in a transaction after that of the alerts."""
    real = record.notifications_of

    def late(*args: Any, **named: Any) -> list[Notification]:
        assert connection.connection is not None
        connection.connection.commit()
        return real(*args, **named)

    patch.setattr(record, "notifications_of", late)


def told_on_commit(patch: Patch) -> None:
    """The well-known mistake: `on_commit` carries the message."""
    real = record.notifications_of

    def late(*args: Any, **named: Any) -> list[Notification]:
        transaction.on_commit(partial(Notification.objects.bulk_create, real(*args, **named)))
        return []

    patch.setattr(record, "notifications_of", late)


def endless_lease(patch: Patch) -> None:
    patch.setattr(outbox, "LEASE", timedelta(days=10_000))


def no_lease(patch: Patch) -> None:
    patch.setattr(outbox, "LEASE", timedelta(0))


def recorded_first(patch: Patch) -> None:
    """Sent is written down before it is sent."""

    def early(claim: outbox.Claim, *, clock: send.Clock, kinds: Any) -> bool:
        recorded = outbox.sent_record(claim, "not yet", now=clock())
        kinds[claim.channel.kind](setup_of(claim.channel), claim.message, clock())
        return recorded

    patch.setattr(send, "message_send", early)


def key_for_each_try(patch: Patch) -> None:
    def message(claim: outbox.Claim) -> Message:
        told = (Telling(uuid4().hex, row.edge, row.content) for row in claim.rows)
        return Message(uuid4().hex, tuple(told))

    patch.setattr(outbox.Claim, "message", property(message))


def no_mark(patch: Patch) -> None:
    """Whoever asks evaluates; the test takes away the unique index too."""

    def mark(*, now: datetime) -> EvaluationMark:
        return EvaluationMark.objects.get_or_create(name=evaluate.MARK, defaults={"until": now})[0]

    patch.setattr(evaluate, "mark_take", mark)
    patch.setattr(evaluate, "minutes_judge", nothing)  # it has a mark of its own, where they would wait for each other


SAFETIES: dict[str, Callable[[Patch], None]] = {
    "two transactions": two_transactions,
    "told on commit": told_on_commit,
    "a lease without end": endless_lease,
    "recorded before it is sent": recorded_first,
    "a key for each try": key_for_each_try,
    "no mark": no_mark,
    "no lease": no_lease,
}

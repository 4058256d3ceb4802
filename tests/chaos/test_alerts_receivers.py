"""A receiver that answers 500 or 429, hangs or resets for an hour of the clock we inject: all arrives afterwards, in order.

Other channels hear at once. Each safety has its twin.
"""

import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from monitoring.alerts import outbox, send
from monitoring.alerts.channels import calls
from monitoring.alerts.evaluate import alerts_evaluate
from monitoring.http import Reply, http_get
from monitoring.models import Channel, Notification, NotificationState
from tests.chaos.alert_process import Patch
from tests.chaos.alert_world import HIGH, LOW, Outcome, World, outcome_of, world_make
from tests.chaos.conftest import Table
from tests.chaos.receiver import Door, Edge, Receiver, receiving
from tests.telemetry import at

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("chaos"), pytest.mark.usefixtures("quick_commits")]
HOUR, END, MINUTE = 3600.0, 4440.0, 60.0
ASKED = 120  # seconds of Retry-After
KNOCKS_MOST = 20  # in an hour; an alert of its own has tries of its own
BAD = "channel-0"
AFTERWARDS = 10_000.0  # with the first round after the trouble
# Minutes from and to which a deployment is in trouble. The first is tried again and again; it ends while it waits for its next try.
SPANS = ((0, AFTERWARDS), (5, 30), (10, AFTERWARDS), (2, 72), (40, 71))


@dataclass
class Hour:
    """One run. delayed: rounds in which another channel heard later than it could."""

    world: World
    kind: str
    full: bool
    patch: Patch
    now: float = 0.0  # seconds after noon
    over: bool = False
    knocks: list[float] = field(default_factory=list)  # at the closed door
    hung_until: float = float("inf")  # monotonic seconds
    values: list[float] = field(default_factory=list)  # of the deployments, as they were written last
    judged: int = 0
    delayed: int = 0

    def clock(self) -> datetime:
        return at(self.now)

    def refuse(self, door: Door) -> bool:
        """What is refused after an hour is the last."""
        if self.over or door.path != f"/{BAD}":
            return False
        self.knocks.append(self.now)
        self.over = self.now >= HOUR
        match self.kind:
            case "500":
                door.answer(500)
            case "429":
                door.answer(429, {"Retry-After": str(ASKED)})
            case "hangs":
                door.connection.recv(1)  # returns when the sender has given up
                self.hung_until = time.monotonic()
            case "resets":
                door.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                door.connection.close()
        return True

    def run(self) -> None:
        self.world.receiver.refuse = self.refuse
        ends = [end * MINUTE for _, end in SPANS]
        while self.now < END:
            if self.over:
                ends = [min(end, self.now) for end in ends]
            values = [HIGH if begin * MINUTE <= self.now < end else LOW for (begin, _), end in zip(SPANS, ends, strict=True)]
            self.sent(self.evaluated(values))
            self.now += 10.0 if self.full else MINUTE

    def evaluated(self, values: list[float]) -> bool:
        """Whether there is something new to tell. A short run looks only where something changes."""
        if self.now % MINUTE or (not self.full and values == self.values):
            return False
        self.values = values
        self.world.telemetry_write(np.full(len(values), self.now), np.array(values), ids=self.world.ids)
        before = Notification.objects.count()
        alerts_evaluate(now=self.clock())
        return Notification.objects.count() > before

    def sent(self, edges: bool) -> None:
        receiver = self.world.receiver
        heard, self.hung_until = len(receiver.deliveries), float("inf")
        if not self.full:  # as long as the others may take on a busy machine, where there is something to compare
            self.patch.setattr(calls, "http_get", partial(quick_get, 1.0 if edges else 0.1))
        send.notifications_send(clock=self.clock, owner="test", round_seconds=60.0)
        if edges:
            new = [delivery.at for delivery in receiver.deliveries[heard:] if delivery.edge.channel != BAD]
            left = Notification.objects.unsent().exclude(channel__name=BAD).exists()
            self.judged += 1
            self.delayed += left or max(new) > self.hung_until

    @property
    def early(self) -> int:
        """Knocks within the time it asked us to wait."""
        return int((np.diff(self.knocks) < ASKED).sum())

    def outcome(self) -> Outcome:
        """A beginning that nobody tried to tell is told by its end."""
        folded = Notification.objects.filter(state=NotificationState.FOLDED).values_list("channel__name", "alert__labels__deployment")
        told = {Edge(channel, name, 0, "fire") for channel, name in folded}
        return outcome_of(self.world.receiver.deliveries, self.world.planned([0]) - told)


def quick_get(seconds: float, url: str, **named: Any) -> Reply:
    return http_get(url, **named | {"timeout": (5.0, seconds)})


@pytest.fixture
def hour(full: bool, monkeypatch: pytest.MonkeyPatch) -> Callable[[Receiver, str], Hour]:
    def run(receiver: Receiver, kind: str) -> Hour:
        made = Hour(world_make(receiver, channels=3, deployments=len(SPANS)), kind, full, monkeypatch)
        made.run()
        return made

    return run


Run = Callable[[Receiver, str], Hour]


@pytest.mark.parametrize("kind", ["500", "429", "hangs", "resets"])
def test_after_an_hour_all_arrives_in_order_and_others_never_waited(hour: Run, kind: str, table: Table) -> None:
    with receiving() as receiver:
        run = hour(receiver, kind)
    outcome = run.outcome()
    fine = outcome == Outcome(outcome.planned, 0, 0, 0, 0, 0) and not run.delayed and run.judged >= 5
    polite = 5 <= len(run.knocks) <= KNOCKS_MOST and not (kind == "429" and run.early)
    early = f", {run.early} too early" if kind == "429" else ""
    measured = f"{outcome.words}, {outcome.disordered} out of order, {len(run.knocks)} knocks{early}; others delayed {run.delayed} times"
    must = "0 lost, in order, others not delayed"
    table.add(f"a receiver that {'answers ' * kind.isdigit()}{kind} for an hour", measured, must, held=fine and polite)
    assert fine and polite, (outcome, run.knocks, run.delayed, run.judged)


def test_given_up_after_ten_minutes_it_is_lost(hour: Run, monkeypatch: pytest.MonkeyPatch, table: Table) -> None:
    monkeypatch.setattr(outbox, "GIVE_UP", outbox.GIVE_UP / 144)
    with receiving() as receiver:
        lost = hour(receiver, "500").outcome().lost
    table.add("twin: given up after ten minutes", f"{lost} lost", "is found out", held=lost > 0)
    assert lost


def test_without_the_order_an_end_overtakes_its_beginning(hour: Run, monkeypatch: pytest.MonkeyPatch, table: Table) -> None:
    def newest(channel: Channel, *, now: datetime) -> list[Notification]:
        return list(Notification.objects.due(now=now).filter(channel=channel).order_by("-created_at", "-pk")[:1])

    monkeypatch.setattr(outbox, "message_choose", newest)  # the one back-off of a channel keeps some order by itself
    with receiving() as receiver:
        disordered = hour(receiver, "500").outcome().disordered
    table.add("twin: no order of an alert's edges", f"{disordered} out of order", "is found out", held=disordered > 0)
    assert disordered


def test_without_threads_of_their_own_others_wait(hour: Run, monkeypatch: pytest.MonkeyPatch, table: Table) -> None:
    monkeypatch.setattr(send, "threading", SimpleNamespace(Thread=AtOnce))
    with receiving() as receiver:
        delayed = hour(receiver, "hangs").delayed
    table.add("twin: one thread for all channels", f"others delayed {delayed} times", "is found out", held=delayed > 0)
    assert delayed


class AtOnce:
    """Stands for a thread, and is none."""

    def __init__(self, *, target: Callable[..., None], args: tuple[object, ...], kwargs: dict[str, object], daemon: bool) -> None:
        self.call = (target, args, kwargs)

    def start(self) -> None:
        target, args, kwargs = self.call
        target(*args, **kwargs)

    def join(self, seconds: float) -> None:
        return

    def is_alive(self) -> bool:
        return False


def test_without_heed_to_its_wish_it_is_knocked_at_early(hour: Run, monkeypatch: pytest.MonkeyPatch, table: Table) -> None:
    monkeypatch.setattr(calls, "retry_after_of", lambda reply: 0.0)
    with receiving() as receiver:
        early = hour(receiver, "429").early
    table.add("twin: Retry-After not read", f"{early} knocks too early", "is found out", held=early > 0)
    assert early

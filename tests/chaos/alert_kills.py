"""kill -9 of a process that evaluates and sends, exactly at a moment, and the round of another one that comes after it."""

import multiprocessing
import random
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from tests.chaos.alert_process import Orders, work
from tests.chaos.alert_world import PHASES, Outcome, World, outcome_of
from tests.servers.processes import wait_until

SIDES = ("before", "after")
LATER = (10.0, 130.0)  # seconds after a kill: the next round, and one when the lease has ended
WAIT_SECONDS = 300.0
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.chaos.ready", "tests.chaos.alert_process"])


@contextmanager
def running(orders: Orders) -> Iterator[tuple[BaseProcess, Connection]]:
    hears, tells = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=work, args=(orders, tells))
    process.start()
    tells.close()  # so that its death is heard
    try:
        yield process, hears
    finally:
        process.kill()
        process.join()
        hears.close()


def worked(orders: Orders) -> None:
    with running(orders) as (process, hears):
        assert hears.poll(WAIT_SECONDS) and hears.recv() == "done"
        process.join(WAIT_SECONDS)


def killed(world: World, orders: Orders) -> tuple[int, int, int]:
    """What there was when it stood still: rows of the outbox, those leased, deliveries; then it is killed."""
    receiver = world.receiver
    by_receiver = (orders.point, orders.side) == ("send", "after")
    receiver.hold = orders.nth if by_receiver else 0
    receiver.held.clear()
    receiver.release.clear()
    with running(orders) as (process, hears):
        if by_receiver:
            wait_until(receiver.held.is_set, seconds=WAIT_SECONDS, what="the receiver to have the message")
        else:
            assert hears.poll(WAIT_SECONDS) and hears.recv() == "here", "it was over before it came to the point"
        seen = (*world.outbox(), len(receiver.deliveries))
        process.kill()
        process.join()
        assert process.exitcode == -9
    receiver.release.set()
    return seen


def expected(orders: Orders, edges: int) -> tuple[int, int, int]:
    """That the kill was where it says: rows, leased ones and deliveries of its phase."""
    nth = orders.nth
    return {
        ("evaluate", "before"): (0, 0, 0),
        ("evaluate", "after"): (0, 0, 0),
        ("commit", "before"): (0, 0, 0),
        ("commit", "after"): (edges, 0, 0),
        ("claim", "before"): (edges, 0, nth - 1),
        ("claim", "after"): (edges, 1, nth - 1),
        ("send", "before"): (edges, 1, nth - 1),
        ("send", "after"): (edges, 1, nth),
        ("record", "before"): (edges, 1, nth),
        ("record", "after"): (edges, 0, nth),
    }[orders.point, orders.side]


def incident_run(world: World, incident: int, *, point: str, side: str, rng: random.Random, off: str = "") -> None:
    """It fires and resolves; the process of one of both is killed, and another takes over."""
    world.incident_write(incident)
    unlucky = rng.choice(list(PHASES))
    for phase, after in PHASES.items():
        moment = world.begins(incident) + after
        if phase != unlucky:
            worked(Orders(world.database, (moment,), off=off))
            continue
        nth = 1 if point in ("evaluate", "commit") else rng.randint(1, world.edges_each)
        orders = Orders(world.database, (moment,), point, side, nth, off)
        rows, _ = world.outbox()
        heard = len(world.receiver.deliveries)
        seen = killed(world, orders)
        if not off:
            assert (seen[0] - rows, seen[1], seen[2] - heard) == expected(orders, world.edges_each), (orders, seen)
        worked(Orders(world.database, tuple(moment + later for later in LATER), off=off))


def kills_run(world: World, *, point: str, sides: list[str], rng: random.Random, off: str = "") -> Outcome:
    """An incident for each side: so many kills."""
    for incident, side in enumerate(sides):
        incident_run(world, incident, point=point, side=side, rng=rng, off=off)
    return outcome_of(world.receiver.deliveries, world.planned(range(len(sides))))

"""Three processes evaluate and three send at once: no alert takes a step twice, nothing is sent twice. Each safety has its twin."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from django.db import connection

from monitoring.alerts.evaluate import MARK
from monitoring.models import Alert, AlertTransition, EvaluationMark
from tests.chaos.alert_kills import FORKS, WAIT_SECONDS
from tests.chaos.alert_process import Orders, evaluate_together, send_together
from tests.chaos.alert_world import PHASES, Outcome, World, doubled, outcome_of, world_make
from tests.chaos.conftest import Table
from tests.chaos.receiver import Door, Receiver, receiving
from tests.telemetry import NOON

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("chaos"), pytest.mark.usefixtures("quick_commits")]
EACH = 3  # of both kinds
INCIDENTS = 50
SLOW_SECONDS = 0.02  # so that a message is on its way while others look for one


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        made.refuse = slow
        yield made


def slow(door: Door) -> bool:
    time.sleep(SLOW_SECONDS)
    return False


class Waiting:
    """Answers the first message when another one has come, or after some seconds."""

    def __init__(self) -> None:
        self.count, self.another = 0, threading.Event()

    def refuse(self, door: Door) -> bool:
        self.count += 1
        if self.count > 1:
            self.another.set()
        self.another.wait(10)
        return False


def together_run(world: World, incidents: int, *, phases: tuple[str, ...] = tuple(PHASES), off: str = "") -> Outcome:
    """All meet before and after each moment; in every second incident the evaluators' clocks differ by a millisecond."""
    phase, overlap = FORKS.Barrier(2 * EACH), FORKS.Barrier(EACH)
    for incident in range(incidents):
        world.incident_write(incident)
    with ExitStack() as stack:
        heard = []
        for number in range(2 * EACH):
            moments = tuple(
                world.begins(incident) + PHASES[name] + 0.001 * number * (incident % 2) for incident in range(incidents) for name in phases
            )
            hears, tells = FORKS.Pipe(duplex=False)
            target: Callable[..., None] = evaluate_together if number < EACH else send_together
            process = FORKS.Process(target=target, args=(Orders(world.database, moments, off=off), phase, overlap, tells))
            process.start()
            tells.close()
            stack.callback(process.join)
            stack.callback(process.kill)
            heard.append(hears)
        for hears in heard:
            assert hears.poll(WAIT_SECONDS * (1 + incidents)) and hears.recv() == "done"
    return outcome_of(world.receiver.deliveries, world.planned(range(incidents), phases=phases))


def steps_doubled() -> int:
    """Transitions of one alert to the same state, and alerts of one subject that began at once."""
    steps = AlertTransition.objects.values_list("alert__labels__deployment", "alert__started_at", "to_state")
    return doubled((name, round(began.timestamp()), state) for name, began, state in steps)


@contextmanager
def without_index() -> Iterator[None]:
    """The unique index that lets one alert of an identity be open is the second safety."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE indexname = 'alert_one_open'")
        made = cursor.fetchone()[0]
        cursor.execute("DROP INDEX alert_one_open")
        try:
            yield
        finally:
            Alert.objects.all().delete()
            cursor.execute(made)


def test_nothing_is_done_twice(receiver: Receiver, full: bool, table: Table) -> None:
    incidents = INCIDENTS if full else 2
    world = world_make(receiver, channels=4, deployments=5)
    outcome, twice = together_run(world, incidents), steps_doubled()
    whole = AlertTransition.objects.count() == 2 * len(world.deployments) * incidents
    fine = whole and not (twice or outcome.lost or outcome.twice or outcome.strange or outcome.disordered)
    what = f"three evaluators and three senders at once, {2 * incidents} rounds"
    table.add(what, f"{outcome.words}; {twice} steps of alerts twice", "0 lost, 0 twice", held=fine)
    assert fine, (outcome, twice)


def test_without_a_lease_it_is_sent_twice(receiver: Receiver, table: Table) -> None:
    receiver.refuse = Waiting().refuse
    outcome = together_run(world_make(receiver, channels=1, deployments=2), 1, phases=("fire",), off="no lease")
    table.add("twin: no lease", f"{outcome.twice} sent twice", "is found out", held=outcome.twice > 0)
    assert outcome.twice > 0


def test_without_mark_and_index_alerts_begin_twice(receiver: Receiver, table: Table) -> None:
    world = world_make(receiver, channels=1, deployments=2)
    EvaluationMark.objects.create(name=MARK, until=NOON)
    with without_index():
        together_run(world, 1, phases=("fire",), off="no mark")
        twice = steps_doubled()
    table.add("twin: no mark, no unique index", f"{twice} steps of alerts twice", "is found out", held=twice > 0)
    assert twice > 0

"""kill -9 while alerts are evaluated, committed, claimed, sent and recorded: nothing is lost, what comes twice has the same key.

Each point has a twin that goes without the safety which carries it, and is found out.
"""

import random

import pytest

from tests.chaos.alert_kills import SIDES, kills_run
from tests.chaos.alert_process import POINTS
from tests.chaos.alert_world import Outcome, world_make
from tests.chaos.conftest import Table
from tests.chaos.receiver import receiving

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("chaos"), pytest.mark.usefixtures("quick_commits")]
KILLS = 50
MOST_TWICE = {"send": 1, "record": 1}  # of a kill there; elsewhere none
# The safety that is off -> where it is missed, and what is found then.
TWINS = {
    "two transactions": ("evaluate", "after", "lost"),
    "told on commit": ("commit", "after", "lost"),
    "a lease without end": ("claim", "after", "lost"),
    "recorded before it is sent": ("send", "before", "lost"),
    "a key for each try": ("record", "before", "other_key"),
}


def is_fine(outcome: Outcome, *, point: str, kills: int, full: bool) -> bool:
    """At most one delivery of 100 comes twice; a few kills alone make few deliveries."""
    few = outcome.twice <= kills * MOST_TWICE.get(point, 0) and (not full or outcome.twice * 100 <= outcome.planned)
    return few and not (outcome.lost or outcome.other_key or outcome.strange or outcome.disordered)


@pytest.mark.parametrize("point", POINTS)
def test_no_kill_loses_an_edge(point: str, full: bool, rng: random.Random, table: Table) -> None:
    sides = [SIDES[number % 2] for number in range(KILLS)] if full else [rng.choice(SIDES)]
    with receiving() as receiver:
        world = world_make(receiver, channels=6 if full else 2, deployments=5 if full else 3)
        outcome = kills_run(world, point=point, sides=sides, rng=rng)
    fine = is_fine(outcome, point=point, kills=len(sides), full=full)
    must = "0 lost; at most 1 of 100 twice, under the same key"
    table.add(f"kill -9 at {point}, {len(sides)} times", f"{outcome.words}, {outcome.other_key} under another key", must, held=fine)
    assert fine, outcome


@pytest.mark.parametrize("off", TWINS)
def test_without_its_safety_a_kill_is_found_out(off: str, rng: random.Random, table: Table) -> None:
    point, side, found = TWINS[off]
    with receiving() as receiver:
        world = world_make(receiver, channels=2, deployments=3)
        outcome = kills_run(world, point=point, sides=[side], rng=rng, off=off)
    count = getattr(outcome, found)
    words = {"lost": "lost", "other_key": "twice under another key"}[found]
    table.add(f"twin: {off}, one kill at {point}", f"{count} {words}", "is found out", held=count > 0)
    assert not is_fine(outcome, point=point, kills=1, full=False) and count

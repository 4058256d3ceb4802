"""After an import what was made before it is made again, once at its end and once when its rollups stand."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from capacity.analysis.imported import imports_hurry
from capacity.analysis.plan_jobs import plans_make
from capacity.analysis.turns import Job, turn_finish, turns_claim, turns_due, turns_work
from capacity.models import PlanRun, Turn
from monitoring.models import ImportRun, RunState
from tests.factories import make_accelerator, make_cluster, make_deployment, make_node, make_source

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NIGHTLY = Job("nightly", every=timedelta(days=1), begins=timedelta(hours=1))


def made(subjects: list[str], *, now: datetime) -> None:
    """All are done at `now`, and due in the night."""
    turns_due(NIGHTLY, subjects, now=now)
    turns_work(NIGHTLY, lambda turns, at: lambda turn: lambda: None, clock=lambda: now, budget_seconds=5, batch=50)


def ended(*, at: datetime, cluster: object = None, state: str = RunState.DONE) -> ImportRun:
    source = make_source(cluster=cluster)  # type: ignore[arg-type]
    return ImportRun.objects.create(source=source, days=28, end_at=at, state=state, finished_at=at)


def due(*, now: datetime) -> set[str]:
    return set(Turn.objects.filter(job=NIGHTLY.name, due_at__lte=now).values_list("subject", flat=True))


class TestHurried:
    def test_deployments_nodes_and_accelerators_of_its_cluster_and_no_other(self) -> None:
        here, there = make_cluster(), make_cluster()
        node = make_node(cluster=here)
        mine = {f"deployment:{make_deployment(cluster=here).pk}", f"node:{node.pk}", f"accelerator:{make_accelerator(node).pk}"}
        made([*mine, f"deployment:{make_deployment(cluster=there).pk}"], now=NOW)
        ended(at=NOW + MINUTE, cluster=here)
        assert imports_hurry(NIGHTLY, now=NOW + 2 * MINUTE) == 3
        assert due(now=NOW + 2 * MINUTE) == mine

    def test_once_at_the_end_and_once_when_the_rollups_hold_it(self) -> None:
        subject = f"deployment:{make_deployment().pk}"
        made([subject], now=NOW)
        run = ended(at=NOW + MINUTE)
        hurried = []
        for minute in range(2, 12):
            now = NOW + minute * MINUTE
            if minute == 5:
                ImportRun.objects.filter(pk=run.pk).update(rolled_up_at=now - MINUTE / 2)
            hurried.append(imports_hurry(NIGHTLY, now=now))
            made([subject], now=now)
        assert hurried == [1, 0, 0, 1, 0, 0, 0, 0, 0, 0]

    def test_what_was_begun_before_the_rollups_held_it_and_done_after_comes_again(self) -> None:
        subject = f"deployment:{make_deployment().pk}"
        turns_due(NIGHTLY, [subject], now=NOW)
        (turn,) = turns_claim(NIGHTLY, now=NOW)
        turn_finish(NIGHTLY, turn, now=NOW + MINUTE, seconds=60.0)
        run = ended(at=NOW - MINUTE)
        assert imports_hurry(NIGHTLY, now=NOW + 2 * MINUTE) == 0
        ImportRun.objects.filter(pk=run.pk).update(rolled_up_at=NOW + MINUTE / 2)
        assert imports_hurry(NIGHTLY, now=NOW + 2 * MINUTE) == 1

    def test_an_import_that_runs_or_failed_and_one_of_yesterday_hurry_nothing(self) -> None:
        made([f"deployment:{make_deployment().pk}"], now=NOW - timedelta(days=2))
        ended(at=NOW - MINUTE, state=RunState.FAILED)
        ended(at=NOW - timedelta(days=1))
        assert imports_hurry(NIGHTLY, now=NOW) == 0

    def test_who_holds_a_turn_keeps_it(self) -> None:
        subject = f"deployment:{make_deployment().pk}"
        turns_due(NIGHTLY, [subject], now=NOW)
        held = turns_claim(NIGHTLY, now=NOW)
        ended(at=NOW + timedelta(seconds=10))
        assert len(held) == 1 and imports_hurry(NIGHTLY, now=NOW + MINUTE) == 0

    def test_without_imports_it_is_one_query(self) -> None:
        with CaptureQueriesContext(connection) as seen:
            imports_hurry(NIGHTLY, now=NOW)
        assert len(seen) == 1


def test_a_plan_made_before_an_import_is_made_again_after_it() -> None:
    deployment = make_deployment()
    plans_make(clock=lambda: NOW, budget_seconds=30)
    ended(at=NOW + MINUTE, cluster=deployment.cluster)
    assert plans_make(clock=lambda: NOW + 2 * MINUTE, budget_seconds=30) == "1 plan made"
    assert PlanRun.objects.get(deployment=deployment).made_at == NOW + 2 * MINUTE

"""An import is done when all is stored; that it also stands in the rollups is noted apart, for plans read those."""

from datetime import datetime

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from monitoring.catalog.records import Entity
from monitoring.models import DirtyWindow, FillState, ImportRun, RunState
from monitoring.rollups import rollups_fill
from monitoring.sources.imports import imports_roll_up
from monitoring.store import rows_write
from tests.factories import make_source
from tests.telemetry import at, make_rows

pytestmark = pytest.mark.django_db
HOUR = 3600


def ended(seconds: float, *, state: str = RunState.DONE) -> ImportRun:
    return ImportRun.objects.create(source=make_source(), days=1, end_at=at(seconds), state=state, finished_at=at(seconds))


def rolled_up(run: ImportRun) -> datetime | None:
    run.refresh_from_db()
    return run.rolled_up_at


def test_it_waits_until_late_stretches_are_redone() -> None:
    rows_write(make_rows([0, HOUR], Entity.ACCELERATOR, power_watts=1.0), overwrite=True)
    rollups_fill(now=at(6 * HOUR))
    rows_write(make_rows([300], Entity.ACCELERATOR, power_watts=2.0), overwrite=True)
    DirtyWindow.objects.update(created_at=at(5 * HOUR))
    run = ended(5 * HOUR)
    assert imports_roll_up(now=at(6 * HOUR)) == 0 and rolled_up(run) is None
    rollups_fill(now=at(6 * HOUR))
    assert imports_roll_up(now=at(7 * HOUR)) == 1 and rolled_up(run) == at(7 * HOUR)
    assert imports_roll_up(now=at(8 * HOUR)) == 0


def test_the_round_after_its_end_is_enough() -> None:
    run = ended(5 * HOUR)
    rollups_fill(now=at(5 * HOUR + 30))
    assert imports_roll_up(now=at(5 * HOUR + 40)) == 1 and rolled_up(run) is not None


def test_what_came_late_after_it_does_not_hold_it_up() -> None:
    rollups_fill(now=at(6 * HOUR))
    run = ended(5 * HOUR)
    DirtyWindow.objects.create(entity="accelerator", start_at=at(0), end_at=at(300), created_at=at(5 * HOUR + 1))
    assert imports_roll_up(now=at(6 * HOUR)) == 1 and rolled_up(run) == at(6 * HOUR)


@pytest.mark.parametrize("table", ["deployment_5m", "latency_1h", "node_1d"])
def test_it_waits_for_each_rollup_to_reach_its_end(table: str) -> None:
    run = ended(5 * HOUR)
    assert imports_roll_up(now=at(6 * HOUR)) == 0, "nothing was filled yet"
    rollups_fill(now=at(6 * HOUR))
    mark = FillState.objects.get(table=table).end_time
    FillState.objects.filter(table=table).update(done=False)
    assert imports_roll_up(now=at(6 * HOUR)) == 0
    FillState.objects.filter(table=table).update(done=True, end_time=at(-30 * HOUR))
    assert imports_roll_up(now=at(6 * HOUR)) == 0
    FillState.objects.filter(table=table).update(end_time=mark)
    assert imports_roll_up(now=at(6 * HOUR)) == 1 and rolled_up(run) is not None


@pytest.mark.parametrize("state", [RunState.RUNNING, RunState.PAUSED, RunState.FAILED])
def test_one_that_is_not_done_is_left(state: str) -> None:
    rollups_fill(now=at(6 * HOUR))
    ended(5 * HOUR, state=state)
    assert imports_roll_up(now=at(6 * HOUR)) == 0


def test_when_none_waits_it_is_one_query() -> None:
    with CaptureQueriesContext(connection) as seen:
        imports_roll_up(now=at(0))
    assert len(seen) == 1

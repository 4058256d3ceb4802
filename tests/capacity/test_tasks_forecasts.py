"""Celery's doors to the forecasts: a slot each, and a line of summary."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from capacity import tasks
from capacity.analysis.forecast_jobs import HOURLY, NIGHT
from capacity.config.schedule import JOBS
from capacity.models import ForecastRun, Turn
from monitoring.models import LOOPS_WATCHED, Heartbeat, JobSlot
from monitoring.slots import owner_name
from tests.factories import make_deployment

DOORS: dict[str, Callable[[], None]] = {
    "capacity.forecasts_night": tasks.forecasts_night_task,
    "capacity.forecasts_hour": tasks.forecasts_hour_task,
    "capacity.forecasts_missed": tasks.forecasts_missed_task,
}


@pytest.mark.django_db
class TestDoors:
    @pytest.mark.parametrize("name", DOORS)
    def test_each_runs_in_its_slot_and_leaves_a_sign_of_life(self, name: str) -> None:
        DOORS[name]()
        slot = JobSlot.objects.get()
        assert (slot.job, slot.error, slot.finished_at is not None) == (name, "", True)
        assert Heartbeat.objects.get().name == name
        assert JOBS[name][0] == "analysis" and name in LOOPS_WATCHED

    def test_a_night_says_what_it_did(self) -> None:
        make_deployment("silent")
        tasks.forecasts_night_task()
        assert JobSlot.objects.get().summary == "1 forecasts learned"
        assert set(ForecastRun.objects.values_list("horizon", flat=True)) == {"hour", "day", "week", "year"}

    def test_a_starting_worker_frees_the_turns_of_dead_ones(self) -> None:
        lease = timezone.now() + timedelta(minutes=2)
        mine, nobodys = owner_name(), f"{owner_name().split(':')[0]}:4194305"  # beyond the largest process number
        for owner, job in ((mine, NIGHT), (nobodys, HOURLY)):
            Turn.objects.create(job=job.name, subject="deployment:1", due_at=timezone.now(), owner=f"{owner}/a", lease_until=lease)
        tasks.turns_freed()
        assert list(Turn.objects.filter(lease_until__gt=timezone.now()).values_list("job", flat=True)) == [NIGHT.name]

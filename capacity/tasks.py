"""Celery's doors to capacity's jobs. When they run: capacity/config/schedule.py."""

from celery import shared_task
from django.utils import timezone

from capacity.analysis.status import status_update
from capacity.demo.load import demo_live
from capacity.demo.runs import demo_run
from monitoring.slots import slot_run


@shared_task(name="capacity.status_update")
def status_update_task(**_: object) -> None:
    slot_run("capacity.status_update", lambda now: status_update(now=now), every_seconds=60.0, now=timezone.now())


@shared_task(name="capacity.demo_live", soft_time_limit=540, time_limit=600)
def demo_live_task(**_: object) -> None:
    slot_run("capacity.demo_live", lambda now: demo_live(now=now), every_seconds=60.0, now=timezone.now())


@shared_task(name="capacity.demo_run", soft_time_limit=540, time_limit=600)
def demo_run_task(**_: object) -> None:
    slot_run("capacity.demo_run", lambda now: demo_run(now=now), every_seconds=5.0, now=timezone.now())

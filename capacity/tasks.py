"""Celery's doors to capacity's jobs. When they run: capacity/config/schedule.py."""

import socket
from typing import Any

from celery import shared_task
from celery.signals import worker_ready
from django.utils import timezone

from capacity.analysis.forecast_jobs import forecasts_condition, forecasts_fit
from capacity.analysis.forecast_missed import forecasts_missed
from capacity.analysis.plan_jobs import plans_make
from capacity.analysis.saturation import saturation_round
from capacity.analysis.status import status_update
from capacity.analysis.turns import turns_free
from capacity.demo.load import demo_live
from capacity.demo.runs import demo_run
from monitoring.slots import process_alive, slot_run

BUDGET_SECONDS = 50.0  # of a run that takes one turn after the other; what is left over is the next minute's
TURNS: dict[str, Any] = {"soft_time_limit": 240, "time_limit": 300}  # the budget, and one slow batch beyond it

PACE: dict[str, Any] = {"clock": timezone.now, "budget_seconds": BUDGET_SECONDS}


@worker_ready.connect
def turns_freed(**_: object) -> None:
    turns_free(host=socket.gethostname(), now=timezone.now(), alive=process_alive)


@shared_task(name="capacity.status_update")
def status_update_task(**_: object) -> None:
    slot_run("capacity.status_update", lambda now: status_update(now=now), every_seconds=60.0, now=timezone.now())


@shared_task(name="capacity.saturation", soft_time_limit=240, time_limit=300)
def saturation_task(**_: object) -> None:
    slot_run("capacity.saturation", lambda now: saturation_round(now=now), every_seconds=60.0, now=timezone.now())


@shared_task(name="capacity.demo_live", soft_time_limit=540, time_limit=600)
def demo_live_task(**_: object) -> None:
    slot_run("capacity.demo_live", lambda now: demo_live(now=now), every_seconds=60.0, now=timezone.now())


@shared_task(name="capacity.demo_run", soft_time_limit=540, time_limit=600)
def demo_run_task(**_: object) -> None:
    slot_run("capacity.demo_run", lambda now: demo_run(now=now), every_seconds=5.0, now=timezone.now())


@shared_task(name="capacity.forecasts_night", **TURNS)
def forecasts_night_task(**_: object) -> None:
    slot_run("capacity.forecasts_night", lambda _: forecasts_fit(**PACE), every_seconds=60.0, now=timezone.now(), at_most=2)


@shared_task(name="capacity.forecasts_hour", **TURNS)
def forecasts_hour_task(**_: object) -> None:
    slot_run("capacity.forecasts_hour", lambda _: forecasts_condition(**PACE), every_seconds=60.0, now=timezone.now(), at_most=2)


@shared_task(name="capacity.plans", **TURNS)
def plans_task(**_: object) -> None:
    slot_run("capacity.plans", lambda _: plans_make(**PACE), every_seconds=60.0, now=timezone.now(), at_most=2)


@shared_task(name="capacity.forecasts_missed")
def forecasts_missed_task(**_: object) -> None:
    slot_run("capacity.forecasts_missed", lambda now: forecasts_missed(now=now), every_seconds=300.0, now=timezone.now())

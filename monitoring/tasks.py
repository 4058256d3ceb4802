"""Celery's doors to monitoring's jobs: fetch, call one function, return. When they run: capacity/config/schedule.py.

A message carries nothing but the bell: what there is to do stands in rows, claimed by lease.
"""

import socket
import time
from datetime import datetime, timedelta
from typing import Any

from celery import shared_task
from celery.signals import worker_ready
from django.utils import timezone

from monitoring.access import access_clean
from monitoring.agents import processes_forget
from monitoring.alerts.digest import digests_write
from monitoring.alerts.evaluate import alerts_evaluate
from monitoring.alerts.heartbeat import dead_man_ping
from monitoring.alerts.notices import notices_send
from monitoring.alerts.outbox import alerts_clean, outbox_sweep
from monitoring.alerts.reminders import reminders_write
from monitoring.alerts.send import notifications_send
from monitoring.models import Heartbeat, Source
from monitoring.retention import partitions_ahead, partitions_drop, partitions_pack
from monitoring.rollups import rollups_fill
from monitoring.slots import leases_free, owner_name, process_alive, slot_run, slots_clean
from monitoring.sources import Polled, chunk_run, import_claim, source_poll, sources_due, team_rules_apply
from monitoring.sources.detect import source_test
from monitoring.sources.imports import imports_roll_up

BUDGET_SECONDS = 45.0  # of a task that takes one row after another
TELL_SECONDS = 2.0
LOOK_EVERY = timedelta(days=1)
LONG: dict[str, Any] = {"soft_time_limit": 540, "time_limit": 600}  # a slow Prometheus, a fleet of rollups


@worker_ready.connect
def worker_started(**_: object) -> None:
    leases_free(host=socket.gethostname(), now=timezone.now(), alive=process_alive)


@shared_task(name="monitoring.canary")
def canary_task(queue: str, **_: object) -> None:
    """A sign of life of a queue and of the worker that took it."""
    Heartbeat.objects.beat(f"queue:{queue}", now=timezone.now(), detail={"worker": owner_name()})


@shared_task(name="monitoring.poll", **LONG)
def poll_task(**_: object) -> None:
    slot_run("monitoring.poll", poll_due, every_seconds=5.0, now=timezone.now(), at_most=2)


def poll_due(now: datetime) -> str:
    """One source after another until none is due. Each cycle claims its source, so workers share them without a word."""
    began, results, lost = time.monotonic(), list[Polled](), set[int]()
    while time.monotonic() - began < BUDGET_SECONDS:
        due = [source for source in sources_due(now=timezone.now()) if source.pk not in lost]
        if not due:
            break
        result = source_poll(due[0], now=timezone.now(), owner=owner_name())
        if result is None:
            lost.add(due[0].pk)  # another worker was quicker
        else:
            results.append(result)
    return f"{len(results)} sources polled, {sum(result.written.written for result in results)} rows written" if results else ""


@shared_task(name="monitoring.import", **LONG)
def import_task(**_: object) -> None:
    slot_run("monitoring.import", import_waiting, every_seconds=5.0, now=timezone.now(), at_most=2)


def import_waiting(now: datetime) -> str:
    """One chunk of history after another until none waits."""
    began, states = time.monotonic(), list[str]()
    while time.monotonic() - began < BUDGET_SECONDS:
        chunk = import_claim(now=timezone.now(), owner=owner_name())
        if chunk is None:
            break
        states.append(chunk_run(chunk, now=timezone.now(), owner=owner_name()))
    return f"{len(states)} chunks: {', '.join(states)}" if states else ""


@shared_task(name="monitoring.look", **LONG)
def look_task(**_: object) -> None:
    slot_run("monitoring.look", look, every_seconds=600.0, now=timezone.now())


def look(now: datetime) -> str:
    """Test each source again once a day, so that its finding names what is there now; sort new deployments into teams."""
    sources = Source.objects.filter(enabled=True, demo=False, tested_at__lt=now - LOOK_EVERY)
    tested = [source_test(source, now=timezone.now()) for source in sources]
    return f"{len(tested)} sources looked at, {team_rules_apply()} deployments given to teams"


@shared_task(name="monitoring.rollups_fill", **LONG)
def rollups_fill_task(**_: object) -> None:
    slot_run("monitoring.rollups_fill", rollups_round, every_seconds=60.0, now=timezone.now())


def rollups_round(now: datetime) -> str:
    said = rollups_fill(now=now)
    imports_roll_up(now=timezone.now())  # the fill took its time
    return said


@shared_task(name="monitoring.partitions_ahead")
def partitions_ahead_task(**_: object) -> None:
    slot_run("monitoring.partitions_ahead", lambda now: partitions_ahead(now=now), every_seconds=3600.0, now=timezone.now())


@shared_task(name="monitoring.partitions_drop", **LONG)
def partitions_drop_task(**_: object) -> None:
    slot_run("monitoring.partitions_drop", lambda now: partitions_drop(now=now), every_seconds=3600.0, now=timezone.now())


@shared_task(name="monitoring.partitions_pack", **LONG)
def partitions_pack_task(**_: object) -> None:
    slot_run("monitoring.partitions_pack", lambda now: partitions_pack(now=now), every_seconds=3600.0, now=timezone.now())


@shared_task(name="monitoring.alerts_evaluate")
def alerts_evaluate_task(**_: object) -> None:
    """What a round has found is told at once, not with the next beat of the senders; a channel that hangs does not hold it up."""
    if slot_run("monitoring.alerts_evaluate", lambda now: alerts_evaluate(now=now), every_seconds=10.0, now=timezone.now()):
        notifications_send(clock=timezone.now, owner=owner_name(), round_seconds=TELL_SECONDS)


@shared_task(name="monitoring.alerts_send")
def alerts_send_task(**_: object) -> None:
    slot_run("monitoring.alerts_send", alerts_send, every_seconds=5.0, now=timezone.now(), at_most=3)


def alerts_send(now: datetime) -> str:
    return notifications_send(clock=timezone.now, owner=owner_name())


@shared_task(name="monitoring.alerts_sweep")
def alerts_sweep_task(**_: object) -> None:
    slot_run("monitoring.alerts_sweep", alerts_sweep, every_seconds=60.0, now=timezone.now())


def alerts_sweep(now: datetime) -> str:
    """What is given up, told after all, told again, or told once a week: rows, which senders find."""
    digests = digests_write(now=now)
    parts = (outbox_sweep(now=now), reminders_write(now=now), f"{digests} digests" if digests else "")
    return ", ".join(part for part in parts if part)


@shared_task(name="monitoring.alerts_notices")
def alerts_notices_task(**_: object) -> None:
    slot_run("monitoring.alerts_notices", alerts_notices, every_seconds=60.0, now=timezone.now(), at_most=2)


def alerts_notices(now: datetime) -> str:
    return notices_send(clock=timezone.now, owner=owner_name())


@shared_task(name="monitoring.dead_man")
def dead_man_task(**_: object) -> None:
    slot_run("monitoring.dead_man", lambda now: dead_man_ping(now=now), every_seconds=60.0, now=timezone.now())


@shared_task(name="monitoring.slots_clean")
def slots_clean_task(**_: object) -> None:
    slot_run("monitoring.slots_clean", clean, every_seconds=3600.0, now=timezone.now())


def clean(now: datetime) -> str:
    """Old slots, what access keeps no longer than it must, processes that have ended, and alerts of long ago."""
    return f"{slots_clean(now=now)}; {access_clean(now=now)}; {processes_forget(now=now)}; {alerts_clean(now=now)}"

"""One run per job and slot: who inserts (job, slot_time) runs it, so any number of beats and workers is harmless.

A run holds a lease and renews it while it works. A slot finds an earlier run of its job still going: it does
nothing. The worker of that run was killed: its lease ends and the next slot goes on, so nothing waits for long.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog
from django.db import DatabaseError, InterfaceError, close_old_connections, connection

from monitoring.models import Heartbeat, ImportChunk, JobSlot, Source

LEASE_SECONDS = 20.0
RENEW_SECONDS = 5.0
Work = Callable[[datetime], str]  # now -> one line of summary; empty: there was nothing to do
LEASED: tuple[tuple[type[JobSlot] | type[Source] | type[ImportChunk], str], ...] = (
    (JobSlot, "owner"),
    (Source, "lease_owner"),
    (ImportChunk, "lease_owner"),
)
log = structlog.get_logger("headroom.jobs")


def owner_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def slot_time(now: datetime, *, every_seconds: float) -> datetime:
    return datetime.fromtimestamp(now.timestamp() // every_seconds * every_seconds, tz=UTC)


def slot_run(job: str, work: Work, *, every_seconds: float, now: datetime, at_most: int = 1) -> str | None:
    """Run `work(now)` unless this slot has been run, or `at_most` earlier runs are still going. Returns its summary line."""
    at = slot_time(now, every_seconds=every_seconds)
    slot = JobSlot.objects.take(job, at=at, owner=owner_name(), now=now, lease_seconds=LEASE_SECONDS)
    if slot is None:
        return None
    if JobSlot.objects.going(job, now=now).filter(slot_time__lt=at).count() >= at_most:
        slot.finish(seconds=0.0, summary="an earlier run is still going", now=now)
        return None
    return slot_work(slot, work, now=now)


def slot_work(slot: JobSlot, work: Work, *, now: datetime) -> str | None:
    started = time.monotonic()
    stop = threading.Event()
    renewal = threading.Thread(target=lease_renew, args=(slot.pk, stop), daemon=True)
    renewal.start()
    summary, error = "", ""
    try:
        summary = work(now)
    except Exception as problem:  # recorded and shown on Status; the next slot tries again
        error = f"{type(problem).__name__}: {problem}"
        log.exception("job failed", job=slot.job)
        if isinstance(problem, DatabaseError | InterfaceError):  # a connection that died under the job cannot take down its end
            close_old_connections()
    finally:
        stop.set()
        renewal.join()
    seconds = time.monotonic() - started
    slot.finish(seconds=seconds, summary=summary, error=error, now=now + timedelta(seconds=seconds))
    if error:
        return None
    Heartbeat.objects.beat(slot.job, now=now + timedelta(seconds=seconds), detail={"summary": summary[:300], "seconds": round(seconds, 3)})
    log.log(logging.INFO if summary else logging.DEBUG, "job", job=slot.job, summary=summary, seconds=round(seconds, 3))
    return summary


def lease_renew(slot_pk: int, stop: threading.Event) -> None:
    """Most runs end before the first renewal, so that this thread seldom opens its connection."""
    while not stop.wait(RENEW_SECONDS):
        try:
            JobSlot.objects.filter(pk=slot_pk).update(lease_until=datetime.now(UTC) + timedelta(seconds=LEASE_SECONDS))
        except Exception:
            log.exception("lease not renewed", slot=slot_pk)
            close_old_connections()
    connection.close()


def leases_free(*, host: str, now: datetime, alive: Callable[[int], bool]) -> str:
    """Give back what dead processes of this machine held, so that a killed worker's work goes on at once."""
    freed = 0
    for model, field in LEASED:
        held = model._default_manager.filter(lease_until__gt=now, **{f"{field}__startswith": f"{host}:"})
        for pk, owner in held.values_list("pk", field):
            pid = owner.removeprefix(f"{host}:").split("/")[0]
            if pid.isdigit() and not alive(int(pid)):
                freed += held.filter(pk=pk, **{field: owner}).update(lease_until=now)
    return f"{freed} leases of dead workers freed"


def process_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def slots_clean(*, now: datetime, keep: timedelta = timedelta(days=2)) -> str:
    deleted, _ = JobSlot.objects.filter(slot_time__lt=now - keep).delete()
    gone, _ = Heartbeat.objects.filter(at__lt=now - timedelta(days=30)).delete()
    return f"{deleted} old slots and {gone} old heartbeats deleted"

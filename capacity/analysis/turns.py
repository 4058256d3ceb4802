"""Whose turn it is: one row a job and subject, claimed by lease, so that no two workers look at the same.

A turn is claimed with SKIP LOCKED under an owner name that is used once. Only who holds it under that name and within its lease may finish
it, so a worker that was away for too long finishes nothing. A worker that died: its lease ends, and another takes the turn.
"""

import os
import socket
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import structlog
from django.db import transaction
from django.db.models import Case, F, Q, Value, When

from capacity.models import Turn

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BACK_OFF = timedelta(minutes=5)  # after the first failure; twice as long after each further one, up to the job's period
log = structlog.get_logger("headroom.turns")


@dataclass(frozen=True)
class Job:
    """Each subject comes round once a period, at its own moment within `spread` after `begins`."""

    name: str
    every: timedelta
    begins: timedelta = timedelta(0)  # after the start of the period (periods begin at 00:00 UTC and multiples of `every`)
    spread: timedelta = timedelta(0)  # turns are spread over so long by a hash of the subject
    lease: timedelta = timedelta(seconds=120)

    def next_turn(self, subject: str, *, after: datetime) -> datetime:
        phase = self.begins + self.spread * (zlib.crc32(f"{self.name} {subject}".encode()) / 2**32)
        rounds = (after - EPOCH - phase) // self.every + 1
        return EPOCH + phase + rounds * self.every


def turns_due(job: Job, subjects: Iterable[str], *, now: datetime) -> int:
    """Rows for subjects that have none, due at once so that nobody waits a night for a first answer; those of subjects gone are deleted.

    Returns how many turns are due. Two or three queries.
    """
    wanted = set(subjects)
    known = dict(Turn.objects.filter(job=job.name).values_list("subject", "due_at"))
    missing = [Turn(job=job.name, subject=subject, due_at=now) for subject in sorted(wanted - set(known))]
    if missing:
        Turn.objects.bulk_create(missing, ignore_conflicts=True)
    if gone := set(known) - wanted:
        Turn.objects.filter(job=job.name, subject__in=gone).delete()
    return len(missing) + sum(due <= now for subject, due in known.items() if subject in wanted)


def turns_claim(job: Job, *, now: datetime, owner: str = "", most: int = 1) -> list[Turn]:
    """Up to `most` turns that are due and that no living worker holds, those that failed last; they are ours until their lease ends.

    A turn that was never finished by who held it before counts as a failure of it: what kills its worker comes last.
    """
    owner = owner or owner_name()
    with transaction.atomic():
        free = Turn.objects.filter(job=job.name, due_at__lte=now).exclude(lease_until__gt=now)
        turns = list(free.select_for_update(skip_locked=True).order_by("failures", "due_at", "pk")[:most])
        died = Case(When(owner="", then=F("failures")), default=F("failures") + Value(1))
        ours = Turn.objects.filter(pk__in=[turn.pk for turn in turns])
        ours.update(owner=owner, claimed_at=now, lease_until=now + job.lease, failures=died)
    for turn in turns:
        turn.failures += turn.owner != ""
        turn.owner, turn.lease_until = owner, now + job.lease
    return turns


def turn_claim(job: Job, *, now: datetime, owner: str = "") -> Turn | None:
    return next(iter(turns_claim(job, now=now, owner=owner)), None)


def turns_renew(job: Job, turns: Sequence[Turn], *, now: datetime) -> None:
    """Hold on to what is still ours, for work that takes longer than a lease."""
    for owner in {turn.owner for turn in turns}:
        own = [turn.pk for turn in turns if turn.owner == owner]
        Turn.objects.filter(pk__in=own, owner=owner, lease_until__gt=now).update(lease_until=now + job.lease)


def turn_finish(job: Job, turn: Turn, *, now: datetime, seconds: float, error: str = "") -> bool:
    """False when the turn is no longer ours: keep nothing then. Who made it due once more while it was worked on is not passed over.

    Call it first in the transaction that keeps the result: it locks the row, so nobody else can finish the same turn meanwhile.
    """
    ours = Turn.objects.filter(pk=turn.pk, owner=turn.owner, lease_until__gt=now)
    kept = {"owner": "", "lease_until": None, "seconds": seconds, "error": error[:400]}
    if error:
        wait = min(BACK_OFF * 2 ** min(turn.failures, 16), job.every)
        return bool(ours.update(**kept, failures=turn.failures + 1, due_at=next_due(turn, now + wait)))
    return bool(ours.update(**kept, failures=0, done_at=now, due_at=next_due(turn, job.next_turn(turn.subject, after=now))))


def next_due(turn: Turn, at: datetime) -> Case:
    """That moment, unless it was made due anew since it was claimed."""
    return Case(When(due_at=turn.due_at, then=Value(at)), default=F("due_at"))


def turns_wish(job: Job, subjects: Iterable[str], *, now: datetime) -> None:
    """Due now, new ones too: what they rest on was changed. One that waits keeps its place; one that is worked on comes once more."""
    wanted = list(subjects)
    Turn.objects.bulk_create([Turn(job=job.name, subject=subject, due_at=now) for subject in wanted], ignore_conflicts=True)
    late = Q(due_at__gt=now) | Q(lease_until__gt=now, due_at__lt=now)
    Turn.objects.filter(late, job=job.name, subject__in=wanted).update(due_at=now)


def turns_hurry(job: Job, subjects: Iterable[str], *, now: datetime, claimed_before: datetime | None = None) -> int:
    """Make them due now, where they are not yet and never failed: something changed, at `claimed_before`, that their result rests on."""
    turns = Turn.objects.filter(job=job.name, subject__in=list(subjects), due_at__gt=now, failures=0)
    return (turns if claimed_before is None else turns.filter(claimed_at__lt=claimed_before)).update(due_at=now)


def turn_early(turn: Turn, *, at: datetime) -> None:
    """The next turn of this subject comes at that moment if it would come later; for who has just finished it."""
    Turn.objects.filter(pk=turn.pk, due_at__gt=at).update(due_at=at)


def turns_free(*, host: str, now: datetime, alive: Callable[[int], bool]) -> int:
    """Give back what dead processes of this machine held; a worker does so when it starts."""
    freed = 0
    for pk, owner in Turn.objects.filter(lease_until__gt=now, owner__startswith=f"{host}:").values_list("pk", "owner"):
        pid = owner.removeprefix(f"{host}:").split("/")[0]
        if pid.isdigit() and not alive(int(pid)):
            freed += Turn.objects.filter(pk=pk, owner=owner).update(lease_until=now)
    return freed


def owner_name() -> str:
    """Used for one claim only: two claims of one process are two owners."""
    return f"{socket.gethostname()}:{os.getpid()}/{uuid4().hex[:12]}"


Keep = Callable[[], None]  # writes a result
Load = Callable[[Sequence[Turn], datetime], Callable[[Turn], Keep]]  # reads for several turns at once; what it returns computes one


def turns_work(job: Job, load: Load, *, clock: Callable[[], datetime], budget_seconds: float, batch: int = 1) -> tuple[int, int]:
    """Claim and do turns until none is due or the time is spent. Returns how many were done and how many failed.

    `batch` turns are claimed together, so that `load` can read for all of them in few queries; each is then computed and kept by itself.
    """
    began, done, failed = time.monotonic(), 0, 0
    while time.monotonic() - began < budget_seconds:
        turns = turns_claim(job, now=clock(), most=batch)
        if not turns:
            break
        good = batch_do(job, turns, load, clock=clock)
        done, failed = done + good, failed + len(turns) - good
    return done, failed


def batch_do(job: Job, turns: Sequence[Turn], load: Load, *, clock: Callable[[], datetime]) -> int:
    """How many of them were done."""
    began, renewed = time.monotonic(), clock()
    try:
        work = load(turns, renewed)
    except Exception as problem:  # one of them spoils the reading of all: each is tried alone, so that only it fails
        if len(turns) == 1:
            return int(turn_failed(job, turns[0], problem, now=clock(), seconds=time.monotonic() - began))
        return sum(batch_do(job, [turn], load, clock=clock) for turn in turns)
    good = 0
    for place, turn in enumerate(turns):
        if clock() - renewed > job.lease / 3:
            renewed = clock()
            turns_renew(job, turns[place:], now=renewed)
        good += turn_do(job, turn, work, clock=clock)
    return good


def turn_do(job: Job, turn: Turn, work: Callable[[Turn], Keep], *, clock: Callable[[], datetime]) -> bool:
    began = time.monotonic()
    try:
        keep = work(turn)
        with transaction.atomic():
            if turn_finish(job, turn, now=clock(), seconds=time.monotonic() - began):
                keep()
    except Exception as problem:
        return turn_failed(job, turn, problem, now=clock(), seconds=time.monotonic() - began)
    return True


def turn_failed(job: Job, turn: Turn, problem: Exception, *, now: datetime, seconds: float) -> bool:
    """Recorded in the row; it comes again after a while."""
    log.error("turn failed", job=job.name, subject=turn.subject, exc_info=problem)
    turn_finish(job, turn, now=now, seconds=seconds, error=f"{type(problem).__name__}: {problem}")
    return False

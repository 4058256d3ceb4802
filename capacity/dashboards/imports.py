"""An import as people follow it: progress, one cell per day, what slowed it; start, pause, resume, retry."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST

from capacity.dashboards import words
from capacity.dashboards.forms.sources import ImportForm
from capacity.dashboards.replies import complain, guarded, toast
from monitoring.access import actor_of, audit, import_get, source_get
from monitoring.models import ChunkState, ImportChunk, ImportRun, RunState, Source
from monitoring.sources.imports import import_pause, import_resume, import_start

OPEN = (RunState.WAITING, RunState.RUNNING, RunState.PAUSED)
SETTLED = (ChunkState.STORED, ChunkState.PARTIAL, ChunkState.EMPTY, ChunkState.FAILED)
WORDS = {
    "done": "stored",
    "part": "stored in part",
    "miss": "the source has no data",
    "fail": "failed",
    "busy": "being read",
    "": "waiting",
}


IMPORT_DAYS = 28


def days_there(finding: Mapping[str, Any]) -> int:
    """How many days to offer: four weeks, or what the source has."""
    days = finding.get("history_days")
    return IMPORT_DAYS if days is None else max(1, min(IMPORT_DAYS, math.ceil(days)))


@dataclass(frozen=True)
class Day:
    """One cell; mark: done, part, miss, fail, busy or nothing while it waits."""

    day: date
    mark: str
    samples: int = 0
    error: str = ""

    @property
    def word(self) -> str:
        return WORDS[self.mark]


@dataclass(frozen=True)
class ImportFacts:
    run: ImportRun
    days: tuple[Day, ...]  # oldest first
    left_seconds: float | None

    @property
    def open(self) -> bool:
        return self.run.state in OPEN

    @property
    def settled(self) -> int:
        return sum(day.mark in ("done", "part", "miss", "fail") for day in self.days)

    @property
    def failed(self) -> list[Day]:
        return [day for day in self.days if day.mark == "fail"]

    @property
    def notable(self) -> list[Day]:
        return [day for day in self.days if day.mark in ("part", "miss", "fail")]

    @property
    def percent(self) -> int:
        return 100 * self.settled // len(self.days) if self.days else 0

    @property
    def progress(self) -> str:
        return f"{self.settled} of {words.count(len(self.days), 'day')}"

    @property
    def left_text(self) -> str:
        if self.left_seconds is None:
            return ", waiting for a worker" if self.run.state == RunState.WAITING else ""
        return f", about {words.span(max(60.0, self.left_seconds))} left" if self.left_seconds >= 30 else ", nearly done"

    @property
    def samples_text(self) -> str:
        return f"{words.figure(float(self.run.samples))} samples"


def import_facts(source: Source, *, now: datetime) -> ImportFacts | None:
    """The newest import of the source: two queries."""
    run = source.imports.order_by("-created_at").first()
    if run is None:
        return None
    days = days_of(list(run.chunks.order_by("start_at")))
    return ImportFacts(run, days, seconds_left(run, days=days, now=now))


def days_of(chunks: Sequence[ImportChunk]) -> tuple[Day, ...]:
    by_day: dict[date, list[ImportChunk]] = {}
    for chunk in chunks:
        by_day.setdefault(chunk.start_at.date(), []).append(chunk)
    return tuple(day_of(day, chunks=parts) for day, parts in sorted(by_day.items()))


def day_of(day: date, *, chunks: Sequence[ImportChunk]) -> Day:
    samples = sum(chunk.samples for chunk in chunks)
    error = next((chunk.error for chunk in chunks if chunk.error), "")
    return Day(day, mark_of(Counter(chunk.state for chunk in chunks)), samples, error)


def mark_of(states: Counter[str]) -> str:
    if states[ChunkState.FAILED]:
        return "fail"
    if states[ChunkState.RUNNING]:
        return "busy"
    kinds = set(states)
    if kinds <= {ChunkState.WAITING}:
        return ""
    if kinds <= {ChunkState.EMPTY}:
        return "miss"
    return "done" if kinds <= {ChunkState.STORED} else "part"


def seconds_left(run: ImportRun, *, days: Sequence[Day], now: datetime) -> float | None:
    """From the mean pace so far; None before the first day is in, or when it does not run."""
    settled = sum(day.mark in ("done", "part", "miss", "fail") for day in days)
    if run.state != RunState.RUNNING or settled == 0:
        return None
    pace = (now - run.created_at) / settled
    return max(timedelta(0), pace * (len(days) - settled)).total_seconds()


@guarded
@require_POST
def source_import(request: HttpRequest, *, pk: int) -> HttpResponse:
    actor = actor_of(request)
    source = source_get(actor, pk)
    form = ImportForm(request.POST if "days" in request.POST else {"days": days_there(source.finding)})
    if not form.is_valid():
        complain(request, "Choose between 1 and 90 days.")
    elif source.imports.filter(state__in=OPEN).exists():
        complain(request, "An import of this source is running already.")
    else:
        days = form.cleaned_data["days"]
        import_start(source, days=days, user=actor.user, now=timezone.now())
        audit(actor, "source.import", f"source {source.name}", after={"days": days}, request=request)
        toast(request, f"Importing {words.count(days, 'day')} of {source.name}. You can leave this page.")
    return redirect(back(request, source))


@guarded
@require_POST
def import_change(request: HttpRequest, *, pk: int, verb: str) -> HttpResponse:
    actor = actor_of(request)
    run = import_get(actor, pk)
    text = import_do(run, verb=verb)
    audit(actor, f"import.{verb}", f"source {run.source.name}", request=request)
    toast(request, text)
    return redirect(back(request, run.source))


def import_do(run: ImportRun, *, verb: str) -> str:
    if verb == "pause":
        import_pause(run)
        return "Import paused. What is stored stays."
    if verb == "resume":
        import_resume(run)
        return "Import goes on."
    if verb == "retry":
        return retry(run)
    raise Http404("There is no such page.")


def retry(run: ImportRun) -> str:
    """Failed days wait again; the run opens again unless a newer one is open."""
    with transaction.atomic():
        Source.objects.select_for_update().get(pk=run.source_id)
        if ImportRun.objects.filter(source=run.source_id, state__in=OPEN).exclude(pk=run.pk).exists():
            return "A newer import of this source runs already; it asks for the same days."
        failed = run.chunks.filter(state=ChunkState.FAILED)
        count = failed.update(state=ChunkState.WAITING, attempts=0, error="", run_after=timezone.now())
        if count:
            ImportRun.objects.filter(pk=run.pk).update(state=RunState.RUNNING, error="", finished_at=None, rolled_up_at=None)
    return f"{words.count(count, 'failed day')} asked again."


def back(request: HttpRequest, source: Source) -> str:
    """Setup when the button stood there, else the source's own page."""
    return "/setup/" if request.POST.get("next") == "setup" else f"/sources/{source.pk}/#import"

"""Status: is Headroom itself well? Lag, watermarks, queues, sizes, last runs. A fixed number of queries."""

import platform
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import django
from django.conf import settings
from django.db import connection
from django.db.models import Count, Min, Q, Sum
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET

from capacity.dashboards.health import QUEUE, Loop, job_loop, queue_loop, rollup_loop, schedule, source_loop, troubles_told
from capacity.dashboards.replies import guarded, show
from monitoring.access import actor_of
from monitoring.models import (
    KNOWN,
    Agent,
    ChunkState,
    Deployment,
    DeploymentState,
    DirtyWindow,
    FillState,
    Heartbeat,
    ImportChunk,
    JobSlot,
    RunState,
    Source,
    settings_get,
)
from monitoring.series.sizes import TableSize, database_bytes, sizes_load

FRESH = timedelta(minutes=10)


@dataclass(frozen=True)
class Job:
    """One scheduled job: its last run and its last good one."""

    name: str
    every_seconds: float
    last: JobSlot | None
    good_at: datetime | None
    stale: bool

    @property
    def state(self) -> str:
        if self.last is None:
            return "waiting"
        return "failed" if self.last.error else "stale" if self.stale else "ok"


@dataclass(frozen=True)
class Fill:
    table: str
    end_time: datetime
    lag_seconds: float
    late: bool


@dataclass(frozen=True)
class SourceLag:
    source: Source
    lag_seconds: float | None
    late: bool
    fresh: int  # deployments of its cluster with data in the last ten minutes
    active: int


@dataclass(frozen=True)
class LevelSize:
    """All families of one resolution together, and how long it is kept."""

    name: str
    bytes: int
    rows: float
    partitions: int
    kept: str


@guarded
@require_GET
def status(request: HttpRequest) -> HttpResponse:
    context = facts(now=timezone.now(), admin=actor_of(request).admin)
    template = "status/live.html" if request.headers.get("HX-Request") else "status/status.html"
    return show(request, template, context)


def facts(*, now: datetime, admin: bool) -> dict[str, Any]:
    jobs, beats = jobs_load(now=now)
    sources, fills = sources_load(now=now), fills_load(now=now)
    return {
        "now": now,
        "jobs": jobs,
        "queues": queues_of(beats, now=now),
        "sources": sources,
        "fills": fills,
        "work": work_load(now=now),
        "agents": agents_load(now=now),
        "sizes": levels_of(sizes_load(), kept=kept_load()),
        "database_bytes": database_bytes(),
        "versions": versions(),
        "admin": admin,
        "problems": problems(jobs=jobs, sources=sources, fills=fills, queues=queues_of(beats, now=now), now=now),
    }


def jobs_load(*, now: datetime) -> tuple[list[Job], dict[str, Heartbeat]]:
    """Two queries, however many jobs and slots there are."""
    plan = schedule()
    beats = {beat.name: beat for beat in Heartbeat.objects.all()}
    newest = [JobSlot.objects.filter(job=name).order_by("-slot_time")[:1] for name in plan]
    last = {slot.job: slot for slot in newest[0].union(*newest[1:], all=True)} if newest else {}
    return [job_of(name, every_seconds=every, last=last.get(name), beat=beats.get(name), now=now) for name, every in plan.items()], beats


def job_of(name: str, *, every_seconds: float, last: JobSlot | None, beat: Heartbeat | None, now: datetime) -> Job:
    good_at = beat.at if beat else None
    since = good_at or (last.slot_time if last else None)
    stale = since is not None and job_loop(name, since, every_seconds=every_seconds).late(now=now)
    return Job(name, every_seconds, last, good_at, stale)


def queues_of(beats: Mapping[str, Heartbeat], *, now: datetime) -> list[tuple[str, Heartbeat, bool]]:
    """(queue, its last canary, stale): a stale one has no worker."""
    named = [(name.removeprefix(QUEUE), beat) for name, beat in sorted(beats.items()) if name.startswith(QUEUE)]
    return [(name, beat, queue_loop(name, beat.at).late(now=now)) for name, beat in named]


def sources_load(*, now: datetime) -> list[SourceLag]:
    """Two queries, however many sources and deployments there are."""
    fresh = Count("pk", filter=Q(last_seen_at__gte=now - FRESH))
    rows = Deployment.objects.filter(state=DeploymentState.ACTIVE).order_by().values("cluster").annotate(active=Count("pk"), fresh=fresh)
    seen = {row["cluster"]: (row["fresh"], row["active"]) for row in rows}
    return [source_lag(source, seen=seen.get(source.cluster_id, (0, 0)), now=now) for source in Source.objects.filter(demo=False)]


def source_lag(source: Source, *, seen: tuple[int, int], now: datetime) -> SourceLag:
    lag = (now - source.watermark).total_seconds() if source.watermark else None
    loop = source_loop_of(source)
    return SourceLag(source, lag, late=source.enabled and loop is not None and loop.late(now=now), fresh=seen[0], active=seen[1])


def fills_load(*, now: datetime) -> list[Fill]:
    return [fill_of(state, now=now) for state in FillState.objects.order_by("table")]


def fill_of(state: FillState, *, now: datetime) -> Fill:
    lag = (now - state.end_time).total_seconds()
    return Fill(state.table, state.end_time, lag, late=rollup_loop(state.table, state.end_time).late(now=now))


def work_load(*, now: datetime) -> dict[str, Any]:
    """What waits and what is being worked on. Three queries."""
    open_run = Q(run__state__in=(RunState.WAITING, RunState.RUNNING))
    chunks = ImportChunk.objects.aggregate(
        waiting=Count("pk", filter=open_run & Q(state=ChunkState.WAITING)),
        running=Count("pk", filter=Q(state=ChunkState.RUNNING, lease_until__gt=now)),
        failed=Count("pk", filter=open_run & Q(state=ChunkState.FAILED)),
    )
    dirty = DirtyWindow.objects.aggregate(windows=Count("pk"), oldest=Min("created_at"))
    polls = Source.objects.filter(demo=False).aggregate(
        held=Count("pk", filter=Q(lease_until__gt=now)), due=Count("pk", filter=Q(enabled=True, next_poll_at__lte=now))
    )
    return {"chunks": chunks, "dirty": dirty, "polls": polls}


def agents_load(*, now: datetime) -> dict[str, Any]:
    """How many agents send, and the oldest reading that waits for us. Four queries."""
    real = Agent.objects.filter(node__cluster__demo=False)
    waiting = real.aggregate(readings=Sum("waiting_count"), oldest=Min("waiting_since", filter=Q(waiting_count__gt=0)))
    return {**real.state_counts(now=now), **waiting}


def kept_load() -> dict[str, str]:
    """Setting name -> "14 days", the stored value or the default. One query."""
    names = [name for name in KNOWN if name.startswith("retention_")]
    return {name: f"{value:g} {KNOWN[name].unit}" for name, value in settings_get(*names).items()}


def levels_of(sizes: Sequence[TableSize], *, kept: Mapping[str, str]) -> list[LevelSize]:
    rows: dict[str, list[TableSize]] = {}
    for size in sizes:
        rows.setdefault(size.level.name, []).append(size)
    return [level_of(parts, kept=kept) for parts in rows.values()]


def level_of(parts: Sequence[TableSize], *, kept: Mapping[str, str]) -> LevelSize:
    level = parts[0].level
    return LevelSize(
        name={"sample": "raw", "5m": "5 min", "15m": "15 min", "1h": "1 h", "1d": "1 d"}[level.name],
        bytes=sum(part.bytes for part in parts),
        rows=sum(part.rows for part in parts),
        partitions=sum(part.partitions for part in parts),
        kept=kept.get(level.setting, "for ever"),
    )


@cache
def headroom_version() -> str:
    return str(tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text())["project"]["version"])


def versions() -> list[tuple[str, str]]:
    postgres = f"{connection.pg_version // 10000}.{connection.pg_version % 10000}"  # type: ignore[attr-defined]
    python = platform.python_version()
    return [("Headroom", headroom_version()), ("Postgres", postgres), ("Python", python), ("Django", django.get_version())]


def problems(
    *,
    jobs: Sequence[Job],
    sources: Sequence[SourceLag],
    fills: Sequence[Fill],
    queues: Sequence[tuple[str, Heartbeat, bool]],
    now: datetime,
) -> list[str]:
    """Sentences for the red banner, the same as in the shell of every other page; none of them on a healthy install."""
    loops = [queue_loop(name, beat.at) for name, beat, _ in queues]
    loops += [job_loop(job.name, job.good_at, every_seconds=job.every_seconds) for job in jobs if job.good_at]
    loops += [loop for row in sources if row.source.enabled and (loop := source_loop_of(row.source)) is not None]
    loops += [rollup_loop(fill.table, fill.end_time) for fill in fills]
    return troubles_told(loops, now=now)


def source_loop_of(source: Source) -> Loop | None:
    return source_loop(source.name, source.watermark, step_seconds=source.step_seconds) if source.watermark else None

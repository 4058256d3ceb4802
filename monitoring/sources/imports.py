"""Bringing in history: one-day chunks, newest first, gentle to the Prometheus, stopped and continued at any moment.

The newest 24 hours come as raw rows through the poll path, older days as five-minute rows. A chunk is a row with a
lease: killed in the middle it is done again from its start, and writing the same rows twice changes nothing.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.models import F, Q, Sum

from monitoring.catalog.records import Entity, System
from monitoring.ingest import histograms_ingest, rollups_ingest
from monitoring.models import ChunkState, ImportChunk, ImportRun, RunState, Source, User
from monitoring.prometheus import Over, Overloaded, Prometheus, PrometheusError
from monitoring.rollups import rollups_hold
from monitoring.sources.connect import client_of
from monitoring.sources.discover import scale_update, span_understand, upkeep
from monitoring.sources.gather import EVERY_SECONDS, Span, asks_of, span_gather, systems_present
from monitoring.sources.layout import Laid, entity_table, histograms_of, replica_table, table_rollups
from monitoring.sources.lease import LEASE, Clock, Lease, LeaseLost, lease_token
from monitoring.sources.poll import laid_store, poll_end, providers_record
from monitoring.sources.roster import roster_load
from monitoring.sources.scrapes import gained_systems, is_uneven, rate_window, rate_windows, scrapes_measure
from monitoring.sources.states import back_off
from monitoring.store.records import Written

DAY = timedelta(days=1)
FIVE_MINUTES = 300.0
MOST_AT_ONCE = 2  # chunks of one source that run at the same time
MOST_ATTEMPTS = 5
RAW_STEPS = 240  # of one raw query
LEAST_HOURS = 1.0  # a stretch is not split further
OPEN = (RunState.WAITING, RunState.RUNNING, RunState.PAUSED)
FINAL = (ChunkState.STORED, ChunkState.PARTIAL, ChunkState.EMPTY, ChunkState.FAILED)


@dataclass
class Brought:
    """What a chunk brought so far."""

    samples: int = 0
    queries: int = 0
    failed: list[str] = field(default_factory=list)
    slowdowns: int = 0
    deployments: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Errand:
    """One chunk under way: whom to ask, for what, and where the results are counted."""

    source: Source
    client: Prometheus
    names: Collection[str]
    systems: Sequence[System]
    scrapes: Mapping[str, float]
    brought: Brought
    lease: Lease


def import_start(source: Source, *, days: int, user: User | None, now: datetime) -> ImportRun:
    """Plan an import that ends where polling goes on; an import that is still open is returned as it is."""
    if not 1 <= days <= 400:
        raise ValueError(f"an import brings 1 to 400 days, got {days}")
    with transaction.atomic():
        source = Source.objects.select_for_update().get(pk=source.pk)
        known = ImportRun.objects.filter(source=source, state__in=OPEN).first()
        if known is not None:
            return known
        end = source.watermark or datetime.fromtimestamp(poll_end(source, now=now), tz=UTC)
        if source.watermark is None:
            Source.objects.filter(pk=source.pk).update(watermark=end)
        run = ImportRun.objects.create(source=source, days=days, end_at=end, started_by=user)
        first = (end - DAY).replace(minute=0, second=0, microsecond=0)
        spans = [(first, end), *((first - DAY * n, first - DAY * (n - 1)) for n in range(1, days))]
        ImportChunk.objects.bulk_create(ImportChunk(run=run, start_at=start, end_at=stop, run_after=now) for start, stop in spans)
    return run


def import_pause(run: ImportRun) -> bool:
    """No new chunk begins; one that runs is finished. False when the run is over already."""
    return ImportRun.objects.filter(pk=run.pk, state__in=(RunState.WAITING, RunState.RUNNING)).update(state=RunState.PAUSED) == 1


def import_resume(run: ImportRun) -> bool:
    return ImportRun.objects.filter(pk=run.pk, state=RunState.PAUSED).update(state=RunState.RUNNING) == 1


def import_claim(*, now: datetime, owner: str) -> ImportChunk | None:
    """The newest chunk that waits, or whose worker died, leased to `owner`; None when there is none, or enough run already."""
    lost = Q(state=ChunkState.RUNNING, lease_until__lte=now)
    waiting = Q(state=ChunkState.WAITING, run_after__lte=now)
    with transaction.atomic():
        open_chunks = ImportChunk.objects.filter(lost | waiting, run__state__in=(RunState.WAITING, RunState.RUNNING))
        for chunk in open_chunks.select_for_update(skip_locked=True, of=("self",)).select_related("run").order_by("-start_at")[:50]:
            # One claim a source at a time: two that count at once would both find room.
            Source.objects.select_for_update().get(pk=chunk.run.source_id)
            busy = ImportChunk.objects.filter(run__source=chunk.run.source_id, state=ChunkState.RUNNING, lease_until__gt=now)
            if busy.count() >= MOST_AT_ONCE:
                continue
            chunk.state, chunk.attempts = ChunkState.RUNNING, chunk.attempts + 1
            chunk.lease_owner, chunk.lease_until = lease_token(owner), now + LEASE
            chunk.save(update_fields=["state", "attempts", "lease_owner", "lease_until"])
            ImportRun.objects.filter(pk=chunk.run_id, state=RunState.WAITING).update(state=RunState.RUNNING)
            return chunk
    return None


def chunk_run(chunk: ImportChunk, *, now: datetime, owner: str) -> ChunkState:
    """Bring in a chunk that `owner` claimed. Whatever happens, the chunk ends in a state that says so."""
    clock = Clock(now)
    lease = Lease.adopt(chunk, clock=clock)
    brought = Brought()
    if not chunk.lease_owner.startswith(f"{owner[:40]}/"):
        return ChunkState(chunk.state)
    try:
        lease.write(lease_until=now + LEASE)
        chunk_bring(chunk, brought=brought, lease=lease)
    except LeaseLost:
        return ChunkState.RUNNING
    except PrometheusError as error:
        return chunk_failed(chunk, error, brought=brought, lease=lease)
    return chunk_finish(chunk, brought=brought, lease=lease)


def chunk_bring(chunk: ImportChunk, *, brought: Brought, lease: Lease) -> None:
    source = Source.objects.select_related("cluster").get(pk=chunk.run.source_id)
    client = client_of(source)
    start, end = chunk.start_at.timestamp(), chunk.end_at.timestamp()
    names = client.names(start=start, end=end)
    systems = systems_present(names)
    brought.queries += 1
    if not systems:
        return
    # In the past the scrapes may have come at another pace than today's.
    then = scrapes_measure(client, systems=systems, names=names, moments=(start + 3600.0, end))
    errand = Errand(source, client, names, systems, {**source.scrape_seconds, **then}, brought, lease)
    for span in spans_of(errand, start=start, end=end, raw=chunk.end_at == chunk.run.end_at):
        span_bring(errand, span=span)
    if brought.deployments:
        hour = timedelta(hours=1)
        scale_update(brought.deployments, start=chunk.start_at, end=min(chunk.end_at + hour, chunk.run.end_at))


def spans_of(errand: Errand, *, start: float, end: float, raw: bool) -> Iterator[Span]:
    """The stretches of a chunk, newest first: its grid points lie in (start, end]."""
    step = float(errand.source.step_seconds) if raw else FIVE_MINUTES
    uneven = [] if raw else [slug for slug, scrape in errand.scrapes.items() if is_uneven(step, scrape_seconds=scrape)]
    gained = gained_systems(step, scrapes=errand.scrapes) if raw else []
    windows = rate_windows(step, scrapes=errand.scrapes, systems=errand.systems)
    windows |= {slug: rate_window(EVERY_SECONDS, scrape_seconds=errand.scrapes[slug]) for slug in uneven}
    length = step * (RAW_STEPS if raw else round((end - start) / step))
    while end - start >= step:
        first = max(start + step, end - length + step)
        yield Span(first, end, step, windows, rollup=not raw, averaged=uneven, gained=gained)
        end = first - step


def span_bring(errand: Errand, *, span: Span) -> None:
    """Gather and store one stretch; where it is too much for one query, its halves."""
    client, names, brought, lease = errand.client, errand.names, errand.brought, errand.lease
    asks = asks_of(errand.systems, names=names, rollup=span.rollup)
    try:
        gathered = span_gather(client, asks=asks, names=names, span=span, beat=lease.renew)
    except Overloaded as error:
        halves = span_halves(span)
        if halves is None or error.retry_after_seconds is not None:
            raise
        brought.slowdowns += 1
        for half in halves:
            span_bring(errand, span=half)
        return
    brought.queries += gathered.queries
    brought.failed += [f"{ask.words} ({error})" for ask, error in gathered.failed]
    roster = roster_load(errand.source, systems=errand.systems, since=datetime.fromtimestamp(span.start, tz=UTC))
    laid, facts, _ = span_understand(gathered, client=client, roster=roster, names=names, full=True, live=False)
    now = lease.clock.now()
    written = rollups_store(laid, source=errand.source, now=now) if span.rollup else laid_store(laid, now=now)
    brought.samples += written.written + written.unchanged
    brought.deployments |= set(upkeep(gathered, laid=laid, facts=facts, names=names, live=False).deployments)
    lease.renew()


def span_halves(span: Span) -> tuple[Span, Span] | None:
    """The newer and the older half; None where the stretch is short already."""
    steps = len(span.times)
    if steps < 2 or steps * span.step <= LEAST_HOURS * 3600:
        return None
    middle = span.start + span.step * (steps // 2)
    return (
        replace(span, start=middle),
        replace(span, end=middle - span.step),
    )


def rollups_store(laid: Laid, *, source: Source, now: datetime) -> Written:
    """Five-minute rows of a span; each stands for as many raw rows as polling would have written."""
    samples = max(1, round(FIVE_MINUTES / source.step_seconds))
    written = Written()
    for entity in (Entity.DEPLOYMENT, Entity.ACCELERATOR, Entity.NODE):
        tables = {over: entity_table(laid, entity=entity, over=over, now=now) for over in (Over.AVG, Over.MIN, Over.MAX)}
        written += rollups_ingest(table_rollups(tables, entity=entity, laid=laid, samples=samples), now=now)
        providers_record(tables[Over.AVG], entity=entity)
    tables = {over: replica_table(laid, over=over) for over in (Over.AVG, Over.MIN, Over.MAX)}
    written += rollups_ingest(table_rollups(tables, entity=Entity.REPLICA, laid=laid, samples=samples), now=now)
    for histograms in histograms_of(laid):
        written += histograms_ingest(histograms, table="5m", now=now)
    return written


# The end of a chunk


def chunk_finish(chunk: ImportChunk, *, brought: Brought, lease: Lease) -> ChunkState:
    state = ChunkState.PARTIAL if brought.failed else ChunkState.STORED if brought.samples else ChunkState.EMPTY
    if brought.failed and chunk.attempts < MOST_ATTEMPTS:
        return chunk_again(chunk, text=brought.failed[0], wait=timedelta(seconds=15 * chunk.attempts), brought=brought, lease=lease)
    text = "; ".join(brought.failed[:3])
    return chunk_close(chunk, state=state, text=text, brought=brought, lease=lease)


def chunk_failed(chunk: ImportChunk, error: PrometheusError, *, brought: Brought, lease: Lease) -> ChunkState:
    """A source that is busy or away is waited for without end; one that answers wrongly is given up after some attempts."""
    patient = isinstance(error, Overloaded) or chunk.attempts < MOST_ATTEMPTS
    brought.slowdowns += isinstance(error, Overloaded)
    if patient:
        return chunk_again(chunk, text=str(error), wait=back_off(error, failures=chunk.attempts), brought=brought, lease=lease)
    return chunk_close(chunk, state=ChunkState.FAILED, text=str(error), brought=brought, lease=lease)


def chunk_again(chunk: ImportChunk, *, text: str, wait: timedelta, brought: Brought, lease: Lease) -> ChunkState:
    counts_add(chunk, brought=brought, text=text)
    lease.release(state=ChunkState.WAITING, run_after=lease.clock.now() + wait, error=text)
    return ChunkState.WAITING


def chunk_close(chunk: ImportChunk, *, state: ChunkState, text: str, brought: Brought, lease: Lease) -> ChunkState:
    """The chunk's end and the run's progress are one transaction."""
    with transaction.atomic():
        lease.release(state=state, samples=brought.samples, error=text)
        counts_add(chunk, brought=brought, text=text if brought.slowdowns else "")
        run = ImportRun.objects.select_for_update().get(pk=chunk.run_id)
        chunks = run.chunks.all()
        run.samples = chunks.aggregate(total=Sum("samples"))["total"] or 0
        if not chunks.exclude(state__in=FINAL).exists():
            run.finished_at = lease.clock.now()
            run.state = run_end(chunks.values_list("state", flat=True))
            run.error = text if run.state == RunState.FAILED else ""
        run.save(update_fields=["samples", "state", "finished_at", "error"])
    return state


def imports_roll_up(*, now: datetime) -> int:
    """Note which finished imports stand in the rollups by now. Returns how many. One query when none waits for it."""
    waiting = ImportRun.objects.filter(state=RunState.DONE, rolled_up_at=None, finished_at__lte=now)
    held = [run.pk for run in waiting if run.finished_at and rollups_hold(written_by=run.finished_at, until=run.end_at)]
    return ImportRun.objects.filter(pk__in=held, state=RunState.DONE).update(rolled_up_at=now) if held else 0


def run_end(states: Collection[str]) -> RunState:
    """A run fails only when no chunk could be read."""
    return RunState.FAILED if all(state == ChunkState.FAILED for state in states) else RunState.DONE


def counts_add(chunk: ImportChunk, *, brought: Brought, text: str) -> None:
    fields = {"queries": F("queries") + brought.queries, "slowdowns": F("slowdowns") + brought.slowdowns}
    if brought.slowdowns:
        ImportRun.objects.filter(pk=chunk.run_id).update(**fields, slowdown_text=text[:200])
    else:
        ImportRun.objects.filter(pk=chunk.run_id).update(**fields)

"""The poll cycle: from the watermark to now less two scrape intervals, whole rows, written once, the last three steps asked again.

The watermark moves only after the rows are committed, and only while the lease is ours; asking a stretch twice writes
the same rows. So a crash anywhere costs a repetition, never a hole or a double.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from django.db.models import Q

from monitoring.catalog.records import Entity, System
from monitoring.catalog.systems import SYSTEMS
from monitoring.ingest import histograms_ingest, rows_ingest
from monitoring.models import Accelerator, Deployment, Node, Source, SourceState
from monitoring.prometheus import Over, Prometheus, PrometheusError
from monitoring.sources.assemble import Table
from monitoring.sources.connect import client_of
from monitoring.sources.discover import ROSTER_DAYS, scale_update, span_understand, upkeep
from monitoring.sources.gather import Gathered, Span, asks_of, span_gather, systems_present
from monitoring.sources.identity import Facts
from monitoring.sources.layout import Laid, entity_table, histograms_of, replica_table, table_rows
from monitoring.sources.lease import Clock, Lease, LeaseLost, lease_token
from monitoring.sources.roster import roster_load
from monitoring.sources.scrapes import gained_systems, own_scrapes, rate_windows, scrapes_measure
from monitoring.sources.states import Condition, back_off, condition_fields, condition_of
from monitoring.store.records import Written

AGAIN_STEPS = 3  # asked again: late samples, edges of rate(); more where a system is scraped more slowly than the step
MOST_AGAIN = 40
FIRST_LOOK = timedelta(minutes=15)  # a source without a watermark begins here; history comes by import
LONGEST_CATCH_UP = timedelta(days=7)  # after a longer outage the older part is for an import
MOST_STEPS = 120  # of one pass; longer stretches are read in several
CYCLE_SECONDS = 40.0  # then the next cycle goes on
DISCOVER_EVERY = timedelta(minutes=5)
MOST_PARTIAL = 5  # cycles in a row in which a failing series may hold the watermark
SCALE_LOOK = timedelta(minutes=30)


@dataclass(frozen=True)
class Polled:
    """What a cycle did."""

    state: SourceState
    text: str
    written: Written = Written()
    queries: int = 0
    seconds: float = 0.0
    watermark: datetime | None = None


def sources_due(*, now: datetime) -> list[Source]:
    """Sources whose next poll has come and that nobody has a lease on, the most overdue first."""
    free = Q(lease_until__isnull=True) | Q(lease_until__lte=now)
    rows = Source.objects.filter(free, enabled=True, demo=False, next_poll_at__lte=now)
    return list(rows.exclude(state=SourceState.PAUSED).order_by("next_poll_at", "pk"))


def source_poll(source: Source, *, now: datetime, owner: str) -> Polled | None:
    """One cycle; None when another worker has the source or it is not due."""
    clock = Clock(now)
    lease = Lease(source, token=lease_token(owner), clock=clock)
    if not lease.take(enabled=True, demo=False, next_poll_at__lte=now):
        return None
    source = Source.objects.select_related("cluster").get(pk=source.pk)
    try:
        return cycle(source, lease=lease)
    except LeaseLost as lost:
        return Polled(SourceState(source.state), str(lost))
    except PrometheusError as error:
        return source_failed(source, error, lease=lease)


def source_failed(source: Source, error: PrometheusError, *, lease: Lease) -> Polled:
    """Say so, and come back later; the watermark stays, so what is missed now is read then."""
    now = lease.clock.now()
    condition = condition_of(error)
    failures = source.failures + 1
    lease.release(
        **condition_fields(source, condition, now=now),
        failures=failures,
        polled_at=now,
        next_poll_at=now + back_off(error, failures=failures),
    )
    return Polled(condition.state, condition.text, seconds=lease.clock.seconds)


def poll_end(source: Source, *, now: datetime) -> float:
    """The newest grid point to read: two scrapes of the fastest system ago. Slower ones complete it when asked again."""
    scrapes = own_scrapes(source.scrape_seconds, systems=SYSTEMS.values())
    lag = 2 * min(scrapes, default=source.step_seconds / 2)
    return (now.timestamp() - lag) // source.step_seconds * source.step_seconds


def poll_start(source: Source, *, now: datetime) -> float:
    """The watermark: everything up to here is stored. Without one, a little while ago; after a long outage, a week."""
    step = source.step_seconds
    if source.watermark is None:
        return (now - FIRST_LOOK).timestamp() // step * step
    return max(source.watermark.timestamp(), (now - LONGEST_CATCH_UP).timestamp()) // step * step


def cycle(source: Source, *, lease: Lease) -> Polled:
    clock, client = lease.clock, client_of(source)
    names = client.names(start=poll_start(source, now=clock.start), end=clock.start.timestamp())
    systems = systems_present(names)
    if not systems:
        return cycle_empty(source, lease=lease)
    scrapes_known(source, client=client, systems=systems, names=names, now=clock.start)
    end, done = poll_end(source, now=clock.start), poll_start(source, now=clock.start)
    total, queries = Written(), 0
    failed: list[str] = []
    while done < end and clock.seconds < CYCLE_SECONDS and not failed:
        span = span_after(source, systems=systems, done=done, end=end)
        gathered, written = pass_run(source, client=client, span=span, systems=systems, names=names, lease=lease)
        failed = [f"{ask.words} ({error})" for ask, error in gathered.failed]
        total, queries = total + written, queries + gathered.queries
        if not failed or source.failures >= MOST_PARTIAL:
            done = span.end
            source.watermark = datetime.fromtimestamp(done, tz=UTC)
            lease.write(watermark=source.watermark)
    return cycle_finish(source, failed=failed, behind=done < end, polled=Polled(SourceState.OK, "", total, queries), lease=lease)


def span_after(source: Source, *, systems: Sequence[System], done: float, end: float) -> Span:
    """The next stretch; its first steps, up to the watermark, are asked again."""
    step = float(source.step_seconds)
    slowest = max(own_scrapes(source.scrape_seconds, systems=systems), default=0.0)
    again = min(max(AGAIN_STEPS, math.ceil(2 * slowest / step)), MOST_AGAIN)
    start = done + step if source.watermark is None else done - (again - 1) * step
    windows = rate_windows(step, scrapes=source.scrape_seconds, systems=systems)
    gained = gained_systems(step, scrapes=source.scrape_seconds)
    return Span(start, min(end, done + MOST_STEPS * step), step, windows, gained=gained)


def pass_run(
    source: Source, *, client: Prometheus, span: Span, systems: Sequence[System], names: Collection[str], lease: Lease
) -> tuple[Gathered, Written]:
    """Gather a span, understand it, store it, and now and then bring the inventory up to date."""
    now = lease.clock.now()
    asks = asks_of(systems, names=names, rollup=False)
    gathered = span_gather(client, asks=asks, names=names, span=span, beat=lease.renew)
    roster = roster_load(source, systems=systems, since=now - timedelta(days=ROSTER_DAYS))
    due = source.discovered_at is None or now - source.discovered_at >= DISCOVER_EVERY
    laid, facts, fresh = span_understand(gathered, client=client, roster=roster, names=names, full=due)
    written = laid_store(laid, now=now)
    if due or fresh:
        inventory_upkeep(source, gathered=gathered, laid=laid, facts=facts, names=names, now=now)
        lease.write(discovered_at=now)
        source.discovered_at = now
    return gathered, written


def inventory_upkeep(source: Source, *, gathered: Gathered, laid: Laid, facts: Facts, names: Collection[str], now: datetime) -> None:
    sights = upkeep(gathered, laid=laid, facts=facts, names=names, live=True)
    end = datetime.fromtimestamp(gathered.span.end, tz=UTC)
    start = datetime.fromtimestamp(gathered.span.start, tz=UTC)
    scale_update(sights.deployments, start=min(start, end - SCALE_LOOK), end=end)


def laid_store(laid: Laid, *, now: datetime) -> Written:
    """All rows of a span, each kind of entity once."""
    written = Written()
    for entity in (Entity.DEPLOYMENT, Entity.ACCELERATOR, Entity.NODE):
        table = entity_table(laid, entity=entity, over=Over.NOW, now=now)
        written += rows_ingest(table_rows(table, entity=entity, laid=laid), overwrite=True, now=now)
        providers_record(table, entity=entity)
    replicas = replica_table(laid, over=Over.NOW)
    written += rows_ingest(table_rows(replicas, entity=Entity.REPLICA, laid=laid), overwrite=True, now=now)
    for histograms in histograms_of(laid):
        written += histograms_ingest(histograms, table="sample", now=now)
    return written


PROVIDED: dict[Entity, type[Deployment] | type[Accelerator] | type[Node]] = {
    Entity.DEPLOYMENT: Deployment,
    Entity.ACCELERATOR: Accelerator,
    Entity.NODE: Node,
}


def providers_record(table: Table, *, entity: Entity) -> int:
    """Remember which system provides each column of each row. Returns how many rows changed."""
    told: dict[int, dict[str, str]] = {}
    for column, providers in table.providers.items():
        for owner, slug in providers.items():
            told.setdefault(owner, {})[column] = slug
    manager = PROVIDED[entity]._default_manager
    groups: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for pk, known in manager.filter(pk__in=told).values_list("pk", "providers"):
        merged = {**known, **told[pk]}
        if merged != known:
            groups.setdefault(tuple(sorted(merged.items())), []).append(pk)
    for pairs, ids in groups.items():
        manager.filter(pk__in=ids).update(providers=dict(pairs))
    return sum(len(ids) for ids in groups.values())


def scrapes_known(source: Source, *, client: Prometheus, systems: Sequence[System], names: Collection[str], now: datetime) -> None:
    """How often each system is scraped: measured once here, and again by every Test."""
    missing = [system for system in systems if system.slug not in source.scrape_seconds]
    found = scrapes_measure(client, systems=missing, names=names, moments=(now.timestamp(),)) if missing else {}
    if found:
        source.scrape_seconds = {**source.scrape_seconds, **found}
        source.scrape_interval_seconds = max(own_scrapes(source.scrape_seconds, systems=SYSTEMS.values()), default=None)
        Source.objects.filter(pk=source.pk).update(
            scrape_seconds=source.scrape_seconds, scrape_interval_seconds=source.scrape_interval_seconds
        )


def cycle_empty(source: Source, *, lease: Lease) -> Polled:
    now = lease.clock.now()
    text = f"{source.url} answers, but has no metric of a system Headroom knows; scrape a model server or DCGM exporter with it."
    condition = Condition(SourceState.EMPTY, text)
    next_at = now + timedelta(seconds=max(source.step_seconds, 60))
    lease.release(**condition_fields(source, condition, now=now), failures=0, polled_at=now, next_poll_at=next_at)
    return Polled(condition.state, text, seconds=lease.clock.seconds)


def cycle_finish(source: Source, *, failed: Sequence[str], behind: bool, polled: Polled, lease: Lease) -> Polled:
    now, seconds = lease.clock.now(), lease.clock.seconds
    condition = cycle_condition(source, failed=failed, behind=behind, seconds=seconds)
    step = timedelta(seconds=source.step_seconds)
    next_at = now if behind and not failed else max(now, lease.clock.start + step)
    lease.release(
        **condition_fields(source, condition, now=now),
        failures=source.failures + 1 if failed else 0,
        polled_at=now,
        poll_seconds=seconds,
        next_poll_at=next_at,
    )
    return replace(polled, state=condition.state, text=condition.text, seconds=seconds, watermark=source.watermark)


def cycle_condition(source: Source, *, failed: Sequence[str], behind: bool, seconds: float) -> Condition:
    if failed:
        more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        return Condition(SourceState.SLOW, f"{source.url} did not answer for {failed[0]}{more}; these are asked again.")
    if seconds > source.step_seconds and not behind:
        text = f"{source.url} needs {seconds:.0f} s for a cycle of {source.step_seconds} s; take a longer step."
        return Condition(SourceState.SLOW, text)
    if behind:
        return Condition(SourceState.OK, "Reading what was missed while the source was away.")
    return Condition(SourceState.OK, "")

"""What /metrics says of Headroom itself, made from the database on each scrape: any web process answers the same."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from celery import current_app
from django.conf import settings
from django.db import connection
from django.db.models import Count
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from monitoring.models import Deployment, DirtyWindow, FillState, Heartbeat, ImportChunk, JobSlot, Source

log = structlog.get_logger("headroom.web")
Points = Iterable[tuple[tuple[str, ...], float]]  # label values, number


@dataclass(frozen=True)
class Gauge:
    """One metric: its name, what it is, its labels, and where its numbers come from."""

    name: str
    help: str
    labels: tuple[str, ...]
    points: Callable[[datetime], Points]


def poll_lag(now: datetime) -> Points:
    for source in Source.objects.filter(enabled=True, demo=False).exclude(watermark=None):
        if source.watermark is not None:
            yield (source.name,), (now - source.watermark).total_seconds()


def source_up(now: datetime) -> Points:
    for source in Source.objects.filter(enabled=True, demo=False):
        yield (source.name,), float(source.state in ("ok", "slow"))


def rollup_lag(now: datetime) -> Points:
    for state in FillState.objects.order_by("table"):
        yield (state.table,), (now - state.end_time).total_seconds()


def job_last_run(now: datetime) -> Points:
    for beat in Heartbeat.objects.exclude(name__startswith="queue:"):
        yield (beat.name,), beat.at.timestamp()


def job_seconds(now: datetime) -> Points:
    for beat in Heartbeat.objects.filter(detail__has_key="seconds"):
        yield (beat.name,), float(beat.detail["seconds"])


def job_errors(now: datetime) -> Points:
    for row in JobSlot.objects.exclude(error="").values("job").annotate(count=Count("pk")).order_by("job"):
        yield (row["job"],), float(row["count"])


def canary_age(now: datetime) -> Points:
    for beat in Heartbeat.objects.filter(name__startswith="queue:"):
        yield (beat.name.removeprefix("queue:"),), (now - beat.at).total_seconds()


def queue_messages(now: datetime) -> Points:
    """Asked from the broker itself; where it does not answer there is no number, not a zero."""
    try:
        with current_app.connection_for_read(connect_timeout=2) as broker:
            channel: Any = broker.channel()
            names = [queue.name for queue in settings.CELERY_TASK_QUEUES]
            return [((name,), float(channel.queue_declare(name, passive=True).message_count)) for name in names]
    except Exception as error:  # each transport has its own; none may take the other numbers away
        log.warning("no queue lengths", error=str(error))
        return []


def import_chunks(now: datetime) -> Points:
    for row in ImportChunk.objects.values("state").annotate(count=Count("pk")).order_by("state"):
        yield (row["state"],), float(row["count"])


def dirty_windows(now: datetime) -> Points:
    yield (), float(DirtyWindow.objects.count())


def deployments(now: datetime) -> Points:
    for row in Deployment.objects.values("state").annotate(count=Count("pk")).order_by("state"):
        yield (row["state"],), float(row["count"])


def database_size(now: datetime) -> Points:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        row = cursor.fetchone()
    yield (), float(row[0]) if row else float("nan")


GAUGES = (
    Gauge("headroom_poll_lag_seconds", "Age of the newest stored step of a source.", ("source",), poll_lag),
    Gauge("headroom_source_up", "1 where the last poll of a source worked.", ("source",), source_up),
    Gauge("headroom_rollup_lag_seconds", "Age of the end of what a rollup has filled.", ("table",), rollup_lag),
    Gauge("headroom_job_last_success_timestamp_seconds", "When a job last ended well.", ("job",), job_last_run),
    Gauge("headroom_job_duration_seconds", "How long the last run of a job took.", ("job",), job_seconds),
    Gauge("headroom_job_errors", "Runs of a job that failed in the last two days.", ("job",), job_errors),
    Gauge("headroom_queue_canary_age_seconds", "Time since a worker last took the canary of a queue.", ("queue",), canary_age),
    Gauge("headroom_queue_messages", "Messages waiting in a queue of the broker.", ("queue",), queue_messages),
    Gauge("headroom_import_chunks", "Chunks of history imports by state.", ("state",), import_chunks),
    Gauge("headroom_dirty_windows", "Windows whose rollups late samples made wrong and that wait to be redone.", (), dirty_windows),
    Gauge("headroom_deployments", "Deployments by state.", ("state",), deployments),
    Gauge("headroom_database_size_bytes", "Size of the database on disk.", (), database_size),
)


class Numbers(Collector):
    def __init__(self, now: datetime) -> None:
        self.now = now

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for gauge in GAUGES:
            family = GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels)
            for labels, number in gauge.points(self.now):
                family.add_metric(labels, number)
            yield family


def exposition(*, now: datetime) -> bytes:
    registry = CollectorRegistry()
    registry.register(Numbers(now))
    return generate_latest(registry)

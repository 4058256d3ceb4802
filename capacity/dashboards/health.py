"""Are our own loops alive? Said on every page, because what stands on it is old when they are not. One query."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import DateTimeField, F, FloatField, Value
from django.db.models.functions import Cast

from capacity.dashboards.words import span
from monitoring.models import Cluster, FillState, Heartbeat, Source

STALE_FLOOR_SECONDS = 180.0  # three canaries
STALE_SLOTS = 3.0
LAG_STEPS = 5.0  # a source is late when it is this many steps behind
LEVEL_LAGS = {"5m": 1200.0, "15m": 2400.0, "1h": 3 * 3600.0, "1d": 2 * 86400.0}
QUEUE = "queue:"


@dataclass(frozen=True)
class Loop:
    """Something that must go on: what to say when it does not, how far it is, and how far behind it may be."""

    words: str  # "{}" is how long it has been
    at: datetime
    allowed_seconds: float

    def late(self, *, now: datetime) -> bool:
        return now - self.at > timedelta(seconds=self.allowed_seconds)

    def told(self, *, now: datetime) -> str:
        return self.words.format(span((now - self.at).total_seconds()))


@dataclass(frozen=True)
class Health:
    """What the shell shows of the install itself."""

    troubles: list[str]
    demo: bool


def schedule() -> dict[str, float]:
    """Job -> seconds between its slots, from the beat's schedule."""
    plan = settings.CELERY_BEAT_SCHEDULE.values()
    return {entry["task"]: float(entry["options"]["expires"]) for entry in plan if not entry["task"].endswith(".canary")}


def queue_loop(name: str, at: datetime) -> Loop:
    return Loop(f"No worker has taken the queue {name} for {{}}.", at, STALE_FLOOR_SECONDS)


def job_loop(name: str, at: datetime, *, every_seconds: float) -> Loop:
    return Loop(f"The job {name} has not ended well for {{}}.", at, max(STALE_FLOOR_SECONDS, STALE_SLOTS * every_seconds))


def source_loop(name: str, at: datetime, *, step_seconds: float) -> Loop:
    return Loop(f"{braced(name)} is {{}} behind.", at, max(STALE_FLOOR_SECONDS, LAG_STEPS * step_seconds))


def rollup_loop(table: str, at: datetime) -> Loop:
    return Loop(f"The rollup {table} is {{}} behind.", at, LEVEL_LAGS.get(table.rpartition("_")[2], 86400.0))


def braced(name: str) -> str:
    """A name that people gave, safe within `Loop.words`."""
    return name.replace("{", "{{").replace("}", "}}")


def troubles_told(loops: Iterable[Loop], *, now: datetime) -> list[str]:
    return [loop.told(now=now) for loop in loops if loop.late(now=now)]


def health_load(*, now: datetime) -> Health:
    """One query over four small tables, however many pages ask."""
    number = FloatField()
    beats = Heartbeat.objects.values_list(Value("beat"), "name", "at", Cast(Value(0.0), number))
    fills = FillState.objects.values_list(Value("rollup"), "table", "end_time", Cast(Value(0.0), number))
    polled = Source.objects.filter(demo=False, enabled=True, watermark__isnull=False)
    sources = polled.values_list(Value("source"), "name", "watermark", Cast(F("step_seconds"), number))
    demos = Cluster.objects.filter(demo=True).values_list(
        Value("demo"), "name", Cast(Value(None), DateTimeField()), Cast(Value(0.0), number)
    )
    rows = list(beats.union(fills, sources, demos, all=True).order_by())
    every = schedule()
    loops = [loop for kind, name, at, step in rows if (loop := loop_of(kind, name, at, step=step, every=every)) is not None]
    return Health(troubles_told(loops, now=now), demo=any(kind == "demo" for kind, *_ in rows))


def loop_of(kind: str, name: str, at: datetime, *, step: float, every: dict[str, float]) -> Loop | None:
    if kind == "rollup":
        return rollup_loop(name, at)
    if kind == "source":
        return source_loop(name, at, step_seconds=step)
    if kind == "beat" and name.startswith(QUEUE):
        return queue_loop(name.removeprefix(QUEUE), at)
    return job_loop(name, at, every_seconds=every[name]) if name in every else None

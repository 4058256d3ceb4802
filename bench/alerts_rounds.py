"""Rounds of rules over 100 and over 1,000 deployments: wall, CPU of ours and of Postgres, and queries."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bench.cpu import cpu_seconds
from bench.pages import ends, fleet_grow
from bench.timing import progress
from monitoring.alerts.defaults import DEFAULTS
from monitoring.alerts.evaluate import alerts_evaluate
from monitoring.catalog.records import Entity
from monitoring.models import Accelerator, Alert, Channel, Deployment, EvaluationMark, Replica, Rule, Slo
from monitoring.store import Rows, rows_write
from tests.telemetry import store_clear

EVERY_SECONDS = 10.0  # as on the beat
ROUNDS = 18  # three minutes: each minute is judged once, and what rollups have filled moves on
RULES = 20
TROUBLED = 50  # every so-manieth deployment breaks its promise, so that some alerts are open
WALL_MOST, SHARE_MOST = 1.0, 0.05
OWN_RULES: tuple[dict[str, object], ...] = (
    {"signal": "requests_waiting", "threshold": 50, "window_seconds": 60},
    {"signal": "error_ratio", "threshold": 0.2, "window_seconds": 600},
    {"signal": "kv_cache_usage_ratio", "threshold": 0.99, "window_seconds": 1800, "matchers": {"namespace": "ns-1*"}},
    {"signal": "requests_per_second", "comparison": "below", "threshold": 0.01, "window_seconds": 3600},
    {"signal": "power_watts", "entity": "accelerator", "threshold": 690, "window_seconds": 300},
)


@dataclass(frozen=True)
class Round:
    """Seconds."""

    wall: float
    own: float
    postgres: float

    @property
    def cpu(self) -> float:
        return self.own + self.postgres


@dataclass(frozen=True)
class Rounds:
    deployments: int
    rules: int
    open_alerts: int
    queries: int
    rounds: tuple[Round, ...]

    @property
    def wall(self) -> float:
        """Of a warm round, the 95th percentile."""
        return float(np.quantile([one.wall for one in self.rounds], 0.95, method="higher"))

    @property
    def share(self) -> float:
        """Of a core, at the interval."""
        return float(np.mean([one.cpu for one in self.rounds])) / EVERY_SECONDS


def rules_plant() -> None:
    """The shipped ones, and as many of the install's as make up the number."""
    own = [Rule(name=f"own-{place}", summary="A rule of the install", **fields) for place, fields in enumerate(OWN_RULES)]
    shipped = [Rule(shipped=True, **fields) for fields in DEFAULTS]
    Rule.objects.bulk_create([*shipped, *own[: max(RULES - len(shipped), 0)]], ignore_conflicts=True)
    Channel.objects.get_or_create(name="bench", kind="webhook", defaults={"enabled": False})


def fleet_plant(size: int, *, now: datetime, seed: int) -> None:
    """So many deployments with promises, replicas and accelerators, a day of history, minutes to come for all rounds."""
    fleet_grow(size, now=now, seed=seed)
    Replica.objects.update(last_seen_at=now)
    Slo.objects.update(threshold_seconds=30.0, availability_ratio=0.98)
    Slo.objects.filter(pk__in=list(Slo.objects.order_by("pk").values_list("pk", flat=True)[::TROUBLED])).update(threshold_seconds=0.2)
    rng = np.random.default_rng(seed)
    times = ends(now, 60, 20)
    columns = {
        Entity.ACCELERATOR: {"throttle_thermal_ratio": 0.01, "throttle_power_ratio": 0.2, "ecc_uncorrected_errors": 1.0, "xid_code": 13.0},
        Entity.REPLICA: {"requests_running": 5.0},
    }
    models = {Entity.ACCELERATOR: Accelerator, Entity.REPLICA: Replica}
    for entity, means in columns.items():
        numbers = np.array(models[entity].objects.values_list("pk", flat=True))
        ids = np.repeat(numbers, len(times))
        noise = {name: rng.uniform(0.9, 1.1, len(ids)) if name.endswith("ratio") else np.ones(len(ids)) for name in means}
        values = {name: mean * noise[name] for name, mean in means.items()}
        rows_write(Rows(entity, ids, np.tile(times, len(numbers)), values), overwrite=True)


def rounds_run(size: int, *, now: datetime, seed: int) -> Rounds:
    fleet_plant(size, now=now, seed=seed)
    rules_plant()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # what autovacuum does within a minute
        cursor.execute("SELECT pg_backend_pid()")
        (backend,) = cursor.fetchone()
    EvaluationMark.objects.all().delete()  # the rounds before were ahead of the clock
    moment = now
    for _ in range(7):  # warm: the first makes what is made once, and a minute is judged
        alerts_evaluate(now=moment)
        moment += timedelta(seconds=EVERY_SECONDS)
    rounds = []
    for _ in range(ROUNDS):
        before, began = (cpu_seconds(os.getpid()), cpu_seconds(backend)), time.perf_counter()
        alerts_evaluate(now=moment)
        after = (cpu_seconds(os.getpid()), cpu_seconds(backend))
        rounds.append(Round(time.perf_counter() - began, after[0] - before[0], after[1] - before[1]))
        moment += timedelta(seconds=EVERY_SECONDS)
    return Rounds(
        Deployment.objects.count(),
        Rule.objects.filter(enabled=True).count(),
        Alert.objects.open().count(),
        queries_of(moment),
        tuple(rounds),
    )


def queries_of(moment: datetime) -> int:
    """Of a round that judges no minute and finds nothing new."""
    counted = []
    for _ in range(6):
        with CaptureQueriesContext(connection) as caught:
            alerts_evaluate(now=moment)
        counted.append(len(caught))
        moment += timedelta(seconds=EVERY_SECONDS)
    return min(counted)


def table(seed: int, *, sizes: Sequence[int] = (100, 1000)) -> tuple[list[str], bool]:
    store_clear()
    measured = []
    for size in sizes:
        progress(f"rounds over {size} deployments")
        measured.append(rounds_run(size, now=datetime.now(UTC), seed=seed))
    largest = measured[-1]
    held = (
        largest.wall <= WALL_MOST
        and largest.share <= SHARE_MOST
        and largest.queries == measured[0].queries
        and largest.rules >= RULES
        and largest.open_alerts > 0
    )
    head = [
        "| deployments | rules | open alerts | round p95, ms | CPU a round, ms: ours | Postgres | share of a core | queries | must |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    must = f"p95 <= {WALL_MOST * 1000:g} ms, <= {SHARE_MOST:.0%} of a core, no more queries"
    rows = [
        f"| {one.deployments} | {one.rules} | {one.open_alerts} | **{one.wall * 1000:.0f}** |"
        f" {np.mean([each.own for each in one.rounds]) * 1000:.0f} | {np.mean([each.postgres for each in one.rounds]) * 1000:.0f} |"
        f" **{one.share:.1%}** | {one.queries} | {must if one is largest else '-'} |"
        for one in measured
    ]
    sentence = (
        f"{ROUNDS} rounds {EVERY_SECONDS:g} s apart after seven to warm up, minutes of promises judged among them; an accelerator and a"
        " replica a deployment, samples each minute, a day of history."
    )
    return [sentence, "", *head, *rows, ""], held

"""The fleet of `make bench-night`, its rounds of work and what they took."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from django.db import connection
from django.db.models import Model
from django.utils import timezone

from bench.night import BY_FAR, CONDITION_MS, NIGHT_HOURS, PLANS_SHARE, Measured, workers_run
from bench.night_plans import THOUSAND, plans_lines, plans_sized, plans_work
from bench.night_plant import (
    STEP,
    columns_of,
    demand_make,
    latencies_write,
    load_make,
    minutes_plant,
    owned_plant,
    rollups_plant,
    servers_make,
)
from bench.timing import progress, timed
from capacity.analysis.forecast_jobs import HOURLY, NIGHT, forecasts_condition, forecasts_fit
from capacity.analysis.forecast_missed import RULE, forecasts_missed
from capacity.analysis.plan_jobs import NIGHTLY
from capacity.analysis.turns import Job
from capacity.models import ForecastRun, PlanRun, Turn
from monitoring.catalog.records import Entity
from monitoring.models import Alert, Cluster, Deployment, Node
from monitoring.rollups import rollups_fill
from tests.telemetry import store_clear

DAYS, DAY_STEPS, MINUTE_DAYS = 28, 288, 2
AHEAD_STEPS = 144  # planted beyond the beginning of the night, which must be over by then
CHUNK = 25  # deployments written at once
NODES_PER_DEPLOYMENT = 0.1
FOR_EVER = 1e9
PLANNED = "planned in the night"


@dataclass(frozen=True)
class Round:
    """A job whose turns are all due, and what it must hold."""

    job: Job
    work: Callable[[], str | dict[str, list[float]]]  # of one process, until nothing is due; it may tell of each turn
    made: type[Model]  # rows with `made_at` that it leaves behind
    most_seconds: float  # on the clock
    most_ms: float = np.inf  # each
    of_thousand: bool = False  # the limit is of 1,000, as far as fewer tell

    @property
    def must(self) -> str:
        each = f", {self.most_ms:g} ms each" if np.isfinite(self.most_ms) else ""
        return f"<= {self.most_seconds / 3600:g} h{' for 1,000' if self.of_thousand else ''}{each}"

    def holds(self, row: Measured) -> bool:
        seconds = row.seconds * max(1.0, THOUSAND / max(row.runs, 1)) if self.of_thousand else row.seconds
        return row.failed == 0 and row.turns > 0 and seconds <= self.most_seconds and row.each * 1000 <= self.most_ms


# What runs in a night and in an hour, in their order.
ROUNDS: dict[str, Round] = {
    "learned in the night": Round(
        NIGHT, lambda: forecasts_fit(clock=timezone.now, budget_seconds=FOR_EVER), ForecastRun, NIGHT_HOURS * BY_FAR * 3600
    ),
    "brought up to now in an hour": Round(
        HOURLY, lambda: forecasts_condition(clock=timezone.now, budget_seconds=FOR_EVER), ForecastRun, 3600.0, CONDITION_MS
    ),
    PLANNED: Round(NIGHTLY, plans_work, PlanRun, NIGHT_HOURS * PLANS_SHARE * 3600, of_thousand=True),
}


def job_run(name: str) -> dict[str, list[float]]:
    told = ROUNDS[name].work()
    return told if isinstance(told, dict) else {}


@dataclass
class Stage:
    """A planted fleet whose future is known too; it is written as time goes by."""

    rows: list[Deployment]
    anchor: float  # Unix seconds, up to which the fleet has a history when the night begins
    seed: int
    written: float = -np.inf  # up to there

    @property
    def numbers(self) -> list[int]:
        return [row.pk for row in self.rows]

    def write(self, *, until: float) -> None:
        """What is new up to then: five-minute steps, the last days by the minute too. Each call draws the whole course again, the same."""
        until = min(until // STEP * STEP, self.anchor + AHEAD_STEPS * STEP)
        times = self.anchor + STEP * np.arange(1 - DAYS * DAY_STEPS, AHEAD_STEPS + 1)
        chosen = (times > self.written) & (times <= until)
        recent = times[chosen] > self.anchor - MINUTE_DAYS * 86400.0
        for first in range(0, len(self.numbers), CHUNK):
            numbers = np.array(self.numbers[first : first + CHUNK])
            rates = demand_make(numbers.size, times=times, rng=np.random.default_rng([self.seed, first]))
            rng = np.random.default_rng([self.seed, first, 1])
            servers = servers_make(rates, rng=rng)
            load = load_make(servers, rates, rng=rng).taken(chosen)
            if np.isinf(self.written):
                owned_plant(self.rows[first : first + CHUNK], servers, until=datetime.fromtimestamp(times[-1], tz=UTC))
            rates = rates[:, chosen]
            columns = columns_of(servers, rates, load)
            rollups_plant(Entity.DEPLOYMENT, numbers, columns, times=times[chosen])
            latencies_write(numbers, times=times[chosen], servers=servers, rates=rates, load=load, rng=rng)
            last = {name: column[:, recent] for name, column in columns.items()}
            minutes_plant(numbers, last, times=times[chosen][recent], rng=rng)
        self.written = until


def night_run(*, deployments: int, processes: int, seed: int) -> tuple[list[str], bool]:
    store_clear()
    progress(f"{deployments} deployments, {DAYS} days")
    stage = stage_make(deployments, seed=seed)
    progress("rollups")
    rollups_all()
    measured = []
    for name in ROUNDS:
        stage.write(until=timezone.now().timestamp())
        measured.append(job_measure(name, processes=processes))
    missed, quiet_ms = missed_measure(stage)
    planned = next(row for row in measured if row.job == PLANNED)
    lines = [*table_lines(measured, deployments=deployments), "", *plans_lines(planned), *size_lines(), ""]
    return [*lines, missed_line(missed, quiet_ms, deployments), ""], night_held(measured)


def rollups_all() -> None:
    while "more to do" in rollups_fill(now=timezone.now(), budget_seconds=FOR_EVER):
        pass
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # what autovacuum does within a minute


def stage_make(deployments: int, *, seed: int) -> Stage:
    now = timezone.now()
    anchor = now.timestamp() // STEP * STEP
    cluster = Cluster.objects.create(name="bench")
    rows = Deployment.objects.bulk_create(
        Deployment(cluster=cluster, workload=f"model-{number:04d}", name=f"model-{number:04d}", last_seen_at=now)
        for number in range(deployments)
    )
    stage = Stage(rows, anchor, seed)
    stage.write(until=anchor)
    count = max(1, round(deployments * NODES_PER_DEPLOYMENT))
    nodes = Node.objects.bulk_create(Node(cluster=cluster, name=f"node-{number}") for number in range(count))
    times = anchor + STEP * np.arange(1 - DAYS * DAY_STEPS, 1)
    used = 5e11 * (1 + np.arange(times.size) * 1e-5 * np.random.default_rng([seed, 1_000_000]).uniform(0, 3, (count, 1)))
    rollups_plant(Entity.NODE, np.array([node.pk for node in nodes]), {"disk_used_bytes": used}, times=times)
    return stage


def job_measure(name: str, *, processes: int) -> Measured:
    progress(name)
    job = ROUNDS[name].job
    began = timezone.now()
    seconds, told = workers_run(name, processes=processes)
    turns = Turn.objects.filter(job=job.name)
    spent = [each for each in turns.filter(done_at__gte=began).values_list("seconds", flat=True) if each is not None]
    failed = turns.exclude(error="").count()
    runs = ROUNDS[name].made._default_manager.filter(made_at__gte=began).count()
    median, p95 = (float(np.quantile(spent, level)) if spent else np.nan for level in (0.5, 0.95))
    return Measured(name, len(spent), runs, failed, seconds, processes, sum(told.pop("all")), median, p95, told)


def missed_measure(stage: Stage) -> tuple[int, float]:
    """The hour after goes on as the fleet does: how many are told of without a cause, and what looking costs."""
    now = timezone.now()
    stage.write(until=now.timestamp() + 3600)
    for minutes in (35, 40, 45, 50, 55, 60):
        forecasts_missed(now=now + timedelta(minutes=minutes))
    (looked,) = timed(lambda: forecasts_missed(now=now + timedelta(minutes=60)), runs=5)
    return Alert.objects.filter(rule_name=RULE).count(), looked.median


HEAD = (
    "",
    "turns",
    "made",
    "failed",
    "min on the clock",
    "min of the processor",
    "a turn, s: median",
    "p95",
    "each, ms: all in",
    "must",
)


def table_lines(measured: list[Measured], *, deployments: int) -> list[str]:
    fleet = f"{deployments:,} deployments with {DAYS} days of five-minute history and latency histograms, {MINUTE_DAYS} days by the minute,"
    history = f"{fleet} half of them serving tokens, the others with slots; nodes with disks."
    lines = [history, "", f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    for row in measured:
        clock = (
            f"**{row.seconds / 60:.1f}**",
            f"{row.processor / 60:.2f}",
            f"{row.median:.2f}",
            f"{row.p95:.2f}",
            f"**{row.each * 1000:.0f}**",
        )
        cells = (row.job, row.turns, row.runs, row.failed, *clock, ROUNDS[row.job].must)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    note = f"All in: reading, arithmetic, keeping, of one of {measured[0].processes} processes. Of the processor: without Postgres."
    return [*lines, "", f"{note} A turn is one deployment or node, without its reading."]


def night_held(measured: list[Measured]) -> bool:
    return all(ROUNDS[row.job].holds(row) for row in measured) and plans_sized()


def size_lines() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_total_relation_size('capacity_forecastrun')")
        megabytes = cursor.fetchone()[0] / 1e6
    runs = ForecastRun.objects.count()
    return [f"Stored: {runs:,} forecasts in {megabytes:,.0f} MB, {megabytes * 1000 / max(runs, 1):.0f} kB each."]


def missed_line(missed: int, milliseconds: float, deployments: int) -> str:
    words = f"Looking for missed forecasts, every five minutes: {milliseconds:.0f} ms for all."
    return f"{words} In an ordinary hour {missed} of {deployments:,} were called missed."

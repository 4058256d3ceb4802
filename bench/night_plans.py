"""The plans of `make bench-night`: made by turns as the night makes them, what each took, and whether it is a whole plan."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from django.db import connection
from django.utils import timezone

from bench.night import Measured
from capacity.analysis.plan_jobs import NIGHTLY, plans_load, subjects
from capacity.analysis.turns import Keep, turns_due, turns_work
from capacity.models import PlanRun, Turn

FOR_EVER = 1e9
THOUSAND = 1000
LEAST_SIZED = 0.9  # of the plans must have a curve, else cheap refusals were measured
SECTIONS = ("curve", "floor", "replayed", "cost")


@dataclass
class Counted:
    """Statements of a process."""

    queries: int = 0

    def __call__(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        self.queries += 1
        return execute(sql, params, many, context)


def plans_work() -> dict[str, list[float]]:
    """What `plans_make` does in a worker, with the processor's seconds and the statements of each turn; claiming it comes on top."""
    turns_due(NIGHTLY, subjects(), now=timezone.now())
    spent: list[float] = []
    asked: list[float] = []
    counted = Counted()

    def load(turns: Sequence[Turn], now: datetime) -> Callable[[Turn], Keep]:
        work = plans_load(turns, now)

        def timed_work(turn: Turn) -> Keep:
            began, before = time.process_time(), counted.queries
            keep = work(turn)

            def timed_keep() -> None:
                keep()
                spent.append(time.process_time() - began)
                asked.append(float(counted.queries - before))

            return timed_keep

        return timed_work

    with connection.execute_wrapper(counted):
        turns_work(NIGHTLY, load, clock=timezone.now, budget_seconds=FOR_EVER)
    return {"processor": spent, "queries": asked}


def plans_lines(row: Measured) -> list[str]:
    """What they took, and what 1,000 would take."""
    spent, asked = np.array(row.each_turn["processor"]), row.each_turn["queries"]
    if not spent.size:
        return ["Plans: none was made.", "", *stored_lines(), ""]
    quantiles = f"median {np.median(spent):.2f}, p95 {np.quantile(spent, 0.95):.2f}"
    took = f"A plan takes **{spent.mean():.2f} s** of a processor ({quantiles}; without Postgres) and {np.median(asked):.0f} statements"
    took = f"{took} (COPY, by which telemetry is read, not among them)."
    minutes, processor = (seconds * THOUSAND / max(row.runs, 1) / 60 for seconds in (row.seconds, row.processor))
    if row.runs >= THOUSAND:
        words = f"{row.runs:,} plans took {row.seconds / 60:.1f} min"
    else:
        words = f"Extrapolated from {row.runs:,} plans, not run: 1,000 take about {minutes:.0f} min"
    whole = f"{words} on the clock of {row.processes} processes; 1,000 are {processor:.0f} min of the processor."
    return [f"Plans: {took} {whole}", "", *stored_lines(), ""]


def stored_lines() -> list[str]:
    """How large they are, and that they are whole: by which sections, replayed through what."""
    count, having, through, refusals = 0, Counter[str](), Counter[str](), Counter[str]()
    for result, refusal in PlanRun.objects.values_list("result", "refusal").iterator(chunk_size=50):
        count += 1
        having.update(name for name in SECTIONS if result.get(name) is not None)
        through.update([result["curve"]["basis"]] if result.get("curve") else [])
        refusals.update([refusal.split(". ")[0]] if refusal else [])
    with connection.cursor() as cursor:
        cursor.execute("SELECT avg(length(result::text)), pg_total_relation_size('capacity_planrun') FROM capacity_planrun")
        text, stored = (float(value or 0) for value in cursor.fetchone())
    parts = ", ".join(f"{having[name]:,} with {name}" for name in SECTIONS)
    basis = ", ".join(f"{times:,} by {name}" for name, times in through.most_common())
    size = f"{text / 1000:.0f} kB of JSON each, {stored / max(count, 1) / 1000:.0f} kB in the table"
    whole = f"Stored: {count:,} plans ({parts}; sized {basis or 'by nothing'}; must: {LEAST_SIZED * 100:.0f} % with curve), {size}."
    return [whole, *(f"Refused {times} times: {why}" for why, times in refusals.most_common(3))]


def plans_sized() -> bool:
    sized, every = PlanRun.objects.filter(replicas_needed__isnull=False).count(), PlanRun.objects.count()
    return every > 0 and sized >= LEAST_SIZED * every

"""Builders for telemetry, and whole tables to compare with."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from django.core.management import call_command
from django.db import connection

from monitoring.catalog.records import Entity, Latency
from monitoring.models import DirtyWindow, FillState
from monitoring.store import Histograms, RollupRows, Rows
from monitoring.store.schema import FAMILIES, LEVELS, key_columns, table_name
from monitoring.store.watermarks import RECENT

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
NOON_SECONDS = NOON.timestamp()
NAN = float("nan")
FRESH_SEEDS = (None, None, None)  # drawn inside the test: its name must be the same in every worker


def at(seconds: float) -> datetime:
    """So many seconds after noon."""
    return datetime.fromtimestamp(NOON_SECONDS + seconds, tz=UTC)


def seed_of(seed: int | None) -> int:
    """The seed, or a fresh one; printed, so that a failure can be seen again."""
    chosen = int(np.random.default_rng().integers(2**31)) if seed is None else seed
    print(f"seed={chosen}")
    return chosen


def make_rows(
    times: Sequence[float],
    entity: Entity = Entity.DEPLOYMENT,
    *,
    ids: int | Sequence[int] = 1,
    versions: int | Sequence[int] = 0,
    **values: Sequence[float] | float,
) -> Rows:
    """times in seconds after noon; single numbers stand for every row."""
    size = len(times)
    return Rows(
        entity,
        np.broadcast_to(np.asarray(ids, dtype=np.int64), size).copy(),
        NOON_SECONDS + np.asarray(times, dtype=np.float64),
        {name: np.broadcast_to(np.asarray(value, dtype=np.float64), size).copy() for name, value in values.items()},
        np.broadcast_to(np.asarray(versions, dtype=np.int64), size).copy() if entity == Entity.DEPLOYMENT else None,
    )


def make_rollups(times: Sequence[float], entity: Entity = Entity.DEPLOYMENT, *, count: float = 5, **means: Any) -> RollupRows:
    """Five-minute rows whose samples all had the mean."""
    rows = make_rows(times, entity, **means)
    counts = {name: np.where(np.isfinite(value), float(count), 0.0) for name, value in rows.values.items()}
    sums = {name: value * count for name, value in rows.values.items()}
    return RollupRows(entity, rows.ids, rows.times, counts, sums, rows.values, rows.values, rows.versions)


def make_histograms(
    times: Sequence[float],
    counts: Sequence[Sequence[float]],
    *,
    bounds: tuple[float, ...] = (0.1, 0.5, 1.0),
    ids: int | Sequence[int] = 1,
    versions: int | Sequence[int] = 0,
    latency: Latency = Latency.REQUEST_DURATION,
    sums: float | Sequence[float] = NAN,
) -> Histograms:
    size = len(times)
    return Histograms(
        latency,
        np.broadcast_to(np.asarray(ids, dtype=np.int64), size).copy(),
        np.broadcast_to(np.asarray(versions, dtype=np.int64), size).copy(),
        NOON_SECONDS + np.asarray(times, dtype=np.float64),
        bounds,
        np.asarray(counts, dtype=np.float64).reshape(size, len(bounds) + 1),
        np.broadcast_to(np.asarray(sums, dtype=np.float64), size).copy(),
    )


def table_rows(table: str, *columns: str) -> list[tuple[Any, ...]]:
    """All rows of a table as (id, [version,] seconds after noon, columns...), so that one row too many fails."""
    family = table.split("_")[0]
    keys = [key for key in key_columns(family) if key != "time"]
    shown = [*keys, f"extract(epoch FROM time)::float8 - {NOON_SECONDS}", *columns]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(shown)} FROM {table} ORDER BY {', '.join(key_columns(family))}")
        return cursor.fetchall()


def store_clear() -> None:
    """For tests that commit: the store's tables are no models, so nobody else empties them."""
    with connection.cursor() as cursor:
        for family in FAMILIES:
            for level in LEVELS:
                cursor.execute(f"DELETE FROM {table_name(family, level)}")
    FillState.objects.all().delete()
    DirtyWindow.objects.all().delete()
    RECENT.forget()


def database_clear() -> None:
    """For fixtures that commit for a whole file: everything goes, also what was written beside what they made, as the audit trail."""
    store_clear()
    call_command("flush", interactive=False, verbosity=0, reset_sequences=False)  # some answers are kept by the keys of rows

"""How far each rollup is filled, and which stretches behind that are dirty.

A writer holds the family's WRITE lock shared, a filler takes it alone for the moment in which it moves a watermark. So a writer
either commits before the fill looks, or sees the new watermark and marks what it wrote behind it as dirty: nothing falls between.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

import numpy as np
from django.db import connection

from monitoring.models import DirtyWindow
from monitoring.store.locks import WRITE, family_lock
from monitoring.store.records import Floats, Ints
from monitoring.store.schema import FAMILIES, LEVELS, RAW, ROLLUPS, Level, table_name

RECENT_SECONDS = 5.0
JOIN_SECONDS = 3600.0  # late rows nearer to each other than this share one window
HELD: ContextVar[dict[str, dict[tuple[str, str], float]] | None] = ContextVar("watermarks_held", default=None)
IDS_MOST = 500  # more entities than this are written down as "all"


@contextmanager
def watermarks_held() -> Iterator[None]:
    """All reads inside go by the watermarks of the first: a page of twenty reads looks once."""
    token = HELD.set({})
    try:
        yield
    finally:
        HELD.reset(token)


def watermarks_load() -> Mapping[tuple[str, str], float]:
    """(family, level name) -> Unix seconds up to which the level is filled, for those filled at all.

    A fill that is under way or has crashed counts from where it started.
    """
    held = HELD.get()
    if held is None:
        return RECENT.marks()
    if not held:
        held["found"] = RECENT.marks()
    return held["found"]


class Recent:
    """The watermarks of some seconds ago. They only move on, and behind an older one there are finer rows: nothing is missed.

    Inside a transaction they are read anew, as what it sees may be rolled back.
    """

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], float] = {}
        self.good_until = 0.0

    def marks(self) -> dict[tuple[str, str], float]:
        if connection.in_atomic_block:
            return watermarks_fetch(list(FAMILIES))
        now = time.monotonic()
        if now >= self.good_until:
            self.found, self.good_until = watermarks_fetch(list(FAMILIES)), now + RECENT_SECONDS
        return self.found

    def forget(self) -> None:
        self.good_until = 0.0


RECENT = Recent()


def watermarks_fetch(families: list[str]) -> dict[tuple[str, str], float]:
    tables = {table_name(family, level): (family, level.name) for family in families for level in LEVELS if level is not RAW}
    with connection.cursor() as cursor:  # asked before every chart: the ORM would take longer than the database
        cursor.execute(
            'SELECT "table", extract(epoch FROM CASE WHEN done THEN end_time ELSE COALESCE(start_time, end_time) END)::float8'
            ' FROM monitoring_fillstate WHERE "table" = ANY(%s)',
            [list(tables)],
        )
        return {tables[table]: seconds for table, seconds in cursor.fetchall()}


def dependent_of(level: Level) -> Level | None:
    return dict(ROLLUPS).get(level)


def dirty_mark(family: str, level: Level, times: Floats, ids: Ints) -> None:
    """Call inside the writing transaction, before the write."""
    family_lock(WRITE, family, shared=True)
    dependent = dependent_of(level)
    if dependent is None or not len(times):
        return
    with connection.cursor() as cursor:
        cursor.execute('SELECT end_time FROM monitoring_fillstate WHERE "table" = %s', [table_name(family, dependent)])
        found = cursor.fetchone()
    if found is None:
        return
    late = times <= found[0].timestamp()
    if late.any():
        DirtyWindow.objects.bulk_create(late_windows(family, dependent, times[late], ids[late]))


def late_windows(family: str, dependent: Level, times: Floats, ids: Ints) -> list[DirtyWindow]:
    """What is to be redone of the rollup that depends on rows of these times and entities."""
    concerned = np.unique(ids)
    return windows_of(family, times, dependent.seconds, concerned.tolist() if len(concerned) <= IDS_MOST else None)


def windows_of(family: str, times: Floats, step: int, ids: list[int] | None) -> list[DirtyWindow]:
    ends = np.unique(np.ceil(times / step) * step)
    breaks = np.flatnonzero(np.diff(ends) > max(JOIN_SECONDS, step))
    firsts, lasts = ends[np.concatenate(([0], breaks + 1))] - step, ends[np.concatenate((breaks, [len(ends) - 1]))]
    return [
        DirtyWindow(entity=family, start_at=moment(first), end_at=moment(last), ids=ids) for first, last in zip(firsts, lasts, strict=True)
    ]


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(float(seconds), tz=UTC)

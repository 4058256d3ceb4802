"""Raw -> 5 minutes -> 15 minutes -> 1 hour -> 1 day, by watermark.

A chunk is first claimed (STARTED, the watermark moves), then filled and marked DONE in one transaction. STARTED without DONE is a
crash, or another filler at work: whoever gets the fill lock does the chunk again, which changes nothing that was right. A level
never passes its source. Stretches that late data made dirty are redone day by day, for the entities concerned.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import OperationalError, connection, transaction

from monitoring.models import DirtyWindow, FillState, setting_get, settings_get
from monitoring.store.fill import stretch_fill
from monitoring.store.locks import FILL, WRITE, family_lock, family_try_lock
from monitoring.store.partitions import partition_start, partitions_list
from monitoring.store.retention import kept_from
from monitoring.store.schema import DAY, FAMILIES, FIFTEEN_MINUTES, FIVE_MINUTES, HOUR, RAW, ROLLUPS, Level, table_name
from monitoring.store.watermarks import moment

CHUNK_SECONDS = {FIVE_MINUTES: 3600, FIFTEEN_MINUTES: 6 * 3600, HOUR: 86400, DAY: 31 * 86400}  # bounds one transaction
FEW_ROWS = 5000  # after a chunk with fewer the next one is twice as long: a small fleet catches up in few steps
CLAIM_TIMEOUT = "5s"  # a writer that holds its transaction longer than this puts the fill off to the next round
BUDGET_SECONDS = 45.0


@dataclass
class Tally:
    """What a round did; `busy` counts what another filler was doing."""

    rows: int = 0
    chunks: int = 0
    redone: int = 0
    busy: int = 0
    unfinished: bool = False

    def words(self) -> str:
        text = f"{self.chunks} chunks filled, {self.redone} dirty days redone, {self.rows} rows written"
        return text + (f", {self.busy} left to another filler" if self.busy else "") + (", more to do" if self.unfinished else "")


class Busy(Exception):
    """Another filler or a long writer is at it; the next round goes on."""


def rollups_fill(*, now: datetime, budget_seconds: float = BUDGET_SECONDS) -> str:
    """Bring all rollups up to now less the lag. One line of summary."""
    deadline = time.monotonic() + budget_seconds
    lag = setting_get("rollup_lag_seconds")
    states = {state.table: state for state in FillState.objects.all()}
    tally = Tally()
    for family in FAMILIES:
        try:
            for source, target in ROLLUPS:
                level_fill(family, source, target, until=now.timestamp() - lag, states=states, deadline=deadline, tally=tally)
            dirty_fill(family, now=now, deadline=deadline, tally=tally)
        except Busy:
            tally.busy += 1
    return tally.words()


def rollups_hold(*, written_by: datetime, until: datetime) -> bool:
    """True when every rollup holds what was written by that moment for times up to `until`, less the lag in which samples may be late."""
    if DirtyWindow.objects.filter(created_at__lte=written_by).exists():
        return False
    settled = until.timestamp() - setting_get("rollup_lag_seconds")
    marks = dict(FillState.objects.filter(done=True).values_list("table", "end_time"))
    wanted = {table_name(family, target): target.seconds for family in FAMILIES for _, target in ROLLUPS}
    return all(table in marks and marks[table].timestamp() >= settled // step * step for table, step in wanted.items())


def level_fill(
    family: str, source: Level, target: Level, *, until: float, states: dict[str, FillState], deadline: float, tally: Tally
) -> None:
    goal = until if source is RAW else states[table_name(family, source)].end_time.timestamp()
    goal = math.floor(goal / target.seconds) * target.seconds
    state = state_of(family, source, target, goal=goal, states=states)
    if not state.done:
        tally.rows += chunk_finish(family, source, target, state)
        tally.chunks += 1
    chunk = CHUNK_SECONDS[target]
    while state.end_time.timestamp() < goal:
        if time.monotonic() > deadline:
            tally.unfinished = True
            return
        chunk_claim(family, state, min(state.end_time.timestamp() + chunk, goal))
        rows = chunk_finish(family, source, target, state)
        chunk = chunk * 2 if rows < FEW_ROWS else CHUNK_SECONDS[target]
        tally.rows += rows
        tally.chunks += 1


def state_of(family: str, source: Level, target: Level, *, goal: float, states: dict[str, FillState]) -> FillState:
    """The stored state; at first it stands at the oldest partition of the source, and never beyond the goal."""
    table = table_name(family, target)
    if table not in states:
        oldest = [partition_start(source, name).timestamp() for name in partitions_list(family, source)[:1]]
        first = math.floor(min([goal, *oldest]) / target.seconds) * target.seconds
        states[table], _ = FillState.objects.get_or_create(table=table, defaults={"end_time": moment(first)})
    return states[table]


def chunk_claim(family: str, state: FillState, end: float) -> None:
    """Move the watermark. Alone in the family for this moment, so that each writer is either seen by the fill or sees the new mark."""
    start_time, end_time = state.end_time, moment(end)
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{CLAIM_TIMEOUT}'")
            family_lock(WRITE, family)
            claimed = FillState.objects.filter(pk=state.pk, end_time=start_time, done=True).update(
                start_time=start_time, end_time=end_time, done=False
            )
    except OperationalError as error:
        raise Busy from error
    if not claimed:
        raise Busy
    state.start_time, state.end_time, state.done = start_time, end_time, False


def chunk_finish(family: str, source: Level, target: Level, state: FillState) -> int:
    with transaction.atomic():
        if not family_try_lock(FILL, family):
            raise Busy
        mine = FillState.objects.select_for_update().filter(pk=state.pk, start_time=state.start_time, end_time=state.end_time, done=False)
        if not mine.exists() or state.start_time is None:
            raise Busy
        rows = stretch_fill(family, source, target, start=state.start_time.timestamp(), end=state.end_time.timestamp())
        mine.update(done=True)
    state.done = True
    return rows


def dirty_fill(family: str, *, now: datetime, deadline: float, tally: Tally) -> None:
    windows = list(DirtyWindow.objects.filter(entity=family).order_by("start_at"))
    if not windows:
        return
    kept = settings_get("retention_raw_days", "retention_5m_days", "retention_1h_months")
    oldest = {source: kept_from(source, now=now, kept=kept) for source, _ in ROLLUPS}
    days = sorted({day for window in windows for day in days_of(window)})
    for day in days:
        if time.monotonic() > deadline:
            tally.unfinished = True
            return
        with transaction.atomic():
            if not family_try_lock(FILL, family):
                raise Busy
            tally.rows += day_redo(family, day, [window for window in windows if day in days_of(window)], oldest)
            day_clear(windows, day)
        tally.redone += 1


def days_of(window: DirtyWindow) -> range:
    """The UTC days a window touches, as numbers since 1970; a window holds the times of (start, end]."""
    return range(math.floor(window.start_at.timestamp() / 86400), math.ceil(window.end_at.timestamp() / 86400))


def day_redo(family: str, day: int, windows: list[DirtyWindow], oldest: Mapping[Level, float]) -> int:
    start = max(min(window.start_at.timestamp() for window in windows), day * 86400.0)
    end = min(max(window.end_at.timestamp() for window in windows), (day + 1) * 86400.0)
    concerned = [window.ids for window in windows]
    ids = None if None in concerned else sorted({number for numbers in concerned for number in numbers or ()})
    tables = [table_name(family, target) for _, target in ROLLUPS]
    filled = dict(FillState.objects.filter(table__in=tables, done=True).values_list("table", "end_time"))
    if len(filled) < len(tables):
        raise Busy
    rows = 0
    for source, target in ROLLUPS:
        mark = filled[table_name(family, target)]
        low = math.ceil(max(math.floor(start / target.seconds) * target.seconds, oldest[source]) / target.seconds) * target.seconds
        high = min(math.ceil(end / target.seconds) * target.seconds, mark.timestamp())
        if low < high:
            rows += stretch_fill(family, source, target, start=float(low), end=float(high), ids=ids)
    return rows


def day_clear(windows: list[DirtyWindow], day: int) -> None:
    """The day is done: windows that end in it go, longer ones begin after it."""
    end = moment((day + 1) * 86400.0)
    numbers = [window.pk for window in windows]
    DirtyWindow.objects.filter(pk__in=numbers, end_at__lte=end).delete()
    DirtyWindow.objects.filter(pk__in=numbers, start_at__lt=end).update(start_at=end)

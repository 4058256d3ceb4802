"""Numbers over a whole window, the newest values, and what there is at all."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from monitoring.catalog.records import Entity
from monitoring.series.grid import Floats, Instants, finer_wins
from monitoring.series.lines import RATIO_OF, Wanted
from monitoring.series.records import Latest, Summary
from monitoring.store.copy import columns_fetch
from monitoring.store.read import Piece, pieces_exact, quads_fetch, totals_fetch
from monitoring.store.schema import RAW, id_column, table_name, value_columns
from monitoring.store.watermarks import watermarks_load

NO_SUMMARY = Summary(np.nan, np.nan, np.nan, 0.0)


def totals_load(
    entity: Entity, ids: Sequence[int], columns: Sequence[str], *, start: datetime, end: datetime, means_only: bool = False
) -> dict[int, dict[str, Summary]]:
    """Mean, least and greatest of each column over the window, exact to a raw step; two queries, however many entities.

    Of a ratio: the quotient of the sums; least and greatest are not known from sums and are NaN, as they are with `means_only`.
    """
    return totals_load_windows(entity, ids, [(columns, start, end)], means_only=means_only)[0]


def totals_load_windows(
    entity: Entity, ids: Sequence[int], windows: Sequence[tuple[Sequence[str], datetime, datetime]], *, means_only: bool = False
) -> list[dict[int, dict[str, Summary]]]:
    """Of each window (columns, start, end) its totals; as many queries as for one."""
    if not len(ids):
        return [{} for _ in windows]
    marks = watermarks_load()
    several = [Wanted(entity, tuple(columns)) for columns, _, _ in windows]
    pieces = [pieces_exact(entity, start.timestamp(), end.timestamp(), marks) for _, start, end in windows]
    asked = [(wanted.stored(), own) for wanted, own in zip(several, pieces, strict=True)]
    found = totals_fetch(entity, ids, asked, means_only=means_only)
    return [summaries_by_id(wanted, ids, got) for wanted, got in zip(several, found, strict=True)]


def means_load(entity: Entity, ids: Sequence[int], columns: Sequence[str], *, start: datetime, end: datetime) -> dict[str, Floats]:
    """Of each column (no ratios) its means in the order of `ids`, NaN where nothing was measured: for thousands. Two queries."""
    if not len(ids):
        return {name: np.zeros(0) for name in columns}
    pieces = pieces_exact(entity, start.timestamp(), end.timestamp(), watermarks_load())
    (got,) = totals_fetch(entity, ids, [(columns, pieces)], means_only=True)
    known = np.unique(np.asarray(ids, dtype=np.int64))
    rows, places = np.searchsorted(known, got["id"]), np.searchsorted(known, np.asarray(ids, dtype=np.int64))
    means = {}
    for name in columns:
        spread = np.full(len(known), np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            spread[rows] = got[f"{name}_sum"] / got[f"{name}_count"]
        means[name] = spread[places]
    return means


def summaries_by_id(wanted: Wanted, ids: Sequence[int], got: dict[str, Floats]) -> dict[int, dict[str, Summary]]:
    rows = {number: row for row, number in enumerate(got["id"].tolist())}
    found = {name: summaries_of(wanted, name, got) for name in wanted.names}
    return {int(number): {name: own[rows[number]] if number in rows else NO_SUMMARY for name, own in found.items()} for number in ids}


def summaries_of(wanted: Wanted, name: str, got: dict[str, Floats]) -> list[Summary]:
    """One a row; of a column its own, of a ratio the quotient of the means."""
    count, total = (got[f"{wanted.parts(name)[0]}_{kind}"].astype(np.float64) for kind in ("count", "sum"))
    unknown = np.full(len(count), np.nan)
    low, high = (got.get(f"{wanted.parts(name)[0]}_{kind}", unknown).astype(np.float64) for kind in ("min", "max"))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        if name in RATIO_OF:
            below_count, below = (got[f"{wanted.parts(name)[1]}_{kind}"].astype(np.float64) for kind in ("count", "sum"))
            mean, count = mean / (below / below_count), np.where(below > 0, np.minimum(count, below_count), 0.0)
            low = high = unknown
    rows = zip(mean.tolist(), low.tolist(), high.tolist(), count.tolist(), strict=True)
    return [Summary(*row) if row[3] > 0 else NO_SUMMARY for row in rows]


def latest_load(
    entity: Entity, ids: Sequence[int], columns: Sequence[str], *, now: datetime, within_seconds: float = 600
) -> dict[int, dict[str, Latest]]:
    """The newest raw value of each column, not older than `within_seconds`; columns without one are left out. One query."""
    if not len(ids):
        return {}
    wanted = Wanted(entity, tuple(columns))
    finish = now.timestamp()
    quads = quads_fetch(entity, ids, wanted.stored(), [Piece(RAW, finish - within_seconds, finish)])
    known = np.unique(np.asarray(ids, dtype=np.int64))
    places = np.searchsorted(known, quads.ids)
    latest: dict[int, dict[str, Latest]] = {int(number): {} for number in known}
    for name in columns:
        for place, time, value in newest_of(wanted.instants(quads, name, places)):
            latest[int(known[place])][name] = Latest(value, time)
    return latest


def newest_of(instants: Instants) -> list[tuple[int, float, float]]:
    chosen = finer_wins(instants)  # sorted by entity and time
    if not len(chosen.times):
        return []
    last = np.flatnonzero(np.concatenate((np.diff(chosen.places) != 0, [True])))
    values = chosen.totals[last] / chosen.weights[last]
    return list(zip(chosen.places[last].tolist(), chosen.times[last].tolist(), values.tolist(), strict=True))


def coverage_load(entity: Entity, *, now: datetime, within_seconds: float = 600) -> dict[str, int]:
    """Per column: how many entities had a raw value lately. For Status; one query."""
    finish = now.timestamp()
    names = value_columns(entity)
    key = id_column(entity)
    counted = ", ".join(f"count(DISTINCT {key}) FILTER (WHERE {name} IS NOT NULL)::int AS {name}" for name in names)
    window = f"time > to_timestamp({finish - within_seconds!r}) AND time <= to_timestamp({finish!r})"
    got = columns_fetch(f"SELECT {counted} FROM {table_name(entity, RAW)} WHERE {window}", dict.fromkeys(names, "integer"))
    return {name: int(got[name][0]) for name in names}


def newest_load(entity: Entity, *, now: datetime, within: timedelta = timedelta(days=1)) -> datetime | None:
    """The time of the newest raw row of any entity of the kind within the last day. One query."""
    window = f"time > to_timestamp({(now - within).timestamp()!r})"
    got = columns_fetch(f"SELECT max(time) AS newest FROM {table_name(entity, RAW)} WHERE {window}", {"newest": "timestamptz"})
    return datetime.fromtimestamp(float(got["newest"][0]), tz=UTC) if len(got["newest"]) else None

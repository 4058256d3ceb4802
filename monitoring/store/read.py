"""Reading: which tables hold a window, and one query that brings the rows of all of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from itertools import chain, count
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg.types.numeric import Int2, Int4

from monitoring.catalog.columns import COLUMNS
from monitoring.catalog.records import Entity, Fold, Latency
from monitoring.store.copy import TEXTS_KEPT, Query, query_of, tables_fetch
from monitoring.store.histograms import StoredHistograms, histograms_fetch
from monitoring.store.records import Floats, Ints
from monitoring.store.schema import (
    FIVE_MINUTES,
    LATENCY,
    LEVELS,
    PARTS,
    RAW,
    Level,
    bin_sql,
    bin_start_sql,
    id_column,
    table_name,
    versioned,
)

Watermarks = Mapping[tuple[str, str], float]
OFTEN_MOST = 64  # entities: what pages ask of so few, they ask often
RAW_TAIL_SECONDS = 7200.0  # at the live edge so few raw rows are read sooner than two tables are asked
ADDED_UP = 1  # the level of rows that the database has added up to the steps of a chart
ADDED_PARTS = ("sum", "min", "max")  # of such a row: `sum` is the mean, which counts once
KEYS = ("ids", "versions", "times", "levels")  # of `Quads`
PART_FOLDS = (("sum", "count"), ("sum", "sum"), ("min", "min"), ("max", "max"))


@dataclass(frozen=True)
class Cut:
    """A piece without its values: they stand in the text as %(start0)s and so on, so that one text does for all windows alike."""

    level: Level
    place: int
    spare: bool
    added: bool

    @property
    def edges(self) -> tuple[str, str]:
        return f"%(start{self.place})s", f"%(end{self.place})s"


@dataclass(frozen=True)
class Piece:
    """Rows of one level with start < time <= end."""

    level: Level
    start: float
    end: float
    spare: bool = False  # only rows whose stretch holds no raw row of the same entity
    step: float = 0.0  # > 0: rows are added up to steps of this length inside the database


@dataclass(frozen=True)
class Whose:
    """Of whom rows are asked, as far as the text depends on it."""

    one: bool  # a single entity
    versions: bool  # only of some versions


@dataclass(frozen=True)
class Asked:
    """What a text needs to become a query: `windows` (of each its cuts) and `whose` are of the text, `values` of this one asking."""

    windows: tuple[tuple[Cut, ...], ...]
    whose: Whose
    values: dict[str, Any]
    often: bool


def asked_of(ids: Sequence[int] | Ints, windows: Sequence[Sequence[Piece]], versions: Sequence[int] | None = None) -> Asked:
    """ids must not be empty. A page asks a dozen queries of few entities, and to plan them takes longer than to run them."""
    values: dict[str, Any] = {"id": Int4(ids[0])} if len(ids) == 1 else {"ids": array_text(ids)}
    if versions is not None:
        values["versions"] = array_text(versions)
    places = count()
    cuts = tuple(tuple(Cut(piece.level, next(places), piece.spare, bool(piece.step)) for piece in window) for window in windows)
    for place, piece in enumerate(chain.from_iterable(windows)):
        values |= {f"start{place}": float(piece.start), f"end{place}": float(piece.end)}
        if piece.step:
            values[f"step{place}"] = timedelta(seconds=piece.step)
    return Asked(cuts, Whose(len(ids) == 1, versions is not None), values, len(ids) <= OFTEN_MOST)


def array_text(numbers: Sequence[int] | Ints) -> str:
    """As a value of `int[]`; of thousands sooner written than a list would be."""
    return f"{{{','.join(str(int(number)) for number in numbers)}}}"


@dataclass(frozen=True)
class Quads:
    """Rows of several levels alike: per column count, sum, least, greatest; a raw value counts as one."""

    ids: Ints
    versions: Ints
    times: Floats
    levels: Ints  # seconds of the level, 0 = raw, or ADDED_UP
    parts: dict[str, tuple[Floats, Floats, Floats, Floats]]


def pieces_chart(family: str, level: Level, start: float, end: float, watermarks: Watermarks, *, step: float = 0.0) -> list[Piece]:
    """`level`, and what is newer than its watermark from finer levels.

    step > 0: the steps that `level` has filled come added up; the last, begun one comes by itself, from raw rows where it is short.
    """
    filled = min(watermarks.get((family, level.name), start), end)
    whole = math.floor(filled / step) * step if step else start
    if whole <= start:
        return pieces_tail(family, level, start, end, watermarks)
    added = Piece(level, start, whole, step=step)
    from_raw = watermarks.get((family, FIVE_MINUTES.name), math.inf)
    if whole <= from_raw <= end <= whole + RAW_TAIL_SECONDS and filled < end:
        return [added, Piece(RAW, whole, end)]
    if filled < end:
        return [added, *pieces_tail(family, LEVELS[LEVELS.index(level) - 1], whole, end, watermarks)]
    return [added, Piece(level, whole, end)] if whole < end else [added]


def pieces_coarser(level: Level, start: float, end: float) -> list[Piece]:
    """The coarser levels, for what `level` has lost or never had."""
    return [Piece(coarser, start, math.ceil(end / coarser.seconds) * coarser.seconds) for coarser in LEVELS[LEVELS.index(level) + 1 :]]


def pieces_tail(family: str, level: Level, start: float, end: float, watermarks: Watermarks) -> list[Piece]:
    """`level` and, each from the watermark of the one before, the finer ones. Beyond its own watermark only 5 minutes has rows: imports."""
    pieces: list[Piece] = []
    tail = start
    for finer in reversed(LEVELS[: LEVELS.index(level) + 1]):
        if max(tail, start) >= end:
            break
        if finer in (RAW, FIVE_MINUTES) or tail < watermarks.get((family, finer.name), start):
            pieces.append(Piece(finer, max(tail, start), end))
        tail = watermarks.get((family, finer.name), start)
    return pieces


def pieces_exact(family: str, start: float, end: float, watermarks: Watermarks) -> list[Piece]:
    """The window cut so that each instant is read once, from the coarsest level whose rows lie wholly inside; at least one piece."""
    return pieces_cut(family, len(LEVELS) - 1, start, end, watermarks) or [Piece(RAW, start, end)]


def pieces_cut(family: str, rank: int, start: float, end: float, watermarks: Watermarks) -> list[Piece]:
    if start >= end:
        return []
    level = LEVELS[rank]
    if level is RAW:
        return [Piece(RAW, start, end)]
    first = math.ceil(start / level.seconds) * level.seconds
    filled = watermarks.get((family, level.name), -math.inf)
    last = math.floor(min(end, filled) / level.seconds) * level.seconds if filled > first else first
    if last <= first:
        cut = pieces_cut(family, rank - 1, start, end, watermarks)
    else:
        before = pieces_cut(family, rank - 1, start, first, watermarks)
        cut = [*before, Piece(level, first, last), *pieces_cut(family, rank - 1, last, end, watermarks)]
    if rank == 1 and filled < end:  # five-minute rows that came in as such, newer than the fill
        begin = max(first, math.floor(filled / level.seconds) * level.seconds) if math.isfinite(filled) else first
        cut.append(Piece(level, begin, math.floor(end / level.seconds) * level.seconds, spare=True))
    return cut


def window_sql(start: str, end: str, column: str = "time") -> str:
    return f"{column} > to_timestamp({start}) AND {column} <= to_timestamp({end})"


def cut_sql(family: str, cut: Cut, whose: Whose, selected: str, extra: str = "") -> str:
    table, key = table_name(family, cut.level), id_column(family)
    mine = f"{key} = %(id)s" if whose.one else f"{key} = ANY(%(ids)s::int[])"
    text = f"SELECT {selected} FROM {table} o WHERE {mine}{extra} AND {window_sql(*cut.edges)}"
    if whose.versions:
        text += " AND version_id = ANY(%(versions)s::int[])"
    if cut.spare:
        raw = table_name(family, RAW)
        same = f"r.{key} = o.{key}" + (" AND r.latency = o.latency" if family == LATENCY else "")
        inside = f"r.time > o.time - interval '{cut.level.seconds} seconds' AND r.time <= o.time"
        start, end = cut.edges
        window = window_sql(f"{start} - {cut.level.seconds}", end, "r.time")
        text += f" AND NOT EXISTS (SELECT 1 FROM {raw} r WHERE {same} AND {inside} AND {window})"
    return text


def quad_columns(level: Level, columns: Sequence[str], parts: Sequence[str]) -> str:
    """The parts of each column; a raw value stands in `sum` alone, the other parts are made after the transfer."""
    if level is RAW:
        values = {"count": "NULL::real", "min": "NULL::real", "max": "NULL::real"}
        return ", ".join(f"{values.get(part, name)} AS {name}_{part}" for name in columns for part in parts)
    return ", ".join(f"{name}_{part}" for name in columns for part in parts)


def version_column(family: str) -> str:
    return "version_id" if versioned(family) else "0 AS version_id"


def quads_sql(entity: Entity, columns: Sequence[str], cuts: Sequence[Cut], whose: Whose, parts: Sequence[str] = PARTS) -> str:
    key = id_column(entity)
    selects = []
    for cut in cuts:
        level = f"{version_column(entity)}, {ADDED_UP if cut.added else cut.level.seconds} AS level"
        if cut.added:  # only of entities without versions
            bins = bin_start_sql(f"%(step{cut.place})s")
            selected = f"{key} AS id, {bins} AS time, {level}, {quads_added(columns)}"
            selects.append(f"{cut_sql(entity, cut, whose, selected)} GROUP BY {key}, {bins}")
        else:
            selected = f"{key} AS id, time, {level}, {quad_columns(cut.level, columns, parts)}"
            selects.append(cut_sql(entity, cut, whose, selected))
    return " UNION ALL ".join(selects)


def quads_added(columns: Sequence[str]) -> str:
    return ", ".join(
        f"sum({name}_sum) / NULLIF(sum({name}_count), 0) AS {name}_sum, min({name}_min) AS {name}_min, max({name}_max) AS {name}_max"
        for name in columns
    )


def quads_fetch(
    entity: Entity, ids: Sequence[int] | Ints, columns: Sequence[str], pieces: Sequence[Piece], versions: Sequence[int] | None = None
) -> Quads:
    """One query. ids must not be empty."""
    return quads_fetch_windows(entity, ids, columns, [pieces], versions)[0]


def quads_fetch_windows(
    entity: Entity, ids: Sequence[int] | Ints, columns: Sequence[str], windows: Sequence[Sequence[Piece]], versions: Sequence[int] | None
) -> list[Quads]:
    """Of each window its pieces; one query for all of them."""
    asked = asked_of(ids, windows, versions)
    tables = iter(tables_fetch(quads_query(entity, tuple(columns), asked.windows, asked.whose), asked.values, often=asked.often))
    return [quads_joined([quads_of(next(tables), piece, columns, ids) for piece in window]) for window in windows]


@lru_cache(maxsize=TEXTS_KEPT)
def quads_query(entity: Entity, columns: tuple[str, ...], windows: tuple[tuple[Cut, ...], ...], whose: Whose) -> Query:
    """A table for each cut. What is the same in each row is not sent."""
    keys = {"time": "timestamptz"} | ({} if whose.one else {"id": "integer"}) | ({"version_id": "integer"} if versioned(entity) else {})
    tables = []
    for cut in chain.from_iterable(windows):
        sent = ("sum",) if cut.level is RAW else ADDED_PARTS if cut.added else PARTS
        kinds = keys | {f"{name}_{part}": "real" for name in columns for part in sent}
        tables.append((quads_sql(entity, columns, [cut], whose, sent), kinds))
    return query_of(tables)


def quads_of(got: dict[str, NDArray[Any]], piece: Piece, columns: Sequence[str], ids: Sequence[int] | Ints) -> Quads:
    same = np.zeros(len(got["time"]), dtype=np.int64)
    parts = {}
    for name in columns:
        total = got[f"{name}_sum"]
        count = got.get(f"{name}_count")
        count = np.isfinite(total).astype(np.float64) if count is None else np.where(np.isnan(count), 0.0, count)
        parts[name] = (count, total, got.get(f"{name}_min", total), got.get(f"{name}_max", total))
    level = ADDED_UP if piece.step else piece.level.seconds
    times = np.rint(got["time"]) + piece.step if piece.step else got["time"]  # from the first microsecond of a step to its end
    return Quads(got.get("id", same + int(ids[0])), got.get("version_id", same), times, same + level, parts)


def quads_joined(several: Sequence[Quads]) -> Quads:
    ids, versions, times, levels = (np.concatenate([getattr(one, name) for one in several]) for name in KEYS)
    parts = {}
    for name in several[0].parts:
        count, total, low, high = (np.concatenate(part) for part in zip(*(one.parts[name] for one in several), strict=True))
        parts[name] = (count, total, low, high)
    return Quads(ids, versions, times, levels, parts)


def latency_fetch(
    ids: Sequence[int] | Ints, latency: Latency, pieces: Sequence[Piece], versions: Sequence[int] | None = None
) -> StoredHistograms:
    """One query for the rows, one for the layouts that are not known yet. ids must not be empty."""
    return latency_fetch_windows(ids, [latency], [pieces], versions)[0]


def latency_fetch_windows(
    ids: Sequence[int] | Ints, latencies: Sequence[Latency], windows: Sequence[Sequence[Piece]], versions: Sequence[int] | None = None
) -> list[StoredHistograms]:
    """Of each window its pieces, of all kinds of latency asked for; as many queries as for one. Nothing may be empty."""
    asked = asked_of(ids, windows, versions)
    queries = tuple(latency_sql(cuts, asked.whose, len(latencies) == 1) for cuts in asked.windows)
    kinds = {"latency": Int2(latencies[0])} if len(latencies) == 1 else {"latencies": [Int2(latency) for latency in latencies]}
    return histograms_fetch(queries, asked.values | kinds, often=asked.often)


@lru_cache(maxsize=TEXTS_KEPT)
def latency_sql(cuts: tuple[Cut, ...], whose: Whose, one_kind: bool) -> str:
    selected = "deployment_id, version_id, latency, time, {} AS level, layout_id, counts, sum_seconds"
    kind = f" AND latency = {'%(latency)s' if one_kind else 'ANY(%(latencies)s)'}"
    return " UNION ALL ".join(cut_sql(LATENCY, cut, whose, selected.format(cut.level.seconds), kind) for cut in cuts)


Window = tuple[Sequence[str], Sequence[Piece]]  # columns, and the pieces that their totals are of


def totals_fetch(
    entity: Entity, ids: Sequence[int] | Ints, windows: Sequence[Window], *, means_only: bool = False
) -> list[dict[str, NDArray[Any]]]:
    """Of each window per entity and column: samples, their sum, least and greatest over its pieces; one query, which adds them up.

    Versions of a deployment live side by side: their sums add, their counts only up to the instants that there were.
    means_only: samples and sums; of many columns half the time is to plan what else is asked.
    """
    asked = asked_of(ids, [pieces for _, pieces in windows])
    several = tuple((tuple(columns), cuts) for (columns, _), cuts in zip(windows, asked.windows, strict=True))
    query = totals_query(entity, several, asked.whose, PARTS[:2] if means_only else PARTS)
    return tables_fetch(query, asked.values, often=asked.often)


@lru_cache(maxsize=TEXTS_KEPT)
def totals_query(
    entity: Entity, windows: tuple[tuple[tuple[str, ...], tuple[Cut, ...]], ...], whose: Whose, parts: tuple[str, ...]
) -> Query:
    return query_of([totals_sql(entity, columns, cuts, whose, parts) for columns, cuts in windows])


def totals_sql(
    entity: Entity, columns: Sequence[str], cuts: Sequence[Cut], whose: Whose, parts: Sequence[str]
) -> tuple[str, Mapping[str, str]]:
    rows = quads_sql(entity, columns, cuts, whose, parts)
    filled = ", ".join(filled_sql(name, part) for name in columns for part in parts)
    query = f"SELECT id, level, time, {filled} FROM ({rows}) AS rows"
    if versioned(entity):
        folds = ", ".join(version_fold_sql(name, fold_of(entity, name), parts) for name in columns)
        query = f"SELECT id, level, time, {folds} FROM ({query}) AS filled GROUP BY id, level, time"
    sums = ", ".join(f"{kind}({name}_{part})::real AS {name}_{part}" for name in columns for kind, part in PART_FOLDS if part in parts)
    kinds = {"id": "integer"} | {f"{name}_{part}": "real" for name in columns for part in parts}
    return f"SELECT id, {sums} FROM ({query}) AS folded GROUP BY id", kinds


def filled_sql(name: str, part: str) -> str:
    """A raw value stands in `sum` alone, see `quad_columns`."""
    raw = f"({name}_sum IS NOT NULL)::int::real" if part == "count" else f"{name}_sum"
    return f"{name}_sum" if part == "sum" else f"CASE WHEN level = 0 THEN {raw} ELSE {name}_{part} END AS {name}_{part}"


def fold_of(entity: Entity, name: str) -> Fold:
    return next(column.fold for column in COLUMNS[entity] if column.name == name)


def version_fold_sql(name: str, fold: Fold, parts: Sequence[str]) -> str:
    """How the rows of several versions at one instant become one: side by side, or of a ratio the fullest."""
    if fold is Fold.MAX:
        folds = {
            "count": f"max({name}_count)",
            "sum": f"max({name}_sum / NULLIF({name}_count, 0)) * max({name}_count)",
            "min": f"min({name}_min)",
            "max": f"max({name}_max)",
        }
    else:
        instants = f"LEAST(sum({name}_count), max(max({name}_count)) OVER (PARTITION BY id, level))"
        folds = {"count": instants} | {part: f"sum({name}_{part})" for part in PARTS[1:]}
    return ", ".join(f"{folds[part]} AS {name}_{part}" for part in parts)


RAW_BIN_SECONDS = 60  # senders' grids differ below this


def instants_fetch(entity: Entity, ids: Sequence[int] | Ints, column: str, pieces: Sequence[Piece], fold: str) -> dict[str, NDArray[Any]]:
    """The fold over entities at each instant of each level: `level`, `time`, `value`, added up inside the database."""
    asked = asked_of(ids, [pieces])
    query = instants_query(entity, column, asked.windows[0], asked.whose, fold)
    return tables_fetch(query, asked.values, often=asked.often)[0]


@lru_cache(maxsize=TEXTS_KEPT)
def instants_query(entity: Entity, column: str, cuts: tuple[Cut, ...], whose: Whose, fold: str) -> Query:
    rows = quads_sql(entity, [column], cuts, whose)
    bins = f"CASE WHEN level = 0 THEN {bin_sql(RAW_BIN_SECONDS)} ELSE time END"
    one = f"CASE WHEN level = 0 THEN ({column}_sum IS NOT NULL)::int::real ELSE {column}_count END"
    means = f"""
        SELECT id, level, {bins} AS time,
            sum({column}_sum) / NULLIF(LEAST(sum({one}), max(max({one})) OVER (PARTITION BY id, level)), 0) AS value
        FROM ({rows}) AS rows GROUP BY 1, 2, 3"""
    if fold == Fold.MAX and versioned(entity):
        means = f"SELECT id, level, {bins} AS time, max({column}_sum / NULLIF({one}, 0)) AS value FROM ({rows}) AS rows GROUP BY 1, 2, 3"
    elif not versioned(entity):
        means = (
            f"SELECT id, level, {bins} AS time, sum({column}_sum) / NULLIF(sum({one}), 0) AS value FROM ({rows}) AS rows GROUP BY 1, 2, 3"
        )
    folded = {"sum": "sum", "mean": "avg", "max": "max"}[fold]
    query = f"SELECT level, time, {folded}(value)::real AS value FROM ({means}) AS means WHERE value IS NOT NULL GROUP BY 1, 2"
    return query_of([(query, {"level": "integer", "time": "timestamptz", "value": "real"})])

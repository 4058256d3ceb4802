"""Quantities over time: one entity, many, or many folded into one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np

from monitoring.catalog.columns import COLUMNS, RATIOS
from monitoring.catalog.records import Column, Entity, Ratio
from monitoring.series.grid import (
    Floats,
    Grid,
    Instants,
    Ints,
    grid_of,
    instants_bin,
    instants_of,
    instants_ratio,
    level_for,
    level_found,
    unit_of,
)
from monitoring.series.records import Line, Lines
from monitoring.store.read import (
    ADDED_UP,
    Piece,
    Quads,
    Watermarks,
    instants_fetch,
    pieces_chart,
    pieces_coarser,
    quads_fetch_windows,
    quads_joined,
)
from monitoring.store.schema import FIVE_MINUTES, RAW, Level, versioned
from monitoring.store.watermarks import watermarks_load

RATIO_OF = {ratio.name: ratio for ratio in RATIOS}
MANY_SLACK = 2.5  # small charts take steps up to this much longer, and so read hours instead of five minutes


@dataclass(frozen=True)
class Wanted:
    """The asked names, and the stored columns they need."""

    entity: Entity
    names: tuple[str, ...]

    def column(self, name: str) -> Column:
        found = next((column for column in COLUMNS[self.entity] if column.name == name), None)
        if found is None:
            raise KeyError(f"{self.entity} has no column or ratio {name!r}")
        return found

    def unit(self, name: str) -> str:
        return RATIO_OF[name].unit if name in RATIO_OF else self.column(name).unit

    def stored(self) -> list[str]:
        asked = [part for name in self.names for part in self.parts(name)]
        return [self.column(name).name for name in dict.fromkeys(asked)]

    def adds_up(self) -> bool:
        """Whether rows may be added up to steps before versions are folded and quotients are taken: there are neither."""
        return not versioned(self.entity) and not any(name in RATIO_OF for name in self.names)

    def parts(self, name: str) -> tuple[str, ...]:
        ratio: Ratio | None = RATIO_OF.get(name)
        return (ratio.numerator, ratio.denominator) if ratio else (name,)

    def instants(self, quads: Quads, name: str, places: Ints) -> Instants:
        parts = [instants_of(quads, part, self.column(part).fold, places) for part in self.parts(name)]
        return instants_ratio(*parts) if name in RATIO_OF else parts[0]


@dataclass(frozen=True)
class Asked:
    """A chart of one or many entities: what, of whom (ascending), at which level, over (start, end]."""

    wanted: Wanted
    ids: Ints
    level: Level
    start: float
    end: float
    points: int
    versions: Sequence[int] | None

    @cached_property
    def step(self) -> float:
        """To which the database adds rows up; 0 where it must not."""
        fixed = self.wanted.adds_up() and self.level is not RAW
        return grid_of(self.start, self.end, self.points, self.level.seconds).step if fixed else 0.0


@dataclass(frozen=True)
class Charted:
    """Binned columns of all entities, each (entities, grid.size)."""

    grid: Grid
    table: Level
    binned: dict[str, tuple[Floats, Floats, Floats]]
    newest: Floats  # (entities,), -inf where nothing was measured

    def gap_before(self, filled: float) -> bool:
        """Is there a step up to then in which nothing asked for was measured? One column alone missing is missing everywhere."""
        old = self.grid.times <= filled
        empty = np.logical_and.reduce([np.isnan(mean[:, old]) for mean, _, _ in self.binned.values()])
        return bool(empty.any())

    def lines(self, asked: Asked) -> dict[int, Lines]:
        times = self.grid.times
        units = {name: asked.wanted.unit(name) for name in self.binned}
        return {
            int(number): Lines(
                self.grid.step,
                self.table.name,
                float(self.newest[place]) if np.isfinite(self.newest[place]) else None,
                {name: Line(times, mean[place], low[place], high[place], units[name]) for name, (mean, low, high) in self.binned.items()},
            )
            for place, number in enumerate(asked.ids)
        }


def lines_load(
    entity: Entity,
    entity_id: int,
    columns: Sequence[str],
    *,
    start: datetime,
    end: datetime,
    points: int = 500,
    versions: Sequence[int] | None = None,
) -> Lines:
    """Two queries, how far the rollups are and the rows; a third where there are gaps that coarser rollups may fill."""
    level = level_for(start.timestamp(), end.timestamp(), points)
    asked = Asked(Wanted(entity, tuple(columns)), np.array([entity_id]), level, start.timestamp(), end.timestamp(), points, versions)
    return charts_load([asked])[0].lines(asked)[entity_id]


def lines_load_windows(
    entity: Entity, entity_id: int, columns: Sequence[str], windows: Sequence[tuple[datetime, datetime]], *, points: int = 500
) -> list[Lines]:
    """Of each window (start, end) its lines; as many queries as for one."""
    wanted, own = Wanted(entity, tuple(columns)), np.array([entity_id])
    edges = [(start.timestamp(), end.timestamp()) for start, end in windows]
    several = [Asked(wanted, own, level_for(start, end, points), start, end, points, None) for start, end in edges]
    return [charted.lines(asked)[entity_id] for asked, charted in zip(several, charts_load(several), strict=True)]


def lines_load_many(
    entity: Entity, ids: Sequence[int], columns: Sequence[str], *, start: datetime, end: datetime, points: int = 60
) -> dict[int, Lines]:
    """Two or three queries, however many entities."""
    if not len(ids):
        return {}
    level = level_for(start.timestamp(), end.timestamp(), points, slack=MANY_SLACK)
    known = np.unique(np.asarray(ids, dtype=np.int64))
    asked = Asked(Wanted(entity, tuple(columns)), known, level, start.timestamp(), end.timestamp(), points, None)
    return charts_load([asked])[0].lines(asked)


def charts_load(several: Sequence[Asked]) -> list[Charted]:
    """Windows of the same entities. Coarser levels are only asked where the first answer has gaps that they could fill."""
    marks = watermarks_load()
    entity = several[0].wanted.entity
    quads = windows_fetch(several, [pieces_chart(entity, one.level, one.start, one.end, marks, step=one.step) for one in several])
    charts = [charted_of(asked, own) for asked, own in zip(several, quads, strict=True)]
    coarser = [pieces_coarser(one.level, one.start, one.end) for one in several]
    short = [place for place, own in enumerate(coarser) if own and charts[place].gap_before(filled_to(own, entity, marks))]
    if short:
        more = windows_fetch([several[place] for place in short], [coarser[place] for place in short])
        for place, found in zip(short, more, strict=True):
            charts[place] = charted_of(several[place], quads_joined([quads[place], found]))
    return charts


def windows_fetch(several: Sequence[Asked], pieces: Sequence[Sequence[Piece]]) -> list[Quads]:
    wanted = several[0].wanted
    return quads_fetch_windows(wanted.entity, several[0].ids, wanted.stored(), pieces, several[0].versions)


def filled_to(coarser: Sequence[Piece], entity: Entity, marks: Watermarks) -> float:
    """Up to when one of these levels could fill a gap.

    Five-minute rows of an import may be there before anything was ever filled; hours and days come from filling alone.
    """
    return max(marks.get((entity, piece.level.name), np.inf if piece.level is FIVE_MINUTES else -np.inf) for piece in coarser)


def charted_of(asked: Asked, quads: Quads) -> Charted:
    wanted = asked.wanted
    places = np.searchsorted(asked.ids, quads.ids)
    table = level_found(quads.levels, asked.level)
    grid = grid_of(asked.start, asked.end, asked.points, unit_of_columns(quads, table, places))
    binned = {
        name: instants_bin(wanted.instants(quads, name, places), grid, len(asked.ids), step=asked.step, level=asked.level.seconds)
        for name in wanted.names
    }
    newest = np.full(len(asked.ids), -np.inf)
    measured = np.logical_or.reduce([count > 0 for count, *_ in quads.parts.values()])
    # Of rows added up to a step only the first of its rows is sure.
    sure = quads.times - np.where(quads.levels == ADDED_UP, asked.step - asked.level.seconds, 0.0)
    np.maximum.at(newest, places[measured], sure[measured])
    return Charted(grid, table, binned, np.minimum(newest, asked.end))


def unit_of_columns(quads: Quads, table: Level, places: Ints) -> float:
    """The longest step of the asked columns, as one may come each 15 s and another each 60 s."""
    if table is not RAW:
        return float(table.seconds)
    raw = [(quads.levels == 0) & (count > 0) for count, *_ in quads.parts.values()]
    return max(unit_of(table, places[rows], quads.times[rows]) for rows in raw if rows.any() or not any(other.any() for other in raw))


def lines_load_total(entity: Entity, ids: Sequence[int], column: str, *, start: datetime, end: datetime, points: int = 60) -> Lines:
    """One column folded over entities inside the database; low and high are those of the folded value within a step."""
    wanted = Wanted(entity, (column,))
    begin, finish = start.timestamp(), end.timestamp()
    level = level_for(begin, finish, points, slack=MANY_SLACK)
    pieces = [*pieces_chart(entity, level, begin, finish, watermarks_load()), *pieces_coarser(level, begin, finish)]
    parts = [total_instants(entity, ids, wanted.column(part), pieces) for part in wanted.parts(column)] if len(ids) else []
    if len(parts) == 2:
        parts = [instants_ratio(*same_instants(*parts))]
    instants = parts[0] if parts else NOTHING
    table = level_found(instants.levels, level)
    raw = instants.levels == 0
    grid = grid_of(begin, finish, points, max(unit_of(table, instants.places[raw], instants.times[raw]), 60.0))
    mean, low, high = instants_bin(instants, grid, 1)
    line = Line(grid.times, mean[0], low[0], high[0], wanted.unit(column))
    as_of = float(min(instants.times.max(), finish)) if len(instants.times) else None
    return Lines(grid.step, table.name, as_of, {column: line})


EMPTY: Floats = np.zeros(0)
NOTHING = Instants(EMPTY.astype(np.int64), EMPTY.astype(np.int64), EMPTY, EMPTY, EMPTY, EMPTY, EMPTY)


def total_instants(entity: Entity, ids: Sequence[int], column: Column, pieces: Sequence[Piece]) -> Instants:
    got = instants_fetch(entity, ids, column.name, pieces, column.fold.value)
    order = np.lexsort((got["time"], got["level"]))
    levels, times, values = got["level"][order].astype(np.int64), got["time"][order], got["value"][order]
    spans = np.where(levels == 0, 60, levels) / 60.0  # a coarse row weighs as much as the raw ones it stands for
    return Instants(np.zeros(len(times), dtype=np.int64), levels, times, values * spans, spans, values, values)


def same_instants(one: Instants, other: Instants) -> tuple[Instants, Instants]:
    keys = [instants.levels * 1e11 + instants.times for instants in (one, other)]
    _, first, second = np.intersect1d(keys[0], keys[1], return_indices=True)
    return one.taken(first), other.taken(second)

"""From the columns of a body to wide rows: arrays in, arrays out, no database."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.agents.batch import Body, TooMuch
from monitoring.catalog.records import Entity
from monitoring.ingest import Verdicts
from monitoring.store.records import Floats, Rows

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Cells:
    """The values of a body: one line a (column, entity) that has any."""

    names: Sequence[str]  # of the columns
    columns: NDArray[np.int64]  # (k,) number of the column
    entities: NDArray[np.int64]  # (k,) number of the entity
    values: Floats  # (k, m), NaN = missing
    times: Floats  # (m,)

    def taken(self, chosen: Bools) -> "Cells":
        return Cells(self.names, self.columns[chosen], self.entities[chosen], self.values[chosen], self.times)

    @property
    def shape(self) -> tuple[Hashable, ...]:
        """Which columns of which entities have values."""
        return tuple(self.names), self.columns.tobytes(), self.entities.tobytes()

    @property
    def samples(self) -> int:
        return int(np.count_nonzero(~np.isnan(self.values)))


def cells_read(body: Body, *, most: float, verdicts: Verdicts) -> Cells:
    """The values of a body; a series with another number of values than there are times is refused alone."""
    size = len(body.times)
    # Lists, not loops: this is half of what Python does for a batch.
    lists = list(body.columns.values())
    lines = [values for given in lists for values in given if values is not None]
    present = np.array([[values is not None for values in given] for given in lists], dtype=bool).reshape(len(lists), len(body.entities))
    columns, entities = np.nonzero(present)
    if set(map(len, lines)) - {size}:
        fits = np.array([len(values) == size for values in lines], dtype=bool)
        for number in np.flatnonzero(~fits).tolist():
            line_refuse(body, column=int(columns[number]), entity=int(entities[number]), values=lines[number], verdicts=verdicts)
        lines, columns, entities = [values for values in lines if len(values) == size], columns[fits], entities[fits]
    matrix: Floats = np.array(lines, dtype=np.float64).reshape(len(lines), size)  # numpy makes NaN of None
    cells = Cells(list(body.columns), columns, entities, matrix, np.array(body.times, dtype=np.float64))
    if cells.samples + verdicts.rejected > most:
        raise TooMuch(f"a batch may hold {most:g} samples, got {cells.samples + verdicts.rejected}")
    return cells


def line_refuse(body: Body, *, column: int, entity: int, values: Sequence[float | None], verdicts: Verdicts) -> None:
    count = sum(value is not None for value in values)
    name, key = list(body.columns)[column], body.entities[entity].key
    text = f"{name} of {key!r} needs {len(body.times)} values, one for each time, got {len(values)}"
    verdicts.refuse(np.ones(max(count, 1), dtype=bool), text, samples=count)


def cells_refuse(cells: Cells, bad: Bools, text: str, *, verdicts: Verdicts) -> Cells:
    """Without the bad lines; their samples are counted under one sentence."""
    if not bad.any():
        return cells
    gone = cells.taken(bad)
    verdicts.refuse(np.ones(max(gone.samples, 1), dtype=bool), text, samples=gone.samples)
    return cells.taken(~bad)


def cells_rows(cells: Cells, *, entity: Entity, ids: Mapping[int, int]) -> Rows | None:
    """Wide rows of one kind of entity, in the order of the primary key. ids: number in the batch -> id of the row."""
    pairs = sorted((pk, number) for number, pk in ids.items())
    place = np.full(max(int(cells.entities.max(initial=0)), max(ids)) + 1, -1, dtype=np.int64)
    place[[number for _, number in pairs]] = np.arange(len(pairs))
    own = place[cells.entities]
    wanted = own >= 0
    if not wanted.any():
        return None
    used = np.flatnonzero(np.bincount(cells.columns[wanted]))
    order = np.zeros(int(used[-1]) + 1, dtype=np.int64)
    order[used] = np.arange(len(used))
    cube = np.full((len(used), len(pairs), len(cells.times)), np.nan)
    cube[order[cells.columns[wanted]], own[wanted]] = cells.values[wanted]
    flat = cube.reshape(len(used), -1)
    row_ids = np.repeat(np.array([pk for pk, _ in pairs], dtype=np.int64), len(cells.times))
    times = np.tile(cells.times, len(pairs))
    filled = ~np.isnan(flat).all(axis=0)
    if not filled.all():
        flat, row_ids, times = flat[:, filled], row_ids[filled], times[filled]
    return Rows(entity, row_ids, times, {cells.names[number]: flat[at] for at, number in enumerate(used.tolist())})

"""From the columns of a body to wide rows: arrays in, arrays out, no database."""

from collections.abc import Mapping, Sequence
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
    def samples(self) -> int:
        return int(np.count_nonzero(~np.isnan(self.values)))


def cells_read(body: Body, *, most: float, verdicts: Verdicts) -> Cells:
    """The values of a body; a series with another number of values than there are times is refused alone."""
    size = len(body.times)
    lines, columns, entities = [], [], []
    for number, (name, given) in enumerate(body.columns.items()):
        for entity, values in enumerate(given):
            if values is None:
                continue
            if len(values) != size:
                count = sum(value is not None for value in values)
                text = f"{name} of {body.entities[entity].key!r} needs {size} values, one for each time, got {len(values)}"
                verdicts.refuse(np.ones(max(count, 1), dtype=bool), text, samples=count)
                continue
            lines.append(values)
            columns.append(number)
            entities.append(entity)
    # numpy makes NaN of None
    matrix: Floats = np.array(lines, dtype=np.float64).reshape(len(lines), size)
    cells = Cells(
        list(body.columns),
        np.array(columns, dtype=np.int64),
        np.array(entities, dtype=np.int64),
        matrix,
        np.array(body.times, dtype=np.float64),
    )
    if cells.samples + verdicts.rejected > most:
        raise TooMuch(f"a batch may hold {most:g} samples, got {cells.samples + verdicts.rejected}")
    return cells


def cells_refuse(cells: Cells, bad: Bools, text: str, *, verdicts: Verdicts) -> Cells:
    """Without the bad lines; their samples are counted under one sentence."""
    if not bad.any():
        return cells
    gone = cells.taken(bad)
    verdicts.refuse(np.ones(max(gone.samples, 1), dtype=bool), text, samples=gone.samples)
    return cells.taken(~bad)


def cells_rows(cells: Cells, *, entity: Entity, ids: Mapping[int, int]) -> Rows | None:
    """Wide rows of one kind of entity, in the order of the primary key. ids: number in the batch -> id of the row."""
    wanted = np.isin(cells.entities, np.fromiter(ids, dtype=np.int64, count=len(ids)))
    if not wanted.any():
        return None
    cells = cells.taken(wanted)
    pairs = sorted((pk, number) for number, pk in ids.items())
    place = np.zeros(max(ids) + 1, dtype=np.int64)
    place[[number for _, number in pairs]] = np.arange(len(pairs))
    used, column = np.unique(cells.columns, return_inverse=True)
    cube = np.full((len(used), len(pairs), len(cells.times)), np.nan)
    cube[column, place[cells.entities]] = cells.values
    filled = ~np.isnan(cube).all(axis=0).ravel()
    flat = cube.reshape(len(used), -1)[:, filled]
    row_ids = np.repeat(np.array([pk for pk, _ in pairs], dtype=np.int64), len(cells.times))[filled]
    times = np.tile(cells.times, len(pairs))[filled]
    return Rows(entity, row_ids, times, {cells.names[number]: flat[at] for at, number in enumerate(used.tolist())})

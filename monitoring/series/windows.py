"""Totals of many entities over many windows at once, asked again every few seconds: rules.

A window of at least 15 minutes begins on a five-minute boundary. What of it the rollups have filled stays the same for minutes, so
it is kept from one asking to the next; only what is newer is read each time, for all windows in one query.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monitoring.catalog.records import Entity
from monitoring.series.grid import Floats, Instants, Ints
from monitoring.series.lines import Wanted
from monitoring.store.read import Piece, Watermarks, pieces_exact, quads_fetch, totals_fetch
from monitoring.store.schema import FIVE_MINUTES, PARTS, RAW
from monitoring.store.watermarks import watermarks_load

ALIGNED_SECONDS = 900.0
BIN = float(FIVE_MINUTES.seconds)
KEPT = 64  # stretches
Stretch = tuple[float, float]  # Unix seconds: after the first, up to the second


@dataclass(frozen=True)
class Totals:
    """Of one column over one window: (entities,) each, in the order of the ids asked for; count 0: nothing was measured."""

    count: Floats
    total: Floats
    low: Floats  # NaN where nothing was measured
    high: Floats

    @property
    def mean(self) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.count > 0, self.total / self.count, np.nan)

    def taken(self, places: Ints) -> "Totals":
        return Totals(self.count[places], self.total[places], self.low[places], self.high[places])

    def plus(self, other: "Totals") -> "Totals":
        low, high = np.fmin(self.low, other.low), np.fmax(self.high, other.high)
        return Totals(self.count + other.count, self.total + other.total, low, high)


@dataclass(frozen=True)
class Filled:
    """What rollups say of a stretch that they have filled."""

    ids: Ints  # asked for, ascending
    columns: dict[str, Totals]

    def answers(self, ids: Ints, columns: Sequence[str]) -> bool:
        return set(columns) <= set(self.columns) and bool(np.isin(ids, self.ids, assume_unique=True).all())


FILLED: dict[tuple[Entity, Stretch], Filled] = {}


def windows_load(entity: Entity, ids: Sequence[int], windows: Mapping[Stretch, Sequence[str]]) -> dict[Stretch, dict[str, Totals]]:
    """Columns (no ratios) over windows of Unix seconds, after the first and up to the second.

    Two queries, and one for each long window whenever its filled part has moved on, however many entities.
    """
    if not len(ids) or not windows:
        return {}
    known = np.unique(np.asarray(ids, dtype=np.int64))
    places = np.searchsorted(known, np.asarray(ids, dtype=np.int64))
    marks = watermarks_load()
    mark = marks.get((entity, FIVE_MINUTES.name), -math.inf)
    cuts = {window: window_cut(window, mark) for window in windows}
    names = sorted({name for columns in windows.values() for name in columns})
    since, until = min(cut for _, cut in cuts.values()), max(end for _, end in windows)
    fresh = fresh_load(entity, known, names, (since, until), mark)
    recent: dict[tuple[str, Stretch], Totals] = {}  # long windows end alike
    found = {}
    for window, columns in windows.items():
        start, cut = cuts[window]
        for name in columns:
            if (name, (cut, window[1])) not in recent:
                recent[name, (cut, window[1])] = instants_total(fresh[name], (cut, window[1]), len(known))
        own = {name: recent[name, (cut, window[1])] for name in columns}
        if cut > start:
            filled = filled_load(entity, known, columns, (start, cut), marks)
            own = {name: filled[name].plus(totals) for name, totals in own.items()}
        found[window] = {name: totals.taken(places) for name, totals in own.items()}
    return found


def window_cut(window: Stretch, filled: float) -> Stretch:
    """Where the window really begins, and up to where the rollups answer for it: nowhere, where both are alike."""
    start, end = window
    if end - start < ALIGNED_SECONDS:
        return start, start
    begin = math.floor(start / BIN) * BIN
    return begin, max(begin, math.floor(min(max(filled, begin), end) / BIN) * BIN)


def fresh_load(entity: Entity, ids: Ints, names: Sequence[str], stretch: Stretch, filled: float) -> dict[str, Instants]:
    """Raw rows, and five-minute rows that came in as such and are newer than the fill; versions folded. One query."""
    since, until = stretch
    spare = Piece(FIVE_MINUTES, max(math.ceil(since / BIN) * BIN, filled), math.floor(until / BIN) * BIN, spare=True)
    pieces = [piece for piece in (Piece(RAW, since, until), spare) if piece.start < piece.end]
    wanted = Wanted(entity, tuple(names))
    quads = quads_fetch(entity, ids, names, pieces)
    return {name: wanted.instants(quads, name, np.searchsorted(ids, quads.ids)) for name in names}


def instants_total(instants: Instants, stretch: Stretch, size: int) -> Totals:
    start, end = stretch
    chosen = (instants.times - instants.levels >= start) & (instants.times <= end) & (instants.weights > 0)
    chosen &= instants.times > start
    places = instants.places[chosen]
    low, high = np.full(size, np.nan), np.full(size, np.nan)
    np.fmin.at(low, places, instants.lows[chosen])
    np.fmax.at(high, places, instants.highs[chosen])
    count, total = (np.bincount(places, part[chosen], size).astype(np.float64) for part in (instants.weights, instants.totals))
    return Totals(count, total, low, high)


def filled_load(entity: Entity, ids: Ints, columns: Sequence[str], stretch: Stretch, marks: Watermarks) -> dict[str, Totals]:
    """Kept from one asking to the next: late samples behind the mark count as soon as the stretch has moved on, within five minutes."""
    kept = FILLED.get((entity, stretch))
    if kept is None or not kept.answers(ids, columns):
        names = sorted({*columns, *(kept.columns if kept else ())})
        (got,) = totals_fetch(entity, ids, [(names, pieces_exact(entity, *stretch, marks))])
        places = np.searchsorted(ids, got["id"])
        totals = {name: Totals(*(spread(got[f"{name}_{part}"], places, len(ids), part) for part in PARTS)) for name in names}
        kept = FILLED[entity, stretch] = Filled(ids, totals)
        while len(FILLED) > KEPT:
            FILLED.pop(next(iter(FILLED)))
    places = np.searchsorted(kept.ids, ids)
    return {name: kept.columns[name].taken(places) for name in columns}


def spread(values: Floats, places: Ints, size: int, part: str) -> Floats:
    """Onto all entities asked for; of those without rows the count and the sum are 0."""
    out = np.full(size, 0.0 if part in ("count", "sum") else np.nan)
    out[places] = np.where(np.isfinite(values), values, out[places])
    return out

"""Arithmetic of a cycle: label rows of many series become whole rows of entities. Arrays in, arrays out, no Django.

A block is the answer of one series laid on entities: `values` (k, m), one row a label set and one column an instant,
NaN = not measured; `slots` (k,) the entity row each belongs to; `keys` (k,) the number of its label set.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from monitoring.catalog.records import Column, Fold, Kind, Latency, Series, System

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    system: System
    series: Series
    values: Floats  # (k, m) in base units
    slots: Ints  # (k,)
    keys: Ints  # (k,)
    replicas: Ints  # (k,) row number of the replica, -1 = of no single one
    bounds: Floats | None = None  # (k,) upper bucket bounds in seconds, for histograms
    is_sum: bool = False  # the `_sum` of a histogram


@dataclass
class Table:
    """Columns of one entity over (slot, instant), and who provided them to whom."""

    owners: Ints  # (size,) the deployment of each (deployment, version), else the entity itself
    columns: dict[str, Floats] = field(default_factory=dict)  # name -> (size, m)
    providers: dict[str, dict[int, str]] = field(default_factory=dict)  # column -> owner -> slug; those given stay


@dataclass(frozen=True)
class Buckets:
    """Latency counts of several slots that share one bucket layout."""

    latency: Latency
    slug: str
    bounds: tuple[float, ...]  # without +Inf
    slots: Ints  # (k,)
    counts: Floats  # (k, m, len(bounds) + 1), not cumulative, requests in the step; NaN = not measured
    sums: Floats  # (k, m) seconds, NaN where not told


def fold_rows(values: Floats, *, codes: Ints, size: int, fold: Fold) -> Floats:
    """Fold rows with the same code into one; NaN is left out, and an instant with nothing but NaN stays NaN.

    values: (k, ...); codes: (k,) in [0, size). Returns (size, ...).
    """
    out = np.full((size, *values.shape[1:]), np.nan)
    if not len(codes):
        return out
    order = np.argsort(codes, kind="stable")
    ordered, found = values[order], codes[order]
    starts = np.flatnonzero(np.r_[True, found[1:] != found[:-1]])
    if fold is Fold.MAX:
        folded = np.fmax.reduceat(ordered, starts, axis=0)
    else:
        known = np.isfinite(ordered)
        folded = np.add.reduceat(np.where(known, ordered, 0.0), starts, axis=0)
        count = np.add.reduceat(known, starts, axis=0, dtype=np.int64)
        with np.errstate(invalid="ignore", divide="ignore"):
            folded = folded / count if fold is Fold.MEAN else np.where(count > 0, folded, np.nan)
    out[found[starts]] = folded
    return out


def by_priority(blocks: Iterable[Block]) -> list[tuple[System, list[Block]]]:
    """Blocks a system, the preferred provider first."""
    systems: dict[str, tuple[System, list[Block]]] = {}
    for block in blocks:
        systems.setdefault(block.system.slug, (block.system, []))[1].append(block)
    return sorted(systems.values(), key=lambda one: (-one[0].priority, one[0].slug))


def first_answers(blocks: Sequence[Block]) -> list[Block]:
    """Of several series with one target, keep for each label set the first that has a value."""
    if len(blocks) < 2:
        return list(blocks)
    seen: set[int] = set()
    kept = []
    for block in blocks:
        known = np.isfinite(block.values).any(axis=1)
        fresh = known & ~np.isin(block.keys, np.fromiter(seen, dtype=np.int64, count=len(seen)))
        seen.update(block.keys[fresh].tolist())
        kept.append(rows_kept(block, fresh))
    return kept


def rows_kept(block: Block, mask: NDArray[np.bool_]) -> Block:
    bounds = None if block.bounds is None else block.bounds[mask]
    return replace(
        block, values=block.values[mask], slots=block.slots[mask], keys=block.keys[mask], replicas=block.replicas[mask], bounds=bounds
    )


def system_columns(blocks: Sequence[Block], *, size: int, steps: int, known: Mapping[str, Column], fold: Fold | None) -> dict[str, Floats]:
    """The columns one system gives; `fold` overrides the columns' own (accelerators and nodes: MAX of repeats)."""
    targets: dict[str, list[Block]] = {}
    for block in blocks:
        if isinstance(block.series.target, str) and block.series.target in known:
            targets.setdefault(block.series.target, []).append(block)
    columns: dict[str, Floats] = {}
    for name, many in targets.items():
        chosen = first_answers(many)
        values = np.concatenate([b.values for b in chosen]) if chosen else np.empty((0, steps))
        codes = np.concatenate([b.slots for b in chosen])
        columns[name] = fold_rows(values, codes=codes, size=size, fold=fold or known[name].fold)
    zeros = [name for name, many in targets.items() if any(b.series.absent_is_zero and not b.series.server_wide for b in many)]
    if zeros:
        alive = np.logical_or.reduce([np.isfinite(values) for values in columns.values()])
        for name in zeros:
            columns[name][alive & ~np.isfinite(columns[name])] = 0.0
    return columns


def table_fill(table: Table, *, blocks: Iterable[Block], steps: int, known: Mapping[str, Column], fold: Fold | None = None) -> None:
    """Put all systems' blocks into the table; per (owner, column) the system of the highest priority that has a value."""
    for system, own in by_priority(blocks):
        for name, values in system_columns(own, size=len(table.owners), steps=steps, known=known, fold=fold).items():
            column_merge(table, name=name, values=values, slug=system.slug)


def column_merge(table: Table, *, name: str, values: Floats, slug: str) -> None:
    providers = table.providers.setdefault(name, {})
    measured = np.isfinite(values).any(axis=1)
    free = measured & ~np.isin(table.owners, np.fromiter(providers, dtype=np.int64, count=len(providers)))
    if not free.any():
        return
    column = table.columns.setdefault(name, np.full(values.shape, np.nan))
    column[free] = values[free]
    providers.update(dict.fromkeys(table.owners[free].tolist(), slug))


def replicas_alive(blocks: Iterable[Block], *, rows: int, steps: int) -> Floats:
    """(rows, steps) 1.0 where any series of a replica row has a value, else 0.0."""
    alive = np.zeros((rows, steps))
    for block in blocks:
        inside = block.replicas >= 0
        known = np.where(np.isfinite(block.values[inside]), 1.0, np.nan)
        seen = fold_rows(known, codes=block.replicas[inside], size=rows, fold=Fold.MAX)
        np.copyto(alive, 1.0, where=np.isfinite(seen))
    return alive


def alive_counts(blocks: Iterable[Block], *, slots_of: Ints, size: int, steps: int) -> Floats:
    """How many replicas of each slot answered at each instant, (size, steps).

    slots_of: (replica count,) the slot of each replica. NaN where none did: a scrape that failed and a server that
    is down look the same from here; only an orchestrator can tell a zero.
    """
    alive = replicas_alive(blocks, rows=len(slots_of), steps=steps)
    counts = fold_rows(alive, codes=slots_of, size=size, fold=Fold.SUM)
    counts[~(counts > 0)] = np.nan
    return counts


# Histograms


def buckets_assemble(blocks: Iterable[Block], *, owners: Ints, step_seconds: float) -> list[Buckets]:
    """Cumulative `le` rates to counts a step and slot; per (owner, latency) the system of the highest priority."""
    out: list[Buckets] = []
    taken: dict[Latency, set[int]] = {}
    for system, own in by_priority(b for b in blocks if b.series.kind is Kind.HISTOGRAM):
        for latency in dict.fromkeys(b.series.target for b in own if isinstance(b.series.target, Latency)):
            busy = taken.setdefault(latency, set())
            many = first_answers([b for b in own if b.series.target == latency and not b.is_sum])
            sums = first_answers([b for b in own if b.series.target == latency and b.is_sum])
            parts = latency_assemble(many, sums=sums, owners=owners, busy=busy, step_seconds=step_seconds)
            out += [Buckets(latency, system.slug, *part) for part in parts]
            busy.update(*(owners[slots].tolist() for _, slots, _, _ in parts))
    return out


Part = tuple[tuple[float, ...], Ints, Floats, Floats]


def latency_assemble(many: Sequence[Block], *, sums: Sequence[Block], owners: Ints, busy: set[int], step_seconds: float) -> list[Part]:
    """One latency of one system, slots whose owner is not busy: (bounds, slots, counts, sums) a bucket layout."""
    values, slots, keys, bounds = joined(many)
    free = ~np.isin(owners[slots], np.fromiter(busy, dtype=np.int64, count=len(busy)))
    if not free.any():
        return []
    layouts = keys_by_layout(values[free], slots=slots[free], keys=keys[free], bounds=bounds[free])
    total = np.full((len(owners), values.shape[1]), np.nan)
    if sums:
        sum_values, sum_slots = np.concatenate([b.values for b in sums]), np.concatenate([b.slots for b in sums])
        total = fold_rows(sum_values, codes=sum_slots, size=len(owners), fold=Fold.SUM) * step_seconds
    parts = []
    for layout, found, cumulative in slots_by_layout(layouts):
        counts = np.diff(cumulative, axis=1, prepend=0.0) * step_seconds
        parts.append((layout[:-1], found, np.moveaxis(counts, 1, 2), total[found]))
    return parts


def joined(blocks: Sequence[Block]) -> tuple[Floats, Ints, Ints, Floats]:
    if not blocks:
        return np.empty((0, 0)), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    return (
        np.concatenate([b.values for b in blocks]),
        np.concatenate([b.slots for b in blocks]),
        np.concatenate([b.keys for b in blocks]),
        np.concatenate([b.bounds for b in blocks if b.bounds is not None]),
    )


Layout = tuple[float, ...]  # ascending, the last one is infinity


def keys_by_layout(values: Floats, *, slots: Ints, keys: Ints, bounds: Floats) -> dict[Layout, tuple[Ints, Floats]]:
    """Label sets with the same bucket bounds together: (slots (k,), cumulative rates (k, b, m)), repaired to rise."""
    order = np.lexsort((bounds, keys))
    values, slots, keys, bounds = values[order], slots[order], keys[order], bounds[order]
    new_key = np.r_[True, keys[1:] != keys[:-1]]
    new = new_key | np.r_[True, bounds[1:] != bounds[:-1]]
    if not new.all():
        values = fold_rows(values, codes=np.cumsum(new) - 1, size=int(new.sum()), fold=Fold.SUM)
        slots, bounds, new_key = slots[new], bounds[new], new_key[new]
    starts = np.flatnonzero(new_key)
    ends = np.r_[starts[1:], len(bounds)]
    members: dict[Layout, list[int]] = {}
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        members.setdefault(tuple(bounds[start:end].tolist()), []).append(start)
    return dict(layout_rows(values, slots=slots, layout=layout, starts=np.array(first)) for layout, first in members.items())


def layout_rows(values: Floats, *, slots: Ints, layout: Layout, starts: Ints) -> tuple[Layout, tuple[Ints, Floats]]:
    cumulative = values[starts[:, None] + np.arange(len(layout))]
    known = np.isfinite(cumulative)
    # Buckets are read at one instant but each rate is extrapolated alone: they may cross by a hair.
    rising = np.maximum.accumulate(np.where(known, cumulative, 0.0), axis=1)
    rising[np.broadcast_to(~known.any(axis=1, keepdims=True), rising.shape)] = np.nan
    if not np.isinf(layout[-1]):
        layout, rising = (*layout, np.inf), np.concatenate([rising, rising[:, -1:]], axis=1)
    return layout, (slots[starts], rising)


def slots_by_layout(layouts: Mapping[Layout, tuple[Ints, Floats]]) -> Iterable[tuple[Layout, Ints, Floats]]:
    """Replicas into slots. Where the replicas of a slot differ in layout, only the bounds they share are kept: exact."""
    homes: dict[int, list[Layout]] = {}
    for layout, (slots, _) in layouts.items():
        for slot in np.unique(slots).tolist():
            homes.setdefault(slot, []).append(layout)
    shared: dict[Layout, list[int]] = {}
    for slot, many in homes.items():
        shared.setdefault(tuple(sorted(set(many[0]).intersection(*many[1:]))), []).append(slot)
    for layout, members in shared.items():
        wanted = np.array(sorted(members))
        pieces, codes = [], []
        for own, (slots, rising) in layouts.items():
            inside = np.isin(slots, wanted)
            if inside.any() and set(layout) <= set(own):
                pieces.append(rising[inside][:, np.isin(own, layout)])
                codes.append(np.searchsorted(wanted, slots[inside]))
        yield layout, wanted, fold_rows(np.concatenate(pieces), codes=np.concatenate(codes), size=len(wanted), fold=Fold.SUM)

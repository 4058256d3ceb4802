"""Latency histograms in and out of the store."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from django.db import connection, transaction
from numpy.typing import NDArray

from monitoring.store.copy import TEXTS_KEPT, Query, arrays_split, copy_body, copy_in, query_of, tables_fetch
from monitoring.store.layouts import Bounds, bounds_union, counts_spread, layout_id, layouts_load, sure_range
from monitoring.store.partitions import partitions_ensure, spans_of
from monitoring.store.records import Floats, Histograms, Ints, Written
from monitoring.store.schema import FIVE_MINUTES, LATENCY, RAW, Level, key_columns, sql_type, table_name
from monitoring.store.watermarks import dirty_mark, moment

COLUMNS = (*key_columns(LATENCY), "layout_id", "counts", "sum_seconds")


def histograms_write(histograms: Histograms, *, table: str = "sample") -> Written:
    """Store rows of one latency kind; a row that is there already is replaced. table: "sample" or "5m"."""
    level = {"sample": RAW, "5m": FIVE_MINUTES}[table]
    return histograms_store(histograms, level=level)


def histograms_store(histograms: Histograms, *, level: Level) -> Written:
    order = last_of_each(histograms)
    if not len(order):
        return Written()
    chosen = histograms.taken(order)
    partitions_ensure(LATENCY, level, spans_of(level, chosen.times))
    with transaction.atomic():
        dirty_mark(LATENCY, level, chosen.times, chosen.ids)
        written = histograms_merge_in(chosen, level=level, layout=layout_id(chosen.bounds))
    return Written(written, len(histograms.ids) - written)


def last_of_each(histograms: Histograms) -> Ints:
    """Row numbers in key order, of repeated keys the last."""
    keys = (histograms.versions, histograms.times, histograms.ids)
    order = np.lexsort(keys)
    if len(order) < 2:
        return order
    repeated = np.logical_and.reduce([np.diff(key[order]) == 0 for key in keys])
    return order[np.concatenate((~repeated, [True]))]


def histograms_merge_in(histograms: Histograms, *, level: Level, layout: int) -> int:
    parent = table_name(LATENCY, level)
    incoming = f"incoming_{parent}"
    size = len(histograms.ids)
    values = {
        "deployment_id": histograms.ids,
        "latency": np.full(size, int(histograms.latency)),
        "time": histograms.times,
        "version_id": histograms.versions,
        "layout_id": np.full(size, layout),
        "counts": histograms.counts,
        "sum_seconds": histograms.sums,
    }
    same = " AND ".join(f"o.{key} = n.{key}" for key in key_columns(LATENCY))
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMP TABLE {incoming} ON COMMIT DROP AS SELECT {', '.join(COLUMNS)} FROM {parent} WITH NO DATA")
        copy_in(incoming, COLUMNS, copy_body([(sql_type(name), values[name]) for name in COLUMNS]))
        cursor.execute(
            f"""
            WITH changed AS MATERIALIZED (
                SELECT n.* FROM {incoming} n
                LEFT JOIN LATERAL (SELECT * FROM {parent} o WHERE {same} AND o.time >= %s AND o.time <= %s OFFSET 0) o ON true
                WHERE o.layout_id IS NULL OR (o.layout_id, o.counts, o.sum_seconds)
                    IS DISTINCT FROM (n.layout_id, n.counts, n.sum_seconds)
            ), merged AS (
                INSERT INTO {parent} ({", ".join(COLUMNS)}) SELECT {", ".join(COLUMNS)} FROM changed ORDER BY 1, 2, 3, 4
                ON CONFLICT ({", ".join(key_columns(LATENCY))}) DO UPDATE SET layout_id = EXCLUDED.layout_id,
                    counts = EXCLUDED.counts, sum_seconds = EXCLUDED.sum_seconds
            )
            SELECT count(*) FROM changed""",
            [moment(histograms.times.min()), moment(histograms.times.max())],
        )
        (written,) = cursor.fetchone()
        cursor.execute(f"DROP TABLE {incoming}")
    return int(written)


@dataclass(frozen=True)
class StoredHistograms:
    """Rows as stored: of several deployments, kinds and layouts. Counts lie apart, by layout."""

    ids: Ints
    versions: Ints
    latencies: Ints
    times: Floats
    levels: Ints  # the seconds of the level a row came from, 0 = raw
    layouts: Ints
    sums: Floats
    bounds: dict[int, Bounds]  # layout -> bounds
    counts: dict[int, Floats]  # layout -> (its rows in order, len(bounds) + 1)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class FoldedHistograms:
    """Groups of rows added up, all on the layout `bounds`."""

    groups: Ints  # the label of each row
    bounds: Bounds
    sure: tuple[float, float] | None
    counts: Floats  # (len(groups), len(bounds) + 1)
    sums: Floats


def histograms_fetch(queries: tuple[str, ...], values: Mapping[str, Any] | None = None, *, often: bool = False) -> list[StoredHistograms]:
    """queries: SELECT deployment_id, version_id, latency, time, level, layout_id, counts, sum_seconds; one round trip for all."""
    return [stored_of(got) for got in tables_fetch(stored_query(queries), values, often=often)]


@lru_cache(maxsize=TEXTS_KEPT)
def stored_query(queries: tuple[str, ...]) -> Query:
    kinds = {name: sql_type(name) for name in ("deployment_id", "version_id", "latency", "time", "layout_id", "sum_seconds")}
    kinds |= {"level": "integer", "size": "integer", "counts": "real[]"}
    sized = "SELECT rows.*, cardinality(counts) AS size FROM ({}) AS rows JOIN monitoring_bucketlayout b ON b.id = layout_id"
    return query_of([(sized.format(query), kinds) for query in queries])


def stored_of(got: Mapping[str, NDArray[Any]]) -> StoredHistograms:
    used = [int(number) for number in np.unique(got["layout_id"])]
    known = layouts_load(used)
    counts = {}
    for number in used:
        rows, block = arrays_split(got["counts"], got["size"], len(known[number]) + 1)
        counts[number] = block[np.searchsorted(rows, np.flatnonzero(got["layout_id"] == number))]
    keys = (got["deployment_id"], got["version_id"], got["latency"], got["time"], got["level"], got["layout_id"])
    return StoredHistograms(*keys, got["sum_seconds"], {number: known[number] for number in used}, counts)


def histograms_fold(stored: StoredHistograms, groups: Ints, *, weights: Floats | None = None) -> list[FoldedHistograms]:
    """Add up the rows of each group (labels from 0; -1 = leave out). One result for each set of layouts that meets in a group."""
    if len(stored.counts) == 1:
        (layout,) = stored.counts
        members = np.unique(groups[groups >= 0])
        return [layouts_fold(stored, groups, members, (layout,), weights)] if len(members) else []
    pairs = np.unique(np.stack((groups, stored.layouts))[:, groups >= 0], axis=1)
    met: dict[int, tuple[int, ...]] = {}
    for group, layout in pairs.T.tolist():
        met[group] = (*met.get(group, ()), layout)
    together: dict[tuple[int, ...], list[int]] = {}
    for group, layouts in met.items():
        together.setdefault(layouts, []).append(group)
    return [layouts_fold(stored, groups, np.array(members), layouts, weights) for layouts, members in together.items()]


def layouts_fold(
    stored: StoredHistograms, groups: Ints, members: Ints, layouts: tuple[int, ...], weights: Floats | None
) -> FoldedHistograms:
    bounds = bounds_union(stored.bounds[layout] for layout in layouts)
    place = np.full(int(groups.max()) + 1, -1)
    place[members] = np.arange(len(members))
    rows = np.flatnonzero((groups >= 0) & np.isin(stored.layouts, layouts))
    rows = rows[place[groups[rows]] >= 0]
    weight = np.ones(len(stored)) if weights is None else weights
    sums, counts = np.zeros(len(members)), np.zeros((len(members), len(bounds) + 1))
    np.add.at(sums, place[groups[rows]], stored.sums[rows] * weight[rows])
    for layout in layouts:
        of_layout = rows[stored.layouts[rows] == layout]
        inside = np.searchsorted(np.flatnonzero(stored.layouts == layout), of_layout)
        spread = counts_spread(stored.counts[layout][inside], stored.bounds[layout], bounds)
        np.add.at(counts, place[groups[of_layout]], spread * weight[of_layout][:, None])
    return FoldedHistograms(members, bounds, sure_range(stored.bounds[layout] for layout in layouts), counts, sums)

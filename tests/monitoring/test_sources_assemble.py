"""Label rows to entity rows: folding, priority, zero against missing, bucket layouts, speed of a large cycle."""

import time
from dataclasses import replace

import numpy as np
import pytest

from monitoring.catalog.columns import COLUMNS
from monitoring.catalog.records import Entity, Fold, Kind, Latency, Series, System
from monitoring.sources.assemble import (
    Block,
    Buckets,
    Floats,
    Table,
    alive_counts,
    buckets_assemble,
    column_merge,
    fold_rows,
    table_fill,
)

NAN = np.nan
KNOWN = {column.name: column for column in COLUMNS[Entity.DEPLOYMENT]}
REQUESTS = Series("requests_per_second", ("a_total",), Kind.COUNTER)
ERRORS = Series("errors_per_second", ("a_errors_total",), Kind.COUNTER, absent_is_zero=True)
CACHE = Series("kv_cache_usage_ratio", ("a_cache",), Kind.GAUGE)
DURATION = Series(Latency.REQUEST_DURATION, ("a_seconds",), Kind.HISTOGRAM)
SERVER = System("a", "A", "serving", Entity.DEPLOYMENT, ("a_total",), (REQUESTS, ERRORS, CACHE, DURATION), ())


def block(series: Series, values: object, *, slots: object, system: System = SERVER, **fields: object) -> Block:
    rows = np.array(values, dtype=float)
    codes = np.array(slots, dtype=np.int64)
    given = {"keys": np.arange(len(codes)), "replicas": np.full(len(codes), -1), **fields}
    return Block(system, series, rows, codes, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fold", "expected"),
    [(Fold.SUM, [[4.0, 2.0], [NAN, 5.0]]), (Fold.MAX, [[3.0, 2.0], [NAN, 5.0]]), (Fold.MEAN, [[2.0, 2.0], [NAN, 5.0]])],
)
def test_rows_fold_and_gaps_are_left_out(fold: Fold, expected: object) -> None:
    values = np.array([[1.0, 2.0], [NAN, 5.0], [3.0, NAN]])
    folded = fold_rows(values, codes=np.array([0, 1, 0]), size=2, fold=fold)
    np.testing.assert_array_equal(folded, expected)


def test_a_slot_without_rows_is_missing_and_not_zero() -> None:
    folded = fold_rows(np.array([[1.0]]), codes=np.array([2]), size=4, fold=Fold.SUM)
    np.testing.assert_array_equal(folded, [[NAN], [NAN], [1.0], [NAN]])


def filled(*blocks: Block, owners: object = (10,), steps: int = 2) -> Table:
    table = Table(np.array(owners))
    table_fill(table, blocks=blocks, steps=steps, known=KNOWN)
    return table


def test_replicas_add_up_and_the_fullest_cache_counts() -> None:
    table = filled(block(REQUESTS, [[1, 2], [3, 4]], slots=[0, 0]), block(CACHE, [[0.2, 0.9], [0.5, 0.1]], slots=[0, 0]))
    np.testing.assert_array_equal(table.columns["requests_per_second"], [[4, 6]])
    np.testing.assert_array_equal(table.columns["kv_cache_usage_ratio"], [[0.5, 0.9]])
    assert table.providers["requests_per_second"] == {10: "a"}


def test_an_absent_error_series_is_zero_only_while_the_server_answers() -> None:
    nothing = block(ERRORS, np.empty((0, 2)), slots=[])
    table = filled(block(REQUESTS, [[1, NAN]], slots=[0]), nothing)
    np.testing.assert_array_equal(table.columns["errors_per_second"], [[0.0, NAN]])


def test_the_system_of_the_higher_priority_provides_the_column_and_the_other_is_not_stored() -> None:
    better = replace(SERVER, slug="b", priority=80)
    table = filled(block(REQUESTS, [[1, 1], [7, 7]], slots=[0, 1]), block(REQUESTS, [[2, NAN]], slots=[0], system=better), owners=(10, 11))
    np.testing.assert_array_equal(table.columns["requests_per_second"], [[2, NAN], [7, 7]])
    assert table.providers["requests_per_second"] == {10: "b", 11: "a"}


def test_an_owner_has_one_provider_in_all_its_versions() -> None:
    better = replace(SERVER, slug="b", priority=80)
    table = filled(block(REQUESTS, [[1, 1], [7, 7]], slots=[0, 1]), block(REQUESTS, [[2, 2]], slots=[0], system=better), owners=(10, 10))
    np.testing.assert_array_equal(table.columns["requests_per_second"], [[2, 2], [NAN, NAN]])


def test_a_column_the_agent_provides_is_left_alone() -> None:
    table = Table(np.array([10]), providers={"requests_per_second": {10: "agent"}})
    table_fill(table, blocks=[block(REQUESTS, [[1, 1]], slots=[0])], steps=2, known=KNOWN)
    assert table.columns == {}


def test_of_two_series_with_one_target_each_label_set_takes_the_first_that_has_a_value() -> None:
    older = replace(REQUESTS, names=("old_total",))
    table = filled(
        block(REQUESTS, [[1, 1], [NAN, NAN]], slots=[0, 0], keys=np.array([0, 1])),
        block(older, [[5, 5], [5, 5]], slots=[0, 0], keys=np.array([0, 1])),
    )
    np.testing.assert_array_equal(table.columns["requests_per_second"], [[6, 6]])


def test_replicas_are_counted_where_any_of_their_series_answers() -> None:
    one = block(REQUESTS, [[1, NAN, NAN], [1, 1, NAN]], slots=[0, 0], replicas=np.array([0, 1]))
    two = block(CACHE, [[NAN, 0.1, NAN]], slots=[0], replicas=np.array([0]))
    counts = alive_counts([one, two], slots_of=np.array([0, 0, 1]), size=2, steps=3)
    np.testing.assert_array_equal(counts, [[2, 2, NAN], [NAN, NAN, NAN]])


def test_a_merged_column_fills_only_free_owners() -> None:
    table = filled(block(REQUESTS, [[1, 1]], slots=[0]), owners=(10, 11))
    column_merge(table, name="requests_per_second", values=np.array([[9.0, 9.0], [8.0, 8.0]]), slug="headroom")
    np.testing.assert_array_equal(table.columns["requests_per_second"], [[1, 1], [8, 8]])


# Histograms


def buckets(rows: object, *, keys: object, slots: object, bounds: object, **fields: object) -> Block:
    return block(DURATION, rows, slots=slots, keys=np.array(keys), bounds=np.array(bounds, dtype=float), **fields)


def assembled(*blocks: Block, owners: object = (10,), step_seconds: float = 60.0) -> list[Buckets]:
    return buckets_assemble(blocks, owners=np.array(owners), step_seconds=step_seconds)


def test_cumulative_rates_become_counts_of_the_step() -> None:
    rates = [[1.0], [1.5], [2.0]]
    (found,) = assembled(buckets(rates, keys=[0, 0, 0], slots=[0, 0, 0], bounds=[0.1, 1.0, np.inf]))
    assert found.bounds == (0.1, 1.0)
    np.testing.assert_allclose(found.counts, [[[60.0, 30.0, 30.0]]])
    assert np.isnan(found.sums).all()


def test_replicas_with_one_layout_add_up_bucket_by_bucket() -> None:
    rates = [[1.0, NAN], [2.0, NAN], [3.0, 1.0], [5.0, 4.0]]
    (found,) = assembled(buckets(rates, keys=[0, 0, 1, 1], slots=[0] * 4, bounds=[0.1, np.inf] * 2), step_seconds=1.0)
    np.testing.assert_allclose(found.counts, [[[4.0, 3.0], [1.0, 3.0]]])


def test_replicas_that_differ_in_layout_keep_the_bounds_they_share() -> None:
    rates = [[1.0], [3.0], [4.0], [2.0], [5.0], [6.0]]
    bounds = [0.1, 0.5, np.inf, 0.2, 0.5, np.inf]
    (found,) = assembled(buckets(rates, keys=[0] * 3 + [1] * 3, slots=[0] * 6, bounds=bounds), step_seconds=1.0)
    assert found.bounds == (0.5,)
    np.testing.assert_allclose(found.counts, [[[8.0, 2.0]]])


def test_buckets_that_cross_by_a_hair_are_repaired_and_never_negative() -> None:
    rates = [[1.0], [0.999], [2.0]]
    (found,) = assembled(buckets(rates, keys=[0] * 3, slots=[0] * 3, bounds=[0.1, 1.0, np.inf]), step_seconds=1.0)
    np.testing.assert_allclose(found.counts, [[[1.0, 0.0, 1.0]]])


def test_more_labels_than_the_identity_are_added_within_a_bucket() -> None:
    rates = [[1.0], [2.0], [10.0], [20.0]]
    (found,) = assembled(buckets(rates, keys=[0] * 4, slots=[0] * 4, bounds=[0.1, np.inf, 0.1, np.inf]), step_seconds=1.0)
    np.testing.assert_allclose(found.counts, [[[11.0, 11.0]]])


def test_the_sum_comes_along_as_seconds_of_the_step() -> None:
    counts = buckets([[1.0], [2.0]], keys=[0, 0], slots=[0, 0], bounds=[0.1, np.inf])
    (found,) = assembled(counts, block(DURATION, [[0.5]], slots=[0], is_sum=True))
    np.testing.assert_allclose(found.sums, [[30.0]])


def test_no_answer_at_an_instant_is_no_histogram_there() -> None:
    (found,) = assembled(buckets([[1.0, NAN], [2.0, NAN]], keys=[0, 0], slots=[0, 0], bounds=[0.1, np.inf]))
    assert np.isnan(found.counts[0, 1]).all()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_any_fleet_assembles_to_what_a_plain_loop_gives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    layouts = [np.array([0.1, 0.5, 1.0, np.inf]), np.array([0.2, 0.5, np.inf])]
    rows, keys, slots, bounds = [], [], [], []
    truth: dict[int, list[tuple[np.ndarray, Floats]]] = {}  # type: ignore[type-arg]
    for key in range(30):
        layout, slot = layouts[rng.integers(2)], int(rng.integers(8))
        cumulative = np.cumsum(rng.random((len(layout), 3)), axis=0)
        truth.setdefault(slot, []).append((layout, cumulative))
        rows += cumulative.tolist()
        keys += [key] * len(layout)
        slots += [slot] * len(layout)
        bounds += layout.tolist()
    order = rng.permutation(len(rows))
    shuffled = [[one[at] for at in order] for one in (rows, keys, slots, bounds)]
    found = assembled(buckets(shuffled[0], keys=shuffled[1], slots=shuffled[2], bounds=shuffled[3]), owners=np.arange(8), step_seconds=1.0)
    seen = {}
    for part in found:
        for at, slot in enumerate(part.slots.tolist()):
            seen[slot] = (part.bounds, part.counts[at])
    assert seen.keys() == truth.keys()
    for slot, many in truth.items():
        shared = sorted(set(many[0][0]).intersection(*(layout for layout, _ in many)))
        cumulative = sum(c[[layout.tolist().index(bound) for bound in shared]] for layout, c in many)
        expected = np.diff(np.vstack([np.zeros(3), cumulative]), axis=0).T
        assert seen[slot][0] == tuple(shared[:-1])
        np.testing.assert_allclose(seen[slot][1], expected, atol=1e-12)


def test_a_cycle_of_a_thousand_deployments_is_assembled_in_a_fraction_of_a_second() -> None:
    """1,000 deployments of 2 replicas, 20 plain series and 4 histograms of 20 buckets, the 4 steps of a cycle."""
    rng = np.random.default_rng(0)
    slots, bounds = np.repeat(np.arange(1000), 2), np.r_[np.geomspace(0.01, 60, 19), np.inf]
    names = [name for name in KNOWN if name not in ("errors_per_second",)][:20]
    blocks = [block(replace(REQUESTS, target=name), rng.random((2000, 4)), slots=slots, replicas=np.arange(2000)) for name in names]
    for latency in Latency:
        values = np.cumsum(rng.random((2000, 20, 4)), axis=1).reshape(-1, 4)
        blocks.append(
            block(
                replace(DURATION, target=latency),
                values,
                slots=np.repeat(slots, 20),
                keys=np.repeat(np.arange(2000), 20),
                bounds=np.tile(bounds, 2000),
            )
        )
    began = time.process_time()
    table = filled(*blocks, owners=np.arange(1000), steps=4)
    found = assembled(*blocks, owners=np.arange(1000))
    seconds = time.process_time() - began
    print(f"assembled {sum(len(b.slots) for b in blocks)} rows of 1,000 deployments in {seconds:.2f} s")
    assert len(table.columns) == 20 and len(found) == 4
    assert seconds < 2.0

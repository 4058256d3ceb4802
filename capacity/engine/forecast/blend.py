"""The blend: weights of the methods for each lead, by robust regression over rolling origins, drawn towards a prior.

    forecast = base + sum of weight x (method - base), weights = prior(lead) + what the past says in each block of leads

Least absolute deviations (by reweighting) aim at the median: an outage in the past moves them little.
"""

from dataclasses import dataclass

import numpy as np

from capacity.engine.forecast.evidence import base_of, evidence_of, prior_of
from capacity.engine.forecast.history import History
from capacity.engine.grid import DAY_SECONDS, HOUR_SECONDS, Floats, Ints

BLOCKS = 24  # leads learn together in at most so many blocks
NEIGHBOURS = 0.2  # of the horizon: how far blocks learn from each other
RIDGE = 1.0  # times sqrt(horizon) and the method's own variance
HALF_LIFE_DAYS = 28.0  # of a past origin's say
ROUNDS = 4  # of reweighting
SMALL_ERROR = 0.15  # of the mean error: smaller ones weigh no more than this
FOLDS = 8  # the weights are learned anew so often on the way, so that every error is of weights that did not know it


@dataclass(frozen=True)
class Evidence:
    """All that the blend may look at, for many origins at once."""

    base: Floats  # (k, h)
    columns: Floats  # (k, h, f)
    prior: Floats  # (h, f)
    actual: Floats  # (k, h) what came; NaN = gap or to come
    targets: Ints  # (k, h)
    say: Floats  # (k,) weight of each origin


def evidence_make(history: History, *, step_seconds: float) -> Evidence:
    base = base_of(history)
    age_days = (history.values.size - history.origins) * step_seconds / DAY_SECONDS
    return Evidence(
        base=base,
        columns=evidence_of(history, base=base),
        prior=prior_of(lead_hours(history, step_seconds=step_seconds)),
        actual=history.actual(),
        targets=history.targets,
        say=np.exp2(-age_days / HALF_LIFE_DAYS),
    )


def lead_hours(history: History, *, step_seconds: float) -> Floats:
    """(h,): hours from the origin to the end of each step."""
    return np.asarray((history.leads + 1) * step_seconds / HOUR_SECONDS, dtype=np.float64)


def blocks_of(horizon: int) -> Ints:
    """(h,): the block of each lead, ascending."""
    return np.arange(horizon) * min(BLOCKS, horizon) // horizon


def forecast_make(evidence: Evidence, *, learned: Floats, rows: slice | Ints = slice(None)) -> Floats:
    """(k, h) on the log scale. learned: (b, f), added to the prior."""
    weights = evidence.prior + learned[blocks_of(evidence.base.shape[1])]
    return np.asarray(evidence.base[rows] + np.einsum("khf,hf->kh", evidence.columns[rows], weights))


def weights_learn(evidence: Evidence, *, before: int) -> Floats:
    """(b, f): what targets before that step say beyond the prior."""
    blocks = blocks_of(evidence.base.shape[1])
    known = (np.isfinite(evidence.actual) & (evidence.targets < before)) * evidence.say[:, None]
    ridge = np.diag(np.mean(evidence.columns**2, axis=(0, 1)) * RIDGE * np.sqrt(blocks.size) + 1e-9)
    learned = np.zeros((int(blocks[-1]) + 1, evidence.columns.shape[2]))
    told = known.any(axis=1)
    if not told.any():
        return learned
    known, columns = known[told], evidence.columns[told]
    left = np.where(known > 0, np.nan_to_num(evidence.actual[told]) - evidence.base[told], 0.0)
    left -= np.einsum("khf,hf->kh", columns, evidence.prior)
    for _ in range(ROUNDS):
        error = np.abs(left - np.einsum("khf,hf->kh", columns, learned[blocks]))
        typical = float((error * known).sum() / known.sum()) + 1e-9
        learned = solved(columns, left, known / np.maximum(error / typical, SMALL_ERROR), ridge)
    return learned


def solved(columns: Floats, left: Floats, weights: Floats, ridge: Floats) -> Floats:
    """(b, f): weighted ridge regression, blocks of leads smoothed over their neighbours."""
    blocks = blocks_of(left.shape[1])
    count, size = int(blocks[-1]) + 1, columns.shape[2]
    squares, products = np.empty((count, size, size)), np.empty((count, size))
    for block in range(count):
        first, last = np.searchsorted(blocks, (block, block + 1))
        rows = columns[:, first:last].reshape(-1, size)
        weighted = rows * weights[:, first:last].reshape(-1, 1)
        squares[block] = weighted.T @ rows / (last - first)
        products[block] = weighted.T @ left[:, first:last].ravel() / (last - first)
    distance = (np.arange(count)[:, None] - np.arange(count)) / max(0.6, count * NEIGHBOURS)
    near = np.exp(-0.5 * distance**2)
    near /= near.sum(axis=1, keepdims=True)
    return np.asarray(np.linalg.solve(np.tensordot(near, squares, 1) + ridge, (near @ products)[..., None])[..., 0])


def rolled(evidence: Evidence, *, origins: Ints, until: int) -> tuple[Floats, Floats]:
    """Forecast every origin with weights learned before it. Returns the (k, h) forecasts and what all before `until` says."""
    cuts = np.linspace(origins[0], until, FOLDS + 1).astype(int)
    result = np.empty_like(evidence.base)
    for first, last in zip(cuts[:-1], cuts[1:], strict=True):
        rows = np.flatnonzero((origins >= first) & (origins < last))
        if rows.size:
            result[rows] = forecast_make(evidence, learned=weights_learn(evidence, before=int(first)), rows=rows)
    learned = weights_learn(evidence, before=until)
    result[origins >= until] = forecast_make(evidence, learned=learned, rows=np.flatnonzero(origins >= until))
    return result, learned

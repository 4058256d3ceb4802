"""How much each of several opinions of a day has earned: by the probability it gave to what then came."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

HALF_LIFE_DAYS = 7.0
PRIOR_DAYS = 2.0  # the shares of before weigh as much as so many days of evidence
ROUNDS = 40
LEAST_WIDTH = 0.08  # of a kernel, on the log scale
UNIFORM, RANGE = 0.02, 4.0  # share of a flat density over so many units of the log scale: no surprise costs an opinion everything


def log_density(seen: Floats, *, courses: Floats, say: Floats) -> Floats:
    """(h,) log density of what came, `seen` (h,), by kernels on the opinion's courses (p, h) with weights `say` (p,).

    All on a log scale. The kernel's width is Silverman's by hour, at least `LEAST_WIDTH`.
    """
    weights = say / say.sum()
    middle = weights @ courses
    spread = np.sqrt(weights @ (courses - middle) ** 2)
    width = np.maximum(LEAST_WIDTH, 0.9 * spread * float(np.sum(weights**2)) ** 0.2)
    kernels = np.exp(-0.5 * ((seen - courses) / width) ** 2) / (width * np.sqrt(2.0 * np.pi))
    return np.asarray(np.log((1.0 - UNIFORM) * (weights @ kernels) + UNIFORM / RANGE))


def shares_learned(logs: Floats, *, prior: Floats) -> Floats:
    """(o,) shares of a pool of opinions, above 0, their sum 1.

    logs: (days, o, h) log density each opinion gave to each hour of each past day, newest day first; NaN where it had none.
    prior: (o,) shares before any evidence, above 0, their sum 1. The most likely shares of a linear pool (expectation maximisation),
    the prior worth `PRIOR_DAYS` days, a day weighing half as much `HALF_LIFE_DAYS` later. An opinion that never spoke keeps its prior.
    """
    spoke = np.isfinite(logs).any(axis=(0, 2))
    if spoke.sum() < 2:
        return prior
    known = np.where(np.isfinite(logs), logs, -np.inf)[:, spoke]
    densities = np.exp(known - known.max(axis=1, keepdims=True))
    recent = np.exp2(-np.arange(len(logs)) / HALF_LIFE_DAYS)
    before = prior[spoke] / prior[spoke].sum()
    found = before
    for _ in range(ROUNDS):
        credit = found[None, :, None] * densities
        credit /= credit.sum(axis=1, keepdims=True)
        found = PRIOR_DAYS * before + recent @ credit.mean(axis=2)
        found = found / found.sum()
    shares = prior.copy()
    shares[spoke] = found * prior[spoke].sum()
    return shares

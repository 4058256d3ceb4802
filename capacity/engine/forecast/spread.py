"""How large errors will be, as far as the newest hours tell: calm stays calm for a while, and so does turmoil."""

from dataclasses import dataclass

import numpy as np

from capacity.engine.forecast.history import History
from capacity.engine.grid import Floats, recent_means

SIGNS = 5
PRIOR = 0.15  # weight of each sign before the series has said anything
RIDGE = 0.06  # of the number of origins
FLOOR = 0.1  # of the mean: below that, smaller moves say no more
MOST = 1.5  # on the log scale: at most exp(1.5) = 4.5 times wider or narrower than usual


@dataclass(frozen=True)
class Spread:
    """log of the width against its mean = weights . (signs - usual)."""

    usual: Floats  # (SIGNS,)
    weights: Floats  # (SIGNS,)
    floors: Floats  # (2,) of moves and of surprises: what counts as calm in this series
    tops: Floats  # (2,) beyond which they count no more

    def width(self, history: History) -> Floats:
        """(k,) around 1."""
        log_width = (signs_of(history, floors=self.floors, tops=self.tops) - self.usual) @ self.weights
        return np.exp(np.clip(log_width, -MOST, MOST))


def signs_of(history: History, *, floors: Floats, tops: Floats) -> Floats:
    """(k, SIGNS): log of the mean move over an hour, 6 hours and a day, and of the mean surprise over an hour and a day."""
    season, origins = history.season, history.origins
    moves, surprises = (np.minimum(size, top) for size, top in zip(sizes_of(history), tops, strict=True))
    hour = max(3, season.hour)
    found = [recent_means(moves, origins=origins, length=length) + floors[0] for length in (hour, 6 * season.hour, season.day)]
    found += [recent_means(surprises, origins=origins, length=length) + floors[1] for length in (hour, season.day)]
    return np.log(np.stack(found, axis=1) + 1e-9)


def sizes_of(history: History) -> tuple[Floats, Floats]:
    """(n,) each: absolute steps from one value to the next, absolute surprises."""
    return np.abs(np.diff(history.filled, prepend=history.filled[0])), np.abs(history.surprise)


def spread_learn(history: History, *, errors: Floats, say: Floats) -> Spread:
    """errors: (k, h) of the history's origins, NaN where not known; say: (k,) weights."""
    sizes = sizes_of(history)
    tops = np.array([np.quantile(size, level) for size, level in zip(sizes, (0.99, 0.98), strict=True)])
    floors = np.array([FLOOR * float(np.minimum(size, top + 1e-12).mean()) for size, top in zip(sizes, tops, strict=True)])
    signs = signs_of(history, floors=floors, tops=tops)
    counts = np.isfinite(errors).sum(axis=1)
    size = np.nansum(np.abs(errors), axis=1) / np.maximum(counts, 1)
    good = counts > 0
    usual = signs[good].mean(axis=0)
    log_size = np.log(size[good] + FLOOR * size[good].mean() + 1e-9)
    rows, weight = signs[good] - usual, say[good]
    ridge = RIDGE * weight.sum()
    products = rows.T @ ((log_size - log_size.mean()) * weight) + ridge * PRIOR
    weights = np.linalg.solve((rows * weight[:, None]).T @ rows + ridge * np.eye(SIGNS), products)
    return Spread(usual, weights, floors, tops)

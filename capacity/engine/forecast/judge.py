"""How the method did: one choice by rolling origins, and a backtest whose bands never saw what they are judged by."""

from dataclasses import dataclass

import numpy as np

from capacity.engine.forecast.bands import Bands, Errors, bands_learn, quantiles_at
from capacity.engine.forecast.evidence import METHODS
from capacity.engine.forecast.history import History
from capacity.engine.forecast.methods import same_day
from capacity.engine.forecast.records import Actuals, Backtest
from capacity.engine.forecast.scale import Scale
from capacity.engine.grid import Floats, Ints

BETTER_BY_FAR = 0.85  # a method alone takes the blend's place when its mean absolute error is below this share
JUDGED = 28  # forecasts at most in a backtest
JUDGED_DAYS = 28.0
SCORED = np.array([0.05, 0.1, 0.5, 0.9, 0.95, 0.99])
LOSSES = (1, 2, 3, 5)  # of SCORED: 0.1, 0.5, 0.9, 0.99


@dataclass(frozen=True)
class Rolling:
    """Forecasts of every origin of the past, made with weights that did not know what came."""

    history: History  # all levels moved to the last one's
    middles: Floats  # (k, h) log scale
    width: Floats  # (k,)
    errors: Errors
    came: Floats  # (k, h) actuals in the unit of the series; NaN = gap or to come
    moves: tuple[Floats, Floats]  # (n,) factor and amount of the shifts
    rows: Ints  # the origins that may be judged
    scale: Scale
    start_seconds: float
    step_seconds: float


def method_choose(history: History, *, base: Floats, blended: Floats, rows: Ints) -> tuple[str, Floats, tuple[tuple[str, float], ...]]:
    """The blend, or the one method that was better by far: its name, its (k, h) forecasts, and each method's error over the blend's."""
    actual = history.actual()[rows]
    own = mean_error(actual, blended[rows])
    paths = {name: np.where(np.isfinite(path := method(history)), path, base) for name, method in METHODS.items()}
    ratios = {name: mean_error(actual, path[rows]) / own if own > 0 else 1.0 for name, path in paths.items()}
    best = min(ratios, key=lambda name: ratios[name])
    listed = tuple(sorted(ratios.items(), key=lambda pair: pair[1]))
    return (best, paths[best], listed) if ratios[best] < BETTER_BY_FAR else ("blend", blended, listed)


def mean_error(actual: Floats, path: Floats) -> float:
    known = np.isfinite(actual)
    return float(np.abs(actual - path)[known].mean()) if known.any() else 0.0


def backtest_run(rolling: Rolling, *, method_errors: tuple[tuple[str, float], ...]) -> Backtest:
    """Replay at most JUDGED forecasts of the last month. Each half of the origins is judged by bands learned from the other half."""
    chosen = judged_origins(rolling)
    halves = np.array_split(rolling.rows, 2)
    horizon = rolling.middles.shape[1]
    bands = [bands_learn(rolling.errors.of(rows), step_seconds=rolling.step_seconds, horizon=horizon) for rows in halves]
    found = [one_replayed(rolling, row=int(row), bands=bands[0 if row in halves[1] else 1]) for row in chosen]
    if not found:
        return no_backtest(method_errors)
    times, actual, quantiles = (np.concatenate(parts, axis=-1) for parts in zip(*found, strict=True))
    known = np.isfinite(actual)
    naive = naive_error(rolling, chosen)
    return Backtest(
        origins=chosen.size,
        mase=float(np.abs(actual - quantiles[2])[known].mean() / naive) if naive > 0 else np.nan,
        weighted_loss=weighted_loss(actual[known], quantiles[:, known]),
        coverage_90=float(((actual >= quantiles[0] - 1e-9) & (actual <= quantiles[4] + 1e-9))[known].mean()),
        above_99=float((actual > quantiles[5] + 1e-9)[known].mean()),
        method_errors=method_errors,
        actuals=Actuals(times, actual, quantiles[2], quantiles[0], quantiles[4]),
    )


def judged_origins(rolling: Rolling) -> Ints:
    """Rows spread over the last month, a horizon apart at least, whose first step has come and is known."""
    rows, origins = rolling.rows, rolling.history.origins
    if rows.size < 4:
        return rows[:0]
    last_steps = JUDGED_DAYS * 86400.0 / rolling.step_seconds
    rows = rows[origins[rows] >= origins[rows[-1]] - last_steps]
    gap = max(rolling.middles.shape[1], (origins[rows[-1]] - origins[rows[0]]) / JUDGED)
    wanted = np.arange(origins[rows[-1]], origins[rows[0]] - 1, -gap)[::-1]
    places = np.unique(np.searchsorted(origins[rows], wanted).clip(0, rows.size - 1))
    return np.asarray(rows[places])


def one_replayed(rolling: Rolling, *, row: int, bands: Bands) -> tuple[Floats, Floats, Floats]:
    """Times, actuals and the (SCORED, h) quantiles of one past forecast, in the unit of the series."""
    history = rolling.history.at(rolling.history.origins[[row]])
    levels = quantiles_at(
        bands,
        history,
        middle=rolling.middles[row],
        width=float(rolling.width[row]),
        hours=rolling.errors.hours[row],
        levels=SCORED,
    )
    factor, amount = (moves[int(history.origins[0]) - 1] for moves in rolling.moves)
    quantiles = np.maximum((rolling.scale.from_log(levels) - amount) / factor, 0.0)
    return rolling.start_seconds + history.targets[0] * rolling.step_seconds, rolling.came[row], quantiles


def naive_error(rolling: Rolling, rows: Ints) -> float:
    """Mean absolute error of seasonal naive on the same steps, in the unit of the series; 0 when it cannot be told."""
    history = rolling.history.at(rolling.history.origins[rows])
    path, actual = same_day.forecast(history), history.actual()
    known = np.isfinite(path) & np.isfinite(actual)
    if not known.any():
        return 0.0
    return float(np.abs(rolling.scale.from_log(path[known]) - rolling.scale.from_log(actual[known])).mean())


def weighted_loss(actual: Floats, quantiles: Floats) -> float:
    """WQL over the levels of LOSSES; NaN when nothing came."""
    total = float(np.abs(actual).sum())
    levels, paths = SCORED[list(LOSSES), None], quantiles[list(LOSSES)]
    losses = np.maximum(levels * (actual - paths), (levels - 1) * (actual - paths))
    return float(2 * losses.sum(axis=1).mean() / total) if total > 0 else np.nan


def no_backtest(method_errors: tuple[tuple[str, float], ...]) -> Backtest:
    empty = np.empty(0)
    return Backtest(0, np.nan, np.nan, np.nan, np.nan, method_errors, Actuals(empty, empty, empty, empty, empty))

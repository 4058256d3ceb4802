"""A window of signals and a part of it: levels there, against quiet hours, and where a flow no longer rises."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from capacity.engine.saturation.records import COLUMNS, Floats, Mask, Signals, Thresholds

NAN = float("nan")
QUIET_RATIO = 1 / 3  # of steps with traffic: the least loaded
FLAT_NOISE_MOST = 0.12  # above it no plateau can be told from chance
FLAT_SHARE, FLAT_EDGE, FLAT_ABOVE = 0.15, 3.0, 0.06
FLAT_VARIED = 1.25


@dataclass(frozen=True)
class Window:
    """All columns as arrays, NaN where not measured."""

    signals: Signals
    thresholds: Thresholds

    @cached_property
    def columns(self) -> dict[str, Floats]:
        size = self.signals.size
        found = {name: getattr(self.signals, name) for name in COLUMNS}
        return {name: np.full(size, NAN) if values is None else np.asarray(values, np.float64) for name, values in found.items()}

    def __getitem__(self, name: str) -> Floats:
        return self.columns[name]

    def known(self, *names: str) -> bool:
        """Whether any of these was measured at all."""
        return any(bool(np.isfinite(self.columns[name]).any()) for name in names)

    @cached_property
    def in_flight(self) -> Floats:
        """Running and waiting together; either alone where the other is not measured."""
        running, waiting = self["requests_running"], self["requests_waiting"]
        if not self.known("requests_running"):
            return waiting
        return running + waiting if self.known("requests_waiting") else running

    @cached_property
    def load(self) -> Floats:
        """(n,) rank of the load from 0 to 1: of requests in flight and of what comes out, together; NaN where neither is known.

        Steps with a queue stand above all others: an overloaded server may finish fewer than a busy one.
        """
        ranks = [rank_of(line) for line in (self.in_flight, self["requests_per_second"], self["output_tokens_per_second"])]
        stack = np.vstack(ranks)
        count = np.isfinite(stack).sum(axis=0)
        with np.errstate(invalid="ignore"):
            mean = np.where(count > 0, np.nansum(stack, axis=0) / np.maximum(count, 1), NAN)
        return rank_of(mean + self.queued)

    @cached_property
    def queued(self) -> Mask:
        """Steps in which more requests wait than a server with room lets wait."""
        t = self.thresholds
        running = np.nan_to_num(self["requests_running"])
        normal = t.waiting_to_running if self.token_server else t.waiting_to_batch
        return np.nan_to_num(self["requests_waiting"]) >= np.maximum(t.waiting_per_replica * self.replicas, normal * running)

    @cached_property
    def peaks(self) -> Mask:
        """The top tenth by load, three steps at least."""
        return top_of(self.load, max(3, round(self.signals.size * self.thresholds.peak_ratio)))

    @cached_property
    def latest(self) -> Mask:
        steps = max(3, round(self.thresholds.now_seconds / self.signals.step_seconds))
        return np.arange(self.signals.size) >= self.signals.size - steps

    @cached_property
    def quiet(self) -> Mask:
        """The least loaded third of the steps with traffic."""
        traffic = (np.nan_to_num(self["requests_per_second"]) > 0) | (np.nan_to_num(self.in_flight) > 0)
        calm = np.where(traffic, self.load, NAN)
        return top_of(-calm, max(3, round(np.isfinite(calm).sum() * QUIET_RATIO)))

    @cached_property
    def replicas(self) -> float:
        ready = self["replicas_ready"]
        if np.isfinite(ready).any():
            return max(1.0, float(np.nanmedian(ready)))
        rows = self.signals.replica_running
        return float(max(1, rows.shape[0])) if rows is not None and rows.size else 1.0

    @cached_property
    def token_server(self) -> bool:
        return self.known(
            "kv_cache_usage_ratio", "time_per_output_token_seconds", "time_to_first_token_seconds", "output_tokens_per_second"
        )

    @cached_property
    def flat(self) -> dict[str, Mask]:
        """Flows with a ceiling that they touch again and again without passing: which steps are at it."""
        names = ("requests_per_second", "cpu_usage_cores", *(name for name in COLUMNS if "network_" in name or "node_" in name))
        found = {name: plateau_of(self[name]) for name in names}
        return {name: steps for name, steps in found.items() if steps is not None}

    @cached_property
    def noise(self) -> float:
        """Scatter of the request rate from step to step; NaN when it is not measured."""
        return noise_of(self["requests_per_second"])


@dataclass(frozen=True)
class Part:
    """A window and the steps of it that are looked at."""

    window: Window
    steps: Mask

    def level(self, name: str) -> float:
        """Median over the steps; NaN under two values."""
        return level_of(self.window[name], self.steps)

    def mean(self, name: str) -> float:
        values = self.window[name][self.steps]
        return float(np.nanmean(values)) if np.isfinite(values).any() else NAN

    def quiet(self, name: str) -> float:
        return level_of(self.window[name], self.window.quiet)

    def stretch(self, name: str) -> float:
        """Level here over that in quiet hours; NaN when either is missing."""
        calm = self.quiet(name)
        return self.level(name) / calm if calm > 0 else NAN

    def ratio(self, numerator: str, denominator: str, steps: Mask | None = None) -> float:
        """Quotient of sums over the steps in which both are measured."""
        steps = self.steps if steps is None else steps
        top, bottom = self.window[numerator][steps], self.window[denominator][steps]
        both = np.isfinite(top) & np.isfinite(bottom)
        total = float(bottom[both].sum())
        return float(top[both].sum()) / total if total > 0 else NAN


def rank_of(values: Floats) -> Floats:
    out = np.full(values.size, NAN)
    known = np.flatnonzero(np.isfinite(values))
    if known.size:
        # Equal values share a rank, or the order of time would break the tie.
        _, inverse, counts = np.unique(values[known], return_inverse=True, return_counts=True)
        middle = np.cumsum(counts) - (counts - 1) / 2.0
        out[known] = middle[inverse] / known.size
    return out


def top_of(values: Floats, count: int) -> Mask:
    out = np.zeros(values.size, np.bool_)
    known = np.flatnonzero(np.isfinite(values))
    out[known[np.argsort(values[known], kind="stable")[-count:]]] = True
    return out


def level_of(values: Floats, steps: Mask) -> float:
    known = values[steps]
    known = known[np.isfinite(known)]
    return float(np.median(known)) if known.size >= 2 else NAN


def smoothed(values: Floats) -> Floats:
    """Running median of three: a spike goes, an edge stays."""
    if values.size < 3:
        return values
    padded = np.concatenate((values[:1], values, values[-1:]))
    return np.asarray(np.median(np.vstack((padded[:-2], padded[1:-1], padded[2:])), axis=0))


def noise_of(values: Floats, least: float = 0.0) -> float:
    """Relative scatter between neighbours from `least` on, from second differences, so that a slope does not count as scatter."""
    known = values[np.isfinite(values) & (values > 0)]
    if known.size < 8:
        return NAN
    bends = ((known[2:] - 2 * known[1:-1] + known[:-2]) / known[1:-1])[known[1:-1] >= least]
    return float(1.4826 * np.median(np.abs(bends)) / np.sqrt(6.0)) if bends.size >= 4 else NAN


def plateau_of(values: Floats) -> Mask | None:
    """Steps at a ceiling, when there is one: many at one height, hardly any above it, hardly any just below.

    A demand that merely has a crest thins out gradually below it; a flow that is cut off does not. None without a ceiling, with a load that
    never varied, or where chance scatter is too large to see one.
    """
    places = np.flatnonzero(np.isfinite(values))
    if places.size < 8:
        return None
    line = smoothed(values[places])
    noise = noise_of(values, float(np.quantile(line, 0.6)))  # a flow that is cut off scatters less there
    if not noise <= FLAT_NOISE_MOST:
        return None
    width = max(0.03, 1.6 * noise)
    order = np.sort(line)
    centres = order[order.size // 2 :]
    inside = np.searchsorted(order, centres * (1 + width), "right") - np.searchsorted(order, centres * (1 - width))
    top = float(centres[int(np.argmax(inside))])
    if not top > FLAT_VARIED * float(np.quantile(line, 0.1)) or (line > top * (1 + width)).mean() > FLAT_ABOVE:
        return None
    at = np.abs(line / top - 1.0) <= width
    below = (line / top < 1.0 - width) & (line / top >= 1.0 - 3.0 * width)
    if at.mean() < FLAT_SHARE or at.sum() < FLAT_EDGE * below.sum():
        return None
    out = np.zeros(values.size, np.bool_)
    out[places[at]] = True
    return out

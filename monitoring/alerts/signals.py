"""Signals: what a rule compares with its threshold, as arithmetic on arrays.

The same formula serves a round (one value a subject) and the preview (one a subject and moment): both bring `Readings`.
Columns and ratios of the catalogue are signals by their name: the mean over the rule's window. The named ones stand in NAMED.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from monitoring.catalog.columns import COLUMNS, RATIOS
from monitoring.catalog.records import Entity
from monitoring.models import Rule, RuleEntity

Floats = NDArray[np.float64]
SHORT = 12  # the short window of a burn rate is the long one over this: it ends the alert soon after the burning ends
LATENCY, AVAILABILITY = "latency", "availability"
GONE_SECONDS = 7 * 86400.0  # a deployment not seen for so long is no trouble any more
LEAST_RUNNING = 1.0  # replicas that do nothing are in balance


@dataclass(frozen=True)
class Window:
    """Seconds before now: from `start` to `end`. Entity: whose rows; replicas are looked at for their deployment."""

    entity: str
    start: int
    end: int = 0


@dataclass(frozen=True)
class Need:
    window: Window
    columns: tuple[str, ...]


class Readings(Protocol):
    """What is known of all subjects of an entity: arrays (subjects,) or (subjects, moments), NaN where it is not."""

    def mean(self, window: Window, name: str) -> Floats:
        """Of a column or ratio over the window."""
        ...

    def change(self, window: Window, name: str) -> Floats:
        """Greatest less least of a column in the window."""
        ...

    def crew(self, window: Window, name: str) -> Floats:
        """Means of the replicas of each deployment: (deployments, replicas at most) or (deployments, replicas at most, moments)."""
        ...

    def minutes(self, seconds: int) -> tuple[Floats, Floats]:
        """Minutes judged and broken of the latency promise in so many seconds before."""
        ...

    def promised(self, kind: str) -> Floats:
        """The share that was promised, LATENCY or AVAILABILITY; NaN where nothing is."""
        ...

    def silent(self, entity: str) -> Floats:
        """Seconds since the newest word, less the time in which we did not listen."""
        ...

    def skew(self) -> Floats:
        """How far the clocks of agents' hosts are off, in seconds."""
        ...


Values = Callable[[Readings, Rule], Floats]


@dataclass(frozen=True)
class Signal:
    """name; the entity it is of; what it is, for people; what is read for it; its values, NaN where nothing can be said."""

    name: str
    entity: str
    unit: str
    meaning: str
    needs: Callable[[Rule], tuple[Need, ...]]
    values: Values
    judged: bool = False  # whether it looks at minutes judged against a latency promise


def nothing(rule: Rule) -> tuple[Need, ...]:
    return ()


def windows_both(rule: Rule) -> tuple[Window, Window]:
    return Window("deployment", rule.window_seconds), Window("deployment", rule.window_seconds // SHORT)


def burn_needs(rule: Rule) -> tuple[Need, ...]:
    return tuple(Need(window, ("requests_per_second", "error_ratio")) for window in windows_both(rule))


def burn_rate(bad: Floats, whole: Floats, *, promised: Floats) -> Floats:
    """bad of whole, over the share that may be bad; of a promise without allowance any bad one is beyond all bounds."""
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = bad / whole / (1.0 - promised)
    return np.where(np.isnan(promised), np.nan, np.where((bad > 0) & (whole > 0), rate, 0.0))


def latency_burn(readings: Readings, rule: Rule) -> Floats:
    """The lower of the burn rates of both windows: above the threshold only where both are."""
    return np.minimum(*(latency_burn_over(readings, window) for window in windows_both(rule)))


def latency_burn_over(readings: Readings, window: Window) -> Floats:
    judged, broken = readings.minutes(window.start)
    rate = burn_rate(broken, judged, promised=readings.promised(LATENCY))
    measured = np.isfinite(readings.mean(window, "requests_per_second"))
    return np.where((judged > 0) | measured, rate, np.nan)  # measured, but no requests to judge: nothing burns


def error_burn(readings: Readings, rule: Rule) -> Floats:
    return np.minimum(*(error_burn_over(readings, window) for window in windows_both(rule)))


def error_burn_over(readings: Readings, window: Window) -> Floats:
    ratio, requests = readings.mean(window, "error_ratio"), readings.mean(window, "requests_per_second")
    known = np.where(np.isnan(ratio) & (requests == 0), 0.0, ratio)
    rate = burn_rate(known, np.ones_like(known), promised=readings.promised(AVAILABILITY))
    return np.where(np.isnan(known), np.nan, rate)


def halves(rule: Rule) -> tuple[Window, Window]:
    half = rule.window_seconds // 2
    return Window("deployment", half), Window("deployment", 2 * half, half)


def queue_growth(readings: Readings, rule: Rule) -> Floats:
    new, old = (readings.mean(window, "requests_waiting") for window in halves(rule))
    return new - old


def crew_needs(rule: Rule) -> tuple[Need, ...]:
    return (Need(Window("replica", rule.window_seconds), ("requests_running",)),)


def replica_skew(readings: Readings, rule: Rule) -> Floats:
    """NaN for deployments of which fewer than two replicas are measured."""
    running = readings.crew(Window("replica", rule.window_seconds), "requests_running")
    several = np.isfinite(running).sum(axis=1) >= 2
    filled = np.where(np.expand_dims(several, 1), running, 0.0)  # all-NaN slices would warn
    with np.errstate(invalid="ignore"):
        skew = np.nanmax(filled, axis=1, initial=0.0) / np.maximum(np.nanmedian(filled, axis=1), LEAST_RUNNING)
    return np.where(several, skew, np.nan)


def deployment_silent(readings: Readings, rule: Rule) -> Floats:
    silent = readings.silent("deployment")
    return np.where(silent <= GONE_SECONDS, silent, np.nan)


def changed(column: str) -> Values:
    """How much a counter or code changed within the window, at most."""
    return lambda readings, rule: readings.change(Window(rule.entity, rule.window_seconds), column)


def averaged(name: str) -> Values:
    return lambda readings, rule: readings.mean(Window(rule.entity, rule.window_seconds), name)


def own_window(*columns: str) -> Callable[[Rule], tuple[Need, ...]]:
    return lambda rule: (Need(Window(rule.entity, rule.window_seconds), columns),)


NAMED = {
    signal.name: signal
    for signal in (
        Signal(
            "slo_latency_burn",
            "deployment",
            "times",
            "Burn rate of the latency promise, over the window and its last twelfth, the lower of both.",
            burn_needs,
            latency_burn,
            judged=True,
        ),
        Signal(
            "slo_error_burn",
            "deployment",
            "times",
            "Burn rate of the availability promise, over the window and its last twelfth, the lower of both.",
            burn_needs,
            error_burn,
        ),
        Signal(
            "queue_growth",
            "deployment",
            "requests",
            "Mean requests waiting in the second half of the window less that in its first half.",
            lambda rule: tuple(Need(window, ("requests_waiting",)) for window in halves(rule)),
            queue_growth,
        ),
        Signal(
            "replica_skew",
            "deployment",
            "times",
            "Requests being worked on by the busiest replica over those by the median one (1 at least), means over the window.",
            crew_needs,
            replica_skew,
        ),
        Signal(
            "deployment_silent_seconds",
            "deployment",
            "seconds",
            "Since the deployment was last seen in any source; of one not seen for a week nothing is said.",
            nothing,
            deployment_silent,
        ),
        Signal(
            "ecc_errors_new",
            "accelerator",
            "errors",
            "Uncorrected memory errors that came in the window.",
            own_window("ecc_uncorrected_errors"),
            changed("ecc_uncorrected_errors"),
        ),
        Signal(
            "xid_changed",
            "accelerator",
            "code",
            "How much the last Xid code changed in the window.",
            own_window("xid_code"),
            changed("xid_code"),
        ),
        Signal(
            "agent_silent_seconds",
            "agent",
            "seconds",
            "Since the agent was last heard.",
            nothing,
            lambda readings, rule: readings.silent("agent"),
        ),
        Signal(
            "clock_skew_seconds",
            "agent",
            "seconds",
            "How far the clock of the agent's host is off ours.",
            nothing,
            lambda readings, rule: readings.skew(),
        ),
        Signal(
            "source_silent_seconds",
            "source",
            "seconds",
            "Since the newest moment read from the source.",
            nothing,
            lambda readings, rule: readings.silent("source"),
        ),
    )
}


def signal_find(entity: str, name: str) -> Signal | None:
    """The named signal, or the mean of a column or ratio of the entity; None where there is no such thing."""
    if name in NAMED:
        return NAMED[name] if NAMED[name].entity == entity else None
    if entity in (RuleEntity.AGENT, RuleEntity.SOURCE):
        return None
    column = next((column for column in COLUMNS[Entity(entity)] if column.name == name), None)
    ratio = next((ratio for ratio in RATIOS if ratio.name == name and entity == RuleEntity.DEPLOYMENT), None)
    known = column or ratio
    if known is None:
        return None
    return Signal(name, entity, known.unit, known.meaning, own_window(name), averaged(name))

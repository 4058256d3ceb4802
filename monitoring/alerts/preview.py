"""What a rule would have done over the last days, by the signals and the lifecycle of the rounds, from stored telemetry."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from monitoring.alerts.evaluate import exceeds, means, timing_of
from monitoring.alerts.lifecycle import (
    FLAP_STABLE,
    OVER,
    UNKNOWN_GRACE,
    UNKNOWN_MOST,
    Life,
    Seen,
    Timing,
    Told,
    life_begin,
    life_step,
    recent,
)
from monitoring.alerts.past import PastReadings, Stretch, moment, past_load
from monitoring.alerts.readings import needs_of
from monitoring.alerts.signals import Floats, Signal, signal_find
from monitoring.alerts.subjects import Subject, subjects_load
from monitoring.models import Agent, Comparison, Placement, Rule, RuleEntity

DAYS = 14
STEP, FINE_STEP = 300.0, 60.0  # the finer one for windows that are shorter than the step
FINE_MOST, SUBJECTS_MOST = 20, 200  # more would take longer than somebody waits
FIRINGS_MOST = 500
SHORT_HISTORY = 3600.0  # history that begins later than this after the asked start is worth a word
NOT_KEPT = {
    "clock_skew_seconds": "How far clocks were off in the past is not kept, so this cannot be previewed.",
    "source_silent_seconds": "When a source answered in the past is not kept (what it missed is read later), so this cannot be previewed.",
}
FILLED_LATER = "What was sent after a silence has filled its gap, so shorter silences may be missing here."
Codes = NDArray[np.int64]
SEEN = {1: Seen.TRUE, 0: Seen.FALSE, -1: Seen.NO_DATA}


@dataclass(frozen=True)
class Firing:
    """From the edge that tells of it to the edge that tells its end; `going`: the end was not reached."""

    labels: dict[str, str]
    deployment_id: int | None
    start: datetime
    end: datetime
    minutes: float
    worst: float
    going: bool = False


@dataclass(frozen=True)
class Preview:
    """missing: what could not be judged, in a sentence; empty: nothing."""

    firings: tuple[Firing, ...]
    count: int
    minutes: float
    since: datetime
    until: datetime
    judged_subjects: int
    step_seconds: float
    sentence: str
    missing: str


def rule_preview(rule: Rule, *, now: datetime, days: int = DAYS, deployments: Collection[int] | None = None) -> Preview:
    """Judge the last days in steps of one or five minutes; `deployments`: what the asker may see, None: all.

    A fixed number of queries, whatever the number of subjects and days.
    """
    signal = signal_find(rule.entity, rule.signal)
    subjects = subjects_meant(rule, now=now, deployments=deployments)
    stretch = stretch_of(rule, len(subjects), now=now, days=days)
    if signal is None or rule.signal in NOT_KEPT or not subjects:
        why = NOT_KEPT.get(rule.signal, "") or ("Nothing matches this rule." if signal else f"There is no signal {rule.signal!r}.")
        return preview_of(rule, [], stretch=stretch, judged=0, missing=why)
    chosen = subjects[:SUBJECTS_MOST]
    readings = past_load(needs_of([rule]), chosen, entity=rule.entity, stretch=stretch)
    values = np.broadcast_to(signal.values(readings, rule), (len(chosen), len(readings.moments)))
    known = np.asarray(np.isfinite(values).any(axis=1))
    firings = [
        firing
        for place in np.flatnonzero(exceeds(rule, values).any(axis=1))
        for firing in firings_of(rule, chosen[place], readings.moments, values[place])
    ]
    told = missing_of(rule, signal, readings, known=known, left=len(subjects) - len(chosen))
    since = history_begin(readings.moments, values, start=stretch.start)
    begun = Stretch(since, stretch.end, step_of(readings, stretch), stretch.lead)
    return preview_of(rule, firings, stretch=begun, judged=int(known.sum()), missing=told)


def stretch_of(rule: Rule, subjects: int, *, now: datetime, days: int) -> Stretch:
    step = FINE_STEP if rule.window_seconds < STEP and subjects <= FINE_MOST else STEP
    end = now.timestamp() // step * step
    lead = -(-rule.window_seconds // STEP) * STEP
    return Stretch((end - days * 86400) // STEP * STEP, end, step, lead)


def step_of(readings: PastReadings, stretch: Stretch) -> float:
    return float(readings.moments[1] - readings.moments[0]) if len(readings.moments) > 1 else stretch.step


def subjects_meant(rule: Rule, *, now: datetime, deployments: Collection[int] | None) -> list[Subject]:
    own = [subject for subject in subjects_load([rule.entity], now=now)[rule.entity] if means(rule, subject)]
    if deployments is None:
        return own
    seen = rows_seen(rule.entity, deployments)
    return [subject for subject in own if subject.pk in seen]


def rows_seen(entity: str, deployments: Collection[int]) -> set[int]:
    """Which rows of an entity who sees these deployments may see: what they run on now."""
    if entity == RuleEntity.DEPLOYMENT:
        return set(deployments)
    open_placements = Placement.objects.filter(valid_to__isnull=True, replica__deployment__in=deployments)
    rows = list(open_placements.values_list("accelerator_id", "node_id", "accelerator__node_id"))
    nodes = {node for _, *both in rows for node in both if node is not None}
    if entity == RuleEntity.ACCELERATOR:
        return {card for card, *_ in rows if card is not None}
    if entity == RuleEntity.NODE:
        return nodes
    return set(Agent.objects.filter(node__in=nodes).values_list("pk", flat=True)) if entity == RuleEntity.AGENT else set()


def firings_of(rule: Rule, subject: Subject, moments: Floats, values: Floats) -> list[Firing]:
    codes = np.where(np.isnan(values), -1, exceeds(rule, values).astype(np.int64))
    worse = np.nanmax if rule.comparison == Comparison.ABOVE else np.nanmin
    found = []
    for start, end, going in lives_run(moments, codes, timing=timing_of(rule)):
        inside = values[(moments >= start) & (moments <= end)]
        minutes = (end - start) / 60
        found.append(Firing(subject.labels, subject.deployment_id, moment(start), moment(end), minutes, float(worse(inside)), going))
    return found


def lives_run(moments: Floats, codes: Codes, *, timing: Timing) -> list[tuple[float, float, bool]]:
    """(start, end, still going) of each firing; codes: 1 true, 0 false, -1 unknown.

    Only moments at which something can happen are stepped through: where the condition changes, and where a time is up.
    """
    changes = np.flatnonzero(np.diff(codes)) + 1
    last_of_runs = np.concatenate((changes - 1, [len(codes) - 1]))
    trues = np.flatnonzero(codes == 1)
    found: list[tuple[float, float, bool]] = []
    life: Life | None = None
    began: float | None = None
    toggles: tuple[float, ...] = ()
    place = int(trues[0]) if len(trues) else len(codes)
    while place < len(codes):
        now = float(moments[place])
        step = life_step(life or life_begin(now, toggles=recent(toggles, now=now)), SEEN[int(codes[place])], now=now, timing=timing)
        life = step.life
        if step.edge in (Told.FIRE, Told.FLAPPING) and began is None:
            began = now
        if life.state in OVER:
            if began is not None:
                found.append((began, now, False))
            toggles, life, began = life.toggles, None, None
            following = np.searchsorted(trues, place, side="right")
            place = int(trues[following]) if following < len(trues) else len(codes)
        else:
            run_end = int(last_of_runs[np.searchsorted(last_of_runs, place)])
            place = min(next_place(life, moments, place, timing=timing), run_end) if place < run_end else place + 1
    if began is not None:
        found.append((began, float(moments[-1]), True))
    return found


def next_place(life: Life, moments: Floats, place: int, *, timing: Timing) -> int:
    """The next moment at which one of the lifecycle's times is up."""
    waits = (life.since + timing.for_seconds, life.since + timing.keep_firing_seconds, life.flipped_at + FLAP_STABLE)
    ends = (*waits, life.known_at + UNKNOWN_GRACE, life.known_at + UNKNOWN_MOST)
    later = [int(np.searchsorted(moments, end, side=side)) for end in ends for side in ("left", "right")]
    return min((number for number in later if number > place), default=len(moments))


def missing_of(rule: Rule, signal: Signal, readings: PastReadings, *, known: NDArray[np.bool_], left: int) -> str:
    """What could not be judged."""
    words = []
    if left:
        words.append(f"Only the first {SUBJECTS_MOST} of {SUBJECTS_MOST + left} {rule.entity}s were judged; narrow the labels.")
    if not known.all():
        needed = "a latency promise and measured requests" if signal.judged else "what this rule looks at"
        words.append(f"For {int((~known).sum())} of {len(known)} {rule.entity}s nothing is stored about {needed}.")
    if rule.signal in ("agent_silent_seconds", "deployment_silent_seconds"):
        words.append(FILLED_LATER)
    if rule.window_seconds < STEP and len(readings.moments) > 1 and readings.moments[1] - readings.moments[0] > FINE_STEP:
        words.append("Judged in steps of 5 minutes, so shorter peaks are not seen.")
    return " ".join(words)


def history_begin(moments: Floats, values: Floats, *, start: float) -> float:
    """Where telemetry begins, if that is noticeably later than the asked start."""
    some = np.flatnonzero(np.isfinite(values).any(axis=0))
    first = float(moments[some[0]]) if len(some) else start
    return first if first - start > SHORT_HISTORY else start


def preview_of(rule: Rule, firings: Sequence[Firing], *, stretch: Stretch, judged: int, missing: str) -> Preview:
    minutes = sum(firing.minutes for firing in firings)
    ordered = tuple(sorted(firings, key=lambda firing: firing.start))[-FIRINGS_MOST:]
    words = sentence_of(len(firings), minutes, (stretch.end - stretch.start) / 86400, judged=judged)
    return Preview(ordered, len(firings), minutes, moment(stretch.start), moment(stretch.end), judged, stretch.step, words, missing)


def sentence_of(count: int, minutes: float, days: float, *, judged: int) -> str:
    span = span_words(days)
    if not judged:
        return f"Nothing could be judged in {span}."
    if not count:
        return f"Would not have fired in {span}."
    times = "once" if count == 1 else f"{count} times"
    return f"Would have fired {times} for {minutes_words(minutes)} in {span}."


def span_words(days: float) -> str:
    if days < 1:
        return f"the last {max(round(days * 24), 1)} hours, for which there is telemetry"
    return f"the last {round(days)} days" if round(days) > 1 else "the last day"


def minutes_words(minutes: float) -> str:
    if minutes < 120:
        return f"{round(minutes)} minutes" if round(minutes) != 1 else "1 minute"
    return f"{minutes / 60:.0f} hours" if minutes < 2880 else f"{minutes / 1440:.1f} days"

"""What becomes of an alert when its condition is seen once more: pure, without clock, database or Django.

    ok -> pending -> firing -> recovering -> resolved        no_data, error: nothing can be said; what fires goes on firing

Edges are what is worth telling: FIRE, RESOLVE, and FLAPPING once instead of the edges after it.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

FLAP_EDGES = 4  # more than this within FLAP_WINDOW is flapping
FLAP_WINDOW = 3600.0
FLAP_STABLE = 1800.0  # unchanged for so long, and its edges are told again
UNKNOWN_GRACE = 600.0  # a gap this short changes nothing
UNKNOWN_MOST = 86400.0  # without a word for so long an alert ends


class State(StrEnum):
    OK = "ok"
    PENDING = "pending"
    FIRING = "firing"
    RECOVERING = "recovering"
    RESOLVED = "resolved"
    NO_DATA = "no_data"
    ERROR = "error"


class Seen(StrEnum):
    """What an evaluation found."""

    TRUE = "true"
    FALSE = "false"
    NO_DATA = "no_data"
    ERROR = "error"


class Told(StrEnum):
    FIRE = "fire"
    RESOLVE = "resolve"
    FLAPPING = "flapping"


OVER = frozenset({State.OK, State.RESOLVED})
UNKNOWN = frozenset({State.NO_DATA, State.ERROR})
UNKNOWN_STATE = {Seen.NO_DATA: State.NO_DATA, Seen.ERROR: State.ERROR}


@dataclass(frozen=True)
class Timing:
    """Seconds a condition must be true before it fires, and false before it resolves."""

    for_seconds: float
    keep_firing_seconds: float


@dataclass(frozen=True)
class Life:
    """One alert at one moment; times in Unix seconds."""

    state: State
    since: float  # when it entered the state
    known_at: float  # when the condition was last seen true or false
    flipped_at: float  # when the condition last changed
    condition: bool  # as last seen
    fired: bool = False  # its firing is worth telling, and its end was not reached
    flapping: bool = False
    toggles: tuple[float, ...] = ()  # when it began and ended firing, within FLAP_WINDOW


@dataclass(frozen=True)
class Step:
    life: Life
    edge: Told | None = None


def life_begin(now: float, *, toggles: tuple[float, ...] = ()) -> Life:
    """The life of a condition that is true for the first time; toggles: of the identity's alert before this one."""
    return Life(State.PENDING, now, now, now, True, toggles=toggles)


def life_step(life: Life, seen: Seen, *, now: float, timing: Timing) -> Step:
    """One evaluation later. An evaluation that is not newer than the last changes nothing; what is over stays over."""
    if life.state in OVER or now < life.known_at:
        return Step(life)
    if seen in UNKNOWN_STATE:
        return step_unknown(life, UNKNOWN_STATE[seen], now=now)
    condition = seen is Seen.TRUE
    flipped = now if condition != life.condition else life.flipped_at
    known = replace(life, known_at=now, condition=condition, flipped_at=flipped)
    return settle(step_true(known, now=now, timing=timing) if condition else step_false(known, now=now, timing=timing), now=now)


def step_unknown(life: Life, state: State, *, now: float) -> Step:
    silent = now - life.known_at
    if silent > UNKNOWN_MOST:
        return life_end(life, now=now)
    if silent <= UNKNOWN_GRACE or life.state is state:
        return Step(life)
    return Step(replace(life, state=state, since=now))


def step_true(life: Life, *, now: float, timing: Timing) -> Step:
    if life.fired:
        return Step(life if life.state is State.FIRING else replace(life, state=State.FIRING, since=now))
    pending = life if life.state is State.PENDING else replace(life, state=State.PENDING, since=now)
    if now - pending.since < timing.for_seconds:
        return Step(pending)
    return toggle(replace(pending, state=State.FIRING, since=now, fired=True), Told.FIRE, now=now)


def step_false(life: Life, *, now: float, timing: Timing) -> Step:
    if not life.fired:
        return Step(replace(life, state=State.OK, since=now))
    recovering = life if life.state is State.RECOVERING else replace(life, state=State.RECOVERING, since=now)
    if now - recovering.since < timing.keep_firing_seconds or recovering.flapping:
        return Step(recovering)
    return life_end(recovering, now=now)


def life_end(life: Life, *, now: float) -> Step:
    """It is over, whatever it was: its rule or subject is gone, or its time has come."""
    if not life.fired:
        return Step(replace(life, state=State.OK, since=now))
    return toggle(replace(life, state=State.RESOLVED, since=now, fired=False), Told.RESOLVE, now=now)


def toggle(life: Life, edge: Told, *, now: float) -> Step:
    """Count the edge. The first FIRE too many says FLAPPING; the alert then stays open, and tells nothing until it settles."""
    toggles = (*recent(life.toggles, now=now), now)
    if len(toggles) <= FLAP_EDGES or edge is Told.RESOLVE:
        return Step(replace(life, toggles=toggles), edge)
    return Step(replace(life, toggles=toggles, flapping=True), Told.FLAPPING)


def settle(step: Step, *, now: float) -> Step:
    """A flapping alert that has been quiet long enough says what it settled on."""
    life = step.life
    if not life.flapping or step.edge is not None or now - life.flipped_at < FLAP_STABLE:
        return step
    calm = replace(life, flapping=False, toggles=())
    if life.state is State.FIRING:
        return Step(calm, Told.FIRE)
    return life_end(calm, now=now) if life.state is State.RECOVERING else Step(calm)


def recent(toggles: tuple[float, ...], *, now: float) -> tuple[float, ...]:
    return tuple(at for at in toggles if now - at < FLAP_WINDOW)

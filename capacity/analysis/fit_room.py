"""How many replicas of a deployment may run: what its people allow, what accelerators are free, what ran before."""

from dataclasses import dataclass
from datetime import UTC, datetime
from math import floor

import numpy as np

from capacity.analysis.plan_inputs import PlanInputs
from capacity.analysis.plan_texts import replicas_words
from capacity.analysis.supply import Free, Held, accelerators_free, held_load
from monitoring.models import Deployment


@dataclass(frozen=True)
class Room:
    """How many replicas may run, and what says so."""

    allowed: int | None  # None: nobody knows
    held: Held | None  # what one replica holds
    free: Free | None  # of that model in its cluster
    reasons: tuple[str, ...]
    unsure: bool = False  # enough only if accelerators that are not measured are free


def room_of(deployment: Deployment, inputs: PlanInputs, *, needed: int) -> Room:
    """The limit of its plan settings; what the free accelerators have room for; else the most that ran in the last weeks."""
    now = datetime.fromtimestamp(inputs.now, tz=UTC)
    running, most = floor(inputs.replicas_now or 0), inputs.hand.most_replicas
    held = held_load(deployment, now=now) if needed > running else None
    free = accelerators_free(deployment.cluster, model=held.model, now=now) if held else None
    hardware = running + floor(free.count / held.accelerators + 1e-9) if held and free else None
    seen = max(ran_most(inputs), running)
    allowed = most if most is not None else hardware if hardware is not None else seen or None
    if hardware is not None and allowed is not None:
        allowed = min(allowed, hardware)
    reasons = [limit_words(most, seen=seen)]
    if held and free:
        reasons.append(hardware_words(held, free, more=needed - running, cluster=deployment.cluster.name))
    fitting = most is None or needed <= most
    unsure = bool(
        held and free and fitting and hardware is not None and hardware < needed <= hardware + floor(free.unmeasured / held.accelerators)
    )
    return Room(allowed, held, free, tuple(reasons), unsure)


def ran_most(inputs: PlanInputs) -> int:
    ready = inputs.steps["replicas_ready"]
    known = ready[np.isfinite(ready)]
    return int(np.round(known.max())) if known.size else 0


def limit_words(most: int | None, *, seen: int) -> str:
    if most is not None:
        return f"Its plan settings allow {replicas_words(most)}."
    return f"No limit is set in its plan settings; {replicas_words(seen)} ran at most in the last 28 days."


def hardware_words(held: Held, free: Free, *, more: int, cluster: str) -> str:
    wanted = more * held.accelerators
    text = f"{replicas_words(more)} more need {wanted:.4g} {held.model}; {free.count} of {free.there} in {cluster} are free"
    return f"{text}, and of {free.unmeasured} it is not known." if free.unmeasured else f"{text}."

"""What so many replicas hold: the table of broken minutes of a deployment, corrected by what it was seen to hold."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from capacity.analysis.plan_assumed import Assumed
from capacity.analysis.plan_inputs import PlanInputs, Promised
from capacity.analysis.plan_server import SEED, ServerBase, headroom_now
from capacity.analysis.plan_tokens import TokenBase, token_promise
from capacity.analysis.words import latency_words, seconds_words
from capacity.engine.answer import NoAnswer
from capacity.engine.grid import Floats
from capacity.engine.queueing.service import ServiceTimes
from capacity.engine.sizing.broken import BrokenTable, Server
from capacity.engine.sizing.fallback import FORMULA, table_formula
from capacity.engine.sizing.headroom import Headroom
from capacity.engine.sizing.hold import HeldCurve, held_curve, table_hourly
from capacity.engine.sizing.quick import held_at, minute_table_quick
from capacity.engine.sizing.replicas import Promise
from capacity.engine.sizing.token_peak import token_latency, token_table_quick
from capacity.engine.sizing.token_table import token_slots
from capacity.engine.sizing.tokens import TokenPromise
from monitoring.catalog.records import Latency

RATIO_LIMITS = (0.2, 5.0)  # beyond that the two speak of different things
MIN_SEEN_STEPS, MIN_STEP_REQUESTS, MOSTLY = 100, 20, 0.95
MOST_RAISE = 16
TOP_STEP = 1.25
CLOSE = 0.1
MOST_OUTDONE = 2.0  # what was held over what token servers hold, beyond which they do not describe it
NEXT_TO_NOTHING = 1e-3  # of what a replica serves at most
REACHES = 0.7  # corrections below leave the table too short; above, its margin covers them


@dataclass(frozen=True)
class Gap:
    """Why a section of the plan is not there."""

    sentence: str


@dataclass(frozen=True)
class Question:
    """What a table is made for."""

    promised: Promised
    speed_ratio: float
    top_rate: float  # requests per second, of a minute


@dataclass(frozen=True)
class ServerModel:
    """Ready to be asked: rates in requests per second, tables by minute and by the mean of an hour."""

    server: Server
    promise: Promise
    minute: BrokenTable
    shapes: Floats
    speed_ratio: float  # of the replica, against today's
    ratio: float  # measured over predicted: rates of the tables are multiplied by it already
    headroom: Headroom | NoAnswer | None
    basis: str  # of the capacity line: "measured", "extrapolated", "replayed", "formula"
    curve_basis: str  # of the replay: "counts", "tokens", "formula"
    burst_error: float  # standard error of the logarithm of the burstiness
    bound_only: bool  # the slots are only the most seen, and no load broke the promise
    sentence: str

    target: "Target | None"
    tokens: TokenBase | None = None  # at the speed asked for

    @cached_property
    def hourly(self) -> BrokenTable:
        """Corrected once more at the mean of an hour, where the rows of a table lie too far apart for a break as sharp as this."""
        table = table_hourly(self.minute, shapes=self.shapes)
        target = self.target
        predicted = held_curve(table).rate(target.replicas) if target is not None and self.speed_ratio == 1.0 else 0.0
        if target is None or not predicted > 0:
            return table
        ratio = float(np.clip(target.rate / self.crest / predicted, 1.0 - CLOSE, 1.0 + CLOSE))
        ratio = max(ratio, 1.0) if target.basis == "seen" else ratio
        return BrokenTable(rates=table.rates * ratio, broken=table.broken)

    @property
    def crest(self) -> float:
        """The busiest five minutes of a busy hour over its mean."""
        return float(np.median(self.shapes.reshape(len(self.shapes), 12, 5).mean(axis=2).max(axis=1)))

    @cached_property
    def curve(self) -> HeldCurve:
        """By the mean rate of a day's busiest hour."""
        return held_curve(self.hourly)


def model_make(base: ServerBase, inputs: PlanInputs, *, question: Question) -> ServerModel | Gap:
    """Replay at the speed of now, correct by the headroom measured, then go over to the speed asked for. A second at most."""
    if base.tokens is not None:
        made = token_model(base, inputs, tokens=base.tokens, question=question)
        if not isinstance(made, str):
            return made
        base = replace(base, service_words=f"{base.service_words} {made}".strip())
    promise = promise_of(base, question=question)
    if isinstance(promise, Gap):
        return promise
    assert base.service is not None  # promise_of has said so
    headroom = headroom_now(inputs, promised=question.promised)
    target = target_of(inputs, headroom=headroom, promised=question.promised)
    now = Server(base.service, max(1, int(base.slots.value)), base.bursts.scv)
    try:
        reachable(now, promise, promised=question.promised)
        now = slots_raised(now, promise=promise, target=target, base=base)
        table = table_of(question, top_rate=question.top_rate, server=now, promise=promise)
        ratio, basis = correction(table, target=target)
        if question.speed_ratio != 1.0 or ratio < REACHES:
            top_rate = question.top_rate / min(ratio, 1.0)
            table = table_of(question, top_rate=top_rate, server=faster(now, question.speed_ratio), promise=promise)
    except ValueError as refused:  # the service alone is over the threshold: said in the engine's words
        return Gap(sentence_of(refused))
    return ServerModel(
        server=faster(now, question.speed_ratio),
        promise=promise,
        minute=BrokenTable(rates=table.rates * ratio, broken=table.broken),
        shapes=base.shapes,
        speed_ratio=question.speed_ratio,
        ratio=ratio,
        headroom=headroom,
        basis="formula" if base.service.basis == "assumed" else basis,
        curve_basis="formula" if base.service.basis == "assumed" else "counts",
        burst_error=base.bursts.log_error,
        bound_only=(base.slots_at_least and basis == "replayed") or outdone(target, ratio=ratio),
        target=target,
        sentence=model_words(base, ratio=ratio, basis=basis, slots=now.slots),
    )


def token_model(base: ServerBase, inputs: PlanInputs, *, tokens: TokenBase, question: Question) -> ServerModel | Gap | str:
    """The same through token servers; else why not: empty where the SLO is of the queue alone."""
    aim = token_promise(question.promised)
    if aim is None:
        return ""
    headroom = headroom_now(inputs, promised=question.promised)
    target = target_of(inputs, headroom=headroom, promised=question.promised)
    asked = tokens.faster(question.speed_ratio)
    try:
        table = token_table_of(question.top_rate, tokens=tokens, aim=aim)
        ratio, basis = correction(table, target=target)
        if ratio > MOST_OUTDONE and aim.kind != "tpot":
            return f"As a token server it would hold 1/{ratio:.2g} of what was seen, so it is replayed with its request durations."
        if question.speed_ratio != 1.0 or ratio < REACHES:
            table = token_table_of(question.top_rate / min(ratio, 1.0), tokens=asked, aim=aim)
        server = token_slots(asked.server, promises=(aim,), traffic=asked.traffic)
    except ValueError as refused:
        alone = token_alone(asked, aim=aim)
        late = alone is not None and alone > aim.threshold_seconds  # the refusal's own figures are of a replay slowed down
        return Gap(unreachable_words(question.promised, alone=alone) if alone is not None and late else sentence_of(refused))
    return ServerModel(
        server=server,
        promise=Promise(aim.quantile, aim.threshold_seconds),
        minute=BrokenTable(rates=table.rates * ratio, broken=table.broken),
        shapes=base.shapes,
        speed_ratio=question.speed_ratio,
        ratio=ratio,
        headroom=headroom,
        basis="tokens" if basis == "replayed" else basis,
        curve_basis="tokens",
        burst_error=base.bursts.log_error,
        bound_only=outdone(target, ratio=ratio),
        target=target,
        sentence=corrected_words(f"{base.bursts.sentence()} {tokens.sentence}", ratio=ratio, basis=basis),
        tokens=asked,
    )


def token_table_of(top_rate: float, *, tokens: TokenBase, aim: TokenPromise) -> BrokenTable:
    rng = np.random.default_rng(SEED)
    return token_table_quick(top_rate, server=tokens.server, promises=(aim,), traffic=tokens.traffic, rng=rng)


def token_alone(tokens: TokenBase, *, aim: TokenPromise) -> float | None:
    """The promised percentile of a replica that has next to nothing to do; None where it serves nothing at all."""
    try:
        rate = token_slots(tokens.server, promises=(aim,), traffic=tokens.traffic).capacity_rate(1.0) * NEXT_TO_NOTHING
        rng = np.random.default_rng(SEED)
        return token_latency(rate, replicas=1, server=tokens.server, traffic=tokens.traffic, promise=aim, rng=rng).promised
    except ValueError:
        return None


def table_of(question: Question, *, top_rate: float, server: Server, promise: Promise) -> BrokenTable:
    """By replay; by formula where the service times are assumed."""
    reachable(server, promise, promised=question.promised)
    if server.service.basis == "assumed":
        return table_formula(top_rate, server=server, promise=promise)
    return minute_table_quick(top_rate, server=server, promise=promise, rng=np.random.default_rng(SEED))


def reachable(server: Server, promise: Promise, *, promised: Promised) -> None:
    alone = server.service.quantile(promise.quantile)
    if promise.kind == "latency" and alone > promise.threshold_seconds:
        raise ValueError(unreachable_words(promised, alone=alone))


def unreachable_words(promised: Promised, *, alone: float) -> str:
    """Which promise, why more replicas do not help, and what would."""
    return (
        f"No number of replicas can hold the SLO, {promise_words(promised)}: also where nobody waits it is {seconds_words(alone)}, the "
        f"time the work itself takes. A threshold above {seconds_words(alone)} would do, or a faster replica."
    )


def promise_words(promised: Promised) -> str:
    """`first token p95 within 0.80 s`."""
    name = latency_words(promised.kind, promised.percentile)
    return f"{name[0].lower()}{name[1:]} within {seconds_words(promised.threshold_seconds)}"


def faster(server: Server, speed_ratio: float) -> Server:
    if speed_ratio == 1.0:
        return server
    return replace(server, service=ServiceTimes(server.service.values / speed_ratio, server.service.basis))


def promise_of(base: ServerBase, *, question: Question) -> Promise | Gap:
    """End to end: wait and service. First token: the wait alone may take what the first token leaves of the threshold."""
    promised = question.promised
    if base.service is None:
        return Gap(base.gap)
    if promised.kind == Latency.REQUEST_DURATION:
        return Promise(promised.percentile, promised.threshold_seconds)
    if promised.kind == Latency.QUEUE_TIME:
        return Promise(promised.percentile, promised.threshold_seconds, kind="wait")
    if promised.kind == Latency.TIME_PER_OUTPUT_TOKEN:
        return Gap(
            "The SLO is of the time per output token, which depends on the batch and not on a queue: it needs the token server's "
            "parameters, and they could not be fitted."
        )
    if base.first_token is None:
        return Gap("The SLO is of the first token, and no histogram of it is stored.")
    alone = base.first_token.quantile(promised.percentile)
    left = promised.threshold_seconds - alone / question.speed_ratio
    if left <= 0:
        return Gap(unreachable_words(promised, alone=alone / question.speed_ratio))
    return Promise(promised.percentile, left, kind="wait")


@dataclass(frozen=True)
class Target:
    """What the replicas of now hold by what was seen."""

    replicas: float
    rate: float
    basis: str  # "measured", "extrapolated", or "seen": at least that


def target_of(inputs: PlanInputs, *, headroom: Headroom | NoAnswer, promised: Promised) -> Target | None:
    replicas = inputs.replicas_now
    if not replicas:
        return None
    if isinstance(headroom, Headroom):
        return Target(replicas, headroom.break_rate, "seen" if headroom.basis == "bound" else headroom.basis)
    seen = held_seen(inputs, promised=promised)
    return Target(replicas, seen * replicas, "seen") if seen else None


def held_seen(inputs: PlanInputs, *, promised: Promised) -> float | None:
    """The highest rate of one replica in steps that held the promise, where nearly all steps did."""
    own, steps = inputs.promised_latencies if inputs.promised else inputs.durations, inputs.steps
    if own is None:
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        each = steps.rates / steps["replicas_ready"]
    known = np.isfinite(each) & (each > 0) & np.isfinite(own.seconds) & (own.requests >= MIN_STEP_REQUESTS)
    held = own.seconds[known] <= promised.threshold_seconds
    if known.sum() < MIN_SEEN_STEPS or held.mean() < MOSTLY:
        return None
    return float(np.quantile(each[known][held], 0.99))


def slots_raised(server: Server, *, promise: Promise, target: Target | None, base: ServerBase) -> Server:
    """More slots where so few could not have held what was seen: a mean of requests running hides how many run at an instant."""
    if target is None or not base.slots_at_least or base.service is None or base.service.basis == "assumed":
        return server
    replicas = max(1, int(target.replicas))

    def holds(slots: int) -> bool:
        rng = np.random.default_rng(SEED)
        return held_at(target.rate, replicas=replicas, server=replace(server, slots=slots), promise=promise, rng=rng)

    low, high = server.slots, server.slots
    while not holds(high):
        low, high = high + 1, high * 2
        if high > server.slots * MOST_RAISE:
            return server
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return replace(server, slots=low)


def correction(table: BrokenTable, *, target: Target | None) -> tuple[float, str]:
    """Measured over predicted of the replicas of now. Where only a bound was seen, never less than that."""
    predicted = held_curve(table).rate(target.replicas) if target is not None else 0.0
    if target is None or not predicted > 0:
        return 1.0, "replayed"
    ratio = float(np.clip(target.rate / predicted, *RATIO_LIMITS))
    if target.basis == "seen":
        return max(ratio, 1.0), "replayed"
    return ratio, target.basis


def outdone(target: Target | None, *, ratio: float) -> bool:
    """Did it hold clearly more than was predicted, and never break? Then what was seen is a bound, and the limit lies somewhere beyond."""
    return target is not None and target.basis == "seen" and ratio > 1.0 + CLOSE


def model_words(base: ServerBase, *, ratio: float, basis: str, slots: int) -> str:
    how = f"Counts per {base.counts_step:g} s. {base.bursts.sentence()} {base.service_words}"
    if base.service is not None and base.service.basis == "assumed":
        how = f"{FORMULA} {base.service_words}"
    if slots > base.slots.value:
        how = f"{how} {slots} requests at once in a replica: with fewer it could not have held what it was seen to hold."
    return corrected_words(how, ratio=ratio, basis=basis)


def corrected_words(how: str, *, ratio: float, basis: str) -> str:
    if abs(ratio - 1.0) < 0.005:
        return how
    said = "what it was seen to hold" if basis == "replayed" else "where it breaks by its own latency"
    return f"{how} Corrected by {said}: x {ratio:.2f}."


def sentence_of(refused: ValueError) -> str:
    text = str(refused)
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def question_of(inputs: PlanInputs, *, promised: Promised, assumed: Assumed, high: float) -> Question:
    """The table reaches a little beyond the highest minute of the past and the high demand of the horizon; in rough steps, so that
    what-ifs that differ little share one."""
    past = [values[np.isfinite(values)] for values in (inputs.steps.rates, inputs.minutes.rates)]
    most = max((float(values.max()) for values in past if values.size), default=0.0)
    top = 1.3 * max(most, high, 1e-6)
    return Question(promised, assumed.speed_ratio, float(TOP_STEP ** np.ceil(np.log(top) / np.log(TOP_STEP))))

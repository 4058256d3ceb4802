"""A server of tokens: many requests share each iteration, so speed falls as the batch grows and memory bounds the batch.

Model of one iteration with n requests in the batch, each with I tokens in and O out (milliseconds in the source, seconds here):
T(n) = a + n (b (I + O) / (O + 1) + g (I + O / 2)); a: fixed, b: per token computed, g: per token of KV cache read.
Prefill of a request: T(n) + (b + g) I (1 - h), h the prefix-cache hit rate. Source: llm-d workload-variant-autoscaler.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from capacity.engine.answer import NoAnswer
from capacity.engine.queueing.compiled import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MIN_READINGS = 20
MIN_SPREAD = 2.0  # the batch must have varied by this factor (p95 / p5), else its weight cannot be told from the fixed part
HUBER_WIDTH = 1.5  # residuals beyond so many robust standard deviations weigh less
ROUNDS = 20
CORRECTION_RATE = 0.2  # weight of a new measured over predicted
CORRECTION_LIMITS = (0.5, 2.0)


@dataclass(frozen=True)
class TokenSpeed:
    """Parameters of the iteration model and how well they fit."""

    fixed_seconds: float  # a
    token_seconds: float  # b
    context_seconds: float  # g
    fit_r2: float  # 1 = all of the measured variation explained, outliers weighing less; NaN where parameters were given, not fitted
    median_error_ratio: float  # median of |measured - predicted| / measured
    correction: float = 1.0  # measured over predicted, smoothed

    def iteration_seconds(self, batch: Floats | float, *, tokens_in: float, tokens_out: float, hit_ratio: float = 0.0) -> Floats:
        """T(n): seconds between two tokens of a request in a batch of n."""
        computed = (tokens_in * (1.0 - hit_ratio) + tokens_out) / (tokens_out + 1.0)
        each = self.token_seconds * computed + self.context_seconds * (tokens_in + tokens_out / 2.0)
        return np.asarray(self.correction * (self.fixed_seconds + np.asarray(batch, dtype=np.float64) * each))

    def prefill_seconds(self, batch: Floats | float, *, tokens_in: float, tokens_out: float, hit_ratio: float = 0.0) -> Floats:
        """Seconds from start of service to the first token; a prefix-cache hit saves its part of the prefill only."""
        iteration = self.iteration_seconds(batch, tokens_in=tokens_in, tokens_out=tokens_out, hit_ratio=hit_ratio)
        return np.asarray(iteration + self.correction * (self.token_seconds + self.context_seconds) * tokens_in * (1.0 - hit_ratio))

    def corrected(self, *, measured_seconds: float, predicted_seconds: float) -> "TokenSpeed":
        """The same with one more measured over predicted taken in, bounded to a factor of two."""
        ratio = float(np.clip(self.correction * measured_seconds / predicted_seconds, *CORRECTION_LIMITS))
        smoothed = (1.0 - CORRECTION_RATE) * self.correction + CORRECTION_RATE * ratio
        return TokenSpeed(self.fixed_seconds, self.token_seconds, self.context_seconds, self.fit_r2, self.median_error_ratio, smoothed)


def token_speed_fit(running: Floats, *, tokens_in: Floats, tokens_out: Floats, itl_seconds: Floats) -> TokenSpeed | NoAnswer:
    """Fit a, b, g by robust least squares (Huber weights), none below 0.

    running: (n,) requests in the batch; tokens_in, tokens_out: (n,) mean tokens of the requests then; itl_seconds: (n,) mean time
    between tokens. NaN anywhere skips the reading. NoAnswer("too_short") under 20 readings; NoAnswer("no_variation") when
    the batch varied by less than a factor of two (have and need in per cent): one speed says nothing of another batch.
    """
    columns = [np.asarray(values, dtype=np.float64) for values in (running, tokens_in, tokens_out, itl_seconds)]
    known = np.isfinite(columns).all(axis=0) & (columns[0] > 0) & (columns[3] > 0) & (columns[2] > 0)
    batch, size_in, size_out, itl = (values[known] for values in columns)
    if batch.size < MIN_READINGS:
        return NoAnswer("too_short", have=int(batch.size), need=MIN_READINGS)
    low, high = np.quantile(batch, [0.05, 0.95])
    if high < MIN_SPREAD * low:
        return NoAnswer("no_variation", have=int(100 * high / low), need=int(100 * MIN_SPREAD))
    design = np.stack([np.ones(batch.size), batch * (size_in + size_out) / (size_out + 1.0), batch * (size_in + size_out / 2.0)], axis=1)
    found, weights = huber_fit(design, itl)
    left = np.abs(itl - design @ found)
    spread = np.abs(itl - np.average(itl, weights=weights))
    return TokenSpeed(
        fixed_seconds=float(found[0]),
        token_seconds=float(found[1]),
        context_seconds=float(found[2]),
        fit_r2=float(1.0 - np.sum(weights * left**2) / max(np.sum(weights * spread**2), 1e-300)),
        median_error_ratio=float(np.median(left / itl)),
    )


def huber_fit(design: Floats, target: Floats) -> tuple[Floats, Floats]:
    """Least squares with no parameter below 0 and outliers bounded; also the weight of each reading."""
    weights = np.ones(target.size)
    found = np.zeros(design.shape[1])
    for _ in range(ROUNDS):
        root = np.sqrt(weights)
        found = positive_fit(design * root[:, None], target * root)
        left = np.abs(target - design @ found)
        width = HUBER_WIDTH * max(1.4826 * float(np.median(left)), 1e-12)
        weights = np.minimum(1.0, width / np.maximum(left, 1e-300))
    return found, weights


def positive_fit(design: Floats, target: Floats) -> Floats:
    """Non-negative least squares by trying every set of columns: three columns have seven."""
    scale = np.maximum(np.abs(design).max(axis=0), 1e-300)
    best, error = np.zeros(design.shape[1]), float(np.sum(target**2))
    for chosen in range(1, 2 ** design.shape[1]):
        columns = [c for c in range(design.shape[1]) if chosen >> c & 1]
        part = np.linalg.lstsq(design[:, columns] / scale[columns], target, rcond=None)[0]
        left = float(np.sum((target - design[:, columns] / scale[columns] @ part) ** 2))
        if (part >= 0).all() and left < error:
            best, error = np.zeros(design.shape[1]), left
            best[columns] = part / scale[columns]
    return best


@dataclass(frozen=True)
class TokenServer:
    """One replica."""

    speed: TokenSpeed
    batch_limit: int  # most requests in a batch (vLLM: max_num_seqs)
    kv_tokens: float  # tokens the KV cache holds
    hit_ratio: float = 0.0  # share of prompt tokens found in the prefix cache

    def __post_init__(self) -> None:
        if self.batch_limit < 1 or not self.kv_tokens > 0 or not 0 <= self.hit_ratio <= 1:
            raise ValueError(
                "needed a batch of 1 or more, room for more than 0 tokens and a hit ratio in [0, 1], "
                f"got {self.batch_limit}, {self.kv_tokens} and {self.hit_ratio}"
            )


@dataclass(frozen=True)
class TokenLatencies:
    """(n,) seconds, by request."""

    ttft_seconds: Floats
    tpot_seconds: Floats
    request_seconds: Floats


# Rows of the replicas' state and places of the parameters, as the compiled loops know them.
CLOCK, SEEN, WORK, HELD = 0, 1, 2, 3  # tokens given since the start; the time of that reading; cost of the batch an iteration; KV tokens
FIXED, TOKEN, CONTEXT, HIT, ROOM = 0, 1, 2, 3, 4


@compiled("float64(float64[::1], float64, float64)")
def request_work(parameters: Floats, tokens_in: float, tokens_out: float) -> float:
    """Seconds that a request in the batch adds to an iteration."""
    computed = (tokens_in * (1.0 - parameters[HIT]) + tokens_out) / (tokens_out + 1.0)
    return float(parameters[TOKEN] * computed + parameters[CONTEXT] * (tokens_in + tokens_out / 2.0))


@compiled("int64(float64[:,::1], int64[::1], int64, float64, float64)")
def replica_free(state: Floats, size: Ints, batch_limit: int, tokens: float, room: float) -> int:
    """The replica with the fewest running among those with room in batch and cache, -1 where there is none."""
    best = -1
    for r in range(size.size):
        if size[r] < batch_limit and (size[r] == 0 or state[HELD, r] + tokens <= room) and (best < 0 or size[r] < size[best]):
            best = r
    return best


@compiled("void(float64[:,::1], float64[::1], int64, int64, float64[:,::1], float64[:,::1])")
def tokens_run(requests: Floats, parameters: Floats, replicas: int, batch_limit: int, due: Floats, result: Floats) -> None:
    """Fill the times of the first (result[0]) and the last token (result[1]) of each request.

    requests: (3, n) arrivals, tokens in, tokens out; due: (replicas, batch_limit) of inf, room to work in.
    Each replica counts tokens on a clock of its own that runs at 1 / T(batch): a request joins at the clock's reading and
    leaves when it has moved on by its tokens. One queue, first come first served; a request goes to the replica with the
    fewest running, as soon as its batch and its KV cache have room.
    """
    arrivals, tokens_in, tokens_out = requests[0], requests[1], requests[2]
    state, size = np.zeros((4, replicas)), np.zeros(replicas, dtype=np.int64)
    who = np.zeros((replicas, batch_limit), dtype=np.int64)
    waiting, coming = 0, 0  # the first request not admitted, not arrived yet
    while waiting < arrivals.size or size.sum() > 0:
        # The next thing to happen: an arrival or the earliest end of a request.
        now = arrivals[coming] if coming < arrivals.size else np.inf
        ending, place = -1, -1
        for r in range(replicas):
            if size[r] > 0:
                at = int(np.argmin(due[r]))
                moment = state[SEEN, r] + (due[r, at] - state[CLOCK, r]) * (parameters[FIXED] + state[WORK, r])
                if moment <= now:
                    now, ending, place = moment, r, at
        for r in range(replicas):
            if size[r] > 0:
                state[CLOCK, r] += (now - state[SEEN, r]) / (parameters[FIXED] + state[WORK, r])
            state[SEEN, r] = now
        if ending >= 0:
            i = who[ending, place]
            result[1, i] = now
            due[ending, place] = np.inf
            size[ending] -= 1
            state[HELD, ending] -= tokens_in[i] + tokens_out[i]
            state[WORK, ending] -= request_work(parameters, tokens_in[i], tokens_out[i])
            if size[ending] == 0:
                state[WORK, ending], state[HELD, ending] = 0.0, 0.0
        else:
            coming += 1
        while waiting < coming:
            i = waiting
            r = replica_free(state, size, batch_limit, tokens_in[i] + tokens_out[i], parameters[ROOM])
            if r < 0:
                break
            state[WORK, r] += request_work(parameters, tokens_in[i], tokens_out[i])
            state[HELD, r] += tokens_in[i] + tokens_out[i]
            iteration = parameters[FIXED] + state[WORK, r]
            prefill = iteration + (parameters[TOKEN] + parameters[CONTEXT]) * tokens_in[i] * (1.0 - parameters[HIT])
            result[0, i] = now + prefill
            free = int(np.argmax(due[r]))
            # The prefill holds the place for as many tokens as would be made meanwhile at the speed of now.
            due[r, free] = state[CLOCK, r] + max(tokens_out[i] - 1.0, 0.0) + prefill / iteration
            who[r, free] = i
            size[r] += 1
            waiting += 1


@dataclass(frozen=True)
class TokenRequests:
    """A past of a token server, oldest first."""

    arrivals: Floats  # (n,) seconds, ascending
    tokens_in: Floats  # (n,)
    tokens_out: Floats  # (n,)

    def __post_init__(self) -> None:
        if not self.arrivals.shape == self.tokens_in.shape == self.tokens_out.shape:
            raise ValueError("needed as many arrivals as tokens in and tokens out")
        every = np.concatenate([self.arrivals, self.tokens_in, self.tokens_out])
        if not np.isfinite(every).all() or (np.diff(self.arrivals) < 0).any() or (self.tokens_in < 0).any() or (self.tokens_out < 1).any():
            raise ValueError("needed ascending arrivals, tokens in of 0 or more and tokens out of 1 or more, without gaps")


def tokens_replay(requests: TokenRequests, *, server: TokenServer, replicas: int) -> TokenLatencies:
    """Send requests through `replicas` token servers behind one queue.

    ValueError where a request alone is larger than a replica's KV cache: no number of replicas would ever serve it.
    """
    largest = float(np.max(requests.tokens_in + requests.tokens_out, initial=0.0))
    if largest > server.kv_tokens:
        raise ValueError(f"a request of {largest:,.0f} tokens does not fit the KV cache of {server.kv_tokens:,.0f}; needed a larger cache")
    if replicas < 1:
        raise ValueError(f"needed 1 replica or more, got {replicas}")
    speed = server.speed
    iteration = [speed.correction * value for value in (speed.fixed_seconds, speed.token_seconds, speed.context_seconds)]
    parameters = np.array([*iteration, server.hit_ratio, server.kv_tokens])
    past = np.stack([requests.arrivals, requests.tokens_in, requests.tokens_out]).astype(np.float64)
    result = np.zeros((2, requests.arrivals.size))
    tokens_run(past, parameters, replicas, server.batch_limit, np.full((replicas, server.batch_limit), np.inf), result)
    first, done = result
    between = np.maximum(done - first, 0.0) / np.maximum(requests.tokens_out - 1.0, 1.0)
    return TokenLatencies(ttft_seconds=first - requests.arrivals, tpot_seconds=between, request_seconds=done - requests.arrivals)

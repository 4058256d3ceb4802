"""Token servers among the plans: their table of broken minutes, and what an autoscaler sees of one replica."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from capacity.engine.queueing.replay import WARM_UP_RATIO
from capacity.engine.queueing.service import ServiceTimes
from capacity.engine.queueing.tokens import TokenRequests, TokenServer, tokens_replay
from capacity.engine.sizing.broken import LEAST_RATE_RATIO, BrokenTable, Server, steady_arrivals
from capacity.engine.sizing.replicas import SECONDS_PER_MINUTE
from capacity.engine.sizing.tables import table_refined, table_stacked
from capacity.engine.sizing.tokens import TokenPromise, check_alone

Floats = NDArray[np.float64]

RATES = 12  # a replay of tokens takes ten times as long as one of slots
MIN_MINUTES = 20
MIN_REQUESTS = 1500
REPLICA_STEP = 0.05
MOST_SAMPLE = 2000  # requests tried alone


@dataclass(frozen=True)
class TokenTraffic:
    """Sizes of requests as they come, and how they come."""

    tokens_in: Floats  # (n,) a sample, any order
    tokens_out: Floats  # (n,)
    burstiness: float  # squared coefficient of variation of the gaps between arrivals

    def __post_init__(self) -> None:
        if self.tokens_in.size == 0 or self.tokens_in.shape != self.tokens_out.shape or not self.burstiness > 0:
            raise ValueError(
                f"needed tokens in and out of 1 request or more and a burstiness above 0, got {self.tokens_in.size} and "
                f"{self.tokens_out.size} requests and {self.burstiness}"
            )

    def requests(self, arrivals: Floats, *, rng: np.random.Generator) -> TokenRequests:
        """Each arrival with the sizes of one request of the sample, all of them in turn, in random order."""
        turns = -(-arrivals.size // self.tokens_in.size)
        chosen = np.concatenate([rng.permutation(self.tokens_in.size) for _ in range(turns)])[: arrivals.size]
        return TokenRequests(arrivals, self.tokens_in[chosen], self.tokens_out[chosen])


def token_slots(server: TokenServer, *, promises: tuple[TokenPromise, ...], traffic: TokenTraffic) -> Server:
    """One replica as the autoscaler's loop sees it: slots are the most requests running at which every promise holds without a wait.

    Bounded by the batch and by the KV cache; at least 1. Service times are those of the sample in a batch of so many.
    """
    room = server.kv_tokens / float(np.mean(traffic.tokens_in + traffic.tokens_out))
    most = max(1, min(server.batch_limit, int(room)))

    def holds(batch: int) -> bool:
        seconds = batch_seconds(batch, server=server, traffic=traffic)
        return all(float(np.quantile(seconds[promise.kind], promise.quantile)) <= promise.threshold_seconds for promise in promises)

    low, high = 1, most
    while low < high:  # a larger batch is never faster
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    values = np.sort(batch_seconds(low, server=server, traffic=traffic)["latency"])
    return Server(service=ServiceTimes(values=values, basis="tokens"), slots=low, burstiness=traffic.burstiness)


def batch_seconds(batch: int, *, server: TokenServer, traffic: TokenTraffic) -> dict[str, Floats]:
    """Seconds of each kind of promise for each request of the sample in a steady batch of so many."""
    mean_in, mean_out = float(np.mean(traffic.tokens_in)), float(np.mean(traffic.tokens_out))
    speed = server.speed
    each = float(speed.iteration_seconds(batch, tokens_in=mean_in, tokens_out=mean_out, hit_ratio=server.hit_ratio))
    computed = speed.correction * (speed.token_seconds + speed.context_seconds) * (1.0 - server.hit_ratio)
    first = each + computed * traffic.tokens_in
    return {"ttft": first, "tpot": np.full(first.size, each), "latency": first + each * (traffic.tokens_out - 1.0)}


def token_broken_table(
    top_rate: float, *, server: TokenServer, promises: tuple[TokenPromise, ...], traffic: TokenTraffic, rng: np.random.Generator
) -> BrokenTable:
    """Replay steady traffic of tokens at rates up to `top_rate` (requests per second) through every number of replicas that matters.

    A minute is broken when any of the promises is. ValueError for a top rate not above 0, no promise, or a promise that a lone
    request on an idle replica breaks.
    """
    if not (top_rate > 0 and np.isfinite(top_rate)) or not promises:
        raise ValueError(f"needed a top rate above 0 requests/s and a promise or more, got {top_rate} and {len(promises)}")
    sample = traffic.requests(np.arange(float(min(traffic.tokens_in.size, MOST_SAMPLE))), rng=rng)
    check_alone(sample, server=server, promises=promises)
    each = token_slots(server, promises=promises, traffic=traffic).capacity_rate(1.0)
    rates = top_rate * np.geomspace(LEAST_RATE_RATIO, 1.0, RATES)
    curves = []
    for rate in rates:
        minutes = int(max(MIN_MINUTES, np.ceil(MIN_REQUESTS / (rate * SECONDS_PER_MINUTE))))
        arrivals = steady_arrivals(rate, minutes=minutes, burstiness=traffic.burstiness, rng=rng)
        requests = traffic.requests(arrivals, rng=rng)
        curves.append(token_curve(requests, server=server, promises=promises, least=max(1, int(0.6 * rate / each))))
    return table_refined(table_stacked(rates, curves=curves))


def token_curve(requests: TokenRequests, *, server: TokenServer, promises: tuple[TokenPromise, ...], least: int) -> Floats:
    """Share of minutes broken by replicas 0, 1, 2, ... until none is, or more replicas change nothing."""
    sizes, shares = [0, least - 1], [1.0, 1.0]
    replicas = least
    while shares[-1] > 0 and replicas <= 4 * least + requests.arrivals.size:
        sizes.append(replicas)
        shares.append(min(broken_minutes(requests, server=server, promises=promises, replicas=replicas), shares[-1]))
        if replicas >= 4 * least + 8 and shares[-1] == shares[-3]:
            break
        replicas = max(replicas + 1, int(replicas * (1.0 + REPLICA_STEP)))
    return np.asarray(np.interp(np.arange(sizes[-1] + 1), sizes, shares))


def broken_minutes(requests: TokenRequests, *, server: TokenServer, promises: tuple[TokenPromise, ...], replicas: int) -> float:
    """Share of the minutes with requests in which any promise is broken, the warm-up left out."""
    latencies = tokens_replay(requests, server=server, replicas=replicas)
    cut = int(requests.arrivals.size * WARM_UP_RATIO)
    minutes = ((requests.arrivals[cut:] - requests.arrivals[cut]) // SECONDS_PER_MINUTE).astype(np.int64)
    counts = np.bincount(minutes)
    broken = np.zeros(counts.size, dtype=bool)
    for promise in promises:
        late = np.bincount(minutes, weights=promise.seconds(latencies)[cut:] > promise.threshold_seconds)
        broken |= late > (1.0 - promise.quantile) * counts
    return float(broken[counts > 0].mean())

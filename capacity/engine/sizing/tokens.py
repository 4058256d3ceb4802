"""How many replicas of a token server hold its promises: TTFT, TPOT and end to end, all at once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from capacity.engine.queueing.replay import WARM_UP_RATIO
from capacity.engine.queueing.tokens import TokenLatencies, TokenRequests, TokenServer, tokens_replay
from capacity.engine.sizing.replicas import PARTS, SECONDS_PER_MINUTE

Floats = NDArray[np.float64]

MIN_REQUESTS = 200
MOST_REPLICAS = 4096
KINDS = ("ttft", "tpot", "latency")


@dataclass(frozen=True)
class TokenPromise:
    """`quantile` of the requests within `threshold_seconds`, of one kind of latency."""

    kind: str  # "ttft", "tpot" or "latency"
    quantile: float
    threshold_seconds: float

    def __post_init__(self) -> None:
        if self.kind not in KINDS or not 0 < self.quantile < 1 or not self.threshold_seconds > 0:
            raise ValueError(
                f"needed one of {', '.join(KINDS)}, a quantile between 0 and 1 and a threshold above 0 s, "
                f"got {self.kind}, {self.quantile} and {self.threshold_seconds} s"
            )

    def seconds(self, latencies: TokenLatencies) -> Floats:
        return {"ttft": latencies.ttft_seconds, "tpot": latencies.tpot_seconds, "latency": latencies.request_seconds}[self.kind]

    def late_parts(self, latencies: TokenLatencies, *, parts: int) -> Floats:
        """Share of late requests in each part of the past, the warm-up left out."""
        late = self.seconds(latencies) > self.threshold_seconds
        return np.array([part.mean() for part in np.array_split(late[int(late.size * WARM_UP_RATIO) :], parts)])


@dataclass(frozen=True)
class TokenPoint:
    """One number of replicas; latencies in the order of the promises."""

    replicas: int
    quantile_seconds: tuple[float, ...]  # each promise's own quantile
    late_ratios: tuple[float, ...]
    requests_per_second_each: float  # mean, of one replica
    holds: bool


@dataclass(frozen=True)
class TokenSizing:
    replicas: int
    curve: tuple[TokenPoint, ...]
    binding: str  # the kind of promise that asks for the most replicas
    sentence: str


def token_replicas(requests: TokenRequests, *, server: TokenServer, promises: tuple[TokenPromise, ...]) -> TokenSizing:
    """The smallest number of replicas at which every promise holds in every quarter of the past.

    ValueError for no promise, fewer than 200 requests, or a promise that a lone request on an idle replica breaks.
    """
    if not promises:
        raise ValueError("needed at least one promise of ttft, tpot or latency, got none")
    if requests.arrivals.size < MIN_REQUESTS:
        raise ValueError(f"needed {MIN_REQUESTS} requests or more, got {requests.arrivals.size}")
    check_alone(requests, server=server, promises=promises)
    least = {promise.kind: smallest(requests, server=server, promises=(promise,)) for promise in promises}
    binding = max(least, key=lambda kind: least[kind])
    replicas = max(least.values())
    sizes = sorted({max(1, replicas + step) for step in (-2, -1, 0, 1, 2)} | {max(1, replicas // 2), replicas * 2})
    return TokenSizing(
        replicas=replicas,
        curve=tuple(token_point(requests, server=server, promises=promises, replicas=n) for n in sizes),
        binding=binding,
        sentence=f"{replicas} is the least that holds in each of {PARTS} parts of the past; {binding} asks for the most.",
    )


def smallest(requests: TokenRequests, *, server: TokenServer, promises: tuple[TokenPromise, ...]) -> int:
    low, high = 1, 1
    while not holds(tokens_replay(requests, server=server, replicas=high), promises):
        low, high = high + 1, high * 2
        if high > MOST_REPLICAS:
            raise ValueError(f"no size under {MOST_REPLICAS} replicas holds {promises[0].threshold_seconds:g} s of {promises[0].kind}")
    while low < high:
        middle = (low + high) // 2
        held = holds(tokens_replay(requests, server=server, replicas=middle), promises)
        low, high = (low, middle) if held else (middle + 1, high)
    return low


def holds(latencies: TokenLatencies, promises: tuple[TokenPromise, ...]) -> bool:
    return all(promise.late_parts(latencies, parts=PARTS).max() <= 1.0 - promise.quantile + 1e-12 for promise in promises)


def check_alone(requests: TokenRequests, *, server: TokenServer, promises: tuple[TokenPromise, ...]) -> None:
    """Each request on an idle replica: what is late there, no number of replicas makes good."""
    far = float(np.sum(requests.tokens_out) * 10.0 + 1e4) * float(server.speed.iteration_seconds(1, tokens_in=1e5, tokens_out=1.0))
    alone = TokenRequests(np.arange(float(requests.arrivals.size)) * np.float64(far), requests.tokens_in, requests.tokens_out)
    latencies = tokens_replay(alone, server=server, replicas=1)
    for promise in promises:
        seconds = promise.seconds(latencies)
        if (seconds > promise.threshold_seconds).mean() > 1.0 - promise.quantile:
            alone_seconds = np.quantile(seconds, promise.quantile)
            raise ValueError(
                f"no number of replicas holds {promise.threshold_seconds:g} s of {promise.kind} for {promise.quantile:.0%} of requests: "
                f"alone on an idle replica it is {alone_seconds:.3g} s; needed a threshold above that, or a faster replica"
            )


def token_point(requests: TokenRequests, *, server: TokenServer, promises: tuple[TokenPromise, ...], replicas: int) -> TokenPoint:
    latencies = tokens_replay(requests, server=server, replicas=replicas)
    cut = int(requests.arrivals.size * WARM_UP_RATIO)
    seconds = [promise.seconds(latencies)[cut:] for promise in promises]
    length = max(float(requests.arrivals[-1] - requests.arrivals[0]), 1.0 / SECONDS_PER_MINUTE)
    return TokenPoint(
        replicas=replicas,
        quantile_seconds=tuple(float(np.quantile(values, promise.quantile)) for values, promise in zip(seconds, promises, strict=True)),
        late_ratios=tuple(float((values > promise.threshold_seconds).mean()) for values, promise in zip(seconds, promises, strict=True)),
        requests_per_second_each=requests.arrivals.size / length / replicas,
        holds=holds(latencies, promises),
    )

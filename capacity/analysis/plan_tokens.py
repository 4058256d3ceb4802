"""Token servers: speed by batch fitted from stored telemetry, with how well it fits, or why it does not."""

from dataclasses import dataclass, replace

import numpy as np

from capacity.analysis.plan_assumed import BY_HAND, Known
from capacity.analysis.plan_inputs import PlanInputs, Promised
from capacity.engine.answer import NoAnswer
from capacity.engine.grid import Floats
from capacity.engine.queueing.service import ServiceTimes
from capacity.engine.queueing.tokens import TokenServer, TokenSpeed, token_speed_fit
from capacity.engine.sizing.token_table import TokenTraffic
from capacity.engine.sizing.tokens import TokenPromise
from monitoring.catalog.records import Latency

LEAST_R2, MOST_ERROR = 0.5, 0.2  # below and above: the model does not describe this server
BATCH_DEFAULT = 256  # vLLM's max_num_seqs where nobody says
LEAST_USAGE = 0.05  # of the KV cache, below which its size cannot be told from it
NO_LIMIT = 1e9  # tokens, where no cache is measured
MOST_DECODE = 1.5  # seconds of decoding over those a whole request takes: beyond it one of the two is not what it says
SAMPLE = 1000
KINDS = {Latency.REQUEST_DURATION: "latency", Latency.TIME_TO_FIRST_TOKEN: "ttft", Latency.TIME_PER_OUTPUT_TOKEN: "tpot"}


@dataclass(frozen=True)
class TokenBase:
    """One replica as a server of tokens."""

    server: TokenServer
    traffic: TokenTraffic
    sentence: str

    def faster(self, speed_ratio: float) -> "TokenBase":
        """Every part of an iteration takes so much less time."""
        if speed_ratio == 1.0:
            return self
        speed = replace(self.server.speed, correction=self.server.speed.correction / speed_ratio)
        return replace(self, server=replace(self.server, speed=speed))


def token_base(inputs: PlanInputs, *, slots: Known, service: ServiceTimes | None, burstiness: float) -> TokenBase | str:
    """Why not, in a sentence, where it is no token server or none that the model describes; empty where it serves no tokens at all."""
    steps, gaps = inputs.steps, inputs.token_gaps
    if gaps is None or service is None or steps.ratio("output_tokens_per_second", "requests_per_second") is None:
        return ""
    with np.errstate(invalid="ignore", divide="ignore"):
        running = steps["requests_running"] / steps["replicas_ready"]
        tokens_in, tokens_out = (steps[f"{name}_tokens_per_second"] / steps.rates for name in ("input", "output"))
        gap_seconds = gaps.sums / np.where(gaps.requests > 0, gaps.requests, np.nan)
    found = token_speed_fit(running, tokens_in=tokens_in, tokens_out=tokens_out, itl_seconds=gap_seconds)
    if isinstance(found, NoAnswer):
        return f"Token speed by batch cannot be fitted ({refusal_words(found)}): replayed with its request durations instead."
    if not (found.fit_r2 >= LEAST_R2 and found.median_error_ratio <= MOST_ERROR):
        return f"Token speed by batch fits badly ({fit_words(found)}): replayed with its request durations instead."
    sizes = (float(np.nanmedian(tokens_in)), float(np.nanmedian(tokens_out)))
    decode = sizes[1] * float(np.nanmedian(gap_seconds))
    if decode > MOST_DECODE * service.mean_seconds:
        return (
            f"{sizes[1]:,.0f} output tokens take {decode:.3g} s by their own times, a whole request {service.mean_seconds:.3g} s: the two "
            "contradict, so it is replayed with its request durations."
        )
    hits = steps.ratio("cache_hits_per_second", "cache_queries_per_second") or 0.0
    room = kv_tokens(inputs, running=running, each=tokens_in + tokens_out / 2.0)
    server = TokenServer(found, batch_limit=batch_limit(slots), kv_tokens=room, hit_ratio=float(np.clip(hits, 0.0, 1.0)))
    return TokenBase(server, traffic_of(sizes, service=service, burstiness=burstiness, room=room), base_words(server, sizes=sizes))


def refusal_words(found: NoAnswer) -> str:
    if found.reason == "no_variation":
        return f"its batch varied by a factor of {found.have / 100:.2f}, {found.need / 100:g} is needed"
    return f"{found.have} readings, {found.need} are needed"


def fit_words(speed: TokenSpeed) -> str:
    return f"R2 {speed.fit_r2:.2f}, median error {speed.median_error_ratio:.0%}".replace("%", " %")


def base_words(server: TokenServer, *, sizes: tuple[float, float]) -> str:
    hits = f", {server.hit_ratio:.0%} of prompts from the prefix cache".replace("%", " %") if server.hit_ratio else ""
    lengths = f"{sizes[0]:,.0f} tokens in, {sizes[1]:,.0f} out{hits}"
    return f"Token servers: speed by batch fitted with {fit_words(server.speed)}; {lengths}, answers spread as durations are."


def batch_limit(slots: Known) -> int:
    """By hand, or where a queue began; else the server's default, and never below what was seen."""
    if slots.basis == BY_HAND or slots.basis.startswith("beyond"):
        return int(slots.value)
    return max(BATCH_DEFAULT, int(slots.value))


def kv_tokens(inputs: PlanInputs, *, running: Floats, each: Floats) -> float:
    """Room for tokens: what ran over the share of the cache it filled, median."""
    usage = inputs.steps["kv_cache_usage_ratio"]
    known = np.isfinite(usage) & (usage > LEAST_USAGE) & np.isfinite(running) & np.isfinite(each) & (running > 0)
    return float(np.median(running[known] * each[known] / usage[known])) if known.any() else NO_LIMIT


def traffic_of(sizes: tuple[float, float], *, service: ServiceTimes, burstiness: float, room: float) -> TokenTraffic:
    """Only means are stored: answers are spread as durations are, prompts exponentially (assumed), independent of each other.

    None is larger than the cache, whatever the assumed spread says: the server answered them.
    """
    rng = np.random.default_rng(0)
    places = (np.arange(SAMPLE) + 0.5) / SAMPLE
    out = np.quantile(service.values, places) / service.mean_seconds * sizes[1]
    prompts = -np.log1p(-places) * sizes[0]
    answers = np.clip(out, 1.0, max(1.0, room / 2.0))
    return TokenTraffic(np.clip(rng.permutation(prompts), 0.0, np.maximum(room - answers - 1.0, 0.0)), answers, burstiness)


def token_promise(promised: Promised) -> TokenPromise | None:
    kind = KINDS.get(promised.kind)
    return TokenPromise(kind, promised.percentile, promised.threshold_seconds) if kind else None

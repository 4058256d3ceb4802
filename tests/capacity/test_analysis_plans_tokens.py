"""Plans of token servers: fitted where the batch varied, else replayed by durations and said so."""

from typing import Any

import numpy as np
import pytest

from capacity.analysis.plan_assumed import Assumed
from capacity.analysis.plan_inputs import inputs_load
from capacity.analysis.plan_make import Ground, ground_make, plan_of
from capacity.analysis.plan_records import PlanResult
from capacity.analysis.plan_server import ServerBase
from monitoring.catalog.records import Latency
from monitoring.models import Deployment, Slo
from monitoring.store import histograms_write, rollups_write
from tests.factories import make_deployment
from tests.telemetry import NOON, NOON_SECONDS, make_histograms, make_rollups

pytestmark = pytest.mark.django_db
DAYS, REPLICAS = 9, 3
FIXED, EACH = 0.020, 0.0004  # seconds of an iteration, and of each request in the batch
TOKENS_IN, TOKENS_OUT = 600.0, 100.0
BOUNDS = tuple(np.geomspace(0.005, 20.0, 60).tolist())


def histogram(mean: np.ndarray, *, sigma: float, requests: np.ndarray) -> np.ndarray:
    """Counts by bucket of lognormal values with these means, step by step."""
    rng = np.random.default_rng(0)
    draws = rng.lognormal(-(sigma**2) / 2, sigma, 400)
    found = np.stack([np.bincount(np.searchsorted(BOUNDS, value * draws), minlength=len(BOUNDS) + 1) for value in mean])
    return found / 400.0 * requests[:, None]


def plant(
    *, swing: float, kind: Latency, threshold: float, name: str = "llm", cache: float = 100_000.0, hurried: float = 1.0
) -> Deployment:
    """Rates between 1 and `swing` a replica; a batch as Little's law has it. `hurried`: requests took so much less than their tokens."""
    deployment = make_deployment(name)
    ends = -300.0 * np.arange(DAYS * 288)[::-1]
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * (NOON_SECONDS + ends) / 86400.0)
    rates = REPLICAS * (1.0 + (swing - 1.0) * wave)
    batch = rates / REPLICAS * TOKENS_OUT * FIXED / (1.0 - rates / REPLICAS * TOKENS_OUT * EACH)  # n = rate x O x (a + b n)
    gap = FIXED + EACH * batch
    columns: dict[str, Any] = {
        "requests_per_second": rates,
        "requests_running": batch * REPLICAS,
        "requests_waiting": 0.0 * rates,
        "replicas_ready": np.full(rates.size, float(REPLICAS)),
        "input_tokens_per_second": rates * TOKENS_IN,
        "output_tokens_per_second": rates * TOKENS_OUT,
        "kv_cache_usage_ratio": batch * (TOKENS_IN + TOKENS_OUT / 2) / cache,
    }
    rollups_write(make_rollups(ends.tolist(), ids=deployment.pk, **columns))
    requests = rates * 300.0
    for latency, mean, sigma, count in (
        (Latency.REQUEST_DURATION, gap * TOKENS_OUT / hurried, 0.5, requests),
        (Latency.TIME_TO_FIRST_TOKEN, 3 * gap, 0.2, requests),
        (Latency.TIME_PER_OUTPUT_TOKEN, gap, 0.1, requests * TOKENS_OUT),
    ):
        counts = histogram(mean, sigma=sigma, requests=count)
        sums = (counts.sum(axis=1) * mean).tolist()
        rows = make_histograms(ends.tolist(), counts.tolist(), bounds=BOUNDS, ids=deployment.pk, latency=latency, sums=sums)
        histograms_write(rows, table="5m")
    Slo.objects.create(deployment=deployment, latency=kind, percentile=0.95, threshold_seconds=threshold)
    return deployment


def planned(deployment: Deployment, **assumed: Any) -> tuple[Ground, PlanResult]:
    ground = ground_make(inputs_load(deployment, now=NOON))
    return ground, plan_of(ground, assumed=Assumed(**assumed))


class TestFitted:
    def test_the_planted_speed_is_found_and_its_quality_said(self) -> None:
        ground, plan = planned(plant(swing=8.0, kind=Latency.TIME_PER_OUTPUT_TOKEN, threshold=0.045))
        assert isinstance(ground.server, ServerBase) and ground.server.tokens is not None
        speed = ground.server.tokens.server.speed
        for batch in (4.0, 16.0):
            found = float(speed.iteration_seconds(batch, tokens_in=TOKENS_IN, tokens_out=TOKENS_OUT))
            assert found == pytest.approx(FIXED + EACH * batch, rel=0.05)
        assert ground.server.tokens.server.kv_tokens == pytest.approx(100_000.0, rel=0.05)
        assert plan.curve is not None and plan.curve.basis == "tokens" and plan.curve.slo_kind == "per output token"
        assert "fitted with R2 1.00" in plan.curve.sentence or "fitted with R2 0.9" in plan.curve.sentence

    def test_more_replicas_give_smaller_batches_and_faster_tokens(self) -> None:
        _, plan = planned(plant(swing=8.0, kind=Latency.TIME_PER_OUTPUT_TOKEN, threshold=0.045))
        assert plan.curve is not None
        seconds = [point.promised for point in plan.curve.points]
        assert (np.diff(seconds) <= 1e-4).all() and FIXED <= seconds[-1] < 0.045
        assert next(point for point in plan.curve.points if point.replicas == plan.curve.needed).holds

    def test_first_tokens_are_sized_with_the_batch(self) -> None:
        _, plan = planned(plant(swing=8.0, kind=Latency.TIME_TO_FIRST_TOKEN, threshold=0.5))
        assert plan.curve is not None and plan.curve.basis == "tokens" and plan.verdict == "holds"
        assert plan.floor is not None and plan.replayed is not None

    def test_a_faster_replica_makes_tokens_faster(self) -> None:
        deployment = plant(swing=8.0, kind=Latency.TIME_PER_OUTPUT_TOKEN, threshold=0.045)
        _, now = planned(deployment)
        _, fast = planned(deployment, speed_ratio=2.0, hardware="H200", name="H200")
        assert now.curve is not None and fast.curve is not None
        assert fast.curve.points[-1].promised == pytest.approx(now.curve.points[-1].promised / 2, rel=0.25)
        assert fast.curve.needed <= now.curve.needed

    def test_a_threshold_under_a_lone_requests_time_gets_a_sentence(self) -> None:
        _, plan = planned(plant(swing=8.0, kind=Latency.TIME_PER_OUTPUT_TOKEN, threshold=0.01))
        told = "No number of replicas can hold the SLO, next tokens p95 within 10 ms: also where nobody waits it is 21 ms"
        assert plan.curve is None and plan.gaps["curve"].startswith(told)  # its own seconds, not those of a replay slowed down


class TestRefused:
    def test_a_batch_that_hardly_varied_falls_back_to_durations_and_says_so(self) -> None:
        _, plan = planned(plant(swing=1.2, kind=Latency.TIME_TO_FIRST_TOKEN, threshold=0.5))
        assert plan.curve is not None and plan.curve.basis == "counts"
        assert "Token speed by batch cannot be fitted (its batch varied by a factor of 1." in plan.curve.sentence

    def test_time_per_token_cannot_be_told_without_a_fit(self) -> None:
        _, plan = planned(plant(swing=1.2, kind=Latency.TIME_PER_OUTPUT_TOKEN, threshold=0.045))
        assert plan.curve is None and plan.gaps["curve"].startswith("The SLO is of the time per output token")

    def test_tokens_that_take_longer_than_their_requests_are_not_believed(self) -> None:
        _, plan = planned(plant(swing=8.0, kind=Latency.REQUEST_DURATION, threshold=5.0, hurried=3.0))
        assert plan.curve is not None and plan.curve.basis == "counts"
        assert "100 output tokens take" in plan.curve.sentence and "the two contradict" in plan.curve.sentence

    def test_no_request_is_taken_to_be_larger_than_the_cache_that_served_it(self) -> None:
        """Prompts are spread by assumption: 600 tokens on average, some ten times as long."""
        ground, plan = planned(plant(swing=8.0, kind=Latency.TIME_PER_OUTPUT_TOKEN, threshold=0.045, cache=3_000.0))
        assert isinstance(ground.server, ServerBase) and ground.server.tokens is not None
        traffic = ground.server.tokens.traffic
        assert (traffic.tokens_in + traffic.tokens_out).max() < ground.server.tokens.server.kv_tokens
        assert plan.curve is not None and "does not fit" not in " ".join(plan.gaps.values())

    def test_token_servers_that_hold_far_less_than_was_held_are_not_believed(self) -> None:
        """A cache as small as this fits one or two requests, though many ran."""
        _, plan = planned(plant(swing=8.0, kind=Latency.REQUEST_DURATION, threshold=20.0, cache=900.0))
        assert plan.curve is not None and plan.curve.basis == "counts"
        assert "As a token server it would hold 1/" in plan.curve.sentence

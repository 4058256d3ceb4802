"""A few deployments of the planted fleet: simulated request by request, their limit found by experiment, the answer held against it."""

import numpy as np
import pytest

from bench.saturation import UNTOLD, fleet_judge, score_of
from bench.saturation_fleet import case_make
from bench.saturation_replica import BLOCK, DONE, TENSOR, Machine, engine_run, pool_pass
from bench.saturation_world import LIMITS, NOTHING, limit_proved

SEED = 20
# One by one: what the simulator says must hold before the engine is held against it.
BARE = Machine(
    flops=1e12, flops_reached=0.5, bandwidth=1e12, bandwidth_reached=0.8, tensor=1.0, memory=10e9, memory_held=5e9, token_flops=1e9,
    token_traffic=0.0, token_activation=0.0, weight_bytes=8e9, spill_bytes=0.0, pcie=1e10, cache_bytes=1e5, cache_tokens=1600.0, slots=4,
    budget=1000, launch_seconds=0.0, host_seconds=0.0, memory_retry_seconds=0.0, memory_failure=0.0, memory_crash=0.0, restart_seconds=1.0,
    idle_watts=10.0, swing_watts=90.0, cap_watts=1e6, room_celsius=20.0, celsius_per_watt=0.1, thermal_seconds=60.0, hot_celsius=90.0,
    patience_seconds=1e9,
)  # fmt: skip


class TestSimulator:
    def test_one_request_takes_its_prompt_and_its_tokens(self) -> None:
        """Prompt of 100 tokens: 1e11 FLOP at 5e11/s = 0.2 s; each of the 9 tokens after the first reads 8e9 bytes at 8e11/s = 10 ms."""
        started, first, finished, status, sums, _ = engine_run(BARE, np.array([1.0]), np.array([100]), np.array([10]), 10.0, 10.0, 20.0, 1)
        assert (started[0], status[0]) == (pytest.approx(1.0, abs=1e-3), DONE)
        assert first[0] - 1.0 == pytest.approx(0.2, rel=0.01)
        assert finished[0] - first[0] == pytest.approx(0.09, rel=0.02)
        assert sums[0, TENSOR] == pytest.approx((100 + 9) * 1e9 / 1e12, rel=0.02)

    def test_a_full_cache_pushes_out_who_came_last(self) -> None:
        small = BARE._replace(cache_tokens=20.0 * BLOCK)
        ready, prompt, answer = np.zeros(3), np.full(3, 96), np.full(3, 60)
        _, _, finished, status, sums, _ = engine_run(small, ready, prompt, answer, 60.0, 60.0, 20.0, 1)
        assert (status == DONE).all()
        assert sums[0, 10] >= 1
        assert np.argmax(finished) == 2

    def test_a_pool_serves_in_order(self) -> None:
        starts, ends = pool_pass(np.array([0.0, 0.0, 0.0]), np.array([2.0, 1.0, 1.0]), 2)
        assert (starts.tolist(), ends.tolist()) == ([0.0, 0.0, 1.0], [2.0, 1.0, 2.0])

    def test_a_limit_is_proved_only_where_it_stands_out(self) -> None:
        even = dict.fromkeys(LIMITS, 0.0)
        assert limit_proved(even) is None
        assert limit_proved({**even, "queue": 0.5, "compute": 0.4}) is None
        assert limit_proved({**even, "queue": 0.5, "compute": 0.1}) == "queue"
        assert limit_proved({**even, "throttling": 0.8, "compute": 0.6}) == "throttling"


def test_the_engine_is_right_on_a_small_fleet() -> None:
    fleet = [
        case_make(limit, seed=SEED, number=number, remove=number == 1 and limit != NOTHING)
        for limit in (*LIMITS, NOTHING)
        for number in (0, 1)
    ]
    judged = fleet_judge(fleet)
    score = score_of(judged)
    assert score.right + score.healthy_right >= 17
    assert score.confidently_wrong + score.healthy_confidently_wrong <= 1
    assert sum(each.said == UNTOLD for each in judged if each.observed.removed) >= 7

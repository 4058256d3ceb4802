import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity.engine.answer import NoAnswer
from capacity.engine.queueing.arrivals import arrivals_rebuild, burstiness_measure, in_flight_at
from capacity.engine.queueing.formulas import Station, wait_mean, wait_quantile
from capacity.engine.queueing.replay import Capacity, replay, settled
from capacity.engine.queueing.service import ServiceTimes, service_histogram, service_measured
from capacity.engine.queueing.tokens import TokenRequests, TokenServer, TokenSpeed, token_speed_fit, tokens_replay

SPEED = TokenSpeed(fixed_seconds=0.01, token_seconds=2e-5, context_seconds=2e-8, fit_r2=np.nan, median_error_ratio=np.nan)


class TestReplay:
    def test_a_case_worked_by_hand(self) -> None:
        # Two slots. Third waits for the first (ends at 4), fourth for the second (ends at 5), fifth finds a slot free at 9.
        wait = replay(np.array([0.0, 1.0, 2.0, 3.0, 9.0]), service=np.array([4.0, 4.0, 2.0, 4.0, 1.0]), capacity=2)
        assert wait.tolist() == [0.0, 0.0, 2.0, 2.0, 0.0]

    def test_capacity_changes_on_the_way(self) -> None:
        # One slot until 10, none until 20, then two.
        capacity = Capacity(times=np.array([0.0, 10.0, 20.0]), slots=np.array([1, 0, 2]))
        wait = replay(np.array([0.0, 1.0, 9.0, 12.0]), service=np.full(4, 5.0), capacity=capacity)
        assert wait.tolist() == [0.0, 4.0, 11.0, 8.0]

    def test_who_gives_up_leaves_his_slot_to_the_next(self) -> None:
        wait = replay(np.array([0.0, 1.0, 9.5]), service=np.array([10.0, 5.0, 1.0]), capacity=1, patience_seconds=2.0)
        assert wait.tolist() == [0.0, 9.0, 0.5]

    def test_no_slot_means_waiting_for_ever(self) -> None:
        assert replay(np.array([0.0, 1.0]), service=np.ones(2), capacity=0).tolist() == [np.inf, np.inf]

    @pytest.mark.parametrize("servers", [1, 4, 12])
    def test_it_agrees_with_an_exact_m_m_k_within_two_per_cent_at_p95(self, servers: int) -> None:
        rng = np.random.default_rng(servers)
        station = Station(rate=0.8 * servers, mean_seconds=1.0)
        n = 2_000_000
        wait = settled(replay(np.cumsum(rng.exponential(1 / station.rate, n)), service=rng.exponential(1.0, n), capacity=servers))
        assert np.quantile(wait, 0.95) == pytest.approx(wait_quantile(station, servers=servers, quantile=0.95), rel=0.02)
        assert wait.mean() == pytest.approx(wait_mean(station, servers=servers), rel=0.02)

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 20)), min_size=1, max_size=60), st.integers(1, 5), st.floats(0.1, 50))
    def test_time_scaled_scales_the_waits_and_a_slot_more_never_lengthens_one(
        self, rows: list[tuple[float, float]], slots: int, scale: float
    ) -> None:
        arrivals, service = np.cumsum([gap for gap, _ in rows]), np.array([seconds for _, seconds in rows])
        wait = replay(arrivals, service=service, capacity=slots)
        assert replay(arrivals * scale, service=service * scale, capacity=slots) == pytest.approx(wait * scale, abs=1e-6)
        assert (replay(arrivals, service=service, capacity=slots + 1) <= wait + 1e-9).all()

    def test_replicas_serve_after_their_start_up(self) -> None:
        capacity = Capacity.serving(np.array([2, 5, 5, 5, 3]), step_seconds=60.0, startup_seconds=120.0, slots_per_replica=4)
        assert capacity.slots.tolist() == [8, 8, 8, 20, 12]

    @pytest.mark.parametrize(
        ("arrivals", "service", "words"),
        [
            ([0.0, 1.0], [1.0], "one service time for each"),
            ([1.0, 0.0], [1.0, 1.0], "ascending"),
            ([0.0], [-1.0], "0 or more"),
            ([np.nan], [1.0], "NaN"),
        ],
    )
    def test_bad_requests_are_refused_in_a_sentence(self, arrivals: list[float], service: list[float], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            replay(np.array(arrivals), service=np.array(service), capacity=1)


class TestServiceTimes:
    def test_a_histogram_keeps_its_mean_exactly(self) -> None:
        service = service_histogram(np.array([1.0, 2.0, 5.0, np.inf]), counts=np.array([10.0, 60.0, 29.0, 1.0]), total_seconds=230.0)
        assert service.mean_seconds == pytest.approx(2.3, rel=1e-3)
        assert (np.diff(service.values) >= 0).all()
        assert service.quantile(0.05) < 1.0 < service.quantile(0.5) < 2.0 < service.quantile(0.9) < 5.0

    def test_a_drawn_past_has_the_distribution(self) -> None:
        service = service_measured(np.random.default_rng(1).gamma(2.0, 1.5, 5_000))
        drawn = service.draw(50_000, rng=np.random.default_rng(2))
        assert np.quantile(drawn, [0.5, 0.95, 0.99]) == pytest.approx(np.quantile(service.values, [0.5, 0.95, 0.99]), rel=0.01)

    @pytest.mark.parametrize("seconds", [[np.nan, np.nan], [-1.0, 2.0], [0.0]])
    def test_no_or_negative_times_are_refused(self, seconds: list[float]) -> None:
        with pytest.raises(ValueError, match="needed|must be"):
            service_measured(np.array(seconds))


class TestArrivals:
    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.sampled_from([0.1, 1.0, 16.0, 128.0]), st.integers(0, 2**32 - 1))
    def test_rebuilt_arrivals_have_exactly_the_counts(self, counts: list[int], burstiness: float, seed: int) -> None:
        arrivals = arrivals_rebuild(
            np.array(counts, dtype=float), step_seconds=15.0, burstiness=burstiness, rng=np.random.default_rng(seed)
        )
        assert (np.diff(arrivals) >= 0).all()
        steps = np.repeat(np.arange(len(counts)), counts)
        assert ((steps * 15.0 <= arrivals) & (arrivals <= (steps + 1) * 15.0)).all()

    def test_one_seed_gives_one_past_and_a_gap_counts_as_none(self) -> None:
        counts = np.array([3.0, np.nan, 2.0])
        one, two = (arrivals_rebuild(counts, step_seconds=60.0, burstiness=2.0, rng=np.random.default_rng(7)) for _ in range(2))
        assert one.tolist() == two.tolist() and one.size == 5 and not ((one > 60) & (one < 120)).any()

    @pytest.mark.parametrize("planted", [1.0, 4.0, 16.0])
    def test_requests_in_flight_show_how_clumped_arrivals_are(self, planted: float) -> None:
        rng = np.random.default_rng(int(planted))
        arrivals = np.cumsum(rng.gamma(1 / planted, planted / 4.0, 20_000))  # 4 requests/s
        service = rng.exponential(5.0, arrivals.size)
        counts = np.histogram(arrivals, bins=np.arange(0, arrivals[-1], 60.0))[0].astype(float)
        in_flight = in_flight_at(np.arange(1, counts.size + 1) * 60.0, arrivals=arrivals, service=service)
        found = burstiness_measure(counts, step_seconds=60.0, service=service_measured(service), in_flight=in_flight, rng=rng)
        assert planted / 1.6 < found.scv < planted * 3.0  # leans upwards by a standard error
        assert found.basis in ("in_flight", "counts")

    def test_without_readings_the_burstiness_is_a_labelled_prior(self) -> None:
        service = ServiceTimes(values=np.ones(4), basis="measured")
        found = burstiness_measure(np.array([5.0, 6.0]), step_seconds=60.0, service=service, in_flight=None, rng=np.random.default_rng(0))
        assert found.basis == "prior" and "assumed" in found.sentence()

    def test_a_negative_count_is_refused(self) -> None:
        with pytest.raises(ValueError, match="got -3"):
            arrivals_rebuild(np.array([1.0, -3.0]), step_seconds=60.0, burstiness=1.0, rng=np.random.default_rng(0))


class TestTokens:
    def test_a_lone_request_takes_what_the_model_says(self) -> None:
        past = TokenRequests(np.array([0.0]), np.array([1000.0]), np.array([101.0]))
        seconds = tokens_replay(past, server=TokenServer(SPEED, batch_limit=8, kv_tokens=1e5), replicas=1)
        iteration = float(SPEED.iteration_seconds(1, tokens_in=1000.0, tokens_out=101.0))
        assert seconds.ttft_seconds[0] == pytest.approx(iteration + (2e-5 + 2e-8) * 1000.0)
        assert seconds.tpot_seconds[0] == pytest.approx(iteration)

    def test_a_full_batch_is_slower_than_a_lone_request(self) -> None:
        past = TokenRequests(np.zeros(8), np.full(8, 500.0), np.full(8, 200.0))
        seconds = tokens_replay(past, server=TokenServer(SPEED, batch_limit=8, kv_tokens=1e6), replicas=1)
        assert np.median(seconds.tpot_seconds) == pytest.approx(
            float(SPEED.iteration_seconds(8, tokens_in=500.0, tokens_out=200.0)), rel=0.02
        )

    def test_the_kv_cache_bounds_the_batch(self) -> None:
        past = TokenRequests(np.zeros(4), np.full(4, 600.0), np.full(4, 100.0))
        seconds = tokens_replay(past, server=TokenServer(SPEED, batch_limit=8, kv_tokens=1500.0), replicas=1)
        assert np.sort(seconds.ttft_seconds)[2] > np.sort(seconds.request_seconds)[0]  # the third waits until the first two are done

    def test_a_prefix_cache_hit_shortens_the_prefill(self) -> None:
        past = TokenRequests(np.array([0.0]), np.array([4000.0]), np.array([50.0]))
        cold, warm = (
            tokens_replay(past, server=TokenServer(SPEED, 8, 1e5, hit_ratio=hit), replicas=1).ttft_seconds[0] for hit in (0.0, 0.9)
        )
        assert warm < 0.4 * cold

    def test_the_fit_finds_planted_parameters_among_outliers(self) -> None:
        rng = np.random.default_rng(3)
        running, size_in, size_out = rng.integers(1, 60, 500).astype(float), rng.uniform(300, 2000, 500), rng.uniform(50, 500, 500)
        itl = np.array(
            [float(SPEED.iteration_seconds(n, tokens_in=i, tokens_out=o)) for n, i, o in zip(running, size_in, size_out, strict=True)]
        )
        itl *= rng.lognormal(0, 0.03, 500)
        itl[:20] *= 5.0
        found = token_speed_fit(running, tokens_in=size_in, tokens_out=size_out, itl_seconds=itl)
        assert isinstance(found, TokenSpeed)
        assert found.fixed_seconds == pytest.approx(0.01, rel=0.05)
        assert found.token_seconds == pytest.approx(2e-5, rel=0.15)
        assert found.median_error_ratio < 0.04 and found.fit_r2 > 0.8

    def test_one_batch_size_tells_nothing_of_another(self) -> None:
        found = token_speed_fit(
            np.full(50, 8.0), tokens_in=np.full(50, 100.0), tokens_out=np.full(50, 100.0), itl_seconds=np.full(50, 0.02)
        )
        assert found == NoAnswer("no_variation", have=100, need=200)

    def test_measured_over_predicted_moves_the_model_by_a_fifth(self) -> None:
        once = SPEED.corrected(measured_seconds=1.5, predicted_seconds=1.0)
        assert once.correction == pytest.approx(1.1)
        assert SPEED.corrected(measured_seconds=9.0, predicted_seconds=1.0).correction == pytest.approx(1.2)

    def test_a_request_larger_than_the_cache_is_refused(self) -> None:
        past = TokenRequests(np.array([0.0]), np.array([5000.0]), np.array([50.0]))
        with pytest.raises(ValueError, match="5,050 tokens does not fit"):
            tokens_replay(past, server=TokenServer(SPEED, 8, 4000.0), replicas=1)


def test_it_loads_where_no_cache_directory_can_be_written(tmp_path: Path) -> None:
    """A read-only package, a user without a home: the loops are compiled in memory."""
    program = (
        "import numpy as np, capacity.engine.queueing.compiled as c; print(c.compiled('float64(float64)')(__import__('plus').plus)(1.0))"
    )
    (tmp_path / "plus.py").write_text("def plus(x):\n    return x + 1.0\n")
    (tmp_path / "__pycache__").write_text("a file where the cache would be")
    home = tmp_path / "home"
    home.write_text("no directory")
    environment = {
        **os.environ,
        "PYTHONPATH": f"{Path(__file__).parents[2]}:{tmp_path}",
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run([sys.executable, "-c", program], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "2.0"), done.stderr

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity.engine.answer import NoAnswer
from capacity.engine.queueing.formulas import Station, wait_quantile
from capacity.engine.queueing.service import service_measured
from capacity.engine.queueing.tokens import TokenRequests, TokenServer, TokenSpeed
from capacity.engine.sizing.headroom import Headroom, LoadHistory, headroom_find
from capacity.engine.sizing.replicas import Promise, Shape, Sizing, replicas_size, smallest_replicas
from capacity.engine.sizing.tokens import TokenPromise, token_replicas
from capacity.engine.sizing.traffic import Counted, Traffic, traffic_counted, traffic_recorded

WAIT = Promise(quantile=0.95, threshold_seconds=0.5, kind="wait")


def poisson(rate: float, *, n: int = 4000, seed: int = 0, scale: float = 1.0) -> Traffic:
    rng = np.random.default_rng(seed)
    arrivals, service = np.cumsum(rng.exponential(1 / rate, n)), rng.exponential(1.0, n)
    traffic = traffic_recorded(arrivals * scale, service=service * scale)
    assert isinstance(traffic, Traffic)
    return traffic


def sized(traffic: Traffic, *, price: float | None = None) -> Sizing:
    return replicas_size(traffic, promise=Promise(0.95, 4.0), shape=Shape(slots=2, hourly_rate=price))


class TestReplicas:
    def test_the_size_of_poisson_traffic_is_near_the_textbooks(self) -> None:
        station = Station(rate=20.0, mean_seconds=1.0)
        exact = next(k for k in range(21, 99) if wait_quantile(station, servers=k, quantile=0.95) <= 0.5)
        assert exact <= smallest_replicas(poisson(20.0, n=40_000), promise=WAIT, slots=1) <= exact + 1

    @settings(max_examples=15, deadline=None)
    @given(st.floats(0.5, 20), st.floats(1.0, 2.0), st.integers(0, 1000))
    def test_more_load_never_needs_fewer_replicas(self, rate: float, more: float, seed: int) -> None:
        rng = np.random.default_rng(seed)
        arrivals, service = np.cumsum(rng.gamma(0.5, 2.0, 1000)), rng.gamma(2.0, 0.5, 1000)
        small, large = (traffic_recorded(arrivals, service=service, rate=r) for r in (rate, rate * more))
        assert isinstance(small, Traffic) and isinstance(large, Traffic)
        assert smallest_replicas(small, promise=WAIT, slots=2) <= smallest_replicas(large, promise=WAIT, slots=2)

    @settings(max_examples=15, deadline=None)
    @given(st.floats(0.01, 100), st.integers(0, 1000))
    def test_scaling_time_and_rate_together_changes_nothing(self, scale: float, seed: int) -> None:
        one, other = poisson(6.0, n=1000, seed=seed), poisson(6.0, n=1000, seed=seed, scale=scale)
        scaled = Promise(0.95, WAIT.threshold_seconds * scale, kind="wait")
        assert smallest_replicas(one, promise=WAIT, slots=1) == smallest_replicas(other, promise=scaled, slots=1)

    def test_the_curve_tells_of_each_size_what_it_does_and_costs(self) -> None:
        sizing = sized(poisson(10.0), price=2.5)
        points = {point.replicas: point for point in sizing.curve}
        here, less = points[sizing.replicas], points[sizing.replicas - 1]
        assert here.holds and not less.holds
        assert here.cost_per_hour == 2.5 * sizing.replicas and sizing.priced
        assert here.utilisation_ratio == pytest.approx(10.0 / (2 * sizing.replicas), rel=0.1)  # of the drawn past
        for name in ("latency_p50", "latency_p95", "latency_p99", "late_ratio", "lost_minutes_per_day"):
            values = [getattr(point, name) for point in sizing.curve]
            assert values == sorted(values, reverse=True), name
        assert all(point.latency_p50 <= point.latency_p95 <= point.latency_p99 for point in sizing.curve)

    def test_without_a_price_the_cost_is_in_replica_hours(self) -> None:
        sizing = sized(poisson(10.0))
        assert not sizing.priced and all(point.cost_per_hour == point.replicas for point in sizing.curve)

    def test_a_threshold_below_the_service_time_is_refused_with_both(self) -> None:
        with pytest.raises(ValueError, match=r"no number of replicas holds 0.1 s for 95% .* service time alone is [23]\.\d+ s"):
            replicas_size(poisson(10.0), promise=Promise(0.95, 0.1), shape=Shape(slots=1))

    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (lambda: Promise(1.0, 1.0), "between 0 and 1"),
            (lambda: Promise(0.95, 0.0), "above 0 s"),
            (lambda: Shape(slots=0), "1 slot or more"),
            (lambda: traffic_recorded(np.arange(300.0), service=np.ones(300), rate=-2.0), "rate above 0 requests/s, got -2"),
        ],
    )
    def test_bad_input_is_refused_in_a_sentence(self, make: Callable[[], object], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            make()


class TestCounted:
    SERVICE = service_measured(np.random.default_rng(0).exponential(1.0, 4000))

    def test_counts_give_nearly_the_size_of_the_recorded_past(self) -> None:
        rng = np.random.default_rng(5)
        arrivals = np.cumsum(rng.gamma(0.25, 4.0 / 10.0, 30_000))  # 10 requests/s in clumps of four
        recorded = traffic_recorded(arrivals, service=rng.exponential(1.0, arrivals.size))
        counts = np.histogram(arrivals, bins=np.arange(0, arrivals[-1], 15.0))[0].astype(float)
        counted = traffic_counted(Counted(counts, 15.0), service=self.SERVICE, rng=rng)
        assert isinstance(recorded, Traffic) and isinstance(counted, Traffic)
        assert counted.basis == "counts" and "per 15 s" in counted.sentence
        true = smallest_replicas(recorded, promise=WAIT, slots=1)
        assert abs(smallest_replicas(counted, promise=WAIT, slots=1) - true) <= 2

    def test_no_arrivals_and_few_arrivals_have_no_answer(self) -> None:
        rng = np.random.default_rng(0)
        none = traffic_counted(Counted(np.zeros(100), 15.0), service=self.SERVICE, rng=rng)
        gaps = traffic_counted(Counted(np.full(100, np.nan), 15.0), service=self.SERVICE, rng=rng)
        few = traffic_counted(Counted(np.ones(100), 15.0), service=self.SERVICE, rng=rng)
        assert none == gaps == NoAnswer("no_data", have=0, need=200) and few == NoAnswer("too_short", have=100, need=200)

    def test_negative_counts_are_refused(self) -> None:
        with pytest.raises(ValueError, match="0 or more, got -1"):
            traffic_counted(Counted(np.array([300.0, -1.0]), 15.0), service=self.SERVICE, rng=np.random.default_rng(0))


class TestTokenReplicas:
    SERVER = TokenServer(TokenSpeed(0.01, 2e-5, 2e-8, np.nan, np.nan), batch_limit=32, kv_tokens=60_000.0)

    def past(self, rate: float) -> TokenRequests:
        rng = np.random.default_rng(1)
        n = 2000
        arrivals = np.cumsum(rng.exponential(1 / rate, n))
        return TokenRequests(arrivals, rng.integers(100, 2000, n).astype(float), rng.integers(10, 400, n).astype(float))

    def test_every_promise_holds_and_the_binding_one_is_named(self) -> None:
        promises = (TokenPromise("ttft", 0.95, 0.5), TokenPromise("tpot", 0.95, 0.02), TokenPromise("latency", 0.95, 30.0))
        sizing = token_replicas(self.past(20.0), server=self.SERVER, promises=promises)
        points = {point.replicas: point for point in sizing.curve}
        assert points[sizing.replicas].holds and (sizing.replicas == 1 or not points[sizing.replicas - 1].holds)
        assert sizing.binding in ("ttft", "tpot", "latency") and sizing.binding in sizing.sentence

    def test_more_load_needs_more(self) -> None:
        promises = (TokenPromise("ttft", 0.95, 0.5),)
        few, many = (token_replicas(self.past(rate), server=self.SERVER, promises=promises).replicas for rate in (10.0, 60.0))
        assert few < many

    def test_a_promise_that_an_idle_replica_breaks_is_refused(self) -> None:
        with pytest.raises(ValueError, match="alone on an idle replica it is"):
            token_replicas(self.past(1.0), server=self.SERVER, promises=(TokenPromise("tpot", 0.95, 0.005),))


class TestHeadroom:
    def history(self, *, low: float, high: float, capacity: float = 100.0, replicas: float = 4.0) -> LoadHistory:
        """A queue's latency, 0.2 s / (1 - rate / capacity) of each replica, with noise of 5 %."""
        rng = np.random.default_rng(2)
        rates = np.linspace(low, high, 2000)[rng.permutation(2000)]
        latency = 0.2 / (1 - np.minimum(rates / capacity, 0.99)) * rng.lognormal(0, 0.05, rates.size)
        return LoadHistory(rates=rates * replicas, replicas=np.full(rates.size, replicas), latency_seconds=latency)

    def find(self, history: LoadHistory, threshold: float = 1.0) -> Headroom | NoAnswer:
        return headroom_find(history, threshold_seconds=threshold, replicas_now=4, rng=np.random.default_rng(0))

    def test_where_it_broke_it_is_measured_with_an_interval(self) -> None:
        found = self.find(self.history(low=10, high=95))
        assert isinstance(found, Headroom) and found.basis == "measured"
        assert found.break_rate == pytest.approx(320.0, rel=0.03)  # 1 s = 0.2 / (1 - 0.8): 80 of each of 4
        assert found.lower <= found.break_rate <= found.upper < 1.1 * found.break_rate

    def test_where_it_never_broke_it_is_extrapolated_and_says_so(self) -> None:
        found = self.find(self.history(low=10, high=60))
        assert isinstance(found, Headroom) and found.basis == "extrapolated" and "would break" in found.sentence()
        assert found.break_rate == pytest.approx(320.0, rel=0.05)

    def test_far_from_the_break_it_only_says_what_held(self) -> None:
        found = self.find(self.history(low=2, high=10))
        assert isinstance(found, Headroom) and found.basis == "bound" and found.upper == np.inf
        assert "cannot be told" in found.sentence()

    def test_a_line_that_breaks_below_what_was_held_is_not_believed(self) -> None:
        rates = np.linspace(10.0, 70.0, 2000)[np.random.default_rng(3).permutation(2000)]
        latency = np.where(rates < 20, 0.30 + 0.03 * (rates - 10), 0.60 + 0.001 * (rates - 20))  # coarse buckets: steep, then flat
        latency *= np.random.default_rng(4).lognormal(0, 0.02, rates.size)
        found = self.find(LoadHistory(rates=rates * 4, replicas=np.full(2000, 4.0), latency_seconds=latency), threshold=0.70)
        assert isinstance(found, Headroom) and found.basis == "bound"
        assert found.break_rate == pytest.approx(4 * 69.4, rel=0.02)

    def test_a_load_that_never_varied_tells_nothing(self) -> None:
        assert self.find(self.history(low=50, high=52)) == NoAnswer("no_variation", have=103, need=115)

    def test_no_history_has_no_answer(self) -> None:
        gaps = np.full(500, np.nan)
        assert self.find(LoadHistory(gaps, gaps, gaps)) == NoAnswer("no_data", have=0, need=100)

    def test_a_negative_rate_is_refused(self) -> None:
        with pytest.raises(ValueError, match="rates must be 0 or more"):
            self.find(LoadHistory(np.full(500, -1.0), np.ones(500), np.ones(500)))

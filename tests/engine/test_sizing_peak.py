"""What plans ask of a replica: its slots from telemetry, a table made on a slower clock, its busiest hour."""

import numpy as np
import pytest

from capacity.engine.answer import NoAnswer
from capacity.engine.queueing.formulas import Station, wait_quantile
from capacity.engine.queueing.service import ServiceTimes, service_measured
from capacity.engine.queueing.tokens import TokenServer, TokenSpeed
from capacity.engine.sizing.broken import Server
from capacity.engine.sizing.hold import HeldCurve, held_curve, rate_found
from capacity.engine.sizing.peak import peak_hour, peak_latency
from capacity.engine.sizing.quick import clock_of, held_at, minute_table_quick
from capacity.engine.sizing.replicas import Promise
from capacity.engine.sizing.slots import Slots, slots_find
from capacity.engine.sizing.tables import minute_table
from capacity.engine.sizing.token_peak import token_latency, token_table_quick
from capacity.engine.sizing.token_table import TokenTraffic, token_broken_table
from capacity.engine.sizing.tokens import TokenPromise

EXPONENTIAL = service_measured(-np.log1p(-(np.arange(4000) + 0.5) / 4000))


def service(mean: float) -> ServiceTimes:
    return ServiceTimes(EXPONENTIAL.values * mean, "measured")


def server(mean: float = 0.2, *, slots: int = 4, burstiness: float = 1.0) -> Server:
    return Server(service(mean), slots, burstiness)


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


class TestSlots:
    def loads(self, count: int = 500) -> np.ndarray:
        return rng().uniform(4.0, 80.0, count)

    def test_where_requests_begin_to_wait(self) -> None:
        load = self.loads()
        running, waiting = np.minimum(load, 48.0), np.maximum(load - 48.0, 0.0) * 2
        found = slots_find(running, waiting=waiting, replicas=np.full(load.size, 4.0))
        assert isinstance(found, Slots) and found.basis == "queue" and found.count in (11, 12)

    def test_the_most_seen_where_nobody_waited(self) -> None:
        load = np.minimum(self.loads(), 40.0)
        assert slots_find(load, waiting=load * 0, replicas=np.full(load.size, 4.0)) == Slots(10, "highest")

    def test_a_server_that_tells_no_queue_is_taken_at_its_most(self) -> None:
        load = np.minimum(self.loads(), 40.0)
        assert slots_find(load, waiting=np.full(load.size, np.nan), replicas=np.full(load.size, 4.0)) == Slots(10, "highest")

    def test_one_incident_with_a_queue_does_not_move_it(self) -> None:
        load = np.minimum(self.loads(), 40.0)
        waiting = np.where(np.arange(load.size) == 3, 90.0, 0.0)
        assert slots_find(load, waiting=waiting, replicas=np.full(load.size, 4.0)) == Slots(10, "highest")

    def test_gaps_and_too_little_are_told(self) -> None:
        nothing = np.full(100, np.nan)
        assert slots_find(nothing, waiting=nothing, replicas=nothing) == NoAnswer("no_data", have=0, need=50)
        few = np.where(np.arange(100) < 9, 5.0, np.nan)
        assert slots_find(few, waiting=nothing, replicas=few) == NoAnswer("too_short", have=9, need=50)

    def test_negative_numbers_are_refused(self) -> None:
        with pytest.raises(ValueError, match="requests waiting must be 0 or more, got -1"):
            slots_find(np.ones(60), waiting=-np.ones(60), replicas=np.ones(60))


class TestSlowClock:
    promise = Promise(0.95, 0.9)

    def test_a_quiet_service_keeps_its_clock(self) -> None:
        assert clock_of(10.0, server=server()).factor == 1.0

    def test_a_busy_one_slows_but_no_request_lasts_longer_than_a_second(self) -> None:
        assert clock_of(5000.0, server=server(0.01)).factor == pytest.approx(62.5)
        assert clock_of(50_000.0, server=server(0.1)).factor == pytest.approx(10.0, rel=0.01)

    def test_at_its_own_clock_the_table_is_the_plain_one(self) -> None:
        plain = minute_table(20.0, server=server(), promise=self.promise, rng=rng())
        quick = minute_table_quick(20.0, server=server(), promise=self.promise, rng=rng())
        assert (quick.rates == plain.rates).all() and (quick.broken == plain.broken).all()

    def test_a_slower_clock_holds_nearly_the_same_rates(self) -> None:
        """20 x the rate and a twentieth of the times: shorter minutes break a little earlier."""
        slow = held_curve(minute_table_quick(120.0, server=server(), promise=self.promise, rng=rng()))
        fast = held_curve(minute_table_quick(2400.0, server=server(0.01), promise=Promise(0.95, 0.045), rng=rng()))
        for replicas in (4, 6):
            assert fast.rate(replicas) / 20 == pytest.approx(slow.rate(replicas), rel=0.12)

    def test_it_answers_at_once_at_any_rate(self) -> None:
        table = minute_table_quick(5000.0, server=server(0.01, slots=20), promise=Promise(0.95, 0.045), rng=rng())
        assert table.rates[-1] == pytest.approx(5000.0) and held_curve(table).rate(3) < 3 * 20 / 0.01

    def test_a_rate_is_held_up_to_where_the_search_finds_it(self) -> None:
        found = rate_found(4, server=server(), promise=self.promise, seed=7)
        assert held_at(0.8 * found, replicas=4, server=server(), promise=self.promise, rng=rng())
        assert not held_at(1.2 * found, replicas=4, server=server(), promise=self.promise, rng=rng())

    @pytest.mark.parametrize(("rate", "replicas"), [(0.0, 1), (5.0, 0)])
    def test_nothing_to_judge_is_refused(self, rate: float, replicas: int) -> None:
        with pytest.raises(ValueError, match="needed 1 replica or more and a rate above 0"):
            held_at(rate, replicas=replicas, server=server(), promise=self.promise, rng=rng())

    def test_a_rate_of_nothing_has_no_table(self) -> None:
        with pytest.raises(ValueError, match="needed a top rate above 0 requests/s, got 0"):
            minute_table_quick(0.0, server=server(), promise=self.promise, rng=rng())


class TestPeakHour:
    even = np.ones((1, 60))

    def latency(
        self, rate: float, *, replicas: int, mean: float = 0.2, own: ServiceTimes | None = None, shapes: np.ndarray | None = None
    ) -> float:
        hour = peak_hour(rate, server=server(mean), shapes=self.even if shapes is None else shapes, rng=rng())
        return peak_latency(hour, replicas=replicas, own=own, aim=(0.95, 0.9), rng=rng()).promised

    def test_poisson_arrivals_wait_as_the_formula_says(self) -> None:
        nothing = ServiceTimes(np.zeros(1), "none")
        station = Station(rate=17.0, mean_seconds=0.2)
        assert self.latency(17.0, replicas=1, own=nothing) == pytest.approx(wait_quantile(station, servers=4, quantile=0.95), rel=0.15)

    def test_alone_a_request_takes_its_service_time(self) -> None:
        assert self.latency(1.0, replicas=8) == pytest.approx(service(0.2).quantile(0.95), rel=0.08)

    def test_scaling_time_and_rate_together_changes_nothing(self) -> None:
        slow, fast = self.latency(80.0, replicas=5), self.latency(4000.0, replicas=5, mean=0.004)
        assert fast * 50 == pytest.approx(slow, rel=0.08)

    def test_minutes_above_the_mean_make_the_hour_slower(self) -> None:
        crest = np.where(np.arange(60) < 30, 1.4, 0.6)[None, :]
        assert self.latency(17.0, replicas=1, shapes=crest) > 2 * self.latency(17.0, replicas=1)

    def test_what_the_promise_adds_to_the_wait_counts_in_place_of_the_service(self) -> None:
        assert self.latency(1.0, replicas=8, own=ServiceTimes(np.full(10, 0.05), "measured")) == pytest.approx(0.05, abs=0.01)

    def test_a_rate_of_nothing_has_no_hour(self) -> None:
        with pytest.raises(ValueError, match="needed a rate above 0 requests/s, got 0"):
            peak_hour(0.0, server=server(), shapes=self.even, rng=rng())


class TestTokens:
    speed = TokenSpeed(0.02, 1e-5, 2e-7, fit_r2=0.9, median_error_ratio=0.05)
    promise = TokenPromise("ttft", 0.95, 0.4)

    def server(self) -> TokenServer:
        return TokenServer(self.speed, batch_limit=64, kv_tokens=1e5)

    def traffic(self) -> TokenTraffic:
        draw = rng()
        return TokenTraffic(draw.exponential(600, 500), np.maximum(draw.lognormal(np.log(150), 0.5, 500), 1.0), 1.4)

    def table(self, top_rate: float, *, quick: bool) -> HeldCurve:
        make = token_table_quick if quick else token_broken_table
        return held_curve(make(top_rate, server=self.server(), promises=(self.promise,), traffic=self.traffic(), rng=rng()))

    def test_a_quiet_server_keeps_its_clock(self) -> None:
        assert (self.table(10.0, quick=True).rates == self.table(10.0, quick=False).rates).all()

    def test_a_slower_clock_holds_nearly_the_same_rates(self) -> None:
        plain, quick = self.table(80.0, quick=False), self.table(80.0, quick=True)
        assert quick.rate(3) == pytest.approx(plain.rate(3), rel=0.15)

    def test_more_replicas_are_never_slower_and_alone_is_the_speed_itself(self) -> None:
        found = [
            token_latency(20.0, replicas=n, server=self.server(), traffic=self.traffic(), promise=self.promise, rng=rng()).promised
            for n in (2, 4, 40)
        ]
        assert found[0] >= found[1] >= found[2] > 0.02

    def test_a_rate_of_nothing_is_refused(self) -> None:
        with pytest.raises(ValueError, match="needed a top rate above 0 requests/s, got 0"):
            token_table_quick(0.0, server=self.server(), promises=(self.promise,), traffic=self.traffic(), rng=rng())
        with pytest.raises(ValueError, match="needed a rate above 0 requests/s, got 0"):
            token_latency(0.0, replicas=1, server=self.server(), traffic=self.traffic(), promise=self.promise, rng=rng())

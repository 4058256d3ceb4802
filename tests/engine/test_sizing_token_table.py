import numpy as np
import pytest

from capacity.engine.queueing.tokens import TokenServer, TokenSpeed
from capacity.engine.sizing.hold import held_curve, replicas_needed
from capacity.engine.sizing.loop import Reactive, Trial, demand_noisy
from capacity.engine.sizing.plan import plan_floor
from capacity.engine.sizing.token_table import TokenTraffic, token_broken_table, token_slots
from capacity.engine.sizing.tokens import TokenPromise, token_replicas

SERVER = TokenServer(TokenSpeed(0.01, 2e-5, 2e-8, np.nan, np.nan), batch_limit=64, kv_tokens=60_000.0)
PROMISES = (TokenPromise("ttft", 0.95, 0.8), TokenPromise("tpot", 0.95, 0.03))
RNG = np.random.default_rng(4)
TRAFFIC = TokenTraffic(RNG.integers(100, 2000, 1000).astype(float), RNG.integers(10, 400, 1000).astype(float), 1.5)
TABLE = token_broken_table(40.0, server=SERVER, promises=PROMISES, traffic=TRAFFIC, rng=np.random.default_rng(1))


class TestTokenTable:
    def test_it_agrees_with_the_sizing_of_a_recorded_past(self) -> None:
        rng = np.random.default_rng(2)
        past = TRAFFIC.requests(np.cumsum(rng.gamma(1 / 1.5, 1.5 / 30.0, 6000)), rng=rng)
        sized = token_replicas(past, server=SERVER, promises=PROMISES).replicas
        assert sized <= int(replicas_needed(TABLE, rates=np.array([30.0]), share=0.05)[0]) <= sized + 1

    def test_more_replicas_break_fewer_minutes_and_more_load_more(self) -> None:
        assert (np.diff(TABLE.broken, axis=1) <= 1e-9).all() and (np.diff(held_curve(TABLE).rates) >= 0).all()

    def test_a_second_promise_breaks_no_fewer_minutes(self) -> None:
        one = token_broken_table(40.0, server=SERVER, promises=PROMISES[:1], traffic=TRAFFIC, rng=np.random.default_rng(1))
        top = min(one.most, TABLE.most)
        assert (TABLE.broken[-1, 1 : top + 1] >= one.broken[-1, 1 : top + 1] - 1e-9).all()

    def test_a_floor_is_planned_for_it_like_for_any_other(self) -> None:
        rates = np.repeat(np.r_[np.full(12, 5.0), np.full(12, 30.0)], 60)[None, :]
        loop = token_slots(SERVER, promises=PROMISES, traffic=TRAFFIC)
        trial = Trial(demand_noisy(rates, burstiness=1.5, rng=np.random.default_rng(0)), loop, TABLE)
        floors = plan_floor(trial, reactive=Reactive(), minute_price=0.5).floors
        assert floors[12] > floors[6]

    def test_bad_input_is_refused_in_a_sentence(self) -> None:
        rng = np.random.default_rng(0)
        with pytest.raises(ValueError, match="top rate above 0 requests/s and a promise or more, got -1"):
            token_broken_table(-1.0, server=SERVER, promises=PROMISES, traffic=TRAFFIC, rng=rng)
        with pytest.raises(ValueError, match="alone on an idle replica it is"):
            token_broken_table(1.0, server=SERVER, promises=(TokenPromise("tpot", 0.95, 0.005),), traffic=TRAFFIC, rng=rng)
        with pytest.raises(ValueError, match="1 request or more"):
            TokenTraffic(np.zeros(0), np.zeros(0), 1.0)


class TestTokenSlots:
    def test_the_slots_are_what_the_speed_promises_bound(self) -> None:
        fast, slow = (token_slots(SERVER, promises=(TokenPromise("tpot", 0.95, s),), traffic=TRAFFIC).slots for s in (0.05, 0.013))
        assert 1 <= slow < fast <= 64
        mean_in, mean_out = TRAFFIC.tokens_in.mean(), TRAFFIC.tokens_out.mean()
        seconds = [float(SERVER.speed.iteration_seconds(n, tokens_in=mean_in, tokens_out=mean_out)) for n in (slow, slow + 1)]
        assert seconds[0] <= 0.013 < seconds[1]

    def test_the_cache_bounds_them_too(self) -> None:
        tight = TokenServer(SERVER.speed, batch_limit=64, kv_tokens=5000.0)
        assert token_slots(tight, promises=PROMISES, traffic=TRAFFIC).slots == int(5000.0 / (TRAFFIC.tokens_in + TRAFFIC.tokens_out).mean())

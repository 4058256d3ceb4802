from collections.abc import Callable

import numpy as np
import pytest

from capacity.engine.answer import NoAnswer
from capacity.engine.queueing.replay import replay
from capacity.engine.queueing.service import service_measured
from capacity.engine.sizing.broken import Server
from capacity.engine.sizing.loop import Reactive
from capacity.engine.sizing.opinions import Bands
from capacity.engine.sizing.policies import DETAILS, PastDays, PolicyReplay, PolicySettings, minutes_of, policies_replay
from capacity.engine.sizing.replicas import Promise
from capacity.engine.sizing.tables import minute_table

SERVER = Server(service=service_measured(np.random.default_rng(0).exponential(5.0, 2000)), slots=4, burstiness=1.5)
WAIT = Promise(0.95, 1.0, kind="wait")
TABLE = minute_table(14.0, server=SERVER, promise=WAIT, rng=np.random.default_rng(1))
SETTINGS = PolicySettings(Reactive(startup_minutes=3))


def days(count: int, *, seed: int = 0, peak: float = 8.0) -> np.ndarray:
    """Requests per second by minute: up by day, down by night, no two days alike, counted."""
    rng = np.random.default_rng(seed)
    minutes = np.arange(count * 1440)
    wave = 0.15 + 0.85 * np.clip(np.sin((minutes / 1440 - 0.3) * 2 * np.pi), 0.0, 1.0)
    return rng.poisson(60.0 * peak * wave * np.repeat(rng.lognormal(0, 0.08, count), 1440)) / 60.0


def replayed(past: PastDays, settings: PolicySettings = SETTINGS) -> PolicyReplay:
    found = policies_replay(past, server=SERVER, table=TABLE, settings=settings, rng=np.random.default_rng(1))
    assert isinstance(found, PolicyReplay)
    return found


def total(found: PolicyReplay, key: str) -> tuple[float, float]:
    run = found.run(key)
    assert run is not None
    return float(run.lost_minutes.sum()), float(run.replica_hours.sum())


class TestPolicies:
    RATES = days(12)
    FOUND = replayed(PastDays(RATES, replay_days=7, replicas=np.full(RATES.size, 9.0)))

    def test_each_has_every_day_and_says_how_it_is_made(self) -> None:
        assert [run.key for run in self.FOUND.runs] == ["ran", "static", "hpa70", "plan", "clairvoyant"] == list(DETAILS)
        assert all(run.lost_minutes.shape == run.replica_hours.shape == (7,) for run in self.FOUND.runs)
        assert self.FOUND.known_minutes.tolist() == [1440.0] * 7 and self.FOUND.first_day == 5

    def test_the_clairvoyant_breaks_nothing_and_static_costs_the_most(self) -> None:
        assert total(self.FOUND, "clairvoyant")[0] < 1.0
        assert total(self.FOUND, "static") == (pytest.approx(0.0, abs=5.0), self.FOUND.static_replicas * 24.0 * 7)
        assert total(self.FOUND, "static")[1] > 1.5 * total(self.FOUND, "clairvoyant")[1]

    def test_the_plan_loses_less_than_the_plain_autoscaler(self) -> None:
        (plan, hours), (hpa, _) = total(self.FOUND, "plan"), total(self.FOUND, "hpa70")
        assert plan < 0.5 * hpa and hours < 1.3 * total(self.FOUND, "clairvoyant")[1]

    def test_what_ran_is_paid_as_it_ran(self) -> None:
        assert total(self.FOUND, "ran")[1] == 9.0 * 24 * 7 and total(self.FOUND, "ran")[0] > 60.0

    def test_no_plan_sees_a_day_before_it_is_over(self) -> None:
        changed = self.RATES.copy()
        changed[9 * 1440 :] *= 1.5
        before, after = (found.run("plan").floors for found in (self.FOUND, replayed(PastDays(changed, replay_days=7))))  # type: ignore[union-attr]
        assert (before[:5] == after[:5]).all() and (before[5:] != after[5:]).any()

    def test_it_agrees_with_a_replay_request_by_request(self) -> None:
        rng = np.random.default_rng(3)
        rates = days(4, seed=3)
        counts = rng.poisson(rates * 60.0)
        arrivals = np.sort(np.repeat(np.arange(counts.size) * 60.0, counts) + 60.0 * rng.random(int(counts.sum())))
        server = Server(SERVER.service, SERVER.slots, 1.0)
        table = minute_table(14.0, server=server, promise=WAIT, rng=rng)
        past = PastDays(counts / 60.0, replay_days=1, replicas=np.full(counts.size, 10.0))
        found = policies_replay(past, server=server, table=table, settings=SETTINGS, rng=rng)
        assert isinstance(found, PolicyReplay)
        wait = replay(arrivals, service=SERVER.service.draw(arrivals.size, rng=rng), capacity=40)[arrivals >= 3 * 86400.0]
        minute = (arrivals[arrivals >= 3 * 86400.0] // 60.0).astype(int) - 3 * 1440
        broken = np.bincount(minute, weights=wait > 1.0) > 0.05 * np.bincount(minute)
        assert broken.sum() > 50 and total(found, "ran")[0] == pytest.approx(broken.sum(), rel=0.2)

    def test_a_longer_start_up_loses_more_without_a_floor(self) -> None:
        slow = replayed(PastDays(self.RATES, replay_days=7), PolicySettings(Reactive(startup_minutes=12)))
        assert total(slow, "hpa70")[0] > total(self.FOUND, "hpa70")[0]

    def test_dearer_minutes_get_a_higher_floor(self) -> None:
        cheap, dear = (
            replayed(PastDays(self.RATES, replay_days=3), PolicySettings(Reactive(), minute_price=price)).run("plan")
            for price in (0.02, 5.0)
        )
        assert cheap is not None and dear is not None and (dear.floors >= cheap.floors).all()
        assert dear.lost_minutes.sum() < cheap.lost_minutes.sum()

    def test_a_forecast_of_a_sudden_rise_raises_the_floor_there(self) -> None:
        rise = np.r_[np.full(3, 1.0), np.full(21, 11.0)]  # at 03:00, faster than replicas start
        bands = Bands(np.array([0.1, 0.9]), np.stack([rise, rise * 1.1]))
        plain, told = (
            replayed(PastDays(self.RATES, replay_days=1), PolicySettings(Reactive(), minute_price=20.0, bands=given)).run("plan")
            for given in ((), (bands,))
        )
        assert plain is not None and told is not None and plain.floors is not None and told.floors is not None
        assert told.floors[0, 3] > plain.floors[0, 3] + 3


class TestGaps:
    def test_an_hour_that_is_not_known_counts_for_nobody(self) -> None:
        rates = days(6)
        gap = slice(5 * 1440 + 600, 5 * 1440 + 840)  # four hours of the last day
        rates[gap] = np.nan
        found = replayed(PastDays(rates, replay_days=1, replicas=np.full(rates.size, 5.0)))
        assert found.known_minutes.tolist() == [1200.0] and total(found, "ran")[1] == 5.0 * 20
        assert total(found, "static")[1] == found.static_replicas * 20.0

    def test_replicas_that_are_not_known_are_those_of_the_minute_before(self) -> None:
        replicas = np.full(6 * 1440, np.nan)
        replicas[5 * 1440 + 60], replicas[5 * 1440 + 720] = 4.0, 8.0
        assert total(replayed(PastDays(days(6), replay_days=1, replicas=replicas)), "ran")[1] == 4.0 * 12 + 8.0 * 12

    def test_without_replicas_there_is_no_policy_that_ran(self) -> None:
        for replicas in (None, np.full(6 * 1440, np.nan)):
            assert replayed(PastDays(days(6), replay_days=1, replicas=replicas)).run("ran") is None

    def test_a_short_past_replays_what_it_can_or_says_what_is_missing(self) -> None:
        assert replayed(PastDays(days(6), replay_days=14)).first_day == 3
        short = policies_replay(PastDays(days(3), 14), server=SERVER, table=TABLE, settings=SETTINGS, rng=np.random.default_rng(0))
        nothing = PastDays(np.full(5 * 1440, np.nan), 5)
        assert short == NoAnswer("too_short", have=3, need=4)
        assert policies_replay(nothing, server=SERVER, table=TABLE, settings=SETTINGS, rng=np.random.default_rng(0)) == NoAnswer(
            "too_short", 0, 4
        )

    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (lambda: PastDays(np.ones(1000), 1), "whole days of 1440 minutes, got 1000"),
            (lambda: PastDays(np.full(1440, -1.0), 1), "0 or more requests/s, got -1"),
            (lambda: PastDays(np.ones(1440), 0), "1 day or more"),
            (lambda: PastDays(np.ones(1440), 1, replicas=np.ones(7)), "each of 1440 minutes, got 7"),
            (lambda: minutes_of(np.array([-1.0]), step_seconds=60.0), "0 or more, got -1"),
            (lambda: minutes_of(np.ones(3), step_seconds=90.0), "divides a minute or is whole minutes, got 90"),
            (lambda: minutes_of(np.ones(3), step_seconds=0.0), "got 0"),
            (
                lambda: replayed(PastDays(days(5), 2), PolicySettings(Reactive(), bands=(None,))),
                r"forecast \(or None\) for each of 2 replayed days, got 1",
            ),
        ],
    )
    def test_bad_input_is_refused_in_a_sentence(self, make: Callable[[], object], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            make()


class TestMinutes:
    def test_fine_steps_are_added_up_and_a_gap_stays(self) -> None:
        counts = np.array([1.0, 2.0, 3.0, 0.0, 5.0, np.nan, 1.0, 1.0])
        found = minutes_of(counts, step_seconds=15.0)
        assert found[0] == 0.1 and np.isnan(found[1]) and found.size == 2

    def test_coarse_steps_are_joined_by_lines_and_a_gap_stays(self) -> None:
        found = minutes_of(np.array([300.0, 600.0, np.nan]), step_seconds=300.0)
        assert found[:10].tolist() == pytest.approx([1.0, 1.0, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.0, 2.0])
        assert np.isnan(found[10:]).all() and np.isnan(minutes_of(np.full(2, np.nan), step_seconds=300.0)).all()

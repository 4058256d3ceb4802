"""Forecasts from stored telemetry: learned by night, conditioned by the hour, kept whole or refused with a sentence."""

import threading
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from capacity.analysis.forecast_jobs import HOURLY, NIGHT, forecasts_condition, forecasts_fit
from capacity.analysis.forecast_make import DAY as DAY_COURSE
from capacity.analysis.forecast_make import TOKENS, learned, read_newest, read_to_learn
from capacity.analysis.forecast_series import DEMAND
from capacity.analysis.forecasts import NEVER_MADE, forecast_newest, forecast_of, forecast_shown
from capacity.engine.forecast import Forecast, condition
from capacity.models import ForecastRun, Horizon, PlannedEvent, PlannedKind, Turn
from monitoring.catalog.records import Entity
from monitoring.models import Deployment, DeploymentState, Event, EventKind, WorkloadKind
from monitoring.rollups import rollups_fill
from tests.capacity.planted_series import DAY, HOUR, Floats, daily, demand_plant
from tests.factories import make_accelerator, make_deployment, make_node
from tests.telemetry import NOON, NOON_SECONDS, store_clear

NOW = NOON + timedelta(minutes=2)
LATER = NOW + timedelta(hours=1)


def fit_all(now: datetime = NOW) -> str:
    return forecasts_fit(clock=lambda: now, budget_seconds=300.0)


def condition_all(now: datetime = LATER) -> str:
    return forecasts_condition(clock=lambda: now, budget_seconds=300.0)


def newest(deployment: Deployment, horizon: str = Horizon.DAY, quantity: str = DEMAND) -> Forecast:
    found = forecast_of(forecast_newest(deployment.pk, quantity, horizon))
    assert found is not None
    return found


def fitted_deployment(days: float = 28, **fields: Any) -> Deployment:
    deployment = make_deployment("m")
    demand_plant(deployment.pk, days=days, **fields)
    fit_all()
    return deployment


@pytest.mark.django_db
class TestTheNight:
    def test_each_horizon_is_kept_with_all_that_belongs_to_it(self) -> None:
        deployment = fitted_deployment()
        runs = {run.horizon: run for run in ForecastRun.objects.all()}
        assert {horizon: len(run.quantiles) for horizon, run in runs.items()} == {
            "hour": 9 * 24,
            "day": 9 * 24,
            "week": 9 * 168,
            "year": 9 * 400,
        }
        for run in runs.values():
            assert (run.deployment, run.quantity, run.refusal, run.made_at, run.fitted_at) == (deployment, DEMAND, "", NOW, NOW)
            assert run.method and len(run.inputs_digest) == 64 and len(run.code_version) == 12 and run.backtest["origins"] > 0
            assert run.trained_from and run.trained_until and run.trained_from < run.trained_until <= NOW
        assert {horizon for horizon, run in runs.items() if run.fitted is None} == {"year"}
        assert (runs["hour"].start_at, runs["day"].start_at) == (NOON, NOON)

    def test_the_forecast_is_near_what_comes(self) -> None:
        forecast = newest(fitted_deployment(noise=0.05))
        truth = daily(NOON_SECONDS + HOUR * np.arange(24) + HOUR / 2)
        assert np.abs(forecast.at_level(0.5) / truth - 1).max() < 0.1
        assert ((truth > forecast.at_level(0.01)) & (truth < forecast.at_level(0.99))).all()

    def test_months_are_of_the_busiest_hour_of_each_day(self) -> None:
        run = forecast_newest(fitted_deployment(days=40, noise=0.02).pk, DEMAND, Horizon.YEAR)
        forecast = forecast_of(run)
        assert forecast is not None and run is not None and run.start_at is not None
        assert (run.start_at.hour, forecast.step_seconds, "trend" in forecast.flags) == (0, DAY, True)
        assert forecast.at_level(0.5)[:28] == pytest.approx(60.0, rel=0.06)  # 40 on average, half as much again at 18:00

    def test_what_is_read_again_is_what_was_made(self) -> None:
        deployment = fitted_deployment()
        read = read_to_learn(Entity.DEPLOYMENT, [deployment.pk], now=NOW)[deployment.pk]
        values, start = read.values(DEMAND, DAY_COURSE)
        _, made = learned(values, DAY_COURSE, start=start, events=())
        kept = newest(deployment)
        assert isinstance(made, Forecast)
        np.testing.assert_array_equal(made.quantiles, kept.quantiles)
        assert (made.method, made.flags, made.note, made.start_seconds) == (kept.method, kept.flags, kept.note, kept.start_seconds)
        np.testing.assert_allclose(made.backtest.actuals.median, kept.backtest.actuals.median, rtol=1e-5)
        assert made.backtest.mase == pytest.approx(kept.backtest.mase, rel=1e-5) and made.backtest.origins == kept.backtest.origins
        assert [name for name, _ in made.backtest.method_errors] == [name for name, _ in kept.backtest.method_errors]

    def test_last_months_forecasts_stand_beside_what_came(self) -> None:
        actuals = newest(fitted_deployment(noise=0.05)).backtest.actuals
        known = np.isfinite(actuals.actual)
        assert actuals.times.min() < NOON_SECONDS - 17 * DAY and known.sum() > 15 * 24 and not known[actuals.times >= NOON_SECONDS].any()
        np.testing.assert_allclose(actuals.actual[known], daily(actuals.times[known] + HOUR / 2), rtol=0.15)
        assert ((actuals.actual >= actuals.lower) & (actuals.actual <= actuals.upper))[known].mean() > 0.7

    def test_tokens_are_forecast_where_there_are_tokens(self) -> None:
        deployment = make_deployment("m")
        demand_plant(deployment.pk, days=14, fill=False)
        demand_plant(deployment.pk, days=14, column=TOKENS, shape=lambda times: daily(times, mean=9000.0))
        make_deployment("without")
        fit_all()
        assert Counter(ForecastRun.objects.filter(quantity=TOKENS).values_list("deployment__name", "horizon")) == {
            ("m", "day"): 1,
            ("m", "week"): 1,
            ("m", "year"): 1,
        }
        assert newest(deployment, quantity=TOKENS).at_level(0.5).mean() == pytest.approx(9000, rel=0.1)

    def test_too_little_history_is_a_sentence_and_comes_again_soon(self) -> None:
        deployment = fitted_deployment(days=0.25)
        run = forecast_newest(deployment.pk, DEMAND, Horizon.WEEK)
        assert run is not None and run.refusal == "7-day forecast needs 2 weekly cycles (336 h), have 6 h."
        assert (forecast_of(run), forecast_shown(run), run.quantiles) == (None, (None, run.refusal), [])
        assert Turn.objects.get(job=NIGHT.name).due_at == NOW + timedelta(hours=2)

    def test_a_thin_week_is_kept_flagged_and_withheld(self) -> None:
        run = forecast_newest(fitted_deployment(days=8).pk, DEMAND, Horizon.WEEK)
        assert run is not None and "thin" in run.flags and forecast_of(run) is not None
        assert forecast_shown(run) == (None, "7-day forecast needs 2 weekly cycles (336 h), have 192 h: a wide fallback.")
        assert Turn.objects.get(job=NIGHT.name).due_at == NIGHT.next_turn(f"deployment:{run.deployment_id}", after=NOW)

    def test_one_that_was_never_measured_says_so(self) -> None:
        deployment = make_deployment("silent")
        fit_all()
        run = forecast_newest(deployment.pk, DEMAND, Horizon.DAY)
        assert run is not None and run.refusal == "24-hour forecast: nothing was measured in the last 56 days."
        assert forecast_shown(forecast_newest(0, DEMAND, Horizon.DAY)) == (None, NEVER_MADE)

    def test_gaps_are_counted(self) -> None:
        often = fitted_deployment(days=28, shape=lambda times: np.where((times - 1) // HOUR % 3 == 0, 30.0, np.nan))
        run = forecast_newest(often.pk, DEMAND, Horizon.DAY)
        assert run is not None and run.refusal.startswith("24-hour forecast: too many gaps, 2") and run.refusal.endswith(" are needed.")

    def test_a_refusal_takes_the_place_of_a_forecast_that_is_out_of_date(self) -> None:
        deployment = fitted_deployment(days=14)
        fit_all(NOW + timedelta(days=61))
        run = forecast_newest(deployment.pk, DEMAND, Horizon.WEEK)
        assert run is not None and (run.refusal, run.quantiles, run.backtest) == (
            "7-day forecast: nothing was measured in the last 56 days.",
            [],
            {},
        )

    def test_a_second_night_replaces_the_first(self) -> None:
        deployment = fitted_deployment(days=14)
        fit_all(NOW + timedelta(days=1))
        assert ForecastRun.objects.count() == 4
        run = forecast_newest(deployment.pk, DEMAND, Horizon.DAY)
        assert run is not None and run.fitted_at == NOW + timedelta(days=1)

    def test_only_what_serves_is_learned(self) -> None:
        make_deployment("training", workload_kind=WorkloadKind.TRAINING), make_deployment("old", state=DeploymentState.ARCHIVED)
        assert fit_all() == ""
        assert not ForecastRun.objects.exists()

    def test_disks_and_memory_are_forecast_too(self) -> None:
        node = make_node("n1")
        card = make_accelerator(node)
        demand_plant(node.pk, days=60, entity=Entity.NODE, column="disk_used_bytes", shape=lambda times: times - NOON_SECONDS + 1e9)
        demand_plant(card.pk, days=60, entity=Entity.ACCELERATOR, column="gpu_memory_used_bytes", shape=lambda times: 0 * times + 6e10)
        fit_all()
        assert set(ForecastRun.objects.values_list("node", "accelerator", "quantity", "horizon")) == {
            (node.pk, None, "disk_used_bytes", "year"),
            (None, card.pk, "gpu_memory_used_bytes", "year"),
        }

    def test_reading_a_batch_takes_no_more_queries_than_reading_one(self) -> None:
        ids = [make_deployment().pk for _ in range(5)]
        for pk in ids:
            demand_plant(pk, days=2, fill=pk == ids[-1])
        counts = []
        for some in (ids[:1], ids):
            with CaptureQueriesContext(connection) as captured:
                read_to_learn(Entity.DEPLOYMENT, some, now=NOW)
            counts.append(len(captured))
        assert counts[0] == counts[1] <= 10


@pytest.mark.django_db
class TestTheHour:
    def test_it_goes_on_from_the_newest_values_without_learning(self) -> None:
        deployment = fitted_deployment(days=14)
        before = forecast_newest(deployment.pk, DEMAND, Horizon.DAY)
        demand_plant(deployment.pk, days=1 / 24, until=HOUR, shape=lambda times: 2 * daily(times), fill=False)
        assert condition_all() == "1 forecasts brought up to now"
        after = forecast_newest(deployment.pk, DEMAND, Horizon.DAY)
        assert before is not None and after is not None
        assert (after.start_at, after.made_at, after.fitted_at) == (NOON + timedelta(hours=1), LATER, NOW)
        assert after.backtest == before.backtest and after.inputs_digest != before.inputs_digest
        next_hour = np.reshape(after.quantiles, (9, 24))[4, 0] / np.reshape(before.quantiles, (9, 24))[4, 1]
        assert next_hour > 1.1  # twice as many came as usual: some of it stays

    def test_it_is_what_the_engine_says_of_what_the_night_learned(self) -> None:
        deployment = fitted_deployment(days=14)
        demand_plant(deployment.pk, days=1 / 24, until=HOUR, fill=False)
        night = read_to_learn(Entity.DEPLOYMENT, [deployment.pk], now=NOW)[deployment.pk]
        values, start = night.values(DEMAND, DAY_COURSE)
        fitted, _ = learned(values, DAY_COURSE, start=start, events=())
        condition_all()
        read = read_newest([deployment.pk], now=LATER)[deployment.pk]
        newer, newer_start = read.values(DEMAND, DAY_COURSE)
        from_engine = conditioned_by_engine(fitted, newer, newer_start)
        np.testing.assert_array_equal(newest(deployment).quantiles, from_engine.quantiles)

    def test_the_months_wait_for_the_night(self) -> None:
        deployment = fitted_deployment(days=40)
        condition_all()
        run = forecast_newest(deployment.pk, DEMAND, Horizon.YEAR)
        assert run is not None and run.made_at == NOW

    def test_each_is_brought_up_once_an_hour(self) -> None:
        fitted_deployment(days=3)
        assert condition_all() == "1 forecasts brought up to now"
        assert condition_all() == ""
        assert condition_all(HOURLY.next_turn(Turn.objects.get(job=HOURLY.name).subject, after=LATER)) == "1 forecasts brought up to now"

    def test_what_another_version_learned_is_learned_again(self) -> None:
        deployment = fitted_deployment(days=3)
        ForecastRun.objects.filter(horizon=Horizon.DAY).update(fitted=b"of another version")
        condition_all()
        run = forecast_newest(deployment.pk, DEMAND, Horizon.DAY)
        assert run is not None and run.made_at == NOW  # as it was
        assert fit_all(LATER) == "1 forecasts learned"

    def test_history_that_was_imported_since_is_learned_soon(self) -> None:
        deployment = fitted_deployment(days=3)
        subject = f"deployment:{deployment.pk}"
        demand_plant(deployment.pk, days=25, until=-3 * DAY)
        while "more to do" in rollups_fill(now=NOW):
            pass
        condition_all(NOW + timedelta(minutes=1))  # an import may not be over so soon
        assert Turn.objects.get(job=NIGHT.name).due_at == NIGHT.next_turn(subject, after=NOW)
        later = HOURLY.next_turn(subject, after=NOW + timedelta(hours=2))
        condition_all(later)
        assert fit_all(later) == "1 forecasts learned"
        assert "thin" not in newest(deployment, Horizon.WEEK).flags

    def test_a_night_that_ended_meanwhile_is_not_overwritten(self) -> None:
        deployment = fitted_deployment(days=3)
        night_after = NOW + timedelta(days=1)

        class Meanwhile:
            """A clock that lets the next night happen between reading and keeping."""

            asked = 0

            def __call__(self) -> datetime:
                self.asked += 1
                if self.asked == 4:  # the turn is computed, not yet finished
                    ForecastRun.objects.filter(horizon=Horizon.DAY).update(fitted_at=night_after, made_at=night_after)
                return LATER

        forecasts_condition(clock=Meanwhile(), budget_seconds=60.0)
        made = dict(ForecastRun.objects.filter(deployment=deployment).values_list("horizon", "made_at"))
        assert (made["day"], made["hour"]) == (night_after, LATER)


def conditioned_by_engine(fitted: Any, values: Floats, start: float) -> Forecast:
    from_engine = condition(fitted, values, start_seconds=start)
    assert isinstance(from_engine, Forecast)
    return from_engine


@pytest.mark.django_db
class TestEvents:
    def test_a_planned_launch_multiplies_the_hours_it_covers(self) -> None:
        deployment = make_deployment("m")
        demand_plant(deployment.pk, days=14)
        fit_all()
        plain = newest(deployment)
        planned(deployment, hours=(6, 12), factor=3.0)
        condition_all(NOW + timedelta(minutes=1))
        with_launch = newest(deployment)
        assert ("events" in with_launch.flags, "events" in plain.flags) == (True, False)
        times = np.where((np.arange(24) >= 6) & (np.arange(24) < 12), 3.0, 1.0)
        np.testing.assert_allclose(with_launch.quantiles, plain.quantiles * times)

    def test_a_new_customer_adds_requests_but_no_tokens_that_nobody_knows(self) -> None:
        deployment = make_deployment("m")
        demand_plant(deployment.pk, days=14, fill=False)
        demand_plant(deployment.pk, days=14, column=TOKENS, shape=lambda times: daily(times, mean=9000.0))
        fit_all()
        plain, plain_tokens = newest(deployment), newest(deployment, quantity=TOKENS)
        planned(deployment, hours=(0, None), kind=PlannedKind.CUSTOMER, added_requests_per_second=25.0)
        condition_all(NOW + timedelta(seconds=1))
        np.testing.assert_allclose(newest(deployment).quantiles, plain.quantiles + 25.0)
        np.testing.assert_allclose(newest(deployment, quantity=TOKENS).quantiles, plain_tokens.quantiles)

    def test_an_incident_of_the_past_teaches_nothing(self) -> None:
        """Eight hours without a request last night: the same hours of tomorrow are forecast as if nothing had been."""
        calm, hurt = make_deployment("calm"), make_deployment("hurt")
        down = (NOON_SECONDS - 14 * HOUR, NOON_SECONDS - 6 * HOUR)
        for deployment in (calm, hurt):
            demand_plant(deployment.pk, days=14, shape=lambda times: np.where((times > down[0]) & (times <= down[1]), 0.0, daily(times)))
        incident(calm, start=down[0], end=down[1])
        fit_all()
        truth = daily(NOON_SECONDS + HOUR * np.arange(10, 18) + HOUR / 2)
        told, untold = (np.abs(newest(one).at_level(0.5)[10:18] / truth - 1).mean() for one in (calm, hurt))
        assert told < 0.06 and told < untold

    def test_an_incident_that_goes_on_is_what_comes_now(self) -> None:
        deployment = make_deployment("m")
        incident(deployment, start=NOON_SECONDS - 2 * HOUR, end=None)
        demand_plant(deployment.pk, days=7)
        read = read_to_learn(Entity.DEPLOYMENT, [deployment.pk], now=NOW)[deployment.pk]
        assert read.events_of(DEMAND, DAY_COURSE) == ()


def planned(deployment: Deployment, *, hours: tuple[float, float | None], **fields: Any) -> PlannedEvent:
    """From so many hours after noon to so many."""
    start, end = hours
    end_at = None if end is None else NOON + timedelta(hours=end)
    return PlannedEvent.objects.create(
        deployment=deployment, name="planned", start_at=NOON + timedelta(hours=start), end_at=end_at, **fields
    )


def incident(deployment: Deployment, *, start: float, end: float | None) -> Event:
    at, end_at = (None if each is None else datetime.fromtimestamp(each, tz=NOON.tzinfo) for each in (start, end))
    return Event.objects.create(
        deployment=deployment, kind=EventKind.INCIDENT, title="down", at=at or NOON, end_at=end_at, dedup_key=f"down {deployment.pk}"
    )


@pytest.mark.django_db(transaction=True)
def test_two_workers_learn_each_deployment_once() -> None:
    store_clear()
    deployments = [make_deployment() for _ in range(6)]
    for deployment in deployments:
        demand_plant(deployment.pk, days=2, fill=deployment is deployments[-1])
    said: list[str] = []
    start = threading.Barrier(2)

    def work() -> None:
        try:
            start.wait()
            said.append(fit_all())
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    learned_by = [int(words.split()[0]) for words in said if words]
    assert sum(learned_by) == len(deployments)
    assert Counter(ForecastRun.objects.values_list("deployment", flat=True)) == dict.fromkeys([one.pk for one in deployments], 4)
    store_clear()

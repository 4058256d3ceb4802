"""Demand above what was foreseen: raised once, told once, ended when it is over."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from capacity.analysis.forecast_jobs import forecasts_condition, forecasts_fit
from capacity.analysis.forecast_make import said_on
from capacity.analysis.forecast_missed import RULE, forecasts_missed
from capacity.engine.forecast import Forecast
from capacity.engine.forecast.judge import no_backtest
from capacity.models import ForecastRun, Horizon
from monitoring.models import Alert, Deployment, DeploymentState, Notification, Rule
from tests.capacity.planted_series import HOUR, daily, demand_plant
from tests.factories import make_deployment, make_team
from tests.telemetry import NOON, NOON_SECONDS

NOW = NOON + timedelta(minutes=2)


@pytest.fixture
def forecast_deployment(db: None) -> Deployment:
    deployment = make_deployment("m", team=make_team("Search"), environment="prod")
    demand_plant(deployment.pk, days=3, noise=0.05)
    forecasts_fit(clock=lambda: NOW, budget_seconds=60.0)
    return deployment


def came(deployment: Deployment, *, factor: float, until: float, minutes: float = 30.0) -> datetime:
    """Demand of the minutes before so many seconds after noon, times the usual. Returns when it is known."""
    demand_plant(deployment.pk, days=minutes / 1440, until=until, shape=lambda times: factor * daily(times), noise=0.0, fill=False)
    return NOON + timedelta(seconds=until + 100)


def states() -> list[str]:
    return list(Alert.objects.filter(rule_name=RULE).order_by("pk").values_list("state", flat=True))


@pytest.mark.django_db
class TestMissed:
    def test_thirty_minutes_above_the_quantile_raise_a_warning(self, forecast_deployment: Deployment) -> None:
        assert forecasts_missed(now=came(forecast_deployment, factor=3.0, until=1800)) == "1 forecasts missed, 0 held again"
        alert = Alert.objects.get()
        assert (alert.rule_name, alert.state, alert.severity, alert.finding) == (RULE, "firing", "warning", True)
        assert (alert.deployment, alert.team, alert.labels["team"], alert.labels["environment"]) == (
            forecast_deployment,
            forecast_deployment.team,
            "search",
            "prod",
        )
        assert alert.summary == "Forecast missed: demand above its 99 % quantile for 30 min"
        assert " % above the " in alert.consequence and "req/s" in alert.consequence
        assert alert.value == pytest.approx(3 * daily(np.array([NOON_SECONDS + 1000.0]))[0], rel=0.02)

    def test_twenty_five_minutes_do_not(self, forecast_deployment: Deployment) -> None:
        came(forecast_deployment, factor=1.0, until=300, minutes=5)
        now = came(forecast_deployment, factor=3.0, until=1800, minutes=25)
        assert (forecasts_missed(now=now), states()) == ("", [])

    def test_what_is_expected_raises_nothing(self, forecast_deployment: Deployment) -> None:
        assert (forecasts_missed(now=came(forecast_deployment, factor=1.0, until=1800)), states()) == ("", [])

    def test_gaps_raise_and_end_nothing(self, forecast_deployment: Deployment) -> None:
        forecasts_missed(now=came(forecast_deployment, factor=3.0, until=1800))
        assert (forecasts_missed(now=NOON + timedelta(seconds=3700)), states()) == ("", ["firing"])

    def test_a_few_requests_more_of_hardly_any_are_no_surge(self) -> None:
        deployment = make_deployment("quiet")
        demand_plant(deployment.pk, days=3, shape=lambda times: 0 * times + 0.002, noise=0.0)
        forecasts_fit(clock=lambda: NOW, budget_seconds=60.0)
        demand_plant(deployment.pk, days=1 / 48, until=1800, shape=lambda times: 0 * times + 0.01, noise=0.0, fill=False)
        assert (forecasts_missed(now=NOON + timedelta(seconds=1900)), states()) == ("", [])

    def test_it_goes_on_as_one_alert_that_is_told_once(self, forecast_deployment: Deployment) -> None:
        for step in range(4):
            now = came(forecast_deployment, factor=3.0, until=1800.0 + 300 * step)
            forecasts_missed(now=now)
        assert (states(), Rule.objects.filter(name=RULE).count(), Notification.objects.count()) == (["firing"], 1, 0)

    def test_it_ends_when_half_of_the_minutes_are_within_again(self, forecast_deployment: Deployment) -> None:
        forecasts_missed(now=came(forecast_deployment, factor=3.0, until=1800))
        assert forecasts_missed(now=came(forecast_deployment, factor=1.0, until=2400, minutes=10)) == ""
        assert forecasts_missed(now=came(forecast_deployment, factor=1.0, until=2700, minutes=5)) == "0 forecasts missed, 1 held again"
        assert states() == ["resolved"]

    def test_learning_of_the_surge_in_between_does_not_hide_it(self, forecast_deployment: Deployment) -> None:
        """The forecast of 12:22 knows of 15 minutes of it; it is judged by what was said at noon."""
        came(forecast_deployment, factor=3.0, until=1200, minutes=15)
        forecasts_condition(clock=lambda: NOON + timedelta(seconds=1300), budget_seconds=60.0)
        assert forecasts_missed(now=came(forecast_deployment, factor=3.0, until=2100, minutes=15)) == "1 forecasts missed, 0 held again"

    def test_a_level_that_stays_is_learned_by_the_night_and_ends_it(self) -> None:
        deployment = make_deployment("m")
        demand_plant(deployment.pk, days=10, noise=0.05)
        forecasts_fit(clock=lambda: NOW, budget_seconds=60.0)
        forecasts_missed(now=came(deployment, factor=2.0, until=1800))
        known = came(deployment, factor=2.0, until=26 * HOUR, minutes=25.5 * 60)
        forecasts_fit(clock=lambda: known, budget_seconds=60.0)
        forecasts_missed(now=came(deployment, factor=2.0, until=26.5 * HOUR))
        assert states() == ["resolved"]

    def test_what_is_not_forecast_any_more_ends(self, forecast_deployment: Deployment) -> None:
        now = came(forecast_deployment, factor=3.0, until=1800)
        forecasts_missed(now=now)
        Deployment.objects.update(state=DeploymentState.ARCHIVED)
        assert forecasts_missed(now=now) == "0 forecasts missed, 1 held again"

    def test_a_new_name_does_not_lose_the_open_alert(self, forecast_deployment: Deployment) -> None:
        now = came(forecast_deployment, factor=3.0, until=1800)
        forecasts_missed(now=now)
        Deployment.objects.update(name="renamed")
        forecasts_missed(now=now)
        forecasts_missed(now=came(forecast_deployment, factor=1.0, until=3600))
        assert states() == ["resolved"]

    def test_many_cost_no_more_queries_than_one(self, forecast_deployment: Deployment) -> None:
        run = ForecastRun.objects.get(horizon=Horizon.HOUR)
        counts = []
        for _ in range(2):
            now = came(forecast_deployment, factor=1.0, until=1800)
            with CaptureQueriesContext(connection) as captured:
                forecasts_missed(now=now)
            counts.append(len(captured))
            for _ in range(5):
                run.pk, run.deployment = None, make_deployment()
                run.save()
        assert counts[0] == counts[1] <= 5


def hour_forecast(start: float, level: float) -> Forecast:
    levels = np.array([0.5, 0.99])
    return Forecast(
        start, 300.0, levels, np.array([np.full(24, level), np.full(24, 2 * level)]), "blend", (), 0.0, 0.0, no_backtest(()), ""
    )


class TestWhatWasSaid:
    """Each step keeps what was said of it first."""

    def said(self, *forecasts: tuple[float, float]) -> dict[str, Any]:
        said: dict[str, Any] = {}
        for start, level in forecasts:
            said = said_on(said, hour_forecast(start, level))
        return said

    def test_the_first_word_stands(self) -> None:
        said = self.said((0.0, 1.0), (3600.0, 5.0))
        assert said == {"start": 0.0, "step": 300.0, "p50": [1.0] * 24 + [5.0] * 12, "p99": [2.0] * 24 + [10.0] * 12}

    def test_saying_the_same_twice_changes_nothing(self) -> None:
        assert self.said((0.0, 1.0), (0.0, 5.0)) == self.said((0.0, 1.0))

    def test_no_more_than_three_hours_are_kept(self) -> None:
        said = self.said(*((3600.0 * hour, float(hour)) for hour in range(10)))
        assert (said["start"], len(said["p50"]), said["p50"][-1], said["p50"][0]) == (6 * 3600.0, 36 + 24, 9.0, 5.0)

    def test_after_a_pause_it_begins_anew(self) -> None:
        assert self.said((0.0, 1.0), (7500.0, 5.0)) == self.said((7500.0, 5.0))

    def test_a_clock_that_went_back_begins_anew(self) -> None:
        assert self.said((7200.0, 1.0), (0.0, 5.0)) == self.said((0.0, 5.0))

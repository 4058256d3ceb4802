"""An analysis of our own that stands still is told, and so is its end."""

import pytest

from monitoring.alerts.evaluate import alerts_evaluate
from monitoring.alerts.loops import RULE
from monitoring.models import Alert, Heartbeat, Rule
from tests.telemetry import at

MINUTE = 60.0
pytestmark = pytest.mark.django_db


def beat(name: str, seconds: float) -> None:
    Heartbeat.objects.beat(name, now=at(seconds), detail={})


def rounds(first: int, last: int) -> list[tuple[str, str]]:
    for number in range(first, last + 1):
        alerts_evaluate(now=at(number * MINUTE))
    return list(Alert.objects.filter(rule_name=RULE).order_by("pk").values_list("labels__loop", "state"))


def test_it_is_raised_once_and_ends_when_the_loop_runs_again() -> None:
    beat("capacity.status_update", 0)
    beat("monitoring.rollups_fill", 14 * MINUTE)
    beat("monitoring.poll", -86400)  # not an analysis
    assert rounds(0, 15) == []
    assert rounds(16, 20) == [("capacity.status_update", "firing")]
    beat("capacity.status_update", 20 * MINUTE)
    assert rounds(21, 21) == [("capacity.status_update", "resolved")]


def test_it_is_not_late_for_the_time_in_which_nothing_of_ours_ran() -> None:
    beat("capacity.status_update", 0)
    rounds(0, 1)
    assert rounds(600, 614) == []
    assert rounds(615, 616) == [("capacity.status_update", "firing")]


def test_it_can_be_switched_off() -> None:
    beat("capacity.status_update", -86400)
    rounds(0, 16)
    Rule.objects.filter(name=RULE).update(enabled=False)
    Alert.objects.all().delete()
    assert rounds(17, 20) == []

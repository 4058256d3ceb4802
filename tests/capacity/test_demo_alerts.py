"""The shipped rules on the demo fleet: they page for what was planted, and hardly for anything else."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from pytest_django import DjangoDbBlocker

from capacity.demo import demo_load
from tests.demo_incidents import INCIDENTS, Verdict, demo_judge
from tests.telemetry import database_clear

NOW = datetime(2026, 11, 21, 10, 17, 41, tzinfo=UTC)
DAYS = 13
pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def verdict(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Verdict]:
    with django_db_blocker.unblock():
        demo_load(now=NOW, days=DAYS)
        yield demo_judge(now=NOW, days=DAYS)
        database_clear()


def test_each_planted_incident_pages(verdict: Verdict) -> None:
    print([one.words(verdict.anchor) for one in verdict.fired])
    assert verdict.missed == []


def test_false_pages_are_one_a_week_at_most(verdict: Verdict) -> None:
    print([one.words(verdict.anchor) for one in verdict.strange])
    assert verdict.false_pages_a_week <= 1


def test_the_nightly_loss_of_a_link_is_a_warning_only(verdict: Verdict) -> None:
    nightly = next(incident for incident in INCIDENTS if incident.name == "edge-node-06")
    assert {one.rule.severity for one in verdict.fired if one.incident is nightly} == {"warning"}

"""Labels against patterns, and when a silence holds."""

from datetime import timedelta

import pytest

from monitoring.alerts.matching import Span, labels_match
from tests.telemetry import NOON

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LABELS = {"deployment": "llama-70b", "environment": "prod"}


@pytest.mark.parametrize(
    ("matchers", "matches"),
    [
        ({}, True),
        ({"deployment": "llama-70b"}, True),
        ({"deployment": "llama-*", "environment": "pr?d"}, True),
        ({"deployment": "llama-*", "environment": "test"}, False),
        ({"deployment": "LLAMA-*"}, False),
        ({"team": ""}, True),  # not there: empty
        ({"team": "?*"}, False),
    ],
)
def test_every_pattern_must_fit(matchers: dict[str, str], matches: bool) -> None:
    assert labels_match(LABELS, matchers) is matches


@pytest.mark.parametrize(("hours", "holds"), [(-0.1, False), (0, True), (1.9, True), (2, False), (24.5, False)])
def test_a_silence_holds_from_its_start_until_before_its_end(hours: float, holds: bool) -> None:
    assert Span(NOON, NOON + 2 * HOUR).holds(NOON + hours * HOUR) is holds


@pytest.mark.parametrize(("days", "hours", "holds"), [(0, 1, True), (6, 1, False), (7, 1, True), (7, 2, False), (21, 1, False)])
def test_a_weekly_one_holds_each_week_until_its_last(days: int, hours: float, holds: bool) -> None:
    assert Span(NOON, NOON + 2 * HOUR, 7, NOON + 21 * DAY).holds(NOON + days * DAY + hours * HOUR) is holds

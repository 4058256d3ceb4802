from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capacity.analysis.ranges import RangeError, range_parse

NOW = datetime(2026, 11, 21, 2, 12, 30, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def parsed(text_from: str, text_to: str = "now", zone: ZoneInfo = BERLIN) -> tuple[str, str]:
    start, end = range_parse(text_from, text_to, now=NOW, zone=zone)
    return start.isoformat(), end.isoformat()


@pytest.mark.parametrize(
    ("given_from", "given_to", "start", "end"),
    [
        ("", "", "2026-11-20T20:12:30+00:00", "2026-11-21T02:12:30+00:00"),
        ("now-15m", "now", "2026-11-21T01:57:30+00:00", "2026-11-21T02:12:30+00:00"),
        ("now-1d-2h", "now-1d", "2026-11-20T00:12:30+00:00", "2026-11-20T02:12:30+00:00"),
        ("now/d", "now/d", "2026-11-20T23:00:00+00:00", "2026-11-21T23:00:00+00:00"),
        ("now-1M/M", "now-1M/M", "2026-09-30T22:00:00+00:00", "2026-10-31T23:00:00+00:00"),
        ("now/w", "now", "2026-11-15T23:00:00+00:00", "2026-11-21T02:12:30+00:00"),
        ("now/y", "now", "2025-12-31T23:00:00+00:00", "2026-11-21T02:12:30+00:00"),
        ("1763690400000", "1763694000000", "2025-11-21T02:00:00+00:00", "2025-11-21T03:00:00+00:00"),
        ("2026-11-21T02:00:00Z", "2026-11-21T04:00:00+01:00", "2026-11-21T02:00:00+00:00", "2026-11-21T03:00:00+00:00"),
        ("2026-11-21T02:00:00", "2026-11-21T04:00:00 01:00", "2026-11-21T01:00:00+00:00", "2026-11-21T03:00:00+00:00"),
        ("2026-11-20", "2026-11-20", "2026-11-19T23:00:00+00:00", "2026-11-20T23:00:00+00:00"),
    ],
)
def test_it_reads_the_grammar_of_grafana(given_from: str, given_to: str, start: str, end: str) -> None:
    assert parsed(given_from, given_to) == (start, end)


def test_days_follow_the_wall_clock_over_a_change_of_summer_time() -> None:
    monday = datetime(2026, 10, 26, 11, tzinfo=UTC)  # 12:00 in Berlin, the clocks went back the night before
    start, _ = range_parse("now-1d", "now", now=monday, zone=BERLIN)
    assert start == datetime(2026, 10, 25, 11, tzinfo=UTC)
    start, _ = range_parse("now-2d", "now", now=monday, zone=BERLIN)
    assert start == datetime(2026, 10, 24, 10, tzinfo=UTC)


def test_a_month_back_from_the_31st_is_the_last_day() -> None:
    start, _ = range_parse("now-1M", "now", now=datetime(2026, 3, 31, 12, tzinfo=UTC), zone=UTC)
    assert start == datetime(2026, 2, 28, 12, tzinfo=UTC)


@pytest.mark.parametrize("text", ["yesterday", "now-", "now-5x", "now/q", "2026-13-01", "9" * 40, "now-99999y", "-5", "²", "1970-01-01"])
def test_it_says_what_was_wrong(text: str) -> None:
    with pytest.raises(RangeError, match="from is not a time.*now-6h"):
        parsed(text)


def test_it_names_the_end_when_the_end_is_wrong() -> None:
    with pytest.raises(RangeError) as caught:
        parsed("now-1h", "soon")
    assert caught.value.name == "to"


def test_it_refuses_a_range_that_runs_backwards() -> None:
    with pytest.raises(RangeError, match="from must lie before to"):
        parsed("now", "now-1h")


def test_it_refuses_a_range_over_ten_years() -> None:
    with pytest.raises(RangeError, match="3660 days"):
        parsed("now-11y")


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_is_a_range_or_a_range_error(text_from: str, text_to: str) -> None:
    try:
        start, end = range_parse(text_from, text_to, now=NOW, zone=BERLIN)
    except RangeError:
        return
    assert start < end

"""SLO minutes and suggestions from stored histograms."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from capacity.analysis.slo import SloSuggest, slo_minutes, slo_suggest
from capacity.analysis.words import latency_words, percent_words, seconds_words, span_words
from capacity.engine.answer import NoAnswer
from monitoring.catalog.records import Latency
from monitoring.ingest import Histograms, histograms_ingest
from monitoring.models import Deployment, Slo
from tests.factories import make_deployment

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
BOUNDS = (0.25, 0.5, 0.75, 1.0, 2.0)
HOUR = timedelta(hours=1)


def feed_windows(deployment: Deployment, buckets: list[int], *, latency: Latency = Latency.REQUEST_DURATION) -> None:
    """Five-minute histograms that end at NOW, one for each bucket number given."""
    size = len(buckets)
    times = NOW.timestamp() - 300.0 * np.arange(size - 1, -1, -1)
    counts = np.zeros((size, len(BOUNDS) + 1))
    counts[np.arange(size), buckets] = 100.0
    own = np.full(size, deployment.pk)
    histograms_ingest(Histograms(latency, own, own * 0, times, BOUNDS, counts, np.full(size, np.nan)), table="5m", now=NOW)


@pytest.mark.django_db
class TestSuggest:
    def test_it_adds_a_margin_to_what_four_weeks_measured(self) -> None:
        model = make_deployment("m")
        feed_windows(model, [1] * 400)
        found = slo_suggest(model, now=NOW)
        assert isinstance(found, SloSuggest)
        assert found.percentile_seconds == pytest.approx(0.4875)
        assert (found.threshold_seconds, found.held_ratio, found.limited) == (0.6, 1.0, False)
        assert found.sentence == "Your request duration p95 over 1 day was 0.49 s. 0.60 s would have held in 100 % of five-minute windows."

    def test_it_prefers_the_first_token_where_there_is_one(self) -> None:
        model = make_deployment("m")
        feed_windows(model, [1] * 300), feed_windows(model, [2] * 300, latency=Latency.TIME_TO_FIRST_TOKEN)
        found = slo_suggest(model, now=NOW)
        assert isinstance(found, SloSuggest) and found.latency == Latency.TIME_TO_FIRST_TOKEN

    def test_it_says_how_much_is_missing(self) -> None:
        model = make_deployment("m")
        feed_windows(model, [1] * 40)
        found = slo_suggest(model, now=NOW)
        assert found == NoAnswer("too_short", have=40, need=288)

    def test_a_server_without_histograms_gets_no_suggestion(self) -> None:
        assert slo_suggest(make_deployment("m"), now=NOW) == NoAnswer("no_data", have=0, need=288)


@pytest.mark.django_db
class TestMinutes:
    def test_broken_windows_are_lost_and_told_as_intervals(self) -> None:
        model = make_deployment("m")
        Slo.objects.create(deployment=model, latency=Latency.REQUEST_DURATION, threshold_seconds=1.0)
        feed_windows(model, [1] * 600 + [4] * 6 + [1] * 6)
        found = slo_minutes(model, start=NOW - 50 * HOUR, end=NOW)
        assert not isinstance(found, NoAnswer)
        assert (found.lost, found.step_seconds, found.budget) == (30.0, 300.0, pytest.approx(201.6))
        assert found.breaches == [(NOW - HOUR, NOW - HOUR / 2)]

    def test_without_a_promise_there_is_no_answer(self) -> None:
        assert slo_minutes(make_deployment("m"), start=NOW - HOUR, end=NOW) == NoAnswer("no_data", have=0, need=1)


class TestWords:
    @pytest.mark.parametrize(
        ("seconds", "words"), [(0.0086, "8.6 ms"), (0.088, "88 ms"), (0.8, "0.80 s"), (1.84, "1.84 s"), (12.44, "12.4 s")]
    )
    def test_seconds(self, seconds: float, words: str) -> None:
        assert seconds_words(seconds) == words

    @pytest.mark.parametrize(
        ("ratio", "words"),
        [(0.98, "98 %"), (0.05, "5 %"), (0.0712, "7.1 %"), (0.0005, "0.05 %"), (0.0, "0 %"), (1.0, "100 %"), (1.05, "105 %")],
    )
    def test_percent(self, ratio: float, words: str) -> None:
        assert percent_words(ratio) == words

    @pytest.mark.parametrize(
        ("ratio", "words"),
        [(0.995, "99.5 %"), (0.9996, "99.96 %"), (0.99996, "99.996 %"), (0.999999, ">99.999 %"), (3e-6, "<0.001 %"), (-0.12, "−12 %")],
    )
    def test_only_all_is_100_percent_and_only_nothing_is_0(self, ratio: float, words: str) -> None:
        assert percent_words(ratio) == words

    @pytest.mark.parametrize(("minutes", "words"), [(31, "31 min"), (119, "119 min"), (300, "5 h"), (4400, "3 days")])
    def test_spans(self, minutes: int, words: str) -> None:
        assert span_words(timedelta(minutes=minutes)) == words

    def test_latencies(self) -> None:
        assert latency_words(Latency.TIME_TO_FIRST_TOKEN, 0.95) == "First token p95"
        assert latency_words(Latency.REQUEST_DURATION, None) == "Mean request duration"

"""Rates of history: every increment counts once, whatever the pace of the scrapes."""

import numpy as np
import pytest

from monitoring.sources.gather import EVERY_SECONDS, Span
from monitoring.sources.scrapes import is_uneven, rate_window

STEP, HOUR, HOURS = 300.0, 3600.0, 400
PACES = [15.0, 30.0, 45.0, 60.0, 100.0, 120.0, 140.0, 180.0, 240.0, 300.0]


@pytest.mark.parametrize(("scrape", "uneven"), [(15.0, False), (60.0, False), (100.0, False), (120.0, True), (180.0, True), (300.0, True)])
def test_only_few_or_broken_numbers_of_scrapes_are_uneven(scrape: float, uneven: bool) -> None:
    assert is_uneven(STEP, scrape_seconds=scrape) is uneven


def rates(counter: np.ndarray, *, scraped: np.ndarray, ends: np.ndarray, window: float) -> np.ndarray:
    """rate() at each of `ends`: (last - first) / (time between) of the samples in the window."""
    first, last = np.searchsorted(scraped, ends - window, side="right"), np.searchsorted(scraped, ends, side="right") - 1
    return np.asarray((counter[last] - counter[first]) / (scraped[last] - scraped[first]))


def hours_asked(counter: np.ndarray, *, scraped: np.ndarray, scrape: float) -> np.ndarray:
    """Means of the hours as an import asks for them."""
    ends = np.arange(HOUR + STEP, HOURS * HOUR + STEP, STEP)
    averaged = is_uneven(STEP, scrape_seconds=scrape)
    window = rate_window(EVERY_SECONDS if averaged else STEP, scrape_seconds=scrape)
    asked = ends + Span(0.0, 0.0, STEP, {"one": window}, rollup=True, averaged=("one",) if averaged else ()).lead_seconds("one")
    inner = [asked - back for back in (np.arange(0.0, STEP, EVERY_SECONDS) if averaged else [0.0])]
    steps = np.mean([rates(counter, scraped=scraped, ends=each, window=window) for each in inner], axis=0)
    return np.asarray(steps.reshape(-1, 12).mean(axis=1))


@pytest.mark.parametrize("scrape", PACES)
def test_hours_are_right_whatever_the_pace_of_the_scrapes(scrape: float) -> None:
    rng = np.random.default_rng(5)
    increments = rng.lognormal(0.0, 0.1, round((HOURS + 3) * HOUR / scrape)) * scrape
    scraped = np.arange(increments.size) * scrape + 0.31 * scrape
    counter = np.cumsum(increments)
    truth = np.diff(np.interp(np.arange(1, HOURS + 1) * HOUR, scraped, counter)) / HOUR
    errors = hours_asked(counter, scraped=scraped, scrape=scrape) / truth - 1
    assert np.sqrt(np.mean(errors**2)) < 0.003  # one rate() a step: 0.004 to 0.008 from 120 s on
    assert np.abs(np.mean(errors)) < 0.0005

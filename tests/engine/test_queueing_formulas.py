"""The check values of the textbook's formulas: 40 requests/s of 0.25 s, 10 Erlangs."""

import numpy as np
import pytest

from capacity.engine.queueing.formulas import (
    Station,
    erlang_b,
    erlang_c,
    hayward_quantile,
    response_quantile,
    sakasegawa,
    wait_mean,
    wait_quantile,
)
from capacity.engine.queueing.service import service_measured

STATION = Station(rate=40.0, mean_seconds=0.25)
# servers, Erlang C, mean wait ms, p95 wait ms, Sakasegawa ms
CHECKS = [(12, 0.449, 56.2, 274.0, 59.2), (13, 0.285, 23.8, 145.0, 27.0), (14, 0.174, 10.9, 78.0, 13.9), (16, 0.057, 2.4, 5.7, 4.3)]


@pytest.mark.parametrize(("servers", "waiting", "mean", "p95", "quick"), CHECKS)
def test_they_give_the_check_values(servers: int, waiting: float, mean: float, p95: float, quick: float) -> None:
    assert erlang_c(servers, load=10.0) == pytest.approx(waiting, abs=6e-4)
    assert wait_mean(STATION, servers=servers) * 1e3 == pytest.approx(mean, abs=0.06)
    # The reference rounds its p95 to the millisecond; at 16 servers ln(C / 0.05) is so near 0 that C's third digit shows.
    assert wait_quantile(STATION, servers=servers, quantile=0.95) * 1e3 == pytest.approx(p95, abs=0.6)
    assert sakasegawa(STATION, servers=servers) * 1e3 == pytest.approx(quick, abs=0.06)


def test_erlang_b_counts_up_from_one_lost_of_all() -> None:
    # B(1) = A / (1 + A), B(2) = A^2 / 2 / (1 + A + A^2 / 2)
    assert erlang_b(1, load=10.0) == pytest.approx(10 / 11)
    assert erlang_b(2, load=10.0) == pytest.approx(50 / 61)


def test_erlang_b_of_a_fraction_lies_between_its_neighbours() -> None:
    assert erlang_b(12, load=10.0) < erlang_b(11.5, load=10.0) < erlang_b(11, load=10.0)
    assert erlang_b(11.999999, load=10.0) == pytest.approx(erlang_b(12, load=10.0), rel=1e-5)


def test_variation_multiplies_the_mean_wait() -> None:
    bursty = Station(rate=40.0, mean_seconds=0.25, ca2=3.0, cs2=1.0)
    assert wait_mean(bursty, servers=13) == pytest.approx(2.0 * wait_mean(STATION, servers=13))


def test_hayward_is_erlang_c_without_peaks_and_waits_longer_with_them() -> None:
    plain = hayward_quantile(STATION, servers=13, quantile=0.95, peakedness=1.0)
    assert plain == pytest.approx(wait_quantile(STATION, servers=13, quantile=0.95))
    assert hayward_quantile(STATION, servers=13, quantile=0.95, peakedness=3.0) > 2 * plain


def test_percentiles_of_wait_and_service_do_not_add() -> None:
    service = service_measured(np.random.default_rng(0).exponential(0.25, 20_000))
    both = response_quantile(STATION, servers=13, quantile=0.95, service=service)
    assert service.quantile(0.95) < both < service.quantile(0.95) + wait_quantile(STATION, servers=13, quantile=0.95)


def test_a_load_not_carried_waits_for_ever() -> None:
    assert wait_mean(STATION, servers=10) == np.inf
    assert wait_quantile(STATION, servers=9, quantile=0.5) == np.inf
    assert sakasegawa(STATION, servers=10) == np.inf


def test_a_negative_rate_is_refused_with_what_was_given() -> None:
    with pytest.raises(ValueError, match="rate of 0 or more.*got -1/s"):
        Station(rate=-1.0, mean_seconds=0.25)

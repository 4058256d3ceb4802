"""Rates of counters whose scrapes come late, asked of a real Prometheus as polling asks them."""

from collections.abc import Iterator

import numpy as np
import pytest

from monitoring.catalog.records import Entity, Kind, Series, System
from monitoring.prometheus import Prometheus
from monitoring.sources.gather import Span, asks_of, span_gather
from monitoring.sources.scrapes import gained_systems, rate_windows
from tests.servers.prometheus import PrometheusServer
from tests.servers.rates import LOOPBACK

SCRAPE, STEP, STEPS = 5.0, 15.0, 40
START = 1_795_300_200.0
END = START + STEPS * STEP
LOAD = 8.0  # req/s
REQUESTS = Series("requests_per_second", ("a_total",), Kind.COUNTER)
SYSTEM = System("s", "S", "serving", Entity.DEPLOYMENT, ("a_total",), (REQUESTS,), ("model",))


def counters() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Scrape moments and counts, by pod, from two steps before the start to two after the end."""
    even = np.arange(START - 2 * STEP, END + 2 * STEP, SCRAPE) + 1.3
    rng = np.random.default_rng(3)
    late = even + np.where(rng.random(even.size) < 0.15, rng.uniform(0.5, 4.5, even.size), 0.0)
    again = START + 20 * STEP + 7.0
    away = (even > START + 10 * STEP) & (even < START + 16 * STEP)
    younger = even[even > again]
    return {
        "even": (even, LOAD * (even - even[0])),
        "late": (late, LOAD * (late - even[0])),
        "restarted": (even, LOAD * (even - np.where(even < again, even[0], again))),
        "away": (even[~away], LOAD * (even[~away] - even[0])),
        "younger": (younger, LOAD * (younger - again)),
    }


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("late")
    lines = ["# TYPE a counter"]
    for pod, (times, counts) in counters().items():
        lines += [f'a_total{{pod="{pod}",model="m"}} {count:.3f} {at:.3f}' for at, count in zip(times, counts, strict=True)]
    (folder / "history.om").write_text("\n".join([*lines, "# EOF", ""]))
    server = PrometheusServer(folder / "prometheus")
    server.backfill([folder / "history.om"])
    with server:
        yield Prometheus(server.url, allowed=LOOPBACK)


def rates(client: Prometheus, *, gained: bool) -> dict[str, np.ndarray]:
    scrapes = {"s": SCRAPE}
    windows = rate_windows(STEP, scrapes=scrapes, systems=[SYSTEM])
    span = Span(START + STEP, END, STEP, windows, gained=gained_systems(STEP, scrapes=scrapes) if gained else ())
    asks = asks_of([SYSTEM], names={"a_total"}, rollup=False)
    ((_, matrix),) = span_gather(client, asks=asks, names={"a_total"}, span=span).answers
    return {labels["pod"]: values for labels, values in zip(matrix.labels, matrix.values, strict=True)}


def test_nothing_is_lost_where_scrapes_come_late(client: Prometheus) -> None:
    assert np.nanmean(rates(client, gained=True)["late"]) == pytest.approx(LOAD, rel=0.005)
    assert np.nanmean(rates(client, gained=False)["late"]) < 0.98 * LOAD  # what rate() makes of the same samples


def test_even_scrapes_give_what_rate_gives(client: Prometheus) -> None:
    gained, plain = rates(client, gained=True)["even"], rates(client, gained=False)["even"]
    assert gained == pytest.approx(np.full(STEPS, LOAD)) and plain == pytest.approx(gained)


def test_a_restart_is_no_negative_rate_and_no_jump(client: Prometheus) -> None:
    found = rates(client, gained=True)["restarted"]
    assert np.isfinite(found).all() and (found > 0.5 * LOAD).all() and (found < 1.05 * LOAD).all()
    assert np.isclose(found, LOAD).sum() == STEPS - 1  # the step of the restart


def test_where_nothing_was_scraped_there_is_no_rate_and_none_is_made_up_after(client: Prometheus) -> None:
    found = rates(client, gained=True)["away"]
    assert np.isnan(found[11:15]).all() and np.isfinite(found[17:]).all() and np.nanmax(found) < 1.05 * LOAD


def test_a_pod_that_begins_has_no_rate_before(client: Prometheus) -> None:
    found = rates(client, gained=True)["younger"]
    assert np.isnan(found[:20]).all() and np.isclose(found[22:], LOAD).all() and np.nanmax(found) < 1.05 * LOAD

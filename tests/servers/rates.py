"""Does the catalogue read what a server really did? Load with known counts, asked back through our own queries."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monitoring.catalog.records import Series
from monitoring.catalog.systems import SYSTEMS
from monitoring.http import Allowed
from monitoring.prometheus import Prometheus, series_query
from tests.servers.load import Done, load_run
from tests.servers.model_servers import ModelServer
from tests.servers.processes import wait_until
from tests.servers.prometheus import PrometheusServer

LOOPBACK = (Allowed("127.0.0.0/8"),)


@dataclass(frozen=True)
class Seen:
    """What our queries say of a window beside what the load generator knows of it."""

    requests_per_second: float
    errors_per_second: float
    true_requests_per_second: float
    true_errors_per_second: float
    mean_seconds: float
    true_mean_seconds: float


def column_series(system: str, target: str) -> Series | None:
    return next((series for series in SYSTEMS[system].series if series.target == target), None)


def column_value(client: Prometheus, server: ModelServer, target: str, *, window_seconds: float, at: float) -> float:
    """A column of the server's deployment, as polling would read it; NaN where the catalogue has none."""
    system = SYSTEMS[server.system]
    series = column_series(server.system, target)
    query = series_query(system, series, names_present=client.names(), window_seconds=window_seconds) if series else None
    if series is None or query is None:
        return float("nan")
    found = client.query(query, at=at)
    mine = [labels.get(system.model_label or "", server.model) == server.model for labels in found.labels]
    return float(np.nansum(found.values[np.array(mine, dtype=bool)]) * series.scale) if any(mine) else float("nan")


def load_seen(folder: Path, server: ModelServer, *, per_second: float = 20.0, seconds: float = 24.0, window_seconds: float = 15.0) -> Seen:
    """Scrape each second under load, then ask for the rates of a window inside it."""
    with PrometheusServer(folder / "prometheus", targets=[server.target]) as prometheus:
        client = Prometheus(prometheus.url, allowed=LOOPBACK)
        system = SYSTEMS[server.system]
        wait_until(lambda: bool(set(system.detect) & client.names()), seconds=40, what=f"series of {system.name}")
        done = load_run(server.url, good=server.good, bad=server.bad, per_second=per_second, seconds=seconds)
        at = done.times[-1] - 2
        wait_until(lambda: time.time() > at + 3, seconds=10, what="the last scrape")
        values = {
            target: column_value(client, server, target, window_seconds=window_seconds, at=at)
            for target in ("requests_per_second", "errors_per_second", "request_seconds_per_second")
        }
    return seen_of(done, values, start=at - window_seconds, end=at)


def seen_of(done: Done, values: dict[str, float], *, start: float, end: float) -> Seen:
    return Seen(
        requests_per_second=values["requests_per_second"],
        errors_per_second=values["errors_per_second"],
        true_requests_per_second=done.between(start, end) / (end - start),
        true_errors_per_second=done.failed_between(start, end) / (end - start),
        mean_seconds=values["request_seconds_per_second"] / values["requests_per_second"],
        true_mean_seconds=float(np.mean(done.seconds)),
    )

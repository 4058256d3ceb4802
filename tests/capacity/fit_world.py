"""A deployment with three days behind it: 40 requests a second on average, 0.2 s each, on four replicas of one H100."""

from datetime import timedelta
from typing import Any

import numpy as np

from capacity.models import Price
from monitoring.catalog.records import Latency
from monitoring.models import Deployment, Slo
from monitoring.store import histograms_write, rollups_write
from tests.capacity.planted_series import daily
from tests.factories import make_accelerator, make_deployment, make_node, make_placement, make_replica
from tests.telemetry import NOON, NOON_SECONDS, make_histograms, make_rollups

NOW = NOON
BOUNDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.6, 0.8, 1.2, 2.0)
SHARES = (0.01, 0.09, 0.20, 0.25, 0.18, 0.12, 0.10, 0.04, 0.01, 0.0, 0.0, 0.0)  # of requests by bucket: median 0.19 s, p95 0.4 s
MEAN_SECONDS = 0.22
REPLICAS, SLOTS = 4, 8
H100 = "NVIDIA H100 80GB HBM3"


def served(deployment: Deployment, *, days: float = 3.0, version: int = 0, stretch: float = 1.0, **columns: Any) -> None:
    """Five-minute rows and histograms until noon; `stretch`: service times against the usual."""
    ends = -300.0 * np.arange(round(days * 288))[::-1]
    rates = daily(NOON_SECONDS + ends)
    values = {"requests_per_second": rates, "requests_running": rates * MEAN_SECONDS * stretch, "requests_waiting": rates * 0.0}
    ready = {"replicas_ready": np.full(rates.size, float(REPLICAS)), "replicas_desired": np.full(rates.size, float(REPLICAS))}
    rollups_write(make_rollups(ends.tolist(), ids=deployment.pk, versions=version, **(values | ready | columns)))
    counts = np.round(rates[:, None] * 300.0 * np.asarray(SHARES))
    bounds = tuple(bound * stretch for bound in BOUNDS)
    sums = counts.sum(axis=1) * MEAN_SECONDS * stretch
    found = make_histograms(ends.tolist(), counts.tolist(), bounds=bounds, ids=deployment.pk, versions=version, sums=sums.tolist())
    histograms_write(found, table="5m")


def make_served(name: str = "chat", *, days: float = 3.0, cards: int = REPLICAS, **fields: Any) -> Deployment:
    """With an SLO of p95 0.8 s, a price of 2 USD an hour for an H100, and `cards` of them of which it holds four."""
    deployment = make_deployment(name, **fields)
    node = make_node(f"node-of-{name}", cluster=deployment.cluster, last_seen_at=NOW)
    held = [make_accelerator(node, model_name=H100, last_seen_at=NOW) for _ in range(cards)]
    for card in held[:REPLICAS]:
        replica = make_replica(deployment, node=node, last_seen_at=NOW)
        make_placement(replica, accelerator=card)
    Slo.objects.create(deployment=deployment, latency=Latency.REQUEST_DURATION, percentile=0.95, threshold_seconds=0.8)
    first = (NOW - timedelta(days=30)).date()
    Price.objects.get_or_create(kind="accelerator", name=H100, defaults={"hourly_rate": 2, "valid_from": first})
    served(deployment, days=days)
    return deployment

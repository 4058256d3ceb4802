"""When a node's disk or memory is full."""

from datetime import timedelta

import numpy as np
import pytest

from capacity.analysis.forecast_jobs import forecasts_fit
from capacity.analysis.forecast_runout import node_runs_out
from capacity.analysis.forecasts import NEVER_MADE
from monitoring.catalog.records import Entity
from monitoring.models import Node
from monitoring.store import rows_write
from tests.capacity.planted_series import DAY, Floats, demand_plant
from tests.factories import make_node
from tests.telemetry import NOON, NOON_SECONDS, make_rows

NOW = NOON + timedelta(minutes=2)
TERABYTE = 1e12


def node_with(*, total: float | None, growth_per_day: float = 5e9, days: float = 70) -> Node:
    """A disk that holds half a terabyte today."""
    node = make_node("gpu-7")

    def used(times: Floats) -> Floats:
        return np.asarray(0.5 * TERABYTE + growth_per_day * (times - NOON_SECONDS) / DAY)

    demand_plant(node.pk, days=days, shape=used, column="disk_used_bytes", entity=Entity.NODE, noise=0.002)
    newest = {"disk_used_bytes": 0.5 * TERABYTE} | ({"disk_total_bytes": total} if total else {})
    rows_write(make_rows([-30], Entity.NODE, ids=node.pk, **newest), overwrite=True)
    forecasts_fit(clock=lambda: NOW, budget_seconds=60.0)
    return node


@pytest.mark.django_db
class TestRunOut:
    def test_a_disk_that_fills_is_given_its_days(self) -> None:
        """200 GB are left and 5 GB come a day: full in 40 days, sooner on the 90 % quantile."""
        found = node_runs_out(node_with(total=0.7 * TERABYTE), now=NOW)
        assert found.median_at and found.early_at
        assert abs((found.median_at - NOON).days - 40) <= 6
        assert found.early_at <= found.median_at
        assert (found.used_bytes, found.total_bytes) == (pytest.approx(0.5 * TERABYTE), pytest.approx(0.7 * TERABYTE))
        assert found.sentence.startswith(
            f"Disk runs out on {found.median_at:%Y-%m-%d} (median), on {found.early_at:%Y-%m-%d} at the earliest"
        )
        assert "A trend from 10 weeks" in found.sentence

    def test_one_that_does_not_fill_says_until_when_that_is_known(self) -> None:
        found = node_runs_out(node_with(total=100 * TERABYTE, growth_per_day=0.0), now=NOW)
        assert (found.median_at, found.early_at) == (None, None)
        assert found.sentence.startswith("Disk does not run out before 2027-12-25.")

    def test_without_its_size_nothing_is_said(self) -> None:
        found = node_runs_out(node_with(total=None, days=1), now=NOW)
        assert (found.median_at, found.sentence) == (None, "How much disk gpu-7 has was not measured in the last day.")

    def test_too_little_history_is_told(self) -> None:
        found = node_runs_out(node_with(total=TERABYTE, days=10), now=NOW)
        assert (found.early_at, found.sentence) == (None, "400-day forecast needs 4 weekly cycles (672 h), have 168 h.")

    def test_a_node_that_nobody_has_learned_is_told(self) -> None:
        node = make_node("gpu-8")
        rows_write(make_rows([-30], Entity.NODE, ids=node.pk, disk_total_bytes=TERABYTE), overwrite=True)
        assert node_runs_out(node, now=NOW).sentence == NEVER_MADE

    def test_what_cannot_run_out_is_refused(self) -> None:
        with pytest.raises(ValueError, match="disk_used_bytes, memory_used_bytes, got 'cpu_utilization_ratio'"):
            node_runs_out(make_node(), "cpu_utilization_ratio", now=NOW)

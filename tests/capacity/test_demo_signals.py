"""The made-up telemetry: repeatable, physically plausible, shaped as its servers would show it."""

import numpy as np
import pytest

from capacity.demo.fleet import CHAT, SERVICES
from capacity.demo.histograms import LAYOUTS, counts_make, normal_share
from capacity.demo.machines import cards, cards_columns, copies
from capacity.demo.noise import normal, smooth, uniform
from capacity.demo.records import Service
from capacity.demo.signals import columns_make, flow_make, latency_make, release_weights

ANCHOR = 1_795_305_600.0  # Sat 22 Nov 2026, 00:00 UTC
DAY = 86400.0


def week(step: float = 300.0) -> np.ndarray:
    return np.arange(ANCHOR - 7 * DAY + step, ANCHOR + 1, step)


class TestNoise:
    def test_a_stretch_made_again_alone_is_the_same(self) -> None:
        times = week()
        whole, part = smooth(5, times, 900.0), smooth(5, times[100:200], 900.0)
        assert (whole[100:200] == part).all()

    def test_it_is_centred_with_the_deviation_it_promises(self) -> None:
        draw = normal(7, np.arange(100_000))
        assert (abs(draw.mean()), draw.std()) == (pytest.approx(0.0, abs=0.02), pytest.approx(1.0, abs=0.02))

    def test_streams_differ(self) -> None:
        index = np.arange(1000)
        assert abs(np.corrcoef(uniform(1, index), uniform(2, index))[0, 1]) < 0.1


class TestHistograms:
    def test_the_normal_share_is_right(self) -> None:
        assert normal_share(np.array([-1.6448536, 0.0, 1.6448536])) == pytest.approx([0.05, 0.5, 0.95], abs=1e-6)

    def test_buckets_add_up_to_the_requests_and_are_whole(self) -> None:
        counts = made_counts()
        assert (counts == np.floor(counts)).all() and (counts >= 0).all()
        assert np.abs(counts.sum(axis=1) - 1000.0).max() <= 1.0

    def test_the_median_lies_where_it_was_planted(self) -> None:
        counts, bounds = made_counts().sum(axis=0), LAYOUTS["fine"]
        below = counts[: bounds.index(0.1) + 1].sum() / counts.sum()
        assert below == pytest.approx(0.5, abs=0.01)


def made_counts() -> np.ndarray:
    times = np.arange(60.0, 60.0 * 101, 60.0)
    p50, p95 = np.full(100, 0.1), np.full(100, 0.3)
    return counts_make(p50, p95, requests=np.full(100, 1000.0), bounds=LAYOUTS["fine"], stream=3, times=times)


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
class TestEachService:
    def test_every_column_is_finite_and_not_negative(self, service: Service) -> None:
        flow = flow_make(service, week(), step=300.0, anchor=ANCHOR)
        for name, values in columns_make(service, flow).items():
            assert np.isfinite(values).all() and (values >= 0).all(), name

    def test_shares_of_versions_add_up_to_one(self, service: Service) -> None:
        weights = release_weights(service, week(), step=300.0, anchor=ANCHOR)
        assert sum(weight for _, weight in weights) == pytest.approx(np.ones(week().size))

    def test_latency_rises_with_load(self, service: Service) -> None:
        flow = flow_make(service, week(), step=300.0, anchor=ANCHOR)
        for spread in service.spreads:
            p50, p95 = latency_make(service, flow, spread)
            order = np.argsort(flow.load / flow.work)
            tenth = order.size // 10
            assert (p50 < p95).all()
            assert p95[order[-tenth:]].mean() >= p95[order[:tenth]].mean() * 0.97


class TestMachines:
    def test_the_fleet_runs_on_six_kinds_of_hardware(self) -> None:
        assert len({card.hardware.model_name for card in cards()} | {"CPU"}) == 6

    def test_no_accelerator_is_given_away_more_than_once(self) -> None:
        for card in cards():
            assert sum(copy.share for copy in copies() if card in copy.cards) <= 1.0

    def test_one_accelerator_is_shared_and_a_part_of_it_is_nobodys(self) -> None:
        shares = {card.key: sorted(copy.share for copy in copies() if card in copy.cards) for card in cards()}
        assert shares["gpu-a10g-01", 3, False] == [0.4, 0.4]

    def test_power_follows_load_and_memory_fits(self) -> None:
        times = week()
        flows = {service.name: flow_make(service, times, step=300.0, anchor=ANCHOR) for service in SERVICES}
        for key, columns in cards_columns(flows, times, step=300.0, anchor=ANCHOR).items():
            assert (columns["gpu_memory_used_bytes"] <= columns["gpu_memory_total_bytes"]).all(), key
            assert all((values <= 1.01).all() for name, values in columns.items() if name.endswith("_ratio")), key
            if "power_watts" in columns:
                assert (columns["power_watts"] <= columns["power_limit_watts"] * 1.02).all(), key

    def test_an_instance_of_a_partitioned_gpu_has_no_power_of_its_own(self) -> None:
        times = week()[:10]
        flows = {service.name: flow_make(service, times, step=300.0, anchor=ANCHOR) for service in SERVICES}
        columns = cards_columns(flows, times, step=300.0, anchor=ANCHOR)
        instance, parent = columns["gpu-a100-01", 0, True], columns["gpu-a100-01", 7, False]
        assert "power_watts" not in instance and "gpu_utilization_ratio" not in instance
        assert "power_watts" in parent and "gpu_utilization_ratio" not in parent


def test_raw_and_five_minute_rows_tell_the_same_story() -> None:
    fine = flow_make(CHAT, week(60.0), step=60.0, anchor=ANCHOR).requests
    coarse = flow_make(CHAT, week(300.0), step=300.0, anchor=ANCHOR).requests
    assert fine.reshape(-1, 5).mean(axis=1) == pytest.approx(coarse, rel=0.12)

"""Hand-made windows with one limit each, what is said without the deciding signal, and bad input; runs without Django."""

from dataclasses import replace

import numpy as np
import pytest

from capacity.engine.saturation import (
    Limit,
    Saturation,
    Signals,
    Skew,
    Thresholds,
    Verdict,
    saturation_find,
    saturation_words,
    verdict_words,
)
from capacity.engine.saturation.records import COLUMNS, Evidence, Floats
from capacity.engine.saturation.window import plateau_of
from capacity.engine.saturation.words import MISSING, NAMES, figure, limit_words, threshold_words

NAN = float("nan")
STEPS = 90
# Load over the window: a hill whose top third is hot.
HILL = 0.2 + 0.8 * np.sin(np.linspace(0.0, np.pi, STEPS)) ** 2
HOT = HILL > 0.85


def hot(calm: float, busy: float) -> Floats:
    return np.where(HOT, busy, calm)


def always(value: float) -> Floats:
    return np.full(STEPS, value)


def healthy() -> Signals:
    """A language model on one accelerator that has room for everything."""
    return Signals(
        60.0,
        requests_per_second=10 * HILL,
        errors_per_second=always(0.0),
        input_tokens_per_second=5000 * HILL,
        output_tokens_per_second=2000 * HILL,
        requests_running=20 * HILL,
        requests_waiting=always(0.0),
        kv_cache_usage_ratio=0.3 * HILL,
        preemptions_per_second=always(0.0),
        replicas_ready=always(1.0),
        request_duration_seconds=2.0 + 0.2 * HILL,
        time_per_output_token_seconds=always(0.02),
        gpu_utilization_ratio=0.4 + 0.5 * HILL,
        sm_active_ratio=0.1 + 0.3 * HILL,
        tensor_active_ratio=0.1 * HILL,
        dram_active_ratio=0.3 * HILL,
        sm_clock_hertz=always(1.7e9),
        throttle_power_ratio=always(0.0),
        throttle_thermal_ratio=always(0.0),
        cpu_usage_cores=1.5 * HILL,
        cpu_throttled_ratio=always(0.0),
        cpu_pressure_ratio=always(0.02),
        cpu_utilization_ratio=0.3 * HILL,
        network_receive_bytes_per_second=2e6 * HILL,
        network_transmit_bytes_per_second=1e6 * HILL,
        link_bytes_per_second=1.25e9,
    )


def plain() -> Signals:
    """The same without tokens: a server of pictures, with batches and memory of its own."""
    gone = dict.fromkeys(COLUMNS_OF_TOKENS)
    memory = {"gpu_memory_used_bytes": always(10e9), "gpu_memory_total_bytes": always(24e9), "pcie_receive_bytes_per_second": always(1e8)}
    return replace(healthy(), **gone, **memory)


COLUMNS_OF_TOKENS = (
    "input_tokens_per_second",
    "output_tokens_per_second",
    "kv_cache_usage_ratio",
    "preemptions_per_second",
    "time_per_output_token_seconds",
)
LINE = {"requests_waiting": hot(0, 31), "request_duration_seconds": hot(2, 9)}
BUSY = {**LINE, "gpu_utilization_ratio": hot(0.6, 1.0)}
MATH = {**BUSY, "sm_active_ratio": hot(0.3, 0.92), "tensor_active_ratio": hot(0.1, 0.6), "dram_active_ratio": hot(0.1, 0.2)}
CACHE = {**BUSY, "kv_cache_usage_ratio": hot(0.3, 0.96), "preemptions_per_second": hot(0, 4), "sm_active_ratio": hot(0.2, 0.31)}
MOVING = {**BUSY, "dram_active_ratio": hot(0.3, 0.82), "sm_active_ratio": hot(0.4, 0.88), "time_per_output_token_seconds": hot(0.02, 0.05)}
SLOW_CLOCK = {"throttle_thermal_ratio": hot(0, 0.97), "sm_clock_hertz": hot(1.7e9, 0.9e9), "temperature_celsius": hot(60, 88)}
PLANTED: dict[Limit, tuple[Signals, tuple[str, ...]]] = {
    Limit.KV_CACHE: (replace(healthy(), **CACHE), ("kv_cache_usage_ratio", "preemptions_per_second")),
    Limit.COMPUTE: (replace(healthy(), **MATH), ("sm_active_ratio", "tensor_active_ratio", "dram_active_ratio")),
    Limit.MEMORY_BANDWIDTH: (replace(healthy(), **MOVING), ("dram_active_ratio",)),
    Limit.THROTTLING: (
        replace(healthy(), **MATH, **SLOW_CLOCK),
        ("throttle_power_ratio", "throttle_thermal_ratio", "sm_clock_hertz", "temperature_celsius"),
    ),
    Limit.ACCELERATOR_MEMORY: (
        replace(plain(), **LINE, gpu_memory_used_bytes=hot(20e9, 23.6e9), errors_per_second=hot(0, 0.5)),
        ("gpu_memory_used_bytes", "gpu_memory_total_bytes"),
    ),
    Limit.CPU: (
        replace(healthy(), cpu_throttled_ratio=hot(0, 0.8), request_duration_seconds=hot(2, 20), requests_running=hot(5, 200)),
        ("cpu_usage_cores", "cpu_throttled_ratio", "cpu_pressure_ratio", "cpu_utilization_ratio"),
    ),
    Limit.NETWORK: (
        replace(
            healthy(),
            network_transmit_bytes_per_second=1.17e9 * np.minimum(HILL / 0.85, 1),
            request_duration_seconds=hot(2, 20),
            requests_running=hot(5, 200),
        ),
        ("network_receive_bytes_per_second", "network_transmit_bytes_per_second"),
    ),
    Limit.QUEUE: (replace(healthy(), **LINE, requests_running=hot(5, 8)), ("requests_waiting", "requests_running")),
    Limit.UPSTREAM: (
        replace(healthy(), request_duration_seconds=hot(2, 20), requests_running=hot(5, 200), gpu_utilization_ratio=always(0.15)),
        (
            "gpu_utilization_ratio",
            "sm_active_ratio",
            "cpu_usage_cores",
            "cpu_throttled_ratio",
            "cpu_pressure_ratio",
            "cpu_utilization_ratio",
        ),
    ),
}


def without(signals: Signals, names: tuple[str, ...]) -> Signals:
    return replace(signals, **dict.fromkeys(names))


class TestPlanted:
    @pytest.mark.parametrize("limit", Limit)
    def test_it_names_the_limit_at_the_peaks(self, limit: Limit) -> None:
        found = saturation_find(PLANTED[limit][0]).peaks
        assert (found.limit, found.cannot_tell) == (limit, "")
        assert found.confidence >= 0.7
        assert 0.2 <= found.share <= 0.6

    @pytest.mark.parametrize("limit", Limit)
    def test_it_cannot_tell_without_what_decides(self, limit: Limit) -> None:
        signals, names = PLANTED[limit]
        found = saturation_find(without(signals, names)).peaks
        assert found.limit is None
        assert found.cannot_tell
        assert set(found.missing) & set(names)

    @pytest.mark.parametrize("limit", Limit)
    def test_lost_samples_do_not_change_the_answer(self, limit: Limit) -> None:
        rng = np.random.default_rng(3)
        signals = PLANTED[limit][0]
        lost = {name: values.astype(np.float64) for name in COLUMNS if (values := getattr(signals, name)) is not None}
        for values in lost.values():
            values[rng.random(STEPS) < 0.1] = NAN
        assert saturation_find(replace(signals, **lost)).peaks.limit is limit

    @pytest.mark.parametrize("limit", Limit)
    def test_now_is_quiet_where_the_window_ends_quietly(self, limit: Limit) -> None:
        now = saturation_find(PLANTED[limit][0]).now
        assert now.limit in (None, Limit.UPSTREAM)

    def test_an_overloaded_server_that_finishes_fewer_than_a_busy_one_is_at_its_peak(self) -> None:
        late = np.arange(STEPS) >= STEPS - 12
        fewer = {"requests_per_second": np.where(late, 6.0, 10 * HILL), "output_tokens_per_second": np.where(late, 1200.0, 2000 * HILL)}
        full = {"kv_cache_usage_ratio": np.where(late, 0.98, 0.3 * HILL), "requests_running": np.where(late, 12.0, 20 * HILL)}
        found = saturation_find(replace(healthy(), **fewer, **full, requests_waiting=np.where(late, 30.0, 0.0)))
        assert found.peaks.limit is found.now.limit is Limit.KV_CACHE

    @pytest.mark.parametrize("limit", [Limit.KV_CACHE, Limit.COMPUTE, Limit.CPU, Limit.QUEUE])
    def test_now_is_the_limit_where_the_window_ends_in_it(self, limit: Limit) -> None:
        signals = PLANTED[limit][0]
        cut = int(np.flatnonzero(HOT)[-1]) + 1
        begun = {name: values[:cut] for name in COLUMNS if (values := getattr(signals, name)) is not None}
        assert saturation_find(replace(signals, **begun)).now.limit is limit


class TestNothing:
    def test_room_everywhere_is_an_answer(self) -> None:
        found = saturation_find(healthy()).peaks
        assert found.nothing
        assert found.confidence >= 0.8

    def test_a_busy_memory_interface_is_no_limit_while_tokens_come_as_fast_as_ever(self) -> None:
        """Decoding a small batch reads all the weights each time: 85 % active, and a batch of twice the size costs nothing."""
        found = saturation_find(replace(healthy(), dram_active_ratio=always(0.85), sm_active_ratio=always(0.9))).peaks
        assert found.nothing
        assert Limit.MEMORY_BANDWIDTH in found.beside

    def test_memory_that_the_server_takes_at_the_start_is_no_limit(self) -> None:
        full = replace(healthy(), gpu_memory_used_bytes=always(78e9), gpu_memory_total_bytes=always(80e9), errors_per_second=0.5 * HILL)
        assert saturation_find(full).peaks.limit is not Limit.ACCELERATOR_MEMORY

    def test_a_power_cap_that_costs_little_clock_is_no_limit(self) -> None:
        capped = replace(healthy(), **MATH, throttle_power_ratio=hot(0, 1.0), sm_clock_hertz=hot(1.7e9, 1.6e9))
        found = saturation_find(capped).peaks
        assert found.limit is Limit.COMPUTE
        assert Limit.THROTTLING in found.beside

    def test_an_idle_deployment_waits_for_work(self) -> None:
        idle = replace(healthy(), gpu_utilization_ratio=always(0.03), sm_active_ratio=always(0.01))
        assert saturation_find(idle).peaks.limit is Limit.UPSTREAM

    def test_a_request_rate_cut_off_at_one_height_comes_from_a_gate_before_it(self) -> None:
        gated = replace(healthy(), requests_per_second=np.minimum(10 * HILL, 6.0), requests_running=np.minimum(20 * HILL, 12.0))
        assert saturation_find(gated).peaks.limit is Limit.UPSTREAM

    def test_it_is_less_sure_where_network_and_cpu_are_not_measured(self) -> None:
        blind = without(healthy(), (*PLANTED[Limit.CPU][1], *PLANTED[Limit.NETWORK][1]))
        found = saturation_find(blind).peaks
        assert found.nothing
        assert found.confidence < 0.7
        assert "no network traffic" in verdict_words(found)


class TestWords:
    def test_the_evidence_is_figures_with_units(self) -> None:
        found = saturation_find(PLANTED[Limit.KV_CACHE][0]).peaks
        assert verdict_words(found) == (
            f"KV cache (93 % sure): KV cache 96 %, preemptions 4/s, waiting 31, duration, of its quiet hours 4.5 x. "
            f"Reached in {HOT.mean() * 100:.0f} % of the window."
        )
        assert Evidence("sm_active_ratio", 0.31, "ratio") in found.evidence

    def test_each_figure_has_its_threshold_and_side(self) -> None:
        first = saturation_find(PLANTED[Limit.KV_CACHE][0]).peaks.evidence[0]
        assert first == Evidence("kv_cache_usage_ratio", 0.96, "ratio", Thresholds().kv_cache, "above")

    @pytest.mark.parametrize(
        ("evidence", "words"),
        [
            (Evidence("kv_cache_usage_ratio", 0.96, "ratio", 0.9, "above"), "limit 90 %"),
            (Evidence("gpu_utilization_ratio", 0.09, "ratio", 0.2, "below"), "limit below 20 %"),
            (Evidence("error_ratio", 0.01, "ratio", 0.003, "above"), "limit 0.3 %"),
            (Evidence("preemptions_per_second", 4.0, "1/s", 0.02, "above"), "limit 0.02/s"),
            (Evidence("sm_active_ratio", 0.31, "ratio"), ""),
        ],
    )
    def test_a_threshold_has_the_unit_of_its_figure(self, evidence: Evidence, words: str) -> None:
        assert threshold_words(evidence) == words

    @pytest.mark.parametrize(
        ("name", "value", "threshold", "words"),
        [
            ("request_duration_stretch", 3.0, 1.5, "Upstream, answers wait for something else"),
            ("gpu_utilization_ratio", 0.1, 0.2, "Upstream, little arrives"),
            ("gpu_utilization_ratio", 0.5, 0.2, "Upstream, what arrives stands at a ceiling"),
        ],
    )
    def test_upstream_says_how_it_shows(self, name: str, value: float, threshold: float, words: str) -> None:
        assert limit_words(Verdict(Limit.UPSTREAM, 0.5, 0.8, (Evidence(name, value, "ratio", threshold),))) == words

    def test_what_is_missing_says_how_to_get_it(self) -> None:
        signals, names = PLANTED[Limit.MEMORY_BANDWIDTH]
        text = verdict_words(saturation_find(without(signals, names)).peaks)
        assert text.startswith(
            "Cannot tell: requests wait, and what decides is not measured: no DRAM activity (before Hopper it needs DCGM"
        )

    @pytest.mark.parametrize("limit", Limit)
    def test_every_evidence_has_words(self, limit: Limit) -> None:
        found = saturation_find(PLANTED[limit][0]).peaks
        assert {each.name for each in found.evidence} <= set(NAMES)
        assert all(figure(each) for each in found.evidence)

    @pytest.mark.parametrize("limit", Limit)
    def test_every_missing_column_has_words(self, limit: Limit) -> None:
        signals, names = PLANTED[limit]
        assert set(saturation_find(without(signals, names)).peaks.missing) <= set(MISSING)


class TestSkew:
    def test_a_replica_with_more_than_half_as_much_again_comes_first(self) -> None:
        rows = np.vstack([9 * HILL, 2 * HILL, 2 * HILL])
        found = saturation_find(replace(healthy(), replica_running=rows))
        assert isinstance(found.skew, Skew)
        assert (found.skew.replica, found.skew.replicas) == (0, 3)
        assert found.skew.ratio == pytest.approx(4.5)
        assert saturation_words(found).startswith(
            "Balance first: the busiest of 3 replicas works on 4.5 times the requests of the median one."
        )

    def test_even_replicas_one_replica_and_next_to_no_work_have_none(self) -> None:
        for rows in (np.vstack([5 * HILL, 4 * HILL]), 9 * HILL[None, :], np.vstack([1.5 * HILL, 0 * HILL, 0 * HILL])):
            assert saturation_find(replace(healthy(), replica_running=rows)).skew is None

    def test_a_replica_that_was_never_measured_is_left_out(self) -> None:
        rows = np.vstack([9 * HILL, 3 * HILL, always(NAN), 3 * HILL])
        found = saturation_find(replace(healthy(), replica_running=rows)).skew
        assert found is not None and found.replicas == 3


class TestInput:
    def untold(self, found: Saturation) -> str:
        assert found.peaks.limit is found.now.limit is None
        assert saturation_words(found)
        return found.peaks.cannot_tell

    def test_no_column_at_all(self) -> None:
        assert "no requests" in self.untold(saturation_find(Signals(60.0)))

    def test_all_missing(self) -> None:
        assert "no requests" in self.untold(saturation_find(Signals(60.0, **{name: always(NAN) for name in COLUMNS})))

    def test_a_single_sample(self) -> None:
        one = Signals(60.0, requests_per_second=np.array([3.0]), requests_waiting=np.array([90.0]))
        assert self.untold(saturation_find(one)) == "not enough data: 1 measured steps, 10 are needed"

    def test_load_alone_says_nothing_of_limits(self) -> None:
        found = saturation_find(Signals(60.0, requests_per_second=10 * HILL))
        assert "neither a queue nor a duration is measured" in self.untold(found)

    def test_silence_at_the_end_is_not_taken_for_quiet(self) -> None:
        late = {
            name: np.where(np.arange(STEPS) < STEPS - 8, getattr(healthy(), name), NAN)
            for name in ("requests_per_second", "requests_running")
        }
        found = saturation_find(replace(healthy(), **late, requests_waiting=None, output_tokens_per_second=None))
        assert found.now.cannot_tell == "no load was measured in the last minutes"
        assert found.peaks.nothing

    def test_zero_load_all_along(self) -> None:
        silent = {
            name: always(0.0) for name in ("requests_per_second", "requests_running", "output_tokens_per_second", "gpu_utilization_ratio")
        }
        assert saturation_find(replace(healthy(), **silent)).peaks.limit in (Limit.UPSTREAM, None)

    def test_it_refuses_columns_of_two_lengths_and_a_step_of_no_length(self) -> None:
        with pytest.raises(ValueError, match="one length"):
            Signals(60.0, requests_per_second=np.zeros(3), requests_running=np.zeros(4))
        with pytest.raises(ValueError, match="step_seconds must be above 0, got 0"):
            Signals(0.0)


class TestPlateau:
    def test_a_flow_that_is_cut_off_has_one(self) -> None:
        noise = np.random.default_rng(1).lognormal(0, 0.02, STEPS)
        found = plateau_of(np.minimum(HILL, 0.6) * noise)
        assert found is not None
        assert found[HILL > 0.65].mean() > 0.9
        assert not found[HILL < 0.5].any()

    def test_a_crest_a_constant_and_noise_have_none(self) -> None:
        rng = np.random.default_rng(2)
        assert plateau_of(HILL) is None
        assert plateau_of(always(5.0)) is None
        assert plateau_of(np.minimum(HILL, 0.6) * rng.lognormal(0, 0.4, STEPS)) is None
        assert plateau_of(always(NAN)) is None

    def test_scaling_a_flow_changes_nothing(self) -> None:
        cut = np.minimum(HILL, 0.6)
        first, second = plateau_of(cut), plateau_of(cut * 1e9)
        assert first is not None and second is not None
        assert first.tolist() == second.tolist()

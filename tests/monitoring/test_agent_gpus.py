"""The agent's GPU readings through the real binding, against a fake NVML whose every value is known."""

import pynvml
import pytest

from monitoring.agent.gpus import Reading
from monitoring.catalog.columns import COLUMNS
from monitoring.catalog.records import Entity
from tests.fakes.nvml import FakeNvml

GIB = 2.0**30


def read_twice(nvml: FakeNvml, *, first: float = 10.0, second: float = 25.0) -> dict[str, Reading]:
    gpus = nvml.gpus()
    nvml.clock_set(first)
    gpus.read(monotonic=first, now=first)
    nvml.clock_set(second)
    return {reading.key: reading for reading in gpus.read(monotonic=second, now=second)}


def test_every_value_of_a_hopper_gpu_is_in_base_units(nvml: FakeNvml) -> None:
    found = read_twice(nvml)["GPU-fake-1"]
    assert found.model_name == "NVIDIA H100 80GB HBM3"
    assert dict(found.values) == pytest.approx(
        {
            "gpu_utilization_ratio": 0.51,
            "memory_copy_utilization_ratio": 0.31,
            "power_watts": 301.0,
            "power_limit_watts": 700.0,
            "energy_joules_per_second": 320.0,
            "temperature_celsius": 51.0,
            "memory_temperature_celsius": 70.0,
            "sm_clock_hertz": 1.98e9,
            "memory_clock_hertz": 2.619e9,
            "encoder_utilization_ratio": 0.07,
            "decoder_utilization_ratio": 0.09,
            "ecc_uncorrected_errors": 0.0,
            "xid_code": 0.0,
            "gpu_memory_used_bytes": 40 * GIB,
            "gpu_memory_total_bytes": 80 * GIB,
            "throttle_power_ratio": 0.25,
            "throttle_thermal_ratio": 0.10,
            "gr_engine_active_ratio": 0.02,
            "sm_active_ratio": 0.03,
            "sm_occupancy_ratio": 0.04,
            "dram_active_ratio": 0.11,
            "pcie_transmit_bytes_per_second": 21 * 2.0**20,
            "pcie_receive_bytes_per_second": 22 * 2.0**20,
            "nvlink_receive_bytes_per_second": 61 * 2.0**20,
            "nvlink_transmit_bytes_per_second": 62 * 2.0**20,
        },
        rel=1e-3,  # the driver's sample buffer is whole numbers
    )


def test_mig_instances_have_memory_and_their_parent_has_the_power(nvml: FakeNvml) -> None:
    found = read_twice(nvml)
    instances = [reading for reading in found.values() if reading.parent]
    assert [(one.key, one.parent, one.profile) for one in instances] == [
        ("MIG-fake-4-1", "GPU-fake-4", "2g.20gb"),
        ("MIG-fake-4-2", "GPU-fake-4", "2g.20gb"),
    ]
    assert all(one.values == {"gpu_memory_used_bytes": 10 * GIB, "gpu_memory_total_bytes": 20 * GIB} for one in instances)
    assert "gpu_utilization_ratio" not in found["GPU-fake-4"].values
    assert found["GPU-fake-4"].values["power_watts"] == pytest.approx(304.0, rel=1e-3)


def test_an_old_gpu_says_what_it_cannot_and_still_gives_the_rest(nvml: FakeNvml) -> None:
    old = read_twice(nvml)["GPU-fake-5"]
    assert set(old.values) >= {"gpu_utilization_ratio", "gpu_memory_used_bytes", "power_watts", "temperature_celsius"}
    assert old.able["nvmlDeviceGetTotalEnergyConsumption"] == "not supported by this GPU"
    assert old.able["throttle_power_ratio"] == "not supported by this GPU"
    assert old.able["nvmlDeviceGetMemoryInfo"] == "ok"


def test_a_counter_that_starts_over_gives_no_rate_once(nvml: FakeNvml) -> None:
    found = read_twice(nvml, first=25.0, second=35.0)
    assert "energy_joules_per_second" not in found["GPU-fake-7"].values
    assert found["GPU-fake-0"].values["energy_joules_per_second"] == pytest.approx(320.0)


def test_a_lost_gpu_is_named_and_comes_back_and_the_others_go_on(nvml: FakeNvml) -> None:
    gpus = nvml.gpus()
    nvml.clock_set(50.0)
    gpus.read(monotonic=50.0, now=50.0)
    nvml.clock_set(65.0)
    lost = {reading.key: reading for reading in gpus.read(monotonic=65.0, now=65.0)}
    assert "lost" in lost["GPU-fake-6"].lost and lost["GPU-fake-6"].values == {}
    assert lost["GPU-fake-0"].values and lost["GPU-fake-7"].values
    nvml.clock_set(80.0)
    still = {reading.key: reading for reading in gpus.read(monotonic=80.0, now=80.0)}
    assert "lost" in still["GPU-fake-6"].lost and still["GPU-fake-0"].values["energy_joules_per_second"] == pytest.approx(320.0)
    nvml.clock_set(118.0)  # NVML starts over and does not find it either
    again = {reading.key: reading for reading in gpus.read(monotonic=118.0, now=118.0)}
    assert "lost" in again["GPU-fake-6"].lost and again["GPU-fake-0"].values["energy_joules_per_second"] == pytest.approx(320.0)
    nvml.clock_set(190.0)
    back = {reading.key: reading for reading in gpus.read(monotonic=190.0, now=190.0)}
    assert back["GPU-fake-6"].values and back["GPU-fake-6"].lost == ""


def test_a_metric_without_a_reading_is_left_out_not_zero(nvml: FakeNvml) -> None:
    assert "tensor_active_ratio" not in read_twice(nvml)["GPU-fake-0"].values


def test_a_host_without_a_driver_says_so(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pynvml, "nvmlLib", None)
    pynvml._nvmlGetFunctionPointer_cache.clear()
    gpus = nvml.gpus()
    assert gpus.read(monotonic=1.0, now=1.0) == [] and "NVML does not answer" in gpus.trouble


def test_a_grace_module_tells_its_own_power_beside_the_gpu(nvml: FakeNvml) -> None:
    found = read_twice(nvml)
    assert found["GPU-fake-3"].values["module_power_watts"] == 610.0
    assert found["GPU-fake-0"].able["module_power_watts"] == "not supported by this GPU"


def test_newer_links_are_summed_one_by_one(nvml: FakeNvml) -> None:
    found = read_twice(nvml)["GPU-fake-4"]
    assert found.values["nvlink_transmit_bytes_per_second"] == pytest.approx(12 * 1e6)
    assert found.able["NVLink5 nvlink_transmit_bytes_per_second"] == "ok"


def test_what_is_not_counted_is_sampled(nvml: FakeNvml) -> None:
    old = read_twice(nvml)["GPU-fake-5"]
    assert (old.values["throttle_power_ratio"], old.values["throttle_thermal_ratio"]) == (1.0, 0.0)
    assert old.values["pcie_transmit_bytes_per_second"] == 2.5e6 and old.values["pcie_receive_bytes_per_second"] == 1.5e6


def test_limits_and_wear_are_facts(nvml: FakeNvml) -> None:
    found = read_twice(nvml)
    assert dict(found["GPU-fake-2"].facts) == {
        "sm_clock_most_hertz": 2.01e9,
        "memory_clock_most_hertz": 2.7e9,
        "sm_clock_boost_hertz": 1.99e9,
        "ecc_uncorrected_lifetime_errors": 3.0,
        "rows_remapped_corrected": 2.0,
        "rows_remapped_uncorrected": 1.0,
        "rows_remapping_pending": 0.0,
        "rows_remapping_failed": 0.0,
    }
    assert found["GPU-fake-2"].able["nvmlDeviceGetAccountingStats"] == "accounting mode is off"
    assert found["GPU-fake-5"].able["nvmlDeviceGetRemappedRows"] == "not supported by this GPU"


def test_every_signal_of_the_catalogue_is_read_somewhere_or_has_a_reason(nvml: FakeNvml) -> None:
    readings = read_twice(nvml)
    read = {column for reading in readings.values() for column in reading.values}
    assert {column.name for column in COLUMNS[Entity.ACCELERATOR]} - read == {"tensor_active_ratio"}  # the fake refuses that metric
    assert all(reason for reading in readings.values() for reason in reading.able.values())

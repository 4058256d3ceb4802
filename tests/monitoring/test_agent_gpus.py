"""The agent's GPU readings through the real binding, against a fake NVML whose every value is known."""

import ctypes
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from monitoring.agent.gpus import Gpus, Reading

SOURCE = Path(__file__).parent.parent / "fakes" / "fake_nvml.c"
GIB = 2.0**30


class Clock:
    """Moves the fake's time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def set(self, seconds: float) -> None:
        self.path.write_text(str(seconds))


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(path), str(SOURCE)], check=True)
    return path


@pytest.fixture
def clock(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    monkeypatch.setenv("FAKE_NVML_CLOCK", str(tmp_path / "clock"))
    monkeypatch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(library)))
    pynvml._nvmlGetFunctionPointer_cache.clear()
    made = Clock(tmp_path / "clock")
    made.set(10.0)
    yield made
    pynvml._nvmlGetFunctionPointer_cache.clear()


def read_twice(clock: Clock, *, first: float = 10.0, second: float = 25.0) -> dict[str, Reading]:
    gpus = Gpus()
    clock.set(first)
    gpus.read(monotonic=first)
    clock.set(second)
    return {reading.key: reading for reading in gpus.read(monotonic=second)}


def test_every_value_of_a_hopper_gpu_is_in_base_units(clock: Clock) -> None:
    found = read_twice(clock)["GPU-fake-1"]
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


def test_mig_instances_have_memory_and_their_parent_has_the_power(clock: Clock) -> None:
    found = read_twice(clock)
    instances = [reading for reading in found.values() if reading.parent]
    assert [(one.key, one.parent, one.profile) for one in instances] == [
        ("MIG-fake-4-1", "GPU-fake-4", "2g.20gb"),
        ("MIG-fake-4-2", "GPU-fake-4", "2g.20gb"),
    ]
    assert all(one.values == {"gpu_memory_used_bytes": 10 * GIB, "gpu_memory_total_bytes": 20 * GIB} for one in instances)
    assert "gpu_utilization_ratio" not in found["GPU-fake-4"].values
    assert found["GPU-fake-4"].values["power_watts"] == pytest.approx(304.0, rel=1e-3)


def test_an_old_gpu_says_what_it_cannot_and_still_gives_the_rest(clock: Clock) -> None:
    old = read_twice(clock)["GPU-fake-5"]
    assert set(old.values) >= {"gpu_utilization_ratio", "gpu_memory_used_bytes", "power_watts", "temperature_celsius"}
    assert old.able["nvmlDeviceGetTotalEnergyConsumption"] == "not supported by this GPU"
    assert old.able["throttle_power_ratio"] == "not supported by this GPU"
    assert old.able["nvmlDeviceGetMemoryInfo"] == "ok"


def test_a_counter_that_starts_over_gives_no_rate_once(clock: Clock) -> None:
    found = read_twice(clock, first=25.0, second=35.0)
    assert "energy_joules_per_second" not in found["GPU-fake-7"].values
    assert found["GPU-fake-0"].values["energy_joules_per_second"] == pytest.approx(320.0)


def test_a_lost_gpu_is_named_and_comes_back_and_the_others_go_on(clock: Clock) -> None:
    gpus = Gpus()
    clock.set(50.0)
    gpus.read(monotonic=50.0)
    clock.set(65.0)
    lost = {reading.key: reading for reading in gpus.read(monotonic=65.0)}
    assert "lost" in lost["GPU-fake-6"].lost and lost["GPU-fake-6"].values == {}
    assert lost["GPU-fake-0"].values and lost["GPU-fake-7"].values
    clock.set(130.0)
    back = {reading.key: reading for reading in gpus.read(monotonic=130.0)}
    assert back["GPU-fake-6"].values and back["GPU-fake-6"].lost == ""


def test_a_metric_without_a_reading_is_left_out_not_zero(clock: Clock) -> None:
    assert "tensor_active_ratio" not in read_twice(clock)["GPU-fake-0"].values


def test_a_host_without_a_driver_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pynvml, "nvmlLib", None)
    pynvml._nvmlGetFunctionPointer_cache.clear()
    gpus = Gpus()
    assert gpus.read(monotonic=1.0) == [] and "NVML does not answer" in gpus.trouble

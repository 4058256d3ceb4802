"""Processes on GPUs and MIG instances through the real binding, on the fake NVML and a recorded /proc."""

from pathlib import Path

from monitoring.agent.gpus import Gpus
from monitoring.agent.processes import Process
from tests.fakes.nvml import FakeNvml
from tests.fakes.proc import process_write, stat_write

GIB = 2**30
PIDS = (1000, 1001, 2000, 2001, 2002, 3000, 4001)


def proc_of(folder: Path) -> Path:
    stat_write(folder)
    for pid in PIDS:
        process_write(folder, pid, parent=1, started=float(pid), name=f"p{pid}", command="vllm serve m", cgroup="0::/a/vllm.service\n")
    return folder


def read_at(gpus: Gpus, nvml: FakeNvml, seconds: float) -> dict[tuple[str, int], Process]:
    nvml.clock_set(seconds)
    gpus.read(monotonic=seconds, now=seconds)
    return {(process.accelerator, process.pid): process for process in gpus.census.newest}


def test_processes_of_all_lists_are_had_once_with_their_shares(nvml: FakeNvml, tmp_path: Path) -> None:
    found = read_at(nvml.gpus(proc_of(tmp_path / "proc")), nvml, 100.0)
    assert {key: (one.kinds, one.memory_bytes, one.sm_ratio, one.share_method) for key, one in found.items()} == {
        ("GPU-fake-0", 1000): ("compute+graphics", 40 * GIB, 0.63, "process_utilization"),
        ("GPU-fake-0", 1001): ("graphics", 2 * GIB, 0.0, "process_utilization"),
        ("GPU-fake-1", 2000): ("compute", GIB, 0.0, "process_utilization"),  # its own figure is nonsense and dropped
        ("GPU-fake-1", 2001): ("mps", 10 * GIB, 0.30, "process_utilization"),
        ("GPU-fake-1", 2002): ("mps", 20 * GIB, 0.80, "process_utilization"),
        ("GPU-fake-2", 3000): ("compute", 5 * GIB, 0.0, "process_utilization"),
        ("MIG-fake-4-1", 4001): ("compute", 8 * GIB, None, "memory"),
    }
    assert found["GPU-fake-0", 1000].workload.unit == "vllm.service"


def test_memory_the_driver_does_not_tell_stays_unknown(nvml: FakeNvml, tmp_path: Path) -> None:
    gpus = nvml.gpus(proc_of(tmp_path / "proc"))
    gpus.start(monotonic=100.0)
    gpus.gpus[0].device.able["nvmlDeviceGetRunningProcessDetailList"] = "not in this driver"
    assert read_at(gpus, nvml, 100.0)["GPU-fake-0", 1001].memory_bytes is None


def test_processes_long_gone_are_never_listed(nvml: FakeNvml, tmp_path: Path) -> None:
    """The fake gives pid 999 at timestamp 0, as the driver does; only the bound on how far back is asked keeps it out."""
    gpus = nvml.gpus(proc_of(tmp_path / "proc"))
    gpus.start(monotonic=100.0)
    nvml.clock_set(100.0)
    running = gpus.gpus[0].running
    assert running.shares(now=100.0) == {1000: 0.63}
    running.used_at = None
    assert 999 in (running.shares(now=0.0) or {})  # without the bound it would be


def test_who_was_not_busy_since_the_last_look_has_no_share(nvml: FakeNvml, tmp_path: Path) -> None:
    gpus = nvml.gpus(proc_of(tmp_path / "proc"))
    read_at(gpus, nvml, 100.0)
    assert read_at(gpus, nvml, 100.2)["GPU-fake-0", 1000].sm_ratio == 0.0  # nothing sampled since
    assert read_at(gpus, nvml, 101.0)["GPU-fake-0", 1000].sm_ratio == 0.63


def test_a_gpu_that_tells_nothing_says_so(nvml: FakeNvml, tmp_path: Path) -> None:
    gpus = nvml.gpus(proc_of(tmp_path / "proc"))
    found = read_at(gpus, nvml, 100.0)
    old = next(gpu for gpu in gpus.gpus if gpu.uuid == "GPU-fake-5")
    assert not any(accelerator == "GPU-fake-5" for accelerator, _ in found)
    assert old.device.able["nvmlDeviceGetProcessUtilization"] == "not supported by this GPU"


def test_an_agent_in_another_pid_namespace_says_what_it_needs(nvml: FakeNvml, tmp_path: Path) -> None:
    gpus = nvml.gpus(tmp_path / "empty")
    assert read_at(gpus, nvml, 100.0) == {}
    assert "hostPID" in gpus.gpus[0].device.able["/proc of GPU processes"]

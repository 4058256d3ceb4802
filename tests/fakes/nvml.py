"""The fake NVML library, built once, under the real binding."""

import ctypes
import os
import subprocess
from pathlib import Path

import pynvml

from monitoring.agent.gpus import Gpus
from monitoring.agent.processes import Census
from monitoring.agent.workloads import Workloads

SOURCE = Path(__file__).parent / "fake_nvml.c"


def library_build(folder: Path) -> Path:
    path = folder / "libnvidia-ml.so.1"
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(path), str(SOURCE)], check=True)
    return path


class FakeNvml:
    """Moves the fake's time, makes its Xid errors, and ends what was started on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: list[Gpus] = []
        os.environ["FAKE_NVML_CLOCK"] = str(folder / "clock")  # read by the library, so not a mere dictionary entry
        os.environ["FAKE_NVML_XID"] = str(folder / "xid")
        self.clock_set(10.0)

    def clock_set(self, seconds: float) -> None:
        (self.folder / "clock.new").write_text(str(seconds))
        (self.folder / "clock.new").replace(self.folder / "clock")

    def xid(self, gpu: int, code: int) -> None:
        (self.folder / "xid.new").write_text(f"{gpu} {code}")
        (self.folder / "xid.new").replace(self.folder / "xid")

    def gpus(self, proc: Path | None = None) -> Gpus:
        self.made.append(Gpus(Census(Workloads(proc or self.folder / "no-proc", ticks_per_second=100.0))))
        return self.made[-1]

    def end(self) -> None:
        for gpus in self.made:
            gpus.stop()
        del os.environ["FAKE_NVML_CLOCK"], os.environ["FAKE_NVML_XID"]


def library_use(path: Path) -> None:
    pynvml.nvmlLib = ctypes.CDLL(str(path))
    pynvml._nvmlGetFunctionPointer_cache.clear()


def library_leave() -> None:
    pynvml.nvmlLib = None
    pynvml._nvmlGetFunctionPointer_cache.clear()

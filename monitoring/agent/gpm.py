"""SM, tensor and memory activity without DCGM, on Hopper and later (NVML's GPM).

Two samples, at least 100 ms apart, make a metric over the time between them. The last sample is kept, so that each metric covers the
agent's whole interval: no bursts, no gap.
"""

import contextlib
from dataclasses import dataclass
from typing import Any

import pynvml

from monitoring.agent.nvml import LASTING, Device

SHORTEST_SECONDS = 0.1
MIB = 1024.0 * 1024.0

METRICS: dict[str, tuple[int, float]] = {  # column -> (GPM metric id, factor to the base unit)
    "gr_engine_active_ratio": (pynvml.NVML_GPM_METRIC_GRAPHICS_UTIL, 0.01),
    "sm_active_ratio": (pynvml.NVML_GPM_METRIC_SM_UTIL, 0.01),
    "sm_occupancy_ratio": (pynvml.NVML_GPM_METRIC_SM_OCCUPANCY, 0.01),
    "tensor_active_ratio": (pynvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL, 0.01),
    "dram_active_ratio": (pynvml.NVML_GPM_METRIC_DRAM_BW_UTIL, 0.01),
    "pcie_transmit_bytes_per_second": (pynvml.NVML_GPM_METRIC_PCIE_TX_PER_SEC, MIB),
    "pcie_receive_bytes_per_second": (pynvml.NVML_GPM_METRIC_PCIE_RX_PER_SEC, MIB),
    "nvlink_receive_bytes_per_second": (pynvml.NVML_GPM_METRIC_NVLINK_TOTAL_RX_PER_SEC, MIB),
    "nvlink_transmit_bytes_per_second": (pynvml.NVML_GPM_METRIC_NVLINK_TOTAL_TX_PER_SEC, MIB),
}


@dataclass
class Gpm:
    """The two sample buffers of a GPU, or of one MIG instance of it."""

    device: Device
    older: Any
    newer: Any
    instance: int | None = None
    sampled_at: float | None = None

    @classmethod
    def of(cls, device: Device, *, instance: int | None = None) -> "Gpm | None":
        """None where the GPU has no GPM (before Hopper) or the driver does not know it."""
        support = device.ask("nvmlGpmQueryDeviceSupport", pynvml.nvmlGpmQueryDeviceSupport)
        if support is None:
            return None
        if not support.isSupportedDevice:
            device.able["nvmlGpmQueryDeviceSupport"] = "not supported by this GPU"
            return None
        return cls(device, pynvml.nvmlGpmSampleAlloc(), pynvml.nvmlGpmSampleAlloc(), instance)

    def read(self, *, monotonic: float) -> dict[str, float]:
        """The activity since the last call; empty at the first one, and when called again within 100 ms."""
        if self.sampled_at is not None and monotonic - self.sampled_at < SHORTEST_SECONDS:
            return {}
        if not self.sample_take():
            self.sampled_at = None
            return {}
        first, self.sampled_at = self.sampled_at is None, monotonic
        found = {} if first else self.metrics()
        self.older, self.newer = self.newer, self.older
        return found

    def free(self) -> None:
        """Give the buffers back; NVML wants that before it ends."""
        for sample in (self.older, self.newer):
            with contextlib.suppress(pynvml.NVMLError):  # of a GPU that is lost
                pynvml.nvmlGpmSampleFree(sample)

    def sample_take(self) -> bool:
        if self.instance is None:
            return self.device.ask("nvmlGpmSampleGet", pynvml.nvmlGpmSampleGet, self.newer) is not None
        return self.device.ask("nvmlGpmMigSampleGet", pynvml.nvmlGpmMigSampleGet, self.instance, self.newer) is not None

    def metrics(self) -> dict[str, float]:
        wanted = pynvml.c_nvmlGpmMetricsGet_t()
        wanted.version = pynvml.NVML_GPM_METRICS_GET_VERSION
        wanted.numMetrics = len(METRICS)
        wanted.sample1, wanted.sample2 = self.older, self.newer
        for position, (number, _) in enumerate(METRICS.values()):
            wanted.metrics[position].metricId = number
        got = self.device.ask("nvmlGpmMetricsGet", lambda _handle, request: pynvml.nvmlGpmMetricsGet(request), wanted)
        if got is None:
            return {}
        found = {}
        for metric, (column, (_, scale)) in zip(got.metrics, METRICS.items(), strict=False):
            if metric.nvmlReturn == pynvml.NVML_SUCCESS and metric.value == metric.value:
                found[column] = metric.value * scale
            self.device.able[f"GPM {column}"] = LASTING.get(metric.nvmlReturn, "ok")
        return found

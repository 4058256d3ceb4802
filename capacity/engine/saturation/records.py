"""What saturation is judged from, and what the judgement says. Names are those of the stored columns."""

from dataclasses import dataclass, field, fields
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Limit(StrEnum):
    """What can stop a deployment from doing more."""

    THROTTLING = "throttling"
    ACCELERATOR_MEMORY = "accelerator_memory"
    KV_CACHE = "kv_cache"
    MEMORY_BANDWIDTH = "memory_bandwidth"
    COMPUTE = "compute"
    CPU = "cpu"
    NETWORK = "network"
    QUEUE = "queue"
    UPSTREAM = "upstream"


@dataclass(frozen=True)
class Signals:
    """One deployment over a window: arrays of one length n, one value per step, oldest first, NaN = not measured; None = no such column.

    Deployment columns are totals over its replicas, accelerator columns folded over its accelerators (ratios and clocks: mean,
    throttling and temperature: greatest, bytes and watts: sum), node columns means over the nodes it runs on. Latencies are medians
    (or means) per step.
    """

    step_seconds: float
    requests_per_second: Floats | None = None
    errors_per_second: Floats | None = None
    input_tokens_per_second: Floats | None = None
    output_tokens_per_second: Floats | None = None
    requests_running: Floats | None = None
    requests_waiting: Floats | None = None
    kv_cache_usage_ratio: Floats | None = None
    preemptions_per_second: Floats | None = None
    request_seconds_per_second: Floats | None = None
    queue_seconds_per_second: Floats | None = None
    batched_requests_per_second: Floats | None = None
    batches_per_second: Floats | None = None
    replicas_ready: Floats | None = None
    restarts_per_second: Floats | None = None
    cpu_usage_cores: Floats | None = None
    cpu_requested_cores: Floats | None = None
    cpu_throttled_ratio: Floats | None = None
    network_receive_bytes_per_second: Floats | None = None
    network_transmit_bytes_per_second: Floats | None = None
    request_duration_seconds: Floats | None = None
    time_to_first_token_seconds: Floats | None = None
    time_per_output_token_seconds: Floats | None = None
    queue_time_seconds: Floats | None = None
    gpu_utilization_ratio: Floats | None = None
    gr_engine_active_ratio: Floats | None = None
    sm_active_ratio: Floats | None = None
    tensor_active_ratio: Floats | None = None
    dram_active_ratio: Floats | None = None
    memory_copy_utilization_ratio: Floats | None = None
    gpu_memory_used_bytes: Floats | None = None
    gpu_memory_total_bytes: Floats | None = None
    power_watts: Floats | None = None
    power_limit_watts: Floats | None = None
    temperature_celsius: Floats | None = None
    sm_clock_hertz: Floats | None = None
    throttle_power_ratio: Floats | None = None
    throttle_thermal_ratio: Floats | None = None
    pcie_receive_bytes_per_second: Floats | None = None
    cpu_utilization_ratio: Floats | None = None  # of the node
    cpu_pressure_ratio: Floats | None = None  # of the node
    node_receive_bytes_per_second: Floats | None = None
    node_transmit_bytes_per_second: Floats | None = None
    link_bytes_per_second: float = float("nan")  # what one node's link can carry, each way; NaN = nobody has said
    replica_running: Floats | None = None  # (replicas, n)

    def __post_init__(self) -> None:
        if not self.step_seconds > 0:
            raise ValueError(f"step_seconds must be above 0, got {self.step_seconds}")
        sizes = {name: values.shape[-1] for name in COLUMNS if (values := getattr(self, name)) is not None}
        if self.replica_running is not None:
            sizes["replica_running"] = self.replica_running.shape[-1]
        if len(set(sizes.values())) > 1:
            raise ValueError(f"all columns must have one length, got {sizes}")

    @property
    def size(self) -> int:
        return next((len(values) for name in COLUMNS if (values := getattr(self, name)) is not None), 0)


COLUMNS = tuple(each.name for each in fields(Signals) if each.name not in ("step_seconds", "link_bytes_per_second", "replica_running"))


@dataclass(frozen=True)
class Evidence:
    """One figure that speaks for the answer, and where its threshold lies."""

    name: str
    value: float
    unit: str
    threshold: float | None = None  # None: stands beside as context
    direction: str = ""  # "above" or "below": on which side of the threshold it speaks for the limit


@dataclass(frozen=True)
class Verdict:
    """What limits in some part of the window. Without `limit`: nothing does, or `cannot_tell` says what is missing."""

    limit: Limit | None
    share: float  # of the window's measured steps in which this limit was reached; NaN without a limit
    confidence: float  # 0 to 1
    evidence: tuple[Evidence, ...] = ()
    cannot_tell: str = ""
    missing: tuple[str, ...] = ()  # columns that would have decided
    beside: tuple[Limit, ...] = ()  # others that were at or near their limit

    @property
    def nothing(self) -> bool:
        return self.limit is None and not self.cannot_tell


@dataclass(frozen=True)
class Skew:
    """Requests being worked on by the busiest replica over those of the median one, means over the peaks."""

    ratio: float
    replica: int  # row of `replica_running`
    replicas: int


@dataclass(frozen=True)
class Saturation:
    """The answer: at the top tenth of load, and in the last minutes."""

    peaks: Verdict
    now: Verdict
    skew: Skew | None  # only where it is above the threshold: balance first
    steps: int


@dataclass(frozen=True)
class Thresholds:
    """Where a signal counts as at its limit. Reasons stand in docs/saturation.md."""

    steps_least: int = 10  # measured steps in the window before anything is said
    peak_ratio: float = 0.1  # of steps, by load
    now_seconds: float = 300.0
    waiting_per_replica: float = 2.0
    waiting_to_running: float = 0.2
    waiting_to_batch: float = 1.0
    pile: float = 3.0  # requests in flight over those in quiet hours
    wait_share: float = 0.35  # of a request's time spent in the queue
    stretch: float = 1.5  # duration of equal work at the peaks over that in quiet hours
    token_stretch: float = 1.8  # the same of the time per output token
    far_stretch: float = 6.0  # a stretch that no forming of batches explains
    still_rises: float = 0.35  # growth of throughput, of the growth of requests in flight: below it, more load only waits
    busy: float = 0.5
    idle: float = 0.2
    sm_active: float = 0.75
    tensor_active: float = 0.4
    dram_active: float = 0.55
    kv_cache: float = 0.9
    preemptions_per_second: float = 0.02
    memory: float = 0.94
    error_ratio: float = 0.003  # of requests, while memory is full
    swap_bytes_per_second: float = 4e9
    throttled: float = 0.3
    clock_loss: float = 0.18
    clock_loss_heat: float = 0.08  # by heat: no clock is meant to fall by it
    hot_celsius: float = 80.0
    cpu_throttled: float = 0.3
    cpu_pressure: float = 0.4
    cpu_node: float = 0.9
    cpu_requested: float = 0.95
    link: float = 0.8
    link_near: float = 0.6
    skew: float = 1.5


DEFAULTS = Thresholds()


@dataclass(frozen=True)
class Reading:
    """How near one limit is in one part of the window."""

    limit: Limit
    state: str  # "at", "near", "clear", "unknown", "none" (the server has no such thing)
    strength: float = 0.0
    evidence: tuple[Evidence, ...] = ()
    missing: tuple[str, ...] = ()
    engaged: Floats = field(default_factory=lambda: np.empty(0))  # (n,) 1 = reached in this step, 0 = not, NaN = unknown

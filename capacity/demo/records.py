"""The words in which the demo fleet is written down; `fleet.py` holds the list."""

import hashlib
from dataclasses import dataclass, field

from capacity.demo.shapes import Shape
from monitoring.catalog.records import Latency

GIB = 2.0**30


@dataclass(frozen=True)
class Hardware:
    """A kind of accelerator, with what its driver reports."""

    model_name: str
    memory_bytes: float
    power_limit_watts: float
    idle_watts: float
    clock_hertz: float


@dataclass(frozen=True)
class Host:
    cluster: str
    name: str
    instance_type: str
    cores: int
    memory_bytes: float
    disk_bytes: float
    hardware: Hardware | None = None
    accelerators: int = 0
    mig: tuple[int, str, int, float] | None = None  # (position of the parent, profile, instances, memory bytes of each)


@dataclass(frozen=True)
class Release:
    """A version, from when (seconds from the anchor) and, beside others at once, with which share of the traffic."""

    name: str
    start: float
    share: float = 1.0
    latency: float = 1.0  # factor on every latency against the deployment's own


@dataclass(frozen=True)
class Scale:
    start: float  # seconds from the anchor
    replicas: int
    text: str = ""


@dataclass(frozen=True)
class Spread:
    """A latency at low load: median and 95th percentile in seconds, and the layout its server uses."""

    latency: Latency
    p50: float
    p95: float
    layout: str


@dataclass(frozen=True)
class Place:
    """Where replicas stand: each on `each` neighbouring accelerators of a host, or on the host itself."""

    host: str
    positions: tuple[int, ...] = ()  # of accelerators, in the order they are given to replicas; empty: on the host
    each: int = 1
    share: float = 1.0
    mig: bool = False  # positions count MIG instances
    replicas: int = 0  # on the host itself


@dataclass(frozen=True)
class Promise:
    latency: Latency
    threshold_seconds: float
    percentile: float = 0.95
    availability_ratio: float | None = 0.99


@dataclass(frozen=True)
class Tokens:
    """Mean prompt and answer length, and the share of prompts found in the prefix cache."""

    prompt: float
    answer: float
    cache_hits: float = 0.35


@dataclass(frozen=True)
class Service:
    """One deployment of the demo fleet."""

    name: str
    model_name: str
    team: str
    system: str
    system_version: str
    cluster: str
    namespace: str
    shape: Shape
    peak_requests: float  # per second where the shape is 1
    capacity: float  # requests per second of one replica before it saturates
    busy_full: float  # engine activity of its accelerators at capacity
    memory_rate_full: float  # DRAM activity at capacity
    tensor_full: float
    memory_share: float  # accelerator memory held
    places: tuple[Place, ...]
    releases: tuple[Release, ...]
    scales: tuple[Scale, ...]
    spreads: tuple[Spread, ...] = ()
    promise: Promise | None = None
    tokens: Tokens | None = None
    environment: str = "production"
    workload_kind: str = "serving"
    error_ratio: float = 0.0004
    cores_requested: float = 4.0  # of one replica
    cores_full: float = 2.4  # used by one replica at capacity
    memory_bytes: float = 12 * GIB  # of one replica
    mean_only: bool = False  # the server gives a mean, no histogram
    busy_curve: float = 1.0  # engine activity grows with load to this power; batching token servers are busy early
    wait_ceiling: float = 6.0  # clients give up: the p95 grows to at most this multiple
    restlessness: float = 0.05  # size of the noise in demand
    drift_ratio: float = 0.0  # how much more work a request is by the anchor than at FRAUD_DRIFT_START
    batch_full: float = 0.0  # mean batch at capacity; 0 = the server does not say
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def stream(self) -> int:
        """Its own place in the noise: from the name, so that adding a service moves no other."""
        return int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:5]) * 64

"""Prometheus node_exporter."""

from monitoring.catalog.records import Combine, Entity, Fold, Kind, Series, System

REAL_NETWORK = 'device!~"lo|veth.*|docker.*|cni.*|cali.*|flannel.*|br-.*"'
REAL_DISK = 'device!~"loop.*|ram.*|zram.*|sr.*|dm-.*|md.*"'  # dm and md would count their disks again
REAL_FILESYSTEM = 'fstype!~"tmpfs|overlay|squashfs"'
PSI = "needs a kernel with pressure stall information (psi=1)"

SERIES = (
    Series(
        "cpu_utilization_ratio",
        ("node_cpu_seconds_total",),
        Kind.COUNTER,
        matchers='mode="idle"',
        fold=Fold.MEAN,
        complement=True,
        required=True,
        without="no CPU of the nodes",
        remedy="keep the cpu collector on",
        note="1 less the mean idle share of all CPUs.",
    ),
    Series(
        "cpu_cores",
        ("node_cpu_seconds_total",),
        Kind.GAUGE,
        matchers='mode="idle"',
        fold=Fold.COUNT,
        required=True,
        without="no size of the nodes",
        remedy="keep the cpu collector on",
        note="Number of CPUs that report.",
    ),
    Series("load1", ("node_load1",), Kind.GAUGE, fold=Fold.MAX, without="no load average"),
    Series(
        "memory_used_bytes",
        ("node_memory_MemTotal_bytes",),
        Kind.GAUGE,
        other=("node_memory_MemAvailable_bytes",),
        combine=Combine.MINUS,
        required=True,
        without="no memory of the nodes",
        remedy="keep the meminfo collector on",
    ),
    Series(
        "memory_total_bytes",
        ("node_memory_MemTotal_bytes",),
        Kind.GAUGE,
        required=True,
        without="no memory of the nodes",
        remedy="keep the meminfo collector on",
    ),
    Series(
        "disk_used_bytes",
        ("node_filesystem_size_bytes",),
        Kind.GAUGE,
        matchers=REAL_FILESYSTEM,
        once_by=("device",),
        other=("node_filesystem_avail_bytes",),
        other_matchers=REAL_FILESYSTEM,
        combine=Combine.MINUS,
        without="no disk space",
        note="Size less what is available to users; a device mounted several times counts once.",
    ),
    Series(
        "disk_total_bytes",
        ("node_filesystem_size_bytes",),
        Kind.GAUGE,
        matchers=REAL_FILESYSTEM,
        once_by=("device",),
        without="no disk space",
    ),
    Series("disk_read_bytes_per_second", ("node_disk_read_bytes_total",), Kind.COUNTER, matchers=REAL_DISK, without="no disk rates"),
    Series("disk_written_bytes_per_second", ("node_disk_written_bytes_total",), Kind.COUNTER, matchers=REAL_DISK, without="no disk rates"),
    Series(
        "network_receive_bytes_per_second",
        ("node_network_receive_bytes_total",),
        Kind.COUNTER,
        matchers=REAL_NETWORK,
        without="no network rates",
    ),
    Series(
        "network_transmit_bytes_per_second",
        ("node_network_transmit_bytes_total",),
        Kind.COUNTER,
        matchers=REAL_NETWORK,
        without="no network rates",
    ),
    Series(
        "cpu_pressure_ratio",
        ("node_pressure_cpu_waiting_seconds_total",),
        Kind.COUNTER,
        without="waiting for a CPU is not seen",
        remedy=PSI,
    ),
    Series(
        "memory_pressure_ratio",
        ("node_pressure_memory_waiting_seconds_total",),
        Kind.COUNTER,
        without="waiting for memory is not seen",
        remedy=PSI,
    ),
    Series(
        "io_pressure_ratio", ("node_pressure_io_waiting_seconds_total",), Kind.COUNTER, without="waiting for disks is not seen", remedy=PSI
    ),
    Series(
        "node_name",
        ("node_uname_info",),
        Kind.INFO,
        without="nodes are named by their scrape address",
        remedy="keep the uname collector on",
        note="nodename and release as labels.",
    ),
)

SYSTEM = System(
    slug="node_exporter",
    name="node_exporter",
    kind="infrastructure",
    entity=Entity.NODE,
    detect=("node_cpu_seconds_total",),
    series=SERIES,
    identity=(),
    endpoint=":9100/metrics",
    source="prometheus/node_exporter: collector/cpu_linux.go, meminfo.go, netdev_common.go, filesystem_common.go; recorded from 1.5.0",
    seen_version="1.5.0 recorded, stable names",
    costs="no CPU, memory, disk or network of the nodes",
    traps=(
        "instance is the scrape address: node_uname_info names the host, kube_node_info the internal address.",
        "In a network namespace with only lo the device filter leaves no network series.",
    ),
)

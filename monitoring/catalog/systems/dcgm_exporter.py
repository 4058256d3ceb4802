"""NVIDIA dcgm-exporter: percent, MiB, MHz and millijoule on the wire."""

from monitoring.catalog.records import Combine, Entity, Fold, Kind, Series, System

PERCENT, MIB, MHZ, MILLIJOULE, NANOSECOND = 0.01, 1048576.0, 1e6, 1e-3, 1e-9
COUNTERS = "add it to the counters file of dcgm-exporter (-f)"
PROFILING = "profiling fields need a root host engine or SYS_ADMIN, and no other profiler running"
MIG = ("GPU_I_ID", "GPU_I_PROFILE")  # a board-wide value repeats for each instance


def busy(
    target: str, name: str, *, scale: float = 1.0, required: bool = False, without: str = "", remedy: str = "", note: str = ""
) -> Series:
    """A gauge of one GPU or MIG instance; the pods that share it repeat its value."""
    return Series(target, (name,), Kind.GAUGE, scale=scale, fold=Fold.MAX, required=required, without=without, remedy=remedy, note=note)


def board(
    target: str, name: str, *, scale: float = 1.0, required: bool = False, without: str = "", remedy: str = "", note: str = ""
) -> Series:
    """A gauge of the whole board."""
    return Series(
        target, (name,), Kind.GAUGE, scale=scale, fold=Fold.MAX, dropped=MIG, required=required, without=without, remedy=remedy, note=note
    )


SERIES = (
    busy(
        "gpu_utilization_ratio",
        "DCGM_FI_DEV_GPU_UTIL",
        scale=PERCENT,
        required=True,
        without="no GPU busy share",
        remedy=COUNTERS,
        note="Share of time any kernel ran; absent or 0 on MIG instances.",
    ),
    busy(
        "gr_engine_active_ratio",
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
        without="no activity of MIG instances",
        remedy=PROFILING,
        note="Works on MIG; Volta and later.",
    ),
    busy(
        "sm_active_ratio",
        "DCGM_FI_PROF_SM_ACTIVE",
        required=True,
        without="a GPU kept busy by tiny kernels looks full",
        remedy=COUNTERS,
        note="Not in the default counters; the best single figure of busy-ness.",
    ),
    busy("sm_occupancy_ratio", "DCGM_FI_PROF_SM_OCCUPANCY", without="no SM occupancy", remedy=COUNTERS),
    busy(
        "tensor_active_ratio",
        "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
        without="compute bound and memory bound are not told apart",
        remedy=PROFILING,
    ),
    busy(
        "dram_active_ratio",
        "DCGM_FI_PROF_DRAM_ACTIVE",
        required=True,
        without="memory bandwidth as the limit is not seen",
        remedy=PROFILING,
    ),
    busy(
        "memory_copy_utilization_ratio",
        "DCGM_FI_DEV_MEM_COPY_UTIL",
        scale=PERCENT,
        without="no busy share of the memory controller",
        remedy=COUNTERS,
        note="Share of time memory was read or written, not memory used.",
    ),
    busy("encoder_utilization_ratio", "DCGM_FI_DEV_ENC_UTIL", scale=PERCENT, without="no video encoder", remedy=COUNTERS),
    busy("decoder_utilization_ratio", "DCGM_FI_DEV_DEC_UTIL", scale=PERCENT, without="no video decoder", remedy=COUNTERS),
    busy(
        "gpu_memory_used_bytes",
        "DCGM_FI_DEV_FB_USED",
        scale=MIB,
        required=True,
        without="no GPU memory",
        remedy=COUNTERS,
        note="Allocated, not needed: vLLM and SGLang allocate most of it at the start.",
    ),
    Series("gpu_memory_total_bytes", ("DCGM_FI_DEV_FB_TOTAL",), Kind.GAUGE, scale=MIB, fold=Fold.MAX, note="Not in the default counters."),
    Series(
        "gpu_memory_total_bytes",
        ("DCGM_FI_DEV_FB_USED",),
        Kind.GAUGE,
        scale=MIB,
        fold=Fold.MAX,
        other=("DCGM_FI_DEV_FB_FREE",),
        combine=Combine.PLUS,
        without="no GPU memory size",
        remedy=COUNTERS,
        note="Without the part the driver reserves.",
    ),
    board("power_watts", "DCGM_FI_DEV_POWER_USAGE", required=True, without="no power and no energy cost", remedy=COUNTERS),
    board("power_limit_watts", "DCGM_FI_DEV_POWER_MGMT_LIMIT", without="no power limit", remedy=COUNTERS),
    Series(
        "energy_joules_per_second",
        ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",),
        Kind.COUNTER,
        scale=MILLIJOULE,
        fold=Fold.MAX,
        dropped=MIG,
        without="energy is integrated from power readings",
        remedy=COUNTERS,
        note="Millijoule since the driver was loaded.",
    ),
    board("temperature_celsius", "DCGM_FI_DEV_GPU_TEMP", required=True, without="no temperature", remedy=COUNTERS),
    board("memory_temperature_celsius", "DCGM_FI_DEV_MEMORY_TEMP", without="no memory temperature", remedy=COUNTERS),
    board("sm_clock_hertz", "DCGM_FI_DEV_SM_CLOCK", scale=MHZ, without="no SM clock", remedy=COUNTERS),
    board("memory_clock_hertz", "DCGM_FI_DEV_MEM_CLOCK", scale=MHZ, without="no memory clock", remedy=COUNTERS),
    Series(
        "throttle_power_ratio",
        ("DCGM_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP_NS",),
        Kind.COUNTER,
        scale=NANOSECOND,
        fold=Fold.MAX,
        other=("DCGM_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN_NS",),
        combine=Combine.EITHER,
        dropped=MIG,
        without="throttling by power is not seen",
        remedy=COUNTERS,
        note="DCGM_FI_DEV_POWER_VIOLATION is no substitute: its unit differs between releases.",
    ),
    Series(
        "throttle_thermal_ratio",
        ("DCGM_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN_NS",),
        Kind.COUNTER,
        scale=NANOSECOND,
        fold=Fold.MAX,
        other=("DCGM_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN_NS",),
        combine=Combine.EITHER,
        dropped=MIG,
        without="throttling by heat is not seen",
        remedy=COUNTERS,
    ),
    busy(
        "pcie_receive_bytes_per_second",
        "DCGM_FI_PROF_PCIE_RX_BYTES",
        without="no PCIe rates",
        remedy=PROFILING,
        note="Already bytes per second: no rate is taken.",
    ),
    busy(
        "pcie_transmit_bytes_per_second",
        "DCGM_FI_PROF_PCIE_TX_BYTES",
        without="no PCIe rates",
        remedy=PROFILING,
        note="Already bytes per second: no rate is taken.",
    ),
    busy("nvlink_receive_bytes_per_second", "DCGM_FI_PROF_NVLINK_RX_BYTES", without="no NVLink rates", remedy=COUNTERS),
    busy("nvlink_transmit_bytes_per_second", "DCGM_FI_PROF_NVLINK_TX_BYTES", without="no NVLink rates", remedy=COUNTERS),
    board(
        "ecc_uncorrected_errors",
        "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",
        without="memory faults are not seen",
        remedy=COUNTERS,
        note="Since the driver was loaded; only with ECC on.",
    ),
    board(
        "xid_code",
        "DCGM_FI_DEV_XID_ERRORS",
        without="driver faults are not seen",
        remedy=COUNTERS,
        note="The LAST code; it does not count.",
    ),
)

SYSTEM = System(
    slug="dcgm_exporter",
    name="DCGM exporter",
    kind="infrastructure",
    entity=Entity.ACCELERATOR,
    detect=("DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_PROF_GR_ENGINE_ACTIVE"),
    series=SERIES,
    identity=(
        "UUID",
        "gpu",
        "GPU_I_ID",
        "GPU_I_PROFILE",
        "device",
        "modelName",
        "Hostname",
        "hostname",
        "exported_namespace",
        "exported_pod",
        "exported_container",
    ),
    priority=80,
    blank_above=1e15,
    endpoint=":9400/metrics",
    source="NVIDIA/dcgm-exporter: etc/default-counters.csv, internal/pkg/collector, transformation; dcgm_fields.h",
    seen_version="4.5.3-4.8.2 and main of May 2026",
    costs="no GPU activity, memory or power, and which pod holds which GPU is a guess",
    traps=(
        "With honor_labels: false (common) the workload is in exported_pod and exported_namespace; pod is the exporter itself.",
        "Hostname was renamed to hostname after 4.8.2.",
        "Pods that share a GPU repeat the value of the device.",
        "A blank value may read 9223372036854775794.",
        "On MIG power, energy, clocks and temperature are those of the board.",
        "Pod labels exist only for pods that request the GPU in their limits.",
    ),
)

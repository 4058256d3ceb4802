"""Host readings from /proc and statvfs: counters in, one reading of the `node` columns out.

Source: proc(5), Documentation/accounting/psi.rst of the kernel. A file that is not there leaves its columns out, never zero.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SECTOR_BYTES = 512
REAL_DISK = re.compile(r"^(sd[a-z]+|vd[a-z]+|xvd[a-z]+|nvme\d+n\d+|mmcblk\d+|md\d+)$")
UNREAL_NETWORK = re.compile(r"^(lo|veth.*|docker.*|br-.*|cni.*|flannel.*|cali.*|virbr.*|tun.*|tap.*|dummy.*|ifb.*|bonding_masters)$")
UNREAL_FILE_SYSTEMS = {
    "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "fusectl", "hugetlbfs",
    "mqueue", "nsfs", "overlay", "proc", "pstore", "ramfs", "rpc_pipefs", "securityfs", "squashfs", "sysfs", "tmpfs", "tracefs",
}  # fmt: skip


@dataclass(frozen=True)
class Counters:
    """What only grows, at one monotonic instant."""

    seconds: float
    values: Mapping[str, float]


@dataclass
class Host:
    """Reads the machine below `root`; rates are over the time since the last `read`."""

    root: Path = Path("/")
    before: Counters | None = field(default=None)

    def read(self, *, monotonic: float) -> dict[str, float]:
        """The node's columns in base units. The first call has no rates: there is nothing to compare with."""
        now = Counters(monotonic, {**self.cpu_counters(), **self.disk_counters(), **self.network_counters(), **self.pressure_counters()})
        values = {**self.load(), **self.memory(), **self.file_systems(), **rates(self.before, now)}
        self.before = now
        return values

    def text(self, path: str) -> str:
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def cpu_counters(self) -> dict[str, float]:
        """busy and all: seconds x clock ticks; guest time is inside user time and not added again."""
        for line in self.text("proc/stat").splitlines():
            if line.startswith("cpu "):
                ticks = [float(word) for word in line.split()[1:9]]
                idle = ticks[3] + ticks[4]
                return {"cpu_busy": sum(ticks) - idle, "cpu_all": sum(ticks)}
        return {}

    def load(self) -> dict[str, float]:
        words = self.text("proc/loadavg").split()
        cores = len(re.findall(r"^cpu\d+ ", self.text("proc/stat"), flags=re.MULTILINE))
        return {**({"load1": float(words[0])} if words else {}), **({"cpu_cores": float(cores)} if cores else {})}

    def memory(self) -> dict[str, float]:
        found = {
            name: float(size) * 1024 for name, size in re.findall(r"^(\w+):\s+(\d+) kB", self.text("proc/meminfo"), flags=re.MULTILINE)
        }
        if "MemTotal" not in found or "MemAvailable" not in found:
            return {}
        return {"memory_total_bytes": found["MemTotal"], "memory_used_bytes": found["MemTotal"] - found["MemAvailable"]}

    def disk_counters(self) -> dict[str, float]:
        rows = [line.split() for line in self.text("proc/diskstats").splitlines()]
        real = [row for row in rows if len(row) > 9 and REAL_DISK.match(row[2])]
        if not real:
            return {}
        return {
            "disk_read_bytes": sum(float(row[5]) for row in real) * SECTOR_BYTES,
            "disk_written_bytes": sum(float(row[9]) for row in real) * SECTOR_BYTES,
        }

    def network_counters(self) -> dict[str, float]:
        devices = self.text("proc/1/net/dev") or self.text("proc/net/dev")  # of the host, also from within a container that sees its /proc
        rows = [line.split(":", 1) for line in devices.splitlines() if ":" in line]
        real = [counts.split() for name, counts in rows if not UNREAL_NETWORK.match(name.strip())]
        if not real:
            return {}
        return {
            "network_receive_bytes": sum(float(counts[0]) for counts in real),
            "network_transmit_bytes": sum(float(counts[8]) for counts in real),
        }

    def pressure_counters(self) -> dict[str, float]:
        found = {}
        for resource in ("cpu", "memory", "io"):
            stall = re.search(r"^some .*total=(\d+)", self.text(f"proc/pressure/{resource}"), flags=re.MULTILINE)
            if stall:
                found[f"{resource}_stalled"] = float(stall.group(1)) * 1e-6
        return found

    def file_systems(self) -> dict[str, float]:
        """Used and total bytes over real file systems, each device once."""
        sizes = {}
        for device, place in self.mounts():
            if device in sizes:
                continue
            try:
                found = os.statvfs(place)
            except OSError:
                continue
            sizes[device] = (found.f_frsize * (found.f_blocks - found.f_bfree), found.f_frsize * found.f_blocks)
        if not sizes:
            return {}
        return {
            "disk_used_bytes": float(sum(used for used, _ in sizes.values())),
            "disk_total_bytes": float(sum(all_ for _, all_ in sizes.values())),
        }

    def mounts(self) -> Iterator[tuple[str, Path]]:
        """(device, where this process sees it). Who may not read the first process's list has its own, where `root` is a mount."""
        of_host = self.text("proc/1/mounts")
        for line in (of_host or self.text("proc/self/mounts")).splitlines():
            device, mount, kind = line.split()[:3]
            if kind in UNREAL_FILE_SYSTEMS or not device.startswith("/"):
                continue
            place = Path(mount.replace("\\040", " "))
            if of_host:
                yield device, self.root / place.relative_to("/")
            elif place.is_relative_to(self.root):
                yield device, place


RATES = {
    "disk_read_bytes_per_second": "disk_read_bytes",
    "disk_written_bytes_per_second": "disk_written_bytes",
    "network_receive_bytes_per_second": "network_receive_bytes",
    "network_transmit_bytes_per_second": "network_transmit_bytes",
    "cpu_pressure_ratio": "cpu_stalled",
    "memory_pressure_ratio": "memory_stalled",
    "io_pressure_ratio": "io_stalled",
}


def rates(before: Counters | None, now: Counters) -> dict[str, float]:
    """Counters over time; a counter that went back (a reset) gives no value for this interval."""
    if before is None or now.seconds <= before.seconds:
        return {}
    seconds = now.seconds - before.seconds
    grown = {name: value - before.values[name] for name, value in now.values.items() if name in before.values}
    found = {column: grown[name] / seconds for column, name in RATES.items() if grown.get(name, -1.0) >= 0}
    if grown.get("cpu_all", 0.0) > 0 and grown["cpu_busy"] >= 0:
        found["cpu_utilization_ratio"] = grown["cpu_busy"] / grown["cpu_all"]
    return {column: min(value, 1.0) if column.endswith("_ratio") else value for column, value in found.items()}

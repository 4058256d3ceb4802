"""Host readings from a recorded /proc: known counters in, base units out."""

from pathlib import Path

from monitoring.agent.host import Counters, Host, rates

STAT = "cpu  {user} 0 50 {idle} 50 0 0 0 7 0\ncpu0 1 0 1 1 1 0 0 0 0 0\ncpu1 1 0 1 1 1 0 0 0 0 0\n"
NET = "Inter-| Receive\n face |bytes\n lo: 9 0 0 0 0 0 0 0 9 0\n"
NET += " eth0: {rx} 1 0 0 0 0 0 0 500 1 0 0 0 0 0 0\nveth1: 777 0 0 0 0 0 0 0 777 0\n"
DISKS = " 8 0 sda 10 0 {read} 0 20 0 200 0 0 0 0\n 8 1 sda1 10 0 9999 0 20 0 9999 0 0 0 0\n 7 0 loop0 1 0 5 0 1 0 5 0 0 0 0\n"


def proc_write(root: Path, *, user: int, idle: int, rx: int, read: int) -> None:
    (root / "proc/net").mkdir(parents=True, exist_ok=True)
    (root / "proc/pressure").mkdir(parents=True, exist_ok=True)
    (root / "proc/stat").write_text(STAT.format(user=user, idle=idle))
    (root / "proc/net/dev").write_text(NET.format(rx=rx))
    (root / "proc/diskstats").write_text(DISKS.format(read=read))
    (root / "proc/loadavg").write_text("1.50 1.0 0.9 2/300 4242\n")
    (root / "proc/meminfo").write_text("MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    400 kB\n")
    (root / "proc/pressure/cpu").write_text(f"some avg10=0.00 avg60=0.00 avg300=0.00 total={user * 10_000}\nfull avg10=0 total=1\n")


def test_the_first_reading_has_no_rates(tmp_path: Path) -> None:
    proc_write(tmp_path, user=100, idle=800, rx=1000, read=10)
    values = Host(tmp_path).read(monotonic=10.0)
    assert values == {"load1": 1.5, "cpu_cores": 2.0, "memory_total_bytes": 1024000.0, "memory_used_bytes": 614400.0}


def test_the_second_reading_has_rates_of_real_devices_only(tmp_path: Path) -> None:
    host = Host(tmp_path)
    proc_write(tmp_path, user=100, idle=800, rx=1000, read=10)
    host.read(monotonic=10.0)
    proc_write(tmp_path, user=125, idle=875, rx=3000, read=20)
    values = host.read(monotonic=20.0)
    assert values["cpu_utilization_ratio"] == 0.25
    assert values["network_receive_bytes_per_second"] == 200.0
    assert values["network_transmit_bytes_per_second"] == 0.0
    assert values["disk_read_bytes_per_second"] == 512.0
    assert values["cpu_pressure_ratio"] == 0.025


def test_disks_are_those_of_the_host_as_seen_below_the_root(tmp_path: Path) -> None:
    proc_write(tmp_path, user=1, idle=1, rx=1, read=1)
    (tmp_path / "proc/1/net").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    (tmp_path / "proc/1/mounts").write_text("/dev/sda1 /data ext4 rw 0 0\n/dev/sda1 /again ext4 rw 0 0\ntmpfs /run tmpfs rw 0 0\n")
    (tmp_path / "proc/1/net/dev").write_text(NET.format(rx=5000))
    host = Host(tmp_path)
    host.read(monotonic=1.0)
    (tmp_path / "proc/1/net/dev").write_text(NET.format(rx=6000))
    values = host.read(monotonic=2.0)
    assert values["disk_total_bytes"] > values["disk_used_bytes"] > 0
    assert values["network_receive_bytes_per_second"] == 1000.0  # of the host, not of the container


def test_without_the_hosts_list_only_what_is_mounted_below_the_root_counts(tmp_path: Path) -> None:
    proc_write(tmp_path, user=1, idle=1, rx=1, read=1)
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "proc/self/mounts").write_text(f"/dev/sda1 /etc/hosts ext4 rw 0 0\n/dev/sdb1 {tmp_path} ext4 rw 0 0\n")
    host = Host(tmp_path)
    assert [place for _, place in host.mounts()] == [tmp_path]


def test_a_counter_that_went_back_gives_no_rate(tmp_path: Path) -> None:
    host = Host(tmp_path)
    proc_write(tmp_path, user=100, idle=800, rx=1000, read=10)
    host.read(monotonic=10.0)
    proc_write(tmp_path, user=110, idle=890, rx=5, read=20)
    values = host.read(monotonic=20.0)
    assert "network_receive_bytes_per_second" not in values
    assert values["disk_read_bytes_per_second"] == 512.0


def test_a_machine_without_proc_reads_nothing_and_does_not_fail(tmp_path: Path) -> None:
    assert Host(tmp_path).read(monotonic=1.0) == {}


def test_no_time_between_two_readings_gives_no_rate() -> None:
    now = Counters(5.0, {"disk_read_bytes": 1.0})
    assert rates(now, now) == {}

"""A /proc tree as files, as recorded from Linux."""

from pathlib import Path

BOOT = 1_795_000_000.0


def stat_write(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / "stat").write_text(f"cpu  1 0 1 1 1 0 0 0 0 0\nbtime {BOOT:.0f}\nprocesses 1\n")


def process_write(root: Path, pid: int, *, parent: int, started: float, name: str, command: str, cgroup: str) -> None:
    """`started` in seconds after boot, kept in ticks of 1/100 s as the kernel does."""
    folder = root / str(pid)
    folder.mkdir(exist_ok=True)
    rest = f"S {parent} 1 1 0 -1 4194304 100 0 0 0 7 3 0 0 20 0 1 0 {started * 100:.0f} 1000000 200"
    (folder / "stat").write_text(f"{pid} ({name}) {rest}\n")
    (folder / "comm").write_text(f"{name}\n")
    (folder / "cmdline").write_text(command.replace(" ", "\0") + "\0")
    (folder / "cgroup").write_text(cgroup)

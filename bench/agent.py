"""`make bench-agent`: what the agent costs its host, as a real process on the fake NVML with 8 GPUs, two MIG instances and processes.

    python -m bench.agent [--seconds 90] [--write]

Exit 0 when the musts hold, 1 when one does not, 2 when no C compiler is there. Three runs:
  plain       reads each 15 s, sends each 60 s, as installed: share of one core over the run, its start left out
  fast        reads each second, so that one run has many readings; CPU of one reading / 15 s, with a server that is away for a third of it
  a day       starts on a spool of 24 h at 5 s and replays it: memory at its highest
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.timing import progress
from monitoring.agent.batch import pack
from monitoring.agent.gpus import Reading
from monitoring.agent.spool import Bounds, Spool
from tests.fakes.ingest_server import KEY, FakeIngest, Fault
from tests.fakes.nvml import library_build
from tests.fakes.proc import process_write
from tests.servers.loopback import Handler, serving
from tests.servers.processes import wait_until

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "docs" / "measured" / "bench-agent.md"
CPU_MOST, RSS_MOST_MB, START_MOST_SECONDS = 0.01, 60.0, 1.0
DAY_RECORDS, DAY_STEP = 17_280, 5.0
INTERVAL = 15.0


@dataclass(frozen=True)
class Run:
    """What one run of the process took."""

    readings: int
    seconds: float
    cpu_seconds: float  # without the start
    start_cpu_seconds: float
    peak_mb: float
    rss_mb: float


@dataclass
class Watched:
    """A running agent, measured from outside."""

    process: subprocess.Popen[bytes]

    def cpu_seconds(self) -> float:
        """All threads, in nanoseconds of the scheduler: clock ticks are too coarse for this."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) * 1e-9

    def megabytes(self, name: str) -> float:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


@contextmanager
def agent(folder: Path, url: str, **settings: str) -> Iterator[Watched]:
    environment = {
        "PATH": os.environ["PATH"],
        "LD_LIBRARY_PATH": str(folder),
        "HEADROOM_URL": url,
        "HEADROOM_KEY": KEY,
        "HEADROOM_NODE": "bench",
        "HEADROOM_AGENT_ROOT": str(folder / "root"),
        "HEADROOM_AGENT_SPOOL": str(folder / "spool"),
        "HEADROOM_AGENT_JITTER_SECONDS": "0",
        "HEADROOM_AGENT_LOG_LEVEL": "ERROR",
        **settings,
    }
    process = subprocess.Popen([sys.executable, "-m", "monitoring.agent"], env=environment, cwd=ROOT)
    try:
        yield Watched(process)
    finally:
        process.kill()
        process.wait()


def host_make(folder: Path) -> None:
    """This machine's own /proc beside processes that stand on the fake's GPUs."""
    proc = folder / "root" / "proc"
    proc.mkdir(parents=True)
    for name in ("stat", "loadavg", "meminfo", "diskstats", "net", "pressure", "1", "self"):
        (proc / name).symlink_to(f"/proc/{name}")
    for pid in (1000, 1001, 2000, 2001, 2002, 3000, 4001):
        container = f"{pid:064x}"
        process_write(
            proc, pid - 500, parent=1, started=9.0, name="sh", command="sh", cgroup=f"0::/system.slice/docker-{container}.scope\n"
        )
        process_write(
            proc,
            pid,
            parent=pid - 500,
            started=10.0,
            name="vllm",
            command="python3 w.py",
            cgroup=f"0::/system.slice/docker-{container}.scope\n",
        )


def measured(ingest: FakeIngest, watched: Watched, *, seconds: float) -> Run:
    wait_until(lambda: bool(ingest.times), seconds=60, what="the first reading")
    start, began = watched.cpu_seconds(), time.monotonic()
    have = len(ingest.times)
    time.sleep(seconds)
    took, cpu = time.monotonic() - began, watched.cpu_seconds() - start
    return Run(len(ingest.times) - have, took, cpu, start, watched.megabytes("VmHWM"), watched.megabytes("VmRSS"))


def plain(folder: Path, seconds: float) -> Run:
    ingest = FakeIngest(clock=time.time)
    with serving(ingest.respond) as server, agent(folder, server.url) as watched:
        return measured(ingest, watched, seconds=seconds)


def fast(folder: Path, seconds: float) -> Run:
    """A third of the time nobody answers, so spooling and replay are in the figure."""
    ingest, began = FakeIngest(clock=time.time), time.monotonic()
    ingest.fault = lambda number: Fault(503) if seconds / 3 < time.monotonic() - began < seconds * 2 / 3 else None
    quick = {"HEADROOM_AGENT_INTERVAL_SECONDS": "1", "HEADROOM_AGENT_SEND_SECONDS": "4"}
    with serving(ingest.respond) as server, agent(folder, server.url, **quick) as watched:
        return measured(ingest, watched, seconds=seconds)


def day(folder: Path) -> tuple[Run, float]:
    """(the run, seconds until a day of backlog was there)."""
    now = time.time() // DAY_STEP * DAY_STEP
    values = {f"column_{number}_bytes": 1e6 / (number + 1) for number in range(100)}
    payload = pack("bench", values, [Reading("GPU-0", "", "H100", 0, "", values, {})])
    spool = Spool(folder / "spool", Bounds(disk_ratio=1.0, sync_seconds=1e9))
    for number in range(DAY_RECORDS - 100):
        spool.append(payload, time=now - DAY_STEP * (DAY_RECORDS - 100 - number))
    spool.close(now=now)
    ingest = FakeIngest(clock=time.time)
    with serving(counting(ingest)) as server, agent(folder, server.url) as watched:
        began = time.monotonic()
        wait_until(lambda: bool(ingest.bodies) and not [*(folder / "spool").glob("*.spool")], seconds=300, what="a day of backlog")
        took = time.monotonic() - began
        run = Run(DAY_RECORDS, took, watched.cpu_seconds(), 0.0, watched.megabytes("VmHWM"), watched.megabytes("VmRSS"))
    return run, took


def counting(ingest: FakeIngest) -> Callable[[Handler], None]:
    """Says yes to everything: the store of the fake would be the slower of the two."""

    def respond(handler: Handler) -> None:
        ingest.bodies.append({})
        handler.reply(200, b'{"accepted": 1}')

    return respond


def start_seconds() -> float:
    """Process start to the end of --version: all modules loaded. The best of five."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "monitoring.agent", "--version"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return min(times)


def table(seconds: float) -> tuple[list[str], bool]:
    runs: dict[str, Run] = {}
    replayed = 0.0
    for name in ("plain", "fast", "day"):
        progress(f"{name} run")
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            library_build(folder)
            host_make(folder)
            if name == "day":
                runs[name], replayed = day(folder)
            else:
                runs[name] = (plain if name == "plain" else fast)(folder, seconds * (2 if name == "plain" else 1))
    started = start_seconds()
    share = runs["plain"].cpu_seconds / runs["plain"].seconds
    reading = runs["fast"].cpu_seconds / max(1, runs["fast"].readings)
    peak = max(run.peak_mb for run in runs.values())
    rows = [
        ("CPU, plain run", f"{share:.2%} of a core", f"<= {CPU_MOST:.0%}", share <= CPU_MOST),
        (
            "CPU of one reading, fast run",
            f"{reading * 1000:.1f} ms = {reading / INTERVAL:.2%} of a core at 15 s",
            f"<= {CPU_MOST:.0%}",
            reading / INTERVAL <= CPU_MOST,
        ),
        ("RSS, plain run", f"{runs['plain'].rss_mb:.1f} MB", f"<= {RSS_MOST_MB:g} MB", runs["plain"].rss_mb <= RSS_MOST_MB),
        ("RSS at its highest, all runs", f"{peak:.1f} MB", f"<= {RSS_MOST_MB:g} MB", peak <= RSS_MOST_MB),
        ("start to all loaded", f"{started:.2f} s", f"<= {START_MOST_SECONDS:g} s", started <= START_MOST_SECONDS),
        ("a day of 200 values at 5 s replayed", f"{replayed:.0f} s, {runs['day'].cpu_seconds:.1f} s of CPU", "", True),
    ]
    lines = ["| what | measured | must | |", "|---|---|---|---|"]
    lines += [
        f"| {what} | {found} | {must} | {'' if not must else 'holds' if held else 'DOES NOT HOLD'} |" for what, found, must, held in rows
    ]
    counted = ", ".join(f"{name}: {run.readings} readings in {run.seconds:.0f} s" for name, run in runs.items())
    return [*lines, "", counted], all(held for *_, held in rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.agent")
    parser.add_argument("--seconds", type=float, default=90.0, help="length of the fast run; the plain one takes twice as long")
    parser.add_argument("--write", action="store_true", help=f"keep the table in {REPORT.relative_to(ROOT)}")
    options = parser.parse_args()
    if not shutil.which("cc"):
        print("bench-agent needs a C compiler (cc) for the fake NVML; install gcc.", file=sys.stderr)
        return 2
    lines, held = table(options.seconds)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    where = f"Python {platform.python_version()}, {os.cpu_count()} cores; a fake NVML of 8 GPUs, so the time of a real driver is not in it"
    head = f"`make bench-agent` on {datetime.now(UTC):%Y-%m-%d}, commit {commit}, {where}."
    text = "\n".join(["# Cost of the agent", "", head, "", *lines, ""])
    print(text)
    if options.write:
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text(text)
    print("All musts hold." if held else "A MUST DOES NOT HOLD.")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())

"""The yardstick of capacity: scripts and traces kept outside the project, run in an environment of their own with the product's engine."""

import csv
import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements" / "bench.txt"
ADAPTER = ROOT / "bench" / "adapters" / "capacity.py"
PRODUCT = "headroom"
WHERE = {
    "HEADROOM_BENCH_DATA": "the folder of traces (index.json, series/, requests/)",
    "HEADROOM_BENCH": "the folder of the yardstick (bench_forecast.py, capbench/)",
}


class Missing(Exception):
    """What is not there, and what to do, in a sentence."""


@dataclass(frozen=True)
class Yardstick:
    """Where it stands and what runs it."""

    scripts: Path
    traces: Path
    python: Path

    def run(self, script: str, *arguments: str) -> None:
        """One of its benches; its words go to the screen."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "NUMBA_CACHE_DIR": str(self.python.parents[1] / "numba"),
        }
        command = [
            str(self.python),
            str(self.scripts / script),
            "--data",
            str(self.traces),
            "--adapter",
            f"{ADAPTER}:{PRODUCT}",
            *arguments,
        ]
        subprocess.run(command, check=True, env=environment, cwd=self.python.parents[1])


def yardstick_open() -> Yardstick:
    """Raises Missing; makes the environment when the lock has changed."""
    places = {}
    for name, meaning in WHERE.items():
        value = os.environ.get(name, "")
        if not value:
            raise Missing(f"{name} is not set. Set it to {meaning}.")
        if not Path(value).is_dir():
            raise Missing(f"{name} is {value}, and there is no such folder. Set it to {meaning}.")
        places[name] = Path(value).resolve()
    return Yardstick(places["HEADROOM_BENCH"], places["HEADROOM_BENCH_DATA"], environment_make(ROOT / "var" / "bench-venv"))


def environment_make(folder: Path) -> Path:
    """The Python of an environment that holds exactly the lock; not installed again while that is unchanged."""
    python, stamp = folder / "bin" / "python", folder / ".installed"
    digest = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return python
    print(
        f"Installing what the peers need into {folder.relative_to(ROOT)} (once, and after a change of requirements/{LOCK.name})", flush=True
    )
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    subprocess.run([*install, "-r", str(LOCK)], check=True)
    stamp.write_text(digest)
    return python


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))

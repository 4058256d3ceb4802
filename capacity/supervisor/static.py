"""Style sheets and scripts are gathered, named by digest and compressed when they changed, not on every start."""

import hashlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from capacity.supervisor.ending import end_with_parent
from capacity.supervisor.folders import CHECKOUT, Owner
from capacity.supervisor.problems import CannotStart, last_lines


def static_digest(checkout: Path) -> str:
    """Of our files and of the lock, which stands for the packages' files."""
    digest = hashlib.sha256((checkout / "requirements" / "server.txt").read_bytes())
    for path in sorted(checkout.glob("*/static/**/*")):
        digest.update(f"{path.relative_to(checkout)} {path.stat().st_size} {path.stat().st_mtime_ns}\n".encode())
    return digest.hexdigest()


def static_start(data: Path, *, environment: Mapping[str, str], owner: Owner) -> subprocess.Popen[bytes] | None:
    """Begin to gather, beside the migrations; None when nothing changed."""
    stamp = data / "static.digest"
    if stamp.exists() and stamp.read_text() == static_digest(CHECKOUT):
        return None
    # The REST framework's pages are not served: its API speaks JSON only.
    command = [sys.executable, "manage.py", "collectstatic", "--noinput", "--clear", "--verbosity", "0", "--ignore", "rest_framework"]
    return subprocess.Popen(
        command,
        env={**environment, "HEADROOM_PROCESS": "collectstatic"},
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=end_with_parent(),
        **owner.popen,
    )


def static_finish(data: Path, gathering: subprocess.Popen[bytes] | None) -> None:
    if gathering is None:
        return
    digest = static_digest(CHECKOUT)
    output, _ = gathering.communicate()
    if gathering.returncode:
        raise CannotStart(f"Style sheets and scripts could not be gathered:\n{last_lines(output)}")
    (data / "static.digest").write_text(digest)

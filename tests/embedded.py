"""A Postgres of the tests' own: the product's built-in one, in a temporary folder, on a free port."""

import os
import secrets
import shutil
import tempfile
from pathlib import Path

from capacity.supervisor.folders import owner_here
from capacity.supervisor.postgres import Postgres, binaries_find, port_free


def postgres_start() -> Postgres:
    folder = Path(tempfile.mkdtemp(prefix="headroom-test-"))
    os.chmod(folder, 0o711)
    owner = owner_here()
    (folder / "postgres.log").touch()
    server = Postgres(
        binaries=binaries_find(owner=owner),
        data=folder / "postgres",
        owner=owner,
        port=port_free(),
        password=secrets.token_hex(16),
        log=folder / "postgres.log",
    )
    server.prepare()
    server.start()
    return server


def postgres_end(server: Postgres) -> None:
    server.stop()
    shutil.rmtree(server.data.parent, ignore_errors=True)

"""A scratch database for a bench: in the server of DATABASE_URL, or in a built-in Postgres of its own."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import django
import psycopg
from django.core.management import call_command
from django.db import connections

from tests.embedded import postgres_end, postgres_start

ENVIRONMENT = {
    "DJANGO_SETTINGS_MODULE": "capacity.config.settings",
    "HEADROOM_SECRET_KEY": "only-for-benches-only-for-benches-only-for-benches",
    "HEADROOM_ENCRYPTION_KEY": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    "HEADROOM_DEBUG": "0",  # templates and static files as in production
    "HEADROOM_LOG_LEVEL": "ERROR",
}


@contextmanager
def scratch_database() -> Iterator[str]:
    """Django set up on an empty, migrated database, dropped in the end. Yields the server's version."""
    os.environ.update(ENVIRONMENT)
    static = os.environ["HEADROOM_STATIC_ROOT"] = tempfile.mkdtemp(prefix="headroom-bench-static-")
    server = None if os.environ.get("DATABASE_URL") else postgres_start()
    url = server.url if server else os.environ["DATABASE_URL"]
    name = f"headroom_bench_{secrets.token_hex(4)}"
    root = url.rsplit("/", 1)[0]
    with psycopg.connect(f"{root}/postgres", autocommit=True) as control:
        control.execute(f"CREATE DATABASE {name}")
        os.environ["DATABASE_URL"] = f"{root}/{name}"
        try:
            django.setup()
            call_command("migrate", verbosity=0)
            call_command("collectstatic", interactive=False, verbosity=0)
            version = control.execute("SHOW server_version").fetchone()
            yield str(version[0]) if version else ""
        finally:
            connections.close_all()
            shutil.rmtree(static, ignore_errors=True)
            control.execute(f"DROP DATABASE {name} WITH (FORCE)")
    if server:
        postgres_end(server)

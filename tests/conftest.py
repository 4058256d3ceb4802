"""Tests run against a real Postgres and may talk to this machine only.

DATABASE_URL unset: the built-in Postgres is started for the run. Everything else a test needs is set here, before
Django reads its settings (so DJANGO_SETTINGS_MODULE stands here and not in pyproject.toml).
"""

import gc
import ipaddress
import os
import socket
import tempfile
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from psycopg.sql import SQL, Identifier

from capacity.supervisor.postgres import Postgres
from tests.embedded import postgres_end, postgres_start

DEFAULTS = {
    "DJANGO_SETTINGS_MODULE": "capacity.config.settings",
    "HEADROOM_SECRET_KEY": "only-for-tests-only-for-tests-only-for-tests-only",
    "HEADROOM_ENCRYPTION_KEY": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    "HEADROOM_DEBUG": "1",  # static files as they lie in the source
    "HEADROOM_LOG_LEVEL": "WARNING",
}
# What takes minutes, longest first: begun last, one of them would run alone at the end.
LONGEST = (
    "servers/test_real_input.py",
    "chaos/test_kills.py",
    "browser/test_pages.py",
    "test_isolation.py",
    "capacity/test_supervisor_runs.py",
    "browser/test_first_day.py",
    "servers/test_real_servers.py",
    "test_compose.py",
    "capacity/test_analysis_plans_kept.py",
    "browser/test_plans.py",
    "browser/test_demo.py",
    "capacity/test_analysis_plans_demo.py",
    "capacity/test_analysis_forecasts.py",
    "capacity/test_dashboards_plans_change.py",
    "chaos/test_ingest_hostile.py",
    "browser/test_alerts.py",
)
started: list[Postgres] = []
connect_anywhere = socket.socket.connect


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault("HEADROOM_STATIC_ROOT", tempfile.mkdtemp(prefix="headroom-static-"))
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    if not os.environ.get("DATABASE_URL"):
        server = postgres_start()
        started.append(server)
        disk_not_awaited(server)
        os.environ["DATABASE_URL"] = server.url  # workers of xdist inherit it; each has a database of its own
    assert settings.DATABASES  # from here on Django is configured
    socket.socket.connect = connect_here_only  # type: ignore[method-assign]


def disk_not_awaited(server: Postgres) -> None:
    """The database of the run is thrown away after it: its 40 GB need not be safe on disk. Tests that kill a Postgres have their own."""
    with psycopg.connect(server.url.replace("/headroom", "/postgres"), autocommit=True) as connection:
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            connection.execute(SQL("ALTER SYSTEM SET {} = off").format(Identifier(name)))
        connection.execute("SELECT pg_reload_conf()")


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Fixtures that use models, brought in once Django is configured; tests/browser/conftest.py may be read before or after that."""
    session.config.pluginmanager.import_plugin("tests.browser.stage")
    session.config.pluginmanager.import_plugin("tests.cleaning")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files in order of their length; within a file the order stays."""
    here = Path(__file__).parent
    rank = {here / name: place for place, name in enumerate(LONGEST)}
    assert all(path.exists() for path in rank), f"LONGEST names a file that is not there: {LONGEST}"
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


def pytest_collection_finish() -> None:
    """What is imported by now stays: the collector looks at it no more, which is a tenth of the time of all tests."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    socket.socket.connect = connect_anywhere  # type: ignore[method-assign]
    for server in started:
        postgres_end(server)


def connect_here_only(self: socket.socket, address: Any) -> None:
    """A test that would reach out fails, with the address in its message."""
    if self.family in (socket.AF_INET, socket.AF_INET6) and not is_here(str(address[0])):
        raise AssertionError(f"a test tried to connect to {address}: tests talk to this machine only")
    connect_anywhere(self, address)


def is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

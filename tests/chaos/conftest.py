"""`make test` kills each process once; `make chaos` (`pytest tests/chaos --full`) does it 20 times, 100 kills in all.

The tests of alerts leave a row each in a table, which `make chaos-alerts` writes to docs/measured.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from django.db import connection

from bench.report import MEASURED, made_of

TITLE = "Kills and outages of alerts"
HEAD = ("| what | measured | must | |", "|---|---|---|---|")


@dataclass
class Table:
    """What the tests of alerts found."""

    seed: int
    version: str = ""
    rows: list[str] = field(default_factory=list)

    def add(self, what: str, measured: str, must: str, *, held: bool) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SHOW server_version")
            self.version = str(cursor.fetchone()[0])
        self.rows.append(f"| {what} | {measured} | {must} | {'holds' if held else 'DOES NOT HOLD'} |")

    def text(self) -> str:
        made = made_of("chaos-alerts", seed=self.seed, version=self.version)
        return "\n".join([f"# {TITLE}", "", made, "", *HEAD, *self.rows, ""])


TABLE = pytest.StashKey[Table]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="the full counts of kills (make chaos)")
    parser.addoption("--seed", type=int, default=None, help="of the tests of alerts; fresh where none is given")
    parser.addoption("--write", action="store_true", help="write what the tests of alerts found to docs/measured/chaos-alerts.md")


def is_full(config: pytest.Config) -> bool:
    return bool(config.getoption("--full", default=False))


@pytest.fixture(scope="session")
def rounds(pytestconfig: pytest.Config) -> int:
    return 20 if is_full(pytestconfig) else 1


@pytest.fixture(scope="session")
def full(pytestconfig: pytest.Config) -> bool:
    return is_full(pytestconfig)


@pytest.fixture(scope="session")
def table(pytestconfig: pytest.Config) -> Table:
    seed = pytestconfig.getoption("--seed", default=None)
    made = Table(random.randrange(2**31) if seed is None else seed)
    pytestconfig.stash[TABLE] = made
    return made


@pytest.fixture
def rng(table: Table, request: pytest.FixtureRequest) -> random.Random:
    """Its own for each test, so that one alone does as it did among the others."""
    print(f"seed={table.seed}")
    return random.Random(f"{table.seed} {request.node.name}")


@pytest.fixture
def quick_commits(transactional_db: None) -> Iterator[None]:
    """Postgres is not killed in the tests of alerts, so a COMMIT need not wait for the disk: thousands of them would."""
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {name} SET synchronous_commit TO off")
    connection.close()  # who connects from here on has it
    yield
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {name} RESET synchronous_commit")
    connection.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash.get(TABLE, None)
    if found is None or not found.rows or not is_full(config):
        return
    terminalreporter.write_line(found.text())
    if config.getoption("--write"):
        Path(MEASURED / "chaos-alerts.md").write_text(found.text())

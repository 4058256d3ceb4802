"""`make test` kills each process once; `make chaos` (`pytest tests/chaos --full`) does it 20 times, 100 kills in all."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="the full counts of kills (make chaos)")


@pytest.fixture(scope="session")
def rounds(pytestconfig: pytest.Config) -> int:
    return 20 if pytestconfig.getoption("--full", default=False) else 1

"""`pytest tests/servers --all-servers` runs the heavy servers too; `make test` does not collect them."""

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-servers", action="store_true", help="also Ray Serve, MLServer, TorchServe and MLflow (make test-servers)")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    is_heavy = collection_path.name == "test_more_servers.py"
    return True if is_heavy and not config.getoption("--all-servers", default=False) else None

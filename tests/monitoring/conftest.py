"""What several tests of the agent stand on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.nvml import FakeNvml, library_build, library_leave, library_use


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return library_build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def nvml(nvml_library: Path, tmp_path: Path) -> Iterator[FakeNvml]:
    library_use(nvml_library)
    made = FakeNvml(tmp_path)
    yield made
    made.end()
    library_leave()

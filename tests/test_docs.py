"""Pages that cannot lie: what they list is compared with the code."""

import re
from pathlib import Path

import pytest

from monitoring.agent.config import SETTINGS as AGENT_SETTINGS
from monitoring.agent.config import Setting
from monitoring.api.metrics import GAUGES
from monitoring.catalog.columns import COLUMNS
from monitoring.catalog.records import Column, Entity
from monitoring.models import KNOWN

ROOT = Path(__file__).resolve().parent.parent
DOCS = {path: path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]}
SETTINGS, OPERATIONS = (ROOT / "docs" / "settings.md").read_text(), (ROOT / "docs" / "operations.md").read_text()
VARIABLE = re.compile(r"\b(?:HEADROOM_[A-Z_]*[A-Z]|DATABASE_URL|CELERY_BROKER_URL)\b")
PRODUCT, WORKSHOP = ("capacity", "monitoring", "deploy"), ("tests", "bench")
FIRST_COLUMN = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def variables_of(*folders: str) -> set[str]:
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    found = {name for path in paths for name in VARIABLE.findall(path.read_text())}
    return {name.removesuffix("_FILE") for name in found}


def commands() -> list[str]:
    paths = [path for wing in ("capacity", "monitoring") for path in (ROOT / wing / "management" / "commands").glob("*.py")]
    return sorted(path.stem for path in paths if path.stem != "__init__")


class TestSettings:
    listed = set(FIRST_COLUMN.findall(SETTINGS))

    def test_every_variable_of_the_product_is_on_the_page(self) -> None:
        assert variables_of(*PRODUCT) - self.listed == set()

    def test_no_variable_is_on_the_page_that_nothing_reads(self) -> None:
        beside = {"PORT", "YES", "PYTHON"}  # read by make and the supervisor under a common name
        assert {name for name in self.listed if name.isupper()} - beside - variables_of(*PRODUCT, *WORKSHOP) == set()

    @pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN)
    def test_every_setting_of_the_database_is_on_the_page_with_its_default(self, known: object) -> None:
        setting = KNOWN[known.name]  # type: ignore[attr-defined]
        limits = f"{setting.minimum:g} to {setting.maximum:g}"
        assert f"| `{setting.name}` | {setting.default:g} {setting.unit} | {limits} | {setting.meaning} |" in SETTINGS

    def test_no_setting_of_the_database_is_on_the_page_that_is_not_known(self) -> None:
        assert {name for name in self.listed if name.islower()} == set(KNOWN)


class TestOperations:
    @pytest.mark.parametrize("name", commands())
    def test_every_management_command_is_described(self, name: str) -> None:
        assert f"| `manage.py {name}` |" in OPERATIONS

    def test_no_command_is_described_that_does_not_exist(self) -> None:
        assert set(re.findall(r"^\| `manage\.py (\w+)` \|", OPERATIONS, re.MULTILINE)) == set(commands())

    def test_every_metric_is_described_and_no_other(self) -> None:
        assert set(re.findall(r"^\| `(headroom_\w+)` \|", OPERATIONS, re.MULTILINE)) == {gauge.name for gauge in GAUGES}

    def test_every_make_target_stands_in_the_readme_or_the_docs(self) -> None:
        targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
        text = "\n".join(DOCS.values())
        assert [target for target in targets if f"`make {target}" not in text and f"make {target} " not in text and target != "help"] == []


class TestAgent:
    page = (ROOT / "docs" / "agent.md").read_text()

    @pytest.mark.parametrize("setting", AGENT_SETTINGS, ids=lambda setting: setting.name)
    def test_every_setting_is_on_the_page_with_default_and_limits(self, setting: Setting) -> None:
        default = f"{setting.default:g}" if isinstance(setting.default, float) else setting.default
        limits = f"{setting.bounds[0]:g} to {setting.bounds[1]:g}" if setting.bounds else ""
        assert (
            f"| `{setting.variable}` | `{setting.name}` | {f'`{default}`' if default else ''} | {limits} | {setting.meaning} |" in self.page
        )

    def test_no_setting_is_on_the_page_that_is_not_read(self) -> None:
        assert set(VARIABLE.findall(self.page)) - {"HEADROOM_KEY_FILE"} == {setting.variable for setting in AGENT_SETTINGS}

    @pytest.mark.parametrize("column", [*COLUMNS[Entity.ACCELERATOR], *COLUMNS[Entity.NODE]], ids=lambda column: column.name)
    def test_every_signal_is_on_the_page(self, column: Column) -> None:
        assert f"`{column.name}`" in self.page

    def test_no_command_line_option_is_missing(self) -> None:
        options = set(re.findall(r'"(--[a-z-]+)"', (ROOT / "monitoring" / "agent" / "__main__.py").read_text()))
        assert options == set(re.findall(r"^\| `headroom-agent (--[a-z-]+)", self.page, re.MULTILINE))


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_something_that_exists(page: Path) -> None:
    missing = [link for link in LINK.findall(DOCS[page]) if not (page.parent / link).exists()]
    assert missing == []


def test_every_make_target_named_on_a_page_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for text in DOCS.values() for name in re.findall(r"`make ([a-z-]+)", text)}
    assert named <= targets

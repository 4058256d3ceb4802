"""The commands of the install page, the files in deploy/agent/ and docs/agent.md say the same, word for word."""

import tomllib
from pathlib import Path

import pytest
import yaml

from capacity.dashboards.agents_texts import DAEMONSET, KEY_PLACEHOLDER, UNIT, WAYS, filled, way_of

ROOT = Path(__file__).resolve().parents[2]
DEPLOY, PAGE = ROOT / "deploy" / "agent", ROOT / "docs" / "agent.md"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
WORDS = {"url": "https://headroom.example", "key": KEY_PLACEHOLDER, "version": VERSION}


def uncommented(text: str) -> str:
    return "\n".join(line for line in text.strip().splitlines() if not line.startswith("#"))


def test_the_unit_is_the_one_in_deploy() -> None:
    assert filled(UNIT, WORDS) == uncommented((DEPLOY / "headroom-agent.service").read_text())


def test_the_daemonset_is_the_one_in_deploy() -> None:
    assert filled(DAEMONSET, WORDS) == uncommented((DEPLOY / "daemonset.yaml").read_text())


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.slug)
def test_every_command_stands_in_the_docs(way: object) -> None:
    page = PAGE.read_text()
    missing = [step.label for step in way_of(way, WORDS).steps if step.text not in page]  # type: ignore[arg-type]
    assert missing == []


def test_what_a_page_shows_is_yaml_with_the_address_of_this_install() -> None:
    made = yaml.safe_load(filled(DAEMONSET, {**WORDS, "url": "https://other.example:8443"}))
    [container] = made["spec"]["template"]["spec"]["containers"]
    assert {"name": "HEADROOM_URL", "value": "https://other.example:8443"} in container["env"]
    assert container["image"] == f"headroom-agent:{VERSION}"


def test_nothing_is_left_to_fill_in() -> None:
    for way in WAYS:
        for step in way_of(way, WORDS).steps:
            assert not [name for name in WORDS if f"{{{name}}}" in step.text], step.label

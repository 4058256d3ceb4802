"""Reading docker-compose.yml and the Dockerfile as Docker would: variables, merges, the image's files and environment."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def interpolate(text: str, *, given: Mapping[str, str]) -> str:
    """`${NAME}`, `${NAME:-default}`, `${NAME:?error}` as Compose reads them."""

    def value(found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        if given.get(name):
            return given[name]
        if kind == "?":
            raise KeyError(f"{name}: {rest}")
        return rest or ""

    return VARIABLE.sub(value, text)


def compose_read(given: Mapping[str, str]) -> dict[str, Any]:
    """The file with its anchors merged and its variables filled in."""

    def filled(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: filled(value) for key, value in node.items()}
        if isinstance(node, list):
            return [filled(value) for value in node]
        return interpolate(node, given=given) if isinstance(node, str) else node

    read: dict[str, Any] = filled(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))
    return read


def dockerfile_steps(word: str) -> list[str]:
    """The arguments of every instruction of this kind in the last stage."""
    stage = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").split("\nFROM ")[-1]
    return [" ".join(line.split()[1:]) for line in stage.splitlines() if line.startswith(f"{word} ")]


def image_environment() -> dict[str, str]:
    pairs = [pair.split("=", 1) for step in dockerfile_steps("ENV") for pair in shlex.split(step)]
    return {name: value for name, value in pairs if name != "PATH"}


def image_files() -> list[str]:
    """What the image copies from the checkout."""
    return [step.split()[0] for step in dockerfile_steps("COPY") if not step.startswith("--from")]

"""How a bench ends: its text printed, written where that is wished, and its exit status."""

import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

MEASURED = Path(__file__).resolve().parents[1] / "docs" / "measured"


def report_end(name: str, title: str, lines: Sequence[str], *, seed: int, version: str, held: bool, write: bool) -> int:
    """name: of the make target. 0 when the musts hold, 1 when one does not."""
    text = "\n".join([f"# {title}", "", made_of(name, seed=seed, version=version), "", *lines, ""]).rstrip("\n") + "\n"
    print(text)
    if write:
        MEASURED.mkdir(exist_ok=True)
        (MEASURED / f"{name}.md").write_text(text)
    print("All musts hold." if held else "A MUST DOES NOT HOLD.")
    return 0 if held else 1


def made_of(name: str, *, seed: int, version: str) -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    day = f"{datetime.now(UTC):%Y-%m-%d}, commit {commit or 'unknown'}, seed {seed}"
    return f"{day}; Postgres {version}, {peer_version()}. Made by `make {name}`."


def peer_version() -> str:
    try:
        peer = subprocess.run(["prometheus", "--version"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "no Prometheus"
    return (peer.stdout or peer.stderr).split("(")[0].strip()

"""`make bench-ingest`: the ingest door beside Prometheus remote write and a DRF door, through real HTTP; and the steady state.

    python -m bench.ingest [--seed 1] [--runs 3] [--steady MINUTES] [--write]

Exit 0 when the musts hold, 1 when one does not, 2 when something that is needed is missing.
"""

import argparse
import subprocess
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from bench.peer import peer_missing
from bench.scratch import scratch_database

REPORT = Path(__file__).resolve().parents[1] / "docs" / "measured" / "bench-ingest.md"


def main() -> int:
    options = options_read()
    missing = peer_missing()
    if missing:
        print(missing, file=sys.stderr)
        return 2
    lines: list[str] = []
    held, version = True, ""
    if options.only != "steady":
        with scratch_database() as version:
            part, fine = import_module("bench.ingest_doors").table(options.seed, runs=options.runs)
        lines, held = lines + part, held and fine
    if options.steady:
        part, fine = import_module("bench.ingest_steady").table(options.seed, minutes=options.steady)
        lines, held = [*lines, "", *part], held and fine
    text = report_text(lines, seed=options.seed, version=version)
    print(text)
    if options.write:
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text(text)
    print("All musts hold." if held else "A MUST DOES NOT HOLD.")
    return 0 if held else 1


def options_read() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The ingest door beside its peers")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3, help="the doors take turns so many times")
    parser.add_argument("--steady", type=float, default=0.0, metavar="MINUTES", help="also 1,250 agents for so long after warm-up")
    parser.add_argument("--only", choices=("doors", "steady"))
    parser.add_argument("--write", action="store_true", help=f"also write {REPORT.name} in docs/measured/")
    return parser.parse_args()


def report_text(lines: list[str], *, seed: int, version: str) -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    peer = subprocess.run(["prometheus", "--version"], capture_output=True, text=True, check=False)
    named = (peer.stdout or peer.stderr).split("(")[0].strip()
    top = f"{datetime.now(UTC):%Y-%m-%d}, commit {commit or 'unknown'}, seed {seed}; Postgres {version or '18'}, {named}."
    top += " Made by `make bench-ingest`."
    return "\n".join(["# Ingest: the door beside its peers", "", top, "", *lines, ""])


if __name__ == "__main__":
    sys.exit(main())

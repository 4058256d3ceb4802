"""`make bench-read`: charts and percentiles beside Debian's Prometheus, and the pages at 1,000 deployments.

    python -m bench.read [--seed 1] [--write] [--only charts|pages]

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

# By name, as they can be imported only when Django stands on the scratch database. Each has `table(seed) -> (lines, held)`.
PARTS = {"charts": "bench.charts", "pages": "bench.pages"}
REPORT = Path(__file__).resolve().parents[1] / "docs" / "measured" / "bench-read.md"


def main() -> int:
    options = options_read()
    missing = peer_missing() if options.only != "pages" else None
    if missing:
        print(missing, file=sys.stderr)
        return 2
    with scratch_database() as version:
        tables = [import_module(module).table(options.seed) for part, module in PARTS.items() if options.only in (None, part)]
    lines, held = [line for part, _ in tables for line in part], all(fine for _, fine in tables)
    text = report_text(lines, seed=options.seed, version=version)
    print(text)
    if options.write:
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text(text)
    print("All musts hold." if held else "A MUST DOES NOT HOLD.")
    return 0 if held else 1


def options_read() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Charts and pages beside Debian's Prometheus")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help=f"also write {REPORT.name} in docs/measured/")
    parser.add_argument("--only", choices=tuple(PARTS))
    return parser.parse_args()


def report_text(lines: list[str], *, seed: int, version: str) -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    peer = subprocess.run(["prometheus", "--version"], capture_output=True, text=True, check=False)
    named = (peer.stdout or peer.stderr).split("(")[0].strip() if peer.returncode == 0 else "no Prometheus"
    top = (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit or 'unknown'}, seed {seed}; Postgres {version}, {named}. Made by `make bench-read`."
    )
    return "\n".join(["# Reading: charts, percentiles, pages", "", top, "", *lines])


if __name__ == "__main__":
    sys.exit(main())

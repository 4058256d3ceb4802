"""`make bench-capacity`: the product's forecasts, plans and sizing on real traces, beside peers of the same run.

    HEADROOM_BENCH=... HEADROOM_BENCH_DATA=... python -m bench.capacity [--fast] [--parts A] [--write]

Exit 0 when the musts hold, 1 when one does not, 2 when the yardstick or its traces are not there. `--fast`: the product and seasonal naive.
"""

import argparse
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from bench.capacity_forecast import forecasts_run
from bench.capacity_plans import plans_run
from bench.capacity_sizing import sizing_run
from bench.report import MEASURED
from bench.yardstick import Missing, yardstick_open

PARTS = {"A": forecasts_run, "B": plans_run, "C": sizing_run}
REPORT = MEASURED / "bench-capacity.md"


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.capacity")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}, comma-separated")
    parser.add_argument("--fast", action="store_true", help="no peers but seasonal naive")
    parser.add_argument("--jobs", type=int, default=1, help="forecasts at the same time")
    parser.add_argument("--write", action="store_true", help=f"keep the tables in docs/measured/{REPORT.name}")
    options = parser.parse_args()
    asked = options.parts.split(",")
    if not set(asked) <= set(PARTS):
        parser.error(f"--parts must be of {', '.join(PARTS)}, got {options.parts}")
    try:
        yardstick = yardstick_open()
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 2
    lines, held = [*head_lines()], True
    with tempfile.TemporaryDirectory() as folder:
        for part in asked:
            found, holds = PARTS[part](yardstick, table=Path(folder) / f"{part}.csv", peers=not options.fast, jobs=options.jobs)
            lines, held = [*lines, *found], held and holds
    text = "\n".join(lines).rstrip("\n") + "\n"
    print(text)
    if options.write:
        REPORT.write_text(text)
    print("All musts hold." if held else "A MUST DOES NOT HOLD.")
    return 0 if held else 1


def head_lines() -> list[str]:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    made = f"`make bench-capacity` on {datetime.now(UTC):%Y-%m-%d}, commit {commit or 'unknown'}. Nothing in it is drawn at random."
    return ["# Forecasts, plans and sizing on real traces", "", made, ""]


if __name__ == "__main__":
    sys.exit(main())

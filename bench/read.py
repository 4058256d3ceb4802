"""`make bench-read`: charts and percentiles beside Debian's Prometheus, and the pages at 1,000 deployments.

    python -m bench.read [--seed 1] [--write] [--only charts|pages]

Exit 0 when the musts hold, 1 when one does not, 2 when something that is needed is missing.
"""

import argparse
import sys
from importlib import import_module

from bench.peer import peer_missing
from bench.report import report_end
from bench.scratch import scratch_database

# By name, as they can be imported only when Django stands on the scratch database. Each has `table(seed) -> (lines, held)`.
PARTS = {"charts": "bench.charts", "pages": "bench.pages"}


def main() -> int:
    options = options_read()
    missing = peer_missing() if options.only != "pages" else None
    if missing:
        print(missing, file=sys.stderr)
        return 2
    with scratch_database() as version:
        tables = [import_module(module).table(options.seed) for part, module in PARTS.items() if options.only in (None, part)]
    lines, held = [line for part, _ in tables for line in part], all(fine for _, fine in tables)
    return report_end(
        "bench-read", "Reading: charts, percentiles, pages", lines, seed=options.seed, version=version, held=held, write=options.write
    )


def options_read() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Charts and pages beside Debian's Prometheus")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="also write bench-read.md in docs/measured/")
    parser.add_argument("--only", choices=tuple(PARTS))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

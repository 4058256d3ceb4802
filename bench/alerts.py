"""`make bench-alerts`: rounds over 1,000 deployments and 20 rules; from a sample pushed to its message; the demo fleet's incidents.

    python -m bench.alerts [--seed 1] [--write] [--only rounds|demo|push]

Exit 0 when the musts hold, 1 when one does not.
"""

import argparse
import sys
from importlib import import_module

from bench.report import report_end
from bench.scratch import scratch_database

# By name, as they can be imported only when Django stands on the scratch database. Each has `table(seed) -> (lines, held)`.
# The demo fleet first: beside the thousand deployments of the rounds it would be among those a preview leaves out.
PARTS = {"demo": "bench.alerts_demo", "rounds": "bench.alerts_rounds", "push": "bench.alerts_push"}


def main() -> int:
    options = options_read()
    with scratch_database() as version:
        tables = [import_module(module).table(options.seed) for part, module in PARTS.items() if options.only in (None, part)]
    lines, held = [line for part, _ in tables for line in part], all(fine for _, fine in tables)
    title = "Alerts: rounds, the demo fleet, from push to message"
    return report_end("bench-alerts", title, lines, seed=options.seed, version=version, held=held, write=options.write)


def options_read() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Rounds of rules, and from a sample to its message")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="also write bench-alerts.md in docs/measured/")
    parser.add_argument("--only", choices=tuple(PARTS))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

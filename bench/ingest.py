"""`make bench-ingest`: the ingest door beside Prometheus remote write and a DRF door, through real HTTP; and the steady state.

    python -m bench.ingest [--seed 1] [--runs 3] [--steady MINUTES] [--write]

Exit 0 when the musts hold, 1 when one does not, 2 when something that is needed is missing.
"""

import argparse
import sys
from importlib import import_module

from bench.peer import peer_missing
from bench.report import report_end
from bench.scratch import scratch_database


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
    return report_end(
        "bench-ingest",
        "Ingest: the door beside its peers",
        lines,
        seed=options.seed,
        version=version or "18",
        held=held,
        write=options.write,
    )


def options_read() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The ingest door beside its peers")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3, help="the doors take turns so many times")
    parser.add_argument("--steady", type=float, default=0.0, metavar="MINUTES", help="also 1,250 agents for so long after warm-up")
    parser.add_argument("--only", choices=("doors", "steady"))
    parser.add_argument("--write", action="store_true", help="also write bench-ingest.md in docs/measured/")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

"""`make bench-night`: what forecasts and plans of 1,000 deployments cost, a night and an hour, on 2 processes.

    python -m bench.night [--deployments 1000] [--processes 2] [--seed 1] [--write]

Each deployment has 28 days of five-minute history with latency histograms, the last two days by the minute too, replicas and a promise.
Each process works as Celery's does: turns claimed by lease.
Exit 0 when the musts hold, 1 when one does not.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib import import_module

from bench.report import report_end
from bench.scratch import ENVIRONMENT, scratch_database

DEPLOYMENTS, PROCESSES = 1000, 2
NIGHT_HOURS, CONDITION_MS = 8.0, 50.0
BY_FAR, PLANS_SHARE = 0.5, 0.25  # of the night, forecasts and plans; the rest is for a slower machine


@dataclass(frozen=True)
class Measured:
    """One round of a job over all its turns."""

    job: str
    turns: int
    runs: int  # rows that it made
    failed: int
    seconds: float  # on the clock
    processes: int
    processor: float  # seconds of the processes themselves, without Postgres
    median: float  # seconds of a turn, without its share of the reading
    p95: float
    each_turn: dict[str, list[float]] = field(default_factory=dict)  # what the workers told of every turn

    @property
    def each(self) -> float:
        """Seconds of one process for each of them, reading and keeping included."""
        return self.seconds * self.processes / max(self.runs, 1)


def main() -> int:
    options = options_read()
    if options.worker:
        return worker_run(options.worker)
    with scratch_database() as version:
        stage = import_module("bench.night_stage")  # imports models, and so only now
        lines, held = stage.night_run(deployments=options.deployments, processes=options.processes, seed=options.seed)
    title = "Forecasts and plans: a night and an hour"
    return report_end("bench-night", title, lines, seed=options.seed, version=version, held=held, write=options.write)


def worker_run(job: str) -> int:
    """One process, as a worker would: until nothing is due. It begins when told to, so that no start-up is measured."""
    import_module("django").setup()
    stage = import_module("bench.night_stage")
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.process_time()
    told = stage.job_run(job)
    print(json.dumps({"all": [time.process_time() - began], **told}), flush=True)
    return 0


def workers_run(job: str, *, processes: int) -> tuple[float, dict[str, list[float]]]:
    """Seconds on the clock until all of them found nothing more to do, and what they told, their seconds of the processor ("all") first.
    One thread each, as they share the cores."""
    environment = {**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "bench.night", "--worker", job]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    workers = [subprocess.Popen(command, env=environment, text=True, **pipes) for _ in range(processes)]
    for worker in workers:
        assert worker.stdout and worker.stdout.readline().strip() == "ready"
    began = time.monotonic()
    for worker in workers:
        assert worker.stdin
        worker.stdin.write("go\n")
        worker.stdin.flush()
    spent = [worker.communicate()[0] for worker in workers]
    seconds = time.monotonic() - began
    if any(worker.returncode for worker in workers):
        raise RuntimeError(f"a worker of {job!r} failed")
    told = [json.loads(text) for text in spent]
    return seconds, {name: [value for each in told for value in each[name]] for name in told[0]}


def options_read() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What forecasts and plans of many deployments cost")
    parser.add_argument("--deployments", type=int, default=DEPLOYMENTS)
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="also write bench-night.md in docs/measured/")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

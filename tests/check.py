"""`make check`: everything that can be said without running the product. Steps run two at a time and say their seconds in order."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.embedded import postgres_end, postgres_start

ROOT = Path(__file__).resolve().parent.parent
PRODUCTION = {
    "HEADROOM_SECRET_KEY": "checked-as-in-production-0123456789-ABCDEFGHIJKLMNOPQRSTUVWXYZ-abcdef",
    "HEADROOM_ENCRYPTION_KEY": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    "HEADROOM_PUBLIC_URL": "https://headroom.example.com",
    "HEADROOM_ALLOWED_HOSTS": "headroom.example.com",
}
PYTHON = sys.executable
STEPS = (
    ("lint", [PYTHON, "-m", "ruff", "check", "."]),
    ("format", [PYTHON, "-m", "ruff", "format", "--check", "."]),
    ("types", [PYTHON, "-m", "mypy"]),
    ("Django, as in production", [PYTHON, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]),
    ("migrations", [PYTHON, "manage.py", "makemigrations", "--check", "--dry-run"]),
    ("house and docs", [PYTHON, "-m", "pytest", "tests/test_architecture.py", "tests/test_docs.py"]),
)


def step_run(command: list[str], environment: Mapping[str, str]) -> tuple[str, float]:
    """What it said if it failed, and its seconds. The tests bring their own settings; all else is held against a production install."""
    began = time.monotonic()
    settings = {} if "pytest" in command else PRODUCTION
    done = subprocess.run(command, cwd=ROOT, env={**environment, **settings}, capture_output=True, text=True, check=False)
    return f"{done.stdout}\n{done.stderr}\n" if done.returncode else "", time.monotonic() - began


def main() -> int:
    server = postgres_start()
    given = {name: value for name, value in os.environ.items() if not name.startswith("HEADROOM_")}
    environment = {**given, "DATABASE_URL": server.url}
    good = True
    try:
        with ThreadPoolExecutor(2) as pool:  # types take longer than all others together
            running = [(name, pool.submit(step_run, command, environment)) for name, command in STEPS]
            for name, step in running:
                said, seconds = step.result()
                good &= not said
                print(f"{said}{name}: {'FAILED' if said else 'ok'}, {seconds:.1f} s", file=sys.stderr if said else sys.stdout, flush=True)
    finally:
        postgres_end(server)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

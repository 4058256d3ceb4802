"""`make check`: everything that can be said without running the product. Each step says its seconds; the first to fail ends it."""

import os
import subprocess
import sys
import time
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


def main() -> int:
    server = postgres_start()
    try:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HEADROOM_")},
            "DATABASE_URL": server.url,
        }
        for name, command in STEPS:
            began = time.monotonic()
            # The tests bring their own settings; all else is held against those of a production install.
            settings = {} if "pytest" in command else PRODUCTION
            done = subprocess.run(command, cwd=ROOT, env={**environment, **settings}, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"{done.stdout}\n{done.stderr}\n{name}: FAILED", file=sys.stderr)
                return 1
            print(f"{name}: ok, {time.monotonic() - began:.1f} s", flush=True)
    finally:
        postgres_end(server)
    return 0


if __name__ == "__main__":
    sys.exit(main())

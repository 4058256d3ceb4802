"""`make lock`: pin requirements/*.in again, with hashes and without the name of any package host."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# 3.11.0: the oldest Python we run on; what only it needs stands in the lock for all.
OPTIONS = ["--generate-hashes", "--no-header", "--no-emit-index-url", "--no-emit-find-links", "--python-version", "3.11.0", "--quiet"]


def main() -> int:
    names = sys.argv[1:] or ["server", "dev"]
    for name in names:
        constraints = ["--constraint", "requirements/server.txt"] if name == "dev" else []
        source, lock = f"requirements/{name}.in", f"requirements/{name}.txt"
        command = [sys.executable, "-m", "uv", "pip", "compile", source, "--output-file", lock, *constraints, *OPTIONS]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        print(f"{lock} is pinned")
    return 0


if __name__ == "__main__":
    sys.exit(main())

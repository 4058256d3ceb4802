"""python -m capacity.supervisor up | down | reset | status"""

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from capacity.supervisor.folders import Running, data_folder, lock_read
from capacity.supervisor.problems import CannotStart
from capacity.supervisor.run import say, up

DOWN_SECONDS = 20.0


def down(environment: Mapping[str, str]) -> None:
    data = data_folder(environment)
    there = lock_read(data)
    if there is None or not there.pid:
        say(f"Headroom does not run from {data}.")
        return
    try:
        os.kill(there.pid, signal.SIGTERM)
    except PermissionError:
        raise CannotStart(f"Headroom runs as another user (pid {there.pid}). Stop it as that user.") from None
    wait_gone(data, there)
    say("Headroom is stopped. Its data stays; `make up` goes on from there.")


def wait_gone(data: Path, there: Running) -> None:
    ending = time.monotonic() + DOWN_SECONDS
    while lock_read(data) is not None:
        if time.monotonic() > ending:
            raise CannotStart(f"Headroom (pid {there.pid}) still runs after {DOWN_SECONDS:.0f} s. Its log lies in {data / 'log'}.")
        time.sleep(0.05)


def reset(environment: Mapping[str, str]) -> None:
    data = data_folder(environment)
    if lock_read(data) is not None:
        raise CannotStart("Headroom runs. Stop it first: make down")
    if not data.exists():
        say(f"There is nothing to delete: {data} does not exist.")
        return
    external = environment.get("DATABASE_URL", "")
    kept = " The database of DATABASE_URL is not touched." if external else ""
    if environment.get("YES") != "1":
        answer = input(f"Delete {data} with its database, keys and passwords for good?{kept} Type yes: ") if sys.stdin.isatty() else ""
        if answer.strip().lower() != "yes":
            say("Nothing was deleted. (Without a terminal: YES=1 make reset)")
            return
    if not (data / "lock").exists() and any(data.iterdir()):
        raise CannotStart(f"{data} does not look like a data folder of Headroom (no file `lock`); nothing was deleted.")
    shutil.rmtree(data)
    say(f"Deleted {data}.{kept}")


def status(environment: Mapping[str, str]) -> None:
    data = data_folder(environment)
    there = lock_read(data)
    say(f"Headroom runs: {there.address} (pid {there.pid}), data in {data}" if there else f"Headroom does not run. Data folder: {data}")


COMMANDS = {"up": up, "down": down, "reset": reset, "status": status}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m capacity.supervisor", description="Run Headroom on this machine.")
    parser.add_argument("command", choices=COMMANDS)
    try:
        COMMANDS[parser.parse_args().command](os.environ)
    except CannotStart as problem:
        print(f"\n{problem}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The check of the kills can fail: a door that answers before it stores loses readings when it is killed, and is found out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.pusher import COLUMNS
from tests.chaos.pushing import ROOT, Key, Pushing, missing
from tests.servers.processes import free_port, wait_until


def stored_by(file: Path) -> dict[Key, tuple[float | None, ...]]:
    out: dict[Key, tuple[float | None, ...]] = {}
    for line in file.read_text().splitlines():
        body = json.loads(line)
        keys = [one["key"] for one in body["entities"]]
        for at, time in enumerate(body["times"]):
            for number, key in enumerate(keys):
                values = [body["columns"].get(name, [None] * len(keys))[number] for name in COLUMNS]
                out[time, key] = tuple(None if row is None else row[at] for row in values)
    return out


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "left alone"])
def test_a_door_that_answers_before_it_stores_is_found_out_when_it_is_killed(tmp_path: Path, killed: bool) -> None:
    port, file = free_port(), tmp_path / "stored"
    file.touch()

    def door() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "tests.chaos.fake_early_door", str(port), str(file)], cwd=ROOT)

    process = door()
    pushing = Pushing(f"http://127.0.0.1:{port}", "hr_ag_x_y", tmp_path / "pusher")
    pushing.start()
    try:
        wait_until(lambda: len(pushing.answers()) >= 2, seconds=30, what="two answers")
        if killed:
            process.kill()  # right after an answer, before what was answered is stored
            process.wait()
            process = door()
        wait_until(lambda: len(pushing.answers()) >= 5, seconds=60, what="more answers")
        pushing.kill()
        read = [at for at in pushing.read_at() if at < pushing.answers()[-1] - 3]
        wait_until(lambda: killed or not missing(read, stored_by(file)), seconds=10, what="everything to be stored")
        assert bool(missing(read, stored_by(file))) is killed
    finally:
        pushing.kill()
        process.kill()
        process.wait()

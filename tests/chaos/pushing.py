"""A pusher that is killed and started again, and what it must find in the tables afterwards."""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.pusher import CARDS, COLUMNS, value

ROOT = Path(__file__).resolve().parents[2]
ROWS_SQL = (
    f"SELECT extract(epoch FROM time)::float8, uuid, {', '.join(COLUMNS)} FROM accelerator_sample"
    " JOIN monitoring_accelerator a ON a.id = accelerator_id JOIN monitoring_cluster c ON c.id = a.cluster_id WHERE c.name = 'pushed'"
)
Key = tuple[float, str]


@dataclass
class Pushing:
    url: str
    key: str
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    killed_at: dict[str, list[float]] = field(default_factory=dict)  # Unix seconds

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        log = (self.folder / "log").open("ab")
        command = [sys.executable, "-m", "tests.chaos.pusher", self.url, self.key, str(self.folder)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def answers(self) -> list[float]:
        """When the server said that it has a batch."""
        return [float(line.split()[0]) for line in self.heard() if line.split()[1] == "200"]

    def heard(self) -> list[str]:
        notes = self.folder / "heard"
        return notes.read_text().splitlines() if notes.exists() else []

    def read_at(self) -> list[float]:
        """The instants of all readings the spool had."""
        lines = (self.folder / "truth").read_text().splitlines()
        return [float(line) for line in lines if line]

    def is_even(self) -> bool:
        """Has the spool nothing left but what was read this moment? A small last body says so."""
        last = [json.loads(line.split(" ", 2)[2]) for line in self.heard()[-3:] if line.split()[1] == "200"]
        few = 8 * CARDS * len(COLUMNS)
        return len(last) == 3 and all(one["accepted"] + one["duplicate"] <= few for one in last)

    def seconds_to_heal(self, name: str) -> list[float]:
        """From each kill to the next answer."""
        answers = self.answers()
        return [min((at - killed for at in answers if at > killed), default=float("inf")) for killed in self.killed_at.get(name, [])]


def missing(read: list[float], stored: dict[Key, tuple[float | None, ...]]) -> list[str]:
    """What is not there as it was read, in words; the same check judges the twin."""
    wrong = []
    for at in read:
        for card in range(CARDS):
            found = stored.get((at, f"GPU-{card}"))
            wanted = tuple(value(at, card, number) for number in range(len(COLUMNS)))
            if found != wanted:
                wrong.append(f"GPU-{card} at {at}: {'missing' if found is None else 'another value'}")
    return wrong

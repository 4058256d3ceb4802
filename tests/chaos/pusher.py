"""An agent for the kills: the agent's own spool, sender and door, with made-up readings of 400 samples a second.

    python -m tests.chaos.pusher URL KEY FOLDER

Each reading is written down in FOLDER/truth after the spool has it, each answer of the server in FOLDER/heard.
"""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from monitoring.agent.batch import pack
from monitoring.agent.door import Door, Reply
from monitoring.agent.gpus import Reading
from monitoring.agent.sender import Sender
from monitoring.agent.spool import Spool
from monitoring.catalog.columns import ACCELERATOR

NODE, CARDS, STEP = "pushed", 8, 0.5
COLUMNS = (
    tuple(column.name for column in ACCELERATOR if column.maximum != 1.01)[:10]
    + tuple(column.name for column in ACCELERATOR if column.maximum == 1.01)[:10]
)


def value(at: float, card: int, column: int) -> float:
    """A reading anybody can work out again, exact in a four-byte number."""
    return (round(at / STEP) * 7 + card * 13 + column * 3) % 64 / 64


class Told:
    """What a sender asks of an agent beside the readings."""

    def agent(self) -> dict[str, Any]:
        return {"node": NODE, "version": "0.1.0", "interval_seconds": STEP}

    def news(self) -> dict[str, Any]:
        return {}

    def heard(self) -> None:
        return

    def processes(self) -> list[dict[str, Any]]:
        return []

    def trouble(self) -> str:
        return ""


class Heard:
    """The agent's door, with a note of each answer."""

    def __init__(self, door: Door, notes: Path) -> None:
        self.door, self.notes = door, notes

    def post(self, body: bytes) -> Reply:
        reply = self.door.post(body)
        with self.notes.open("a") as notes:
            notes.write(f"{time.time():.3f} {reply.status} {reply.body.decode()[:300]}\n")
        return reply


def readings(at: float) -> list[Reading]:
    columns = list(enumerate(COLUMNS))
    return [
        Reading(f"GPU-{card}", "", "H100", card, "", {name: value(at, card, number) for number, name in columns}, {})
        for card in range(CARDS)
    ]


def main(url: str, key: str, folder: Path) -> None:
    spool = Spool(folder / "spool")
    sender = Sender(
        spool, Heard(Door(url, key), folder / "heard"), Told(), time.time, time.monotonic, send_seconds=1.0, start_jitter_seconds=0.0
    )
    threading.Thread(target=sender.run, args=(threading.Event(),), daemon=True).start()
    while True:
        at = (time.time() // STEP + 1) * STEP
        time.sleep(max(0.0, at - time.time()))
        spool.append(pack(NODE, {}, readings(at)), time=at)
        with (folder / "truth").open("a") as truth:
            truth.write(json.dumps(at) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))

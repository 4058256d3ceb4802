"""The same samples as three doors want them: columns, a list of samples, remote write. Made before the clock runs."""

import gzip
import json
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.catalog.columns import ACCELERATOR, NODE

STEP = 15.0
COLUMNS = tuple(column.name for column in ACCELERATOR if column.name not in ("xid_code",))[:25]
CARDS = 8


@dataclass(frozen=True)
class Bulk:
    """One request of an agent: 25 columns x 8 accelerators x so many instants."""

    agent: int
    times: NDArray[np.float64]
    values: NDArray[np.float32]  # (columns, cards, times)

    @property
    def samples(self) -> int:
        return self.values.size

    def uuid(self, card: int) -> str:
        return f"GPU-{self.agent:04d}-{card}"


def bulks(rng: np.random.Generator, *, agents: int, requests: int, instants: int, start: float) -> list[list[Bulk]]:
    """For each agent its requests in order of time."""
    out = []
    for agent in range(agents):
        own = []
        for number in range(requests):
            times = start + STEP * (number * instants + np.arange(1, instants + 1))
            values = np.round(rng.random((len(COLUMNS), CARDS, instants)), 3).astype(np.float32)
            own.append(Bulk(agent, times, values))
        out.append(own)
    return out


def columns_body(bulk: Bulk, *, node_too: bool = False) -> bytes:
    entities: list[dict[str, Any]] = [
        {"kind": "accelerator", "key": bulk.uuid(card), "model_name": "H100", "position": card} for card in range(CARDS)
    ]
    columns: dict[str, list[Any]] = {name: np.round(bulk.values[number].astype(float), 3).tolist() for number, name in enumerate(COLUMNS)}
    if node_too:
        entities.append({"kind": "node", "key": f"node-{bulk.agent:04d}"})
        own = np.round(bulk.values[: len(NODE), 0].astype(float), 3).tolist()
        columns = {name: [*lists, None] for name, lists in columns.items()}
        columns |= {column.name: [*columns.get(column.name, [None] * CARDS)[:CARDS], own[at]] for at, column in enumerate(NODE)}
    agent = {"node": f"node-{bulk.agent:04d}", "version": "0.1.0", "interval_seconds": STEP}
    body = {
        "agent": agent,
        "seq": 1,
        "sent_at": float(bulk.times[-1]),
        "times": bulk.times.tolist(),
        "entities": entities,
        "columns": columns,
    }
    return gzip.compress(json.dumps(body, separators=(",", ":")).encode(), 1)


def samples_body(bulk: Bulk) -> bytes:
    moments = [datetime.fromtimestamp(at, tz=UTC).isoformat() for at in bulk.times.tolist()]
    rows = [
        {"accelerator": bulk.uuid(card), "metric": name, "time": moment, "value": round(float(bulk.values[number, card, at]), 3)}
        for number, name in enumerate(COLUMNS)
        for card in range(CARDS)
        for at, moment in enumerate(moments)
    ]
    return json.dumps(rows, separators=(",", ":")).encode()


# Remote write 1.0: WriteRequest{repeated TimeSeries timeseries = 1}, TimeSeries{Label labels = 1, Sample samples = 2}.


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def field(number: int, payload: bytes) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(payload)) + payload


def write_body(bulk: Bulk) -> bytes:
    """The densest there can be: three labels, and all samples of a series in one entry. No Prometheus sends like that."""
    series = []
    for number, name in enumerate(COLUMNS):
        for card in range(CARDS):
            pairs = (("__name__", f"gpu_{name}"), ("UUID", bulk.uuid(card)), ("node", f"node-{bulk.agent:04d}"))
            labels = b"".join(field(1, field(1, key.encode()) + field(2, value.encode())) for key, value in sorted(pairs))
            samples = b"".join(
                field(2, b"\x09" + struct.pack("<d", round(float(value), 3)) + b"\x10" + varint(int(at * 1000)))
                for at, value in zip(bulk.times.tolist(), bulk.values[number, card].tolist(), strict=True)
            )
            series.append(field(1, labels + samples))
    return snappy_literals(b"".join(series))


def sent_body(bulk: Bulk) -> bytes:
    """As a Prometheus server sends it: each sample in an entry of its own with all labels, here those of the DCGM exporter."""
    series: list[bytes] = []
    stamps = [b"\x10" + varint(int(at * 1000)) for at in bulk.times.tolist()]
    host = f"node-{bulk.agent:04d}"
    for number, name in enumerate(COLUMNS):
        for card in range(CARDS):
            told = {"__name__": f"DCGM_{name}", "Hostname": host, "UUID": bulk.uuid(card), "device": f"nvidia{card}", "gpu": str(card)}
            told |= {"instance": f"{host}:9400", "job": "dcgm", "modelName": "NVIDIA H100 80GB HBM3"}
            labels = b"".join(field(1, field(1, key.encode()) + field(2, value.encode())) for key, value in sorted(told.items()))
            for stamp, value in zip(stamps, bulk.values[number, card].tolist(), strict=True):
                series.append(field(1, labels + field(2, b"\x09" + struct.pack("<d", round(float(value), 3)) + stamp)))
    return snappy_literals(b"".join(series))


def snappy_literals(raw: bytes) -> bytes:
    """A valid snappy block that compresses nothing: cheaper to read than any other, which is to the peer's advantage."""
    out = [varint(len(raw))]
    for start in range(0, len(raw), 65536):
        piece = raw[start : start + 65536]
        out += [b"\xf4" + struct.pack("<H", len(piece) - 1), piece]  # 61 << 2: a literal whose length stands in two bytes
    return b"".join(out)

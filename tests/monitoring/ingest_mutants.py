"""Batches made wrong in many ways, from a seed: bytes cut, doubled and swapped, tokens exchanged, JSON values replaced by bad ones."""

import gzip
import json
import random
from copy import deepcopy
from typing import Any

from tests.monitoring.ingest_door import body_of, gpu, grid

BAD_TOKENS = (
    b"NaN", b"-Infinity", b"1e999", b"-1e999", b"9" * 5000, b"-" + b"9" * 400, b"1e-400", b"0.1" + b"0" * 3000, b'"\\u0000"',
    b'"\\ud800"',
    b'"\\udc00\\ud800"', b'"\xff\xfe"', b'"' + b"x" * 2000 + b'"', b"[" * 3000, b"{" * 3000, b"null", b"true", b"{}", b"[]", b'""',
    b"01",
    b"'a'",    b"\x00", b"\\", b'"a": 1, "a": 2', b"1" + b"0" * 30, b"-1", b"1.5", b"1e300", b"9223372036854775808", b"2147483648",
)  # fmt: skip
BAD_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 1e308, 2**31, 2**63, 2**70, "", "x" * 300, "x" * 1024, "\U0001f600" * 200,
    "a'; DROP TABLE x; --", "=1+1", "\n", [], {},     [[]], [None], {"a": None}, [1] * 50, "GPU-0", "node",
    1795322400.0, 4e9, 7e9, 8e9, -1e12, 1e-320,
    "\x1b[0m", "%s", "{}", "\ufeff", "\u202e",
)  # fmt: skip


def whole() -> dict[str, Any]:
    """A batch with every part there is."""
    process = {
        "accelerator": "GPU-0",
        "pid": 7,
        "started_at": 1795300000.0,
        "name": "p",
        "kinds": "compute",
        "memory_bytes": 1,
        "sm_ratio": 0.5,
    }
    texts = {"share_method": "m", "container_id": "c", "pod_uid": "u", "unit": "s", "job": "j", "model_name": "m"}
    agent = {
        "host": {"kernel": "6", "cpus": 4},
        "spool": {"waiting": 1, "bytes": 2, "oldest": 1795322400.0, "trouble": ""},
    }
    return body_of(
        agent=agent,
        times=grid(3),
        entities=[{"kind": "node", "key": "gpu-7"}, gpu(), gpu("MIG-1", parent="GPU-0", profile="1g.10gb", lost="")],
        columns={"power_watts": [None, [1.0, None, 3.0], [1.0] * 3], "load1": [[1.0] * 3, None, None]},
        processes=[{**process, **texts}],
        events=[{"kind": "xid", "accelerator": "GPU-0", "time": 1795322431.5, "code": 79}],
        capabilities={"GPU-0": {"nvmlGpm": "Not Supported"}},
        gaps=[{"count": 1, "start": 1795300000.0, "end": 1795303600.0}],
    )


def mutant(rng: random.Random) -> tuple[bytes, dict[str, str]]:
    """A body, and headers that may lie about it."""
    body = whole()
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        replace_somewhere(body, rng)
    try:
        raw = json.dumps(body, ensure_ascii=rng.random() < 0.5).encode()
    except UnicodeEncodeError:
        raw = json.dumps(body).encode()
    for _ in range(rng.choice((0, 0, 1, 1, 3))):
        raw = bytes_change(raw, rng)
    if rng.random() < 0.3:
        packed = gzip.compress(raw, 1)
        if rng.random() < 0.4:
            packed = bytes_change(packed, rng)
        return packed, {"Content-Encoding": rng.choice(("gzip", "gzip", "gzip", "identity", "br"))}
    return raw, {}


def replace_somewhere(node: Any, rng: random.Random) -> None:
    """One value, name or element deep in the body becomes another."""
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(node[key], dict | list) and node[key] and rng.random() < 0.8:
            node = node[key]
            continue
        what = rng.random()
        if what < 0.7:
            node[key] = deepcopy(rng.choice(BAD_VALUES))
        elif what < 0.8 and isinstance(node, dict):
            node[str(rng.choice(BAD_VALUES))] = node.pop(key)
        elif what < 0.9:
            del node[key]
        elif isinstance(node, list):
            node += [deepcopy(node[key]) for _ in range(rng.choice((1, 5, 300)))]
        else:
            node[f"{key}x"] = deepcopy(node[key])
        return


def bytes_change(raw: bytes, rng: random.Random) -> bytes:
    if not raw:
        return b"\x00"
    start = rng.randrange(len(raw))
    end = min(len(raw), start + rng.choice((1, 1, 2, 8, 64)))
    what = rng.random()
    if what < 0.45:
        return raw[:start] + rng.choice(BAD_TOKENS) + raw[end:]
    if what < 0.6:
        return raw[:start] + raw[end:]
    if what < 0.75:
        return raw[:end] + raw[start:end] * rng.choice((1, 40)) + raw[end:]
    if what < 0.9:
        return raw[:start] + bytes(rng.randrange(256) for _ in range(end - start)) + raw[end:]
    return raw[:start]

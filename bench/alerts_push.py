"""From a sample pushed to a message received, on everything as `make up` starts it: web, worker, beat and Postgres."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from bench.timing import progress
from tests.servers.test_real_input import ROOT, Headroom, headroom_start, headroom_stop

DEPLOYMENTS = 100
PUSHES, OVER_SECONDS = 24, 192.0  # one each 8 s at a random moment of them: a channel sends ten messages a minute
P95_MOST, LOST_AFTER = 15.0, 60.0
SETTLE_SECONDS = 65.0  # until the cool samples have left the window of the rule
HOT, COOL = 95.0, 50.0


class Receiver(ThreadingHTTPServer):
    """Takes messages and writes down which node was told when."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Door)
        self.heard: dict[str, float] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class Door(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        came = time.time()
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        for told in body["data"]["alerts"]:
            self.server.heard.setdefault(told["labels"].get("node", ""), came)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        return


def plant(headroom: Headroom, receiver: Receiver) -> str:
    """Deployments, the rule and the channel, made with the install's own secrets; the key to push with."""
    secrets = headroom.data / "secrets"
    environment = {
        **os.environ,
        "DATABASE_URL": (secrets / "database_url").read_text(),
        "HEADROOM_SECRET_KEY": (secrets / "secret_key").read_text(),
        "HEADROOM_ENCRYPTION_KEY": (secrets / "encryption_key").read_text(),
    }
    words = [sys.executable, "-m", "bench.alerts_plant", receiver.url, str(DEPLOYMENTS)]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"nothing could be planted: {done.stderr[-2000:]}")
    return done.stdout.strip().splitlines()[-1]


def push(headroom: Headroom, key: str, *, node: str, celsius: float) -> None:
    """One sample of one accelerator, through the door."""
    now = time.time()
    body: dict[str, Any] = {
        "agent": {"node": node, "version": "0.1.0", "started_at": now - 60, "interval_seconds": 15.0},
        "seq": int(now * 1000),
        "sent_at": now,
        "times": [now // 1],
        "entities": [{"kind": "accelerator", "key": f"GPU-{node}", "model_name": "H200", "position": 0, "memory_bytes": 10**11}],
        "columns": {"temperature_celsius": [[celsius]]},
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{headroom.port}/api/v1/ingest",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        said = json.load(reply)
    if said["accepted"] != 1:
        raise RuntimeError(f"the sample of {node} was not taken: {said}")


def delays_measure(headroom: Headroom, receiver: Receiver, key: str, *, seed: int) -> list[float]:
    """Seconds from each push to its message; infinity where none came."""
    nodes = [f"gpu-{number}" for number in range(PUSHES)]
    for node in nodes:
        push(headroom, key, node=node, celsius=COOL)
    time.sleep(SETTLE_SECONDS)
    moments = (np.arange(PUSHES) + np.random.default_rng(seed).random(PUSHES)) * OVER_SECONDS / PUSHES
    began, sent = time.time(), dict[str, float]()
    for node, moment in zip(nodes, moments, strict=True):
        time.sleep(max(began + moment - time.time(), 0.0))
        sent[node] = time.time()
        push(headroom, key, node=node, celsius=HOT)
    until = time.time() + LOST_AFTER
    while time.time() < until and not set(nodes) <= set(receiver.heard):
        time.sleep(0.2)
    return [receiver.heard.get(node, float("inf")) - sent[node] for node in nodes]


def rounds_seconds(headroom: Headroom) -> str:
    """How long they took and how far they lay apart: on a busy machine this is what a late message waited for."""
    query = (
        "SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds), percentile_cont(0.95) WITHIN GROUP (ORDER BY apart), count(*)"
        " FROM (SELECT seconds, extract(epoch FROM finished_at - lag(finished_at) OVER (ORDER BY finished_at)) AS apart"
        " FROM monitoring_jobslot WHERE job = 'monitoring.alerts_evaluate' AND finished_at IS NOT NULL) AS rounds"
    )
    with psycopg.connect((headroom.data / "secrets" / "database_url").read_text(), autocommit=True) as database:
        taken, apart, count = database.execute(query).fetchone() or (None, None, 0)
    return f"{count}, p95 {taken or 0:.2f} s, p95 {float(apart or 0):.1f} s apart"


def table(seed: int) -> tuple[list[str], bool]:
    progress("from push to message")
    folder = Path(tempfile.mkdtemp(prefix="headroom-bench-alerts-"))
    receiver = Receiver()
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    headroom = headroom_start(folder / "data")
    try:
        delays = delays_measure(headroom, receiver, plant(headroom, receiver), seed=seed)
        rounds = rounds_seconds(headroom)
    finally:
        headroom_stop(headroom)
        receiver.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
    p95 = float(np.quantile(delays, 0.95, method="higher"))
    lost = sum(np.isinf(delays))
    lines = [
        f"From a sample pushed through the ingest door to its message at a webhook: {PUSHES} pushes, one in each"
        f" {OVER_SECONDS / PUSHES:g} s, {DEPLOYMENTS} deployments, a rule with `for` 0, a channel that does not group; everything"
        f" as `make up` starts it. Rounds meanwhile: {rounds}.",
        "",
        "| median, s | p95, s | greatest, s | lost | must |",
        "| --- | --- | --- | --- | --- |",
        f"| {np.median(delays):.1f} | **{p95:.1f}** | {max(delays):.1f} | {lost} | p95 <= {P95_MOST:g} s, none lost |",
        "",
    ]
    return lines, p95 <= P95_MOST and not lost

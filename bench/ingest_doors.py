"""Three doors, the same samples, real HTTP: samples a second, samples a CPU second, bytes a value."""

import http.client
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from django.db import connection

from bench.cpu import cpu_seconds
from bench.ingest_bodies import COLUMNS, STEP, Bulk, bulks, columns_body, samples_body, sent_body, write_body
from bench.timing import progress
from capacity.supervisor.environment import Address
from capacity.supervisor.folders import owner_here
from capacity.supervisor.postgres import port_free
from capacity.supervisor.run import children_list
from monitoring.access import key_create
from monitoring.models import Cluster, Scope, setting_set

AGENTS, INSTANTS, CONNECTIONS = 16, 50, 4
REQUESTS = {"headroom": 24, "prometheus": 8, "packed": 24, "drf": 2}  # of each agent in a run; the slow door gets fewer, rates are compared
DRF_TIMES, PROMETHEUS_TIMES, MOST_BYTES = 8.0, 1.0, 13.0
PEER_TABLE_SQL = (
    "CREATE TABLE bench_sample (id bigserial PRIMARY KEY, accelerator varchar(120) NOT NULL, metric varchar(80) NOT NULL,"
    " time timestamptz NOT NULL, value double precision NOT NULL, UNIQUE (accelerator, metric, time))"
)
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Door:
    name: str
    port: int
    path: str
    headers: dict[str, str]
    body: Callable[[Bulk], bytes]
    roots: tuple[int, ...]  # processes whose families do the work


@dataclass(frozen=True)
class Run:
    samples: int
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        return self.samples / self.seconds

    @property
    def rate_cpu(self) -> float:
        return self.samples / self.cpu


def table(seed: int, *, runs: int) -> tuple[list[str], bool]:
    rng = np.random.default_rng(seed)
    now = time.time()
    setting_set("ingest_batches_per_minute", 1_000_000, by="bench", now=moment(now))
    measured: dict[str, list[Run]] = {name: [] for name in REQUESTS}
    with doors() as open_doors:
        for run in range(runs + 1):  # the first warms up
            for door in open_doors:
                start = now // STEP * STEP - 5 * 86400 + run * 86400
                requests = REQUESTS[door.name] if run else 1
                load = bulks(rng, agents=AGENTS, requests=requests, instants=INSTANTS, start=start)
                progress(f"{door.name}, run {run}")
                done = pushed(door, load)
                if run:
                    measured[door.name].append(done)
        size = bytes_a_value()
    return report(measured, size=size)


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)


def pushed(door: Door, load: Sequence[Sequence[Bulk]]) -> Run:
    """All requests over a few connections, those of one agent in order; the bodies are made before."""
    bodies = [[door.body(bulk) for bulk in own] for own in load]
    queues = [[body for own in bodies[number::CONNECTIONS] for body in own] for number in range(CONNECTIONS)]
    troubles: list[str] = []
    threads = [threading.Thread(target=send_all, args=(door, queue, troubles)) for queue in queues]
    before, began = cpu_seconds(*door.roots), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds, cpu = time.perf_counter() - began, cpu_seconds(*door.roots) - before
    if troubles:
        raise RuntimeError(f"{door.name}: {troubles[0]}")
    return Run(sum(bulk.samples for own in load for bulk in own), seconds, cpu)


def send_all(door: Door, bodies: Sequence[bytes], troubles: list[str]) -> None:
    wire = http.client.HTTPConnection("127.0.0.1", door.port, timeout=120)
    for body in bodies:
        wire.request("POST", door.path, body=body, headers=door.headers)
        reply = wire.getresponse()
        said = reply.read()
        if reply.status not in (200, 204) or b'"rejected":0' not in said and door.name == "headroom":
            troubles.append(f"{reply.status} {said[:300]!r}")
            return
    wire.close()


@contextmanager
def doors() -> Iterator[list[Door]]:
    folder = Path(tempfile.mkdtemp(prefix="headroom-bench-ingest-"))
    with connection.cursor() as cursor:
        cursor.execute(PEER_TABLE_SQL)
        cursor.execute("SELECT pg_backend_pid()")
        postgres = parent_of(cursor.fetchone()[0])
    started: list[subprocess.Popen[bytes]] = []
    try:
        ports = [port_free() for _ in range(3)]
        started += [
            gunicorn(ports[0], "capacity.config.wsgi", folder=folder),
            gunicorn(ports[1], "bench.drf_door", folder=folder),
            prometheus(ports[2], folder=folder),
        ]
        for port, path in zip(ports, ("/readyz", "/samples", "/-/ready"), strict=True):
            wait_ready(port, path)
        ours, drf, peer = (process.pid for process in started)
        key = {"Authorization": f"Bearer {key_text()}", "Content-Type": "application/json"}
        write = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"}
        yield [
            Door("headroom", ports[0], "/api/v1/ingest", {**key, "Content-Encoding": "gzip"}, columns_body, (ours, postgres)),
            Door("drf", ports[1], "/samples", {"Content-Type": "application/json"}, samples_body, (drf, postgres)),
            Door("prometheus", ports[2], "/api/v1/write", write, sent_body, (peer,)),
            Door("packed", ports[2], "/api/v1/write", write, write_body, (peer,)),
        ]
    finally:
        for process in started:
            process.terminate()
            process.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


def key_text() -> str:
    cluster, _ = Cluster.objects.get_or_create(name="bench")
    return key_create("bench", scope=Scope.INGEST, created_by=None, cluster=cluster)[1]


def gunicorn(port: int, application: str, *, folder: Path) -> subprocess.Popen[bytes]:
    """As `make up` starts it, but for the application."""
    web = children_list({}, owner=owner_here(), data=folder, address=Address("127.0.0.1", port))[0]
    command = [application if word == "capacity.config.wsgi" else word for word in web.command]
    settings = {"HEADROOM_PROCESS": "web", "HEADROOM_STATEMENT_TIMEOUT_SECONDS": "60", "HEADROOM_BENCH_METRICS": ",".join(COLUMNS)}
    log = (folder / f"{application}.log").open("wb")
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **settings}, stdout=log, stderr=log)


def prometheus(port: int, *, folder: Path) -> subprocess.Popen[bytes]:
    config = folder / "prometheus.yml"
    # The samples of the runs lie some days back; blocks are cut as usual.
    config.write_text("global: {}\nstorage:\n  tsdb:\n    out_of_order_time_window: 10d\n")
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}", "--web.enable-remote-write-receiver"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error", "--storage.tsdb.retention.time=30d"]
    return subprocess.Popen(command)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def wait_ready(port: int, path: str) -> None:
    ending = time.monotonic() + 60
    while True:
        try:
            wire = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            wire.request("GET", path)
            if wire.getresponse().status in (200, 405):
                return
        except OSError:
            pass
        if time.monotonic() > ending:
            raise RuntimeError(f"nobody answers on port {port}{path}")
        time.sleep(0.2)


def bytes_a_value() -> float:
    """Heap and indexes of the accelerators' raw rows over the values in them."""
    counted = " + ".join(f"count({name})" for name in COLUMNS)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {counted} FROM accelerator_sample")
        (values,) = cursor.fetchone()
        cursor.execute(
            "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'accelerator_sample'::regclass"
            " AND pg_relation_size(inhrelid) > 0"
        )
        (size,) = cursor.fetchone()
    return float(size) / float(values)


def report(measured: dict[str, list[Run]], *, size: float) -> tuple[list[str], bool]:
    names = {
        "headroom": "Headroom",
        "prometheus": "Prometheus remote write, as Prometheus sends",
        "packed": "the same, densest form possible",
        "drf": "DRF serializer + `bulk_create`",
    }
    lines = [
        f"{AGENTS} agents of 8 accelerators, {len(COLUMNS)} columns, {len(COLUMNS) * 8 * INSTANTS:,} values a request,"
        f" {CONNECTIONS} connections; client, servers and Postgres on the same machine. Median of the runs, which take turns; in brackets"
        " the least and the greatest.",
        "",
        "| door | samples/s | samples per CPU second | x by wall | x by CPU |",
        "|---|---|---|---|---|",
    ]
    ours = measured["headroom"]
    for name, runs in measured.items():
        rates, cpus = [run.rate for run in runs], [run.rate_cpu for run in runs]
        wall = float(np.median([run.rate for run in ours]) / np.median(rates))
        work = float(np.median([run.rate_cpu for run in ours]) / np.median(cpus))
        spread = f"{np.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"
        lines.append(f"| {names[name]} | {spread} | {np.median(cpus):,.0f} | {wall:.1f} | {work:.1f} |")
    by_drf = float(np.median([run.rate for run in ours]) / np.median([run.rate for run in measured["drf"]]))
    by_peer = float(np.median([run.rate for run in ours]) / np.median([run.rate for run in measured["prometheus"]]))
    musts = (
        (f"at least {DRF_TIMES:g} x the DRF door in samples/s", f"{by_drf:.1f} x", by_drf >= DRF_TIMES),
        (f"at least {PROMETHEUS_TIMES:g} x Prometheus in samples/s", f"{by_peer:.2f} x", by_peer >= PROMETHEUS_TIMES),
        (f"at most {MOST_BYTES:g} bytes a value on disk, index included", f"{size:.1f} bytes", size <= MOST_BYTES),
    )
    lines += ["", "| must | measured | holds |", "|---|---|---|"]
    lines += [f"| {text} | {value} | {'yes' if fine else 'NO'} |" for text, value, fine in musts]
    return lines, all(fine for _, _, fine in musts)

"""The steady state: 1,250 agents of 8 accelerators push each minute, 1,000 deployments are polled each minute; CPU of our processes.

The whole of it runs as `make up` starts it: Postgres, web, worker and beat. The agents are threads of this process and the polled
Prometheus is Debian's with an exporter of this process as its target; neither is counted.
"""

import hashlib
import http.client
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from bench.cpu import cpu_seconds, family
from bench.ingest_bodies import CARDS, COLUMNS, STEP, Bulk, columns_body
from bench.timing import progress
from tests.capacity.test_supervisor_runs import Instance
from tests.servers.processes import free_port, wait_until
from tests.servers.prometheus import PrometheusServer, Target
from tests.servers.test_real_input import Headroom, headroom_start, headroom_stop

AGENTS, DEPLOYMENTS, EVERY = 1250, 1000, 60.0
INSTANTS = int(EVERY / STEP)
WARM_UP_SECONDS = 180.0
MOST_CORES = 1 / 3
SENDERS = 4
KEY = f"hr_ag_benchkey_{'s' * 43}"
TROUBLES = tuple(at for at, name in enumerate(COLUMNS) if name.startswith("throttle_") or name.endswith("_errors"))
TROUBLED = 0.01  # of the agents have throttled cards: alerts of a usual day, not of a day on which all is broken
BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Exporter(BaseHTTPRequestHandler):
    """What 1,000 vLLM servers would say, as one page: each series with the pod it is of."""

    def do_GET(self) -> None:
        body = page(time.time()).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        return


def page(now: float) -> str:
    lines = []
    for number in range(DEPLOYMENTS):
        labels = f'namespace="prod",pod="model-{number}-0",instance="10.0.{number // 250}.{number % 250}:8000",model_name="model-{number}"'
        count = now % 1e6 * (1 + number % 7)
        lines += [
            f'vllm:request_success_total{{{labels},finished_reason="stop"}} {count:.0f}',
            f"vllm:num_requests_running{{{labels}}} {number % 13}",
            f"vllm:num_requests_waiting{{{labels}}} {number % 3}",
            f"vllm:kv_cache_usage_perc{{{labels}}} {number % 10 / 10}",
            f"vllm:prompt_tokens_total{{{labels}}} {count * 300:.0f}",
            f"vllm:generation_tokens_total{{{labels}}} {count * 100:.0f}",
        ]
        for name in ("vllm:e2e_request_latency_seconds", "vllm:time_to_first_token_seconds"):
            lines += [f'{name}_bucket{{{labels},le="{le}"}} {count * (at + 1) / 9:.0f}' for at, le in enumerate((*BOUNDS, "+Inf"))]
            lines += [f"{name}_sum{{{labels}}} {count:.0f}", f"{name}_count{{{labels}}} {count:.0f}"]
    return "\n".join(lines) + "\n"


@dataclass
class Pushed:
    batches: int = 0
    samples: int = 0
    troubles: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def bodies(rng: np.random.Generator, agent: int, *, end: float) -> bytes:
    times = end - STEP * np.arange(INSTANTS - 1, -1, -1)
    values = np.round(rng.random((len(COLUMNS), CARDS, INSTANTS)), 3).astype(np.float32)
    if agent >= TROUBLED * AGENTS:
        values[list(TROUBLES)] = 0.0
    return columns_body(Bulk(agent, times, values), node_too=True)


def send(headroom: Headroom, *, first: int, rng: np.random.Generator, out: Pushed, ending: threading.Event) -> None:
    """Every SENDERS-th agent, spread evenly over the minute; bodies are made as they are sent."""
    own = list(range(first, AGENTS, SENDERS))
    wire = http.client.HTTPConnection("127.0.0.1", headroom.port, timeout=30)
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json", "Content-Encoding": "gzip"}
    began, turn = time.time(), 0
    while not ending.is_set():
        for place, agent in enumerate(own):
            due = began + turn * EVERY + place * EVERY / len(own)
            if ending.wait(max(0.0, due - time.time())):
                return
            body = bodies(rng, agent, end=due // STEP * STEP)
            sent = time.perf_counter()
            try:
                wire.request("POST", "/api/v1/ingest", body=body, headers=headers)
                reply = wire.getresponse()
                status, said = reply.status, json.loads(reply.read())
            except (OSError, http.client.HTTPException) as error:
                wire.close()
                status, said = 0, {"detail": str(error)}
            with out.lock:
                out.seconds.append(time.perf_counter() - sent)
                out.batches += 1
                out.samples += said.get("accepted", 0)
                if status != 200 or said["rejected"]:
                    out.troubles.append(f"{status} {said}"[:300])
        turn += 1


@contextmanager
def polled(folder: Path) -> Iterator[PrometheusServer]:
    port = free_port(low=9100, high=9999)
    server = ThreadingHTTPServer(("127.0.0.1", port), Exporter)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with PrometheusServer(folder / "prometheus", scrape_seconds=30.0, targets=[Target("vllm", f"127.0.0.1:{port}")]) as prometheus:
        yield prometheus
    server.shutdown()


def table(seed: int, *, minutes: float) -> tuple[list[str], bool]:
    folder = Path(tempfile.mkdtemp(prefix="headroom-bench-steady-"))
    try:
        with ExitStack() as stack:
            prometheus = stack.enter_context(polled(folder))
            headroom = headroom_start(folder / "data")
            stack.callback(headroom_stop, headroom)
            return measure(headroom, prometheus, seed=seed, minutes=minutes)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(headroom: Headroom, prometheus: PrometheusServer, *, seed: int, minutes: float) -> tuple[list[str], bool]:
    instance = Instance(headroom.data, headroom.port, headroom.process)
    prepare(headroom, prometheus, instance=instance)
    pushed, ending = Pushed(), threading.Event()
    threads = [
        threading.Thread(target=send, args=(headroom,), kwargs={"first": n, "rng": rng, "out": pushed, "ending": ending})
        for n, rng in enumerate(np.random.default_rng(seed).spawn(SENDERS))
    ]
    for thread in threads:
        thread.start()
    try:
        progress(f"warm-up of {WARM_UP_SECONDS:.0f} s")
        ending.wait(WARM_UP_SECONDS)
        pushed.batches = pushed.samples = 0
        pushed.seconds.clear()
        before, began, since = parts_cpu(instance), time.monotonic(), str(instance.ask("SELECT now()"))
        progress(f"{minutes:g} minutes")
        ending.wait(minutes * 60)
        after, seconds = parts_cpu(instance), time.monotonic() - began
    finally:
        ending.set()
        for thread in threads:
            thread.join()
    cores = {name: (after[name] - before[name]) / seconds for name in before}
    polls = instance.ask("SELECT round(avg(poll_seconds)::numeric, 1)::text FROM monitoring_source")
    return report(cores, pushed=pushed, seconds=seconds, polls=str(polls), jobs=jobs_line(instance, since=since), minutes=minutes)


def jobs_line(instance: Instance, *, since: str) -> str:
    """What the worker did meanwhile, the longest first: times and seconds on the clock, of which a part is waiting."""
    each = "SELECT job, count(*) AS runs, sum(seconds) AS spent FROM monitoring_jobslot"
    each += f" WHERE started_at > '{since}' AND seconds IS NOT NULL GROUP BY job"
    words = "replace(job, 'monitoring.', '') || ' ' || runs || ' times ' || round(spent::numeric, 1) || ' s'"
    return str(instance.ask(f"SELECT string_agg({words}, ', ' ORDER BY spent DESC) FROM ({each}) AS each"))


def prepare(headroom: Headroom, prometheus: PrometheusServer, *, instance: Instance) -> None:
    """A source, polled each minute, and a key of its cluster."""
    port = int(prometheus.url.rpartition(":")[2])
    prometheus.wait_for_value("count(vllm:num_requests_running)", seconds=120)
    headroom.call("allowed-addresses", {"network": "127.0.0.1/32", "port": port, "reason": "the bench"})
    headroom.call("sources", {"name": "steady", "url": prometheus.url, "cluster": "steady", "step_seconds": 60})
    made = f"SELECT count(*) FROM monitoring_deployment WHERE state = 'active' HAVING count(*) >= {DEPLOYMENTS}"
    wait_until(lambda: instance.ask(made) is not None, seconds=300, what=f"{DEPLOYMENTS} deployments")
    instance.ask(
        "INSERT INTO monitoring_key (name, prefix, secret_digest, scope, created_at, cluster_id)"
        f" SELECT 'bench', '{KEY.split('_')[2]}', '{hashlib.sha256(KEY.encode()).hexdigest()}', 'ingest', now(), id"
        " FROM monitoring_cluster WHERE name = 'steady' RETURNING id"
    )


def parts_cpu(instance: Instance) -> dict[str, float]:
    names = {"web": ("gunicorn",), "worker": ("celery", " worker "), "beat": ("celery", " beat "), "Postgres": ("bin/postgres",)}
    out = {}
    for name, words in names.items():
        pid = instance.child(*words)
        out[name] = cpu_seconds(pid) if pid and family(pid) else float("nan")
    return out


def report(cores: dict[str, float], *, pushed: Pushed, seconds: float, polls: str, jobs: str, minutes: float) -> tuple[list[str], bool]:
    total = sum(cores.values())
    fine = total <= MOST_CORES and not pushed.troubles
    quick = np.quantile(pushed.seconds, [0.5, 0.95, 0.99]) * 1000
    first = f": {pushed.troubles[0]}" if pushed.troubles else ""
    lines = [
        f"## Steady state: {AGENTS:,} agents of {CARDS} accelerators each minute, {DEPLOYMENTS:,} deployments polled each minute",
        "",
        f"{minutes:g} minutes after a warm-up of {WARM_UP_SECONDS:.0f} s, everything as `make up` starts it."
        f" {pushed.batches / seconds:.1f} batches/s,"
        f" {pushed.samples / seconds:,.0f} values/s stored by push; answers p50 {quick[0]:.0f} ms, p95 {quick[1]:.0f} ms, p99"
        f" {quick[2]:.0f} ms; a poll cycle takes {polls} s; {len(pushed.troubles)} pushes refused{first}.",
        "",
        "| process | cores |",
        "|---|---|",
        *(f"| {name} | {used:.3f} |" for name, used in cores.items()),
        f"| together | {total:.3f} |",
        "",
        f"Jobs, on the clock: {jobs}.",
        "",
        f"At most a third of one core: {'yes' if fine else 'NO'}.",
    ]
    return lines, fine

"""Malformed pushes through a real gunicorn: no 5xx, each under a second, web grows by less than 50 MB. `make chaos`: 100,000 of them."""

import http.client
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.cpu import family
from tests.capacity.test_supervisor_runs import Instance
from tests.chaos.test_kills import push_key
from tests.monitoring.ingest_mutants import mutant
from tests.servers.test_real_input import Headroom, headroom_start, headroom_stop

pytestmark = pytest.mark.xdist_group("chaos")
FEW, MANY, WARM_UP = 1500, 100_000, 500
STATUSES = {200, 400, 411, 413, 415}
MOST_SECONDS, MOST_GROWTH_MIB = 1.0, 50.0


@pytest.fixture(scope="module")
def headroom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headroom]:
    running = headroom_start(tmp_path_factory.mktemp("hostile") / "data")
    yield running
    headroom_stop(running)


def resident_mib(instance: Instance) -> float:
    """Of the web workers together."""
    root = instance.child("gunicorn")
    assert root
    lines = [Path(f"/proc/{pid}/status").read_text() for pid in family(root)]
    return sum(int(line.split()[1]) for text in lines for line in text.splitlines() if line.startswith("VmRSS")) / 1024


def test_nothing_malformed_breaks_slows_or_swells_web(headroom: Headroom, pytestconfig: pytest.Config) -> None:
    instance = Instance(headroom.data, headroom.port, headroom.process)
    headers = {"Authorization": f"Bearer {push_key(instance, cluster='hostile')}", "Content-Type": "application/json"}
    wire = http.client.HTTPConnection("127.0.0.1", headroom.port, timeout=30)
    count = MANY if pytestconfig.getoption("--full", default=False) else FEW
    seed = random.randrange(2**31)
    print(f"seed={seed}")
    rng = random.Random(seed)
    before, slowest = 0.0, 0.0
    for number in range(WARM_UP + count):
        if number == WARM_UP:
            before = resident_mib(instance)
        body, more = mutant(rng)
        seconds = []
        while not seconds or (seconds[-1] > MOST_SECONDS and len(seconds) < 3):  # a busy machine gets another chance
            began = time.monotonic()
            wire.request("POST", "/api/v1/ingest", body=body, headers={**headers, **more})
            reply = wire.getresponse()
            said = reply.read()
            if reply.status == 429:  # faster than the quota of a key
                time.sleep(float(reply.headers["Retry-After"]))
                continue
            seconds.append(time.monotonic() - began)
            assert reply.status in STATUSES, (number, reply.status, said, body[:1000])
        slowest = max(slowest, seconds[-1])
    grown = resident_mib(instance) - before
    print(f"slowest {slowest:.3f} s, grown {grown:.1f} MiB")
    assert slowest < MOST_SECONDS and grown < MOST_GROWTH_MIB

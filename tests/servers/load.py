"""A bounded load on the loopback that knows what it did."""

import http.client
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import urlsplit

MOST_LATE_SECONDS = 2.0


@dataclass(frozen=True)
class Call:
    """One request: path and body, and whether it is meant to fail."""

    path: str
    body: bytes = b""
    method: str = "POST"
    content_type: str = "application/json"
    fails: bool = False


@dataclass
class Done:
    """What finished: when, and whether it failed."""

    times: list[float] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def between(self, start: float, end: float) -> int:
        return sum(start < at <= end for at in self.times)

    def failed_between(self, start: float, end: float) -> int:
        return sum(start < at <= end for at in self.failed)


def call_once(address: str, call: Call) -> bool:
    """True when the server answered with 2xx; a reset before any answer is tried again once (pooled keep-alive)."""
    for attempt in (1, 2):
        connection = http.client.HTTPConnection(address, timeout=20)
        try:
            connection.request(call.method, call.path, body=call.body or None, headers={"Content-Type": call.content_type})
            reply = connection.getresponse()
            reply.read()
            return 200 <= reply.status < 300
        except ConnectionError:
            if attempt == 2:
                raise
        finally:
            connection.close()
    return False


def load_run(
    url: str,
    *,
    good: Call,
    bad: Call | None = None,
    per_second: float,
    seconds: float,
    fail_every: int = 20,
    enough: threading.Event | None = None,
) -> Done:
    """Send at an even pace, each `fail_every`th request the bad one, and wait for the last answer; what is late is left out.

    It ends after `seconds`, or when it is `enough`.
    """
    address = urlsplit(url).netloc
    done = Done()
    started = time.time()

    def one(number: int) -> None:
        wait = started + number / per_second - time.time()
        if enough and enough.is_set():
            return
        if wait < -MOST_LATE_SECONDS:
            return  # after a stall of the machine all that waited would come at once, between two scrapes
        time.sleep(max(wait, 0.0))
        call = bad if bad and number % fail_every == fail_every - 1 else good
        began = time.time()
        is_good = call_once(address, call)
        ended = time.time()
        done.times.append(ended)
        done.seconds.append(ended - began)
        if not is_good:
            done.failed.append(ended)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, itertools.islice(itertools.count(), round(per_second * seconds))))
    return done

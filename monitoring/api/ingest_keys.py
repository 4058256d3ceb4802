"""Who may push: the key of a request, remembered for a minute, and how often it may.

A remembered key saves two statements with each batch. It never lets a revoked key store anything: the transaction of each batch
looks at the key's row again (`monitoring.store.push`), and forgets it here when it has ended.
"""

import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

from django.conf import settings
from django.http import HttpRequest

from monitoring.access import address_of, key_verify
from monitoring.api.door import WINDOW_SECONDS, hit
from monitoring.models import RateCount, Scope

REMEMBER_SECONDS = 60.0
MOST_REMEMBERED = 20_000
TELL_SECONDS = 2.0  # how long a process keeps its count of batches to itself


@dataclass(frozen=True)
class Sender:
    key: int
    scope: str
    cluster: int | None
    until: float  # of the monotonic clock


@dataclass
class Count:
    """Batches of a key in the current minute: all that is known, and our own that Postgres does not know yet."""

    window: int
    known: int = 0
    own: int = 0
    told_at: float = 0.0


senders: "OrderedDict[bytes, Sender]" = OrderedDict()
counts: dict[int, Count] = {}
lock = Lock()


def sender_find(request: HttpRequest) -> Sender | None:
    """The sender of this request, None for a wrong key. Only wrong keys count against the address, as thousands of agents may share one."""
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    text = text.strip()
    digest = hashlib.sha256(text.encode()).digest()
    now = time.monotonic()
    with lock:
        known = senders.get(digest)
    if known is not None and known.until > now:
        return known
    key = key_verify(text) if scheme.lower() == "bearer" else None
    if key is None:
        hit(f"address {address_of(request)}", limit=settings.API_CALLS_PER_MINUTE_AND_ADDRESS)
        return None
    found = Sender(key.pk, key.scope, key.cluster_id, now + REMEMBER_SECONDS)
    if found.scope == Scope.INGEST:
        with lock:
            senders[digest] = found
            while len(senders) > MOST_REMEMBERED:
                senders.popitem(last=False)
    return found


def sender_forget(key: int) -> None:
    with lock:
        for digest in [digest for digest, known in senders.items() if known.key == key]:
            del senders[digest]


def quota_wait(key: int, *, limit: float) -> float:
    """Count one batch; seconds to wait where the key is over its quota, else 0.

    Each process counts for itself and tells Postgres every two seconds, or after a fiftieth of the quota: so the processes
    together may let pass a few batches more than the quota, and a batch costs no statement.
    """
    wall, now = time.time(), time.monotonic()
    window = int(wall // WINDOW_SECONDS)
    with lock:
        count = counts.get(key)
        if count is None or count.window != window:
            count = counts[key] = Count(window, told_at=now)
        count.own += 1
        own = count.own if count.own >= limit / 50 or now - count.told_at > TELL_SECONDS else 0
        if own:
            count.own, count.told_at = 0, now
            count.known += own
    if own:
        total = RateCount.objects.hit(f"ingest {key}", window=window, count=own)
        count.known = max(count.known, total)
    return WINDOW_SECONDS - wall % WINDOW_SECONDS if count.known + count.own > limit else 0.0

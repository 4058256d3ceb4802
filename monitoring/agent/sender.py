"""From the spool to the server: the newest readings and the oldest in turn, each kept until the server has said that it has them."""

import json
import logging
import random
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Protocol

from monitoring.agent.batch import columns_joined, fitting, gap_of
from monitoring.agent.door import DoorError, Reply
from monitoring.agent.spool import Record, Spool

log = logging.getLogger("headroom.agent")

RECORDS_MOST = 240
BACK_OFF_FIRST, BACK_OFF_MOST = 1.0, 60.0  # seconds
RETRY_AFTER_MOST = 300.0
REFUSED_SECONDS = 300.0  # between two tries with a key or an address that is not accepted
RETRIED = {408, 425, 429}
PARKED = {400, 413, 415, 422}
SKEW_SAID_SECONDS = 120.0
TROUBLE_LETTERS = 500


class DoorLike(Protocol):
    def post(self, body: bytes) -> Reply: ...


class Source(Protocol):
    """What the agent says of itself beside its readings."""

    def agent(self) -> dict[str, Any]: ...

    def news(self) -> dict[str, Any]:
        """What goes into the next body as it is told on start, on change and hourly; `heard` when it arrived."""

    def heard(self) -> None: ...

    def processes(self) -> list[dict[str, Any]]: ...

    def trouble(self) -> str: ...


@dataclass
class Counts:
    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0
    parked: int = 0  # bodies the server cannot read
    failures: int = 0  # tries without a useful answer


@dataclass
class Sender:
    """A machine of steps, so that tests own its time: `step` makes one request at most and says when it wants to be called again."""

    spool: Spool
    door: DoorLike
    source: Source
    clock: Callable[[], float]  # Unix seconds, for what is told
    monotonic: Callable[[], float]  # for waiting
    send_seconds: float = 60.0
    start_jitter_seconds: float = 30.0
    rng: random.Random = field(default_factory=random.Random)
    counts: Counts = field(default_factory=Counts)
    trouble: str = ""
    skews: deque[float] = field(default_factory=lambda: deque(maxlen=9))

    def __post_init__(self) -> None:
        self.due_at = self.monotonic() + self.rng.uniform(0.0, self.start_jitter_seconds)
        self.blocked_until = float("-inf")
        self.newest_next = True
        self.attempts = 0
        self.most = RECORDS_MOST
        self.sequence = int(self.clock())  # grows over restarts without being kept

    # When --------------------------------------------------------------------------------------

    def step(self) -> float:
        """Seconds until there may be something to do; 0 while a backlog waits."""
        wait = max(self.due_at, self.blocked_until) - self.monotonic()
        if wait > 0:
            return wait
        records = self.spool.newest(self.most) if self.newest_next else self.spool.oldest(self.most)
        records, readings, unreadable = fitting(records, newest=self.newest_next)
        self.spool.done(unreadable)
        if not records:
            return 0.0 if unreadable else min(1.0, self.send_seconds)
        self.send(records, self.body(columns_joined(readings), carried=len(records)))
        if self.spool.waiting() == 0 and self.monotonic() >= self.blocked_until:
            self.round_end()
        return max(0.0, max(self.due_at, self.blocked_until) - self.monotonic())

    def round_end(self) -> None:
        self.newest_next = True
        late = self.monotonic() - self.due_at
        self.due_at += self.send_seconds * (late // self.send_seconds + 1)

    def run(self, ending: threading.Event) -> None:
        """Until `ending`; then one last try, so that a node that goes away leaves nothing behind."""
        while not ending.is_set():
            ending.wait(min(self.guarded_step(), 5.0))
        if self.monotonic() >= self.blocked_until:
            self.due_at = self.monotonic()
            self.guarded_step()

    def guarded_step(self) -> float:
        try:
            return self.step()
        except Exception:  # whatever it is, readings go on and it is tried again
            log.exception("sending failed in an unforeseen way; trying again in %.0f s", BACK_OFF_MOST)
            self.blocked_until = self.monotonic() + BACK_OFF_MOST
            return BACK_OFF_MOST

    # What --------------------------------------------------------------------------------------

    def body(self, columns: dict[str, Any], *, carried: int) -> bytes:
        self.sequence += 1
        left = max(0, self.spool.waiting() - carried)
        spool = {
            "waiting": left,
            "bytes": self.spool.size if left else 0,
            "oldest": self.spool.oldest_time() if left else None,
            "trouble": "; ".join(text for text in (self.source.trouble(), self.skew_trouble()) if text)[:TROUBLE_LETTERS],
        }
        news = self.source.news()
        content = {
            "agent": {**self.source.agent(), "spool": spool, **({"host": news["host"]} if "host" in news else {})},
            "seq": self.sequence,
            "sent_at": self.clock(),
            **columns,
        }
        if self.newest_next:  # a backlog says nothing of now
            content["processes"] = self.source.processes()
        if "capabilities" in news:
            content["capabilities"] = news["capabilities"]
        gaps = self.spool.gaps_take()
        if gaps:
            content["gaps"] = [gap_of(gap) for gap in gaps]
        return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()

    # Answers -----------------------------------------------------------------------------------

    def send(self, records: list[Record], body: bytes) -> None:
        began = self.clock()
        try:
            reply = self.door.post(body)
        except DoorError as error:
            self.again(str(error), None)
            return
        if reply.date is not None:
            self.skews.append((began + self.clock()) / 2 - (reply.date + 0.5))  # the header is cut to whole seconds
        answer = answer_of(reply)
        if answer is not None:
            self.heard(records, answer)
        elif 200 <= reply.status < 300:
            self.again("something answers that is not Headroom: a proxy or a login page?", None)
        elif reply.status in RETRIED or reply.status >= 500:
            self.again(f"the server answers {reply.status}", reply.retry_after)
        elif reply.status == 413 and len(records) > 1:
            self.most = max(1, len(records) // 2)
        elif reply.status in PARKED:
            self.park(records, body, reply)
        else:
            self.refused(reply)

    def heard(self, records: list[Record], answer: dict[str, Any]) -> None:
        self.spool.done(records)
        self.spool.gaps_done()
        self.source.heard()
        self.counts.accepted += int(answer["accepted"])
        self.counts.duplicate += int(answer.get("duplicate") or 0)
        rejected = int(answer.get("rejected") or 0)
        self.counts.rejected += rejected
        if rejected:
            log.warning("the server rejected %d samples: %s", rejected, answer.get("errors"))
        if self.trouble:
            log.info("sending works again; %d readings wait", self.spool.waiting())
        self.newest_next, self.attempts, self.trouble = not self.newest_next, 0, ""
        self.most = min(RECORDS_MOST, self.most * 2)

    def again(self, reason: str, retry_after: float | None) -> None:
        """Full jitter: a fleet that lost its server does not come back as one."""
        self.counts.failures += 1
        wait = self.rng.uniform(0.0, min(BACK_OFF_MOST, BACK_OFF_FIRST * 2.0 ** min(self.attempts, 10)))
        if retry_after is not None:
            wait = min(retry_after, RETRY_AFTER_MOST) + self.rng.uniform(0.0, 1.0)
        self.attempts += 1
        self.block(wait, f"{reason}; trying again", level=logging.WARNING)

    def refused(self, reply: Reply) -> None:
        self.counts.failures += 1
        words = {401: "the server does not know this key", 403: "this key may not send"}.get(reply.status)
        words = words or f"the server answers {reply.status} at this address"
        self.block(REFUSED_SECONDS, f"{words}; readings are kept, next try in 5 min", level=logging.ERROR)

    def block(self, wait: float, reason: str, *, level: int) -> None:
        self.newest_next = True
        self.blocked_until = self.monotonic() + wait
        if reason != self.trouble or level >= logging.ERROR:
            log.log(level, "%s", reason)
        self.trouble = reason

    def park(self, records: list[Record], body: bytes, reply: Reply) -> None:
        """The same body would be refused for ever; it must not hold up what comes after it."""
        log.error("the server cannot read a batch of %d readings (%d): %s", len(records), reply.status, reply.body[:500])
        self.counts.parked += 1
        self.spool.bury(f"{self.sequence}-{reply.status}.json", body)
        self.spool.gap_park(records)
        self.spool.done(records)

    @property
    def skew_seconds(self) -> float | None:
        """This clock minus the server's; None until heard."""
        return median(self.skews) if self.skews else None

    def skew_trouble(self) -> str:
        skew = self.skew_seconds
        if skew is None or abs(skew) < SKEW_SAID_SECONDS:
            return ""
        return f"this host's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the server's"


def answer_of(reply: Reply) -> dict[str, Any] | None:
    """The server's own words in a 2xx: only these let a reading be forgotten."""
    if not 200 <= reply.status < 300:
        return None
    try:
        answer = json.loads(reply.body)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) and isinstance(answer.get("accepted"), int) else None

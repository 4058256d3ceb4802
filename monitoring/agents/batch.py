"""A pushed body as records: strict JSON, one pass by msgspec, one by a scanner for what msgspec lets through.

msgspec refuses NaN, Infinity, numbers out of range, deep nesting, raw control characters and half surrogates by itself.
Names that stand twice in one object, NUL, over-long texts and bytes that are not UTF-8 in parts nobody reads are found
by a scanner that looks at strings and braces only: numbers, the bulk of a body, cost it nothing but the way past them.
"""

import json
import re
from typing import Annotated

from msgspec import DecodeError, Meta, Struct
from msgspec.json import Decoder

from monitoring.agents.limits import Limits

COMMAS_PER_SAMPLE = 10  # nulls and texts included: how many parts a body may have for each sample it may hold
QUOTES_PER_SAMPLE = 20

Whole = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Small = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Moment = Annotated[float, Meta(ge=0, le=7_258_118_400)]  # to the year 2200: Postgres and Python can hold it
Values = list[float | None] | None


class Unreadable(ValueError):
    """The body as a whole cannot be used; nothing of it is stored."""

    status = 400


class TooMuch(Unreadable):
    """It could be read but holds more than is allowed."""

    status = 413


class Spool(Struct):
    waiting: Small = 0
    bytes: Whole = 0
    oldest: Moment | None = None
    trouble: str = ""


class AgentPart(Struct):
    node: str
    version: str = ""
    started_at: Moment | None = None
    interval_seconds: Annotated[float, Meta(gt=0, le=86400)] = 15.0
    host: dict[str, str | int | float | bool | None] | None = None
    spool: Spool | None = None


class EntityPart(Struct, frozen=True):
    kind: str
    key: str
    parent: str = ""
    model_name: str = ""
    position: Small | None = None
    profile: str = ""
    memory_bytes: Whole | None = None
    lost: str = ""


class ProcessPart(Struct):
    accelerator: str
    pid: Whole
    started_at: Moment
    name: str = ""
    kinds: str = ""
    memory_bytes: Whole | None = None
    sm_ratio: Annotated[float, Meta(ge=0, le=1e6)] | None = None
    share_method: str = ""
    container_id: str = ""
    pod_uid: str = ""
    unit: str = ""
    job: str = ""
    model_name: str = ""


class EventPart(Struct):
    kind: str
    accelerator: str
    time: Moment
    code: Small = 0


class GapPart(Struct):
    count: Whole
    start: Moment
    end: Moment


class Body(Struct):
    """One batch. Names that are not here are passed over: old and new code run together."""

    agent: AgentPart
    seq: Whole
    sent_at: Moment
    times: list[float]
    entities: list[EntityPart]
    columns: dict[str, list[Values]]
    processes: list[ProcessPart] | None = None
    events: list[EventPart] = []
    capabilities: dict[str, dict[str, str]] | None = None
    gaps: list[GapPart] = []


DECODER = Decoder(Body)
TOKENS = re.compile(rb'[{}]|"((?:[^"\\]++|\\.)*+)"([ \t\r\n]*:)?')


def body_read(raw: bytes, *, limits: Limits) -> Body:
    """The records of a body; Unreadable with a sentence otherwise."""
    samples = limits["ingest_samples_per_batch"]
    if raw.count(b",") > COMMAS_PER_SAMPLE * samples or raw.count(b'"') > QUOTES_PER_SAMPLE * samples:
        raise TooMuch(f"the body holds more parts than a batch of {samples:g} samples can have; send smaller batches")
    try:
        if not raw.isascii():
            raw.decode()  # msgspec does not look into texts it passes over
        body = DECODER.decode(raw)
        texts_check(raw, longest=int(limits["ingest_text_characters"]))
    except UnicodeDecodeError:
        raise Unreadable("the body is not UTF-8") from None
    except RecursionError:
        raise Unreadable("the JSON is nested too deeply") from None
    except (DecodeError, OverflowError, ValueError) as error:
        raise Unreadable(f"the body cannot be read: {str(error)[:300]}") from None
    shape_check(body, limits=limits)
    return body


def texts_check(raw: bytes, *, longest: int) -> None:
    """Refuse names that stand twice in one object, over-long texts and NUL. The JSON is well formed: msgspec has read it."""
    names: list[set[bytes]] = []
    for token in TOKENS.finditer(raw):
        text, colon = token.groups()
        if text is None:
            if token[0] == b"{":
                names.append(set())
            else:
                names.pop()
            continue
        if b"\\" in text:
            text = unescaped(text)
        if len(text) > longest and len(text.decode()) > longest:
            raise ValueError(f"a text is longer than the limit of {longest} characters")
        if colon:
            if text in names[-1]:
                raise ValueError(f"the name {text.decode()[:80]!r} stands twice in an object")
            names[-1].add(text)


def unescaped(text: bytes) -> bytes:
    plain: str = json.loads(b'"' + text + b'"')
    if "\0" in plain:
        raise ValueError("a text holds NUL")
    try:
        return plain.encode()
    except UnicodeEncodeError:
        raise ValueError("a text holds half of a surrogate pair") from None


def shape_check(body: Body, *, limits: Limits) -> None:
    """What must hold of the batch as a whole."""
    if not 0 < len(body.agent.node) <= 253:
        raise Unreadable(f"agent.node needs 1 to 253 characters, got {len(body.agent.node)}")
    if len(body.entities) > limits["ingest_entities_per_batch"]:
        raise TooMuch(f"a batch may hold {limits['ingest_entities_per_batch']:g} entities, got {len(body.entities)}")
    if len(body.processes or ()) > limits["ingest_entities_per_batch"]:
        raise TooMuch(f"a batch may hold {limits['ingest_entities_per_batch']:g} processes, got {len(body.processes or ())}")
    if len({(one.kind, one.key) for one in body.entities}) < len(body.entities):
        raise Unreadable("an entity stands twice in the batch")
    if any(later <= earlier for earlier, later in zip(body.times, body.times[1:], strict=False)):
        raise Unreadable("times need to ascend, each once")
    for name, given in body.columns.items():
        if len(given) != len(body.entities):
            raise Unreadable(f"columns.{name} needs one entry for each of the {len(body.entities)} entities, got {len(given)}")

"""One batch, one transaction: samples, what the agent says of itself, gaps, events, processes; answered after COMMIT.

The same batch twice changes nothing but the agent's count of duplicates; of two values for one instant the first stands.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from django.db import IntegrityError, transaction

from monitoring.agents.batch import AgentPart, Body
from monitoring.agents.cells import Cells, cells_read, cells_refuse, cells_rows
from monitoring.agents.extras import extras_store
from monitoring.agents.known import KINDS, KeyEnded, Known, known_find, known_forget, known_keep, known_learn, trouble_of
from monitoring.agents.limits import Limits
from monitoring.ingest import Rows, Verdicts, Written, rows_judge
from monitoring.store.push import Heard, agent_count_duplicates, push_heard, push_partitions, rows_push

SILENT_SECONDS = 180.0  # then polls may have taken over the agent's columns
FAMILIES = sorted(kind.value for kind in KINDS.values())


@dataclass(frozen=True)
class Outcome:
    """What became of a batch, counted in samples."""

    accepted: int
    duplicate: int
    rejected: int
    errors: tuple[str, ...]


@dataclass(frozen=True)
class Push:
    """A batch on its way through: what came, from whom, and when."""

    body: Body
    cells: Cells
    cluster: int
    key: int
    limits: Limits
    now: datetime


def batch_receive(body: Body, *, cluster: int, key: int, limits: Limits, now: datetime) -> Outcome:
    """Store a batch that the door let in. Raises KeyEnded, TooMuch, and Django's database errors."""
    verdicts = Verdicts()
    cells = cells_own(body, cells_read(body, most=limits["ingest_samples_per_batch"], verdicts=verdicts), verdicts)
    push = Push(body, cells, cluster, key, limits, now)
    node = body.agent.node
    known = known_find(cluster, node)
    try:
        if known is None or not known.holds(body, cells):
            known = learn(push)
        outcome = batch_store(push, known=known, verdicts=verdicts)
        if outcome is None:  # the agent was removed, or the key has ended: learning tells which
            outcome = batch_store(push, known=learn(push), verdicts=verdicts)
    except Exception:
        known_forget(cluster, node)  # whatever went wrong, nothing that was remembered is trusted after it
        raise
    if outcome is None:
        raise KeyEnded
    return outcome


def learn(push: Push) -> Known:
    most = push.limits["ingest_series_per_agent"]
    known = known_learn(push.cluster, push.key, body=push.body, cells=push.cells, most_series=most, now=push.now)
    known_keep(push.cluster, push.body.agent.node, known)
    return known


def cells_own(body: Body, cells: Cells, verdicts: Verdicts) -> Cells:
    """Without entities of a kind we do not know, of another node, or with no usable key: each is named."""
    for number, one in enumerate(body.entities):
        text = trouble_of(one, node=body.agent.node)
        if text:
            cells = cells_refuse(cells, cells.entities == number, text, verdicts=verdicts)
    return cells


def batch_store(push: Push, *, known: Known, verdicts: Verdicts) -> Outcome | None:
    """None: the agent or its key is no longer there."""
    verdicts = replace(verdicts, errors=[*verdicts.errors])
    cells = cells_allowed(push, known=known, verdicts=verdicts)
    rows = rows_of(push, cells, known=known, verdicts=verdicts)
    straight = not known.mixed
    while straight:
        try:
            return rows_store(push, rows, known=known, verdicts=verdicts, straight=True)
        except IntegrityError:  # a partition that is missing, or rows that are there already
            known.processes = known.lost = None
            straight = push_partitions(rows) > 0
    push_partitions(rows)
    return rows_store(push, rows, known=known, verdicts=verdicts, straight=False)


def cells_allowed(push: Push, *, known: Known, verdicts: Verdicts) -> Cells:
    """Without the series over the agent's limit."""
    cells = push.cells
    if not known.full:
        return cells
    over = []
    for entity, column in zip(cells.entities.tolist(), cells.columns.tolist(), strict=True):
        one = push.body.entities[entity]
        over.append(cells.names[column] not in known.series.get((one.kind, one.key), set()))
    text = f"an agent may have {push.limits['ingest_series_per_agent']:g} series; those it has go on, new ones are refused"
    return cells_refuse(cells, np.array(over, dtype=bool), text, verdicts=verdicts)


def rows_of(push: Push, cells: Cells, *, known: Known, verdicts: Verdicts) -> list[Rows]:
    """Checked rows, one record a kind of entity."""
    out = []
    for kind, entity in sorted(KINDS.items()):
        keys = [(number, (kind, one.key)) for number, one in enumerate(push.body.entities) if one.kind == kind]
        ids = {number: known.ids[pair] for number, pair in keys if pair in known.ids}
        found = cells_rows(cells, entity=entity, ids=ids) if ids else None
        if found is not None:
            out.append(rows_judge(found, verdicts=verdicts, now=push.now, limits=push.limits))
    return out


def newest_of(rows: Sequence[Rows]) -> float | None:
    return max((float(one.times.max()) for one in rows if len(one.times)), default=None)


def rows_store(push: Push, rows: Sequence[Rows], *, known: Known, verdicts: Verdicts, straight: bool) -> Outcome | None:
    told = words_of(push.body, key=push.key, verdicts=verdicts, newest=newest_of(rows), now=push.now)
    with transaction.atomic():
        heard = push_heard(known.agent, families=FAMILIES, told=told)
        if heard is None:
            return None
        straight = straight and all_newer(rows, heard=heard)
        written = Written()
        for one in rows:
            written += rows_push(one, filled=heard.filled.get(one.entity), straight=straight)
        if written.unchanged:
            agent_count_duplicates(known.agent, duplicate=written.unchanged)
        extras_store(push.body, known=known, live=is_newest(push.body, heard=heard), now=push.now)
    known.mixed = not straight and all_newer(rows, heard=heard)
    if push.now.timestamp() - heard.seen > SILENT_SECONDS:
        known.at = 0.0  # take the columns back from whoever stepped in
    return Outcome(written.written, written.unchanged, verdicts.rejected, tuple(verdicts.errors))


def is_newest(body: Body, *, heard: Heard) -> bool:
    """A batch out of the spool is older than what was heard since: its snapshots tell of the past."""
    return heard.newest is None or not body.times or body.times[-1] >= heard.newest


def all_newer(rows: Sequence[Rows], *, heard: Heard) -> bool:
    newest = heard.newest
    return newest is None or all(bool((one.times > newest).all()) for one in rows)


def words_of(body: Body, *, key: int, verdicts: Verdicts, newest: float | None, now: datetime) -> dict[str, Any]:
    """What the agent says of itself, as `push_heard` takes it."""
    agent: AgentPart = body.agent
    spool = agent.spool
    return {
        "key_id": key,
        "version": agent.version[:40],
        "started_at": moment(agent.started_at),
        "interval_seconds": agent.interval_seconds,
        "skew_seconds": body.sent_at - now.timestamp(),
        "waiting_count": spool.waiting if spool else 0,
        "waiting_bytes": spool.bytes if spool else 0,
        "waiting_since": moment(spool.oldest) if spool else None,
        "trouble": spool.trouble if spool else "",
        "sequence": body.seq,
        "newest": moment(newest),
        "rejected": verdicts.rejected,
        "rejected_text": verdicts.errors[0] if verdicts.errors else "",
        "now": now,
    }


def moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, tz=UTC)

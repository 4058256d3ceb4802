"""What comes beside the samples: gaps, events, capabilities, the host; each stored once however often it is sent."""

from datetime import UTC, datetime
from typing import Any

from monitoring.agents.batch import Body
from monitoring.agents.known import Known
from monitoring.agents.processes import processes_store
from monitoring.models import Agent, AgentGap, Event, EventKind


def extras_store(body: Body, *, known: Known, live: bool, now: datetime) -> None:
    """In the transaction of the batch. live: it is the newest of this agent, so that its snapshots count."""
    if body.gaps:
        gaps = [
            AgentGap(agent_id=known.agent, count=one.count, start_at=at(one.start), end_at=at(one.end), reported_at=now)
            for one in body.gaps
        ]
        AgentGap.objects.bulk_create(gaps, ignore_conflicts=True)
    if body.events:
        events = [event for one in body.events if (event := event_of(one, known=known)) is not None]
        Event.objects.bulk_create(events, ignore_conflicts=True)
    if live:
        losses_note(body, known=known, now=now)
        if body.processes is not None:
            processes_store(body, known=known, now=now)
    said: dict[str, Any] = {}
    if body.agent.host is not None:
        said["host"] = body.agent.host
    if body.capabilities is not None:
        said["capabilities"] = body.capabilities
    if said and live:
        Agent.objects.filter(pk=known.agent).update(**said)


def losses_note(body: Body, *, known: Known, now: datetime) -> None:
    """An accelerator that fell off the bus is one incident from the batch that says so to the one in which it is back."""
    lost = {known.ids[pair]: one for one in body.entities if one.lost and (pair := ("accelerator", one.key)) in known.ids}
    if set(lost) == known.lost:
        return
    open_ones = {event.detail.get("accelerator_id"): event for event in open_losses(known)}
    back = [event.pk for pk, event in open_ones.items() if pk not in lost]
    Event.objects.filter(pk__in=back).update(end_at=now)
    fresh = [
        Event(
            kind=EventKind.INCIDENT,
            at=now,
            title=f"Lost {one.key}: {one.lost}"[:200],
            detail={"accelerator": one.key, "accelerator_id": pk, "node_id": known.node, "lost": one.lost},
            dedup_key=f"lost {pk} {now.timestamp():.3f}",
        )
        for pk, one in lost.items()
        if pk not in open_ones
    ]
    Event.objects.bulk_create(fresh, ignore_conflicts=True)
    known.lost = set(lost)


def open_losses(known: Known) -> list[Event]:
    return list(
        Event.objects.filter(kind=EventKind.INCIDENT, end_at__isnull=True, detail__node_id=known.node, dedup_key__startswith="lost ")
    )


def event_of(one: Any, *, known: Known) -> Event | None:
    accelerator = known.ids.get(("accelerator", one.accelerator))
    if one.kind != "xid" or accelerator is None:
        return None
    return Event(
        kind=EventKind.INCIDENT,
        at=at(one.time),
        title=f"Xid {one.code} on {one.accelerator}"[:200],
        detail={"accelerator": one.accelerator, "code": one.code, "node_id": known.node},
        dedup_key=f"xid {accelerator} {one.code} {one.time:.3f}",
    )


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)

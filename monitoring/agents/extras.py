"""What comes beside the samples: gaps, events, capabilities, the host; each stored once however often it is sent."""

from datetime import UTC, datetime
from typing import Any

from monitoring.agents.batch import Body
from monitoring.agents.known import Known
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
    said: dict[str, Any] = {}
    if body.agent.host is not None:
        said["host"] = body.agent.host
    if body.capabilities is not None:
        said["capabilities"] = body.capabilities
    if said and live:
        Agent.objects.filter(pk=known.agent).update(**said)


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

"""What happened in the demo fleet, as events on the time axis."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from capacity.demo import fleet
from capacity.demo.machines import LOST_NOT_SCALED
from capacity.demo.records import Service
from monitoring.models import Deployment, Event, EventKind, Version


def events_of(service: Service, deployment: Deployment, *, anchor: float, since: datetime) -> Iterator[Event]:
    """Releases and scalings from the records, then what is told only once."""
    versions = {version.name: version for version in Version.objects.filter(deployment=deployment)}
    told = [*release_events(service), *scale_events(service), *SPECIAL.get(service.name, ())]
    for number, (kind, offset, end, title, detail) in enumerate(told):
        moment = datetime.fromtimestamp(anchor + offset, tz=UTC)
        if moment < since:
            continue
        yield Event(
            deployment=deployment,
            version=versions.get(str(detail.get("version", ""))),
            kind=kind,
            at=moment,
            end_at=None if end is None else datetime.fromtimestamp(anchor + end, tz=UTC),
            title=title,
            detail=detail,
            dedup_key=f"demo:{service.name}:{number}",
        )


Told = tuple[EventKind, float, float | None, str, dict[str, Any]]


def release_events(service: Service) -> Iterator[Told]:
    for before, after in zip(service.releases, service.releases[1:], strict=False):
        share = f" for {after.share:.0%} of the traffic".replace("%", " %") if after.share < 1.0 else ""
        detail = {"version": after.name, "from": before.name, "by": "deploy-bot"}
        yield EventKind.DEPLOY, after.start, None, f"{before.name} to {after.name}{share}", detail


def scale_events(service: Service) -> Iterator[Told]:
    if service in LOST_NOT_SCALED:
        return
    for before, after in zip(service.scales, service.scales[1:], strict=False):
        yield EventKind.SCALE, after.start, None, after.text, {"from": before.replicas, "to": after.replicas}


SPECIAL: dict[str, tuple[Told, ...]] = {
    "tts-voice": (
        (
            EventKind.INCIDENT,
            fleet.TTS_INCIDENT_START,
            fleet.TTS_INCIDENT_END,
            "3 of 4 replicas lost: CUDA out of memory after a long text",
            {"opened_by": "voice-oncall"},
        ),
        (EventKind.RESTART, fleet.TTS_INCIDENT_END, None, "3 replicas restarted", {"replicas": 3}),
    ),
    "search-rerank": ((EventKind.LAUNCH, fleet.SALE_START, fleet.SALE_START + 3 * 86400.0, "Holiday sale", {"by": "marketing"}),),
    "fraud-score": ((EventKind.NOTE, fleet.FRAUD_DRIFT_START, None, "New merchants on board, longer baskets", {"by": "risk"}),),
}

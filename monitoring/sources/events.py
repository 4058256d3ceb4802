"""Events that telemetry itself tells: a new version, another number of replicas. Written as often as you like, kept once."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import numpy as np

from monitoring.models import Event, EventKind, Version
from monitoring.sources.assemble import Floats

STEADY_SECONDS = 300.0  # a count must hold this long: roll-outs and missed scrapes pass


def deploy_events_record(deployments: Iterable[int]) -> int:
    """One event for each version after a deployment's first; moved when history shows an earlier first sight."""
    versions: dict[int, list[Version]] = {}
    for version in Version.objects.filter(deployment__in=list(deployments)).order_by("first_seen_at", "pk"):
        versions.setdefault(version.deployment_id, []).append(version)
    wanted = {
        f"deploy:{version.pk}": Event(
            deployment_id=version.deployment_id,
            version=version,
            kind=EventKind.DEPLOY,
            at=version.first_seen_at,
            title=f"Version {version.name}"[:200],
            detail={"version": version.name, "before": before.name},
            dedup_key=f"deploy:{version.pk}",
        )
        for many in versions.values()
        for before, version in zip(many, many[1:], strict=False)
    }
    known = {event.dedup_key: event for event in Event.objects.filter(kind=EventKind.DEPLOY, deployment__in=list(versions))}
    ours = {f"deploy:{version.pk}" for many in versions.values() for version in many}
    Event.objects.filter(dedup_key__in=(known.keys() & ours) - wanted.keys()).delete()
    for key in known.keys() & wanted.keys():
        if known[key].at != wanted[key].at or known[key].detail != wanted[key].detail:
            Event.objects.filter(pk=known[key].pk).update(at=wanted[key].at, detail=wanted[key].detail)
    new = [event for key, event in wanted.items() if key not in known]
    Event.objects.bulk_create(new, ignore_conflicts=True)
    return len(new)


def steady_changes(times: Floats, *, counts: Floats) -> Iterator[tuple[float, int, int]]:
    """(time, from, to) where a replica count changes and both counts held for STEADY_SECONDS; NaN is passed over."""
    known = np.flatnonzero(np.isfinite(counts))
    if not known.size:
        return
    times, counts = times[known], np.rint(counts[known])
    starts = np.flatnonzero(np.r_[True, counts[1:] != counts[:-1]])
    ends = np.r_[starts[1:], len(counts)] - 1
    before: int | None = None
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        count = int(counts[start])
        if times[end] - times[start] < STEADY_SECONDS or count == before:
            continue
        if before is not None:
            yield float(times[start]), before, count
        before = count


def scale_events_record(deployment: int, *, times: Floats, counts: Floats) -> int:
    """Events for the changes in this stretch of a deployment's replica count; a stretch seen again adds nothing."""
    events = []
    for at, before, after in steady_changes(times, counts=counts):
        events.append(
            Event(
                deployment_id=deployment,
                kind=EventKind.SCALE,
                at=datetime.fromtimestamp(at, tz=UTC),
                title=f"{before} → {after} replicas",
                detail={"from": before, "to": after},
                dedup_key=f"scale:{deployment}:{round(at / STEADY_SECONDS)}",
            )
        )
    return len(Event.objects.bulk_create(events, ignore_conflicts=True))

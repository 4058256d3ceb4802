"""What is known to change demand: planned events; and launches and incidents of the past, days that say nothing of ordinary ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from capacity.analysis.forecast_series import DEMAND
from capacity.analysis.plan_assumed import Planned, planned_of
from capacity.engine.forecast import Event
from capacity.models import PlannedEvent
from monitoring.models import Event as Happening
from monitoring.models import EventKind

SPOILS = (EventKind.LAUNCH, EventKind.INCIDENT)
LONGEST_GAP = timedelta(days=7)  # longer ones are no exception but a time of their own: demand in them is learned from
LOOK_BACK = timedelta(days=60)  # further back nothing but the level of a whole week is learned


@dataclass(frozen=True)
class Told:
    """A launch or an incident that is over; Unix seconds."""

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class KnownEvents:
    """Of one deployment, soonest first."""

    planned: tuple[Planned, ...] = ()
    past: tuple[Told, ...] = ()

    def of(self, quantity: str, *, step: float, now: float) -> tuple[Event, ...]:
        """As the engine takes them. What is over and lasted no more than a week is a gap, whatever was planned of it.

        What an event adds is in requests per second: other quantities only know its factor.
        """
        gaps = [gap_of(told.name, told.start, told.end, step=step) for told in self.past]
        return (*gaps, *(found for one in self.planned if (found := planned_event(one, quantity, step=step, now=now)) is not None))


def planned_event(one: Planned, quantity: str, *, step: float, now: float) -> Event | None:
    if one.end <= now and one.end - one.start <= LONGEST_GAP.total_seconds():
        return gap_of(one.name, one.start, one.end, step=step)
    event = one.event
    if quantity == DEMAND:
        return event
    return Event(event.name, event.start_seconds, event.end_seconds, event.factor) if event.factor != 1.0 else None


def gap_of(name: str, start: float, end: float, *, step: float) -> Event:
    """Every step that the window touches is taken out."""
    return Event(name, start // step * step, max(-(-end // step), start // step + 1) * step, factor=0.0)


def events_load(deployment_ids: Sequence[int], *, now: datetime) -> dict[int, KnownEvents]:
    """Planned for every scenario of each deployment, and what happened in the last two months. Two queries, however many."""
    planned: dict[int, list[PlannedEvent]] = {pk: [] for pk in deployment_ids}
    past: dict[int, list[Told]] = {pk: [] for pk in deployment_ids}
    for event in PlannedEvent.objects.filter(deployment__in=deployment_ids):
        planned[event.deployment_id or 0].append(event)
    happened = Happening.objects.filter(deployment__in=deployment_ids, kind__in=SPOILS, at__gt=now - LOOK_BACK, end_at__lte=now)
    for pk, title, start, end in happened.order_by("at").values_list("deployment_id", "title", "at", "end_at"):
        if end is not None and start < end <= start + LONGEST_GAP:
            past[pk].append(Told(title, start.timestamp(), end.timestamp()))
    return {pk: KnownEvents(planned_of(planned[pk]), tuple(past[pk])) for pk in deployment_ids}

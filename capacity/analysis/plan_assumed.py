"""What a plan assumes beyond telemetry: settings by hand, a scenario's, or the install's defaults, each with where it comes from."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from capacity.engine.forecast import Event
from capacity.models import PlannedEvent, PlannedKind, PlanSettings, Scenario

LEAD_DAYS, APPROVAL_DAYS, STARTUP_SECONDS = 14.0, 3.0, 180.0
HORIZON_DAYS = 90
BY_HAND, ASSUMED, OF_SCENARIO = "set by hand", "assumed", "assumed in this scenario"


@dataclass(frozen=True)
class Known:
    """A number and where it comes from."""

    value: float
    basis: str


@dataclass(frozen=True)
class Planned:
    """A planned event in plain values."""

    pk: int | None
    kind: str
    name: str
    start: float
    end: float  # inf: from then on
    factor: float | None  # None: 1, or of a holiday learned from Sundays
    added: float

    @property
    def event(self) -> Event:
        factor = self.factor if self.factor is not None or self.kind == PlannedKind.HOLIDAY else 1.0
        return Event(self.name, self.start, self.end, factor, self.added)


@dataclass(frozen=True)
class ByHand:
    """The settings of a deployment; None: not set."""

    lead_time_days: float | None = None
    approval_days: float | None = None
    startup_seconds: float | None = None
    slots: int | None = None
    least_replicas: int | None = None
    most_replicas: int | None = None


@dataclass(frozen=True)
class Assumed:
    """A scenario's assumptions in plain values; the plan as things are has none of its own."""

    horizon_days: int = HORIZON_DAYS
    growth_per_month: float | None = None
    replicas: int | None = None
    by_hour: bool = False
    slo_threshold_seconds: float | None = None
    startup_seconds: float | None = None
    lead_time_days: float | None = None
    approval_days: float | None = None
    speed_ratio: float = 1.0
    hardware: str = ""
    hourly_rate: float | None = None
    events: tuple[Planned, ...] = ()
    name: str = ""

    @property
    def is_scenario(self) -> bool:
        return bool(self.name)


def planned_of(events: Sequence[PlannedEvent]) -> tuple[Planned, ...]:
    return tuple(
        Planned(
            pk=event.pk,
            kind=event.kind,
            name=event.name,
            start=event.start_at.timestamp(),
            end=event.end_at.timestamp() if event.end_at else inf,
            factor=event.factor,
            added=event.added_requests_per_second,
        )
        for event in sorted(events, key=lambda event: event.start_at)
    )


def by_hand_of(row: PlanSettings | None) -> ByHand:
    if row is None:
        return ByHand()
    return ByHand(row.lead_time_days, row.approval_days, row.startup_seconds, row.slots, row.least_replicas, row.most_replicas)


def assumed_of(scenario: Scenario | None, *, events: Sequence[PlannedEvent] = ()) -> Assumed:
    if scenario is None:
        return Assumed()
    return Assumed(
        horizon_days=scenario.horizon_days,
        growth_per_month=scenario.growth_per_month,
        replicas=scenario.replicas,
        by_hour=scenario.by_hour,
        slo_threshold_seconds=scenario.slo_threshold_seconds,
        startup_seconds=scenario.startup_seconds,
        lead_time_days=scenario.lead_time_days,
        approval_days=scenario.approval_days,
        speed_ratio=scenario.speed_ratio,
        hardware=scenario.hardware,
        hourly_rate=None if scenario.hourly_rate is None else float(scenario.hourly_rate),
        events=planned_of(events),
        name=scenario.name or "What if",
    )


def chosen(*, scenario: float | None, hand: float | None, measured: Known | None = None, default: float) -> Known:
    """A scenario's word counts first, then what was set by hand, then what was measured."""
    if scenario is not None:
        return Known(scenario, OF_SCENARIO)
    if hand is not None:
        return Known(hand, BY_HAND)
    return measured or Known(default, ASSUMED)

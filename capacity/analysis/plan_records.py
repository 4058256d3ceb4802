"""What a plan says, in plain values: made by analysis, stored as JSON, read by pages, API and exports alike.

Times are Unix seconds, rates requests per second, ratios 0 to 1, money in `currency` (floats; rounded once, where shown or stored).
Every section may be None; `gaps` then has the sentence why, by the section's name.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Demand:
    """The busiest hour of each day: what came and what is expected."""

    past_times: tuple[float, ...]  # start of each day (UTC)
    past_rates: tuple[float | None, ...]  # None: not measured
    times: tuple[float, ...]  # start of each day to come
    levels: tuple[float, ...]  # 0.1, 0.25, 0.5, 0.75, 0.9 at least
    quantiles: tuple[tuple[float, ...], ...]  # levels x days, events and growth included
    plain_median: tuple[float, ...]  # without the planned events
    growth_per_week: float | None  # of the median, as found or assumed
    peak_time: float  # day of the highest median
    peak_low: float  # 10 %
    peak: float  # median
    peak_high: float  # 90 %
    error_ratio: float | None  # mean absolute error of the backtest over mean demand
    naive_error_ratio: float | None  # of "as last week" (or yesterday) on the same days
    coverage_80: float | None  # share of past days inside the 80 % band
    history_days: float
    method: str  # sentence: "Hourly blend for 7 days, then a trend from 12 weeks."
    flags: tuple[str, ...]  # thin, trend, shift, events, scenario


@dataclass(frozen=True)
class Holding:
    """The rate so many replicas hold within the SLO."""

    replicas: float
    rate: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Step:
    """Capacity from a moment on."""

    time: float
    replicas: float
    rate: float  # held
    label: str = ""  # "2 H100 on order arrive"


@dataclass(frozen=True)
class Capacity:
    """What is there, over time, and what one replica more adds."""

    replicas_now: float
    now: Holding
    past: tuple[Step, ...]  # replicas that ran, times what each holds
    steps: tuple[Step, ...]  # from now on, arrivals included
    basis: str  # "measured", "extrapolated", "replayed", "formula"
    sentence: str
    headroom_sentence: str  # from the deployment's own latency at its loads, or why it cannot be told
    planned: tuple[Step, ...] = ()  # with what the plan orders, from the day it is needed on


@dataclass(frozen=True)
class RunOut:
    """When demand outgrows capacity. None: not within the horizon."""

    median_time: float | None
    early_time: float | None  # the 90 % quantile of demand reaches it
    without_events_time: float | None
    order_time: float | None  # latest day to order, from the early date
    lead_time_days: float
    approval_days: float
    replicas_to_order: int
    cause: str  # "the Nordwind launch", "growth", ""
    sentence: str
    known: bool = True  # False: where the replicas break is not known, so no date can be told


@dataclass(frozen=True)
class CurvePoint:
    replicas: int
    utilisation_ratio: float
    latency_p50: float
    latency_p95: float
    latency_p99: float
    promised: float  # seconds at the SLO's percentile
    late_ratio: float
    lost_minutes_per_month: float
    cost_per_month: float | None
    holds: bool


@dataclass(frozen=True)
class Curve:
    """Replicas against latency at the peak of the horizon."""

    rate: float  # mean rate the past was scaled to, so that its peak hour is the forecast's
    peak_rate: float
    needed: int
    points: tuple[CurvePoint, ...]
    slo_kind: str  # "end to end", "first token", "per output token"
    slo_percentile: float
    slo_seconds: float
    basis: str  # "recorded", "counts", "tokens", "formula"
    sentence: str  # how arrivals are known, burstiness, fit quality


@dataclass(frozen=True)
class Floor:
    """Minimum replicas by hour of the week (168, Monday 00:00 UTC first) or of the day (24) under the autoscaler."""

    replicas: tuple[int, ...]
    most: int  # the autoscaler's maximum
    target_ratio: float
    stabilisation_minutes: int
    startup_seconds: float
    startup_basis: str  # "measured over 14 starts", "set by hand", "assumed"
    running_per_replica: float  # the autoscaler's target: requests running in one replica


@dataclass(frozen=True)
class Policy:
    """One policy replayed over the same past days."""

    key: str  # "ran", "static", "hpa70", "plan", "clairvoyant"
    label: str
    detail: str
    lost_minutes: float
    replica_hours: float
    cost: float | None
    measured: bool  # as it was, not replayed


@dataclass(frozen=True)
class Replayed:
    start: float
    end: float
    days: float
    minutes: float  # with traffic and known
    budget_minutes: float | None  # the SLO allows so many
    policies: tuple[Policy, ...]
    sentence: str


@dataclass(frozen=True)
class Cost:
    currency: str  # empty: replica-hours
    hourly_rate: float | None  # of one replica
    certainty: str  # measured, estimated, unknown
    sentence: str  # which price
    now_per_month: float | None  # 730 h
    plan_per_month: float | None
    horizon_total: float | None
    now_replica_hours: float  # a month
    plan_replica_hours: float


@dataclass(frozen=True)
class Risk:
    """Of doing nothing until the end of the horizon."""

    lost_minutes: float
    budget_minutes: float | None
    cost: float | None  # money the minutes are worth, where somebody said what a minute is worth
    sentence: str
    plan_lost_minutes: float | None = None  # with what the plan runs instead


@dataclass(frozen=True)
class Assumption:
    kind: str  # launch, customer, maintenance, holiday, growth, price, startup, lead_time, slo, slots, tokens, arrivals
    title: str
    detail: str
    value: str
    event: int | None = None  # pk of the planned event


@dataclass(frozen=True)
class PlanResult:
    made_at: float
    as_of: float | None  # newest sample it rests on
    horizon_days: int
    headline: str  # "Capacity runs out on Tue 8 Dec when the Nordwind launch starts. Order 2 replicas by Tue 24 Nov."
    verdict: str  # "holds", "breaks", "unknown"
    demand: Demand | None = None
    capacity: Capacity | None = None
    run_out: RunOut | None = None
    curve: Curve | None = None
    floor: Floor | None = None
    replayed: Replayed | None = None
    cost: Cost | None = None
    risk: Risk | None = None
    saturation: str = ""  # what limits it at its peaks
    assumptions: tuple[Assumption, ...] = ()
    gaps: Mapping[str, str] = field(default_factory=dict)  # section -> why it is not there
    unit: str = "replicas"  # what capacity is counted in: of a group or cluster "accelerators"


def record_json(record: Any) -> dict[str, Any]:
    """Ready for JSON; NaN and infinity have no place in these records."""
    return asdict(record)


def record_read(kind: type[Kind], stored: Mapping[str, Any]) -> Kind:
    """The record again. A field added since takes its default; one that is gone is left out."""
    hints = get_type_hints(kind)
    known = {each.name for each in fields(kind) if each.name in stored}  # type: ignore[arg-type]
    return kind(**{name: value_read(hints[name], stored[name]) for name in known})


def value_read(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    if get_origin(hint) in (Union, UnionType):
        return value_read(next(part for part in get_args(hint) if part is not type(None)), value)
    if get_origin(hint) is tuple:
        return tuple(value_read(get_args(hint)[0], each) for each in value)
    if isinstance(hint, type) and is_dataclass(hint):
        return record_read(hint, value)
    return value

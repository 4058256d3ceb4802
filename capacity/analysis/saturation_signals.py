"""What saturation is judged from: a day of each deployment, its accelerators, nodes and replicas, folded onto its own steps.

A number of queries that does not depend on how many deployments are asked for at once.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
from django.db.models import Q

from capacity.engine.saturation import Signals
from monitoring.catalog.columns import COLUMNS
from monitoring.catalog.records import Entity, Fold, Latency
from monitoring.models import Placement, Replica
from monitoring.series import StepColumn, latency_quantiles_many, steps_load

Floats = npt.NDArray[np.float64]
STEP_SECONDS = 300.0
WINDOW = timedelta(days=1)
STEPS = round(WINDOW.total_seconds() / STEP_SECONDS)
REPLICAS_MOST = 64  # of one deployment, the newest: skew is told from these
ASKED = {each.name for each in fields(Signals)}
OWN = tuple(column.name for column in COLUMNS[Entity.DEPLOYMENT] if column.name in ASKED)
CARD_FOLDS = {column.name: column.fold for column in COLUMNS[Entity.ACCELERATOR] if column.name in ASKED}
NODE_NAMES = {
    "cpu_utilization_ratio": "cpu_utilization_ratio",
    "cpu_pressure_ratio": "cpu_pressure_ratio",
    "network_receive_bytes_per_second": "node_receive_bytes_per_second",
    "network_transmit_bytes_per_second": "node_transmit_bytes_per_second",
}
RUNNING = "requests_running"
# Kind of latency -> its column, and the columns that say its mean without histograms, which cost the most to read.
LATENCIES: dict[Latency, tuple[str, tuple[str, ...]]] = {
    Latency.REQUEST_DURATION: ("request_duration_seconds", ("request_seconds_per_second",)),
    Latency.QUEUE_TIME: ("queue_time_seconds", ("queue_seconds_per_second", "requests_waiting")),
    Latency.TIME_TO_FIRST_TOKEN: ("time_to_first_token_seconds", ("request_seconds_per_second",)),
    Latency.TIME_PER_OUTPUT_TOKEN: ("time_per_output_token_seconds", ()),
}


@dataclass(frozen=True)
class Span:
    """The steps that are looked at: they end on multiples of their length, the last one may have just begun."""

    start: float  # Unix seconds
    end: float

    @classmethod
    def until(cls, now: datetime) -> "Span":
        end = float(np.ceil(now.timestamp() / STEP_SECONDS) * STEP_SECONDS)
        return cls(end - STEPS * STEP_SECONDS, end)

    @property
    def begin_at(self) -> datetime:
        return datetime.fromtimestamp(self.start, UTC)

    @property
    def end_at(self) -> datetime:
        return datetime.fromtimestamp(self.end, UTC)

    @property
    def times(self) -> Floats:
        return self.start + STEP_SECONDS * np.arange(1.0, STEPS + 1)


@dataclass
class Places:
    """On what one deployment lay within the span, and who its replicas were."""

    cards: dict[int, Floats] = field(default_factory=dict)  # accelerator -> (STEPS,) share of it at each step
    nodes: set[int] = field(default_factory=set)
    replicas: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Loaded:
    """One deployment ready to be judged; names of the replicas in the order of `signals.replica_running`."""

    signals: Signals
    replicas: tuple[str, ...]
    as_of: float | None  # Unix seconds: end of the newest step in which load was measured


def signals_load(deployments: Sequence[int], *, now: datetime) -> dict[int, Loaded]:
    """Deployment -> its last 24 hours in steps of five minutes."""
    span, ids = Span.until(now), list(deployments)
    places = places_load(ids, span=span)
    own = means_load(Entity.DEPLOYMENT, ids, OWN, span=span)
    cards = means_load(Entity.ACCELERATOR, sorted({card for each in places.values() for card in each.cards}), tuple(CARD_FOLDS), span=span)
    nodes = means_load(Entity.NODE, sorted({node for each in places.values() for node in each.nodes}), tuple(NODE_NAMES), span=span)
    several = sorted(replica for each in places.values() if len(each.replicas) > 1 for replica in each.replicas)
    running = means_load(Entity.REPLICA, several, (RUNNING,), span=span)
    latencies = latencies_load(own, span=span)
    return {
        pk: loaded_of(
            own[pk] | latencies.get(pk, {}) | cards_fold(places[pk], cards) | nodes_fold(places[pk], nodes),
            replicas={name: running[replica] for replica, name in places[pk].replicas.items() if running.get(replica)},
            span=span,
        )
        for pk in ids
    }


def loaded_of(columns: Mapping[str, Floats], *, replicas: Mapping[str, Mapping[str, Floats]], span: Span) -> Loaded:
    rows = np.vstack([each[RUNNING] for each in replicas.values()]) if len(replicas) > 1 else None
    signals = Signals(STEP_SECONDS, replica_running=rows, **columns)  # type: ignore[arg-type]
    load = [columns[name] for name in (RUNNING, "requests_per_second", "output_tokens_per_second") if name in columns]
    seen = np.flatnonzero(np.isfinite(np.vstack(load)).any(axis=0)) if load else np.zeros(0, np.int64)
    return Loaded(signals, tuple(replicas) if rows is not None else (), float(span.times[seen[-1]]) if seen.size else None)


# --- On what it lay ------------------------------------------------------------------------------------------------------


def places_load(ids: Sequence[int], *, span: Span) -> dict[int, Places]:
    """Two queries."""
    found = {pk: Places() for pk in ids}
    seen = Replica.objects.filter(deployment__in=ids, last_seen_at__gt=span.begin_at, first_seen_at__lt=span.end_at)
    for pk, owner, name, node in seen.order_by("-last_seen_at", "pk").values_list("pk", "deployment_id", "name", "node_id"):
        own = found[owner]
        if len(own.replicas) < REPLICAS_MOST:
            own.replicas[pk] = name
        own.nodes |= {node} - {None}
    held = Placement.objects.filter(
        Q(valid_to=None) | Q(valid_to__gt=span.begin_at), replica__deployment__in=ids, valid_from__lt=span.end_at
    )
    names = ("replica__deployment_id", "accelerator_id", "accelerator__node_id", "node_id", "share", "valid_from", "valid_to")
    for owner, card, card_node, node, share, begin, end in held.values_list(*names):
        own = found[owner]
        own.nodes |= {card_node, node} - {None}
        if card is not None:
            inside = (span.times > begin.timestamp()) & (span.times - STEP_SECONDS < (end.timestamp() if end else np.inf))
            before = own.cards.get(card)
            own.cards[card] = np.minimum(share * inside + (0.0 if before is None else before), 1.0)
    return found


def cards_fold(places: Places, cards: Mapping[int, Mapping[str, Floats]]) -> dict[str, Floats]:
    """Accelerator columns as one: by the fold of the catalogue, each as far as and while the deployment held it."""
    if not places.cards:
        return {}
    weights = np.vstack(list(places.cards.values()))
    columns: dict[str, Floats] = {}
    for name, fold in CARD_FOLDS.items():
        rows = [cards[card].get(name) for card in places.cards]
        if any(row is not None for row in rows):
            columns[name] = folded(np.vstack([EMPTY if row is None else row for row in rows]), weights, fold)
    return columns


def folded(values: Floats, weights: Floats, fold: Fold) -> Floats:
    """(cards, steps) -> (steps,); NaN where none was measured."""
    known = np.isfinite(values) & (weights > 0)
    if fold is Fold.MAX:
        highest = np.where(known, values, -np.inf).max(axis=0)
        return np.where(known.any(axis=0), highest, np.nan)
    shares = np.where(known, weights, 0.0)
    total, whole = (shares * np.nan_to_num(values)).sum(axis=0), shares.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, total / whole if fold is Fold.MEAN else total, np.nan)


def nodes_fold(places: Places, nodes: Mapping[int, Mapping[str, Floats]]) -> dict[str, Floats]:
    """Means over the nodes it ran on, by the names of the signals."""
    columns: dict[str, Floats] = {}
    for name, signal in NODE_NAMES.items():
        rows = [row for node in places.nodes if (row := nodes[node].get(name)) is not None]
        if rows:
            columns[signal] = folded(np.vstack(rows), np.ones((len(rows), STEPS)), Fold.MEAN)
    return columns


EMPTY: Floats = np.full(STEPS, np.nan)


# --- Telemetry -----------------------------------------------------------------------------------------------------------


def means_load(entity: Entity, ids: Sequence[int], names: Sequence[str], *, span: Span) -> dict[int, dict[str, Floats]]:
    """entity -> column -> (STEPS,) mean of each step, only of columns that were measured at all; two queries."""
    if not ids:
        return {}
    steps = steps_load(entity, ids, names, start=span.start, end=span.end, step=STEP_SECONDS)
    found: dict[int, dict[str, Floats]] = {pk: {} for pk in ids}
    for name, column in steps.columns.items():
        values = means_of(column)
        for place in np.flatnonzero(np.isfinite(values).any(axis=1)):
            found[ids[int(place)]][name] = values[place]
    return found


def means_of(column: StepColumn) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(column.count > 0, column.total / column.count, np.nan)


def latencies_load(own: Mapping[int, Mapping[str, Floats]], *, span: Span) -> dict[int, dict[str, Floats]]:
    """deployment -> column -> (STEPS,) median of each step. Histograms only of those whose counters do not say it; three queries a kind."""
    found: dict[int, dict[str, Floats]] = defaultdict(dict)
    for kind, (signal, instead) in LATENCIES.items():
        asked = {pk: 0.5 for pk, columns in own.items() if wanted(kind, columns, instead)}
        for pk, values in latency_quantiles_many(asked, kind, start=span.begin_at, end=span.end_at, points=STEPS).items():
            if values.size == STEPS and np.isfinite(values).any():
                found[pk][signal] = values
    for pk, columns in own.items():
        for signal, total in MEANS.items():
            if total in columns and "requests_per_second" in columns and signal not in found[pk]:
                found[pk][signal] = quotient(columns[total], columns["requests_per_second"])
    return found


def wanted(kind: Latency, columns: Mapping[str, Floats], instead: Sequence[str]) -> bool:
    """Only where no counter says it; time per token only of servers that make tokens."""
    if not columns or any(name in columns for name in instead):
        return False
    return kind is not Latency.TIME_PER_OUTPUT_TOKEN or "output_tokens_per_second" in columns or "kv_cache_usage_ratio" in columns


MEANS = {"request_duration_seconds": "request_seconds_per_second", "queue_time_seconds": "queue_seconds_per_second"}


def quotient(total: Floats, count: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, total / count, np.nan)

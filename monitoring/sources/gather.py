"""One range query a series: what a source's systems measured in a span, failures kept apart."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from monitoring.catalog.columns import COLUMNS
from monitoring.catalog.records import Kind, Latency, Series, System
from monitoring.catalog.systems import SYSTEMS
from monitoring.prometheus import (
    BadQuery,
    BadReply,
    Matrix,
    Over,
    Overloaded,
    Part,
    Prometheus,
    PrometheusError,
    overs_of,
    series_present,
    series_query,
    wire_names,
)
from monitoring.sources.assemble import Floats

MOST_FAILURES = 3  # in a row: then it is the source that has trouble, not a series
EVERY_SECONDS = 30.0  # of rates that are averaged over a step


@dataclass(frozen=True)
class Span:
    """Grid points start, start + step, ..., end in Unix seconds; each names the end of its step."""

    start: float
    end: float
    step: float
    windows: Mapping[str, float]  # seconds of rate() and the *_over_time functions, by slug of the system
    rollup: bool = False  # ask for mean, least and greatest of each step instead of the value at its end
    averaged: Collection[str] = ()  # systems whose rates are asked each `EVERY_SECONDS` and averaged over the step
    gained: Collection[str] = ()  # systems whose rates are what their counters gained from step to step

    def lead_seconds(self, slug: str) -> float:
        """How much later rates are asked: the middle of their longer window is then the middle of the step."""
        if slug in self.averaged:  # whole multiples, at which Prometheus evaluates them
            return round((self.windows[slug] - EVERY_SECONDS) / 2 / EVERY_SECONDS) * EVERY_SECONDS
        return float(round(max(0.0, self.windows[slug] - self.step) / 2))

    @property
    def times(self) -> Floats:
        count = round((self.end - self.start) / self.step) + 1
        return self.start + self.step * np.arange(count, dtype=np.float64)


@dataclass(frozen=True)
class Ask:
    system: System
    series: Series
    over: Over
    part: Part

    @property
    def words(self) -> str:
        return f"{self.system.name} {wire_names(self.series)[0]}"


LabelSet = frozenset[tuple[str, str]]


def label_set(labels: Mapping[str, str], *, series: Series) -> LabelSet:
    """What tells whose a row is: without the bucket bound and what the series keeps beside the identity."""
    if series.labels:
        return frozenset(pair for pair in labels.items() if pair[0] != "le" and pair[0] not in series.labels)
    if "le" in labels:
        return frozenset(pair for pair in labels.items() if pair[0] != "le")
    return frozenset(labels.items())


@dataclass
class Gathered:
    span: Span
    answers: list[tuple[Ask, Matrix]] = field(default_factory=list)
    failed: list[tuple[Ask, PrometheusError]] = field(default_factory=list)
    queries: int = 0
    samples: int = 0
    _keys: dict[int, list[LabelSet]] = field(default_factory=dict, repr=False)

    def keys_of(self, ask: Ask, matrix: Matrix) -> list[LabelSet]:
        """The label set of each row; made once, it costs more than all that is done with it."""
        if id(matrix) not in self._keys:
            self._keys[id(matrix)] = [label_set(labels, series=ask.series) for labels in matrix.labels]
        return self._keys[id(matrix)]


def systems_present(names: Collection[str]) -> list[System]:
    return [system for system in SYSTEMS.values() if any(name in names for name in system.detect)]


def asks_of(systems: Iterable[System], *, names: Collection[str], rollup: bool) -> list[Ask]:
    """All queries of one span; series that feed no row (info) or that the source does not have are left out."""
    asks = []
    for system in systems:
        columns = {column.name for column in COLUMNS[system.entity]}
        for series in system.series:
            if not series_present(series, names):
                continue
            if series.kind is Kind.HISTOGRAM and isinstance(series.target, Latency):
                over = Over.AVG if rollup else Over.NOW
                asks += [Ask(system, series, over, Part.BUCKETS), Ask(system, series, over, Part.SUM)]
            elif series.kind is not Kind.INFO and series.target in columns:
                overs = overs_of(series) if rollup else (Over.NOW,)
                asks += [Ask(system, series, over, Part.BUCKETS) for over in overs]
    return asks


def span_gather(
    client: Prometheus, *, asks: Iterable[Ask], names: Collection[str], span: Span, beat: Callable[[], None] = lambda: None
) -> Gathered:
    """Ask them one after the other; `beat` is called between them, so that a lease lives on.

    A failure of the source as a whole is raised; a failure of one series is recorded and the others go on.
    """
    out = Gathered(span)
    in_a_row = 0
    for ask in asks:
        beat()
        window = span.windows[ask.system.slug]
        text = series_query(
            ask.system,
            ask.series,
            names_present=names,
            selector=client.selector,
            window_seconds=span.step if span.rollup and ask.series.kind is Kind.GAUGE else window,
            over=ask.over,
            part=ask.part,
            averaged=(span.step, EVERY_SECONDS) if ask.system.slug in span.averaged else None,
            gained=span.step if ask.system.slug in span.gained else None,
        )
        if text is None:
            continue
        out.queries += 1
        try:
            lead = span.lead_seconds(ask.system.slug) if ask.series.kind in (Kind.COUNTER, Kind.HISTOGRAM) else 0.0
            matrix = client.query_range(text, start=span.start + lead, end=span.end + lead, step=span.step)
        except (Overloaded, BadQuery, BadReply) as error:
            out.failed.append((ask, error))
            in_a_row += 1
            if in_a_row >= MOST_FAILURES:
                raise
            continue
        in_a_row = 0
        out.answers.append((ask, matrix))
        out.samples += int(np.isfinite(matrix.values).sum())
    return out

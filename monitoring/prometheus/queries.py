"""PromQL, in one place: text from catalogue records, with every name checked and every value escaped.

One query a series returns all deployments of a source, grouped by the labels that tell them apart; buckets come as
buckets. The grouping keeps the labels of the target too, because some servers have no model label of their own.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from monitoring.catalog.columns import COLUMNS
from monitoring.catalog.records import Combine, Fold, Kind, Series, System

TARGET_LABELS = ("cluster", "namespace", "pod", "container", "service", "job", "instance", "node")

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
MATCHER = re.compile(r"""\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"((?:[^"\\\n]|\\.)*)"\s*(?:,|$)""")
UNESCAPE = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "'": "'"}

FOLDS = {Fold.SUM: "sum", Fold.MAX: "max", Fold.MEAN: "avg", Fold.COUNT: "count"}
OPERATORS = {Combine.PLUS: "+", Combine.EITHER: "+", Combine.MINUS: "-", Combine.OVER: "/"}


class Over(StrEnum):
    """What of a gauge's window is asked: its value now, or the mean, lowest and highest of the window."""

    NOW = "now"
    AVG = "avg"
    MIN = "min"
    MAX = "max"


class Part(StrEnum):
    """Which part of a histogram is asked."""

    BUCKETS = "bucket"
    SUM = "sum"
    COUNT = "count"


@dataclass(frozen=True)
class Matcher:
    """One label matcher, its value as plain text."""

    label: str
    operator: str  # =, !=, =~, !~
    value: str

    def __str__(self) -> str:
        if not LABEL.fullmatch(self.label):
            raise ValueError(f"{self.label!r} is no label name; letters, digits and _ only, not beginning with a digit")
        if self.operator not in ("=", "!=", "=~", "!~"):
            raise ValueError(f"{self.operator!r} is no matcher; use =, !=, =~ or !~")
        return f'{self.label}{self.operator}"{escape(self.value)}"'


def escape(value: str) -> str:
    """A label value as it stands between double quotes."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def regex_escape(value: str) -> str:
    """A text that matches itself in a `=~` matcher."""
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", value)


def any_of(label: str, values: Sequence[str]) -> Matcher:
    """A matcher for a list of plain values."""
    return Matcher(label, "=~", "|".join(regex_escape(value) for value in values))


def selector_parse(text: str) -> list[Matcher]:
    """The matchers of a selector somebody typed, e.g. `cluster="prod", namespace!="dev"`; ValueError says what is wrong."""
    rest = text.strip().removeprefix("{").removesuffix("}").strip()
    matchers: list[Matcher] = []
    at = 0
    while at < len(rest):
        found = MATCHER.match(rest, at)
        if not found:
            raise ValueError(f'{rest[at : at + 40]!r} is no label matcher; write label="value", separated by commas')
        value = re.sub(r"\\(.)", lambda part: UNESCAPE.get(part[1], part[0]), found[3])
        matchers.append(Matcher(found[1], found[2], value))
        at = found.end()
    return matchers


def selector_text(text: str) -> str:
    """A typed selector, checked and written anew; empty stays empty."""
    return ",".join(str(matcher) for matcher in selector_parse(text))


def instant_selector(name: str, *matchers: str) -> str:
    """`name{matchers}`; the parts are matcher texts, empty ones are left out."""
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no metric name")
    return f"{name}{{{','.join(part for part in matchers if part)}}}"


def duration(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    if milliseconds <= 0:
        raise ValueError(f"a window must be longer than 0 s, got {seconds}")
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"


def identity_labels(system: System, series: Series) -> tuple[str, ...]:
    """All labels the answer of a series is grouped by."""
    own = (*TARGET_LABELS, *system.identity, system.model_label, system.version_label, *series.labels)
    return tuple(dict.fromkeys(label for label in own if label and label not in series.dropped))


def wire_names(series: Series) -> tuple[str, ...]:
    """The names of a series as they stand on the wire: a histogram's with its suffix."""
    suffix = "_bucket" if series.kind is Kind.HISTOGRAM else ""
    return tuple(name + suffix for name in series.names)


def series_present(series: Series, names_present: Collection[str]) -> bool:
    """True where a source has what the series needs."""
    first = any(name in names_present for name in wire_names(series))
    second = any(name in names_present for name in series.other)
    if series.combine is Combine.EITHER:
        return first or second
    return first and (second or series.combine is None)


def overs_of(series: Series) -> tuple[Over, ...]:
    """Which windows make sense for import: a rate is a mean already, a gauge has a lowest and a highest value."""
    return (Over.AVG, Over.MIN, Over.MAX) if series.kind is Kind.GAUGE else (Over.AVG,)


@dataclass(frozen=True)
class Writing:
    """What all parts of one query share."""

    system: System
    series: Series
    present: Collection[str]
    selector: str
    window: str
    part: Part
    averaged: tuple[float, float] | None
    gained: float | None

    @property
    def group(self) -> str:
        labels = identity_labels(self.system, self.series)
        return ", ".join((*labels, "le") if self.is_buckets else labels)

    @property
    def is_buckets(self) -> bool:
        return self.series.kind is Kind.HISTOGRAM and self.part is Part.BUCKETS

    @property
    def fold(self) -> Fold:
        columns = COLUMNS[self.system.entity]
        own = next((column.fold for column in columns if column.name == self.series.target), Fold.SUM)
        return self.series.fold or own


def series_query(
    system: System,
    series: Series,
    *,
    names_present: Collection[str],
    selector: str = "",
    window_seconds: float,
    over: Over = Over.NOW,
    part: Part = Part.BUCKETS,
    averaged: tuple[float, float] | None = None,
    gained: float | None = None,
) -> str | None:
    """The query of a series for all label sets of a source; None where the source has no name of it.

    selector: typed by people; checked here. window_seconds: of `rate` and of the *_over_time functions.
    averaged: rates are means over so many seconds of rates each so many seconds, both multiples of the second.
    gained: rates are what a counter gained from one stretch of so many seconds to the next; `rate` where that is unknown.
    The answer is in the unit of the wire: multiply by `series.scale`.
    """
    if series.kind is not Kind.GAUGE and over in (Over.MIN, Over.MAX):
        raise ValueError(f"{series.kind} has no {over} of a window; ask overs_of(series) first")
    if not series_present(series, names_present):
        return None
    writing = Writing(system, series, names_present, selector_text(selector), duration(window_seconds), part, averaged, gained)
    if series.kind is Kind.INFO:
        return info_text(writing, over)
    text = combined(writing, over=flipped(over) if series.complement else over)
    return f"1 - ({text})" if series.complement else text


def info_text(writing: Writing, over: Over) -> str:
    """All labels of an info series, not grouped: they are the answer."""
    return " or ".join(ranged(writing, name, writing.series.matchers, over, "last") for name in names_of(writing, writing.series.names))


def flipped(over: Over) -> Over:
    """The highest difference takes the lowest of what is taken away."""
    return {Over.MIN: Over.MAX, Over.MAX: Over.MIN}.get(over, over)


def combined(writing: Writing, *, over: Over) -> str:
    series = writing.series
    first = operand(writing, series.names, series.matchers, over=over)
    if series.combine is None:
        return first
    other_over = flipped(over) if series.combine in (Combine.MINUS, Combine.OVER) else over
    second = operand(writing, series.other, series.other_matchers, over=other_over)
    if not first or not second:
        return first or second
    both = f"({first}) {OPERATORS[series.combine]} ({second})"
    return f"({both}) or {first} or {second}" if series.combine is Combine.EITHER else both


def operand(writing: Writing, names: Sequence[str], matchers: str, *, over: Over) -> str:
    """All names present, newest first; each label set is answered by the first that has it.

    Two names of one histogram may differ in their buckets, so an older name counts only where the newer has no bucket at all.
    """
    texts = [folded(writing, name, matchers, over) for name in names_of(writing, names)]
    if not writing.is_buckets:
        return " or ".join(texts)
    labels = ", ".join(identity_labels(writing.system, writing.series))
    joined = ""
    for text in texts:
        joined = f"{joined} or ({text} unless on ({labels}) ({joined}))" if joined else text
    return joined


def names_of(writing: Writing, names: Sequence[str]) -> list[str]:
    suffix = f"_{writing.part}" if writing.series.kind is Kind.HISTOGRAM else ""
    bucket = "_bucket" if writing.series.kind is Kind.HISTOGRAM else ""
    return [name + suffix for name in names if name + bucket in writing.present]


def folded(writing: Writing, name: str, matchers: str, over: Over) -> str:
    inner = ranged(writing, name, matchers, over, "present" if writing.fold is Fold.COUNT else over)
    if writing.system.blank_above is not None:
        inner = f"{inner} < {writing.system.blank_above:g}"
    if writing.series.once_by:
        inner = f"max by ({writing.group}, {', '.join(writing.series.once_by)}) ({inner})"
    return f"{FOLDS[writing.fold]} by ({writing.group}) ({inner})"


def ranged(writing: Writing, name: str, matchers: str, over: Over, function: str) -> str:
    """One metric as an instant vector: its rate, its value, or a statistic of its window."""
    text = instant_selector(name, matchers, writing.selector)
    if writing.series.kind in (Kind.COUNTER, Kind.HISTOGRAM):
        return rated(writing, text)
    return text if over is Over.NOW else f"{function}_over_time({text}[{writing.window}])"


def rated(writing: Writing, selector: str) -> str:
    rate = f"rate({selector}[{writing.window}])"
    if writing.averaged is not None:
        return rates_mean(rate, *writing.averaged)
    return rate if writing.gained is None else f"({rate_gained(selector, writing.gained)} or {rate})"


def rate_gained(selector: str, seconds: float) -> str:
    """Gains that add up to the counter's own, however late a scrape came.

    Prometheus extrapolates the samples of a window, and where one came seconds late it takes too little of two windows:
    what was counted meanwhile is lost. A counter that began, was away or began anew has no gain, or one below 0.
    """
    stretch = duration(seconds)
    latest, before = (f"last_over_time({selector}[{stretch}]{shift})" for shift in ("", f" offset {stretch}"))
    return f"(({latest} - {before}) / {seconds:g} >= 0)"


def rates_mean(rate: str, seconds: float, every: float) -> str:
    """Over all moments, also those at which the series was not there yet or no more: a pod that ends is no bump.

    The range is a second shorter than asked, as Prometheus 2 counts both its ends and Prometheus 3 only the last.
    """
    return f"(sum_over_time({rate}[{duration(seconds - 1.0)}:{duration(every)}]) / {round(seconds / every)})"

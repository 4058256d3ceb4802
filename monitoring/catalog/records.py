"""The words of the catalogue: what a column, a latency kind and a series are.

Records only; the lists stand in `columns.py` and, one file a system, in `systems/`. The expressions are built from
them by `monitoring.prometheus.queries`; two-series quantities (total less available, hits plus misses) are one
record with `other` and `combine`, so that there is no PromQL in the catalogue but label matchers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum


class Entity(StrEnum):
    """What a wide row describes. The value names its tables: `deployment_sample`, `deployment_5m`, ..."""

    DEPLOYMENT = "deployment"  # keyed by (deployment, version)
    REPLICA = "replica"
    ACCELERATOR = "accelerator"
    NODE = "node"


class Fold(StrEnum):
    """How several values at one instant become one: replicas into a deployment, series into one query row.

    COUNT stands in a `Series` only, where the number of series is the value (CPU cores); a column never has it.
    """

    SUM = "sum"
    MAX = "max"
    MEAN = "mean"
    COUNT = "count"


class Combine(StrEnum):
    """How a series and its `other` become one value, label set by label set."""

    PLUS = "plus"  # both are needed
    EITHER = "either"  # a sum where one of the two may be missing: success + failure
    MINUS = "minus"
    OVER = "over"


class Latency(IntEnum):
    """What a latency histogram measures; the number is stored."""

    REQUEST_DURATION = 1
    TIME_TO_FIRST_TOKEN = 2
    TIME_PER_OUTPUT_TOKEN = 3
    QUEUE_TIME = 4


@dataclass(frozen=True)
class Column:
    """One measured quantity of an entity, stored in base units as `real`; NULL = not measured."""

    name: str
    unit: str  # "req/s", "ratio", "bytes", "watts", "seconds", "tokens/s", ...
    label: str  # the words of the screen, sentence case
    meaning: str  # one sentence for the help and the docs
    fold: Fold = Fold.SUM
    higher_is: str = "neutral"  # "good", "bad" or "neutral": how a change is coloured
    maximum: float | None = None  # values above are rejected by the validator


@dataclass(frozen=True)
class Ratio:
    """A quantity that is the quotient of two stored columns, so that any window merges exactly."""

    name: str
    numerator: str
    denominator: str
    unit: str
    label: str
    meaning: str
    higher_is: str = "neutral"


class Kind(StrEnum):
    """The Prometheus type of a series, which decides the query that is built for it."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"
    INFO = "info"  # labels matter, the value does not


@dataclass(frozen=True)
class Series:
    """One quantity of one system: where it is read and what it becomes.

    names: metric names in order of preference, newest first; a histogram's name without `_bucket`. All names present
        are asked in one query, and for each label set the first that answers counts: history before a rename stays.
    target: a column of the system's entity, or for a HISTOGRAM the `Latency` it feeds, or for INFO a free word.
        Two series of a system with the same target: the first one that has a value for an identity counts.
    scale: factor to the base unit (1e-6 for microseconds, 0.01 for percent), applied to the answer, not in the query;
        for a HISTOGRAM it applies to bounds and sum.
    matchers: label matchers in PromQL, without braces, e.g. 'finished_reason="error"'.
    fold: how the series of one identity are combined inside the query; None: the column's own, SUM for histograms.
    other, combine: a second operand (names as in `names`) with its own matchers.
    complement: the answer is 1 - value, e.g. busy = 1 - idle.
    """

    target: str | Latency
    names: tuple[str, ...]
    kind: Kind
    scale: float = 1.0
    fold: Fold | None = None
    matchers: str = ""
    other: tuple[str, ...] = ()
    other_matchers: str = ""
    combine: Combine | None = None
    complement: bool = False
    once_by: tuple[str, ...] = ()  # more labels by which repeated series are collapsed (max) before the fold
    dropped: tuple[str, ...] = ()  # identity labels this series must not be split by, e.g. the MIG instance for board power
    labels: tuple[str, ...] = ()  # more labels to keep, beside the system's identity labels
    server_wide: bool = False  # carries no model label: belongs to a deployment only where its server serves one model
    absent_is_zero: bool = False  # no series means that none happened yet, where the system itself is seen
    required: bool = False  # its absence is named by Test, with what it costs
    without: str = ""  # what the user loses when it is missing, e.g. "no queue on the page"
    remedy: str = ""  # what to do about it, e.g. "start TorchServe with metrics_mode=prometheus"
    quality: str = "exact"  # "exact", "approx" or "proxy", shown as such
    note: str = ""


@dataclass(frozen=True)
class System:
    """One server or exporter: how it is recognised, whose rows it feeds, and its series.

    eras: (name of a metric that only this era and later ones export, words for the era), newest first; the first
        name present tells the era.
    lacks: columns and latencies the system has no series for, with the reason: shown as "not available", never as zero.
    """

    slug: str
    name: str
    kind: str  # "serving" or "infrastructure"
    entity: Entity  # cAdvisor and kube-state-metrics: DEPLOYMENT; the per-pod rows also fill REPLICA columns of the same name
    detect: tuple[str, ...]  # any of these metric names present means the system is there
    series: tuple[Series, ...]
    identity: tuple[str, ...]  # labels to group by, beside the source's target labels
    model_label: str | None = None
    version_label: str | None = None  # the label that carries the model's version
    version_unknown: tuple[str, ...] = ()  # values of that label that mean "not told"
    priority: int = 50  # the higher provider wins a column (agent 100 > dcgm 80 > others)
    blank_above: float | None = None  # raw values above mean "not measured" and are left out by the query
    endpoint: str = ""  # where it is scraped, for the remedy
    source: str = ""  # where the facts were read
    seen_version: str = ""
    costs: str = ""  # what is lost when the whole system is not found
    eras: tuple[tuple[str, str], ...] = ()
    lacks: Mapping[str | Latency, str] = field(default_factory=dict)
    traps: tuple[str, ...] = ()

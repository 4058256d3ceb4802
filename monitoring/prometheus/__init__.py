"""Questions to a Prometheus: text of the queries, the client, answers as arrays."""

from monitoring.prometheus.buckets import Buckets, buckets_split
from monitoring.prometheus.client import MAX_POINTS, Build, Prometheus, chunks
from monitoring.prometheus.errors import BadQuery, BadReply, Overloaded, PrometheusError, Refused, Unreachable
from monitoring.prometheus.matrix import Matrix
from monitoring.prometheus.queries import (
    TARGET_LABELS,
    Matcher,
    Over,
    Part,
    any_of,
    identity_labels,
    instant_selector,
    overs_of,
    selector_parse,
    selector_text,
    series_present,
    series_query,
    wire_names,
)

__all__ = [
    "MAX_POINTS",
    "TARGET_LABELS",
    "BadQuery",
    "BadReply",
    "Buckets",
    "Build",
    "Matcher",
    "Matrix",
    "Over",
    "Overloaded",
    "Part",
    "Prometheus",
    "PrometheusError",
    "Refused",
    "Unreachable",
    "any_of",
    "buckets_split",
    "chunks",
    "identity_labels",
    "instant_selector",
    "overs_of",
    "selector_parse",
    "selector_text",
    "series_present",
    "series_query",
    "wire_names",
]

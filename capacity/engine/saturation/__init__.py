"""What limits a deployment, from what was measured of it; plain arrays in, a frozen answer out."""

from capacity.engine.saturation.records import Evidence, Limit, Saturation, Signals, Skew, Thresholds, Verdict
from capacity.engine.saturation.verdict import saturation_find
from capacity.engine.saturation.words import (
    LABELS,
    NAMES,
    figure,
    limit_words,
    missing_words,
    saturation_words,
    skew_words,
    threshold_words,
    value_words,
    verdict_words,
)

__all__ = [
    "LABELS",
    "NAMES",
    "Evidence",
    "Limit",
    "Saturation",
    "Signals",
    "Skew",
    "Thresholds",
    "Verdict",
    "figure",
    "limit_words",
    "missing_words",
    "saturation_find",
    "saturation_words",
    "skew_words",
    "threshold_words",
    "value_words",
    "verdict_words",
]

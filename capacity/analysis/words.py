"""Numbers in the words of the screens: three digits, the unit after a space."""

from datetime import timedelta

from monitoring.catalog.columns import LATENCY_LABELS
from monitoring.catalog.records import Latency


def seconds_words(seconds: float) -> str:
    """`0.41 s`, `12.4 s`, `88 ms`, `8.6 ms`."""
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"


def percent_words(ratio: float) -> str:
    """`98 %`, below one percent with two digits: `0.05 %`."""
    percent = ratio * 100
    return f"{percent:.0f} %" if percent >= 9.95 or percent == 0 else f"{percent:.1f} %" if percent >= 1 else f"{percent:.2g} %"


def span_words(span: timedelta) -> str:
    """`31 min`, `5 h`, `3 days`: one unit, rounded down."""
    minutes = int(span.total_seconds() // 60)
    if minutes < 120:
        return f"{max(minutes, 0)} min"
    return f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} days"


def latency_words(latency: Latency, percentile: float | None) -> str:
    """`First token p95`; without a percentile `Mean request duration`."""
    label = LATENCY_LABELS[latency]
    return f"{label} p{percentile * 100:g}" if percentile is not None else f"Mean {label[0].lower()}{label[1:]}"

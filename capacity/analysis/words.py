"""Numbers in the words of the screens: three digits, the unit after a space."""

import math
from datetime import timedelta

from monitoring.catalog.columns import LATENCY_LABELS
from monitoring.catalog.records import Latency

LEAST_PERCENT = 0.001  # what lies nearer to 0 or 100 than this is told by a < or >


def seconds_words(seconds: float) -> str:
    """`0.41 s`, `12.4 s`, `180 s`, `88 ms`, `8.6 ms`."""
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s" if seconds < 99.95 else f"{seconds:,.0f} s"


def percent_number(ratio: float) -> str:
    """`98`, `99.5`, `7.1`, `0.05`: only what is nothing says 0 and only what is all says 100."""
    percent = 100 * ratio
    size = abs(percent)
    if 0 < size < LEAST_PERCENT:
        return f"<{LEAST_PERCENT}"
    if 100 - LEAST_PERCENT < size < 100:
        return f">{100 - LEAST_PERCENT}"
    if 99 < size < 100:
        return trimmed(percent, decimals=max(1, -math.floor(math.log10(100 - size))))
    if size >= 9.95 or percent == 0:
        return trimmed(percent, decimals=0)
    return trimmed(percent, decimals=1 - math.floor(math.log10(size)))


def trimmed(value: float, *, decimals: int) -> str:
    text = f"{value:,.{decimals}f}".replace("-", "\u2212")
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent_words(ratio: float) -> str:
    """`98 %`, `99.5 %`, below ten percent two digits: `0.05 %`."""
    return f"{percent_number(ratio)} %"


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

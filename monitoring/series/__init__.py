"""The read door: (entity, quantity, window) -> arrays with NaN for gaps, never more points than asked."""

from monitoring.series.latency import histogram_of, latency_kinds, latency_load, latency_totals
from monitoring.series.latency_many import latency_quantiles_many
from monitoring.series.lines import lines_load, lines_load_many, lines_load_total
from monitoring.series.records import LatencyLines, Latest, Line, Lines, Summary
from monitoring.series.totals import coverage_load, latest_load, newest_load, totals_load
from monitoring.series.windows import Totals, windows_load
from monitoring.store.layouts import Histogram, Quantile, histograms_merge
from monitoring.store.watermarks import watermarks_held

__all__ = [
    "Histogram",
    "LatencyLines",
    "Latest",
    "Line",
    "Lines",
    "Quantile",
    "Summary",
    "Totals",
    "coverage_load",
    "histogram_of",
    "histograms_merge",
    "latency_kinds",
    "latency_load",
    "latency_quantiles_many",
    "latency_totals",
    "latest_load",
    "lines_load",
    "lines_load_many",
    "lines_load_total",
    "newest_load",
    "totals_load",
    "watermarks_held",
    "windows_load",
]

"""The read door: (entity, quantity, window) -> arrays with NaN for gaps, never more points than asked."""

from monitoring.series.latency import histogram_of, latency_kinds, latency_load, latency_load_kinds, latency_totals, latency_totals_windows
from monitoring.series.latency_many import Judged, latency_judged_many, latency_quantiles_many, latency_window_many
from monitoring.series.lines import lines_load, lines_load_many, lines_load_total, lines_load_windows
from monitoring.series.records import LatencyLines, Latest, Line, Lines, Summary
from monitoring.series.steps import StepColumn, Steps, steps_load
from monitoring.series.totals import coverage_load, latest_load, means_load, newest_load, totals_load, totals_load_windows
from monitoring.series.windows import ALIGNED_SECONDS, Totals, windows_load
from monitoring.store.layouts import Histogram, Quantile, histograms_merge
from monitoring.store.watermarks import watermarks_held

__all__ = [
    "ALIGNED_SECONDS",
    "Histogram",
    "Judged",
    "LatencyLines",
    "Latest",
    "Line",
    "Lines",
    "Quantile",
    "StepColumn",
    "Steps",
    "Summary",
    "Totals",
    "coverage_load",
    "histogram_of",
    "histograms_merge",
    "latency_judged_many",
    "latency_kinds",
    "latency_load",
    "latency_load_kinds",
    "latency_quantiles_many",
    "latency_totals",
    "latency_totals_windows",
    "latency_window_many",
    "latest_load",
    "lines_load",
    "lines_load_many",
    "lines_load_total",
    "lines_load_windows",
    "means_load",
    "newest_load",
    "steps_load",
    "totals_load",
    "totals_load_windows",
    "watermarks_held",
    "windows_load",
]

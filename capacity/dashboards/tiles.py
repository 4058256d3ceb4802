"""The tiles of a Deployment page: the value of the last minutes, the window, the change on the window before, the course."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from django.utils.html import format_html
from django.utils.safestring import SafeString

from capacity.dashboards.evidence import UNITS, Evidence
from capacity.dashboards.panels import busy_of
from capacity.dashboards.sparks import spark
from capacity.dashboards.words import change, figure, figure_html
from monitoring.catalog.columns import LATENCY_LABELS
from monitoring.catalog.records import Entity, Latency
from monitoring.models import WorkloadKind
from monitoring.series import Histogram, Summary, latency_totals_windows, totals_load_windows

LIVE = timedelta(minutes=5)
BUSY_COLUMNS = ("gr_engine_active_ratio", "gpu_utilization_ratio")
MEAN_COLUMN = "request_duration_mean_seconds"
SHORT_LATENCIES = {Latency.REQUEST_DURATION: "Request"}  # eight tiles stand in a row
HIGHER_IS = {
    MEAN_COLUMN: "bad",
    "error_ratio": "bad",
    "requests_waiting": "bad",
    "kv_cache_usage_ratio": "bad",
    "cpu_throttled_ratio": "bad",
}
COLUMN_TILES_LLM = (
    ("Output tokens", "output_tokens_per_second"),
    ("Errors", "error_ratio"),
    ("KV cache", "kv_cache_usage_ratio"),
    ("Waiting", "requests_waiting"),
)
COLUMN_TILES_OTHER = (
    ("Requests", "requests_per_second"),
    ("Errors", "error_ratio"),
    ("Waiting", "requests_waiting"),
    ("CPU used", "cpu_usage_cores"),
)
COLUMN_TILES_WORK = (
    ("CPU used", "cpu_usage_cores"),
    ("Host memory", "memory_used_bytes"),
    ("Network in", "network_receive_bytes_per_second"),
)


@dataclass(frozen=True)
class Tile:
    name: str
    value: SafeString
    note: SafeString | str
    spark: SafeString | str
    tone: str = ""
    url: str = ""


@dataclass(frozen=True)
class Totals:
    """Means of one entity group in the last minutes, in the window and in the window before it."""

    live: Mapping[str, float]
    window: Mapping[str, float]
    before: Mapping[str, float]


def live_window(evidence: Evidence) -> tuple[datetime, datetime]:
    """The last five minutes that have samples, or three steps where the rows are coarser."""
    time_range, as_of = evidence.page.range, evidence.as_of
    end = as_of if as_of is not None and time_range.start < as_of < time_range.end else time_range.end
    return end - max(LIVE, timedelta(seconds=3 * evidence.deployment.step_seconds)), end


def totals_of(evidence: Evidence, entity: Entity, ids: list[int], *, live: Sequence[str], told: Sequence[str]) -> Totals:
    """One query. live: columns of the last minutes; told: those whose window and change are told too."""
    time_range = evidence.page.range
    windows = [(live, *live_window(evidence)), (told, time_range.start, time_range.end), (told, *time_range.before)]
    return Totals(*(means(each) for each in totals_load_windows(entity, ids, windows, means_only=True)))


def means(totals: Mapping[int, Mapping[str, Summary]]) -> dict[str, float]:
    """The mean over all rows of a group, each row alike."""
    found: dict[str, list[float]] = {}
    for columns in totals.values():
        for name, summary in columns.items():
            if summary.count and np.isfinite(summary.mean):
                found.setdefault(name, []).append(summary.mean)
    return {name: float(np.mean(values)) for name, values in found.items()}


def told_columns(evidence: Evidence) -> list[str]:
    """The columns of the tiles."""
    return [column for _, column in column_tiles(evidence)] + ["replicas_ready", MEAN_COLUMN]


def column_tiles(evidence: Evidence) -> Sequence[tuple[str, str]]:
    if evidence.deployment.workload_kind != WorkloadKind.SERVING:
        return COLUMN_TILES_WORK
    return COLUMN_TILES_LLM if evidence.llm else COLUMN_TILES_OTHER


def deployment_tiles(evidence: Evidence, *, own: Totals, hardware: Totals) -> list[Tile]:
    columns = [column_tile(evidence, name, column, own) for name, column in column_tiles(evidence)]
    busy, replicas = busy_tile(evidence, hardware), replicas_tile(evidence, own)
    if evidence.deployment.workload_kind != WorkloadKind.SERVING:
        return [busy, *columns, replicas]
    kinds = (Latency.TIME_TO_FIRST_TOKEN, Latency.TIME_PER_OUTPUT_TOKEN) if evidence.llm else (Latency.REQUEST_DURATION,)
    found = latencies_of(evidence, kinds)
    tiles = [tile for kind in kinds for tile in latency_tiles(evidence, kind, found[kind], both=not evidence.llm)]
    if not evidence.llm and Latency.REQUEST_DURATION not in evidence.kinds and MEAN_COLUMN in own.window:
        tiles = [column_tile(evidence, "Request mean", MEAN_COLUMN, own)]  # the server exports no histogram
    return [*tiles, *columns, busy, replicas]


def latencies_of(evidence: Evidence, kinds: Sequence[Latency]) -> dict[Latency, list[Histogram | None]]:
    """Merged histograms of the last minutes, of the window and of the window before it; one query."""
    time_range, pk = evidence.page.range, evidence.deployment.pk
    windows = (live_window(evidence), (time_range.start, time_range.end), time_range.before)
    chosen = [version.pk for version in evidence.chosen] or None
    found = latency_totals_windows([pk], kinds, windows, versions=chosen)
    return {kind: [each[kind].get(pk) for each in found] for kind in kinds}


def latency_tiles(evidence: Evidence, kind: Latency, histograms: Sequence[Histogram | None], *, both: bool) -> list[Tile]:
    """p95 (and p99 where there is one kind only) of the last minutes."""
    tiles = []
    for q, name in ((0.95, "p95"), (0.99, "p99"))[: 2 if both else 1]:
        values = [each.quantile(q).seconds if each is not None and each.count else None for each in histograms]
        lines = evidence.latencies.get(kind)
        promised = evidence.slo is not None and evidence.slo.latency == kind and abs(evidence.slo.percentile - q) < 1e-9
        limit = evidence.slo.threshold_seconds if evidence.slo is not None and promised else None
        label = f"{SHORT_LATENCIES.get(kind, LATENCY_LABELS[kind])} {name}"
        tone = "crit" if limit is not None and values[0] is not None and values[0] > limit else ""
        course = spark(lines.quantile(q) if lines is not None else None, label=label, limit=limit, area=True, wide=True)
        tiles.append(
            Tile(
                label,
                figure_html(values[0], "seconds"),
                note(evidence, values[1], values[2], "seconds", "bad", live=values[0]),
                course,
                tone,
            )
        )
    return tiles


def column_tile(evidence: Evidence, name: str, column: str, totals: Totals) -> Tile:
    unit, value = UNITS[column], totals.live.get(column)
    words = note(evidence, totals.window.get(column), totals.before.get(column), unit, HIGHER_IS.get(column, "neutral"), live=value)
    values, slo = evidence.column(column), evidence.slo
    promised = 1 - slo.availability_ratio if column == "error_ratio" and slo is not None and slo.availability_ratio else None
    tone = "crit" if promised is not None and value is not None and value > promised else ""
    course = spark(values if values.size else None, label=name, limit=promised, area=True, wide=True)
    return Tile(name, figure_html(value, unit), words, course, tone)


def busy_tile(evidence: Evidence, totals: Totals) -> Tile:
    column = next((name for name in BUSY_COLUMNS if name in totals.window), BUSY_COLUMNS[0])
    values = busy_of(evidence)
    if not evidence.accelerators and evidence.as_of is not None:
        return Tile("GPU busy", figure_html(None), "runs on CPU", spark(None, label="GPU busy", wide=True))
    words = note(evidence, totals.window.get(column), totals.before.get(column), "ratio", "neutral", live=totals.live.get(column))
    return Tile(
        "GPU busy",
        figure_html(totals.live.get(column), "ratio"),
        words,
        spark(values if values.size else None, label="GPU busy", area=True, wide=True),
    )


def replicas_tile(evidence: Evidence, totals: Totals) -> Tile:
    ready, wished = totals.live.get("replicas_ready"), totals.live.get("replicas_desired")
    values = evidence.column("replicas_ready")
    value = (
        figure_html(ready, "")
        if wished is None
        else format_html('{} <span class="u">of {}</span>', figure(ready, "replicas").number, figure(wished, "replicas").number)
    )
    tone = "warn" if ready is not None and wished is not None and ready + 0.5 < wished else ""
    words = note(evidence, totals.window.get("replicas_ready"), totals.before.get("replicas_ready"), "replicas", "neutral", live=ready)
    return Tile("Replicas", value, words, spark(values if values.size else None, label="Replicas", area=True, wide=True), tone)


def note(
    evidence: Evidence, window: float | None, before: float | None, unit: str, higher_is: str, *, live: float | None = None
) -> SafeString | str:
    """ "6 h 0.79 · ▲ 31 %": the mean of the window, and its change on the window before."""
    if window is None:
        return f"{evidence.page.range.words}: not seen"
    words = evidence.page.range.words
    shown, large = figure(window, unit), figure(live, unit)
    size = shown.number if shown.unit == large.unit else str(shown)
    moved = change(window, before, window=words, unit=unit, higher_is=higher_is)
    if moved is None:
        return f"{words} {size}"
    return format_html('{} {} · <span class="{}">{}</span>', words, size, "up-bad" if moved.bad else "", moved.short)

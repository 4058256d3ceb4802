"""The score: the panels of a Deployment page on one time axis, and the rail of versions and events above them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from capacity.analysis.slo import slo_minutes
from capacity.dashboards.answers import Built, Panel
from capacity.dashboards.charts import Plot, figure, stretches
from capacity.dashboards.evidence import (
    POINTS,
    Evidence,
    accelerators_of,
    activity_load,
    is_llm,
    latencies_load,
    placements_held,
    usual_range,
)
from capacity.dashboards.pages import Page, seconds_utc, span_words
from capacity.dashboards.panels import OPEN_CPU, OPEN_LLM, OPEN_MOST, OPEN_OTHER, OPEN_WORK, PANELS, SERVING_ONLY, TITLES
from capacity.dashboards.panels_latency import promised_latency
from capacity.dashboards.words import count, moment
from capacity.dashboards.words import figure as number
from capacity.engine.answer import NoAnswer
from monitoring.catalog.columns import RATIOS
from monitoring.catalog.records import Entity, Latency
from monitoring.catalog.systems import SYSTEMS
from monitoring.models import Deployment, Event, EventKind, Replica, Slo, Version, WorkloadKind
from monitoring.series import LatencyLines, Lines, latency_kinds, lines_load
from monitoring.sources import Missing, missing_metrics

TILE_LATENCIES = (Latency.REQUEST_DURATION, Latency.TIME_TO_FIRST_TOKEN, Latency.TIME_PER_OUTPUT_TOKEN)
MISSING_MOST = 3  # sentences about missing metrics in one panel; Sources has all
LONGEST_USUAL_SECONDS = 8 * 86400.0
EVENT_ICONS = {
    EventKind.DEPLOY: "ver",
    EventKind.SCALE: "scale",
    EventKind.RESTART: "restart",
    EventKind.INCIDENT: "crit",
    EventKind.LAUNCH: "launch",
    EventKind.NOTE: "note",
}


@dataclass(frozen=True)
class Shown:
    """A panel as its template needs it."""

    slug: str
    built: Built
    figure: dict[str, Any] | None
    summary: str
    source: str
    missing: Sequence[Missing]
    base: str  # address of the panel

    @property
    def table_url(self) -> str:
        return f"{self.base}{self.slug}/table/"

    @property
    def csv_url(self) -> str:
        return f"{self.base}{self.slug}.csv"

    @property
    def figure_id(self) -> str:
        return f"figure-{self.slug}"


@dataclass(frozen=True)
class Fold:
    """A question that is not asked until it is opened."""

    slug: str
    question: str


def chosen_panels(
    evidence_kinds: Sequence[Latency], deployment: Deployment, *, slo: Slo | None, has_accelerators: bool
) -> tuple[list[Panel], list[Panel]]:
    """The panels drawn at once, at most five, and the folded ones, in the order of the page."""
    llm = is_llm(evidence_kinds, deployment)
    serving = deployment.workload_kind == WorkloadKind.SERVING
    wanted = OPEN_WORK if not serving else OPEN_LLM if llm else OPEN_OTHER if has_accelerators else OPEN_CPU
    main = promised_latency(slo, evidence_kinds)
    fitting = [
        panel
        for panel in PANELS
        if (serving or panel.slug not in SERVING_ONLY)
        and fits(panel, evidence_kinds, main=main, llm=llm, has_accelerators=has_accelerators)
    ]
    by_slug = {panel.slug: panel for panel in fitting}
    open_now = [by_slug[slug] for slug in wanted if slug in by_slug][:OPEN_MOST]
    return open_now, [panel for panel in fitting if panel not in open_now]


def fits(panel: Panel, kinds: Sequence[Latency], *, main: Latency, llm: bool, has_accelerators: bool) -> bool:
    if panel.latency is not None:
        return panel.latency in kinds and panel.latency != main
    if panel.slug in ("tokens", "cache", "throughput"):
        return llm
    return has_accelerators or not panel.activity


def evidence_load(
    deployment: Deployment,
    page: Page,
    *,
    panels: Sequence[Panel] | None,
    chosen: Sequence[Version],
    more: Sequence[str] = (),
    skew: bool = False,
) -> tuple[Evidence, Sequence[Panel]]:
    """Load what the panels need, and no more. None: those that a Deployment page opens with."""
    slo = getattr(deployment, "slo", None)
    kinds = latency_kinds(deployment.pk)
    placements = placements_held(deployment, start=page.range.start, end=page.range.end)
    accelerators = accelerators_of(placements)
    if panels is None:
        panels, _ = chosen_panels(kinds, deployment, slo=slo, has_accelerators=bool(accelerators))
    versions = list(Version.objects.filter(deployment=deployment))
    ids = [version.pk for version in chosen] or None
    columns = sorted({column for panel in panels for column in panel.columns} | set(more)) or ["requests_per_second"]
    needed = {panel.latency for panel in panels if panel.latency is not None}
    if any(panel.main_latency for panel in panels):
        needed |= {promised_latency(slo, kinds), *TILE_LATENCIES}
    replicas = replicas_seen(deployment, start=page.range.start, end=page.range.end)
    activity = sorted({column for panel in panels for column in panel.activity})
    replica_columns = ["requests_per_second", "requests_running"] if skew else sorted({column for panel in panels for column in panel.skew})
    evidence = Evidence(
        deployment=deployment,
        page=page,
        slo=slo,
        versions=versions,
        chosen=chosen,
        lines=lines_load(
            Entity.DEPLOYMENT, deployment.pk, columns, start=page.range.start, end=page.range.end, points=POINTS, versions=ids
        ),
        latencies=latencies_load(deployment, sorted(needed & set(kinds)), page=page, versions=ids),
        kinds=kinds,
        placements=placements,
        accelerators=accelerators,
        activity=activity_load(Entity.ACCELERATOR, [each.pk for each in accelerators], activity, page=page),
        replicas=replicas,
        skew=activity_load(Entity.REPLICA, [each.pk for each in replicas], replica_columns, page=page),
    )
    return promise_added(usual_added(evidence, panels), panels), panels


def usual_added(evidence: Evidence, panels: Sequence[Panel]) -> Evidence:
    column = next((panel.usual for panel in panels if panel.usual), "")
    if not column or evidence.page.range.seconds > LONGEST_USUAL_SECONDS or not evidence.measured(column):
        return evidence
    line = evidence.lines.columns[column]
    return replace(evidence, usual=usual_range(evidence.deployment, column, page=evidence.page, points=line.times))


def promise_added(evidence: Evidence, panels: Sequence[Panel]) -> Evidence:
    if evidence.slo is None or evidence.slo.threshold_seconds is None or not any(panel.main_latency for panel in panels):
        return evidence
    minutes = slo_minutes(evidence.deployment, start=evidence.page.range.start, end=evidence.page.range.end, slo=evidence.slo)
    if isinstance(minutes, NoAnswer):
        return evidence
    return replace(evidence, breaches=[(low.timestamp(), high.timestamp()) for low, high in minutes.breaches], lost_minutes=minutes.lost)


def replicas_seen(deployment: Deployment, *, start: datetime, end: datetime) -> list[Replica]:
    seen = Replica.objects.filter(deployment=deployment, last_seen_at__gte=start, first_seen_at__lt=end)
    return list(seen.select_related("version", "node")[:200])


# --- What the templates show ---------------------------------------------------------------------------------------------


def panels_shown(evidence: Evidence, panels: Sequence[Panel], *, clock: bool = False) -> list[Shown]:
    """The lowest plot carries the clock."""
    built = [(panel, panel.build(evidence)) for panel in panels]
    asked = any(each.plot is None for _, each in built) and diagnosable(evidence)
    missing = missing_metrics(evidence.deployment, now=evidence.page.now) if asked else []
    last = next((panel.slug for panel, each in reversed(built) if each.plot is not None), "")
    return [shown(evidence, panel, each, missing=missing, clock=clock or panel.slug == last) for panel, each in built]


def diagnosable(evidence: Evidence) -> bool:
    """Before it was first seen nothing is missing, and the demo fleet has no source that could be asked."""
    return evidence.page.range.end > evidence.deployment.first_seen_at and not evidence.deployment.cluster.demo


def shown(evidence: Evidence, panel: Panel, built: Built, *, missing: Sequence[Missing], clock: bool) -> Shown:
    base = f"/deployments/{evidence.deployment.pk}/panels/"
    columns = {part for name in (*panel.columns, *panel.activity, *panel.skew) for part in RATIO_PARTS.get(name, (name,))}
    named = [each for each in missing if each.column in columns or (panel.main_latency and each.column in LATENCY_COLUMNS)]
    if built.plot is None:
        return Shown(panel.slug, built, None, "", "", named[:MISSING_MOST], base)
    plot = replace(built.plot, clock=clock, height=built.plot.height + (16 if clock else 0))
    return Shown(panel.slug, built, figure(plot), summary(plot, evidence.page), source_words(evidence, panel), named, base)


RATIO_PARTS = {ratio.name: (ratio.numerator, ratio.denominator) for ratio in RATIOS}
LATENCY_COLUMNS = {latency.name.lower() for latency in Latency} | {str(latency.value) for latency in Latency}


def summary(plot: Plot, page: Page) -> str:
    """One sentence for whoever does not see the plot."""
    parts = []
    for trace in plot.traces:
        known = trace.values[np.isfinite(trace.values)]
        if known.size:
            low, high, end = (number(float(value), plot.unit) for value in (known.min(), known.max(), known[-1]))
            parts.append(f"{trace.name} between {low} and {high}, last {end}")
    gaps = len(stretches(~np.isfinite(plot.traces[0].values)))
    tail = f", {count(gaps, 'gap')}" if gaps else ""
    return f"{plot.title} {page.range.words} at steps of {span_words(plot.step)}{tail}: {'; '.join(parts)}."


def source_words(evidence: Evidence, panel: Panel) -> str:
    """Where it comes from, which table answered, at which step, as of when."""
    columns = [*panel.columns, *panel.activity, *panel.skew]
    providers = evidence.accelerators[0].providers if panel.activity and evidence.accelerators else evidence.deployment.providers
    slugs = dict.fromkeys(slug for column in columns if (slug := providers.get(column))) or {evidence.deployment.system: None}
    names = ", ".join(SYSTEMS[slug].name if slug in SYSTEMS else slug for slug in slugs if slug)
    return table_words(names, lines_of(evidence, panel), page=evidence.page)


def lines_of(evidence: Evidence, panel: Panel) -> Lines | LatencyLines:
    """What the panel was read from."""
    if panel.main_latency:
        return evidence.latencies.get(promised_latency(evidence.slo, evidence.kinds), evidence.lines)
    if panel.latency is not None:
        return evidence.latencies.get(panel.latency, evidence.lines)
    group = evidence.activity if panel.activity else evidence.skew if panel.skew else {}
    return next(iter(group.values()), evidence.lines)


def table_words(names: str, lines: Lines | LatencyLines, *, page: Page) -> str:
    as_of = f"as of {seconds_utc(lines.as_of).astimezone(page.zone):%H:%M:%S} {page.zone_name}" if lines.as_of else "no sample"
    table = {"sample": "raw", "raw": "raw"}.get(lines.table, f"{lines.table} rollup")
    return "; ".join(part for part in (names, f"{table}, step {span_words(lines.step)}", as_of) if part)


# --- The rail --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stretch:
    """A part of the rail, in percent of its width."""

    left: float
    width: float
    text: str
    current: bool = False


@dataclass(frozen=True)
class Flag:
    left: float
    text: str
    icon: str = ""


@dataclass(frozen=True)
class Rail:
    versions: Sequence[Stretch]
    flags: Sequence[Flag]
    ticks: Sequence[Flag]
    broken: Sequence[Stretch]


def rail(evidence: Evidence, events: Sequence[Event]) -> Rail:
    page = evidence.page
    start, end = page.range.start.timestamp(), page.range.end.timestamp()

    def percent(at: float) -> float:
        return round(100 * (min(max(at, start), end) - start) / (end - start), 3)

    starts = [version.first_seen_at.timestamp() for version in evidence.versions]
    stops = [*starts[1:], end][: len(starts)]  # none where no version is known
    stretches_shown = [
        Stretch(percent(begin), percent(stop) - percent(begin), version.name, stop == end)
        for version, begin, stop in zip(evidence.versions, starts, stops, strict=True)
        if stop > start and begin < end
    ]
    flags = [
        Flag(percent(version.first_seen_at.timestamp()), f"{version.name} {moment(version.first_seen_at, now=page.now, zone=page.zone)}")
        for version in evidence.versions[1:]
        if start < version.first_seen_at.timestamp() < end
    ]
    ticks = [
        Flag(percent(event.at.timestamp()), event.title, EVENT_ICONS.get(EventKind(event.kind), "note"))
        for event in events
        if event.kind != EventKind.DEPLOY
    ]
    broken = [
        Stretch(percent(low), max(percent(high) - percent(low), 0.4), "SLO broken")
        for low, high in evidence.breaches
        if high > start and low < end
    ]
    return Rail(stretches_shown, flags[-6:], ticks[:30], broken)


def folds(evidence: Evidence, panels: Sequence[Panel]) -> list[Fold]:
    _, rest = chosen_panels(evidence.kinds, evidence.deployment, slo=evidence.slo, has_accelerators=bool(evidence.accelerators))
    return [Fold(panel.slug, TITLES[panel.slug]) for panel in rest if panel not in panels]

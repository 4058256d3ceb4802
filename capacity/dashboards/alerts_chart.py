"""The signal of an alert around its time, drawn as the pages of deployments draw it: when did it start?"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from capacity.dashboards.alerts_words import limit_words, signal_label, unit_of
from capacity.dashboards.charts import Flag, Guide, Plot, Trace, figure
from capacity.dashboards.evidence import UNITS, grid_of, last
from capacity.dashboards.pages import Page, TimeRange
from capacity.dashboards.score import summary, table_words
from capacity.dashboards.words import figure as number
from capacity.dashboards.words import moment
from monitoring.access import Actor, accelerators_for, nodes_for
from monitoring.catalog.columns import COLUMNS, LATENCY_LABELS, RATIOS
from monitoring.catalog.records import Entity, Latency
from monitoring.models import Alert, Rule, RuleEntity, Slo, Version
from monitoring.series import latency_load, lines_load

POINTS, HEIGHT = 240, 190
LEAST_BEFORE, MOST_BEFORE = timedelta(minutes=30), timedelta(hours=6)
AFTER = timedelta(minutes=30)
# A named signal -> the column it is taken from.
COLUMN_OF = {
    "queue_growth": "requests_waiting",
    "slo_error_burn": "error_ratio",
    "ecc_errors_new": "ecc_uncorrected_errors",
    "xid_changed": "xid_code",
}
STORED = {(entity.value, column.name) for entity, columns in COLUMNS.items() for column in columns}
STORED |= {(Entity.DEPLOYMENT.value, ratio.name) for ratio in RATIOS}
NOT_KEPT = "This signal is looked at each round and not kept as a series, so there is no chart; the times stand under What happened."


@dataclass(frozen=True)
class AlertChart:
    """The plot with its words; without a figure `missing` says why."""

    answer: str
    figure: dict[str, Any] | None = None
    summary: str = ""
    source: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Course:
    """What is drawn: one line, its unit, and the limit that counts."""

    name: str
    unit: str
    values: npt.NDArray[np.float64]
    first: float
    step: float
    words: str  # of the source line
    guide: Guide | None


def alert_chart(alert: Alert, *, actor: Actor, now: datetime, zone: ZoneInfo) -> AlertChart:
    page = page_around(alert, now=now, zone=zone)
    course = course_of(alert, actor=actor, page=page)
    if course is None:
        return AlertChart("", missing=NOT_KEPT)
    if not np.isfinite(course.values).any():
        return AlertChart("", missing=f"{course.name} was not measured around {page.range.start:%d %b %H:%M} UTC, or is kept no longer.")
    fires = (alert.fired_at or alert.started_at).timestamp()
    plot = Plot(
        title="When did it start?",
        unit=course.unit,
        start=page.range.start.timestamp(),
        end=page.range.end.timestamp(),
        first=course.first,
        step=course.step,
        traces=[Trace(course.name, course.values, style="heavy")],
        guides=[course.guide] if course.guide is not None else [],
        shaded=[(fires, (alert.closed_at or now).timestamp())] if alert.fired_at else [],
        flags=flags_of(alert, page),
        height=HEIGHT,
        clock=True,
        zone=zone,
    )
    drawn = figure(plot)
    drawn["layout"]["dragmode"] = False  # this page has no range to zoom
    return AlertChart(answer_words(alert, course, page=page), drawn, summary(plot, page), course.words)


def page_around(alert: Alert, *, now: datetime, zone: ZoneInfo) -> Page:
    window = timedelta(seconds=alert.rule.window_seconds if alert.rule is not None else 0)
    start = alert.started_at - min(max(window, LEAST_BEFORE), MOST_BEFORE)
    end = min(now, (alert.closed_at or now) + AFTER)
    return Page(now, zone, TimeRange(start, max(end, start + LEAST_BEFORE), "", ""), {}, "off")


def course_of(alert: Alert, *, actor: Actor, page: Page) -> Course | None:
    """None: the signal is no series."""
    rule = alert.rule
    if rule is None or not rule.signal:
        return None
    if rule.signal == "slo_latency_burn":
        return latency_course(alert, page=page)
    column = COLUMN_OF.get(rule.signal, rule.signal)
    pk = entity_id(alert, rule, actor=actor)
    if pk is None or (rule.entity, column) not in STORED:
        return None
    lines = lines_load(Entity(rule.entity), pk, [column], start=page.range.start, end=page.range.end, points=POINTS)
    line, grid = lines.columns[column], grid_of(lines)
    return Course(
        signal_label(column),
        UNITS[column],
        line.mean,
        grid.first,
        grid.step,
        table_words("", lines, page=page),
        guide_of(alert, rule, column),
    )


def entity_id(alert: Alert, rule: Rule, *, actor: Actor) -> int | None:
    """The row the labels mean, among those the reader sees."""
    if rule.entity == RuleEntity.DEPLOYMENT:
        return alert.deployment_id
    cluster = alert.labels.get("cluster", "")
    if rule.entity == RuleEntity.ACCELERATOR:
        found = accelerators_for(actor).filter(uuid=alert.labels.get("accelerator", ""), cluster__name=cluster)
        return found.values_list("pk", flat=True).first()
    if rule.entity == RuleEntity.NODE:
        return nodes_for(actor).filter(name=alert.labels.get("node", ""), cluster__name=cluster).values_list("pk", flat=True).first()
    return None


def guide_of(alert: Alert, rule: Rule, column: str) -> Guide | None:
    """The threshold where it is one of the drawn quantity."""
    if column == rule.signal:
        return Guide(rule.threshold, limit_words(rule))
    slo = slo_of(alert)
    if rule.signal == "slo_error_burn" and slo is not None and slo.availability_ratio is not None:
        return Guide(1 - slo.availability_ratio, f"SLO {number(1 - slo.availability_ratio, 'ratio')} of requests")
    return None


def slo_of(alert: Alert) -> Slo | None:
    slo: Slo | None = getattr(alert.deployment, "slo", None) if alert.deployment is not None else None
    return slo


def latency_course(alert: Alert, *, page: Page) -> Course | None:
    """A burning latency promise is seen in the percentile that is promised."""
    slo = slo_of(alert)
    if alert.deployment_id is None or slo is None or slo.latency is None or slo.threshold_seconds is None:
        return None
    kind = Latency(slo.latency)
    lines = latency_load(alert.deployment_id, kind, start=page.range.start, end=page.range.end, points=POINTS)
    name = f"p{100 * slo.percentile:g}"
    guide = Guide(slo.threshold_seconds, f"SLO {LATENCY_LABELS[kind].lower()} {name} {number(slo.threshold_seconds, 'seconds')}")
    first = float(lines.times[0]) if lines.times.size else page.range.start.timestamp()
    return Course(name, "seconds", lines.quantile(slo.percentile), first, float(lines.step), table_words("", lines, page=page), guide)


def flags_of(alert: Alert, page: Page) -> Sequence[Flag]:
    """What changed before, when it fired, when somebody took it up, when it ended: never more than four."""
    flags = []
    fired = alert.fired_at or alert.started_at
    if alert.deployment_id is not None:
        versions = Version.objects.filter(deployment=alert.deployment_id, first_seen_at__gt=page.range.start, first_seen_at__lte=fired)
        if (version := versions.order_by("-first_seen_at").first()) is not None:
            flags.append(Flag(version.first_seen_at.timestamp(), version.name, before=True))
    if alert.fired_at is not None:
        flags.append(Flag(fired.timestamp(), "fired", before=not flags))
    apart = page.range.seconds / 10  # else the words would lie on each other
    for at, text in ((alert.acknowledged_at, "acknowledged"), (alert.closed_at, "resolved")):
        if at is not None and (not flags or at.timestamp() - flags[-1].at > apart):
            flags.append(Flag(at.timestamp(), text))
    return flags


def answer_words(alert: Alert, course: Course, *, page: Page) -> str:
    first = moment(alert.started_at, now=page.now, zone=page.zone)
    fired = f", it fired at {moment(alert.fired_at, now=page.now, zone=page.zone)}" if alert.fired_at else ""
    value = f" {course.name} {number(last(course.values), course.unit)} at the end of the chart."
    unit = unit_of(alert.rule) if alert.rule is not None else ""
    burn = f" Burn rate {number(alert.value, unit)}." if alert.rule is not None and unit == "times" and alert.value is not None else ""
    return f"The first sign was at {first}{fired}.{value}{burn}"

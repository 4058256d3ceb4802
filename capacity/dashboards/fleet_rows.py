"""The rows of Fleet's table, every word of them ready: a template takes longer over the same conditions, fifty times on a page."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
from django.db.models import Q
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from capacity.analysis.limits import WORDS as LIMIT_WORDS
from capacity.analysis.words import percent_number, percent_words
from capacity.dashboards.hardware import short_model
from capacity.dashboards.loads import LOAD_COLUMNS, Load, load_bar, loads_of
from capacity.dashboards.pages import Page
from capacity.dashboards.sparks import spark
from capacity.dashboards.tags import since, status
from capacity.dashboards.words import DASH, figure, figure_html
from capacity.models import DeploymentStatus, Verdict
from monitoring.catalog.records import Entity, Latency
from monitoring.catalog.systems import SYSTEMS
from monitoring.models import Deployment, DeploymentState, Placement, Slo, Version, WorkloadKind
from monitoring.series import Lines, latency_quantiles_many, lines_load_many

SPARK_POINTS = 48
NEAR, FULL = 0.8, 0.9
TONES = {Verdict.BREAKS: "crit", Verdict.WARNING: "warn", Verdict.OK: "ok"}
NOT_SEEN = SafeString('<span class="dim">not seen</span>')
# All that a row needs of a deployment and of what comes with it: the rest takes a fifth of the query's time.
FIELDS = (
    *("name", "model_name", "system", "namespace", "state", "workload_kind", "cluster__name", "cluster__demo", "team__name"),
    *("slo__threshold_seconds", "slo__latency", "status__verdict", "status__since", "status__requests_per_second"),
    *("status__latency", "status__latency_seconds", "status__percentile", "status__latency_is_mean"),
    *("status__limit_name", "status__limit_ratio", "status__accelerator_busy_ratio"),
)
ON_CPU = SafeString('<span class="dim" title="Runs on CPU">CPU</span>')


@dataclass(frozen=True)
class Row:
    """One deployment as the table shows it."""

    url: str
    name: str
    demo: bool
    under: str  # model, version, server
    tone: str
    state: SafeString
    lasted: str  # how long a promise has been broken
    requests: SafeString  # their course
    rate: SafeString
    course: SafeString  # of the promised latency
    latency: SafeString
    promise: str
    bar: SafeString
    title: str  # of the headroom, in full
    headroom: SafeString | str
    busy: SafeString | str
    hardware: str
    owner: str
    place: str


@dataclass(frozen=True)
class Found:
    """What was read beside a deployment."""

    requests: SafeString
    course: SafeString
    version: str
    hardware: str
    load: Load | None


def table_rows(deployments: Sequence[Deployment], *, page: Page) -> list[Row]:
    ids = [row.pk for row in deployments]
    cards = accelerators_held(ids, at=page.range.end)
    own = lines_load_many(
        Entity.DEPLOYMENT, ids, ("requests_per_second", *LOAD_COLUMNS), start=page.range.start, end=page.range.end, points=SPARK_POINTS
    )
    loads = loads_of(deployments, own, {pk: list(held) for pk, held in cards.items()}, page=page)
    courses = latency_courses(deployments, page=page)
    versions = versions_of(deployments)
    url, memory = reverse("deployment", args=[0]), page.memory  # fifty times reversed it would take longer than a read
    return [
        table_row(
            row,
            Found(
                spark_of(row, own.get(row.pk)),
                courses.get(row.pk) or spark(None, label=f"{row.name} latency"),
                versions.get(row.pk, ""),
                hardware_words(cards.get(row.pk, {})),
                loads.get(row.pk),
            ),
            url=url.replace("/0/", f"/{row.pk}/") + memory,
        )
        for row in deployments
    ]


def spark_of(row: Deployment, lines: Lines | None) -> SafeString:
    line = lines.columns.get("requests_per_second") if lines is not None else None
    return spark(line.mean if line is not None else None, label=f"{row.name} requests", area=True)


def latency_courses(deployments: Sequence[Deployment], *, page: Page) -> dict[int, SafeString]:
    """The promised percentile over the range; one read for each of the four kinds of latency."""
    asked: dict[Latency, dict[int, float]] = defaultdict(dict)
    for row in deployments:
        state = getattr(row, "status", None)
        if state is not None and state.latency and state.percentile and not state.latency_is_mean:
            asked[Latency(state.latency)][row.pk] = state.percentile
    courses: dict[int, npt.NDArray[np.float64]] = {}
    for latency in Latency:
        loaded = latency_quantiles_many(asked[latency], latency, start=page.range.start, end=page.range.end, points=SPARK_POINTS)
        courses |= loaded
    limits = {row.pk: row.slo.threshold_seconds for row in deployments if hasattr(row, "slo")}
    names = {row.pk: row.name for row in deployments}
    return {pk: spark(values, label=f"{names[pk]} latency", limit=limits.get(pk)) for pk, values in courses.items()}


def table_row(row: Deployment, found: Found, *, url: str) -> Row:
    state, slo = getattr(row, "status", None), getattr(row, "slo", None)
    system = SYSTEMS[row.system].name if row.system in SYSTEMS else row.system
    tone = TONES.get(Verdict(state.verdict), "none") if state is not None else "none"
    bar, title, headroom = headroom_told(state, found.load, tone=tone)
    return Row(
        url=url,
        name=row.name,
        demo=row.cluster.demo,
        under=" · ".join(part for part in (row.model_name if row.model_name != row.name else "", found.version, system) if part),
        tone=tone,
        state=status("archived" if row.state == DeploymentState.ARCHIVED else state.verdict if state is not None else "no_data"),
        lasted=since(state.since) if state is not None and state.since and tone == "crit" and row.state == DeploymentState.ACTIVE else "",
        requests=found.requests,
        rate=figure_html(state.requests_per_second if state is not None else None),
        course=found.course,
        latency=latency_told(row, state, slo),
        promise=promise_told(row, state, slo),
        bar=bar,
        title=title,
        headroom=headroom,
        busy=busy_told(state, found.hardware),
        hardware=found.hardware or "no accelerator",
        owner=row.team.name if row.team else "Unassigned",
        place=f"{row.cluster.name} / {row.namespace}" if row.namespace else row.cluster.name,
    )


def latency_told(row: Deployment, state: DeploymentStatus | None, slo: Slo | None) -> SafeString:
    """The newest value of what is promised, red where it is above the promise; else why there is none."""
    if state is not None and state.latency_seconds is not None:
        shown = figure_html(state.latency_seconds, "seconds")
        over = slo is not None and slo.threshold_seconds and slo.latency == state.latency and state.latency_seconds > slo.threshold_seconds
        return format_html('<b class="crit">{}</b>', shown) if over else shown
    idle = state is not None and state.requests_per_second == 0
    why = DASH if row.workload_kind != WorkloadKind.SERVING else "no requests" if idle else "not seen"
    return format_html('<span class="dim">{}</span>', why)


def promise_told(row: Deployment, state: DeploymentStatus | None, slo: Slo | None) -> str:
    if row.workload_kind != WorkloadKind.SERVING:
        return WorkloadKind(row.workload_kind).label.lower()
    if slo is not None and slo.threshold_seconds:
        return f"SLO {figure(slo.threshold_seconds, 'seconds')}"
    return "a mean" if state is not None and state.latency_is_mean else "no SLO set"


def headroom_told(state: DeploymentStatus | None, load: Load | None, *, tone: str) -> tuple[SafeString, str, SafeString | str]:
    """The bar, its title, and what stands beside it."""
    ratio = state.limit_ratio if state is not None else None
    if state is None or ratio is None:
        return load_bar(load, None), "not seen", NOT_SEEN
    broken = tone == "crit"
    bar = load_bar(load, ratio, tone="crit" if ratio >= FULL and broken else "warn" if ratio >= NEAR else "")
    if ratio < FULL:
        free = f"{percent_words(max(1 - ratio, 0.0))} free"
        return bar, free, free
    full = f"{LIMIT_WORDS.get(state.limit_name, 'Limit')} full"
    return bar, full, format_html('<b class="{}">{}</b>', "crit" if broken else "", full)


def busy_told(state: DeploymentStatus | None, hardware: str) -> SafeString | str:
    if state is not None and state.accelerator_busy_ratio is not None:
        return percent_number(state.accelerator_busy_ratio)
    return format_html('<span class="dim">{}</span>', DASH) if hardware else ON_CPU


def versions_of(deployments: Sequence[Deployment]) -> dict[int, str]:
    """deployment -> its newest version; one query. Beside the order it would be looked up for each of thousands, not for those shown."""
    newest = Version.objects.filter(deployment__in=[row.pk for row in deployments]).order_by("deployment", "-first_seen_at")
    return dict(newest.distinct("deployment").values_list("deployment", "name"))


def accelerators_held(ids: Sequence[int], *, at: datetime) -> Mapping[int, Mapping[int, str]]:
    """deployment -> accelerator -> what it is, in short, of the placements that hold at an instant; one query."""
    placed = Placement.objects.filter(Q(valid_to__isnull=True) | Q(valid_to__gt=at), valid_from__lte=at, accelerator__isnull=False)
    held = placed.filter(replica__deployment__in=ids).order_by()
    kinds = held.values_list("replica__deployment", "accelerator", "accelerator__model_name", "accelerator__mig_profile")
    found: dict[int, dict[int, str]] = defaultdict(dict)
    for pk, accelerator, model, profile in kinds:
        found[pk][accelerator] = profile or short_model(model)
    return found


def hardware_words(held: Mapping[int, str]) -> str:
    """ "12 × H100": how many accelerators of which kind."""
    return ", ".join(f"{number} × {name}" for name, number in Counter(held.values()).most_common(2))

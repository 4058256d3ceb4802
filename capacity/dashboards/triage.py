"""The top of Fleet: the sentence, on fire, wasted, changed, and the tiles."""

import math
import re
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
from django.db import connection
from django.db.models import Case, IntegerField, QuerySet, Value, When
from django.utils.html import format_html
from django.utils.safestring import SafeString

from capacity.analysis.words import percent_number
from capacity.dashboards.evidence import last, mean
from capacity.dashboards.hardware import short_model
from capacity.dashboards.pages import Page
from capacity.dashboards.score import EVENT_ICONS
from capacity.dashboards.sparks import share_bar, spark
from capacity.dashboards.tiles import Tile
from capacity.dashboards.words import DASH, change, count, figure, figure_html, span
from capacity.models import DeploymentStatus, Verdict
from monitoring.access import Actor, accelerator_shares, accelerators_for, events_for
from monitoring.catalog.records import Entity
from monitoring.models import Deployment, DeploymentState, Event, EventKind
from monitoring.series import lines_load_total, means_load

FIRES_FIRST = (Verdict.BREAKS, Verdict.WARNING, Verdict.NO_DATA)
FIRES_MOST, WASTED_MOST, CHANGED_MOST = 4, 5, 5
IDLE_RATIO, SLACK_RATIO = 0.05, 0.3
IDLE_HOURS = 24
ADDED_UP = timedelta(minutes=10)  # an hour stands in the rollup of hours that long after its end: one row instead of dozens
KEPT_SECONDS = 60.0
CHANGED_DAYS = 7
LATELY = timedelta(minutes=15)
LASTED = re.compile(r", for (\d+ (?:min|h|days))\b")  # as capacity.analysis.status writes it
TILE_POINTS = 48
BUSY = ("gr_engine_active_ratio", "gpu_utilization_ratio")


@dataclass(frozen=True)
class Fire:
    status: DeploymentStatus
    icon: str
    tone: str
    lasted: str
    text: str  # the stored sentence without how long: that stands at the right


@dataclass(frozen=True)
class Kept:
    """How busy accelerators were in a window that is over: until when that is good (monotonic seconds), and of which it was asked."""

    until: float
    asked: frozenset[int]
    busy: Mapping[int, float]


BUSY_KEPT: dict[tuple[datetime, datetime], Kept] = {}


@dataclass(frozen=True)
class Waste:
    """Accelerators of one deployment (None: of nobody that is known) that did little for a day."""

    deployment: Deployment | None
    hours: float  # accelerator-hours without work, of the last 24 h
    words: str
    idle: int  # accelerators under 5 %


@dataclass(frozen=True)
class Wasted:
    lines: Sequence[Waste]
    hours: float
    idle: int
    measured: int
    accelerators: int


def on_fire(mine: QuerySet[Deployment]) -> list[Fire]:
    """Broken promises first, the longest first; then warnings; then what fell silent. One query."""
    rows = DeploymentStatus.objects.filter(deployment__in=mine.filter(state=DeploymentState.ACTIVE), verdict__in=FIRES_FIRST)
    urgency = Case(*(When(verdict=verdict, then=Value(place)) for place, verdict in enumerate(FIRES_FIRST)), output_field=IntegerField())
    told = rows.select_related("deployment").only("verdict", "since", "as_of", "text", "deployment__name")
    picked = told.order_by(urgency, "since", "deployment__name")[:FIRES_MOST]
    return [fire(status) for status in picked]


def fire(status: DeploymentStatus) -> Fire:
    icon, tone = {Verdict.BREAKS: ("crit", "crit"), Verdict.WARNING: ("warn", "warn")}.get(Verdict(status.verdict), ("none", "dim"))
    lasted = LASTED.search(status.text)
    return Fire(status, icon, tone, lasted[1] if lasted else since_words(status), LASTED.sub("", status.text, count=1))


def since_words(status: DeploymentStatus) -> str:
    return span((status.as_of - status.since).total_seconds()) if status.since and status.as_of > status.since else ""


class Card(NamedTuple):
    """What is asked of each of thousands of accelerators."""

    pk: int
    model_name: str
    mig_profile: str


def wasted(actor: Actor, *, page: Page) -> Wasted:
    """Idle accelerator-hours of the last 24 full hours that are added up, by who holds the accelerators. Money comes with prices."""
    now = page.now
    end = (now - ADDED_UP).replace(minute=0, second=0, microsecond=0)
    leaves = accelerators_for(actor, now=now).filter(instances__isnull=True).order_by()  # to sort thousands takes as long as to find them
    accelerators = [Card(*row) for row in leaves.values_list("pk", "model_name", "mig_profile")]
    ids = [each.pk for each in accelerators]
    start = end - timedelta(hours=IDLE_HOURS)
    busy = busy_means(ids, start=start, end=end)
    slack = {pk: value for pk, value in busy.items() if value < SLACK_RATIO}
    shares = accelerator_shares(actor, list(slack), at=now)
    grouped: dict[int | None, list[tuple[Card, float]]] = defaultdict(list)
    names: dict[int | None, Deployment | None] = {None: None}
    for each in accelerators:
        if (value := slack.get(each.pk)) is None:
            continue
        own = [share.deployment for share in shares.get(each.pk, []) if share.deployment is not None]
        if not own and shares.get(each.pk):
            continue  # held by another team
        holder = own[0] if own else None
        names[holder.pk if holder else None] = holder
        grouped[holder.pk if holder else None].append((each, value))
    lines = sorted((waste(names[key], members) for key, members in grouped.items()), key=lambda line: (line.idle == 0, -line.hours))
    idle = sum(value < IDLE_RATIO for value in busy.values())
    return Wasted(lines[:WASTED_MOST], sum(line.hours for line in lines), idle, len(busy), len(ids))


def busy_means(ids: Sequence[int], *, start: datetime, end: datetime) -> dict[int, float]:
    """Accelerator -> how busy it was on average over a window that is over; left out where that was not measured.

    Only late samples change what such a window says, so that it is read once a minute, not for each look at Fleet.
    """
    kept = BUSY_KEPT.get((start, end))
    if kept is None or time.monotonic() > kept.until or not kept.asked.issuperset(ids):
        kept = Kept(time.monotonic() + KEPT_SECONDS, frozenset(ids), busy_read(ids, start=start, end=end))
        if not connection.in_atomic_block:  # what a transaction sees may be rolled back
            BUSY_KEPT.clear()
            BUSY_KEPT[start, end] = kept
    return {pk: kept.busy[pk] for pk in ids if pk in kept.busy}


def busy_read(ids: Sequence[int], *, start: datetime, end: datetime) -> dict[int, float]:
    """By the better counter where an accelerator has it."""
    means = means_load(Entity.ACCELERATOR, ids, BUSY, start=start, end=end)
    better, other = (means[name] for name in BUSY)
    busy = np.where(np.isfinite(better), better, other).tolist()
    return {pk: value for pk, value in zip(ids, busy, strict=True) if math.isfinite(value)}


def waste(deployment: Deployment | None, members: Sequence[tuple[Card, float]]) -> Waste:
    hours = sum(IDLE_HOURS * (1 - value) for _, value in members)
    average = float(np.mean([value for _, value in members]))
    idle = sum(value < IDLE_RATIO for _, value in members)
    kinds = Counter(each.mig_profile or short_model(each.model_name) for each, _ in members)
    models = ", ".join(f"{number} × {model}" for model, number in kinds.most_common(3))
    who = "" if deployment else ", used by nobody known" if idle else ", by something not known"
    return Waste(deployment, hours, f"{models} busy {figure(average, 'ratio')} over 24 h{who}", idle)


def changed(actor: Actor, *, page: Page) -> list[tuple[Event, str]]:
    since = page.now - timedelta(days=CHANGED_DAYS)
    events = events_for(actor).filter(at__gte=since, at__lte=page.now, deployment__isnull=False).select_related("deployment")
    return [(event, EVENT_ICONS.get(EventKind(event.kind), "note")) for event in events.order_by("-at")[:CHANGED_MOST]]


def sentence(counts: Mapping[str, int], idle: Wasted) -> SafeString:
    """What a tired person needs first: how many break their promise, how many need a hand, what idles."""
    total = counts["all"]
    if not total:
        return SafeString("No deployment is known yet.")
    broken, action = counts["breaks"], counts["action"] - counts["breaks"]
    first = (
        format_html(
            '<b class="crit">{} of {} break{} {} SLO</b>',
            broken,
            count(total, "deployment"),
            "s" if broken == 1 else "",
            "its" if broken == 1 else "their",
        )
        if broken
        else format_html("<b>No SLO is broken</b> in {}", count(total, "deployment"))
    )
    rest = [f"{action} need{'s' if action == 1 else ''} attention"] if action else []
    if counts["no_slo"]:
        rest.append(f"{counts['no_slo']} {'has' if counts['no_slo'] == 1 else 'have'} no SLO")
    if idle.idle:
        rest.append(f"{count(idle.idle, 'accelerator')} {'was' if idle.idle == 1 else 'were'} idle for 24 h")
    return format_html("{}{}.", first, SafeString("".join(format_html(", {}", part) for part in rest)))


# --- Tiles ---------------------------------------------------------------------------------------------------------------


def fleet_tiles(actor: Actor, mine: QuerySet[Deployment], *, page: Page, counts: Mapping[str, int], idle: Wasted) -> list[Tile]:
    active = mine.filter(state=DeploymentState.ACTIVE)
    ids = list(active.values_list("pk", flat=True))
    accelerators = accelerators_for(actor, now=page.now).filter(instances__isnull=True)
    seen = dict(accelerators.values_list("pk", "last_seen_at"))
    return [
        promise_tile(counts),
        total_tile("Requests", Entity.DEPLOYMENT, ids, "requests_per_second", "req/s", page=page),
        busy_tile(list(seen), page=page),
        measured_tile(active, seen, now=page.now, total=counts["all"]),
        deployments_tile(active, page=page, total=counts["all"]),
        Tile(
            "Accelerators",
            figure_html(len(seen), "accelerators"),
            f"{idle.idle} idle for 24 h, {idle.measured} measured" if idle.measured else "none measured for 24 h",
            share_bar(
                [(idle.measured - idle.idle, "c1"), (idle.idle, "c2"), (len(seen) - idle.measured, "c0")],
                label="worked, idle, not measured",
            ),
            url="/accelerators/",
        ),
    ]


def promise_tile(counts: Mapping[str, int]) -> Tile:
    promised = counts["promised"]
    met = promised - counts["breaks"]
    value = format_html('{} <span class="u">of {}</span>', met, count(promised, "deployment"))
    note = f"{count(counts['no_slo'], 'has', 'have')} no SLO" if counts["no_slo"] else "all have an SLO"
    bar = share_bar([(met, "c3"), (counts["breaks"], "cr")], label=f"{met} of {promised} SLOs met")
    return Tile("SLO met now", value, note, bar, "crit" if counts["breaks"] else "", "?show=breaks" if counts["breaks"] else "")


def total_tile(name: str, entity: Entity, ids: Sequence[int], column: str, unit: str, *, page: Page) -> Tile:
    """One read over this window and the one before it: the change and the course come from the same numbers."""
    start, end = page.range.before[0], page.range.end
    line = lines_load_total(entity, ids, column, start=start, end=end, points=2 * TILE_POINTS).columns.get(column) if ids else None
    if line is None:
        return Tile(name, figure_html(None), "not seen in this range", spark(None, label=name, wide=True))
    inside = line.times > page.range.start.timestamp()
    now_values, before_values = line.mean[inside], line.mean[~inside]
    words = moved(mean(now_values), mean(before_values), unit=unit, page=page)
    return Tile(name, figure_html(last(now_values), unit), words, spark(now_values, label=name, area=True, wide=True))


def busy_tile(ids: Sequence[int], *, page: Page) -> Tile:
    """By the better counter where any accelerator has it."""
    name = f"GPU busy, {count(len(ids), 'accelerator')}"
    tile = total_tile(name, Entity.ACCELERATOR, ids, BUSY[0], "ratio", page=page)
    return tile if DASH not in tile.value else total_tile(name, Entity.ACCELERATOR, ids, BUSY[1], "ratio", page=page)


def moved(value: float | None, before: float | None, *, unit: str, page: Page) -> str:
    found = change(value, before, window=page.range.words, unit=unit)
    return found.text if found else "not seen in this range" if value is None else "no window before to compare with"


def measured_tile(active: QuerySet[Deployment], seen: Mapping[int, datetime], *, now: datetime, total: int) -> Tile:
    fresh = active.filter(status__as_of__gte=now - LATELY).exclude(status__verdict=Verdict.NO_DATA).count()
    alive = sum(at >= now - LATELY for at in seen.values())
    whole = total + len(seen)
    note = f"{part(fresh, total, 'deployment')}, {part(alive, len(seen), 'GPU')}"
    ratio = (fresh + alive) / whole if whole else None
    value = format_html('{} <span class="u">% in 15 min</span>', percent_number(ratio)) if ratio is not None else figure_html(None)
    bar = share_bar([(fresh + alive, "c1"), (whole - fresh - alive, "c0")], label="measured, silent")
    return Tile("Measured", value, note, bar, "warn" if ratio is not None and ratio < 0.9 else "", "/status/")


def part(some: int, whole: int, noun: str) -> str:
    """ "12 deployments" where all are meant, else "11 of 12 deployments": a tile has no room for more."""
    return count(whole, noun) if some == whole else f"{some} of {count(whole, noun)}"


def deployments_tile(active: QuerySet[Deployment], *, page: Page, total: int) -> Tile:
    fresh = active.filter(first_seen_at__gte=page.now - timedelta(days=CHANGED_DAYS)).count()
    kinds = active.exclude(workload_kind="serving").count()
    note = f"{fresh} new in {CHANGED_DAYS} d" if fresh else f"none new in {CHANGED_DAYS} d"
    return Tile("Deployments", format_html("{}", f"{total:,}"), f"{note}, {kinds} not serving" if kinds else note, "")

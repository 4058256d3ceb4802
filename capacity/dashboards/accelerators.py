"""Accelerators and nodes: what they do, who is on them, what idles and what nobody is known to use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.safestring import SafeString

from capacity.analysis.prices import node_price
from capacity.dashboards.hardware import BUSY, Reading, busy_of, quotient
from capacity.dashboards.hardware_facts import (
    XID_COLUMN,
    accelerator_name,
    agent_card,
    gap_spans,
    incidents_load,
    placements_load,
    processes_load,
)
from capacity.dashboards.hardware_panels import (
    ACCELERATOR_PANELS,
    NODE_PANELS,
    HardwarePanel,
    hardware_built,
    hardware_lines,
    hardware_shown,
)
from capacity.dashboards.hardware_tiles import accelerator_tiles, hardware_sentence
from capacity.dashboards.pages import Choice, Page, page_context, screen
from capacity.dashboards.sheets import csv_response, sheet_of, sheet_rows, table_response
from capacity.dashboards.sparks import headroom_bar, spark
from monitoring.access import (
    Actor,
    Share,
    accelerator_get,
    accelerator_shares,
    accelerators_for,
    actor_of,
    node_get,
    node_shares,
    nodes_for,
    replicas_for,
)
from monitoring.catalog.records import Entity
from monitoring.models import Node
from monitoring.series import Lines, Summary, lines_load_many, totals_load

ROWS = 60
SPARK_POINTS = 48
LIVE = timedelta(minutes=5)
SILENT = timedelta(minutes=15)
LIVE_COLUMNS = (
    *BUSY,
    "gpu_memory_used_bytes",
    "gpu_memory_total_bytes",
    "power_watts",
    "power_limit_watts",
    "temperature_celsius",
    "throttle_power_ratio",
    "throttle_thermal_ratio",
)
NODE_COLUMNS = ("cpu_utilization_ratio", "memory_used_bytes", "memory_total_bytes")
FILTERS = (("all", "All"), ("idle", "Idle"), ("unattributed", "Unattributed"), ("throttled", "Throttled"), ("silent", "Silent"))


@dataclass(frozen=True)
class Row:
    reading: Reading
    course: SafeString
    memory_bar: SafeString


@dataclass(frozen=True)
class Group:
    """A node with the accelerators of this page that are in it."""

    node: Node | None
    live: Mapping[str, float]
    rows: Sequence[Row]

    @property
    def memory(self) -> float | None:
        return quotient(self.live, "memory_used_bytes", "memory_total_bytes")


@screen
def accelerators(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    page = page_context(request, default="now-24h")
    readings = readings_load(actor, page=page)
    shown = request.GET.get("show", "all")
    wanted = [reading for reading in searched(readings, request.GET.get("q", "")) if fits(reading, shown)]
    rows = Paginator(wanted, ROWS).get_page(request.GET.get("page"))
    bare = nodes_without(actor, readings, page=page) if shown == "all" and not rows.has_next() else []
    context = {
        "page": page,
        "sentence": hardware_sentence(readings, nodes=len(bare) + len({each.accelerator.node_id for each in readings})),
        "tiles": accelerator_tiles(readings, page=page),
        "chips": chips(readings, page=page, shown=shown),
        "groups": groups(list(rows.object_list), page=page),
        "bare": bare,
        "pages": rows,
        "pager_base": page.url(page="") + "&",
        "total": len(readings),
        "query": request.GET.get("q", ""),
    }
    return render(request, "accelerators/accelerators.html", context)


def readings_load(actor: Actor, *, page: Page, node: Node | None = None) -> list[Reading]:
    """Every visible accelerator, or those of a node; seven queries, however many."""
    found = accelerators_for(actor, now=page.now).filter(instances__isnull=True).select_related("node", "cluster", "parent")
    found = found.filter(node=node) if node else found
    rows = list(found.order_by("cluster__name", "node__name", "mig_profile", "position", "uuid"))
    ids = [row.pk for row in rows]
    live = totals_load(Entity.ACCELERATOR, ids, LIVE_COLUMNS, start=page.range.end - LIVE, end=page.range.end)
    whole = totals_load(Entity.ACCELERATOR, ids, BUSY, start=page.range.start, end=page.range.end)
    shares = accelerator_shares(actor, ids, at=page.range.end)
    return [
        Reading(
            row, known(live.get(row.pk)), busy_of(known(whole.get(row.pk))), shares.get(row.pk, []), row.last_seen_at < page.now - SILENT
        )
        for row in rows
    ]


def known(summaries: Mapping[str, Summary] | None) -> dict[str, float]:
    return {name: summary.mean for name, summary in (summaries or {}).items() if summary.count}


def fits(reading: Reading, shown: str) -> bool:
    tests = {
        "idle": reading.idle,
        "unattributed": reading.rest is not None,
        "throttled": reading.throttled > 0.01,
        "silent": reading.silent,
    }
    return tests.get(shown, True)


def searched(readings: Sequence[Reading], text: str) -> list[Reading]:
    words = text.lower().split()[:5]
    return [reading for reading in readings if all(word in haystack(reading) for word in words)]


def haystack(reading: Reading) -> str:
    row = reading.accelerator
    names = [share.name for share in reading.shares]
    return " ".join([row.model_name, row.uuid, row.node.name if row.node else "", row.cluster.name, *names]).lower()


def chips(readings: Sequence[Reading], *, page: Page, shown: str) -> list[tuple[Choice, int]]:
    counted = [(key, label, sum(fits(reading, key) for reading in readings)) for key, label in FILTERS]
    return [
        (Choice(label, page.url(show="" if key == "all" else key, page=""), key == shown), count)
        for key, label, count in counted
        if count or key in ("all", shown)
    ]


def groups(readings: Sequence[Reading], *, page: Page) -> list[Group]:
    ids = [reading.accelerator.pk for reading in readings]
    lines = lines_load_many(Entity.ACCELERATOR, ids, BUSY, start=page.range.start, end=page.range.end, points=SPARK_POINTS)
    nodes = sorted({reading.accelerator.node_id for reading in readings if reading.accelerator.node_id})
    live = totals_load(Entity.NODE, nodes, NODE_COLUMNS, start=page.range.end - LIVE, end=page.range.end)
    ordered: dict[int | None, list[Row]] = {}
    for reading in readings:
        bar = headroom_bar(reading.memory, reading.memory)
        row = Row(reading, course(lines.get(reading.accelerator.pk), label=f"{reading.accelerator.uuid} busy"), bar)
        ordered.setdefault(reading.accelerator.node_id, []).append(row)
    return [Group(rows[0].reading.accelerator.node, known(live.get(node or 0)), rows) for node, rows in ordered.items()]


def course(lines: Lines | None, *, label: str) -> SafeString:
    if lines is None:
        return spark(None, label=label)
    measured = next((lines.columns[name].mean for name in BUSY if name in lines.columns and (lines.columns[name].mean >= 0).any()), None)
    return spark(measured, label=label, area=True, top=1.0)


def nodes_without(actor: Actor, readings: Sequence[Reading], *, page: Page) -> list[tuple[Node, Mapping[str, float], Sequence[Share]]]:
    """Nodes on which no accelerator is known."""
    with_some = {reading.accelerator.node_id for reading in readings}
    rows = [row for row in nodes_for(actor, now=page.now).select_related("cluster") if row.pk not in with_some][:ROWS]
    ids = [row.pk for row in rows]
    live = totals_load(Entity.NODE, ids, NODE_COLUMNS, start=page.range.end - LIVE, end=page.range.end)
    shares = node_shares(actor, ids, at=page.range.end)
    return [(row, known(live.get(row.pk)), shares.get(row.pk, [])) for row in rows]


# --- One accelerator, one node -------------------------------------------------------------------------------------------


@screen
def accelerator(request: HttpRequest, pk: int) -> HttpResponse:
    actor = actor_of(request)
    row = accelerator_get(actor, pk)
    page = page_context(request)
    lines = hardware_lines(Entity.ACCELERATOR, row.pk, ACCELERATOR_PANELS, page=page, more=(XID_COLUMN,))
    shares = accelerator_shares(actor, [row.pk], at=page.range.end).get(row.pk, [])
    card = agent_card(actor, row.node, [row], page=page)
    base = f"/accelerators/{row.pk}/panels/"
    context = {
        "page": page,
        "accelerator": row,
        "name": accelerator_name(row),
        "panels": hardware_shown(ACCELERATOR_PANELS, lines, page=page, providers=row.providers, base=base, dropped=gap_spans(card)),
        "shares": shares,
        "rest": rest_of(shares),
        "placements": placements_load(actor, row, at=page.range.end),
        "instances": accelerators_for(actor).filter(parent=row),
        "processes": processes_load(actor, [row], page=page),
        "card": card,
        "incidents": incidents_load([row], lines, page=page),
        "silent": row.last_seen_at < page.now - SILENT,
    }
    return render(request, "accelerators/accelerator.html", context)


def rest_of(shares: Sequence[Share]) -> float | None:
    rest = 1.0 - min(sum(share.ratio for share in shares), 1.0)
    return rest if rest > 0.005 else None


@screen
def node(request: HttpRequest, pk: int) -> HttpResponse:
    actor = actor_of(request)
    row = node_get(actor, pk)
    page = page_context(request)
    lines = hardware_lines(Entity.NODE, row.pk, NODE_PANELS, page=page)
    accelerators = list(accelerators_for(actor, now=page.now).filter(node=row))
    card = agent_card(actor, row, accelerators, page=page)
    base = f"/nodes/{row.pk}/panels/"
    context = {
        "page": page,
        "node": row,
        "panels": hardware_shown(NODE_PANELS, lines, page=page, providers=row.providers, base=base, dropped=gap_spans(card)),
        "groups": groups(readings_load(actor, page=page, node=row), page=page),
        "shares": node_shares(actor, [row.pk], at=page.range.end).get(row.pk, []),
        "replicas": replicas_on(actor, row, start=page.range.start, end=page.range.end),
        "processes": processes_load(actor, accelerators, page=page) if accelerators else None,
        "incidents": incidents_load(accelerators, None, page=page) if accelerators else [],
        "card": card,
        "silent": row.last_seen_at < page.now - SILENT,
        "hour": node_price(row, at=page.now),
    }
    return render(request, "accelerators/node.html", context)


def replicas_on(actor: Actor, row: Node, *, start: datetime, end: datetime) -> list[object]:
    found = replicas_for(actor).filter(node=row, last_seen_at__gte=start, first_seen_at__lt=end)
    return list(found.select_related("deployment", "version").order_by("deployment__name", "name")[:100])


# --- Tables and CSV of one panel -----------------------------------------------------------------------------------------


def panel_sheet(request: HttpRequest, entity: Entity, pk: int, slug: str) -> tuple[HardwarePanel, Page, Lines]:
    actor = actor_of(request)
    accelerator_get(actor, pk) if entity is Entity.ACCELERATOR else node_get(actor, pk)
    panels = ACCELERATOR_PANELS if entity is Entity.ACCELERATOR else NODE_PANELS
    panel = next((panel for panel in panels if panel.slug == slug), None)
    if panel is None:
        raise Http404
    page = page_context(request)
    return panel, page, hardware_lines(entity, pk, [panel], page=page)


@screen
def hardware_table(request: HttpRequest, pk: int, slug: str, entity: Entity) -> HttpResponse:
    panel, page, lines = panel_sheet(request, entity, pk, slug)
    sheet = sheet_of(hardware_built(panel, lines, page=page).plot)
    return render(request, "deployment/table.html", {"sheet": sheet, "rows": sheet_rows(sheet, zone=page.zone), "title": panel.question})


@screen
def hardware_csv(request: HttpRequest, pk: int, slug: str, entity: Entity) -> HttpResponse:
    panel, page, lines = panel_sheet(request, entity, pk, slug)
    return csv_response(sheet_of(hardware_built(panel, lines, page=page).plot), name=f"{entity}-{pk}-{slug}")


@screen
def accelerators_csv(request: HttpRequest) -> HttpResponse:
    header = (
        "cluster",
        "node",
        "accelerator",
        "model",
        "busy now [ratio]",
        "busy in range [ratio]",
        "memory used [bytes]",
        "power [watts]",
        "temperature [celsius]",
        "used by",
    )
    rows = (csv_row(reading) for reading in readings_load(actor_of(request), page=page_context(request, default="now-24h")))
    return table_response(header, rows, name="accelerators")


def csv_row(reading: Reading) -> list[str]:
    row, live = reading.accelerator, reading.live
    numbers = (reading.busy_now, reading.busy, live.get("gpu_memory_used_bytes"), live.get("power_watts"), live.get("temperature_celsius"))
    used = "; ".join(f"{share.name} {share.ratio:.2f}" for share in reading.shares)
    place = [row.cluster.name, row.node.name if row.node else "", row.uuid, row.model_name]
    return [*place, *("" if number is None else f"{number:.7g}" for number in numbers), used]

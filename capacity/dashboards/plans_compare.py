"""Scenarios of one deployment side by side: the same questions down, one column each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET

from capacity.analysis.plan_records import PlanResult
from capacity.analysis.scenarios import Subject
from capacity.dashboards.plans_charts import demand_figure
from capacity.dashboards.plans_load import result_of
from capacity.dashboards.plans_parts import plan_tiles, point_of, run_out_tone
from capacity.dashboards.plans_rows import base_run, plan_url, scenarios_for
from capacity.dashboards.plans_scenarios import LETTERS, Figures, assumed_words, do_nothing, figures_scenario
from capacity.dashboards.plans_words import amount, day_words, money, per_month, rate, seconds_words
from capacity.dashboards.replies import guarded, show
from capacity.dashboards.words import DASH
from capacity.models import Scenario
from monitoring.access import actor_of, deployment_get

COLUMNS_MOST = 5  # more stand in the table of scenarios


@dataclass(frozen=True)
class Column:
    letter: str
    name: str
    note: str
    url: str
    result: PlanResult | None
    figures: Figures | None
    events: Sequence[str]


@dataclass(frozen=True)
class Line:
    """One question: a cell for each column; `best` is the place of the best one, where one is."""

    question: str
    cells: Sequence[tuple[str, str]]  # text, tone
    best: int | None = None


@guarded
@require_GET
def plan_compare(request: HttpRequest, *, pk: int) -> HttpResponse:
    """`s` names saved scenarios; without one all of them. The plan of things as they are stands first."""
    actor, now = actor_of(request), timezone.now()
    deployment = deployment_get(actor, pk)
    asked = [text for text in request.GET.getlist("s") if text.isascii() and text.isdigit() and len(text) < 19]
    rows = scenarios_for(actor).filter(deployment=deployment).select_related("plan").prefetch_related("planned_events")
    chosen = list(rows.filter(pk__in=asked) if asked else rows)[: COLUMNS_MOST - 1]
    run = base_run(deployment)
    base = result_of(run)
    subject = Subject(deployment=deployment)
    columns = [Column("A", "As things are", "what runs now", plan_url(subject), base, do_nothing(base) if base else None, ())]
    columns += [column_of(subject, scenario, LETTERS[i + 1]) for i, scenario in enumerate(chosen)]
    context = {
        "deployment": deployment,
        "columns": columns,
        "lines": lines_of(columns, now=now),
        "charts": [(each, demand_figure(each.result, (), now=now)) for each in columns if each.result and each.result.demand],
        "share_url": request.build_absolute_uri(),
        "left_out": max(rows.count() - COLUMNS_MOST + 1, 0) if not asked else 0,
        "made_at": run.made_at if run is not None else None,
    }
    return show(request, "plans/compare.html", context)


def column_of(subject: Subject, scenario: Scenario, letter: str) -> Column:
    run = getattr(scenario, "plan", None)
    result = result_of(run)
    figures = figures_scenario(scenario, result) if result is not None else None
    events = [event.name for event in scenario.planned_events.all()]
    return Column(letter, scenario.name, assumed_words(scenario), plan_url(subject, scenario), result, figures, events)


def lines_of(columns: Sequence[Column], *, now: datetime) -> list[Line]:
    results = [each.result for each in columns]
    currency = next((each.cost.currency for each in results if each is not None and each.cost is not None), "")
    costs = [(each.figures.cost if currency else each.figures.hours) if each.figures else None for each in columns]
    return [
        Line("Runs on", [(each.figures.hardware if each.figures else DASH, "") for each in columns]),
        Line("Runs out", [run_out_cell(each, now=now) for each in columns]),
        Line("Order by", [order_cell(each, now=now) for each in results]),
        Line("Peak demand, req/s", [peak_cell(each) for each in results]),
        Line("Needed at that peak", [(amount(each.curve.needed) if each and each.curve else DASH, "") for each in results]),
        Line("Latency then", [latency_cell(each) for each in results]),
        Line(
            per_month(currency),
            [(money(cost), "") for cost in costs],
            best=least([cost if each.figures and each.figures.holds else None for cost, each in zip(costs, columns, strict=True)]),
        ),
        Line("SLO minutes lost", [lost_cell(each) for each in columns]),
        Line("Own events", [(", ".join(each.events) or DASH, "") for each in columns]),
    ]


def least(values: Sequence[float | None]) -> int | None:
    known = [(value, i) for i, value in enumerate(values) if value is not None]
    return min(known)[1] if len(known) > 1 else None


def run_out_cell(column: Column, *, now: datetime) -> tuple[str, str]:
    if column.result is None or column.figures is None or column.result.run_out is None:
        return DASH, ""
    if column.figures.out is None:
        return "not in sight" if column.figures.holds else DASH, ""
    return day_words(column.figures.out, now=now), run_out_tone(column.result.run_out, now=now)


def order_cell(result: PlanResult | None, *, now: datetime) -> tuple[str, str]:
    if result is None or result.run_out is None:
        return DASH, ""
    tile = plan_tiles(result, now=now)[1]
    at = result.run_out.order_time
    return (day_words(at, now=now) if at is not None else "nothing to order"), tile.tone


def peak_cell(result: PlanResult | None) -> tuple[str, str]:
    if result is None or result.demand is None:
        return DASH, ""
    demand = result.demand
    return f"{rate(demand.peak)} ({rate(demand.peak_low)} to {rate(demand.peak_high)})", ""


def latency_cell(result: PlanResult | None) -> tuple[str, str]:
    point = point_of(result.curve.points, result.curve.needed) if result is not None and result.curve is not None else None
    return (seconds_words(point.promised), "") if point is not None else (DASH, "")


def lost_cell(column: Column) -> tuple[str, str]:
    figures = column.figures
    if figures is None or figures.lost is None:
        return DASH, ""
    over = figures.budget is not None and figures.lost > figures.budget
    return amount(figures.lost, whole=True), "crit" if over else ""

"""The page of one plan: of a deployment, of a saved scenario, or of what the address assumes; with its tables and CSV."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET

from capacity.analysis.plan_records import Assumption, PlanResult
from capacity.analysis.supply import held_load, orders_open, supply_steps
from capacity.dashboards.plans_assumed import HORIZONS, Assumed, assumed_of
from capacity.dashboards.plans_charts import Mark, demand_figure
from capacity.dashboards.plans_curves import curve_figure, floor_figure
from capacity.dashboards.plans_exports import EXPORTS, autoscaler_files
from capacity.dashboards.plans_load import Shown, events_of, shown_load
from capacity.dashboards.plans_making import making_of
from capacity.dashboards.plans_notes import NOTES
from capacity.dashboards.plans_parts import curve_answer, demand_answer, demand_unit, icon_of, plan_tiles, policy_rows, replay_answer
from capacity.dashboards.plans_rows import may_change, plan_url
from capacity.dashboards.plans_scenarios import scenario_rows, scenarios_answer
from capacity.dashboards.plans_tables import SHEETS, Sheet
from capacity.dashboards.plans_words import amount, at_of, date_words, day_words, days_words, money, rate, start_words, unit_of
from capacity.dashboards.replies import guarded, show
from capacity.dashboards.sheets import table_response
from capacity.dashboards.words import count
from capacity.models import PlannedEvent, PlannedKind, Scope
from monitoring.access import actor_of, deployment_get
from monitoring.models import Deployment, Slo


@dataclass(frozen=True)
class AssumedLine:
    """One entry of the list of assumptions; `url` where it is changed, `drop` the query string without it."""

    icon: str
    title: str
    detail: str
    value: str
    url: str = ""
    drop: str = ""


@guarded
@require_GET
def plan(request: HttpRequest, *, pk: int) -> HttpResponse:
    actor, now = actor_of(request), timezone.now()
    deployment = deployment_get(actor, pk)
    assumed = assumed_of(request, deployment, actor=actor, now=now)
    return plan_show(request, assumed, now=now)


def plan_show(request: HttpRequest, assumed: Assumed, *, now: datetime) -> HttpResponse:
    """Also of a group or cluster; its scenario then stands in `assumed.saved`."""
    actor, shown = actor_of(request), shown_load(assumed, now=now)
    events = events_of(assumed)
    may_edit = may_change(actor, assumed.subject)
    context = frame_context(assumed, shown, now=now) | doors(request, assumed, shown, now=now)
    context |= {"may_edit": may_edit, "events": events, "notes": NOTES}
    if shown.result is not None:
        rows = scenario_rows(assumed, shown.result, now=now)
        context |= result_context(assumed, shown.result, events=events, may_edit=may_edit, now=now)
        context |= {"scenarios": rows, "scenarios_answer": scenarios_answer(rows)}
    answer = show(request, "plans/plan.html", context, status=422 if assumed.form.errors or assumed.problems else 200)
    if request.headers.get("HX-Request"):
        answer["HX-Push-Url"] = context["page_url"] + assumed.query  # without the fields that were left empty
    return answer


def frame_context(assumed: Assumed, shown: Shown, *, now: datetime) -> dict[str, Any]:
    """What the page has with and without a plan."""
    subject = assumed.subject
    name = subject.deployment.name if subject.deployment else assumed.saved.name if assumed.saved else ""
    horizon = shown.result.horizon_days if shown.result is not None else assumed.horizon_days
    return {
        "subject": subject,
        "deployment": subject.deployment,
        "name": name,
        "assumed": assumed,
        "shown": shown,
        "result": shown.result,
        "form": assumed.form,
        "now": now,
        "page_url": plan_url(subject, assumed.saved if subject.scope != Scope.DEPLOYMENT else None),
        "horizons": [(label, assumed.query_with(horizon=str(days)), days == horizon) for days, label in HORIZONS],
        "horizon_words": days_words(horizon),
        "made_at": at_of(shown.result.made_at) if shown.result is not None else None,
    }


def doors(request: HttpRequest, assumed: Assumed, shown: Shown, *, now: datetime) -> dict[str, Any]:
    """Where its buttons lead."""
    subject, saved = assumed.subject, assumed.saved
    home = plan_url(subject, saved if subject.deployment is None else None)
    kwargs = {"pk": subject.deployment.pk if subject.deployment is not None else saved.pk if saved is not None else 0}
    of_deployment = subject.deployment is not None
    events_url = reverse("plan_events" if of_deployment else "scenario_events", kwargs=kwargs)
    back = urlencode({"back": assumed.query} | ({"scenario": str(saved.pk)} if saved is not None and of_deployment else {}))
    return {
        "share_url": request.build_absolute_uri(home + assumed.query.removesuffix("?")),
        "save_url": reverse("scenario_save" if of_deployment else "scenario", kwargs=kwargs),
        "events_url": f"{events_url}?{back}",
        "axis_url": f"{events_url}?{back}",
        "making": making_of(subject, saved, shown.run, now=now),
        "exports": [(kind, each.label) for kind, each in EXPORTS.items()],
        "autoscaler": autoscaler_files(shown.result, subject.deployment) if shown.result is not None and of_deployment else [],
    }


def result_context(
    assumed: Assumed, result: PlanResult, *, events: Sequence[PlannedEvent], may_edit: bool, now: datetime
) -> dict[str, Any]:
    currency = result.cost.currency if result.cost else ""
    marks = event_marks(events, assumed, may_edit=may_edit, now=now)
    return {
        "tiles": plan_tiles(result, now=now),
        "demand_figure": demand_figure(result, marks, now=now) if result.demand else None,
        "demand_answer": demand_answer(result, now=now),
        "demand_source": demand_source(result),
        "demand_says": demand_says(result, now=now),
        "marks": marks,
        "curve_figure": curve_figure(result.curve, currency=currency) if result.curve and result.curve.points else None,
        "curve_answer": curve_answer(result),
        "floor_figure": floor_figure(result.floor) if result.floor else None,
        "floor_week": result.floor is not None and len(result.floor.replicas) > 24,
        "startup_words": start_words(result.floor.startup_seconds) if result.floor else "",
        "policies": policy_rows(result),
        "replay_answer": replay_answer(result, now=now),
        "replay_days": f"{day_words(result.replayed.start, now=now)} to {day_words(result.replayed.end, now=now)}, each 00:00 UTC"
        if result.replayed
        else "",
        "assumptions": assumption_lines(assumed, result, events=events, may_edit=may_edit, now=now),
        "as_of": at_of(result.as_of) if result.as_of else None,
        "currency": currency,
        "untold": (untold := untold_words(result)),
        "no_slo": bool(untold) and not Slo.objects.filter(deployment=assumed.subject.deployment, latency__isnull=False).exists(),
        "on_order": order_note(assumed.subject.deployment, now=now) if assumed.subject.deployment is not None else "",
    } | words_context(result)


def untold_words(result: PlanResult) -> str:
    """The one reason why nothing that rests on a queue is there; empty where there are several, or none."""
    whys = {result.gaps.get(name, "") for name in ("curve", "floor", "replayed", "risk")}
    return whys.pop() if len(whys) == 1 and result.demand is not None and result.unit == "replicas" else ""


def order_note(deployment: Deployment, *, now: datetime) -> str:
    """What is on the way is of a cluster and of nobody in it: said beside the plan of one deployment, which does not count it."""
    held = held_load(deployment, now=now) if orders_open(deployment.cluster) else None
    if held is None:
        return ""
    found = supply_steps(deployment.cluster, model=held.model, now=now)
    parts = [f"{day_words(step.time, now=now)}: {step.label}" for step in found.steps if step.order is not None]
    parts += [f"{count(found.undated, 'accelerator')} without a day"] if found.undated else []
    parts += [f"{count(found.late, 'accelerator')} late"] if found.late else []
    words = f"On the way to {deployment.cluster.name}: {'; '.join(parts)}."
    return f"{words} Not counted here, as they are nobody's yet: plans of a cluster or a group count those with a day." if parts else ""


def words_context(result: PlanResult) -> dict[str, Any]:
    """The short figures of the small cards."""
    floor, risk, capacity = result.floor, result.risk, result.capacity
    held = ""
    if capacity is not None:
        number = rate(capacity.now.rate) if result.unit == "replicas" else amount(capacity.now.rate)
        held = f"{number} {demand_unit(result)}"
        if capacity.now.low is not None and capacity.now.high is not None:
            held += f" ({rate(capacity.now.low)} to {rate(capacity.now.high)})"
    least, most = (min(floor.replicas), max(floor.replicas)) if floor and floor.replicas else (0, 0)
    return {
        "floor_words": f"{least} to {most}" if least != most else f"{least}",
        "floor_unit": unit_of(most, result.unit),
        "risk_words": f"{amount(risk.lost_minutes, whole=True)} SLO minutes lost." if risk else "",
        "risk_cost": money(risk.cost) if risk else "",
        "held_words": held,
    }


def demand_source(result: PlanResult) -> list[str]:
    demand = result.demand
    if demand is None:
        return []
    held = f"backtest: 80 % band held {100 * demand.coverage_80:.0f} % of days" if demand.coverage_80 is not None else "no backtest yet"
    return [f"busiest hour of each day, UTC, {demand.history_days:.0f} days of history", demand.method.rstrip("."), held]


def demand_says(result: PlanResult, *, now: datetime) -> str:
    """The chart in one sentence, for who cannot see it."""
    demand, answer = result.demand, demand_answer(result, now=now)
    if demand is None or not demand.times:
        return answer.text
    last = f"{rate(demand.quantiles[middle(demand.levels)][-1])} {demand_unit(result)}"
    end = f"on {date_words(at_of(demand.times[-1]).date(), now=now)} the median is {last}"
    held = f"; {rate(result.capacity.now.rate)} can be held now" if result.capacity else ""
    return f"{answer.verdict} {answer.text} In {count(len(demand.times), 'day')}, {end}{held}."


def middle(levels: Sequence[float]) -> int:
    return min(range(len(levels)), key=lambda i: abs(levels[i] - 0.5))


# --- Events ----------------------------------------------------------------------------------------------------------------


def event_effect(event: PlannedEvent) -> str:
    """ "×1.35", "+200 req/s", "learned"."""
    parts = [f"×{event.factor:g}"] if event.factor is not None and event.factor != 1 else []
    parts += [f"+{event.added_requests_per_second:g} req/s"] if event.added_requests_per_second else []
    return " ".join(parts) or ("learned" if event.kind == PlannedKind.HOLIDAY else "×1")


def event_marks(events: Sequence[PlannedEvent], assumed: Assumed, *, may_edit: bool, now: datetime) -> list[Mark]:
    """`key` is the id of a stored event, or its place in the address: these may be moved by everybody."""
    marks = []
    for event in events:
        day = date_words(event.start_at.astimezone(UTC).date(), now=now)
        words, short = f"{day} {event.name[:24]} {event_effect(event)}", f"{day} {event_effect(event)}"
        own = event.pk is None
        key = f"a{list(assumed.events).index(event)}" if own else str(event.pk)
        url = "" if own or not may_edit else f"/planned-events/{event.pk}/"
        marks.append(Mark(event.start_at.timestamp(), event.name, words, short, key if own or may_edit else "", url))
    return marks


def assumption_lines(
    assumed: Assumed, result: PlanResult, *, events: Sequence[PlannedEvent], may_edit: bool, now: datetime
) -> list[AssumedLine]:
    """Planned events first, as they stand now, then what the plan says it assumed."""
    lines = [event_line(event, assumed, may_edit=may_edit, now=now) for event in events]
    kinds = set(PlannedKind.values)
    others = [each for each in result.assumptions if each.kind not in kinds or (each.event is None and not known(each, events))]
    return lines + [AssumedLine(icon_of(each.kind), each.title, each.detail, each.value) for each in others]


def known(assumption: Assumption, events: Sequence[PlannedEvent]) -> bool:
    return any(event.name == assumption.title for event in events)


def event_line(event: PlannedEvent, assumed: Assumed, *, may_edit: bool, now: datetime) -> AssumedLine:
    start = date_words(event.start_at.astimezone(UTC).date(), now=now)
    until = f" to {date_words(event.end_at.astimezone(UTC).date(), now=now)}" if event.end_at else ""
    value = f"{event_effect(event)}, {start}{until}"
    if event.pk is None:
        index = list(assumed.events).index(event)
        texts = [text for i, text in enumerate(assumed.texts) if i != index]
        return AssumedLine(icon_of(event.kind), event.name, "only in this address", value, drop=assumed.query_with(texts=texts))
    where = "in this scenario" if event.scenario_id else "in every scenario"
    by = f"{where}, entered by {event.set_by}" if event.set_by else where
    url = f"/planned-events/{event.pk}/" if may_edit else ""
    return AssumedLine(icon_of(event.kind), event.name, by, value, url=url)


# --- Tables and CSV ----------------------------------------------------------------------------------------------------------


def sheet_of(request: HttpRequest, pk: int, slug: str) -> tuple[Deployment, Sheet | None]:
    if slug not in SHEETS:
        raise Http404("There is no such page.")
    actor, now = actor_of(request), timezone.now()
    deployment = deployment_get(actor, pk)
    shown = shown_load(assumed_of(request, deployment, actor=actor, now=now), now=now)
    return deployment, SHEETS[slug](shown.result) if shown.result is not None else None


@guarded
@require_GET
def plan_table(request: HttpRequest, *, pk: int, slug: str) -> HttpResponse:
    _, sheet = sheet_of(request, pk, slug)
    return show(request, "plans/table.html", {"sheet": sheet})


@guarded
@require_GET
def plan_csv(request: HttpRequest, *, pk: int, slug: str) -> HttpResponse:
    deployment, sheet = sheet_of(request, pk, slug)
    return table_response(
        sheet.header if sheet else ["nothing is planned yet"], sheet.lines if sheet else [], name=f"{deployment.name}-{slug}"
    )

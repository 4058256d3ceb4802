"""Plans: every deployment with the day its capacity runs out, the next one first; below them groups and clusters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.core.paginator import Paginator
from django.db.models import Count, F, FilteredRelation, Q, QuerySet
from django.db.models.functions import Lower
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET

from capacity.dashboards.pages import query_string
from capacity.dashboards.plans_rows import STALE, scenarios_for
from capacity.dashboards.plans_words import SOON_DAYS, amount, date_words, money, per_month, until_words
from capacity.dashboards.replies import guarded, show
from capacity.dashboards.sheets import table_response
from capacity.dashboards.words import count
from capacity.dashboards.words import figure as shown
from capacity.models import PlanRun, Scope
from monitoring.access import actor_of, deployments_for
from monitoring.models import Deployment, DeploymentState, WorkloadKind

ROWS = 50
MONTH = timedelta(days=30)
RUN = "base__"
# column -> (words, order, whether the first click sorts downwards)
SORTS: dict[str, tuple[str, str, bool]] = {
    "name": ("Deployment", "lower_name", False),
    "out": ("Runs out", "base__runs_out_on", False),
    "order": ("Order by", "base__order_by", False),
    "needed": ("Replicas, now and needed", "base__replicas_needed", True),
    "cost": ("Cost of the plan", "base__cost_per_month", True),
    "error": ("Forecast error", "base__forecast_error_ratio", True),
    "age": ("Made", "base__made_at", False),
}
KNOWN = Q(base__isnull=False, base__refusal="") & ~Q(base__verdict="unknown")
HEADER = (
    *("deployment", "model", "cluster", "namespace", "owner", "verdict", "runs out on", "runs out early on (p90)", "order by"),
    *("replicas now", "replicas needed", "cost a month", "currency", "SLO minutes lost doing nothing", "forecast error [ratio]"),
    *("made at", "as of"),
)


def chips_of(today: date) -> tuple[tuple[str, str, Q], ...]:
    return (
        ("", "All", Q()),
        ("soon", "Runs out in 30 days", Q(base__runs_out_on__lte=today + MONTH)),
        ("order", "Order within a week", Q(base__order_by__lte=today + timedelta(days=SOON_DAYS))),
        ("breaks", "Breaks now", Q(base__runs_out_on=None, base__verdict="breaks")),
        ("holds", "Holds", KNOWN & Q(base__runs_out_on=None) & ~Q(base__verdict="breaks")),
        ("unknown", "Cannot tell", Q(base__isnull=False) & ~KNOWN),
        ("none", "No plan yet", Q(base__isnull=True)),
    )


@dataclass(frozen=True)
class PlanRow:
    """One deployment, group or cluster as the table shows it; without a run the cells are empty."""

    name: str
    under: str
    url: str
    state: str  # of the status shape
    word: str
    why: str
    out: str
    out_under: str
    order: str
    order_under: str
    order_tone: str
    replicas: str
    needed: str
    cost: str
    cost_unit: str
    error: str
    made_at: datetime | None
    stale: bool


@guarded
@require_GET
def plans(request: HttpRequest) -> HttpResponse:
    actor, now = actor_of(request), timezone.now()
    today = now.date()
    mine = planned(deployments_for(actor))
    query, sort, downwards = asked(request)
    wanted = request.GET.get("show", "")
    chips = chips_of(today)
    counts = mine.aggregate(**{key or "all": Count("pk", filter=condition) for key, _, condition in chips})
    condition = next((condition for key, _, condition in chips if key == wanted), Q())
    found = ordered(searched(mine.filter(condition), query), sort=sort, downwards=downwards)
    page = Paginator(found, ROWS).get_page(request.GET.get("page"))
    params = {name: values for name, values in request.GET.lists() if all(len(value) < 200 for value in values)}
    groups = list(
        scenarios_for(actor)
        .exclude(scope=Scope.DEPLOYMENT)
        .select_related("plan")
        .defer("plan__result")
        .annotate(size=Count("members"))[:100]
    )
    context = {
        "sentence": sentence(counts),
        "rows": [deployment_row(row, now=now) for row in page.object_list],
        "pages": page,
        "pager_base": query_string(params, page="") + "&",
        "chips": [
            (label, counts[key or "all"], query_string(params, show=key, page=""), key == wanted)
            for key, label, _ in chips
            if not key or counts[key] or key == wanted
        ],
        "headings": {key: heading(params, key, sort=sort, downwards=downwards) for key in SORTS},
        "query": query,
        "without_search": query_string(params, q="", page=""),
        "csv_query": query_string(params, page=""),
        "total": counts["all"],
        "groups": [group_row(scenario, now=now) for scenario in groups],
        "may_group": actor.admin or bool(actor.roles),
    }
    return show(request, "plans/plans.html", context)


@guarded
@require_GET
def plans_csv(request: HttpRequest) -> HttpResponse:
    """The whole filtered list, days in ISO 8601."""
    actor, now = actor_of(request), timezone.now()
    query, sort, downwards = asked(request)
    condition = next((condition for key, _, condition in chips_of(now.date()) if key == request.GET.get("show", "")), Q())
    found = ordered(searched(planned(deployments_for(actor)).filter(condition), query), sort=sort, downwards=downwards)
    return table_response(HEADER, (csv_row(row, now=now) for row in found), name="plans")


def asked(request: HttpRequest) -> tuple[str, str, bool]:
    text = request.GET.get("sort", "out")
    key = text.removeprefix("-")
    sort, downwards = (key, text.startswith("-")) if key in SORTS else ("out", False)
    return request.GET.get("q", "").strip()[:120], sort, downwards


def planned(mine: QuerySet[Deployment]) -> QuerySet[Deployment]:
    """What serves and is in use, each with its newest plan; the plan's long result is left where it is."""
    rows = mine.filter(state=DeploymentState.ACTIVE, workload_kind=WorkloadKind.SERVING)
    base = FilteredRelation("plans", condition=Q(plans__scenario=None))
    facts = ("made_at", "as_of", "refusal", "runs_out_on", "runs_out_early_on", "order_by", "replicas_now", "replicas_needed")
    more = ("cost_per_month", "currency", "lost_minutes_risk", "verdict", "headline", "forecast_error_ratio")
    return rows.annotate(
        base=base,
        lower_name=Lower("name"),
        **{f"plan_{name}": F(f"{RUN}{name}") for name in (*facts, *more)},
    ).select_related("cluster", "team")


def searched(rows: QuerySet[Deployment], text: str) -> QuerySet[Deployment]:
    for word in text.split()[:5]:
        names = ("name", "model_name", "workload", "namespace", "cluster__name", "team__name")
        found = Q()
        for name in names:
            found |= Q(**{f"{name}__icontains": word})
        rows = rows.filter(found)
    return rows


def ordered(rows: QuerySet[Deployment], *, sort: str, downwards: bool) -> QuerySet[Deployment]:
    field = F(SORTS[sort][1])
    first = field.desc(nulls_last=True) if downwards else field.asc(nulls_last=True)
    return rows.order_by(first, F("base__runs_out_early_on").asc(nulls_last=True), Lower("name"), "pk")


def heading(params: Mapping[str, list[str]], key: str, *, sort: str, downwards: bool) -> dict[str, str]:
    label, _, first_down = SORTS[key]
    down = not downwards if key == sort else first_down
    direction = ("descending" if downwards else "ascending") if key == sort else ""
    return {"label": label, "url": query_string(params, sort=f"-{key}" if down else key, page=""), "direction": direction}


def sentence(counts: Mapping[str, int]) -> str:
    total = counts["all"]
    if not total:
        return "No deployment that serves is known yet; plans come with the first night after its data."
    soon, order, none, unknown = counts["soon"], counts["order"], counts["none"], counts["unknown"]
    first = f"{soon} of {count(total, 'deployment')} {'runs' if soon == 1 else 'run'} out within 30 days"
    parts = [f"{order} to order for within a week"] if order else []
    parts += [f"of {unknown} nobody can tell yet"] if unknown else []
    parts += [f"{none} without a plan yet"] if none else []
    return ", ".join([first, *parts]) + "."


# --- What a row shows ----------------------------------------------------------------------------------------------------


def deployment_row(row: Deployment, *, now: datetime) -> PlanRow:
    facts = {name.removeprefix("plan_"): value for name, value in row.__dict__.items() if name.startswith("plan_")}
    team = row.team.name if row.team else "Unassigned"
    under = " · ".join(part for part in (row.model_name if row.model_name != row.name else "", row.cluster.name, team) if part)
    return plan_row(facts, name=row.name, under=under, url=f"/plans/{row.pk}/", now=now)


def group_row(scenario: Any, *, now: datetime) -> PlanRow:
    run: PlanRun | None = getattr(scenario, "plan", None)
    names = [field.attname for field in PlanRun._meta.concrete_fields if field.name != "result"]
    facts = {} if run is None else {name: getattr(run, name) for name in names}
    of = f"cluster {scenario.cluster.name}" if scenario.cluster else f"group of {count(scenario.size, 'deployment')}"
    return plan_row(facts, name=scenario.name, under=of, url=f"/scenarios/{scenario.pk}/", now=now)


def plan_row(facts: Mapping[str, Any], *, name: str, under: str, url: str, now: datetime) -> PlanRow:
    made_at = facts.get("made_at")
    out, early, order = (facts.get(key) for key in ("runs_out_on", "runs_out_early_on", "order_by"))
    state, word, why = state_of(facts, today=now.date())
    error = facts.get("forecast_error_ratio")
    now_replicas, needed = facts.get("replicas_now"), facts.get("replicas_needed")
    cost = facts.get("cost_per_month")
    known = made_at is not None and state != "no_data"
    return PlanRow(
        name=name,
        under=under,
        url=url,
        state=state,
        word=word,
        why=why,
        out=date_words(out, now=now) if out else "not in sight" if known else "",
        out_under=until_words((out - now.date()).days) if out else f"p90: {date_words(early, now=now)}" if early else "",
        order=date_words(order, now=now) if order else "",
        order_under=until_words((order - now.date()).days) if order else "",
        order_tone="crit" if order and order < now.date() else "warn" if order and (order - now.date()).days <= SOON_DAYS else "",
        replicas=amount(now_replicas) if now_replicas is not None else "",
        needed=amount(needed) if needed is not None else "",
        cost=money(float(cost)) if isinstance(cost, Decimal) else "",
        cost_unit=per_month(facts.get("currency") or "") if cost is not None else "",
        error=str(shown(error, "ratio")) if error is not None else "",
        made_at=made_at,
        stale=made_at is not None and now - made_at > STALE,
    )


def state_of(facts: Mapping[str, Any], *, today: date) -> tuple[str, str, str]:
    """Shape, word and why: red where it runs out within a week or before the order can come."""
    if facts.get("made_at") is None:
        return "new", "No plan yet", "Plans are made at night."
    if facts.get("refusal") or facts.get("verdict") == "unknown":
        return "no_data", "Cannot tell", facts.get("refusal") or facts.get("headline") or ""
    out, order = facts.get("runs_out_on"), facts.get("order_by")
    if out is None and facts.get("verdict") == "breaks":
        return "breaks", "Breaks now", facts.get("headline") or ""
    if out is None:
        return "ok", "Holds", ""
    late = (out - today).days <= SOON_DAYS or (order is not None and order < today)
    return ("breaks" if late else "warning"), "Runs out", ""


def csv_row(row: Deployment, *, now: datetime) -> Sequence[str]:
    facts = {name.removeprefix("plan_"): value for name, value in row.__dict__.items() if name.startswith("plan_")}
    _, word, _ = state_of(facts, today=now.date())
    names = ("runs_out_on", "runs_out_early_on", "order_by", "replicas_now", "replicas_needed", "cost_per_month", "currency")
    told = [plain(facts.get(name)) for name in (*names, "lost_minutes_risk")]
    ends = [plain(facts.get(name)) for name in ("forecast_error_ratio", "made_at", "as_of")]
    return [row.name, row.model_name, row.cluster.name, row.namespace, row.team.name if row.team else "", word, *told, *ends]


def plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds").replace("+00:00", "Z")
    return f"{value:.7g}" if isinstance(value, float) else str(value)

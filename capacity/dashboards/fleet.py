"""Fleet: what is on fire, what is wasted, what changed, and every deployment, worst first."""

from dataclasses import dataclass

from django.core.paginator import Paginator
from django.db.models import Case, Count, F, FloatField, IntegerField, Q, QuerySet, Value, When
from django.db.models.functions import Lower
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from capacity.dashboards.fleet_rows import FIELDS, table_rows, versions_of
from capacity.dashboards.pages import Page, page_context, screen
from capacity.dashboards.sheets import table_response
from capacity.dashboards.triage import changed, fleet_tiles, on_fire, sentence, wasted
from capacity.models import Verdict
from monitoring.access import actor_of, deployments_for
from monitoring.catalog.columns import LATENCY_LABELS
from monitoring.catalog.records import Latency
from monitoring.models import Deployment, DeploymentState, WorkloadKind

ROWS = 50
TILES_LATER_ABOVE = 200  # a larger fleet adds up its totals after the page has come
WORST_FIRST = (Verdict.BREAKS, Verdict.WARNING, Verdict.NO_DATA, Verdict.NO_SLO, Verdict.OK)
ACTIVE, ARCHIVED = Q(state=DeploymentState.ACTIVE), Q(state=DeploymentState.ARCHIVED)
CHIPS: tuple[tuple[str, str, Q], ...] = (
    ("all", "All", ACTIVE),
    ("breaks", "Breaks SLO", ACTIVE & Q(status__verdict=Verdict.BREAKS)),
    ("action", "Needs action", ACTIVE & Q(status__verdict__in=(Verdict.BREAKS, Verdict.WARNING))),
    ("no-slo", "No SLO", ACTIVE & Q(slo__isnull=True, workload_kind=WorkloadKind.SERVING)),
    ("no-data", "No data", ACTIVE & (Q(status__isnull=True) | Q(status__verdict=Verdict.NO_DATA))),
    ("archived", "Archived", ARCHIVED),
)
# column -> (words, fields of the order, whether the first click sorts downwards)
SORTS: dict[str, tuple[str, str, bool]] = {
    "name": ("Deployment", "lower_name", False),
    "status": ("Status", "badness", False),
    "requests": ("Requests/s", "status__requests_per_second", True),
    "latency": ("Latency against SLO", "strain", True),
    "headroom": ("Headroom", "status__limit_ratio", True),
    "busy": ("GPU busy %", "status__accelerator_busy_ratio", True),
    "owner": ("Owner", "team__name", False),
}


@dataclass(frozen=True)
class Chip:
    label: str
    count: int
    url: str
    current: bool


@dataclass(frozen=True)
class Heading:
    key: str
    label: str
    url: str
    direction: str  # of aria-sort, empty when not sorted by


class CountedPaginator(Paginator):  # type: ignore[type-arg]
    """total: how many rows there are, where it is known."""

    def __init__(self, rows: QuerySet[Deployment], per_page: int, *, total: int | None) -> None:
        super().__init__(rows, per_page)
        if total is not None:
            self.count = total


@screen
def fleet(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    page = page_context(request, default="now-24h")
    mine = deployments_for(actor)
    counts = counts_of(mine)
    shown, sort, downwards = request.GET.get("show", "all"), *sort_of(request)
    found = searched(ordered(mine, shown=shown, sort=sort, downwards=downwards), request.GET.get("q", ""))
    total = None if request.GET.get("q") else counts.get(shown.replace("-", "_"))
    rows = CountedPaginator(found.only(*FIELDS), ROWS, total=total).get_page(request.GET.get("page"))
    fires = on_fire(mine)
    idle = wasted(actor, page=page)
    context = {
        "page": page,
        "sentence": sentence(counts, idle),
        "fires": fires,
        "wasted": idle,
        "changed": changed(actor, page=page),
        "tiles": fleet_tiles(actor, mine, page=page, counts=counts, idle=idle) if counts["all"] <= TILES_LATER_ABOVE else None,
        "chips": [
            Chip(label, counts[key.replace("-", "_")], page.url(show="" if key == "all" else key, page=""), key == shown)
            for key, label, _ in CHIPS
            if key in ("all", shown) or counts[key.replace("-", "_")]
        ],
        "headings": {key: heading(key, page, sort=sort, downwards=downwards) for key in SORTS},
        "pages": rows,
        "rows": table_rows(list(rows.object_list), page=page),
        "query": request.GET.get("q", ""),
        "pager_base": page.url(page="") + "&",
        "total": counts["all"],
        "mixed": len({row.cluster.demo for row in rows.object_list}) > 1,
    }
    return render(request, "fleet/fleet.html", context)


@screen
def tiles_later(request: HttpRequest) -> HttpResponse:
    """The tiles alone, asked for by the page of a large fleet once it stands."""
    if not request.headers.get("HX-Request"):
        return redirect("fleet")
    actor = actor_of(request)
    page = page_context(request, default="now-24h")
    mine = deployments_for(actor)
    tiles = fleet_tiles(actor, mine, page=page, counts=counts_of(mine), idle=wasted(actor, page=page))
    return render(request, "fleet/tiles.html", {"tiles": tiles, "page": page})


def counts_of(mine: QuerySet[Deployment]) -> dict[str, int]:
    """How many there are behind each chip, and how many have a promise to keep; one query."""
    counted = {key.replace("-", "_"): Count("pk", filter=condition) for key, _, condition in CHIPS}
    return mine.aggregate(**counted, promised=Count("pk", filter=ACTIVE & Q(slo__isnull=False)))


@screen
def fleet_csv(request: HttpRequest) -> HttpResponse:
    """The whole filtered list, as numbers in base units."""
    sort, downwards = sort_of(request)
    mine = deployments_for(actor_of(request))
    found = list(searched(ordered(mine, shown=request.GET.get("show", "all"), sort=sort, downwards=downwards), request.GET.get("q", "")))
    versions = versions_of(found)
    return table_response(CSV_HEADER, (csv_row(row, version=versions.get(row.pk, "")) for row in found), name="fleet")


CSV_HEADER = (
    *("deployment", "model", "version", "server", "cluster", "namespace", "owner", "status", "requests [req/s]", "error share [ratio]"),
    *("latency", "percentile", "latency [seconds]", "SLO [seconds]", "nearest limit", "load at the limit [ratio]", "GPU busy [ratio]"),
    *("replicas", "as of"),
)


def csv_row(row: Deployment, *, version: str) -> list[str]:
    status, slo = getattr(row, "status", None), getattr(row, "slo", None)
    team = row.team.name if row.team else ""
    what = [row.name, row.model_name, version, row.system, row.cluster.name, row.namespace, team]
    if status is None:
        return [*what, Verdict.NO_DATA.label, *[""] * 11]
    latency = LATENCY_LABELS[Latency(status.latency)] if status.latency else ""
    percentile = "mean" if status.latency_is_mean else f"{status.percentile:g}" if status.percentile else ""
    load = (cell(status.requests_per_second), cell(status.error_ratio))
    speed = (latency, percentile, cell(status.latency_seconds), cell(slo.threshold_seconds if slo else None))
    limits = (status.limit_name, cell(status.limit_ratio), cell(status.accelerator_busy_ratio), cell(status.replicas))
    return [*what, Verdict(status.verdict).label, *load, *speed, *limits, status.as_of.isoformat(timespec="seconds")]


def cell(value: float | None) -> str:
    return "" if value is None else f"{value:.7g}"


# --- Which rows, in which order ------------------------------------------------------------------------------------------


def sort_of(request: HttpRequest) -> tuple[str, bool]:
    """`sort=-requests` is downwards; without one the worst come first."""
    text = request.GET.get("sort", "status")
    key = text.removeprefix("-")
    return (key, text.startswith("-")) if key in SORTS else ("status", False)


def heading(key: str, page: Page, *, sort: str, downwards: bool) -> Heading:
    label, _, first_down = SORTS[key]
    down = not downwards if key == sort else first_down
    direction = ("descending" if downwards else "ascending") if key == sort else ""
    return Heading(key, label, page.url(sort=f"-{key}" if down else key, page=""), direction)


def ordered(mine: QuerySet[Deployment], *, shown: str, sort: str, downwards: bool) -> QuerySet[Deployment]:
    condition = next((condition for key, _, condition in CHIPS if key == shown), ACTIVE)
    badness = Case(
        *(When(status__verdict=verdict, then=Value(i)) for i, verdict in enumerate(WORST_FIRST)),
        default=Value(2),
        output_field=IntegerField(),
    )
    rows = mine.filter(condition).annotate(
        badness=badness,
        lower_name=Lower("name"),
        strain=Case(
            When(slo__threshold_seconds__gt=0, then=F("status__latency_seconds") / F("slo__threshold_seconds")),
            default=None,
            output_field=FloatField(),
        ),
    )
    field = F(SORTS[sort][1])
    first = field.desc(nulls_last=True) if downwards else field.asc(nulls_last=True)
    return rows.select_related("status", "slo", "team", "cluster").order_by(first, F("strain").desc(nulls_last=True), "lower_name", "pk")


def searched(rows: QuerySet[Deployment], text: str) -> QuerySet[Deployment]:
    for word in text.split()[:5]:
        rows = rows.filter(
            Q(name__icontains=word)
            | Q(model_name__icontains=word)
            | Q(workload__icontains=word)
            | Q(namespace__icontains=word)
            | Q(team__name__icontains=word)
        )
    return rows

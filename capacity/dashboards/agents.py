"""Agents: who sends, who is late or silent, what was dropped, whose clock is wrong; and forgetting a silent one."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.core.paginator import Paginator
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_GET, require_POST

from capacity.dashboards.agent_rows import AgentRow, agent_rows, capabilities_seen, gaps_words, version_parts, versions_seen
from capacity.dashboards.fleet import Heading
from capacity.dashboards.pages import Choice, query_string
from capacity.dashboards.replies import complain, guarded, show, snapshot, toast, undo_url
from capacity.dashboards.sheets import table_response
from capacity.dashboards.status import headroom_version
from capacity.dashboards.words import count, span
from monitoring.access import actor_of, admin_require, agent_get, agents_for, audit, sees_install
from monitoring.models import Agent, AgentState

ROWS = 60
GAPS_KEPT = 20  # in the address of an Undo, which must not become too long
HOST_KEPT = ("kernel", "driver_version", "cuda_version", "cpus", "memory_bytes")
FILTERS: tuple[tuple[str, str, Callable[[AgentRow], bool]], ...] = (
    ("all", "All", lambda row: True),
    ("silent", "Silent", lambda row: row.state == AgentState.SILENT),
    ("late", "Late", lambda row: row.state == AgentState.LATE),
    ("dropped", "Dropped readings", lambda row: row.dropped > 0),
    ("clock", "Wrong clock", lambda row: row.skewed),
    ("trouble", "In trouble", lambda row: bool(row.agent.trouble)),
    ("outdated", "Outdated", lambda row: row.outdated),
)
ORDER = {AgentState.SILENT: 0, AgentState.LATE: 1, AgentState.LIVE: 2}
# column -> (words, key, whether the first click sorts downwards)
SORTS: dict[str, tuple[str, Callable[[AgentRow], Any], bool]] = {
    "name": ("Agent", lambda row: (row.agent.node.cluster.name, row.agent.node.name), False),
    "state": ("State", lambda row: (ORDER[row.state], not row.problem, row.agent.node.cluster.name, row.agent.node.name), False),
    "version": ("Version", lambda row: version_parts(row.agent.version), False),
    "lag": ("Lag", lambda row: row.lag_seconds if row.lag_seconds is not None else float("inf"), True),
    "waiting": ("Waiting", lambda row: row.agent.waiting_count, True),
    "dropped": ("Dropped, 7 d", lambda row: row.dropped, True),
    "clock": ("Clock", lambda row: abs(row.agent.skew_seconds or 0.0), True),
    "refused": ("Refused", lambda row: row.agent.rejected_count, True),
}


@guarded
@require_GET
def agents(request: HttpRequest) -> HttpResponse:
    actor, now = actor_of(request), timezone.now()
    rows = agent_rows(agents_for(actor, now=now), now=now, server_version=headroom_version())
    query, shown, key = request.GET.get("q", "")[:100], request.GET.get("show", "all"), request.GET.get("key", "")[:12]
    sort, downwards = sort_of(request)
    mine = [row for row in searched(rows, query) if not key or (row.agent.key and row.agent.key.prefix == key)]
    test = next((test for name, _, test in FILTERS if name == shown), FILTERS[0][2])
    wanted = sorted((row for row in mine if test(row)), key=SORTS[sort][1], reverse=downwards)
    pages = Paginator(wanted, ROWS).get_page(request.GET.get("page"))
    seen = capabilities_seen(actor, [row.agent for row in pages.object_list])
    context = {
        "sentence": sentence(rows),
        "rows": [(row, gaps_words(seen.get(row.agent.pk, {}))) for row in pages.object_list],
        "pages": pages,
        "total": len(rows),
        "chips": chips(request, mine, shown=shown),
        "headings": {name: heading(request, name, sort=sort, downwards=downwards) for name in SORTS},
        "query": query,
        "key": key,
        "without_query": address(request, q="", key="", page=""),
        "pager_base": address(request, page="") + "&",
        "csv": address(request, page=""),
        "versions": versions_seen(rows),
        "server_version": headroom_version(),
        "mixed": len({row.agent.node.cluster.demo for row in rows}) > 1,
        "sees_install": sees_install(actor),
        "now": now,
    }
    return show(request, "agents/live.html" if request.headers.get("HX-Target") == "agents-live" else "agents/agents.html", context)


def sort_of(request: HttpRequest) -> tuple[str, bool]:
    """`sort=-lag` is downwards; without one the silent come first."""
    text = request.GET.get("sort", "state")
    name = text.removeprefix("-")
    return (name, text.startswith("-")) if name in SORTS else ("state", False)


def address(request: HttpRequest, **changes: str) -> str:
    return query_string(dict(request.GET.lists()), **changes)


def heading(request: HttpRequest, name: str, *, sort: str, downwards: bool) -> Heading:
    label, _, first_down = SORTS[name]
    down = not downwards if name == sort else first_down
    direction = ("descending" if downwards else "ascending") if name == sort else ""
    return Heading(name, label, address(request, sort=f"-{name}" if down else name, page=""), direction)


def chips(request: HttpRequest, rows: Sequence[AgentRow], *, shown: str) -> list[tuple[Choice, int]]:
    counted = [(name, label, sum(test(row) for row in rows)) for name, label, test in FILTERS]
    return [
        (Choice(label, address(request, show="" if name == "all" else name, page=""), name == shown), number)
        for name, label, number in counted
        if number or name in ("all", shown)
    ]


def searched(rows: Sequence[AgentRow], text: str) -> list[AgentRow]:
    words = text.lower().split()[:5]
    return [row for row in rows if all(word in f"{row.agent.node.name} {row.agent.node.cluster.name}".lower() for word in words)]


def sentence(rows: Sequence[AgentRow]) -> SafeString:
    """What a tired person needs first: do all of them send, and was anything lost?"""
    if not rows:
        return SafeString("No agent has reported yet.")
    states = Counter(row.state for row in rows)
    silent, late = states[AgentState.SILENT], states[AgentState.LATE]
    first = (
        format_html("<b>All of {} send.</b>", count(len(rows), "agent"))
        if not silent + late
        else format_html("<b>{} of {} send.</b>", states[AgentState.LIVE], count(len(rows), "agent"))
    )
    parts = [f"{silent} silent"] if silent else []
    parts += [f"{late} late"] if late else []
    waiting = sum(row.agent.waiting_count for row in rows)
    parts += [f"{count(waiting, 'reading')} on the way"] if waiting else []
    dropped = sum(row.dropped for row in rows)
    parts.append(f"{count(dropped, 'reading')} dropped in 7 days" if dropped else "no reading was dropped in 7 days")
    skewed = sum(row.skewed for row in rows)
    parts += [f"{skewed} with a wrong clock"] if skewed else []
    text = ", ".join(parts)
    return format_html("{} {}.", first, text[0].upper() + text[1:])


@guarded
@require_GET
def agents_csv(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    rows = agent_rows(agents_for(actor_of(request), now=now), now=now, server_version=headroom_version())
    test = next((test for name, _, test in FILTERS if name == request.GET.get("show", "all")), FILTERS[0][2])
    header = (
        *("cluster", "node", "state", "version", "last seen", "newest reading", "waiting [readings]", "dropped in 7 d [readings]"),
        *("clock skew [seconds]", "rejected [samples]", "duplicate [samples]"),
    )
    wanted = [row for row in searched(rows, request.GET.get("q", "")[:100]) if test(row)]
    return table_response(header, (csv_row(row) for row in wanted), name="agents")


def csv_row(row: AgentRow) -> list[str]:
    agent = row.agent
    newest = agent.newest_sample_at.isoformat(timespec="seconds") if agent.newest_sample_at else ""
    skew = "" if agent.skew_seconds is None else f"{agent.skew_seconds:.3g}"
    numbers = [str(number) for number in (agent.waiting_count, row.dropped)]
    place = [agent.node.cluster.name, agent.node.name, row.state, agent.version]
    return [
        *place,
        agent.last_seen_at.isoformat(timespec="seconds"),
        newest,
        *numbers,
        skew,
        str(agent.rejected_count),
        str(agent.duplicate_count),
    ]


@guarded
@require_GET
def agent(request: HttpRequest, *, pk: int) -> HttpResponse:
    """An agent has no page of its own: it stands on the page of its node."""
    row = agent_get(actor_of(request), pk)
    return redirect(f"/nodes/{row.node_id}/#agent")


@guarded
@require_POST
def agent_forget(request: HttpRequest, *, pk: int) -> HttpResponse:
    """Take a silent agent off the list; its readings stay, and it comes back by itself should it send again."""
    actor, now = actor_of(request), timezone.now()
    admin_require(actor)
    row = agent_get(actor, pk)
    [told] = agent_rows(Agent.objects.filter(pk=row.pk), now=now, server_version="")
    if told.state != AgentState.SILENT:
        complain(request, f"{row.node.name} still sends. Stop its agent first; after 15 minutes of silence it can be forgotten.")
        return redirect("agents")
    undo = undo_url("agent", pk=row.pk, fields=remembered(row))
    facts = {"node": row.node.name, "cluster": row.node.cluster.name, "version": row.version, "last_seen_at": row.last_seen_at}
    with transaction.atomic():
        audit(actor, "agent.forget", f"agent of {row.node.name}", before=facts, request=request)
        row.delete()
    silence = span((now - row.last_seen_at).total_seconds())
    toast(request, f"The agent of {row.node.name}, silent for {silence}, is forgotten. What it measured stays.", undo=undo)
    return redirect("agents")


def remembered(row: Agent) -> Mapping[str, Any]:
    """The row for its Undo. What calls give nothing is left out: it is long, and a living agent tells it again."""
    names = [field.name for field in Agent._meta.concrete_fields if field.name not in ("id", "capabilities", "host")]
    gaps = row.gaps.order_by("-end_at").values_list("count", "start_at", "end_at")[:GAPS_KEPT]
    return {
        **snapshot(row, *names),
        "host": {name: row.host[name] for name in HOST_KEPT if name in row.host},
        "gaps": [[number, start.isoformat(), end.isoformat()] for number, start, end in gaps],
    }

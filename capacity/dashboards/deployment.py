"""Deployment: the verdict, the tiles, what limits it, the score on one time axis, what happened, where it runs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from capacity.dashboards.alerts import ordered
from capacity.dashboards.alerts_words import AlertRow, alert_row
from capacity.dashboards.answers import Built, Panel
from capacity.dashboards.evidence import Evidence
from capacity.dashboards.hardware import short_model
from capacity.dashboards.pages import Page, page_context, screen
from capacity.dashboards.panels import PANELS_BY_SLUG, TITLES
from capacity.dashboards.panels_latency import live_name
from capacity.dashboards.plans_card import plan_card
from capacity.dashboards.replica_price import Placed, price_line
from capacity.dashboards.saturation import Saturation, saturation
from capacity.dashboards.saturation_judged import judged
from capacity.dashboards.score import EVENT_ICONS, evidence_load, folds, panels_shown, rail
from capacity.dashboards.sheets import csv_response, sheet_of, sheet_rows
from capacity.dashboards.tiles import BUSY_COLUMNS, deployment_tiles, told_columns, totals_of
from capacity.dashboards.words import count, figure, moment, span
from capacity.models import DeploymentStatus, SaturationRun, Verdict
from monitoring.access import Actor, actor_of, alerts_for, can_edit, deployment_get, events_for
from monitoring.catalog.columns import LATENCY_LABELS
from monitoring.catalog.records import Entity, Latency
from monitoring.catalog.systems import SYSTEMS
from monitoring.models import Deployment, EventKind, Placement, PlacementMethod, Slo, Version

PRESENT = timedelta(minutes=15)  # a replica not seen for longer is gone
ESTIMATED = (PlacementMethod.EQUAL_SPLIT, PlacementMethod.SM_TIME)
OWN_COLUMNS = (
    "requests_per_second",
    "errors_per_second",
    "error_ratio",
    "request_duration_mean_seconds",
    "output_tokens_per_second",
    "kv_cache_usage_ratio",
    "requests_waiting",
    "requests_running",
    "preemptions_per_second",
    "replicas_ready",
    "replicas_desired",
    "cpu_usage_cores",
    "cpu_requested_cores",
    "cpu_throttled_ratio",
    "memory_used_bytes",
    "memory_requested_bytes",
    "network_receive_bytes_per_second",
    "network_transmit_bytes_per_second",
)
HARDWARE_COLUMNS = (
    "gr_engine_active_ratio",
    "gpu_utilization_ratio",
    "dram_active_ratio",
    "tensor_active_ratio",
    "gpu_memory_used_bytes",
    "gpu_memory_total_bytes",
    "power_watts",
    "power_limit_watts",
    "throttle_power_ratio",
    "throttle_thermal_ratio",
)
TILE_COLUMNS = (
    "error_ratio",
    "output_tokens_per_second",
    "requests_waiting",
    "kv_cache_usage_ratio",
    "replicas_ready",
    "cpu_usage_cores",
    "memory_used_bytes",
)
EVENTS_MOST, REPLICAS_MOST, ALERTS_MOST = 12, 60, 5


@screen
def deployment(request: HttpRequest, pk: int) -> HttpResponse:
    actor = actor_of(request)
    row, status, run = standing(actor, pk)
    page = page_context(request)
    chosen = versions_chosen(request, row)
    evidence, panels = evidence_load(row, page, panels=None, chosen=chosen, more=TILE_COLUMNS, skew=True)
    own = totals_of(evidence, Entity.DEPLOYMENT, [row.pk], live=OWN_COLUMNS, told=told_columns(evidence))
    cards = [each.pk for each in evidence.accelerators]
    hardware = totals_of(evidence, Entity.ACCELERATOR, cards, live=HARDWARE_COLUMNS, told=BUSY_COLUMNS)
    events = list(events_for(actor).filter(deployment=row, at__lte=page.range.end).select_related("version")[:40])
    evidence = replace(evidence, live=live_values(evidence, status, own=own.live, hardware=hardware.live))
    shown, placed = panels_shown(evidence, panels), placed_replicas(evidence)
    answer = judged(run, row, page=page)
    limits = saturation(evidence, own=own.live, hardware=hardware.live, judged=answer, alarm=alarmed(status))
    context = {
        "deployment": row,
        "page": page,
        "alerts": open_alerts(actor, row, page=page),
        "status": status,
        "facts": facts(evidence, placed),
        "plan": plan_card(row, now=page.now),
        "price": price_line(placed, status=status, at=page.range.end),
        "slo": evidence.slo,
        "promise": promise_words(evidence.slo, status),
        "may_edit": can_edit(actor, row),
        "verdict": verdict(evidence, status, [each.built for each in shown], limits),
        "tiles": deployment_tiles(evidence, own=own, hardware=hardware),
        "limits": limits,
        "as_of": evidence.as_of,
        "stale": evidence.stale,
        "stale_text": stale_words(evidence),
        "panels": shown,
        "folds": folds(evidence, panels),
        "open": request.GET.get("open", "").split(","),
        "rail": rail(evidence, events),
        "events": [(event, EVENT_ICONS.get(EventKind(event.kind), "note")) for event in events[:EVENTS_MOST]],
        "versions": evidence.versions,
        "chosen": {version.pk for version in chosen},
        "placed": placed[:REPLICAS_MOST],
    }
    return render(request, "deployment/deployment.html", context)


def standing(actor: Actor, pk: int) -> tuple[Deployment, DeploymentStatus | None, SaturationRun | None]:
    """The deployment with its promise, its stored state and what was found to limit it; one query."""
    found = deployment_get(actor, pk, "slo", "status", "saturation")
    return found, getattr(found, "status", None), getattr(found, "saturation", None)


def open_alerts(actor: Actor, row: Deployment, *, page: Page) -> list[AlertRow]:
    """What is open of it now, whatever range is shown; one query."""
    rows = ordered(alerts_for(actor).open().filter(deployment=row), over=False)[:ALERTS_MOST]
    return [alert_row(alert, now=page.now, zone=page.zone) for alert in rows]


def versions_chosen(request: HttpRequest, row: Deployment) -> list[Version]:
    asked = [int(text) for text in request.GET.getlist("version") if text.isascii() and text.isdigit()]
    return list(Version.objects.filter(deployment=row, pk__in=asked)) if asked else []


# --- One panel: opened, as a table, as CSV -----------------------------------------------------------------------------


def one_panel(request: HttpRequest, pk: int, slug: str) -> tuple[Evidence, Panel]:
    row = deployment_get(actor_of(request), pk)
    panel = PANELS_BY_SLUG.get(slug)
    if panel is None:
        raise Http404
    evidence, _ = evidence_load(row, page_context(request), panels=[panel], chosen=versions_chosen(request, row))
    return evidence, panel


@screen
def panel(request: HttpRequest, pk: int, slug: str) -> HttpResponse:
    """A folded panel that was opened; without htmx the page itself with that panel open."""
    if not request.headers.get("HX-Request"):
        return redirect(f"{reverse('deployment', args=[pk])}?open={slug}#fold-{slug}")
    evidence, asked = one_panel(request, pk, slug)
    context = {"deployment": evidence.deployment, "page": evidence.page, "panel": panels_shown(evidence, [asked], clock=True)[0]}
    return render(request, "deployment/panel.html", context)


@screen
def panel_table(request: HttpRequest, pk: int, slug: str) -> HttpResponse:
    evidence, asked = one_panel(request, pk, slug)
    sheet = sheet_of(asked.build(evidence).plot)
    return render(
        request, "deployment/table.html", {"sheet": sheet, "rows": sheet_rows(sheet, zone=evidence.page.zone), "title": TITLES[slug]}
    )


@screen
def panel_csv(request: HttpRequest, pk: int, slug: str) -> HttpResponse:
    evidence, asked = one_panel(request, pk, slug)
    return csv_response(sheet_of(asked.build(evidence).plot), name=f"{evidence.deployment.name}-{slug}")


def live_values(
    evidence: Evidence, status: DeploymentStatus | None, *, own: Mapping[str, float], hardware: Mapping[str, float]
) -> dict[str, float]:
    """What the answers call now: in a live view the numbers of the tiles and of the stored status."""
    if not evidence.page.range.live:
        return {}
    live = {**own, **{name: hardware[name] for name in ("gr_engine_active_ratio", "gpu_utilization_ratio") if name in hardware}}
    if status is not None and status.latency and status.percentile and status.latency_seconds is not None and not status.latency_is_mean:
        live[live_name(Latency(status.latency), status.percentile)] = status.latency_seconds
    return live


def alarmed(status: DeploymentStatus | None) -> bool:
    return status is not None and status.verdict in (Verdict.BREAKS, Verdict.WARNING)


def stale_words(evidence: Evidence) -> str:
    if evidence.as_of is None:
        return ""
    ago = span((evidence.page.now - evidence.as_of).total_seconds())
    seen = f"{evidence.as_of.astimezone(evidence.page.zone):%H:%M:%S}"
    return f"Last seen {seen}, {ago} ago. What stands below is of that time; Status says which source is behind."


# --- Words of the page head ----------------------------------------------------------------------------------------------


def facts(evidence: Evidence, placed: Sequence[Placed]) -> list[tuple[str, str]]:
    """What it is, in pairs of a word and a fact."""
    row, page = evidence.deployment, evidence.page
    found = [("Model", row.model_name)] if row.model_name and row.model_name != row.name else []
    if evidence.versions:
        newest = evidence.versions[-1]
        since = f" since {moment(newest.first_seen_at, now=page.now, zone=page.zone)}" if len(evidence.versions) > 1 else ""
        found.append(("Version", f"{newest.name}{since}"))
    system = SYSTEMS[row.system].name if row.system in SYSTEMS else row.system
    found.append(("Server", f"{system} {row.system_version}".strip()))
    found.append(("Owner", row.team.name if row.team else "Unassigned"))
    found.append(("Runs on", f"{runs_on(evidence, placed)}, {row.cluster.name} / {row.namespace}".removesuffix(" / ")))
    return [(word, fact) for word, fact in found if fact]


def runs_on(evidence: Evidence, placed: Sequence[Placed]) -> str:
    """At the end of the range: what was scaled away within it is not counted."""
    end = evidence.page.range.end
    present = [replica for replica in evidence.replicas if replica.last_seen_at >= end - PRESENT]
    replicas = f"{count(len(present), 'replica')}" if present else "replicas not told apart"
    held = {place.accelerator for each in placed for place in each.places if place.accelerator and lasts(place, end - PRESENT)}
    if not held:
        return f"{replicas} on CPU" if not evidence.accelerators else replicas
    kinds = Counter(each.mig_profile or short_model(each.model_name) for each in held)
    return f"{replicas} on " + " and ".join(f"{number} × {name}" for name, number in kinds.most_common(3))


def lasts(place: Placement, at: datetime) -> bool:
    return place.valid_to is None or place.valid_to > at


def promise_words(slo: Slo | None, status: DeploymentStatus | None) -> Mapping[str, str]:
    """The SLO in one line, and the budget that is left of it."""
    if slo is None or (slo.latency is None and slo.availability_ratio is None):
        return {}
    parts = []
    if slo.latency is not None and slo.threshold_seconds is not None:
        name = LATENCY_LABELS[Latency(slo.latency)].lower()
        parts.append(
            f"{name} p{100 * slo.percentile:g} ≤ {figure(slo.threshold_seconds, 'seconds')} in {100 * slo.objective_ratio:g} % of minutes"
        )
    if slo.availability_ratio is not None:
        parts.append(f"{100 * slo.availability_ratio:g} % of requests without error")
    left = ""
    if status is not None and status.budget_minutes is not None and status.lost_minutes is not None:
        rest = status.budget_minutes - status.lost_minutes
        left = (
            f"{rest:,.0f} of {status.budget_minutes:,.0f} min left"
            if rest >= 0
            else f"{-rest:,.0f} min over the budget of {status.budget_minutes:,.0f}"
        )
    return {"text": f"{', '.join(parts)}, {slo.window_days} d", "left": left}


# What it is not: (ceiling, its fact) -> a sentence.
CALM = {("GPU power", "no throttling"): "The hardware is not throttled.", ("Replica skew", "balanced"): "Replicas are balanced."}


@dataclass(frozen=True)
class Sentences:
    lead: str
    more: str
    tone: str


def verdict(evidence: Evidence, status: DeploymentStatus | None, built: Sequence[Built], limits: Saturation) -> Sentences:
    """One bold sentence: what, how much, the limit; one grey: the cause, and what it is not."""
    limit = limits.limit
    state = status.verdict if status else Verdict.NO_DATA
    lead = status.text if status and status.text else "No sample has arrived yet."
    if state in (Verdict.BREAKS, Verdict.WARNING) and limit and limit.lower() not in lead.lower() and "limit" not in lead.lower():
        lead = f"{lead} What limits it: {limit}."
    answers = {each.question: each for each in built}
    more = []
    if (tokens := answers.get("What do requests ask for?")) and tokens.tone:
        more.append(tokens.verdict)
    if (traffic := answers.get("Is traffic unusual?")) and traffic.plot is not None:
        more.append({"No.": "Traffic is as usual.", "Yes.": f"Traffic: {traffic.answer.split('. ')[0]}."}.get(traffic.verdict, ""))
    for question, calm in (("Are all replicas there?", "All replicas answer."), ("Does work wait?", "Nothing waits.")):
        if (each := answers.get(question)) and each.plot is not None:
            told = calm if (each.verdict == "Yes.") == question.startswith("Are") else each.answer
            more.append("" if told.split(" answer")[0] in lead else told)  # "3 of 4 answer." after "3 of 4 replicas answer"
    more += [words for cell in limits.cells if (words := CALM.get((cell.name, cell.fact.split(",")[0])))]
    tone = {Verdict.BREAKS: "", Verdict.WARNING: "warn", Verdict.OK: "ok"}.get(Verdict(state), "plain-edge")
    return Sentences(lead, " ".join(part for part in more if part), tone)


# --- Where it runs -------------------------------------------------------------------------------------------------------


def placed_replicas(evidence: Evidence) -> list[Placed]:
    """Replicas of the range with what they lie on."""
    by_replica: dict[int, list[Placement]] = {}
    for place in evidence.placements:
        by_replica.setdefault(place.replica_id, []).append(place)
    return [
        Placed(replica, places := by_replica.get(replica.pk, []), any(each.method in ESTIMATED for each in places))
        for replica in evidence.replicas
    ]

"""Is it alive, is it ready, how is it doing: /healthz, /readyz, /metrics; and where browsers report what the CSP stopped."""

import ipaddress
import json
import secrets
from collections import deque
from datetime import datetime

import structlog
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST
from prometheus_client import CONTENT_TYPE_LATEST

from monitoring.api.metrics import exposition
from monitoring.models import LOOPS_WATCHED, QUEUE_SECONDS, Heartbeat

CSP_REPORT_BYTES = 8192
csp_reports: deque[dict[str, object]] = deque(maxlen=100)  # the newest of this process
log = structlog.get_logger("headroom.web")


@login_not_required
@require_GET
def healthz(request: HttpRequest) -> HttpResponse:
    """200 while every loop ran within its time, else 503; the ages are in the body. A fresh install has not run them yet: 200."""
    try:
        ages = heartbeat_ages(now=timezone.now())
    except DatabaseError as error:
        return JsonResponse({"ok": False, "error": f"database: {type(error).__name__}"}, status=503)
    stale = sorted(name for name, age in ages.items() if age > most_of(name))
    canaries = [age for name, age in ages.items() if name.startswith("queue:")]
    body = {"ok": not stale, "stale": stale, "age_seconds": ages, "oldest_canary_seconds": max(canaries, default=None)}
    return JsonResponse(body, status=503 if stale else 200)


def most_of(name: str) -> float:
    """Seconds after which the loop is not well; of others than the watched ones nothing is expected."""
    return QUEUE_SECONDS if name.startswith("queue:") else LOOPS_WATCHED.get(name, float("inf"))


def heartbeat_ages(*, now: datetime) -> dict[str, float]:
    return {beat.name: round((now - beat.at).total_seconds(), 1) for beat in Heartbeat.objects.order_by("name")}


@login_not_required
@require_GET
def readyz(request: HttpRequest) -> HttpResponse:
    """200 when the database answers and every migration is applied."""
    try:
        missing = migrations_missing()
    except DatabaseError as error:
        return JsonResponse({"ready": False, "why": f"database: {type(error).__name__}"}, status=503)
    if missing:
        return JsonResponse({"ready": False, "why": f"{missing} migrations are not applied: run `manage.py prepare`"}, status=503)
    return JsonResponse({"ready": True})


def migrations_missing() -> int:
    executor = MigrationExecutor(connection)
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))


@login_not_required
@require_GET
def metrics(request: HttpRequest) -> HttpResponse:
    if not may_scrape(request):
        text = "Set HEADROOM_METRICS_TOKEN and send it as `Authorization: Bearer ...`; without it only this machine may scrape.\n"
        return HttpResponse(text, status=401, content_type="text/plain", headers={"WWW-Authenticate": "Bearer"})
    return HttpResponse(exposition(now=timezone.now()), content_type=CONTENT_TYPE_LATEST)


def may_scrape(request: HttpRequest) -> bool:
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if settings.METRICS_TOKEN and given:
        return secrets.compare_digest(given.encode(), settings.METRICS_TOKEN.encode())
    # Behind a proxy on this machine every caller looks local.
    address = ipaddress.ip_address(request.META.get("REMOTE_ADDR") or "0.0.0.0")
    return address.is_loopback and "X-Forwarded-For" not in request.headers and "Forwarded" not in request.headers


@login_not_required
@csrf_exempt
@require_POST
def csp_report(request: HttpRequest) -> HttpResponse:
    """What a browser refused to load: logged, and kept for the tests, in which it must stay empty."""
    try:
        report = json.loads(request.read(CSP_REPORT_BYTES))
    except (ValueError, RecursionError):
        return HttpResponse(status=400)
    if isinstance(report, dict):
        csp_reports.append(report)
        log.warning("csp report", report=report)
    return HttpResponse(status=204)

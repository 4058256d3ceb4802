"""What surrounds every request: its id, and one answer when the database is away."""

import re
import secrets
from collections.abc import Callable

import structlog
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse

Next = Callable[[HttpRequest], HttpResponseBase]
REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
log = structlog.get_logger("headroom.web")


class RequestIdMiddleware:
    """`request.id`, the same in the log lines and in the answer's X-Request-Id."""

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        given = request.headers.get("X-Request-Id", "")
        request.id = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)  # type: ignore[attr-defined]
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request.id)  # type: ignore[attr-defined]
        response = self.get_response(request)
        response["X-Request-Id"] = request.id  # type: ignore[attr-defined]
        return response


class DatabaseAwayMiddleware:
    """503 with Retry-After while Postgres restarts, is full or lets nobody in; never a 500 for it."""

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        try:
            return self.get_response(request)
        except (InterfaceError, OperationalError) as error:
            return away(request, error)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponseBase | None:
        return away(request, error) if isinstance(error, InterfaceError | OperationalError) else None


def away(request: HttpRequest, error: Exception) -> HttpResponse:
    log.error("database away", path=request.path, error=str(error).strip())
    headers = {"Retry-After": "5"}
    text = "The database does not answer at the moment. Nothing is lost; try again in a few seconds."
    if request.path.startswith("/api/"):
        problem = {"type": "about:blank", "title": "Service Unavailable", "status": 503, "detail": text}
        return JsonResponse(problem, status=503, headers=headers, content_type="application/problem+json")
    return HttpResponse(text, status=503, headers=headers, content_type="text/plain; charset=utf-8")

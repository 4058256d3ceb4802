"""Every error of the API as RFC 9457 problem details, also where no API view was reached."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from math import ceil
from typing import Any

from django.core.exceptions import PermissionDenied
from django.core.exceptions import ValidationError as ModelError
from django.db import IntegrityError
from django.http import Http404, HttpRequest, HttpResponse
from rest_framework import exceptions
from rest_framework.response import Response

from monitoring.api.writing import json_write

MEDIA_TYPE = "application/problem+json"
log = logging.getLogger("headroom.api")


class Conflict(exceptions.APIException):
    status_code = HTTPStatus.CONFLICT
    default_detail = "This is not possible in the present state."


class QueryError(exceptions.ValidationError):
    """Something is wrong with the query string, not with the body."""


def problem(status: int, *, detail: str, request: Any = None, errors: list[dict[str, str]] | None = None) -> dict[str, Any]:
    body: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": int(status), "detail": detail}
    if request is not None:
        body |= {"instance": request.path, "request_id": getattr(request, "id", "")}
    return body | ({"errors": errors} if errors else {})


def problem_response(status: int, *, detail: str, request: HttpRequest) -> HttpResponse:
    """For the places outside of REST framework: unknown addresses, crashes, refused CSRF."""
    return HttpResponse(json_write(problem(status, detail=detail, request=request)), status=status, content_type=MEDIA_TYPE)


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response | None:
    known = translated(error)
    if known is None:
        return None  # a defect: Django logs it and answers by handler500
    detail, errors = described(known)
    headers: dict[str, str] = {}
    if getattr(known, "auth_header", None):
        headers["WWW-Authenticate"] = known.auth_header  # type: ignore[attr-defined]
    if getattr(known, "wait", None):
        headers["Retry-After"] = str(ceil(known.wait))  # type: ignore[attr-defined]
    body = problem(known.status_code, detail=detail, request=context.get("request"), errors=errors)
    return Response(body, status=known.status_code, headers=headers, content_type=MEDIA_TYPE)


def translated(error: Exception) -> exceptions.APIException | None:
    if isinstance(error, exceptions.APIException):
        return error
    if isinstance(error, Http404):
        return exceptions.NotFound("There is no such thing here, or you may not see it.")
    if isinstance(error, PermissionDenied):
        return exceptions.PermissionDenied(str(error) or None)
    if isinstance(error, ModelError):
        return exceptions.ValidationError(error.message_dict if hasattr(error, "error_dict") else error.messages)
    if isinstance(error, IntegrityError):
        log.info("conflict: %s", error)
        return Conflict("Something with this name or these values exists already.")
    return None


def described(error: exceptions.APIException) -> tuple[str, list[dict[str, str]] | None]:
    """The sentence, and for invalid input one entry per place with a JSON pointer or the parameter's name."""
    if not isinstance(error, exceptions.ValidationError):
        return str(error.detail), None
    entries = list(flattened(error.detail, ()))
    query = isinstance(error, QueryError)
    errors = [
        {"parameter": place[0], "detail": text}
        if query and place
        else {"pointer": "#" + "".join(f"/{part}" for part in place), "detail": text}
        for place, text in entries
    ]
    where = "the query" if query else "the body"
    return f"{len(errors)} thing{'' if len(errors) == 1 else 's'} in {where} cannot be accepted: {errors[0]['detail']}", errors


def flattened(detail: Any, place: tuple[str, ...]) -> Any:
    if isinstance(detail, Mapping):
        for name, part in detail.items():
            yield from flattened(part, place if name == "non_field_errors" else (*place, str(name).replace("~", "~0").replace("/", "~1")))
    elif isinstance(detail, list):
        for n, part in enumerate(detail):
            yield from flattened(part, (*place, str(n)) if isinstance(part, Mapping | list) and part else place)
    else:
        yield place, str(detail)

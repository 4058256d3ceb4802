"""POST /api/v1/ingest: where agents push. Checks in the order that costs a stranger most and us least.

Method, key, headers, quota, declared length; only then the body is read, unpacked and parsed; only after COMMIT comes the 200.
"""

from collections.abc import Mapping
from math import ceil
from typing import Any

import structlog
from django.db import DatabaseError, DataError, InterfaceError
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from rest_framework.exceptions import Throttled
from rest_framework.views import APIView

from monitoring.agents import KeyEnded, Unreadable, batch_receive, body_read, limits_get
from monitoring.api.ingest_body import BodyRefused, body_bytes, headers_check, length_check
from monitoring.api.ingest_keys import Sender, quota_wait, sender_find, sender_forget
from monitoring.api.ingest_schema import described
from monitoring.api.problems import problem_response
from monitoring.api.writing import json_write
from monitoring.models import Scope

AGAIN_SECONDS = 2  # a restart of Postgres takes three, and a push that met it has waited for some of them
log = structlog.get_logger("headroom.web")


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers or {}


class Ingest(APIView):
    """What one agent measured, in columns. Its own door: keys of the scope ingest, and no other caller."""

    authentication_classes = ()
    permission_classes = ()
    access = "ingest"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Past REST framework, whose order of checks is another one and which would cost as much as the rest."""
        try:
            return self.post(request)
        except Refused as refused:
            return refusal(request, refused)
        except (BodyRefused, Unreadable) as unreadable:
            return refusal(request, Refused(unreadable.status, str(unreadable)))
        except Throttled as slow:
            return refusal(request, Refused(429, str(slow.detail), headers={"Retry-After": str(ceil(getattr(slow, "wait", None) or 1))}))
        except DataError as error:  # ours to have refused earlier; asked again it would be no better
            log.error("ingest: refused by the database", error=str(error).strip()[:300])
            return refusal(request, Refused(400, "The batch holds a value that cannot be stored."))
        except (DatabaseError, InterfaceError) as error:
            log.error("ingest: database away", error=str(error).strip()[:300])
            text = "The database does not take this at the moment. Nothing is lost; send it again in a few seconds."
            return refusal(request, Refused(503, text, headers={"Retry-After": str(AGAIN_SECONDS)}))

    @described
    def post(self, request: HttpRequest) -> HttpResponse:
        """Push a batch of measurements: instants once, a column of values for each quantity."""
        return answer(request)


def answer(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        raise Refused(405, f"Method {request.method} is not allowed here; POST a batch.", headers={"Allow": "POST"})
    sender, cluster = sender_let_in(request)
    headers_check(request)
    limits = limits_get()
    wait = quota_wait(sender.key, limit=limits["ingest_batches_per_minute"])
    if wait:
        text = f"More than {limits['ingest_batches_per_minute']:g} batches in a minute with this key."
        raise Refused(429, text, headers={"Retry-After": str(ceil(wait))})
    length = length_check(request, largest_mib=limits["ingest_body_mib"])
    raw = body_bytes(request, length=length, decoded_mib=limits["ingest_decoded_mib"], ratio=limits["ingest_gzip_ratio"])
    now = timezone.now()
    body = body_read(raw, limits=limits)
    try:
        outcome = batch_receive(body, cluster=cluster, key=sender.key, limits=limits, now=now)
    except KeyEnded:
        sender_forget(sender.key)
        raise key_refused() from None
    told = {
        "accepted": outcome.accepted,
        "duplicate": outcome.duplicate,
        "rejected": outcome.rejected,
        "errors": outcome.errors,
        "received_at": now.timestamp(),
    }
    return HttpResponse(json_write(told), content_type="application/json")


def sender_let_in(request: HttpRequest) -> tuple[Sender, int]:
    if "Authorization" not in request.headers:
        raise key_refused("Send an ingest key as `Authorization: Bearer hr_...`.")
    sender = sender_find(request)
    if sender is None:
        raise key_refused()
    if sender.scope != Scope.INGEST:
        raise Refused(403, "This key cannot send telemetry; make one with the scope ingest.")
    if sender.cluster is None:
        raise Refused(403, "This key belongs to no cluster; make one for the cluster the agent runs in.")
    return sender, sender.cluster


def key_refused(text: str = "The key is unknown, expired or revoked. Send it as `Authorization: Bearer hr_...`.") -> Refused:
    return Refused(401, text, headers={"WWW-Authenticate": 'Bearer realm="headroom"'})


def refusal(request: HttpRequest, refused: Refused) -> HttpResponse:
    response = problem_response(refused.status, detail=refused.detail, request=request)
    for name, value in refused.headers.items():
        response[name] = value
    return response

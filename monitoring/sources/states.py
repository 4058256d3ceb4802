"""What state a source is in, in a word and a sentence for people: what was tried, what came back, what to do."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from monitoring.http import AddressBlocked, HttpTimeout, HttpTls, HttpUrl
from monitoring.models import Source, SourceState
from monitoring.prometheus import BadQuery, BadReply, Overloaded, PrometheusError, Refused, Unreachable

LONGEST_BACK_OFF = timedelta(seconds=60)  # a dead source costs one connection a minute, and is found alive within one
LONGEST_RETRY_AFTER = timedelta(minutes=5)
FIRST_BACK_OFF = timedelta(seconds=5)


@dataclass(frozen=True)
class Condition:
    state: SourceState
    text: str


def condition_of(error: PrometheusError) -> Condition:
    """The state an error puts its source in; each error is a sentence already."""
    if isinstance(error, Overloaded):
        return Condition(SourceState.SLOW, str(error))
    if isinstance(error, Unreachable):
        wrong = isinstance(error.cause, AddressBlocked | HttpUrl | HttpTls)
        slow = isinstance(error.cause, HttpTimeout)
        state = SourceState.WRONG if wrong else SourceState.SLOW if slow else SourceState.DOWN
        return Condition(state, str(error))
    if isinstance(error, Refused | BadReply | BadQuery):
        return Condition(SourceState.WRONG, str(error))
    return Condition(SourceState.DOWN, str(error))


def block_of(error: PrometheusError) -> dict[str, Any] | None:
    """Address and port an admin may allow in place; None where the error is another or it can never be allowed."""
    cause = error.cause if isinstance(error, Unreachable) else None
    if isinstance(cause, AddressBlocked) and cause.allowable:
        return {"address": cause.address, "port": cause.port}
    return None


def back_off(error: PrometheusError, *, failures: int) -> timedelta:
    """How long to leave a source alone after its n-th failure in a row."""
    if isinstance(error, Overloaded) and error.retry_after_seconds is not None:
        return min(timedelta(seconds=error.retry_after_seconds), LONGEST_RETRY_AFTER)
    doublings = min(max(failures, 1) - 1, 8)
    return min(FIRST_BACK_OFF * (1 << doublings), LONGEST_BACK_OFF)


def condition_fields(source: Source, condition: Condition, *, now: datetime) -> dict[str, Any]:
    """Columns to write; `state_since` moves only when the state does."""
    since = source.state_since if source.state == condition.state else now
    return {"state": condition.state, "state_text": condition.text, "state_since": since}

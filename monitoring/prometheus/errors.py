"""What can go wrong with a Prometheus; each error is a sentence for people and says whether to try again.

PrometheusError
├── Unreachable   no answer at all (`cause` is the HttpError)
├── Refused       401 or 403: the login is wrong
├── Overloaded    asked too much or too often: wait `retry_after_seconds`, ask for less
├── BadQuery      it does not accept the query
└── BadReply      an answer, but not that of a Prometheus
"""

from monitoring.http import HttpError


class PrometheusError(Exception):
    """Family of all failures; `str(error)` is fit for a screen."""


class Unreachable(PrometheusError):
    """There was no answer."""

    def __init__(self, cause: HttpError) -> None:
        self.cause = cause
        super().__init__(str(cause))


class Refused(PrometheusError):
    """The server does not let us in."""


class Overloaded(PrometheusError):
    """The server has no room for this query now."""

    def __init__(self, text: str, *, retry_after_seconds: float | None = None) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(text)


class BadQuery(PrometheusError):
    """The server understood us and refuses the query."""


class BadReply(PrometheusError):
    """What answered is not a Prometheus, or speaks in a way we do not know."""

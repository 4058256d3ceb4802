"""A Prometheus, or what speaks its HTTP API (Mimir, Thanos, VictoriaMetrics), asked through the guarded client."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from monitoring.http import Allowed, HttpError, Reply, http_get
from monitoring.http.client import MEBIBYTE, Resolver, addresses_of
from monitoring.prometheus.errors import BadQuery, BadReply, Overloaded, PrometheusError, Refused, Unreachable
from monitoring.prometheus.matrix import Answer, Matrix, answer_read, data_read, instant_matrix, range_matrix, round_down
from monitoring.prometheus.queries import Matcher, instant_selector, selector_text

MAX_POINTS = 11_000  # a series; Prometheus refuses more
DAY_SECONDS = 86_400.0
HOUR_SECONDS = 3_600.0
HISTORY_DAYS = (400, 90, 30, 7)
USUAL_INTERVALS = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0)
LIMIT_WORDS = ("too many", "limit", "exceed", "timeout", "timed out", "too large", "too long")


@dataclass(frozen=True)
class Build:
    """What answers: product and version as it calls itself; empty where it does not tell."""

    product: str
    version: str


@dataclass(frozen=True)
class Prometheus:
    """One endpoint. `url` is what comes before /api/v1, e.g. http://mimir/prometheus; `selector` narrows the listings."""

    url: str
    allowed: Sequence[Allowed] = ()
    selector: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    bearer: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls_ca: str = field(default="", repr=False)
    timeout: tuple[float, float] = (5.0, 15.0)
    max_bytes: int = 64 * MEBIBYTE  # 150,000 series of one instant are 35 MiB of JSON
    resolver: Resolver = addresses_of

    def query(self, expr: str, *, at: float) -> Matrix:
        """The value of an expression at one instant: one column."""
        return instant_matrix(self.ask("query", {"query": expr, "time": number(at)}, method="POST"), at=at)

    def query_range(self, expr: str, *, start: float, end: float, step: float) -> Matrix:
        """An expression on the grid start, start + step, ..., end; ValueError over MAX_POINTS."""
        points = round_down((end - start) / step) + 1
        if step <= 0 or not 1 <= points <= MAX_POINTS:
            raise ValueError(f"a range query takes 1 to {MAX_POINTS} points, got {points} (step {step} s); use chunks()")
        params = {"query": expr, "start": number(start), "end": number(end), "step": number(step)}
        return range_matrix(self.ask("query_range", params, method="POST"), start=start, end=end, step=step)

    def buildinfo(self) -> Build:
        """Product and version; Build("", "") where the endpoint does not exist (old Thanos, some proxies)."""
        found = self.ask_optional("status/buildinfo", {})
        known = found if isinstance(found, dict) else {}
        version = str(known.get("version", ""))
        return Build(str(known.get("application", "Prometheus" if version else "")), version)

    def names(self, *, start: float | None = None, end: float | None = None) -> set[str]:
        """All metric names in the selector; of the given span where the engine knows spans."""
        span = {key: number(at) for key, at in (("start", start), ("end", end)) if at is not None}
        matcher = selector_text(self.selector)
        match = {"match[]": f"{{{matcher}}}"} if matcher else {}
        found = self.ask_optional("label/__name__/values", {**span, **match})
        if isinstance(found, list):
            return {str(name) for name in found}
        expr = f'group by (__name__) ({{__name__!=""{"," + matcher if matcher else ""}}})'
        if end is None:
            raise BadReply(f"{self.url} lists no metric names; give an end time, so that they can be asked by a query.")
        return {labels["__name__"] for labels in self.query(expr, at=end).labels if "__name__" in labels}

    def metadata(self, metric: str) -> list[dict[str, Any]]:
        """Targets that describe a metric, with or without a sample of it: [{target, type, help, unit}]; [] where not offered."""
        found = self.ask_optional("targets/metadata", {"metric": metric})
        return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []

    def oldest(self, name: str, *, now: float, days: Sequence[int] = HISTORY_DAYS) -> float | None:
        """When the history of a metric begins, within an hour; None where it has none.

        Looks once a day, then once an hour in the day before the first hit; a metric seen only in bursts may be older.
        days: how far to look, longest first; an engine that limits the length of queries (Mimir) is asked for less.
        """
        expr = f"count({instant_selector(name, selector_text(self.selector))})"
        for at, span in enumerate(days):
            try:
                first = self.first_seen(expr, start=now - span * DAY_SECONDS, end=now, step=DAY_SECONDS)
            except (Overloaded, BadQuery):
                if at == len(days) - 1:
                    raise
                continue
            return first and (self.first_seen(expr, start=first - DAY_SECONDS, end=first, step=HOUR_SECONDS) or first)
        return None

    def first_seen(self, expr: str, *, start: float, end: float, step: float) -> float | None:
        found = self.query_range(expr, start=start, end=end, step=step)
        known = np.flatnonzero(np.isfinite(found.values).any(axis=0))
        return float(found.times[known[0]]) if known.size else None

    def scrape_interval(self, name: str, *, at: float) -> float | None:
        """Seconds between samples of a metric: the median of up to three of its series; None with fewer than 3 samples in an hour."""
        some = self.query(f"topk(3, {instant_selector(name, selector_text(self.selector))})", at=at)
        for window in ("10m", "1h"):
            gaps = [gap for labels in some.labels for gap in self.gaps(name, labels, window=window, at=at)]
            if len(gaps) >= 2:
                return usual_interval(float(np.median(gaps)))
        return None

    def gaps(self, name: str, labels: Mapping[str, str], *, window: str, at: float) -> list[float]:
        """Seconds between the samples of one series in the window before `at`."""
        matchers = [str(Matcher(label, "=", value)) for label, value in labels.items() if label != "__name__"]
        found = self.query(f"{instant_selector(name, *matchers)}[{window}]", at=at)
        return [float(gap) for gap in np.diff(found.times[np.isfinite(found.values).any(axis=0)])]

    def ask_optional(self, path: str, params: Mapping[str, str]) -> Any:
        """The payload of an endpoint that some engines do not have; None there."""
        try:
            return data_read(self.ask(path, params))
        except (BadReply, BadQuery):
            return None

    def ask(self, path: str, params: Mapping[str, str], *, method: str = "GET") -> Answer:
        """One call of the API; a server that takes no POST is asked again by GET."""
        reply = self.call(path, params, method=method)
        if method == "POST" and reply.status == 405:
            reply = self.call(path, params, method="GET")
        return answer_checked(reply, url=self.url)

    def call(self, path: str, params: Mapping[str, str], *, method: str) -> Reply:
        bearer = {"Authorization": f"Bearer {self.bearer}"} if self.bearer else {}
        try:
            return http_get(
                f"{self.url.rstrip('/')}/api/v1/{path}",
                allowed=self.allowed,
                headers={**bearer, **self.headers},
                auth=(self.username, self.password) if self.username else None,
                tls_ca=self.tls_ca or None,
                params=params,
                method=method,
                timeout=self.timeout,
                max_bytes=self.max_bytes,
                resolver=self.resolver,
            )
        except HttpError as error:
            raise Unreachable(error) from error


def number(value: float) -> str:
    """A time or step as the API takes it: no exponent, no noise."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def usual_interval(seconds: float) -> float:
    """The usual setting within a tenth of what was measured, else the measurement itself."""
    nearest = min(USUAL_INTERVALS, key=lambda usual: abs(usual - seconds))
    return nearest if abs(nearest - seconds) <= nearest / 10 else seconds


def chunks(*, start: float, end: float, step: float, points: int = 1_000) -> Iterator[tuple[float, float]]:
    """Bounded range queries that cover start..end on one grid, newest first; the ranges do not share a point."""
    if step <= 0 or not 1 <= points <= MAX_POINTS:
        raise ValueError(f"chunks need a step above 0 and 1 to {MAX_POINTS} points, got step {step} and {points} points")
    last = round_down((end - start) / step)
    for high in range(last, -1, -points):
        yield start + step * max(0, high - points + 1), start + step * high


def retry_after(reply: Reply) -> float | None:
    """Seconds of the Retry-After header; a date or nonsense counts as not given."""
    text = reply.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else None


def answer_checked(reply: Reply, *, url: str) -> Answer:
    """The envelope of a good answer, or the member of PrometheusError that says what is wrong."""
    if reply.status in (401, 403):
        raise Refused(f"{url} refuses the login (HTTP {reply.status}); check user, password or token of this source.")
    if 300 <= reply.status < 400:
        target = reply.headers.get("Location", "another address")[:200]
        raise BadReply(f"{url} sends us on to {target}; enter the final address, redirects are not followed.")
    try:
        answer = answer_read(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        answer = Answer()
    if reply.status == 200 and answer.status == "success":
        return answer
    raise answer_error(reply, answer, url=url)


def answer_error(reply: Reply, answer: Answer, *, url: str) -> PrometheusError:
    words = answer.error[:300] or f"HTTP {reply.status}"
    is_limit = reply.status == 422 and any(word in words.lower() for word in LIMIT_WORDS)
    if reply.status in (429, 502, 503, 504) or is_limit:
        return Overloaded(f"{url} has no room for the query ({words}); it is asked again later.", retry_after_seconds=retry_after(reply))
    if answer.status == "error" and reply.status in (200, 400, 405, 422):
        return BadQuery(f"{url} does not accept the query: {words}.")
    if reply.status == 404:
        return BadReply(f"{url} has no Prometheus API below it (HTTP 404); check the path, e.g. Mimir ends with /prometheus.")
    if reply.status >= 500:
        return Overloaded(f"{url} failed inside ({words}); it is asked again later.")
    return BadReply(f"{url} answers, but not like a Prometheus ({words}); check host, port and path.")

"""How fast promises are spent: minutes judged once as they come in, and their share of what may be lost.

A minute is broken where the promised percentile of its requests is above the threshold, as in the account of SLOs.
Burn rate 1 spends exactly the allowance of the SLO's window in that window.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from django.db import connection
from django.db.models import Q, Sum
from numpy.typing import NDArray

from monitoring.catalog.records import Latency
from monitoring.models import EvaluationMark, Slo, SloCount
from monitoring.series import latency_window_many

MINUTE = timedelta(minutes=1)
ARRIVAL = timedelta(seconds=90)  # a minute is judged once its samples have come in
CATCH_UP = 10  # minutes judged after a pause; older ones stay unknown
MIN_REQUESTS = 5  # a percentile of fewer says nothing
BUCKET = 300
MARK = "slo_minutes"
Floats = NDArray[np.float64]
Counts = dict[int, tuple[Floats, Floats]]  # window seconds -> minutes judged and broken, one value a deployment
Sums = dict[int, Floats]  # deployment -> (judged, broken, judged, broken, ...)


def minutes_judge(slos: Iterable[Slo], *, now: datetime) -> int:
    """Judge the minutes since the last time, inside the caller's transaction; how many. A few queries a minute and kind of latency."""
    until = datetime.fromtimestamp((now - ARRIVAL).timestamp() // 60 * 60, tz=UTC)
    begun = {"until": until - CATCH_UP * MINUTE, "resumed_at": now}
    EvaluationMark.objects.get_or_create(name=MARK, defaults=begun)
    mark = EvaluationMark.objects.select_for_update().get(name=MARK)
    start = max(mark.until, until - CATCH_UP * MINUTE)
    promised = [slo for slo in slos if slo.latency is not None and slo.threshold_seconds is not None]
    count = 0
    while start < until:
        minute_judge(promised, start=start)
        start, count = start + MINUTE, count + 1
    if count:
        mark.until = until
        mark.save(update_fields=["until"])
    return count


def minute_judge(slos: list[Slo], *, start: datetime) -> None:
    judged: dict[int, int] = {}
    for kind in Latency:
        of_kind = {slo.deployment_id: slo for slo in slos if slo.latency == kind}
        percentiles = {pk: slo.percentile for pk, slo in of_kind.items()}
        for pk, (seconds, requests) in latency_window_many(percentiles, kind, start=start, end=start + MINUTE).items():
            threshold = of_kind[pk].threshold_seconds
            if requests >= MIN_REQUESTS and threshold is not None:
                judged[pk] = int(seconds > threshold)
    if judged:
        counts_add(judged, end=start + MINUTE)


def counts_add(judged: dict[int, int], *, end: datetime) -> None:
    bucket = datetime.fromtimestamp(-(-end.timestamp() // BUCKET) * BUCKET, tz=UTC)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO monitoring_slocount AS c (deployment_id, end_at, judged, broken)"
            " SELECT pk, %s, 1, broken FROM unnest(%s::bigint[], %s::int[]) AS t(pk, broken)"
            " ON CONFLICT (end_at, deployment_id) DO UPDATE SET judged = c.judged + 1, broken = c.broken + excluded.broken",
            [bucket, list(judged), list(judged.values())],
        )


@dataclass(frozen=True)
class Kept:
    """Sums of buckets that change no more."""

    asked: frozenset[int]
    sums: Sums


KEPT: dict[tuple[float, tuple[float, ...]], Kept] = {}


def counts_load(deployments: Sequence[int], windows: Collection[int], *, now: datetime) -> Counts:
    """Minutes judged and broken in the windows before now, by deployment; two queries, and one more each time a bucket is full.

    Buckets up to the mark change no more, so their sums are kept from one round to the next.
    """
    if not windows:
        return {}
    ordered = sorted(windows)
    mark = EvaluationMark.objects.filter(name=MARK).values_list("until", flat=True).first() or now
    cut = mark.timestamp() // BUCKET * BUCKET
    bins = tuple((now.timestamp() - window) // BUCKET * BUCKET for window in ordered)
    kept = KEPT.get((cut, bins))
    if kept is None or not kept.asked.issuperset(deployments):
        kept = Kept(frozenset(deployments), counts_sum(ordered, now=now, until=cut))
        KEPT.clear()
        KEPT[cut, bins] = kept
    fresh = counts_sum(ordered, now=now, since=cut)
    none = np.zeros(2 * len(ordered))
    table = np.array([kept.sums.get(pk, none) + fresh.get(pk, none) for pk in deployments]).reshape(len(deployments), len(none))
    return {window: (table[:, 2 * place], table[:, 2 * place + 1]) for place, window in enumerate(ordered)}


def counts_sum(windows: Sequence[int], *, now: datetime, since: float | None = None, until: float | None = None) -> Sums:
    """By deployment (judged, broken) of one window after the other."""
    rows = SloCount.objects.filter(end_at__gt=now - timedelta(seconds=windows[-1]))
    if since is not None:
        rows = rows.filter(end_at__gt=datetime.fromtimestamp(since, tz=UTC))
    if until is not None:
        rows = rows.filter(end_at__lte=datetime.fromtimestamp(until, tz=UTC))
    sums: list[Any] = [
        Sum(name, filter=Q(end_at__gt=now - timedelta(seconds=window)), default=0) for window in windows for name in ("judged", "broken")
    ]
    named = {f"part{place}": part for place, part in enumerate(sums)}
    found = rows.order_by().values("deployment_id").annotate(**named).values_list("deployment_id", *named)
    return {pk: np.array(parts, dtype=np.float64) for pk, *parts in found}

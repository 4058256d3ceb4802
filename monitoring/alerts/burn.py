"""How fast promises are spent: minutes judged once as they come in, and their share of what may be lost.

A minute is broken where the promised percentile of its requests is above the threshold, as in the account of SLOs.
Burn rate 1 spends exactly the allowance of the SLO's window in that window.
"""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Q, Sum

from monitoring.catalog.records import Latency
from monitoring.models import EvaluationMark, Slo, SloCount
from monitoring.series import latency_totals

MINUTE = timedelta(minutes=1)
ARRIVAL = timedelta(seconds=90)  # a minute is judged once its samples have come in
CATCH_UP = 10  # minutes judged after a pause; older ones stay unknown
MIN_REQUESTS = 5  # a percentile of fewer says nothing
BUCKET = 300
MARK = "slo_minutes"
Counts = dict[int, dict[int, tuple[int, int]]]  # deployment -> window seconds -> (judged, broken)


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
        found = latency_totals(list(of_kind), kind, start=start, end=start + MINUTE)
        for pk, histogram in found.items():
            slo = of_kind[pk]
            if histogram.count >= MIN_REQUESTS and slo.threshold_seconds is not None:
                judged[pk] = int(histogram.quantile(slo.percentile).seconds > slo.threshold_seconds)
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


def counts_load(windows: Collection[int], *, now: datetime) -> Counts:
    """Of every deployment and window, in one query."""
    if not windows:
        return {}
    since = {window: Q(end_at__gt=now - timedelta(seconds=window)) for window in windows}
    sums: dict[str, Any] = {
        f"{name}_{window}": Sum(name, filter=since[window], default=0) for window in windows for name in ("judged", "broken")
    }
    found = SloCount.objects.filter(since[max(windows)]).values("deployment_id").annotate(**sums)
    rows: list[dict[str, Any]] = [dict(row) for row in found]
    return {row["deployment_id"]: {window: (row[f"judged_{window}"], row[f"broken_{window}"]) for window in windows} for row in rows}


def burn_rate(bad: float, whole: float, *, promised: float) -> float:
    """bad of whole, over the share that may be bad; of a promise without allowance any bad one is beyond all bounds."""
    if not whole or not bad:
        return 0.0
    return bad / whole / (1.0 - promised) if promised < 1 else float("inf")

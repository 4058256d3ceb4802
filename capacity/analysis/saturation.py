"""What limits each deployment, judged in rounds and kept: the newest answer of each, for pages, plans and messages.

A round takes those whose turn it is, longest waiting first, and no more than it may: after a pause the work spreads by itself.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Case, DateTimeField, Exists, ExpressionWrapper, F, OuterRef, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce

from capacity.analysis.limits import LIMITED, NEAR_WATCHED
from capacity.analysis.prices import HourPrice, replica_prices
from capacity.analysis.saturation_signals import Loaded, Span, signals_load
from capacity.engine.prices import rate_round
from capacity.engine.saturation import Evidence, Limit, Saturation, Skew, Verdict, limit_words, saturation_find, skew_words, verdict_words
from capacity.models import SaturationRun
from capacity.models import Verdict as State
from monitoring.models import Alert, Deployment, DeploymentState, WorkloadKind

AGAIN = timedelta(minutes=15)  # how often a calm deployment is judged
AGAIN_NEAR = timedelta(minutes=5)  # one near a limit, in trouble, or with an open alert
OLD = timedelta(minutes=45)  # an answer older than this is history, not now
ROUND_MOST = 150  # deployments a round: 1,000 calm ones need 67
BATCH = 50  # loaded at once
SENTENCE_MOST = 600
SURE = 0.7  # confidence under which an answer is a perhaps
CODE = "1"  # counts up when the meaning of a stored answer changes
FIRST = datetime(2000, 1, 1, tzinfo=UTC)


def saturation_round(*, now: datetime, most: int = ROUND_MOST) -> str:
    """Judge those whose turn it is. One line of summary; empty: nobody's."""
    due = list(saturation_due(now=now)[:most])
    for first in range(0, len(due), BATCH):
        saturation_judge(due[first : first + BATCH], now=now)
    return f"{len(due)} deployments judged" if due else ""


def saturation_due(*, now: datetime) -> QuerySet[Deployment]:
    """Active deployments that serve and were not judged for their interval; who waits longest comes first."""
    troubled = Q(status__verdict__in=(State.BREAKS, State.WARNING)) | Q(status__limit_ratio__gte=NEAR_WATCHED)
    alarmed = Exists(Alert.objects.open().filter(deployment=OuterRef("pk")))
    # Half a minute less than the interval: rounds come each minute, and none of them at the same second.
    often, seldom = (Value(interval - timedelta(seconds=30)) for interval in (AGAIN_NEAR, AGAIN))
    made = Coalesce(F("saturation__made_at"), Value(FIRST))
    due = ExpressionWrapper(made + Case(When(troubled | Q(alarmed), then=often), default=seldom), output_field=DateTimeField())
    mine = Deployment.objects.filter(state=DeploymentState.ACTIVE, workload_kind=WorkloadKind.SERVING)
    return mine.annotate(alarmed=alarmed).annotate(due_at=due).filter(due_at__lte=now).order_by("due_at", "pk")


def saturation_judge(deployments: Sequence[Deployment], *, now: datetime) -> list[SaturationRun]:
    """Judge these and keep the answers; a number of queries that does not depend on how many they are."""
    loaded = signals_load([row.pk for row in deployments], now=now)
    prices = replica_prices(deployments, at=now)
    runs = [run_of(row, loaded[row.pk], prices[row.pk].hour, now=now) for row in deployments]
    names = [column.name for column in SaturationRun._meta.fields if column.name not in ("id", "deployment")]
    SaturationRun.objects.bulk_create(runs, update_conflicts=True, unique_fields=["deployment"], update_fields=names)
    return runs


def run_of(deployment: Deployment, loaded: Loaded, price: HourPrice, *, now: datetime) -> SaturationRun:
    found, span = saturation_find(loaded.signals), Span.until(now)
    replica = loaded.replicas[found.skew.replica] if found.skew else ""
    return SaturationRun(
        deployment=deployment,
        made_at=now,
        window_start=span.begin_at,
        window_end=min(span.end_at, now),
        as_of=datetime.fromtimestamp(min(loaded.as_of, now.timestamp()), UTC) if loaded.as_of is not None else None,
        limit=found.peaks.limit or "",
        limit_now=found.now.limit or "",
        confidence=found.peaks.confidence,
        confidence_now=found.now.confidence,
        cannot_tell=shortened(found.peaks.cannot_tell),
        sentence=shortened(verdict_words(found.peaks)),
        sentence_now=shortened(verdict_words(found.now)),
        skew_ratio=found.skew.ratio if found.skew else None,
        skew_replica=replica,
        verdicts=saturation_json(found),
        replica_hourly_rate=None if price.hourly_rate is None else rate_round(price.hourly_rate),
        currency=price.currency,
        price_certainty=price.certainty,
        code_version=CODE,
    )


def shortened(text: str) -> str:
    return text if len(text) <= SENTENCE_MOST else text[: SENTENCE_MOST - 1].rstrip(" ,.") + "…"


# --- As it is kept -------------------------------------------------------------------------------------------------------


def saturation_json(found: Saturation) -> dict[str, Any]:
    """Ready for JSON, which has no NaN: unknown is null."""
    parts: dict[str, Any] = {"peaks": verdict_json(found.peaks), "now": verdict_json(found.now), "steps": found.steps}
    return parts | ({"skew": asdict(found.skew)} if found.skew else {})


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    evidence = [{name: known(value) for name, value in asdict(each).items()} for each in verdict.evidence]
    return {
        "limit": verdict.limit,
        "share": known(verdict.share),
        "confidence": verdict.confidence,
        "cannot_tell": verdict.cannot_tell,
        "evidence": evidence,
        "missing": list(verdict.missing),
        "beside": list(verdict.beside),
    }


def known(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def saturation_of(run: SaturationRun) -> Saturation:
    """The engine's answer as it was kept."""
    skew = run.verdicts.get("skew")
    return Saturation(
        verdict_of(run.verdicts.get("peaks", {})),
        verdict_of(run.verdicts.get("now", {})),
        Skew(**skew) if skew else None,
        int(run.verdicts.get("steps", 0)),
    )


def verdict_of(stored: Mapping[str, Any]) -> Verdict:
    limit, share = stored.get("limit"), stored.get("share")
    evidence = (
        Evidence(**{**each, "value": float("nan") if each["value"] is None else each["value"]}) for each in stored.get("evidence", ())
    )
    return Verdict(
        Limit(limit) if limit else None,
        float("nan") if share is None else float(share),
        float(stored.get("confidence", 0.0)),
        tuple(evidence),
        str(stored.get("cannot_tell", "")),
        tuple(stored.get("missing", ())),
        tuple(Limit(each) for each in stored.get("beside", ())),
    )


# --- For others ----------------------------------------------------------------------------------------------------------


def saturation_newest(deployment_id: int) -> SaturationRun | None:
    """However old it is; `is_fresh` says whether it speaks of now."""
    return SaturationRun.objects.filter(deployment=deployment_id).first()


def is_fresh(run: SaturationRun, *, now: datetime) -> bool:
    return now - run.made_at <= OLD


def saturations_fresh(*, now: datetime) -> dict[int, SaturationRun]:
    """deployment -> the answer that still speaks of now; one query, without the evidence."""
    return {run.deployment_id: run for run in SaturationRun.objects.filter(made_at__gt=now - OLD).defer("verdicts")}


def peaks_words(run: SaturationRun) -> str:
    """What limits it at its peaks, for plans and messages: `KV cache (93 % sure): KV cache 96 %, ...`, the skew first."""
    skew = saturation_of(run).skew
    return f"{skew_words(skew)} {run.sentence}".strip()


def limit_now(run: SaturationRun | None) -> Limit | None:
    """What stops it now, as far as that is surer than not; upstream is no limit of its own: there it has room."""
    if run is None or not run.limit_now or run.confidence_now < LIMITED or run.limit_now == Limit.UPSTREAM:
        return None
    return Limit(run.limit_now)


CHIP = {Limit.COMPUTE: "Compute", Limit.NETWORK: "Network", Limit.MEMORY_BANDWIDTH: "Neither: the accelerators' memory bandwidth"}


def compute_or_network(found: Saturation) -> str:
    """The old question, answered from what limits it now, else at its peaks; a sentence."""
    verdict = found.now if found.now.limit is not None else found.peaks
    when = "now" if verdict is found.now else "at its peaks"
    if verdict.cannot_tell:
        return f"Cannot tell: {verdict.cannot_tell}."
    if verdict.limit is None or verdict.confidence < (SURE if verdict.limit is Limit.UPSTREAM else LIMITED):
        unseen = any(name.startswith("network") or name == "link_bytes_per_second" for name in verdict.missing)
        return "Not compute; the network is not measured." if unseen else "Neither is reached."
    said = f"{CHIP.get(verdict.limit) or f'Neither: {limit_words(verdict)}'}, {when}."
    return said if verdict.confidence >= SURE else f"Perhaps {said[:1].lower()}{said[1:]}"

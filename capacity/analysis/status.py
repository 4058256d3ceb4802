"""The state of every deployment, remade each minute in a number of queries that does not grow with them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from capacity.analysis.limits import (
    ACCELERATOR_COLUMNS,
    DEPLOYMENT_COLUMNS,
    NEAR,
    WORDS,
    Limit,
    limit_of,
    means_of,
    means_weighted,
)
from capacity.analysis.saturation import limit_now, saturations_fresh
from capacity.analysis.slo import breach_since, ledgers_update
from capacity.analysis.words import latency_words, percent_words, seconds_words, span_words
from capacity.engine.slo import MIN_REQUESTS, budget_minutes
from capacity.models import DeploymentStatus, SaturationRun, SloLedger, Verdict
from monitoring.catalog.records import Entity, Latency
from monitoring.models import Deployment, DeploymentState, Placement, Slo, WorkloadKind
from monitoring.series import Histogram, Latest, latency_totals, latest_load, lines_load, totals_load

WINDOW = timedelta(minutes=5)
STALE_STEPS = 3
STALE_MIN_SECONDS = 300.0  # a poll and its lag fit into this, whatever the step
DEFAULT_PERCENTILE = 0.95
LOOK_BACKS = 20  # statuses that changed and are traced to their start, in one run
COLUMNS = (
    *DEPLOYMENT_COLUMNS,
    "requests_per_second",
    "error_ratio",
    "request_duration_mean_seconds",
    "replicas_ready",
    "replicas_desired",
)
NEWEST = ("requests_per_second", "requests_running", "replicas_ready", "cpu_usage_cores", "replicas_desired")


@dataclass(frozen=True)
class Facts:
    """All that one deployment's status rests on."""

    deployment: Deployment
    slo: Slo | None
    values: Mapping[str, float]  # means of the last five minutes
    latest: Mapping[str, Latest]
    accelerators: Mapping[str, float]  # means over its accelerators, by share
    accelerator_count: int
    histograms: Mapping[Latency, Histogram]
    ledger: SloLedger | None
    before: DeploymentStatus | None
    saturation: SaturationRun | None = None  # as long as it speaks of now

    @property
    def limit(self) -> Limit | None:
        return limit_of(self.values, self.accelerators, reached=limit_now(self.saturation), looked=self.saturation is not None)

    def value(self, name: str) -> float | None:
        value = self.values.get(name, np.nan)
        return float(value) if np.isfinite(value) else None


@dataclass(frozen=True)
class Reading:
    """The latency that is shown, and whether it is a percentile."""

    latency: Latency
    percentile: float | None  # None: a mean
    seconds: float | None


@dataclass
class Judgement:
    verdict: Verdict
    text: str
    reason: str = ""  # what to look back for: "latency", "replicas" or ""
    since: datetime | None = None
    ongoing: bool = field(default=False)  # the sentence ends with how long


def status_update(*, now: datetime) -> str:
    """Judge all active deployments and store what came out. Returns one line of summary."""
    facts = facts_load(now=now)
    rows, look_backs = [], 0
    for one in facts:
        reading, limit = reading_of(one), one.limit
        judgement = judge(one, reading, limit, now=now)
        fresh = one.before is None or one.before.verdict != judgement.verdict
        traced = fresh and judgement.reason != "" and look_backs < LOOK_BACKS
        look_backs += traced
        since_set(one, judgement, fresh=fresh, trace=traced, now=now)
        rows.append(row_of(one, reading, limit, judgement, now=now))
    names = [column.name for column in DeploymentStatus._meta.fields if column.name not in ("id", "deployment")]
    DeploymentStatus.objects.bulk_create(rows, update_conflicts=True, unique_fields=["deployment"], update_fields=names)
    DeploymentStatus.objects.exclude(deployment__state=DeploymentState.ACTIVE).delete()
    broken = sum(row.verdict == Verdict.BREAKS for row in rows)
    return f"{len(rows)} deployments, {broken} break their SLO"


def facts_load(*, now: datetime) -> list[Facts]:
    deployments = list(Deployment.objects.filter(state=DeploymentState.ACTIVE).select_related("slo").order_by("pk"))
    ids = [deployment.pk for deployment in deployments]
    slos = {deployment.pk: deployment.slo for deployment in deployments if hasattr(deployment, "slo")}
    values = totals_load(Entity.DEPLOYMENT, ids, COLUMNS, start=now - WINDOW, end=now)
    latest = latest_load(Entity.DEPLOYMENT, ids, NEWEST, now=now, within_seconds=stale_seconds(deployments))
    placed = placements_load(ids)
    cards = totals_load(
        Entity.ACCELERATOR, sorted({card for own in placed.values() for card in own}), ACCELERATOR_COLUMNS, start=now - WINDOW, end=now
    )
    means = {card: means_of(summaries) for card, summaries in cards.items()}
    histograms = histograms_load(ids, slos, now=now)
    ledgers = ledgers_update(slos.values(), now=now)
    before = {status.deployment_id: status for status in DeploymentStatus.objects.all()}
    saturations = saturations_fresh(now=now)
    return [
        Facts(
            deployment=deployment,
            slo=slos.get(deployment.pk),
            values=means_of(values.get(deployment.pk)),
            latest=latest.get(deployment.pk, {}),
            accelerators=means_weighted([(share, means.get(card, {})) for card, share in placed.get(deployment.pk, {}).items()]),
            accelerator_count=len(placed.get(deployment.pk, {})),
            histograms={kind: found[deployment.pk] for kind, found in histograms.items() if deployment.pk in found},
            ledger=ledgers.get(deployment.pk),
            before=before.get(deployment.pk),
            saturation=saturations.get(deployment.pk),
        )
        for deployment in deployments
    ]


def stale_seconds(deployments: Iterable[Deployment]) -> float:
    return max((stale_after(deployment) for deployment in deployments), default=STALE_MIN_SECONDS)


def stale_after(deployment: Deployment) -> float:
    return max(STALE_STEPS * deployment.step_seconds, STALE_MIN_SECONDS)


def placements_load(ids: list[int]) -> dict[int, dict[int, float]]:
    """deployment -> accelerator -> share, of the placements that hold now."""
    found: dict[int, dict[int, float]] = {}
    rows = Placement.objects.filter(valid_to=None, accelerator__isnull=False, replica__deployment__in=ids)
    for deployment, card, share in rows.values_list("replica__deployment_id", "accelerator_id", "share"):
        own = found.setdefault(deployment, {})
        own[card] = min(own.get(card, 0.0) + share, 1.0)
    return found


def histograms_load(ids: list[int], slos: Mapping[int, Slo], *, now: datetime) -> dict[Latency, dict[int, Histogram]]:
    """Of each kind the deployments that promise it, and of the common kinds those that promise nothing."""
    common = (Latency.TIME_TO_FIRST_TOKEN, Latency.REQUEST_DURATION)
    found = {}
    for kind in Latency:
        wanted = [pk for pk in ids if (slos[pk].latency == kind if pk in slos and slos[pk].latency else kind in common)]
        found[kind] = latency_totals(wanted, kind, start=now - WINDOW, end=now) if wanted else {}
    return found


def reading_of(facts: Facts) -> Reading:
    """The promised latency; without a promise the first token where there is one; without histograms the mean."""
    promised = Latency(facts.slo.latency) if facts.slo and facts.slo.latency else None
    kind = promised or next(iter(facts.histograms), Latency.REQUEST_DURATION)
    percentile = facts.slo.percentile if facts.slo else DEFAULT_PERCENTILE
    histogram = facts.histograms.get(kind)
    if histogram is not None and histogram.count > 0:
        return Reading(kind, percentile, histogram.quantile(percentile).seconds)
    mean = facts.value("request_duration_mean_seconds")
    if mean is not None and not served_with_histograms(facts):
        return Reading(Latency.REQUEST_DURATION, None, mean)
    return Reading(kind, percentile, None)


def served_with_histograms(facts: Facts) -> bool:
    """A deployment that had a percentile before is silent now, not a server of means."""
    return facts.before is not None and facts.before.latency_seconds is not None and not facts.before.latency_is_mean


def judge(facts: Facts, reading: Reading, limit: Limit | None, *, now: datetime) -> Judgement:
    newest = newest_of(facts)
    if newest is None or now.timestamp() - newest > stale_after(facts.deployment):
        return silent(facts, newest, now=now)
    if facts.deployment.workload_kind != WorkloadKind.SERVING:
        return Judgement(Verdict.OK, busy_words(facts))
    return broken(facts, reading, limit) or warned(facts, reading, limit) or holding(facts, reading)


def newest_of(facts: Facts) -> float | None:
    return max((found.time for found in facts.latest.values()), default=None)


def silent(facts: Facts, newest: float | None, *, now: datetime) -> Judgement:
    last = datetime.fromtimestamp(newest, tz=UTC) if newest is not None else facts.before.as_of if facts.before else None
    if last is None or (newest is None and facts.before is not None and facts.before.text == NEVER):
        return Judgement(Verdict.NO_DATA, NEVER)
    return Judgement(Verdict.NO_DATA, f"No sample for {span_words(now - last)}.", since=last)


NEVER = "No sample in the last minutes."


def broken(facts: Facts, reading: Reading, limit: Limit | None) -> Judgement | None:
    """The promise does not hold now: latency first, then errors."""
    slo = facts.slo
    if slo is None:
        return None
    histogram = facts.histograms.get(reading.latency)
    enough = histogram is not None and histogram.count >= MIN_REQUESTS
    if slo.threshold_seconds and reading.percentile and reading.seconds is not None and enough and reading.seconds > slo.threshold_seconds:
        at_limit = f" {limit_words(limit)}." if limit and limit.ratio >= NEAR else ""
        return Judgement(
            Verdict.BREAKS, f"{reading_words(reading)}, SLO {seconds_words(slo.threshold_seconds)}{{}}.{at_limit}", "latency", ongoing=True
        )
    errors, rate = facts.value("error_ratio"), facts.value("requests_per_second") or 0.0
    if (
        slo.availability_ratio
        and errors is not None
        and rate * WINDOW.total_seconds() >= MIN_REQUESTS
        and errors > 1 - slo.availability_ratio
    ):
        allowed = percent_words(1 - slo.availability_ratio)
        return Judgement(Verdict.BREAKS, f"{percent_words(errors)} of requests fail, SLO {allowed}{{}}.", ongoing=True)
    return None


def warned(facts: Facts, reading: Reading, limit: Limit | None) -> Judgement | None:
    ready, desired = facts.latest.get("replicas_ready"), facts.latest.get("replicas_desired")
    if ready and desired and ready.value < desired.value:
        text = f"{ready.value:.0f} of {desired.value:.0f} replicas answer{{}}."
        return Judgement(Verdict.WARNING, text, "replicas", ongoing=True)
    if facts.slo and facts.slo.threshold_seconds and reading.percentile is None:
        return Judgement(Verdict.WARNING, "The server gives a mean only: its percentile SLO cannot be judged.")
    budget = budget_of(facts.slo)
    if facts.ledger and budget is not None and facts.ledger.lost_minutes > budget:
        days = facts.slo.window_days if facts.slo else 0
        return Judgement(Verdict.WARNING, f"SLO budget spent: {facts.ledger.lost_minutes:.0f} of {budget:.0f} min lost in {days} days.")
    if limit and limit.ratio >= NEAR:
        words = f"{WORDS[limit.name]} is the limit" if limit.judged else f"{limit_words(limit, ' at')} of its ceiling"
        return Judgement(Verdict.WARNING, f"{words}{{}}.", ongoing=True)
    return None


def limit_words(limit: Limit, verb: str = "") -> str:
    """ "KV cache 98 %"; of one that is reached below what its counter could show "Limit: GPU memory rate"."""
    if limit.judged and limit.ratio >= 1.0:
        return f"Limit: {WORDS[limit.name]}"
    return f"{WORDS[limit.name]}{verb} {percent_words(min(limit.ratio, 1.0))}"


def holding(facts: Facts, reading: Reading) -> Judgement:
    verdict = Verdict.OK if facts.slo else Verdict.NO_SLO
    if reading.seconds is None:
        return Judgement(verdict, "No requests in the last 5 min.")
    if facts.slo is None:
        return Judgement(verdict, f"{reading_words(reading)}, no SLO set.")
    promised = f", SLO {seconds_words(facts.slo.threshold_seconds)}" if facts.slo.threshold_seconds else ""
    return Judgement(verdict, f"{reading_words(reading)}{promised}.")


def reading_words(reading: Reading) -> str:
    return f"{latency_words(reading.latency, reading.percentile)} {seconds_words(reading.seconds or 0.0)}"


def busy_words(facts: Facts) -> str:
    kind = WorkloadKind(facts.deployment.workload_kind).label
    busy = facts.accelerators.get("gr_engine_active_ratio", np.nan)
    if not np.isfinite(busy):
        return f"{kind} runs."
    plural = "s" if facts.accelerator_count != 1 else ""
    return f"{kind}: {facts.accelerator_count} accelerator{plural}, {percent_words(busy)} busy."


def budget_of(slo: Slo | None) -> float | None:
    return budget_minutes(slo.objective_ratio, window_days=slo.window_days) if slo and slo.latency is not None else None


def since_set(facts: Facts, judgement: Judgement, *, fresh: bool, trace: bool, now: datetime) -> None:
    """An unchanged verdict keeps its start; a new one is traced to it, or starts now. The sentence then says how long."""
    if judgement.since is None:
        if not fresh and facts.before is not None:
            judgement.since = facts.before.since
        elif trace:
            judgement.since = traced_start(facts, judgement, now=now) or now
        elif facts.before is not None or judgement.ongoing:
            judgement.since = now
    lasted = f", for {span_words(now - judgement.since)}" if judgement.since and now - judgement.since >= timedelta(minutes=1) else ""
    judgement.text = judgement.text.replace("{}", lasted)


def traced_start(facts: Facts, judgement: Judgement, *, now: datetime) -> datetime | None:
    if judgement.reason == "latency" and facts.slo:
        return breach_since(facts.slo, now=now)
    lines = lines_load(
        Entity.DEPLOYMENT, facts.deployment.pk, ("replicas_ready", "replicas_desired"), start=now - timedelta(days=1), end=now, points=1440
    )
    ready, desired = (lines.columns[name].mean for name in ("replicas_ready", "replicas_desired"))
    times = lines.columns["replicas_ready"].times
    whole = np.flatnonzero(ready >= desired)
    first = whole[-1] + 1 if whole.size else 0
    short = np.flatnonzero(ready[first:] < desired[first:])
    return datetime.fromtimestamp(float(times[first + short[0]]) - lines.step, tz=UTC) if short.size else None


def row_of(facts: Facts, reading: Reading, limit: Limit | None, judgement: Judgement, *, now: datetime) -> DeploymentStatus:
    newest = newest_of(facts)
    as_of = datetime.fromtimestamp(newest, tz=UTC) if newest is not None else facts.before.as_of if facts.before else now
    ready = facts.latest.get("replicas_ready")
    busy = facts.accelerators.get("gr_engine_active_ratio", np.nan)
    busy = busy if np.isfinite(busy) else facts.accelerators.get("gpu_utilization_ratio", np.nan)
    quiet = judgement.verdict == Verdict.NO_DATA
    return DeploymentStatus(
        deployment=facts.deployment,
        verdict=judgement.verdict,
        since=judgement.since,
        as_of=as_of,
        text=judgement.text[:300],
        latency=int(reading.latency),
        percentile=reading.percentile,
        latency_seconds=None if quiet else reading.seconds,
        latency_is_mean=reading.percentile is None,
        requests_per_second=None if quiet else facts.value("requests_per_second"),
        error_ratio=None if quiet else facts.value("error_ratio"),
        accelerator_busy_ratio=float(busy) if np.isfinite(busy) else None,
        limit_name=limit.name if limit else "",
        limit_ratio=limit.ratio if limit else None,
        replicas=ready.value if ready else None,
        budget_minutes=budget_of(facts.slo),
        lost_minutes=facts.ledger.lost_minutes if facts.ledger else None,
    )

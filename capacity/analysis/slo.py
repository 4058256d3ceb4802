"""SLOs over time: what was lost, what to promise, and the running account of every deployment."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from capacity.analysis.words import latency_words, seconds_words
from capacity.engine.answer import NoAnswer
from capacity.engine.slo import (
    MIN_REQUESTS,
    LostMinutes,
    breach_intervals,
    breach_steps,
    budget_minutes,
    minutes_lost,
    threshold_suggest,
)
from capacity.models import SloLedger
from monitoring.catalog.records import Latency
from monitoring.models import Deployment, Slo
from monitoring.series import histogram_of, latency_kinds, latency_load, latency_totals

MINUTE = timedelta(minutes=1)
FINE = timedelta(days=1)  # the newest part of a window is judged minute by minute, the rest in five-minute steps
ARRIVAL = timedelta(seconds=90)  # a minute is judged once its samples have come in
CARRY_MINUTES = 10  # an account that lags by more is made anew
MADE_ANEW_AFTER = timedelta(hours=6)
MADE_ANEW_PER_RUN = 12
JOIN_SECONDS = 180.0
SUGGEST_DAYS = 28
PREFERRED = (Latency.TIME_TO_FIRST_TOKEN, Latency.REQUEST_DURATION)


@dataclass(frozen=True)
class SloMinutes:
    """What a stretch of time cost of the promise."""

    lost: float
    measured: float
    budget: float  # of the SLO's whole window
    breaches: list[tuple[datetime, datetime]]
    step_seconds: float


@dataclass(frozen=True)
class SloSuggest:
    """A promise that the deployment's own history would have held."""

    latency: Latency
    percentile: float
    threshold_seconds: float
    percentile_seconds: float
    limited: bool  # the server's buckets, not the requests, decide the percentile
    held_ratio: float
    days: float

    @property
    def sentence(self) -> str:
        shown = latency_words(self.latency, self.percentile)
        days = "1 day" if round(self.days) == 1 else f"{self.days:.0f} days"
        measured = f"Your {shown[0].lower()}{shown[1:]} over {days} was {seconds_words(self.percentile_seconds)}."
        held = np.floor(self.held_ratio * 1000) / 10
        return f"{measured} {seconds_words(self.threshold_seconds)} would have held in {held:g} % of five-minute windows."


def slo_suggest(
    deployment: Deployment, *, now: datetime, latency: Latency | None = None, percentile: float = 0.95
) -> SloSuggest | NoAnswer:
    """Look at four weeks in five-minute windows and propose a threshold."""
    kinds = latency_kinds(deployment.pk)
    kind = latency if latency is not None else next((kind for kind in PREFERRED if kind in kinds), Latency.REQUEST_DURATION)
    lines = latency_load(deployment.pk, kind, start=now - timedelta(days=SUGGEST_DAYS), end=now, points=SUGGEST_DAYS * 288 + 1)
    windows = np.where(lines.count >= MIN_REQUESTS, lines.quantile(percentile), np.nan)
    whole = histogram_of(lines).quantile(percentile)
    answer = threshold_suggest(windows, percentile_seconds=whole.seconds)
    if isinstance(answer, NoAnswer):
        return answer
    days = answer.windows * lines.step / 86400.0
    return SloSuggest(kind, percentile, answer.threshold_seconds, whole.seconds, whole.limited, answer.held_ratio, max(days, 1.0))


def slo_minutes(deployment: Deployment, *, start: datetime, end: datetime, slo: Slo | None = None) -> SloMinutes | NoAnswer:
    """Minutes lost between two instants, of the deployment's SLO or of one not saved; NoAnswer when no latency is promised."""
    slo = slo or Slo.objects.filter(deployment=deployment).first()
    if slo is None or slo.latency is None or slo.threshold_seconds is None:
        return NoAnswer("no_data", have=0, need=1)
    minutes = max(int((end - start) / MINUTE), 1)
    points = minutes if end - start <= 2 * FINE else minutes // 5 + 1
    lines = latency_load(deployment.pk, Latency(slo.latency), start=start, end=end, points=points)
    breaches = breach_steps(lines.quantile(slo.percentile), counts=lines.count, threshold_seconds=slo.threshold_seconds)
    lost = minutes_lost(breaches, step_seconds=lines.step)
    intervals = breach_intervals(lines.times, breaches=breaches, step_seconds=lines.step, join_seconds=JOIN_SECONDS)
    budget = budget_minutes(slo.objective_ratio, window_days=slo.window_days)
    stretches = [(datetime.fromtimestamp(first, tz=UTC), datetime.fromtimestamp(last, tz=UTC)) for first, last in intervals]
    return SloMinutes(lost.lost, lost.measured, budget, stretches, lines.step)


def breach_since(slo: Slo, *, now: datetime) -> datetime | None:
    """When the breach that goes on now began, looking back a day; None when the last minutes held."""
    found = slo_minutes(slo.deployment, start=now - FINE, end=now)
    if isinstance(found, NoAnswer) or not found.breaches or found.breaches[-1][1] < now - timedelta(minutes=7):
        return None
    return found.breaches[-1][0]


def promise_of(slo: Slo) -> str:
    return f"{slo.latency} p{slo.percentile:g} {slo.threshold_seconds:g} s {slo.window_days} d"


def ledgers_update(slos: Iterable[Slo], *, now: datetime) -> dict[int, SloLedger]:
    """Carry the accounts on to now, make the oldest few anew. Returns them by deployment."""
    promised = {slo.deployment_id: slo for slo in slos if slo.latency is not None and slo.threshold_seconds is not None}
    ledgers = {ledger.deployment_id: ledger for ledger in SloLedger.objects.filter(deployment__in=promised)}
    usable = {
        pk: ledger
        for pk, ledger in ledgers.items()
        if ledger.promise == promise_of(promised[pk]) and now - ledger.until <= CARRY_MINUTES * MINUTE and now >= ledger.until
    }
    stale = [pk for pk in promised if pk not in usable]
    aged = sorted((pk for pk, ledger in usable.items() if now - ledger.made_at > MADE_ANEW_AFTER), key=lambda pk: usable[pk].made_at)
    anew = (stale + aged)[:MADE_ANEW_PER_RUN]
    made = [ledger_make(promised[pk], now=now) for pk in anew]
    carried = [ledger for pk, ledger in usable.items() if pk not in anew]
    ledgers_carry(carried, promised, now=now)
    SloLedger.objects.bulk_create(
        [*made, *carried],
        update_conflicts=True,
        unique_fields=["deployment"],
        update_fields=["promise", "until", "lost_minutes", "measured_minutes", "made_at"],
    )
    return {ledger.deployment_id: ledger for ledger in [*made, *carried]}


def ledger_make(slo: Slo, *, now: datetime) -> SloLedger:
    """Judge the whole window: its last day by the minute, what lies before in five-minute steps."""
    until = minute_before(now)
    middle = minute_before(until - FINE, grid=300)
    old = window_lost(slo, until - timedelta(days=slo.window_days), middle, step=300.0)
    fresh = window_lost(slo, middle, until, step=60.0)
    return SloLedger(
        deployment_id=slo.deployment_id,
        promise=promise_of(slo),
        until=until,
        lost_minutes=old.lost + fresh.lost,
        measured_minutes=old.measured + fresh.measured,
        made_at=now,
    )


def window_lost(slo: Slo, start: datetime, end: datetime, *, step: float) -> LostMinutes:
    assert slo.latency is not None and slo.threshold_seconds is not None
    if end <= start:
        return LostMinutes(0.0, 0.0)
    points = int((end - start).total_seconds() // step) + 1
    lines = latency_load(slo.deployment_id, Latency(slo.latency), start=start, end=end, points=points)
    breaches = breach_steps(lines.quantile(slo.percentile), counts=lines.count, threshold_seconds=slo.threshold_seconds)
    return minutes_lost(breaches, step_seconds=lines.step)


def ledgers_carry(ledgers: list[SloLedger], promised: dict[int, Slo], *, now: datetime) -> None:
    """Judge the minutes since `until`: a few queries a minute and kind of latency, however many deployments."""
    until = minute_before(now)
    waiting = {ledger.until for ledger in ledgers if ledger.until < until}
    at = min(waiting, default=until)
    while at < until:
        due = [ledger for ledger in ledgers if ledger.until == at]
        for kind in Latency:
            of_kind = [ledger for ledger in due if promised[ledger.deployment_id].latency == kind]
            minute_judge(of_kind, promised, kind, start=at)
        at += MINUTE


def minute_judge(ledgers: list[SloLedger], promised: dict[int, Slo], kind: Latency, *, start: datetime) -> None:
    found = latency_totals([ledger.deployment_id for ledger in ledgers], kind, start=start, end=start + MINUTE)
    for ledger in ledgers:
        histogram, slo = found.get(ledger.deployment_id), promised[ledger.deployment_id]
        ledger.until = start + MINUTE
        if histogram is not None and histogram.count >= MIN_REQUESTS and slo.threshold_seconds is not None:
            ledger.measured_minutes += 1.0
            ledger.lost_minutes += float(histogram.quantile(slo.percentile).seconds > slo.threshold_seconds)


def minute_before(now: datetime, *, grid: int = 60) -> datetime:
    """The end of the last step of the grid whose samples have come in."""
    seconds = (now - ARRIVAL).timestamp()
    return datetime.fromtimestamp(seconds - seconds % grid, tz=UTC)
